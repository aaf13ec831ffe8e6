"""Threads for what may never return: other people's code, and other people's systems."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, NamedTuple


class _Job(NamedTuple):
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class Aside:
    """At most `most` threads, each made when it is needed. Used from one event loop at a time.

    What is stuck here holds up neither the loop's own pool, in which the store is read, nor the end of the process:
    nobody ever waits for these threads. (The threads of every ThreadPoolExecutor are waited for at exit.)
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._changing = threading.Lock()
        self._asked = 0  # and not done
        self._made = 0

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What `work` returns or raises, in a thread."""
        loop, context = asyncio.get_running_loop(), copy_context()
        done: asyncio.Future[Any] = loop.create_future()
        self._jobs.put(_Job(lambda: context.run(work, *arguments), loop, done))
        with self._changing:
            self._asked += 1
            is_short = self._made < min(self._asked, self._most)
            self._made += is_short
        if is_short:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        return await done

    def close(self) -> None:
        """Idle threads end; what is stuck stays stuck."""
        for _ in range(self._made):
            self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = job.work()
            except BaseException as raised:  # noqa: BLE001 - it is raised where it was asked for
                error = raised
            with self._changing:  # before anybody is told, who may ask again: this thread will do
                self._asked -= 1
            with suppress(RuntimeError):  # the loop was closed
                job.loop.call_soon_threadsafe(_tell, job.done, result, error)
            del job, result, error  # what they held is let go of now, and not when the next one comes


def _tell(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():  # nobody waits any more
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
