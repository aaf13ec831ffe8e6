"""Step Functions: starts that are repeated, time limits of machines, redriving, and nothing after the end.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html: idempotent for Standard.
https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html
"""

from __future__ import annotations

import contextvars
import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from ministack.core.responses import error_response_json, json_response
from ministack.services import stepfunctions as states

from tests.aws.emulator import hand

_LONG_S = 60
_by_hand = hand.followed()
_redriven: dict[str, tuple[str, str]] = {}
"""Of executions that are redriven: the ARN of the machine that was started, and the input."""


def install() -> None:
    """Amend the service."""
    start, run, told = states._start_execution, states._run_execution, states._emit_execution_status_event
    add = states._add_event
    describe, listed, handle = states._describe_execution, states._list_executions, states.handle_request

    def started(data: dict[str, Any]) -> Any:
        machine = _machine(data.get("stateMachineArn", ""))
        if machine is None or machine.get("type") == "EXPRESS":
            return start(data)
        name, given = data.get("name"), data.get("input", "{}")
        arn = f"{machine['stateMachineArn'].replace(':stateMachine:', ':execution:')}:{name}"
        twin = states._executions.get(arn)
        if twin is not None and twin["status"] == "RUNNING" and _same(twin["input"], given):
            return json_response({"executionArn": arn, "startDate": twin["startDate"]})
        return start(data)

    def ran(arn: str) -> None:
        execution = states._executions.get(arn)
        if execution is None:
            return
        limit_s = _definition(execution).get("TimeoutSeconds")
        if limit_s is not None:
            context = contextvars.copy_context()
            _later(arn, limit_s, lambda: context.run(_time_out, execution))
        run(arn)
        if arn in _redriven:
            shadow = execution["stateMachineArn"]
            execution["stateMachineArn"], execution["input"] = _redriven.pop(arn)
            states._state_machines.pop(shadow, None)

    def emitted(execution: dict[str, Any]) -> None:
        arn, given = _redriven.get(execution["executionArn"], (execution["stateMachineArn"], execution["input"]))
        told({**execution, "stateMachineArn": arn, "input": given})

    def described(data: dict[str, Any]) -> Any:
        arn = data.get("executionArn", "")
        status, headers, body = describe(data)
        execution = states._executions.get(arn)
        if status != 200 or execution is None:
            return status, headers, body
        own = {"redriveCount": execution.get("redriveCount", 0)}
        if arn in _redriven:
            own["stateMachineArn"], own["input"] = _redriven[arn]
        return status, headers, json.dumps({**json.loads(body), **own}).encode()

    def without_shadows(data: dict[str, Any]) -> Any:
        status, headers, body = listed(data)
        for execution, (arn, _) in [*_redriven.items()]:
            body = body.replace(states._executions[execution]["stateMachineArn"].encode(), arn.encode())
        return status, headers, body

    async def handled(method: str, path: str, headers: Any, body: Any, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return states._finalize_response(_redrive(json.loads(body)["executionArn"]))
        return await handle(method, path, headers, body, query)

    def added(execution: dict[str, Any], kind: str, details: Any = None) -> None:
        if _by_hand is not None:
            _by_hand.tell(execution["executionArn"])
        if execution["status"] == "RUNNING" or kind.startswith("Execution"):  # nothing happens after the end
            add(execution, kind, details)

    states._add_event = added
    if _by_hand is not None:
        states._scaled_sleep = _by_hand.sleep
    states._start_execution = started
    states._run_execution = ran
    states._emit_execution_status_event = emitted
    states._describe_execution = described
    states._list_executions = without_shadows
    states.handle_request = handled


def _later(arn: str, seconds: float, then: Callable[[], object]) -> None:
    """Do something for an execution when its time is up."""
    if _by_hand is not None:
        hand = _by_hand.hand
        threading.Thread(target=hand.wait, args=(arn, hand.now_s() + seconds, then), daemon=True).start()
        return
    # Short limits are for waits, which are scaled; within a long one functions are called, and those are not.
    timer = threading.Timer(seconds * (states._SFN_WAIT_SCALE if seconds < _LONG_S else 1), then)
    timer.daemon = True
    timer.start()


class _Shadow(str):
    """The ARN of the machine that goes on with a redriven execution; whoever looks for that of its own finds it too."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        return str.__ne__(self, other) and str(other) != self.partition("~")[0]


def _redrive(arn: str) -> Any:
    """Go on from the state of the machine in which it failed, with the input it had."""
    execution = states._executions.get(arn)
    if execution is None:
        return error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
    if execution["status"] in ("RUNNING", "SUCCEEDED"):
        return error_response_json("ExecutionNotRedrivable", f"Execution is {execution['status']}", 400)
    machine = states._state_machines[execution["stateMachineArn"]]
    definition = _definition(execution)
    entered = [
        event["stateEnteredEventDetails"]
        for event in execution["events"]
        if event["type"].endswith("StateEntered") and event["stateEnteredEventDetails"]["name"] in definition["States"]
    ][-1]
    shadow = _Shadow(f"{machine['stateMachineArn']}~{uuid4().hex}")
    document = json.dumps({**definition, "StartAt": entered["name"]})
    states._state_machines[shadow] = {**machine, "definition": document}
    _redriven[arn] = execution["stateMachineArn"], execution["input"]
    for gone in ("output", "error", "cause"):
        execution[gone] = None
    execution |= {"stateMachineArn": shadow, "input": entered["input"], "status": "RUNNING", "stopDate": None}
    execution["redriveCount"] = execution.get("redriveCount", 0) + 1
    details = {"redriveCount": execution["redriveCount"]}
    states._add_event(execution, "ExecutionRedriven", {"executionRedrivenEventDetails": details})
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(states._run_execution, arn), daemon=True).start()
    return json_response({"redriveDate": states.now_iso()})


def _time_out(execution: dict[str, Any]) -> None:
    if execution["status"] != "RUNNING":
        return
    execution["status"], execution["stopDate"] = "TIMED_OUT", states.now_iso()
    execution["error"] = "States.Timeout"
    states._add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {"error": "States.Timeout"}})
    states._emit_execution_status_event(execution)


def _machine(arn: str) -> dict[str, Any] | None:
    found = states._resolve_state_machine_arn(arn)
    return None if found is None else states._state_machines[found]


def _definition(execution: dict[str, Any]) -> dict[str, Any]:
    machine = states._state_machines.get(execution["stateMachineArn"], {})
    return json.loads(machine.get("definition", "{}"))  # type: ignore[no-any-return]


def _same(one: str, other: str) -> bool:
    try:
        return json.dumps(json.loads(one), sort_keys=True) == json.dumps(json.loads(other), sort_keys=True)
    except ValueError:
        return False
