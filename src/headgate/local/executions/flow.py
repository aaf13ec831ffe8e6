"""The states that need nothing from outside: Pass, Succeed, Fail, and Wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.declare.paths import NoSuchPath, path, written
from headgate.local.executions.choice import timestamp
from headgate.local.executions.scope import Scope
from headgate.local.executions.state import Branch, Fault, text
from headgate.local.executions.turn import Turn

_MOST_WAIT_S = 2_147_483_647  # Step Functions refuses more: its own counter of seconds has 31 bits


def enter_pass(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    scope = turn.scope(branch, state)
    if scope.jsonata:
        document = branch.input
        output = scope.value(state["Output"], "Output", None) if "Output" in state else document
    else:
        document = arguments(scope, state, branch.input)
        placed = place(state.get("ResultPath", "$"), branch.input, state.get("Result", document))
        output = scope.selected(state.get("OutputPath", "$"), "OutputPath", placed)
    turn.assign(branch, state, scope, document)
    turn.leave(branch, state, output)


def enter_succeed(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    scope = turn.scope(branch, state)
    if scope.jsonata:
        output = scope.value(state["Output"], "Output", None) if "Output" in state else branch.input
    else:
        document = scope.selected(state.get("InputPath", "$"), "InputPath", branch.input)
        output = scope.selected(state.get("OutputPath", "$"), "OutputPath", document)
    turn.leave(branch, state, output)


def enter_fail(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    scope = turn.scope(branch, state)
    told = [_told(scope, state, field, branch.input) for field in ("Error", "Cause")]
    raise Fault(told[0], told[1], outside=True)


def _told(scope: Scope, state: Mapping[str, Any], field: str, document: Any) -> str | None:
    if field + "Path" in state:
        found = scope.at(state[field + "Path"], field + "Path", document)
    elif field in state:
        found = scope.value(state[field], field, document) if scope.jsonata else state[field]
    else:
        return None
    if not isinstance(found, str):
        raise scope.mistyped(state.get(field), field, "string", found)
    return found


def enter_wait(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    scope = turn.scope(branch, state)
    document = branch.input if scope.jsonata else scope.selected(state.get("InputPath", "$"), "InputPath", branch.input)
    if "Timestamp" in state or "TimestampPath" in state:
        due_ms = _moment_ms(scope, state, document)
    else:
        seconds = scope.number(state, "Seconds", document)
        if seconds < 0 or seconds != int(seconds):
            raise Fault("States.Runtime", f"The seconds to wait have to be a whole number from 0 on, not {seconds}")
        due_ms = turn.moment.now_ms + int(seconds) * 1000
    if due_ms - turn.moment.now_ms > _MOST_WAIT_S * 1000:
        raise Fault("States.Runtime", "Wait state delay is too long.")
    if due_ms <= turn.moment.now_ms:
        wake(turn, branch, state)
    else:
        branch.phase, branch.due_ms = "waiting", due_ms
        branch.by_wall = "Timestamp" in state or "TimestampPath" in state


def _moment_ms(scope: Scope, state: Mapping[str, Any], document: Any) -> int:
    field = "TimestampPath" if "TimestampPath" in state else "Timestamp"
    given = state[field]
    if field == "TimestampPath":
        given = scope.at(given, field, document)
    elif scope.jsonata:
        given = scope.value(given, field, document)
    moment = timestamp(given)
    if moment is None:
        raise Fault(
            "States.Runtime",
            f"The {field} parameter does not reference a valid ISO-8601 extended offset date-time format string: "
            f"{state[field]} == {given if isinstance(given, str) else text(given)}",
        )
    return int(moment[0].timestamp() * 1000) + int(float(moment[1] or "0") * 1000)


def wake(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    """The wait is over."""
    scope = turn.scope(branch, state)
    if scope.jsonata:
        document = branch.input
        output = scope.value(state["Output"], "Output", None) if "Output" in state else document
    else:
        document = scope.selected(state.get("InputPath", "$"), "InputPath", branch.input)
        output = scope.selected(state.get("OutputPath", "$"), "OutputPath", document)
    turn.assign(branch, state, scope, document)
    turn.leave(branch, state, output)


def arguments(scope: Scope, state: Mapping[str, Any], source: Any) -> Any:
    """What a Task or Parallel state works on: its input, through InputPath and Parameters, or through Arguments."""
    if scope.jsonata:
        return scope.value(state["Arguments"], "Arguments", None) if "Arguments" in state else source
    document = scope.selected(state.get("InputPath", "$"), "InputPath", source)
    if "Parameters" in state:
        return scope.value(state["Parameters"], "Parameters", document)
    return document


def leave_with(turn: Turn, branch: Branch, state: Mapping[str, Any], result: Any) -> None:
    """Out of a Task, Map or Parallel state with its result."""
    scope = turn.scope(branch, state, result=result)
    if scope.jsonata:
        output = scope.value(state["Output"], "Output", None) if "Output" in state else result
    else:
        selected = result
        if "ResultSelector" in state:
            selected = scope.value(state["ResultSelector"], "ResultSelector", result)
        placed = place(state.get("ResultPath", "$"), branch.input, selected)
        output = scope.selected(state.get("OutputPath", "$"), "OutputPath", placed)
    turn.assign(branch, state, scope, result)
    turn.leave(branch, state, output)


def place(where: str | None, document: Any, result: Any) -> Any:
    """ResultPath: where in the state's input its result goes; null leaves the input as it is."""
    if where is None:
        return document
    try:
        return written(path(where), document, result)
    except NoSuchPath:
        raise Fault(
            "States.ResultPathMatchFailure",
            f'Unable to apply step "{where}" to input {text(document)}',
        ) from None
