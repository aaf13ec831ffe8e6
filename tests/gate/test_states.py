"""What the states of an execution did, and when each was over."""

from __future__ import annotations

from headgate.engine import Execution, ExecutionStatus, HistoryEvent
from headgate.gate.states import over_ms, state_runs

ENTERED = {"stateEnteredEventDetails": {"name": "a", "input": "{}"}}
FAILED = {"lambdaFunctionFailedEventDetails": {"error": "Broken"}}


def execution(status: ExecutionStatus, stopped_ms: int | None) -> Execution:
    return Execution("arn", "flow", "one", status, "{}", None, None, None, 1000, stopped_ms, 0)


def test_a_state_that_failed_for_good_was_over_when_it_failed() -> None:
    history = [
        HistoryEvent(1, 0, 1000, "TaskStateEntered", ENTERED),
        HistoryEvent(2, 1, 1400, "LambdaFunctionFailed", FAILED),
    ]
    (run,) = state_runs(history)
    assert over_ms(run, execution("FAILED", 9000)) == 1400
    assert over_ms(run, execution("RUNNING", None)) is None


def test_a_state_that_was_never_left_was_over_with_its_execution() -> None:
    (run,) = state_runs([HistoryEvent(1, 0, 1000, "WaitStateEntered", ENTERED)])
    assert over_ms(run, execution("ABORTED", 9000)) == 9000
    assert over_ms(run, execution("RUNNING", None)) is None


def test_a_state_that_was_left_was_over_then() -> None:
    left = HistoryEvent(2, 1, 1200, "WaitStateExited", {"stateExitedEventDetails": {"name": "a"}})
    (run,) = state_runs([HistoryEvent(1, 0, 1000, "WaitStateEntered", ENTERED), left])
    assert over_ms(run, execution("SUCCEEDED", 9000)) == 1200
