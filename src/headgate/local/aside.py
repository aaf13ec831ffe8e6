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
        self._idle = threading.Semaphore(0)
        self._made = 0

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What `work` returns or raises, in a thread."""
        loop, context = asyncio.get_running_loop(), copy_context()
        done: asyncio.Future[Any] = loop.create_future()
        self._jobs.put(_Job(lambda: context.run(work, *arguments), loop, done))
        if not self._idle.acquire(blocking=False) and self._made < self._most:
            self._made += 1
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        return await done

    def close(self) -> None:
        """Idle threads end; what is stuck stays stuck."""
        for _ in range(self._made):
            self._jobs.put(None)

    def _serve(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                self._idle.release()
                job = self._jobs.get()
            if job is None:
                return
            _carry_out(job)
            del job  # what it held is let go of now, and not when the next one comes


def _carry_out(job: _Job) -> None:
    result: Any = None
    error: BaseException | None = None
    try:
        result = job.work()
    except BaseException as raised:  # noqa: BLE001 - it is raised where it was asked for
        error = raised

    def tell() -> None:
        if job.done.done():  # nobody waits any more
            return
        if error is None:
            job.done.set_result(result)
        else:
            job.done.set_exception(error)

    with suppress(RuntimeError):  # the loop was closed
        job.loop.call_soon_threadsafe(tell)
