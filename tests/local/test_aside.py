"""What may never return: it holds up nothing else, and no end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from headgate.local.aside import Aside

_PATIENCE_S = 60

_ENDS = """
import asyncio, threading
from headgate.local.aside import Aside

async def serve():
    stuck = asyncio.create_task(Aside(4, "stuck").run(threading.Event().wait))
    await asyncio.sleep(0)
    return stuck

assert asyncio.run(serve()).cancelled()
print("ended")
"""


def test_a_process_ends_whatever_is_stuck() -> None:
    ran = subprocess.run([sys.executable, "-c", _ENDS], capture_output=True, text=True, timeout=_PATIENCE_S)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("ended\n", "", 0)


def test_results_and_errors_come_back_to_whoever_asked() -> None:
    said = ContextVar("said", default="")

    async def ask() -> list[object]:
        aside = Aside(2, "aside")
        said.set("here")
        try:
            asked = [aside.run(work) for work in (said.get, lambda: 1 // 0)]
            return [*await asyncio.gather(aside.run(pow, 2, 5), *asked, return_exceptions=True)]
        finally:
            aside.close()

    power, context, divided = asyncio.run(ask())
    assert (power, context) == (32, "here")
    assert isinstance(divided, ZeroDivisionError)


def test_a_thread_is_used_again_and_there_are_never_more_than_said() -> None:
    async def ask() -> tuple[set[int], set[int]]:
        aside, gate = Aside(3, "aside"), threading.Barrier(3)

        def met() -> int:
            gate.wait(_PATIENCE_S)
            return threading.get_ident()

        try:
            one = [await aside.run(threading.get_ident) for _ in range(100)]
            many = await asyncio.gather(*(aside.run(met) for _ in range(9)))
        finally:
            aside.close()
        return {*one}, {*many}

    one, many = asyncio.run(ask())
    assert (len(one), len(many)) == (1, 3)
    assert one <= many


def test_once_closed_idle_threads_end() -> None:
    async def ask() -> threading.Thread:
        aside = Aside(1, "aside")
        thread: threading.Thread = await aside.run(threading.current_thread)
        aside.close()
        return thread

    thread = asyncio.run(ask())
    thread.join(_PATIENCE_S)
    assert not thread.is_alive()


def test_an_answer_that_comes_too_late_harms_nobody(recwarn: pytest.WarningsRecorder) -> None:
    let_go, ended = threading.Event(), threading.Event()

    def late() -> None:
        let_go.wait(_PATIENCE_S)
        ended.set()

    async def give_up() -> None:
        aside = Aside(1, "aside")
        asking = asyncio.create_task(aside.run(late))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        let_go.set()
        assert await asyncio.wait_for(aside.run(lambda: 1), _PATIENCE_S) == 1
        aside.close()

    asyncio.run(give_up())
    assert ended.is_set()
    assert not recwarn
