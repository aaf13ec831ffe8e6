"""What a handler may say about a message: returned or raised, as it suits.

A handler that returns None has done its work. What it raises is tried again, up to the declared attempts, unless it is
`Permanent`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """It is done; the same as returning None."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It will never work: the message becomes a dead letter, with this reason, which readers of the message see."""

    reason: str


class Retry(Exception):
    """Return or raise it: try again, after `delay_s` seconds, or after what the channel's backoff says where none are
    given. It counts as an attempt like any other."""

    def __init__(self, delay_s: float | None = None) -> None:
        super().__init__(delay_s)
        self.delay_s = delay_s


class Permanent(Exception):
    """Raise it where trying again cannot help: the message becomes a dead letter, with this reason. Readers of the
    message see the reason."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = str(reason)


Verdict = Done | Retry | Failed
