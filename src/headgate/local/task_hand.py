"""A process that runs a task: `python -m headgate.local.task_hand JSON`. It never opens the store.

It reads a frame of JSON for each call, `{"given"}`, and answers one, `{"result"}` or `{"error", "cause", "spent"}`:
the cause as Lambda tells it, `spent` if no other call should come to this process. When its line is closed it ends, in
the middle of a call too.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any, NamedTuple

from headgate.declare.load import load_app
from headgate.declare.task import Task
from headgate.errors import HeadgateError
from headgate.gate.handle import is_spent
from headgate.local.frames import READ_BYTES, Unframing, framed
from headgate.local.hand import bound_memory, end_at_once, flush

# Step Functions keeps 32,768 characters of a cause; what quotes a whole body is not to be written down time and again.
_MESSAGE_CHARS, _FRAMES, _FRAME_CHARS = 16_000, 20, 500


class TaskOrders(NamedTuple):
    """What the process is started with. `line` is an inherited descriptor."""

    target: str
    task: str
    line: int
    memory_mb: int


def work_off(orders: TaskOrders) -> None:
    """Load the app, say so with an empty frame, then run what comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server
    line = socket.socket(fileno=orders.line)
    bound_memory(orders.memory_mb)
    task = next(task for task in load_app(orders.target).tasks if task.name == orders.task)
    calls = _Calls(line)
    line.sendall(framed(b"{}"))
    own = os.getpid()
    while (asked := calls.next()) is not None:
        answer = answered(task, asked["given"])
        if os.getpid() != own:
            os._exit(0)  # the task has forked, and both came back
        flush()
        line.sendall(framed(answer))


def answered(task: Task, given: Any) -> bytes:
    """What a call comes to, as a frame's content."""
    try:
        result = task.function(given)
        if inspect.isawaitable(result):
            result = asyncio.run(_awaited(result))
    except Exception as error:  # noqa: BLE001 - whatever the task raises is the error of its state
        trace = traceback.format_tb(error.__traceback__)[1:]
        return _failed(type(error).__name__, _said(error), trace, spent=is_spent(error))
    try:
        return json.dumps({"result": result}, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return _failed("Runtime.MarshalError", f"Unable to marshal response: {error}", [])


def _failed(name: str, message: str, trace: list[str], *, spent: bool = False) -> bytes:
    message, trace = message[:_MESSAGE_CHARS], [frame[-_FRAME_CHARS:] for frame in trace[-_FRAMES:]]
    cause = {"errorMessage": message, "errorType": name, "requestId": "", "stackTrace": trace}
    return json.dumps({"error": name, "cause": json.dumps(cause), "spent": spent}).encode()


def _said(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the user's own __str__
        return "<exception str() failed>"


async def _awaited(result: Any) -> Any:
    return await result


class _Calls:
    """What is asked, one call after the other; read on a thread of its own, so that the end is heard during a call."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._is_busy = False
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Any:
        """Wait for a call; None when there will be no more."""
        self._is_busy = False
        asked = self._asked.get()
        self._is_busy = True
        return asked

    def _listen(self) -> None:
        frames = Unframing()
        with suppress(OSError):
            while piece := self._line.recv(READ_BYTES):
                for content in frames.feed(piece):
                    self._asked.put(json.loads(content))
        if self._is_busy:
            end_at_once()
        self._asked.put(None)


if __name__ == "__main__":
    try:
        work_off(TaskOrders(*json.loads(sys.argv[1])))
    except HeadgateError as error:
        sys.exit(str(error))
