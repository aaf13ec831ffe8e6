"""Values that are not in the code: named here, resolved when an engine starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by name. `headgate dev` invents one that is missing and keeps it in the state folder;
    `headgate serve` reads the environment variable of that name and refuses to start without it."""

    name: str

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"


@dataclass(frozen=True, slots=True)
class Env:
    """A setting by name, read from the environment when the engine starts; `default` where it is not set."""

    name: str
    default: str | None = None


Setting = str | Secret | Env
