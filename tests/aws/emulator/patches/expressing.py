"""An Express workflow starts as often as it is asked to, under whatever name, and nobody is told of its executions.

https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html: no names that are taken, no events of
EventBridge, and DescribeExecution, GetExecutionHistory, StopExecution and ListExecutions are of Standard ones alone.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, now_iso
from ministack.services import stepfunctions as steps

_KIND = ":express:"


def install() -> None:
    """Start Express executions in their own way, and be silent about them."""
    start, tell, listed = steps._start_execution, steps._emit_execution_status_event, steps._list_executions

    def started(data: dict[str, Any]) -> Any:
        arn = steps._resolve_state_machine_arn(data.get("stateMachineArn", ""))
        machine = steps._state_machines.get(arn) if arn else None
        return _begun(machine, data) if machine and machine.get("type") == "EXPRESS" else start(data)

    def told(execution: dict[str, Any]) -> None:
        if _KIND not in execution["executionArn"]:
            tell(execution)

    def of_standard(data: dict[str, Any]) -> Any:
        machine = steps._state_machines.get(data.get("stateMachineArn", ""))
        if machine and machine.get("type") == "EXPRESS":
            return error_response_json("StateMachineTypeNotSupported", "This operation is not supported.", 400)
        return listed(data)

    steps._start_execution, steps._emit_execution_status_event, steps._list_executions = started, told, of_standard
    for name in ("_describe_execution", "_get_execution_history", "_stop_execution"):
        setattr(steps, name, _refusing(getattr(steps, name)))


def _refusing(asked: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    def refused(data: dict[str, Any]) -> Any:
        if _KIND in data.get("executionArn", ""):
            said = "Invalid Arn: 'Resource type not valid in this context: express'"
            return error_response_json("InvalidArn", said, 400)
        return asked(data)

    return refused


def _begun(machine: dict[str, Any], data: dict[str, Any]) -> Any:
    name = data.get("name") or str(uuid4())
    arn = f"arn:aws:states:{get_region()}:{get_account_id()}:express:{machine['name']}:{name}:{uuid4()}"
    begun, given = now_iso(), data.get("input", "{}")
    entered = {"input": given, "roleArn": machine["roleArn"]}
    steps._executions[arn] = {
        "executionArn": arn, "stateMachineArn": machine["stateMachineArn"], "name": name, "status": "RUNNING",
        "startDate": begun, "stopDate": None, "input": given, "inputDetails": {"included": True}, "output": None,
        "outputDetails": {"included": True}, "testCase": "", "mockAttempts": {}, "encryptionConfiguration": {},
        "events": [
            {"id": 1, "type": "ExecutionStarted", "timestamp": begun, "executionStartedEventDetails": entered}
        ],
    }  # fmt: skip
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(steps._run_execution, arn), daemon=True).start()
    return json_response({"executionArn": arn, "startDate": begun})
