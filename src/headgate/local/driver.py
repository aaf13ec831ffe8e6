"""Carries out the effects of requests, with the rooms of the local engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from headgate.clock import Clock
from headgate.engine import Outcome
from headgate.gate.answer import Gate
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
    Resign,
    Resigned,
    SettleAll,
    StartAll,
)
from headgate.local.drive import LATER, Asker, Driver
from headgate.local.engine import LocalEngine
from headgate.local.groups import Groups
from headgate.local.throttle import Buckets
from headgate.message import Message

_WAITING = 64


class LocalDriver(Driver):
    """Has the engine. Effects that wait for a thread or the network run as tasks."""

    def __init__(self, gate: Gate, engine: LocalEngine, clock: Clock) -> None:
        super().__init__(gate, clock)
        self.engine = engine
        self.buckets = Buckets(clock)
        self.ahead = False  # how messages are grouped, see Groups
        self._groups: Groups | None = None
        self._waiting = ThreadPoolExecutor(_WAITING, "headgate-waiting")  # no thread is made before it is needed

    def close(self) -> None:
        """Wait for what is under way in threads; to be called while the engine is open."""
        super().close()
        self._waiting.shutdown()

    @property
    def groups(self) -> Groups:
        """Made on the loop that serves."""
        if self._groups is None:
            self._groups = Groups(self.engine.index, asyncio.get_running_loop(), ahead=self.ahead)
        return self._groups

    def carry_out(self, effect: Effect, asker: Asker) -> Any:
        match effect:
            case Commit():
                self.groups.submit(*effect, asker.resume)
                return LATER
            case Append(messages) | AppendOnce(messages):
                self.append(messages, asker.resume, once=isinstance(effect, AppendOnce))
                return LATER
            case Admit(channel, throttle):
                return self.buckets.take(channel, throttle)
            case Backlog(channel):
                return self.engine.queue.waiting(channel)
            case LookUpKey(id_):
                return self.engine.keys.api_key(id_)
            case Resign():
                return self.resigned(effect)
            case _:
                return self.later(asker, self._answer(effect))

    def resigned(self, asked: Resign) -> Resigned | None:
        """The answer to `Resign`. botocore is loaded by whoever serves an Iam channel alone."""
        from headgate.local.sigv4 import resigned

        return resigned(asked, self.engine.keys.iam_key(asked.access_key_id), self.clock.now_ms())

    def append(self, messages: list[Message], landed: Callable[[list[Outcome]], None], *, once: bool) -> None:
        """Append to a stream, `once` or again; `landed` is called on the loop. The writer commits what arrives together
        in one go."""
        loop = asyncio.get_running_loop()

        def told(outcomes: list[Outcome]) -> None:
            with suppress(RuntimeError):  # the loop was closed: what waited there is gone, what was written stays
                loop.call_soon_threadsafe(landed, outcomes)

        self.engine.stream.append_soon(messages, told, once=once)

    async def _waited(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Many wait here for the disk at a time, so that they share its syncs: more than the loop's own pool has."""
        return await asyncio.get_running_loop().run_in_executor(self._waiting, work, *arguments)

    async def _answer(self, effect: Effect) -> Any:
        match effect:
            case Get():
                return await asyncio.to_thread(self.engine.index.get, *effect)
            case Find():
                return await asyncio.to_thread(self.engine.index.find, *effect)
            case Begin(messages, lease_ms):
                return await self._waited(self.engine.queue.begin_all, messages, lease_ms)
            case Keep(objects):
                return await self._waited(self.engine.archive.put, objects)
            case StartAll(leases):
                return await self._waited(self.engine.start_all, leases)
            case Follow(started):
                return self.engine.follow(started)
            case SettleAll(settled):
                return await self._waited(self.engine.queue.settle_all, settled)
            case LookUpJwks(url, missing):
                return await self._aside.run(lambda: self.engine.keys.jwks(url, missing=missing))
            case Call():
                return await self.call(effect)
            case _:
                raise TypeError(f"{effect!r} does not wait")
