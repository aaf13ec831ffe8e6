"""The interpreter: one stimulus in, one step out. Pure: the same document, state, stimulus and moment give the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from headgate.gate.observe import site
from headgate.local.executions import choice, flow, nested, task
from headgate.local.executions.handlers import fail
from headgate.local.executions.redrive import redrive
from headgate.local.executions.state import (
    ROOT,
    Advance,
    Begin,
    Branch,
    Deadline,
    Due,
    Fault,
    Moment,
    Outcome,
    Redrive,
    Run,
    Step,
    Stimulus,
    Stop,
    text,
)
from headgate.local.executions.turn import MOST_EVENTS, Overlong, Turn, started

log = logging.getLogger("headgate.local")

_NO_NUMBER = "The input has a number that is too large to be computed with."
_ENTER: dict[str, Callable[[Turn, Branch, Mapping[str, Any]], None]] = {
    "Pass": flow.enter_pass,
    "Succeed": flow.enter_succeed,
    "Fail": flow.enter_fail,
    "Wait": flow.enter_wait,
    "Choice": choice.enter,
    "Task": task.enter,
    "Map": nested.enter_map,
    "Parallel": nested.enter_parallel,
}


def step(
    document: Mapping[str, Any], run: Run, branches: Mapping[int, Branch], stimulus: Stimulus, moment: Moment
) -> Step | None:
    """What the stimulus does to the execution; None where it comes too late to do anything.

    Nothing that is handed in is changed.
    """
    if run.status != "RUNNING" and not isinstance(stimulus, Redrive):
        return None
    turn = Turn(document, run, branches, moment)
    try:
        return turn.done() if _apply(turn, stimulus) else None
    except Overlong:
        cause = f"The execution reached the maximum number of history events ({MOST_EVENTS})."
    except Exception as error:  # noqa: BLE001 - a mistake of ours ends this execution, and no other
        log.error("a step failed where=%s", site(error))
        cause = f"headgate could not carry it out: {type(error).__name__}"
    return given_up(document, run, branches, moment, cause)


def given_up(
    document: Mapping[str, Any],
    run: Run,
    branches: Mapping[int, Branch],
    moment: Moment,
    cause: str = "headgate could not write what it came to.",
) -> Step:
    """The end of an execution that cannot go on."""
    turn = Turn(document, run, branches, moment)
    root = turn.branch(ROOT) if ROOT in branches else Branch(ROOT, state=turn.start_at([]))
    turn.add(root)
    turn.abort_silently(root)
    turn.fail_whole(root, "States.Runtime", cause)
    return turn.done()


def _apply(turn: Turn, stimulus: Stimulus) -> bool:
    """Whether the stimulus meant anything."""
    match stimulus:
        case Begin():
            _begin(turn)
        case Deadline():
            turn.time_out_whole()
        case Stop(error=error, cause=cause):
            turn.abort_whole(error, cause)
        case Redrive():
            redrive(turn)
        case Advance(branch=id):
            return _with(turn, id, "ready", _advance)
        case Due(branch=id):
            return _with(turn, id, "waiting", _wake) or _with(turn, id, "task", task.timed_out)
        case Outcome(branch=id, attempt=attempt):
            found = turn.look(id)
            if found is None or found.attempt != attempt:
                return False
            return _with(turn, id, "task", lambda turn, branch, state: task.outcome(turn, branch, state, stimulus))
    return True


def _begin(turn: Turn) -> None:
    root = Branch(ROOT, state=turn.start_at([]), input=turn.context_input())
    turn.event(root, "ExecutionStarted", started(turn.run))
    try:
        text(root.input)
    except ValueError:  # it was read as infinite: no branch could be written, and nothing else in its transaction
        turn.fail_whole(root, "States.Runtime", _NO_NUMBER)
        return
    root.last_event = 0  # AWS counts the first state's event as the first of its line
    turn.add(root)


def _with(turn: Turn, id: int, phase: str, act: Callable[[Turn, Branch, Mapping[str, Any]], None]) -> bool:
    """Act on a branch that is in this phase; what its state fails with is handled."""
    found = turn.look(id)
    if found is None or found.phase != phase:
        return False
    branch = turn.branch(id)
    state = turn.state(branch)
    try:
        act(turn, branch, state)
    except Fault as fault:
        fail(turn, branch, state, fault)
    return True


def _advance(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    if not branch.entered_event:
        turn.entered(branch, state)
    _ENTER[state["Type"]](turn, branch, state)


def _wake(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    if state["Type"] == "Wait":
        flow.wake(turn, branch, state)
    else:
        _advance(turn, branch, state)
