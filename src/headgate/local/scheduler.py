"""Schedules: when each is due next is a row; a fire starts one execution, whose name tells what it was due for."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from headgate.clock import Clock, isoformat
from headgate.declare.schedule import Schedule
from headgate.engine import Execution, Executions
from headgate.errors import NotRun, Unavailable
from headgate.gate.fire import execution_name, firing, following, was_set_back
from headgate.gate.observe import site
from headgate.http import new_id

log = logging.getLogger("headgate.local")

SCHEMA = """CREATE TABLE schedule (
    name TEXT PRIMARY KEY,
    expression TEXT NOT NULL,
    timezone TEXT NOT NULL,
    anchor_ms INTEGER NOT NULL,
    next_ms INTEGER
) WITHOUT ROWID"""

_LOOK_EVERY_S = 1.0  # the wall clock may jump
_STARTED_BEFORE = "ExecutionAlreadyExists"


class Due(NamedTuple):
    """What is written down of a schedule. A rate counts from `anchor_ms`; `next_ms` is None when it fires no more."""

    name: str
    expression: str
    timezone: str
    anchor_ms: int
    next_ms: int | None


class DueTimes:
    """The rows. `change` makes a change durable, or raises Unavailable; `read_with` reads."""

    def __init__(
        self,
        change: Callable[[Callable[[sqlite3.Connection], Any]], Any],
        read_with: Callable[[Callable[[sqlite3.Connection], Any]], Any],
    ) -> None:
        self._change = change
        self._read_with = read_with

    def all(self) -> dict[str, Due]:
        """Every row, by name."""
        found: list[Due] = self._read_with(load_due)
        return {due.name: due for due in found}

    def write(self, rows: Iterable[Due], gone: Iterable[str] = ()) -> None:
        """Write rows, and remove those of `gone`, durably."""
        kept, names = list(rows), [(name,) for name in gone]

        def written(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO schedule VALUES (?, ?, ?, ?, ?)", kept)
            connection.executemany("DELETE FROM schedule WHERE name = ?", names)

        self._change(written)


def load_due(connection: sqlite3.Connection) -> list[Due]:
    """Every row of the store."""
    rows = connection.execute("SELECT name, expression, timezone, anchor_ms, next_ms FROM schedule")
    return [Due(*row) for row in rows]


class Scheduler:
    """Fires what is due: `fire` in a test, else a thread of its own, between `start` and `close`.

    A fire starts the execution first and is written down then: after a crash in between it is tried again, under the
    same name, which starts nothing twice. (An Express workflow may run twice: its name is not remembered.)
    """

    def __init__(self, schedules: Iterable[Schedule], rows: DueTimes, executions: Executions, clock: Clock) -> None:
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._rows = rows
        self._executions = executions
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._due = self._taken_up()

    def start(self) -> None:
        """Fire from a thread of its own."""
        self._thread = threading.Thread(target=self._work, name="headgate-scheduler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Fire no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def fire(self) -> list[Execution]:
        """Fire what is due now; the executions that were started. Raises Unavailable; what fired before that did."""
        started = []
        for name, due in list(self._due.items()):
            schedule, now_ms = self._schedules[name], self._clock.now_ms()
            if was_set_back(schedule, due.next_ms, now_ms):
                due = self._due[name] = due._replace(anchor_ms=now_ms, next_ms=following(schedule, now_ms, now_ms))
                self._rows.write([due])
            found = firing(schedule, due.anchor_ms, due.next_ms, now_ms)
            if found.due_ms is None:
                continue
            execution = self._started(schedule, execution_name(name, found.due_ms))
            if execution is not None:
                log.info("schedule=%s due=%s execution=%s", name, isoformat(found.due_ms), execution.id)
                started.append(execution)
            self._due[name] = due._replace(next_ms=found.next_ms)
            self._rows.write([self._due[name]])
        return started

    def run(self, name: str) -> Execution:
        """Start what a schedule starts, now, beside its times. Raises KeyError, NotRun or Unavailable."""
        schedule = self._schedules[name]
        return self._executions.start(schedule.workflow, f"{name[:40]}-{new_id()}", json.dumps(schedule.input))

    def _taken_up(self) -> dict[str, Due]:
        """What is written down, brought up to what is declared now: another expression counts from now on."""
        now_ms = self._clock.now_ms()
        before = self._rows.all()
        found = {}
        for name, schedule in self._schedules.items():
            due = before.get(name)
            if due is None or (due.expression, due.timezone) != (schedule.expression, schedule.timezone):
                next_ms = following(schedule, now_ms, now_ms)
                due = Due(name, schedule.expression, schedule.timezone, now_ms, next_ms)
            found[name] = due
        if found != before:
            self._rows.write(found.values(), before.keys() - found.keys())
        return found

    def _started(self, schedule: Schedule, name: str) -> Execution | None:
        """None where it was started before, or cannot be: a fire that is lost is told, and holds up no other."""
        try:
            return self._executions.start(schedule.workflow, name, json.dumps(schedule.input))
        except NotRun as refused:
            if refused.code != _STARTED_BEFORE:
                log.error("schedule=%s could not start %s: %s", schedule.name, schedule.workflow, refused)
            return None

    def _work(self) -> None:
        while not self._stop.wait(self._wait_s()):
            try:
                self.fire()
            except Unavailable:
                log.warning("schedules could not be fired; they are tried again in a moment")
            except Exception as error:  # noqa: BLE001 - no mistake may end the thread
                log.error("schedules could not be fired where=%s", site(error))

    def _wait_s(self) -> float:
        ahead_ms = [due.next_ms - self._clock.now_ms() for due in self._due.values() if due.next_ms is not None]
        return min(max(min(ahead_ms, default=0) / 1000, 0.05), _LOOK_EVERY_S) if ahead_ms else _LOOK_EVERY_S
