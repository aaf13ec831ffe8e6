"""A process that runs workflows to their end, unless it is killed at a point that is named: see test_kill.py.

    python -m tests.local.executions.killed FOLDER [POINT]

POINT is `before:N` (as the N-th transaction is about to be committed), `after:N` (it is committed, and nothing of it is
carried out yet) or `during:N` (the N-th task has done its work and said nothing yet).
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headgate.errors import NotRun
from headgate.local.executions import LocalExecutions, Workflow, room, store
from headgate.local.executions.services import Services, TaskFailed
from tests.local.executions.site import machine

_SPEED = 20  # this process's clock goes so much faster, that waits are short
_FUNCTION = {"Type": "Task", "Resource": "arn:aws:lambda:local:000000000000:function:work"}
_RETRY = [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 1, "MaxAttempts": 2}]

EVERY_KIND = machine(
    Begin={"Type": "Pass", "Assign": {"seen": 1}, "Next": "Ask"},
    Ask={**_FUNCTION, "Parameters": {"step": "ask", "id.$": "States.UUID()"}, "ResultPath": "$.asked", "Next": "Nap"},
    Nap={"Type": "Wait", "Seconds": 2, "Next": "Which"},
    Which={
        "Type": "Choice",
        "Choices": [{"Variable": "$.n", "NumericGreaterThan": 0, "Next": "Each"}],
        "Default": "Stop",
    },
    Each={
        "Type": "Map",
        "ItemsPath": "$.items",
        "MaxConcurrency": 2,
        "ItemProcessor": machine(Item={**_FUNCTION, "Retry": _RETRY, "End": True}),
        "ResultPath": "$.each",
        "Next": "Both",
    },
    Both={
        "Type": "Parallel",
        "Branches": [
            machine(One={**_FUNCTION, "Parameters": {"step": "one"}, "End": True}),
            machine(Rest={"Type": "Wait", "Seconds": 1, "Next": "Other"}, Other={"Type": "Succeed"}),
        ],
        "ResultSelector": {"one.$": "$[0].step"},
        "ResultPath": "$.both",
        "Next": "Wrong",
    },
    Wrong={
        **_FUNCTION,
        "Parameters": {"step": "wrong"},
        "Catch": [{"ErrorEquals": ["Boom"], "ResultPath": "$.caught", "Next": "Fine"}],
        "Next": "Stop",
    },
    Fine={"Type": "Succeed", "OutputPath": "$"},
    Stop={"Type": "Fail", "Error": "Stopped", "Cause": "as it should"},
)
STARTS = (
    ("whole", {"n": 1, "items": [{"item": 1}, {"item": 2}, {"item": 3, "flaky": True}]}),
    ("short", {"n": 0, "items": []}),
)


class FastClock:
    def now_ms(self) -> int:
        return round(time.time() * 1000 * _SPEED)

    def elapsed_s(self) -> float:
        return time.monotonic() * _SPEED


def _is_first(file: Path, token: str) -> bool:
    """Whether this is the first invocation of all, or that one asked for again."""
    if not file.exists():
        file.write_text(token)
    return file.read_text() == token


class Point:
    """Kills this process when it is reached."""

    def __init__(self, text: str) -> None:
        self.moment, _, number = text.partition(":")
        self._left = int(number or 0)
        self._lock = threading.Lock()

    def reached(self, moment: str) -> None:
        with self._lock:
            if moment != self.moment:
                return
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, point: Point) -> None:
    effects = os.open(folder / "effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    written = os.open(folder / "written", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def work(name: str, event: Any, token: str) -> Any:
        os.write(effects, json.dumps([token, event]).encode() + b"\n")
        point.reached("during")
        if event.get("flaky") and _is_first(folder / "first", token):
            raise TaskFailed("Flaky", "the first time")
        if event.get("step") == "wrong":
            raise TaskFailed("Boom", "always")
        return event

    kept = store.write

    def write(connection: sqlite3.Connection, changes: Iterable[store.Change]) -> None:
        changes = list(changes)
        kinds = sorted({event.type for change in changes for event in change.events if "State" in event.type})
        os.write(written, json.dumps(kinds).encode() + b"\n")
        kept(connection, changes)
        point.reached("before")

    store.write = write
    carried_out = LocalExecutions._carry_out

    def carry_out(self: LocalExecutions, batch: Any) -> None:
        point.reached("after")
        carried_out(self, batch)

    room.LocalExecutions._carry_out = carry_out  # type: ignore[method-assign]
    executions = LocalExecutions(
        folder / "executions.sqlite3", {"every": Workflow(EVERY_KIND)}, Services(work), FastClock(), most_steps=1
    )
    ids = []
    for name, input in STARTS:
        try:
            ids.append(executions.start("every", name, json.dumps(input)).id)
        except NotRun:  # it had ended before the process was killed
            ids.append(f"arn:aws:states:local:000000000000:execution:every:{name}")
    while any((found := executions.describe(id)) is None or found.status == "RUNNING" for id in ids):
        time.sleep(0.005)
        executions.settle()  # looks at the clock
    told = []
    for id in ids:
        found = executions.describe(id)
        assert found is not None
        told.append([found.status, found.output, found.error, sorted(event.type for event in executions.history(id))])
    executions.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Point(sys.argv[2] if len(sys.argv) > 2 else ""))
