"""Runs a recorded TestState call: one state by itself, with what it would have got from outside handed in.

`run(case)` gives status, output, error, cause and the next state, as TestState does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

from headgate.local.executions.flow import leave_with
from headgate.local.executions.handlers import fail
from headgate.local.executions.services import Services
from headgate.local.executions.state import (
    ROOT,
    Advance,
    Begin,
    Branch,
    Fault,
    Invocation,
    Moment,
    Outcome,
    Run,
    Step,
)
from headgate.local.executions.step import step
from headgate.local.executions.turn import Turn
from tests.local.executions.recorded import stubbed
from tests.serving import PATIENCE_S

_ARN = "arn:aws:states:us-east-1:111111111111:express:tested:run:1"
_MOMENT = Moment(1_767_225_600_000, 1)
_ANYWHERE = {"Type": "Pass", "End": True}


def run(case: Mapping[str, Any]) -> dict[str, Any]:
    request = case["request"]
    name = request.get("stateName", "StateName")
    document = _document(request["definition"], name)
    state = document["States"][name]
    started = Run(1, _ARN, "tested", "run", "EXPRESS", json.dumps(request["input"]), _MOMENT.now_ms)
    begun = _after(document, started, {}, Begin())
    branches = _kept({}, begun)
    branches[ROOT].retries, branches[ROOT].retry_count = _used(request, state)
    entered = _after(document, begun.run, branches, Advance(ROOT))
    if "mock" in request:
        entered = _handed_in(document, entered, _kept(branches, entered), request)
    elif entered.invocations:
        came = _invoked(entered.invocations[0], case["lambdas"])
        entered = _after(document, entered.run, _kept(branches, entered), came)
    return _told(state, name, entered, _kept(branches, entered), request)


def _document(definition: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The state in a machine, with something behind it wherever it may go."""
    if "States" in definition:
        return {**definition, "StartAt": name}
    targets = [definition.get("Next"), definition.get("Default")]
    targets += [each["Next"] for key in ("Choices", "Catch") for each in definition.get(key, ())]
    return {"StartAt": name, "States": {**{each: _ANYWHERE for each in targets if each}, name: dict(definition)}}


def _used(request: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[list[int], int]:
    count = request.get("stateConfiguration", {}).get("retrierRetryCount", 0)
    return [count] * len(state.get("Retry", ())), count


def _handed_in(document: Any, entered: Step, branches: dict[int, Branch], request: Mapping[str, Any]) -> Step:
    mock, configured = request["mock"], request.get("stateConfiguration", {})
    branch = branches[ROOT]
    if branch.phase == "task":
        return _after(document, entered.run, branches, _outcome(branch, mock))
    turn = Turn(document, entered.run, branches, _MOMENT)
    nested = turn.branch(ROOT)
    state = turn.state(nested)
    failures = configured.get("mapIterationFailureCount", 0)
    tolerated = nested.tolerated if any(key.startswith("Tolerated") for key in state) else failures
    turn.drop_children(nested)
    try:
        if "errorOutput" in mock:
            raise Fault(mock["errorOutput"]["error"], mock["errorOutput"]["cause"], outside=True)
        if failures > tolerated:
            cause = "The specified tolerated failure threshold was exceeded"
            raise Fault("States.ExceedToleratedFailureThreshold", cause, outside=True)
        leave_with(turn, nested, state, json.loads(mock["result"]))
    except Fault as fault:
        fail(turn, nested, state, fault)
    return turn.done()


def _invoked(asked: Invocation, functions: Mapping[str, Any]) -> Outcome:
    came: SimpleQueue[Outcome] = SimpleQueue()
    services = Services(stubbed(functions), threads=1)
    services.perform(asked, came.put)
    outcome = came.get(timeout=PATIENCE_S)
    services.close()
    return outcome


def _outcome(branch: Branch, mock: Mapping[str, Any]) -> Outcome:
    if "errorOutput" in mock:
        told = mock["errorOutput"]
        return Outcome(ROOT, branch.attempt, error=told["error"], cause=told["cause"])
    return Outcome(ROOT, branch.attempt, json.loads(mock["result"]))


def _told(state: Any, name: str, last: Step, branches: dict[int, Branch], request: Mapping[str, Any]) -> dict[str, Any]:
    failed = request.get("mock", {}).get("errorOutput", {})
    told = {"error": failed.get("error"), "cause": failed.get("cause")}
    if last.run.status == "SUCCEEDED":
        return {"status": "SUCCEEDED", "output": json.loads(last.run.output or "null")}
    if last.run.status == "FAILED":
        return {"status": "FAILED", "error": last.run.error, "cause": last.run.cause}
    branch = branches[ROOT]
    if branch.phase == "waiting":
        return {"status": "RETRIABLE", **_failure(told, last)}
    output = {"output": branch.input, "nextState": branch.state}
    ways = {state.get("Next"), state.get("Default"), *(each["Next"] for each in state.get("Choices", ()))}
    if branch.state in ways:
        return {"status": "SUCCEEDED", **output}
    return {"status": "CAUGHT_ERROR", **_failure(told, last), **output}


def _failure(told: dict[str, Any], last: Step) -> dict[str, Any]:
    if told["error"] is not None:
        return told
    error = "States.ExceedToleratedFailureThreshold"
    return {"error": error, "cause": "The specified tolerated failure threshold was exceeded"}


def _after(document: Any, run: Run, branches: dict[int, Branch], stimulus: Any) -> Step:
    decided = step(document, run, branches, stimulus, _MOMENT)
    assert decided is not None
    return decided


def _kept(before: dict[int, Branch], decided: Step) -> dict[int, Branch]:
    merged = {**before, **decided.branches}
    return {id: branch for id, branch in merged.items() if branch is not None}
