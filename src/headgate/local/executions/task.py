"""Task: ask for something outside, and take what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.declare.asl import is_lambda
from headgate.local.executions.flow import arguments, leave_with
from headgate.local.executions.state import Branch, Fault, Outcome, size_bytes, text
from headgate.local.executions.turn import MOST_BYTES, Turn

_WHOLE = {"truncated": False}


def enter(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    scope = turn.scope(branch, state)
    given = arguments(scope, state, branch.input)
    source = branch.input
    if not scope.jsonata:
        source = scope.selected(state.get("InputPath", "$"), "InputPath", branch.input)
    timeout_s = scope.number(state, "TimeoutSeconds", source)
    heartbeat_s = scope.number(state, "HeartbeatSeconds", source)
    _tell_scheduled(turn, branch, state["Resource"], given, _bounds(timeout_s, heartbeat_s))
    first_s = min((each for each in (timeout_s, heartbeat_s) if each is not None), default=None)
    timeout_ms = None if first_s is None else round(first_s * 1000)
    turn.invoke(branch, state["Resource"], given, timeout_ms)
    branch.due_ms = None if timeout_ms is None else turn.moment.now_ms + timeout_ms


def outcome(turn: Turn, branch: Branch, state: Mapping[str, Any], came: Outcome) -> None:
    resource = state["Resource"]
    if came.failed:
        _failed(turn, branch, resource, came.error, came.cause)
        raise Fault(came.error, came.cause, outside=True)
    if size_bytes(came.result) > MOST_BYTES:
        named = resource if is_lambda(resource) else _service(resource)[0]
        cause = (
            f"The state/task '{named}' returned a result with a size exceeding the maximum number of bytes service "
            "limit."
        )
        _failed(turn, branch, resource, "States.DataLimitExceeded", cause)
        raise Fault("States.DataLimitExceeded", cause, outside=True)
    told = {"output": text(came.result), "outputDetails": _WHOLE}
    if is_lambda(resource):
        turn.event(branch, "LambdaFunctionSucceeded", ("lambdaFunctionSucceededEventDetails", told))
    else:
        turn.event(branch, "TaskSucceeded", ("taskSucceededEventDetails", {**told, **_named(resource)}))
    leave_with(turn, branch, state, came.result)


def timed_out(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    """Nothing came in time. What comes later is ignored."""
    resource = state["Resource"]
    error = "States.Timeout"
    if "HeartbeatSeconds" in state or "HeartbeatSecondsPath" in state:
        error = "States.HeartbeatTimeout"
    if is_lambda(resource):
        turn.event(branch, "LambdaFunctionTimedOut", ("lambdaFunctionTimedOutEventDetails", {"error": error}))
    else:
        turn.event(branch, "TaskTimedOut", ("taskTimedOutEventDetails", {"error": error, **_named(resource)}))
    raise Fault(error, None, outside=True)


def _tell_scheduled(turn: Turn, branch: Branch, resource: str, given: Any, bounds: dict[str, Any]) -> None:
    if is_lambda(resource):
        details = {"input": text(given), "inputDetails": _WHOLE, "resource": resource, **bounds}
        turn.event(branch, "LambdaFunctionScheduled", ("lambdaFunctionScheduledEventDetails", details))
        turn.event(branch, "LambdaFunctionStarted")
        return
    region = turn.run.arn.split(":")[3]
    details = {"parameters": text(given), "region": region, **_named(resource), **bounds}
    turn.event(branch, "TaskScheduled", ("taskScheduledEventDetails", details))
    turn.event(branch, "TaskStarted", ("taskStartedEventDetails", _named(resource)))


def _failed(turn: Turn, branch: Branch, resource: str, error: str | None, cause: str | None) -> None:
    told = {key: value for key, value in (("cause", cause), ("error", error)) if value is not None}
    if is_lambda(resource):
        turn.event(branch, "LambdaFunctionFailed", ("lambdaFunctionFailedEventDetails", told))
    else:
        turn.event(branch, "TaskFailed", ("taskFailedEventDetails", {**told, **_named(resource)}))


def _bounds(timeout_s: Any, heartbeat_s: Any) -> dict[str, Any]:
    found = {"timeoutInSeconds": timeout_s, "heartbeatInSeconds": heartbeat_s}
    return {key: value for key, value in found.items() if value is not None}


def _named(resource: str) -> dict[str, str]:
    service, verb = _service(resource)
    return {"resource": verb, "resourceType": service}


def _service(resource: str) -> tuple[str, str]:
    """`arn:aws:states:::sns:publish` → `sns`, `publish`."""
    service, _, verb = resource.removeprefix("arn:aws:states:::").rpartition(":")
    return service, verb
