"""What the states of an execution did, read out of its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.engine import Execution, HistoryEvent

_ENTERED, _EXITED = "StateEntered", "StateExited"
_TRIED = ("TaskScheduled", "LambdaFunctionScheduled")
_FAILED = ("Failed", "TimedOut", "StartFailed", "SubmitFailed")


@dataclass
class StateRun:
    """One visit to a state. `ended_ms` is None while it is there, or where the execution ended there; an `error` of a
    state that was left was caught."""

    name: str
    type: str
    started_ms: int
    ended_ms: int | None = None
    input: str | None = None
    output: str | None = None
    error: str | None = None
    cause: str | None = None
    failed_ms: int | None = None
    tries: int = 0

    @property
    def retries(self) -> int:
        """How often it was tried again."""
        return max(self.tries - 1, 0)


def state_runs(history: Sequence[HistoryEvent]) -> list[StateRun]:
    """The visits to states, in the order they began."""
    found: dict[int, StateRun] = {}
    within: dict[int, int] = {}  # from an event to the one with which its state was entered
    for event in history:
        details: dict[str, Any] = next(iter(event.details.values()), {})
        entered = within.get(event.previous, 0)
        if event.type.endswith(_ENTERED):
            entered = event.id
            kind = event.type.removesuffix(_ENTERED)
            found[event.id] = StateRun(details["name"], kind, event.ms, input=details.get("input"))
        elif event.type.endswith(_EXITED):
            run = _left(found, details["name"], entered)
            if run is not None:
                run.ended_ms, run.output = event.ms, details.get("output")
        elif entered in found:
            _happened(found[entered], event, details)
        within[event.id] = entered
    return list(found.values())


def over_ms(run: StateRun, execution: Execution) -> int | None:
    """When a visit was over: where it was not left, when it failed for good, or with its execution. None while it is
    there."""
    if run.ended_ms is not None or execution.stopped_ms is None:
        return run.ended_ms
    return execution.stopped_ms if run.error is None or run.failed_ms is None else run.failed_ms


def marks(runs: Sequence[StateRun], status: str) -> Mapping[str, str]:
    """What to mark each state's name with in a diagram; its last visit counts."""
    found = {}
    for run in runs:
        if run.ended_ms is not None:
            found[run.name] = "succeeded"
        else:
            found[run.name] = "running" if status == "RUNNING" else "failed"
    return found


def _left(found: dict[int, StateRun], name: str, entered: int) -> StateRun | None:
    """The visit that ends: the one that was under way here, else the last of that name that is not over."""
    if entered in found and found[entered].name == name and found[entered].ended_ms is None:
        return found[entered]
    open_ = [run for run in found.values() if run.name == name and run.ended_ms is None]
    return open_[-1] if open_ else None


def _happened(run: StateRun, event: HistoryEvent, details: Mapping[str, Any]) -> None:
    what = event.type
    if what in _TRIED:
        run.tries += 1
    if what.endswith(_FAILED) and "error" in details and not what.startswith("Execution"):
        run.error, run.cause, run.failed_ms = details.get("error"), details.get("cause"), event.ms
    elif what.endswith("Succeeded"):
        run.error = run.cause = None
