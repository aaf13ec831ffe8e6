"""Redrive: an execution that ended badly goes on from the states it failed in, with the input they had."""

from __future__ import annotations

from headgate.local.executions.state import ROOT, Branch
from headgate.local.executions.turn import Turn


def redrive(turn: Turn) -> None:
    """What was done stays done; what failed or was stopped is tried again, with all its retries."""
    turn.run.redrives += 1
    turn.run.redriven_ms = turn.moment.now_ms
    turn.run.status, turn.run.stopped_ms = "RUNNING", None
    turn.run.error = turn.run.cause = None
    if "TimeoutSeconds" in turn.document:
        turn.run.deadline_ms = turn.moment.now_ms + turn.document["TimeoutSeconds"] * 1000
    root = turn.branch(ROOT)
    turn.event(root, "ExecutionRedriven", ("executionRedrivenEventDetails", {"redriveCount": turn.run.redrives}))
    _resume(turn, root)


def _resume(turn: Turn, branch: Branch) -> None:
    branch.retries, branch.retry_count, branch.error = [], 0, []
    children = turn.children(branch)
    unfinished = [child for child in children if child.phase != "done"]
    if not unfinished:
        turn.go_on(branch)
        return
    branch.phase = "children"
    branch.ended = len(children) - len(unfinished)
    branch.failures = 0
    for child in unfinished:
        if child.phase == "failed":
            _resume(turn, turn.branch(child.id))
