"""What follows an error: Retry, Catch, or the end of the branch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.local.executions.flow import place
from headgate.local.executions.state import ROOT, Branch, Fault
from headgate.local.executions.turn import Turn

_NESTED = {"Map": "MapStateFailed", "Parallel": "ParallelStateFailed"}


def fail(turn: Turn, branch: Branch, state: Mapping[str, Any], fault: Fault) -> None:
    """The state failed: try it again, go where its Catch says, or let the branch fail."""
    error, cause = fault.error, fault.cause
    if not fault.outside:
        cause = (
            f"An error occurred while executing the state '{branch.state}' (entered at the event id "
            f"#{branch.entered_event}). {cause}"
        )
    if fault.evaluation:
        _tell_evaluation(turn, branch, error, cause, fault.location)
    branch.due_ms, branch.attempt = None, 0
    if _try_again(turn, branch, state, error):
        return
    if state["Type"] in _NESTED and ("Catch" not in state or state["Catch"] != ()):
        turn.event(branch, _NESTED[state["Type"]])
    try:
        if _catch(turn, branch, state, error, cause):
            return
    except Fault as second:  # the Catch itself cannot be carried out
        fail(turn, branch, {**state, "Retry": (), "Catch": ()}, second)
        return
    branch.phase, branch.error = "failed", [error, cause]
    if branch.id == ROOT:
        turn.fail_whole(branch, error, cause)
    else:
        from headgate.local.executions.nested import child_failed

        child_failed(turn, branch)


def _tell_evaluation(turn: Turn, branch: Branch, error: str | None, cause: str | None, location: str | None) -> None:
    details = {"cause": cause, "error": error, "location": location, "state": branch.state}
    kept = {key: value for key, value in details.items() if value is not None}
    turn.event(branch, "EvaluationFailed", ("evaluationFailedEventDetails", kept))


def _try_again(turn: Turn, branch: Branch, state: Mapping[str, Any], error: str | None) -> bool:
    for index, retrier in enumerate(state.get("Retry", ())):
        if not matches(retrier["ErrorEquals"], error):
            continue
        used = branch.retries[index] if index < len(branch.retries) else 0
        if used >= retrier.get("MaxAttempts", 3):
            return False
        branch.retries = [*branch.retries, *[0] * (index + 1 - len(branch.retries))]
        branch.retries[index] = used + 1
        branch.retry_count += 1
        turn.drop_children(branch)
        branch.phase, branch.due_ms = "waiting", turn.moment.now_ms + _delay_ms(turn, retrier, used)
        return True
    return False


def _delay_ms(turn: Turn, retrier: Mapping[str, Any], used: int) -> int:
    most_s = float(retrier.get("MaxDelaySeconds", 31_622_400))
    try:
        seconds: float = min(retrier.get("IntervalSeconds", 1) * float(retrier.get("BackoffRate", 2.0)) ** used, most_s)
    except OverflowError:
        seconds = most_s
    if retrier.get("JitterStrategy") == "FULL":
        seconds = turn.chance.uniform(0, seconds)
    return round(seconds * 1000)


def _catch(turn: Turn, branch: Branch, state: Mapping[str, Any], error: str | None, cause: str | None) -> bool:
    for index, catcher in enumerate(state.get("Catch", ())):
        if not matches(catcher["ErrorEquals"], error):
            continue
        told = {"Error": error or "", "Cause": cause or ""}
        scope = turn.scope(branch, state, errorOutput=told)
        field = f"Catch[{index}]"
        if scope.jsonata:
            output = scope.value(catcher["Output"], f"{field}/Output", None) if "Output" in catcher else told
        else:
            output = place(catcher.get("ResultPath", "$"), branch.input, told)
        turn.assign(branch, catcher, scope, told, f"{field}/")
        turn.drop_children(branch)
        turn.leave(branch, state, output, catcher["Next"])
        return True
    return False


def matches(names: list[str], error: str | None) -> bool:
    """Whether ErrorEquals names this error. States.Runtime is named by nothing: it always ends the execution."""
    if error is None or error == "States.Runtime":
        return False
    if error in names or "States.ALL" in names:
        return True
    if error == "States.HeartbeatTimeout" and "States.Timeout" in names:
        return True
    return "States.TaskFailed" in names and error not in ("States.Timeout", "States.HeartbeatTimeout")
