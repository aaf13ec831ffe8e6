"""Drives the gate: carries out its effects one after the other, with the rooms of the AWS engine."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from headgate.aws.pages import Threads
from headgate.engine import Archive, DedupedStream, Index, Keys, Lease, NotYet, Queue, Settlement, Stream
from headgate.errors import Unavailable
from headgate.gate.effects import (
    Admit,
    Append,
    AppendOnce,
    Backlog,
    Begin,
    Call,
    Commit,
    Effect,
    Find,
    Follow,
    Get,
    Keep,
    LookUpJwks,
    LookUpKey,
    LookUpPrincipal,
    ReadBody,
    SettleAll,
    StartAll,
)
from headgate.gate.observe import contained
from headgate.message import Message

if TYPE_CHECKING:
    from headgate.aws.starts import Starts

Result = TypeVar("Result")


class Brought(NamedTuple):
    """What an event brings beside the request: the body, and who was let in."""

    body: bytes = b""
    principal: str | None = None


class Finishing:
    """What a `Direct` channel needs to finish messages before their senders are answered. What cannot be told of one
    message now is left to its sender's next try, or to the sweep, and the others are none the worse for it."""

    def __init__(self, queue: Queue, archive: Archive, threads: Threads, starts: Starts | None = None) -> None:
        self.archive = archive
        self.starts = starts
        self._queue = queue
        self._threads = threads

    def begin_all(self, messages: Sequence[Message], lease_ms: int) -> list[Lease | NotYet | None]:
        """`Queue.begin` for each."""

        def begin(message: Message) -> Lease | NotYet | None:
            try:
                return self._queue.begin(*message[:3], lease_ms)
            except Unavailable:
                return NotYet(None)

        return self._threads.in_parallel(begin, messages)

    def settle_all(self, settled: Sequence[tuple[Lease, Settlement]]) -> list[bool]:
        """`Queue.settle` for each."""

        def settle(each: tuple[Lease, Settlement]) -> bool:
            try:
                return self._queue.settle(*each)
            except Unavailable:
                return False

        return self._threads.in_parallel(settle, settled)


class Driver:
    """What it is made with is what the function has been given; an effect that needs another room is a fault."""

    def __init__(
        self,
        index: Index | None = None,
        keys: Keys | None = None,
        *,
        finishing: Finishing | None = None,
        stream: Stream | None = None,
        once: DedupedStream | None = None,
    ) -> None:
        self._index = index
        self._keys = keys
        self._finishing = finishing
        self._stream = stream
        self._once = once

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
            case Backlog():
                return 0  # SQS has no bounds
            case LookUpPrincipal():
                return brought.principal
            case Call(verifier, request):
                with contained():
                    return _awaited(verifier(request))
            case Commit(messages, whole) if self._index is not None:
                return self._index.commit(messages, whole=whole)
            case Append(messages) if self._stream is not None:
                return self._stream.append(messages)
            case AppendOnce(messages) if self._once is not None:
                return self._once.append_once(messages)
            case Begin(messages, lease_ms) if self._finishing is not None:
                return self._finishing.begin_all(messages, lease_ms)
            case Keep(objects) if self._finishing is not None:
                return self._finishing.archive.put(objects)
            case StartAll(leases) if self._finishing is not None and self._finishing.starts is not None:
                return self._finishing.starts.start_all(leases)
            case Follow():
                return None  # the function `ended` hears of it
            case SettleAll(settled) if self._finishing is not None:
                return self._finishing.settle_all(settled)
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
