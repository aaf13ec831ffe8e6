"""Drives the gate: carries out its effects one after the other, with the rooms of the AWS engine."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from headgate.engine import Index, Keys
from headgate.gate.effects import (
    Admit,
    Call,
    Commit,
    Effect,
    Find,
    Get,
    LookUpJwks,
    LookUpKey,
    LookUpPrincipal,
    ReadBody,
)
from headgate.gate.observe import contained

Result = TypeVar("Result")


class Brought(NamedTuple):
    """What an event brings beside the request: the body, and who was let in."""

    body: bytes = b""
    principal: str | None = None


class Driver:
    """`index` and `keys` are what the function has been given; an effect that needs another room is a fault."""

    def __init__(self, index: Index | None = None, keys: Keys | None = None) -> None:
        self._index = index
        self._keys = keys

    def run(self, steps: Generator[Effect, Any, Result], brought: Brought) -> Result:
        """What the steps come to. Raises what they raise."""
        step, answer = steps.send, None
        while True:
            try:
                effect = step(answer)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            try:
                step, answer = steps.send, self._answer(effect, brought)
            except Exception as error:  # noqa: BLE001 - the gate decides what it means
                step, answer = steps.throw, error

    def _answer(self, effect: Effect, brought: Brought) -> Any:
        match effect:
            case ReadBody(limit_bytes):
                return None if len(brought.body) > limit_bytes else brought.body
            case Admit():
                return 0  # API Gateway's own throttle has let it through
            case LookUpPrincipal():
                return brought.principal
            case Call(verifier, request):
                with contained():
                    return _awaited(verifier(request))
            case Commit(messages, whole) if self._index is not None:
                return self._index.commit(messages, whole=whole)
            case Get() if self._index is not None:
                return self._index.get(*effect)
            case Find() if self._index is not None:
                return self._index.find(*effect)
            case LookUpKey(id_) if self._keys is not None:
                return self._keys.api_key(id_)
            case LookUpJwks(url, missing) if self._keys is not None:
                return self._keys.jwks(url, missing=missing)
            case _:
                raise TypeError(f"this function has no room for {type(effect).__name__}")


def _awaited(answer: Any) -> Any:
    if not inspect.isawaitable(answer):
        return answer
    import asyncio

    async def wait() -> Any:
        return await answer

    return asyncio.run(wait())
