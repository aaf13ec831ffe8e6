"""Map and Parallel: states within a state. Each branch or item is a child of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate import limits
from headgate.local.executions.flow import arguments, leave_with
from headgate.local.executions.handlers import fail
from headgate.local.executions.scope import Scope
from headgate.local.executions.state import Branch, Fault, size_bytes, text
from headgate.local.executions.turn import Turn

# How many iterations Step Functions has under way where MaxConcurrency does not say.
_MOST_INLINE = 40
_MOST_DISTRIBUTED = 10_000


def enter_parallel(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    given = arguments(turn.scope(branch, state), state, branch.input)
    turn.event(branch, "ParallelStateStarted")
    machines = [[*branch.machine, "States", branch.state, "Branches", index] for index in range(len(state["Branches"]))]
    _spread(turn, branch, [(machine, given, False, None) for machine in machines], len(machines))


def enter_map(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    scope = turn.scope(branch, state)
    document = branch.input if scope.jsonata else scope.selected(state.get("InputPath", "$"), "InputPath", branch.input)
    items = _items(scope, state, document)
    most = scope.number(state, "MaxConcurrency", document, default=0)
    distributed = turn.is_distributed(state)
    branch.tolerated = _tolerated(scope, state, document, len(items)) if distributed else 0
    turn.event(branch, "MapStateStarted", ("mapStateStartedEventDetails", {"length": len(items)}))
    if distributed:
        arn = f"{turn.run.arn.replace(':execution:', ':mapRun:')}/{branch.state}:{branch.id}-{branch.entered_event}"
        turn.event(branch, "MapRunStarted", ("mapRunStartedEventDetails", {"mapRunArn": arn}))
    key = "ItemProcessor" if "ItemProcessor" in state else "Iterator"
    machine: list[str | int] = [*branch.machine, "States", branch.state, key]
    inputs = _inputs(turn, branch, state, document, items)
    children = [(machine, given, True, item) for given, item in zip(inputs, items, strict=True)]
    _spread(turn, branch, children, int(most) or (_MOST_DISTRIBUTED if distributed else _MOST_INLINE))


def _items(scope: Scope, state: Mapping[str, Any], document: Any) -> list[Any]:
    if scope.jsonata and "Items" in state:
        found = scope.value(state["Items"], "Items", document)
        if not isinstance(found, list):
            raise scope.mistyped(state["Items"], "Items", "array", found)
        return found
    found = document
    if "ItemsPath" in state:
        found = scope.at(state["ItemsPath"], "ItemsPath", document)
    if isinstance(found, list):
        return found
    if not scope.jsonata:
        raise Fault("States.Runtime", f'Reference path "{state.get("ItemsPath", "$")}" must point to array.')
    cause = f"Map state input must be an array but was: {text(found)}"
    raise Fault("States.QueryEvaluationError", cause, evaluation=True)


def _inputs(turn: Turn, branch: Branch, state: Mapping[str, Any], document: Any, items: list[Any]) -> list[Any]:
    """Those of the iterations: the items, or what ItemSelector makes of each."""
    field = "ItemSelector" if "ItemSelector" in state else "Parameters"
    if field not in state:
        return items
    inputs, room = [], limits.WORKFLOW_MAP_DATA.value
    scope = turn.scope(branch, state)
    around = scope.context
    for index, item in enumerate(items):
        scope.context = {**around, "Map": {"Item": {"Index": index, "Value": item}}}
        inputs.append(scope.value(state[field], field, document))
        room -= size_bytes(inputs[-1])
        if room < 0:
            cause = f"The inputs of the iterations of '{branch.state}' are more than may be under way together."
            raise Fault("States.DataLimitExceeded", cause, outside=True)
    return inputs


def _tolerated(scope: Scope, state: Mapping[str, Any], document: Any, total: int) -> float:
    count = scope.number(state, "ToleratedFailureCount", document, default=0)
    percentage = scope.number(state, "ToleratedFailurePercentage", document, default=0)
    return float(max(count, percentage * total / 100))


def _spread(turn: Turn, branch: Branch, children: list[tuple[list[str | int], Any, bool, Any]], most: int) -> None:
    """Make the children, and let as many of them begin as may run at a time."""
    branch.phase, branch.first = "children", turn.new_ids(len(children))
    branch.total, branch.begun, branch.ended, branch.failures = len(children), 0, 0, 0
    apart = branch.apart or turn.is_distributed(turn.state(branch))
    for index, (machine, given, has_item, item) in enumerate(children):
        turn.add(
            Branch(
                branch.first + index,
                parent=branch.id,
                index=index,
                machine=machine,
                state=turn.start_at(machine),
                phase="queued",
                apart=apart,
                input=given,
                has_item=has_item,
                item=item,
            )
        )
    for _ in range(min(most, len(children))):
        _begin_next(turn, branch)
    if not children:
        _complete(turn, branch)


def _begin_next(turn: Turn, branch: Branch) -> None:
    child = turn.branch(branch.first + branch.begun)
    branch.begun += 1
    state = turn.state(branch)
    distributed = turn.is_distributed(state)
    child.last_event = 0 if distributed else branch.last_event
    if state["Type"] == "Map" and not distributed:
        details = {"index": child.index, "name": branch.state}
        turn.event(child, "MapIterationStarted", ("mapIterationStartedEventDetails", details))
    turn.go_on(child)


def child_done(turn: Turn, child: Branch) -> None:
    """A child has come to its end; the next may begin, or the state is complete."""
    parent = turn.branch(child.parent)
    _tell_iteration(turn, parent, child, "Succeeded")
    _ended(turn, parent, child)


def _ended(turn: Turn, parent: Branch, child: Branch) -> None:
    parent.ended += 1
    if not turn.is_distributed(turn.state(parent)):
        parent.last_event = child.last_event
    if parent.begun < parent.total:
        _begin_next(turn, parent)
    elif parent.ended == parent.total:
        _complete(turn, parent)


def child_failed(turn: Turn, child: Branch) -> None:
    """Nothing in the child caught its error: the state fails with it, or tolerates it."""
    parent = turn.branch(child.parent)
    state = turn.state(parent)
    before = child.last_event
    _tell_iteration(turn, parent, child, "Failed")
    if not turn.is_distributed(state):
        parent.last_event = before
        _abort_others(turn, parent)
        fail(turn, parent, state, Fault(*child.error, outside=True))
        return
    parent.failures += 1
    if parent.failures <= parent.tolerated:
        _ended(turn, parent, child)
        return
    _abort_others(turn, parent)
    told = {"cause": "The specified tolerated failure threshold was exceeded"}
    error = "States.ExceedToleratedFailureThreshold"
    turn.event(parent, "MapRunFailed", ("mapRunFailedEventDetails", {**told, "error": error}))
    fail(turn, parent, state, Fault(error, told["cause"], outside=True))


def _abort_others(turn: Turn, parent: Branch) -> None:
    for other in turn.children(parent):
        if other.phase not in ("done", "failed", "queued"):
            aborted = turn.branch(other.id)
            turn.abort(aborted)
            _tell_iteration(turn, parent, aborted, "Aborted")


def _tell_iteration(turn: Turn, parent: Branch, child: Branch, how: str) -> None:
    state = turn.state(parent)
    if state["Type"] == "Map" and not turn.is_distributed(state):
        details = {"index": child.index, "name": parent.state}
        turn.event(child, f"MapIteration{how}", (f"mapIteration{how}EventDetails", details))


def _complete(turn: Turn, branch: Branch) -> None:
    state = turn.state(branch)
    results = [child.output for child in turn.children(branch) if child.phase == "done"]
    if turn.is_distributed(state):
        turn.event(branch, "MapRunSucceeded")
    before = branch.last_event
    turn.event(branch, f"{state['Type']}StateSucceeded")
    branch.last_event = before
    turn.drop_children(branch)
    try:
        leave_with(turn, branch, state, results)
    except Fault as fault:
        fail(turn, branch, state, fault)
