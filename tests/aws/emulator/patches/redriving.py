"""An execution that failed is redriven; here only one that failed in its first state, with which it begins anew.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_RedriveExecution.html
"""

from __future__ import annotations

import contextvars
import json
import threading
import time
from typing import Any

from ministack.core.responses import error_response_json, json_response
from ministack.services import stepfunctions

_TARGET = "AWSStepFunctions.RedriveExecution"


def install() -> None:
    """Take the call before it is refused as unknown."""
    handle, describe = stepfunctions.handle_request, stepfunctions._describe_execution

    async def handled(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target") == _TARGET:
            return _redriven(json.loads(body)["executionArn"])
        return await handle(method, path, headers, body, query)

    def described(data: Any) -> Any:
        status, headers, body = describe(data)
        redrives = (stepfunctions._executions.get(data.get("executionArn")) or {}).get("redrives", 0)
        return (status, headers, json.dumps({**json.loads(body), "redriveCount": redrives}).encode())

    stepfunctions.handle_request = handled
    stepfunctions._describe_execution = described


def _redriven(arn: str) -> Any:
    execution = stepfunctions._executions.get(arn)
    if execution is None:
        return error_response_json("ExecutionDoesNotExist", f"Execution {arn} not found", 400)
    entered = [event for event in execution["events"] if event["type"].endswith("StateEntered")]
    if execution["status"] != "FAILED" or len(entered) != 1 + execution.get("redrives", 0):
        return error_response_json("ExecutionNotRedrivable", "The emulator does not redrive it", 400)
    execution.update(status="RUNNING", stopDate=None, output=None, redrives=execution.get("redrives", 0) + 1)
    for name in ("error", "cause"):
        execution.pop(name, None)
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(stepfunctions._run_execution, arn), daemon=True).start()
    return json_response({"redriveDate": time.time()})
