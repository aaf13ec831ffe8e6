"""Executions that messages start: started from the row, followed to their end, which is written back to it."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headgate.clock import Clock
from headgate.declare.app import App
from headgate.declare.channel import Channel
from headgate.declare.express import Address, address_of, addressed
from headgate.declare.task import Start, local_name
from headgate.engine import Execution, Executions, Lease
from headgate.errors import Unavailable
from headgate.gate.effects import Started
from headgate.gate.finish import ended
from headgate.gate.note import Notes
from headgate.gate.observe import site
from headgate.gate.start import execution_input, execution_of, executions_of
from headgate.local.queue import LocalQueue
from headgate.message import Message

log = logging.getLogger("headgate.local")

ENDED = "headgate.ended"
"""What the machines of Express workflows call by this name is `Starts.hear`; no task can be called so."""

_PAUSE_S = 0.005  # whoever notes a start waits for one commit at most
_AT_A_TIME = 32
_MOST_WRITTEN = 200
_MOST_ENDS = 10_000  # of executions that nobody follows: schedules start some too


_End = tuple[Lease | Address, Execution]


class Starts:
    """Knows which message waits for which execution. After a restart it does not: then the sweep starts each anew,
    which finds what was started before."""

    def __init__(self, app: App, rows: LocalQueue, clock: Clock) -> None:
        self._channels = {channel.name: channel for channel in app.channels if channel.start is not None}
        self._express = {workflow.name for workflow in app.workflows if workflow.express}
        self._rows = rows
        self._clock = clock
        self._leases: dict[str, list[Lease]] = {}
        self._ends: OrderedDict[str, Execution] = OrderedDict()
        self._guard = threading.Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(_AT_A_TIME, "headgate-starts")
        self._to_write: queue.SimpleQueue[_End | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="headgate-ends", daemon=True)
        self._thread.start()

    def start(self, executions: Executions, leases: Sequence[Lease]) -> list[Started | None]:
        """See `StartAll`."""
        channel = self._channels[leases[0].message.channel]
        if channel.start is not None and channel.start.per_batch:
            return executions_of(executions, channel, leases, self._clock.now_ms())
        if len(leases) == 1:
            return [self._start(executions, leases[0])]
        return [*self._pool.map(lambda lease: self._start(executions, lease), leases)]  # they share their syncs

    def hear(self, event: Any) -> dict[str, bool]:
        """What the machine of an Express workflow asks; see `declare/express.py`. Raises Unavailable."""
        told = event["headgate"]
        return self._notes(self._channels[told["message"]["channel"]]).hear(told)

    def follow(self, started: Sequence[tuple[Lease, str]]) -> None:
        """See `Follow`."""
        with self._guard:
            over = {id_: self._ends.pop(id_, None) for id_ in {id_ for _, id_ in started}}
            for lease, id_ in started:
                execution = over[id_]
                if execution is None:
                    self._leases.setdefault(id_, []).append(lease)
                else:
                    self._to_write.put((lease, execution))

    def ended(self, execution: Execution) -> None:
        """An execution has ended; may be told more than once."""
        with self._guard:
            if execution.workflow in self._express and (of := address_of(execution.input)) is not None:
                self._to_write.put((of, execution))
                return
            leases = self._leases.pop(execution.id, ())
            for lease in leases:
                self._to_write.put((lease, execution))
            if leases:
                return
            self._ends[execution.id] = execution
            if len(self._ends) > _MOST_ENDS:
                self._ends.popitem(last=False)

    def settle(self) -> None:
        """Return when every end that was told so far is written."""
        with self._guard:
            written = threading.Event()
            if self._closed:
                return
            self._to_write.put(written)
        written.wait()

    def close(self) -> None:
        """Write what has ended so far, and no more."""
        self._pool.shutdown()
        with self._guard:
            self._closed = True
            self._to_write.put(None)
        self._thread.join()

    def _start(self, executions: Executions, lease: Lease) -> Started | None:
        channel = self._channels[lease.message.channel]
        if channel.start is None or channel.start.workflow_name not in self._express:
            return execution_of(executions, channel, lease, self._clock.now_ms())
        return execution_of(executions, channel, lease, self._clock.now_ms(), input_of=_addressed, express=True)

    def _notes(self, channel: Channel) -> Notes:
        return Notes(channel, self._rows, self._clock, _pause)

    def _write(self) -> None:
        """On a thread of its own: what has come meanwhile is written by one change."""
        while True:
            items = [self._to_write.get()]
            with contextlib.suppress(queue.Empty):
                while len(items) < _MOST_WRITTEN:
                    items.append(self._to_write.get_nowait())
            self._settle([item for item in items if isinstance(item, tuple)])
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()
            if None in items:
                return

    def _settle(self, ends: Sequence[_End]) -> None:
        now_ms = self._clock.now_ms()
        settled = [
            (lease, ended(self._channels[lease.message.channel], execution, now_ms))
            for lease, execution in ends
            if isinstance(lease, Lease)
        ]
        try:
            if settled:
                self._rows.settle_all(settled)
            for of, execution in ends:
                if isinstance(of, Address) and of.channel in self._channels:  # the machine itself has told of most
                    self._notes(self._channels[of.channel]).write(execution, of.scope, of.key)
        except Unavailable:
            log.warning("the ends of %d executions could not be written; a sweep tries again", len(settled))
        except Exception as error:  # noqa: BLE001 - the thread must live
            log.error("the ends of executions could not be written where=%s", site(error))


def _pause(attempt: int) -> None:
    time.sleep(_PAUSE_S * 2**attempt)


def _addressed(start: Start, message: Message) -> str:
    return addressed(execution_input(start, message), local_name("task", ENDED), *message[:3])
