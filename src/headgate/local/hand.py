"""A process that runs one channel's handler: `python -m headgate.local.hand JSON`. It never opens the store.

It reads messages and writes reports, see frames.py. When its worker is gone, however that went, it ends too.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from headgate.clock import SystemClock
from headgate.declare.channel import Channel
from headgate.declare.handler import Handler
from headgate.declare.load import load_app
from headgate.errors import HeadgateError
from headgate.gate.handle import Handling, Report
from headgate.local.frames import READ_BYTES, Group, Unframing, encoded_reports, framed, groups_of

_MB = 1024 * 1024


class Orders(NamedTuple):
    """What a hand is started with. `handler` is the name of one of the channel's; `line` is an inherited descriptor."""

    target: str
    channel: str
    handler: str
    line: int
    memory_mb: int


class Line:
    """What is to do, as it comes from the worker; and the way back."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._groups: queue.SimpleQueue[Group | None] = queue.SimpleQueue()
        self._told = threading.Lock()
        self._is_busy = False
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Group | None:
        """Wait for a group; None when there will be no more."""
        self._is_busy = False
        group = self._groups.get()
        self._is_busy = True
        return group

    def tell(self, what: list[Report] | int | None) -> None:
        """Say something to the worker."""
        with self._told:
            self._line.sendall(framed(encoded_reports(what)))

    def _listen(self) -> None:
        """On a thread of its own, so that the worker is heard in the middle of a handler too."""
        frames = Unframing()
        with contextlib.suppress(OSError):
            while piece := self._line.recv(READ_BYTES):
                for content in frames.feed(piece):
                    for group in groups_of(content) or self._give_back():
                        self._groups.put(group)
        if self._is_busy:
            end_at_once()
        self._groups.put(None)

    def _give_back(self) -> Iterable[Group]:
        count = 0
        with contextlib.suppress(queue.Empty):
            while True:
                self._groups.get_nowait()
                count += 1
        self.tell(count)
        return ()


def work_off(orders: Orders) -> None:
    """Load the app, then handle what comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which finishes what is in work
    line = Line(socket.socket(fileno=orders.line))
    bound_memory(orders.memory_mb)
    handling = Handling(*_work_of(orders), SystemClock())
    line.tell([])
    own = os.getpid()
    while (group := line.next()) is not None:
        reports = handling.handle(group)
        if os.getpid() != own:
            os._exit(0)  # the handler has forked, and both came back
        flush()
        line.tell(reports)
        if any(report.spent for report in reports):
            line.tell(None)
            os._exit(0)  # whatever threads it has left
    handling.close()


def _work_of(orders: Orders) -> tuple[Channel, Handler]:
    channel = next(channel for channel in load_app(orders.target).channels if channel.name == orders.channel)
    return channel, next(handler for handler in channel.handlers if handler.name == orders.handler)


def end_at_once() -> NoReturn:
    """End in the middle of whatever is going on, with all that was started here."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def bound_memory(memory_mb: int) -> None:
    """What a handler takes beyond it is a MemoryError, or the end of the process: here as in a Lambda function."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory_mb * _MB if hard == resource.RLIM_INFINITY else min(memory_mb * _MB, hard)
    with contextlib.suppress(ValueError, OSError):  # where the system knows no such bound
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def flush() -> None:
    """What the handler printed is told before its message is done."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the handler may have closed or replaced it
            stream.flush()


if __name__ == "__main__":
    try:
        work_off(Orders(*json.loads(sys.argv[1])))
    except HeadgateError as error:
        sys.exit(str(error))
