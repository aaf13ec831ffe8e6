"""Runs a recorded execution on the interpreter and the store that the server uses, by a clock that is moved by hand.

`run(case)` is what the runner of the recorded cases asks of an adapter.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.clock import ManualClock
from headgate.local.executions import LocalExecutions, Workflow
from headgate.local.executions.services import Invoke, Services, TaskFailed, function_name
from tests.cases import case_tool

_MOST_TURNS = 600  # of one second each
_STARTED_MS = 1_767_225_600_000


def run(case: Mapping[str, Any]) -> dict[str, Any]:
    clock = ManualClock(_STARTED_MS)
    workflow = Workflow(case["definition"], case["sm_type"])
    with tempfile.TemporaryDirectory() as folder:
        services = Services(stubbed(case["lambdas"]), threads=2)
        room = LocalExecutions(
            Path(folder) / "executions.sqlite3",
            {"recorded": workflow},
            services,
            clock,
            region="us-east-1",
            account="111111111111",
        )
        try:
            id = room.start("recorded", "run", json.dumps(case["input"])).id
            _let_pass(room, clock, id)
            return _result(room, id)
        finally:
            room.close()


def _let_pass(room: LocalExecutions, clock: ManualClock, id: str) -> None:
    for _ in range(_MOST_TURNS):
        room.settle()
        found = room.describe(id)
        if found is None or found.status != "RUNNING":
            return
        clock.advance(1)


def _result(room: LocalExecutions, id: str) -> dict[str, Any]:
    found = room.describe(id)
    assert found is not None
    return {
        "status": found.status,
        "output": None if found.output is None else json.loads(found.output),
        "error": found.error,
        "cause": found.cause,
        "history_types": [event.type for event in room.history(id)],
    }


def stubbed(stubs: Mapping[str, Mapping[str, str]]) -> Invoke:
    """The functions of a recorded case, as an `Invoke`."""
    behaviours = case_tool("lambda_behaviours")
    named = {stub["name"]: stub["behaviour"] for stub in stubs.values()}
    named |= {function_name(arn): stub["behaviour"] for arn, stub in stubs.items()}

    def invoke(name: str, event: Any, token: str) -> Any:
        payload, failed = behaviours.invoke(named[name], event)
        if failed:
            raise TaskFailed(payload["errorType"], json.dumps(payload, separators=(",", ":")))
        return payload

    return invoke
