"""Drives the gate: carries out the effects of a request, with the rooms of the local engine."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from headgate.clock import Clock
from headgate.engine import Outcome
from headgate.errors import Unavailable
from headgate.gate.answer import Gate, Steps
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
    ReadBody,
    Resign,
    Resigned,
    SettleAll,
    StartAll,
)
from headgate.gate.observe import contained
from headgate.http import RETRY_AFTER_S, Reply, Request, behind_proxy
from headgate.local.engine import LocalEngine
from headgate.local.groups import Groups
from headgate.local.throttle import Buckets
from headgate.message import Message

_WAITING = 64


class Driver:
    """What every drive needs, on one event loop. Effects that wait for a thread or the network run as tasks."""

    def __init__(self, gate: Gate, engine: LocalEngine, clock: Clock) -> None:
        self.gate = gate
        self.engine = engine
        self.clock = clock
        self.buckets = Buckets(clock)
        self.proxied = False  # whether a proxy on this machine is believed
        self._groups: Groups | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = ThreadPoolExecutor(_WAITING, "headgate-waiting")  # no thread is made before it is needed

    def client(self, peer: tuple[str, int] | None, headers: Mapping[bytes, bytes]) -> str:
        """The sender's address, as far as it is known."""
        if peer is None:
            return ""
        return behind_proxy(peer[0], headers) if self.proxied else peer[0]

    @property
    def groups(self) -> Groups:
        """Made on the loop that serves."""
        if self._groups is None:
            self._groups = Groups(self.engine.index, asyncio.get_running_loop())
        return self._groups

    def resigned(self, asked: Resign) -> Resigned | None:
        """The answer to `Resign`. botocore is loaded by whoever serves an Iam channel alone."""
        from headgate.local.sigv4 import resigned

        return resigned(asked, self.engine.keys.iam_key(asked.access_key_id), self.clock.now_ms())

    def drive(self, request: Request, read: Callable[[int], None], done: Callable[[Reply], None]) -> Drive:
        """A drive that is not begun. When the gate wants the body, `read` is called with the most bytes it takes, and
        `resume` must follow, with the body, or with None where there is more. `done` gets the reply."""
        return Drive(self, self.gate.answer(request), read, done)

    def append(self, messages: list[Message], landed: Callable[[list[Outcome]], None], *, once: bool) -> None:
        """Append to a stream, `once` or again; `landed` is called on the loop. The writer commits what arrives together
        in one go."""
        loop = asyncio.get_running_loop()

        def told(outcomes: list[Outcome]) -> None:
            with suppress(RuntimeError):  # the loop was closed: what waited there is gone, what was written stays
                loop.call_soon_threadsafe(landed, outcomes)

        self.engine.stream.append_soon(messages, told, once=once)

    def later(self, drive: Drive, effect: Effect) -> None:
        """Carry out an effect that waits for a thread or for the network."""
        task = asyncio.get_running_loop().create_task(self._carry_out(drive, effect))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, drive: Drive, effect: Effect) -> None:
        try:
            answer = await self._answer(effect)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the gate decides what it means
            task = asyncio.current_task()
            stopping = task is not None and task.cancelling()
            drive.fail(Unavailable(retry_after_s=RETRY_AFTER_S) if stopping else error)
        else:
            drive.resume(answer)

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
                return await asyncio.to_thread(self.engine.keys.jwks, url, missing=missing)
            case Call(verifier, request):
                with contained():
                    principal = await asyncio.to_thread(_called, verifier, request)
                    return await principal if inspect.isawaitable(principal) else principal
            case _:
                raise TypeError(f"{effect!r} does not wait")


def _called(verifier: Callable[[Request], Any], request: Request) -> Any:
    with contained():  # in the thread: no future can carry a StopIteration
        return verifier(request)


class Drive:
    """One request on its way; made by `Driver.drive`. Lives on the event loop alone."""

    __slots__ = ("_done", "_driver", "_read", "_steps")

    def __init__(
        self, driver: Driver, steps: Steps, read: Callable[[int], None], done: Callable[[Reply], None]
    ) -> None:
        self._driver = driver
        self._steps = steps
        self._read = read
        self._done = done

    def resume(self, answer: Any = None) -> None:
        """Go on with the answer to the last effect; with None, begin."""
        self._go(self._steps.send, answer)

    def fail(self, error: BaseException) -> None:
        """Go on with an effect that failed."""
        self._go(self._steps.throw, error)

    def _go(self, step: Callable[[Any], Effect], answer: Any) -> None:
        try:
            while True:
                match step(answer):
                    case ReadBody(limit_bytes):
                        self._read(limit_bytes)
                        return
                    case Commit(messages, whole):
                        self._driver.groups.submit(messages, whole, self.resume)
                        return
                    case Append(messages) | AppendOnce(messages) as effect:
                        self._driver.append(messages, self.resume, once=isinstance(effect, AppendOnce))
                        return
                    case Admit(channel, throttle):
                        step, answer = self._steps.send, self._driver.buckets.take(channel, throttle)
                    case Backlog(channel):
                        step, answer = self._steps.send, self._driver.engine.queue.waiting(channel)
                    case LookUpKey(id_):
                        step, answer = self._steps.send, self._driver.engine.keys.api_key(id_)
                    case Resign() as asked:
                        step, answer = self._steps.send, self._driver.resigned(asked)
                    case effect:
                        self._driver.later(self, effect)
                        return
        except StopIteration as stop:
            reply: Reply = stop.value
        self._done(reply)
