"""A channel's handler: the user's function, and what it needs to run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate import limits
from headgate.declare.settings import Env, Secret
from headgate.declare.shape import NUMBER, WHOLE, given, misfits

_NEEDS = {"timeout_s": NUMBER, "memory_mb": WHOLE, "concurrency": WHOLE, "batch": WHOLE}


@dataclass(frozen=True)
class Needs:
    """What handlers of a channel are given: see `Channel`."""

    timeout_s: float = 30
    memory_mb: int = 512
    env: Mapping[str, str | Env] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    concurrency: int = 4
    batch: int = 1

    def sentences(self, most_batch: limits.Limit = limits.HANDLER_BATCH) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("", given(self, _NEEDS), _NEEDS)):
            yield from wrong
            return
        within = (
            ("timeout_s", self.timeout_s, 0.001, limits.HANDLER_TIME.value),
            ("memory_mb", self.memory_mb, limits.HANDLER_MEMORY_LEAST.value, limits.HANDLER_MEMORY.value),
            ("concurrency", self.concurrency, 1, limits.HANDLERS.value),
            ("batch", self.batch, 1, most_batch.value),
        )
        for name, value, least, most in within:
            if not least <= value <= most:
                yield f"`{name}=` must be {least} to {most} (docs/limits.md)."
        if not isinstance(self.env, Mapping) or not all(map(_is_variable, self.env, self.env.values())):
            yield '`env=` must map names to text or Env("NAME").'
        if not isinstance(self.secrets, tuple) or not all(isinstance(secret, Secret) for secret in self.secrets):
            yield '`secrets=` must be a list of Secret("NAME").'


@dataclass(frozen=True)
class Handler:
    """`where` is the `file:line` at which it was declared."""

    where: str
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """What the function is called."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def takes_message(self) -> bool:
        """Whether it asks for the second argument, the Message."""
        return _binds(self.function, 2)

    def sentences(self) -> Iterator[str]:
        """What is wrong with it, whatever the channel."""
        function = self.function
        if not callable(function):
            yield f"the handler is {function!r}, which is not a function."
        elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            yield f"the handler `{function.__name__}` yields; a handler returns once, for one message."
        elif not (_binds(function, 1) or _binds(function, 2)):
            yield "a handler takes the message, or the message and a Message: `def f(order)`, `def f(order, message)`."


def _is_variable(name: object, value: object) -> bool:
    return isinstance(name, str) and name != "" and "=" not in name and isinstance(value, str | Env)


def _binds(function: Callable[..., Any], arguments: int) -> bool:
    """Whether it can be called with so many; two are taken only by who asks for two."""
    try:
        parameters = inspect.signature(function)
        parameters.bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:  # a builtin that tells nothing
        return arguments == 1
    kinds = [parameter.kind for parameter in parameters.parameters.values()]
    positional = sum(kind in (_ONLY, _EITHER) for kind in kinds)
    return arguments == 1 or positional >= arguments


_ONLY, _EITHER = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
