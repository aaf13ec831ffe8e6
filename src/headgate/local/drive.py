"""Drives the gate, on an event loop: one request at a time, whoever carries its effects out.

A process that has the engine does so itself (`driver.py`); a front asks the process that has it (`front.py`).
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from headgate.clock import Clock
from headgate.errors import Unavailable
from headgate.gate.answer import Gate, Steps
from headgate.gate.effects import Call, Effect, ReadBody
from headgate.gate.observe import contained
from headgate.http import RETRY_AFTER_S, Reply, Request, behind_proxy
from headgate.local.aside import Aside

_ASIDE = 64

LATER = object()
"""Said instead of an answer: it comes when it comes."""


class Asker(Protocol):
    """Who waits for the answer to an effect; told on the event loop, once."""

    def resume(self, answer: Any) -> None:
        """Go on with the answer."""

    def fail(self, error: BaseException) -> None:
        """Go on with an effect that failed."""


class Driver(ABC):
    """What every drive needs, on one event loop."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self.gate = gate
        self.clock = clock
        self.proxied = False  # whether a proxy on this machine is believed
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False
        self._aside = Aside(_ASIDE, "headgate-aside")

    async def end(self) -> None:
        """On the loop, before it ends: what is under way in tasks fails, and so does what gates ask for from now on."""
        self._is_over = True
        await asyncio.sleep(0)  # what was just made has begun then, and can be told
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Let go of threads, once the loop has ended."""
        self._aside.close()

    def client(self, peer: tuple[str, int] | None, headers: Mapping[bytes, bytes]) -> str:
        """The sender's address, as far as it is known."""
        if peer is None:
            return ""
        return behind_proxy(peer[0], headers) if self.proxied else peer[0]

    def drive(self, request: Request, read: Callable[[int], object], done: Callable[[Reply], None]) -> Drive:
        """A drive that is not begun. When the gate wants the body, `read` is called with the most bytes it takes; it
        returns the body, or None where there is more, or LATER, and `resume` must follow. `done` gets the reply."""
        return Drive(self, self.gate.answer(request), read, done)

    @abstractmethod
    def carry_out(self, effect: Effect, asker: Asker) -> Any:
        """Carry out an effect. Its answer; or LATER, and `asker` is told on the event loop."""

    def later(self, asker: Asker, answer: Coroutine[Any, Any, Any]) -> object:
        """Wait for an answer in a task, and tell it."""
        loop = asyncio.get_running_loop()
        if self._is_over:
            answer.close()
            loop.call_soon(asker.fail, Unavailable(retry_after_s=RETRY_AFTER_S))
            return LATER
        task = loop.create_task(_told(asker, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return LATER

    async def call(self, call: Call) -> str:
        """Run a user's verifier in a thread."""
        with contained():
            principal: str | Awaitable[str] = await self._aside.run(_called, call)
            return await principal if inspect.isawaitable(principal) else principal


async def _told(asker: Asker, answer: Coroutine[Any, Any, Any]) -> None:
    try:
        found = await answer
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the gate decides what it means
        task = asyncio.current_task()
        stopping = task is not None and task.cancelling()
        asker.fail(Unavailable(retry_after_s=RETRY_AFTER_S) if stopping else error)
    else:
        asker.resume(found)


def _called(call: Call) -> str | Awaitable[str]:
    with contained():  # in the thread: no future can carry a StopIteration
        return call.verifier(call.request)


class Drive:
    """One request on its way; made by `Driver.drive`. Lives on the event loop alone."""

    __slots__ = ("_done", "_driver", "_read", "_steps")

    def __init__(
        self, driver: Driver, steps: Steps, read: Callable[[int], object], done: Callable[[Reply], None]
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
                effect = step(answer)
                if type(effect) is ReadBody:
                    answer = self._read(effect.limit_bytes)
                else:
                    answer = self._driver.carry_out(effect, self)
                if answer is LATER:
                    return
                step = self._steps.send
        except StopIteration as stop:
            reply: Reply = stop.value
        self._done(reply)
