"""What every room of executions has to do: start once, run to an end, tell how, stop, and go on from a failure."""

from __future__ import annotations

import json
from typing import Any, Protocol

import pytest

from headgate.clock import ManualClock
from headgate.engine import Execution, Executions
from headgate.errors import NotRun

FUNCTION = "contract"
"""The function that WORKFLOWS invoke: it returns its event, but for `{"raise": NAME}`, which it raises as an error of
that name, and `{"flaky": NAME}`, which it raises the first time that it is handed to it."""

_TASK = {"Type": "Task", "Resource": f"arn:aws:lambda:local:000000000000:function:{FUNCTION}"}


def _machine(**states: Any) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


WORKFLOWS: dict[str, tuple[str, dict[str, Any]]] = {
    "echo": ("STANDARD", _machine(Echo={"Type": "Pass", "End": True})),
    "express": ("EXPRESS", _machine(Echo={"Type": "Pass", "End": True})),
    "nap": (
        "STANDARD",
        _machine(Nap={"Type": "Wait", "Seconds": 60, "Next": "Echo"}, Echo={"Type": "Pass", "End": True}),
    ),
    "task": ("STANDARD", _machine(Task={**_TASK, "Next": "Echo"}, Echo={"Type": "Pass", "End": True})),
    "retry": (
        "STANDARD",
        _machine(
            Task={**_TASK, "Retry": [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 5, "MaxAttempts": 1}], "End": True}
        ),
    ),
    "catch": (
        "STANDARD",
        _machine(
            Task={**_TASK, "Catch": [{"ErrorEquals": ["Boom"], "ResultPath": "$.caught", "Next": "Echo"}], "End": True},
            Echo={"Type": "Pass", "End": True},
        ),
    ),
    "each": (
        "STANDARD",
        _machine(Each={"Type": "Map", "ItemProcessor": _machine(Task={**_TASK, "End": True}), "End": True}),
    ),
    "both": (
        "STANDARD",
        _machine(
            Both={
                "Type": "Parallel",
                "Branches": [
                    _machine(One={**_TASK, "End": True}),
                    _machine(Other={"Type": "Pass", "Result": 2, "End": True}),
                ],
                "End": True,
            }
        ),
    ),
    "short": ("STANDARD", {**_machine(Nap={"Type": "Wait", "Seconds": 60, "End": True}), "TimeoutSeconds": 5}),
}
"""The workflows that the cases start; the engine under test has to know them."""


class ExecutionsUnderTest(Protocol):
    """What the fixture `engine` gives: a room without executions, whose time is the clock's."""

    @property
    def executions(self) -> Executions: ...

    @property
    def clock(self) -> ManualClock: ...

    def settle(self) -> None:
        """Return when every execution has ended or waits for the clock."""


def run(engine: ExecutionsUnderTest, workflow: str, input: Any, name: str | None = None) -> Execution:
    """Start a workflow and let it go as far as it goes without time passing."""
    started = engine.executions.start(workflow, name, json.dumps(input))
    engine.settle()
    return described(engine, started.id)


def described(engine: ExecutionsUnderTest, id: str) -> Execution:
    found = engine.executions.describe(id)
    assert found is not None
    return found


def later(engine: ExecutionsUnderTest, seconds: float) -> None:
    engine.clock.advance(seconds)
    engine.settle()


def output(execution: Execution) -> Any:
    assert execution.status == "SUCCEEDED", execution
    assert execution.output is not None
    return json.loads(execution.output)


def types(engine: ExecutionsUnderTest, id: str) -> list[str]:
    return [event.type for event in engine.executions.history(id)]


class ExecutionsCases:
    """Cases for `engine.Executions`."""

    def test_an_execution_runs_to_its_end(self, engine: ExecutionsUnderTest) -> None:
        ended = run(engine, "echo", {"a": [1, 2.5, "ä", None]}, "one")
        assert (ended.workflow, ended.name, output(ended)) == ("echo", "one", {"a": [1, 2.5, "ä", None]})
        assert ended.stopped_ms is not None

    def test_nothing_is_known_of_what_was_not_started(self, engine: ExecutionsUnderTest) -> None:
        assert engine.executions.describe("arn:aws:states:local:000000000000:execution:echo:none") is None

    def test_an_execution_without_a_name_is_given_one(self, engine: ExecutionsUnderTest) -> None:
        assert run(engine, "echo", {}).id != run(engine, "echo", {}).id

    def test_a_start_may_be_repeated_while_it_runs(self, engine: ExecutionsUnderTest) -> None:
        first = run(engine, "nap", {"a": 1}, "one")
        assert engine.executions.start("nap", "one", '{"a":1}').id == first.id

    @pytest.mark.parametrize("again", ['{"a": 2}', '{"a": true}'])
    def test_a_name_is_not_given_to_another_input(self, engine: ExecutionsUnderTest, again: str) -> None:
        run(engine, "nap", {"a": 1}, "one")
        with pytest.raises(NotRun) as refused:
            engine.executions.start("nap", "one", again)
        assert refused.value.code == "ExecutionAlreadyExists"

    def test_a_name_is_not_given_again_after_the_end(self, engine: ExecutionsUnderTest) -> None:
        run(engine, "echo", {}, "one")
        with pytest.raises(NotRun) as refused:
            engine.executions.start("echo", "one", "{}")
        assert refused.value.code == "ExecutionAlreadyExists"

    def test_an_express_execution_shares_its_name(self, engine: ExecutionsUnderTest) -> None:
        first, second = (engine.executions.start("express", "one", "{}") for _ in range(2))
        engine.settle()
        assert first.id != second.id

    @pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 81, "a\n"])
    def test_names_that_aws_would_not_take_are_refused(self, engine: ExecutionsUnderTest, name: str) -> None:
        with pytest.raises(NotRun) as refused:
            engine.executions.start("echo", name, "{}")
        assert refused.value.code == "InvalidName"

    @pytest.mark.parametrize("input", ["", "{", "NaN"])
    def test_an_input_that_is_not_json_is_refused(self, engine: ExecutionsUnderTest, input: str) -> None:
        with pytest.raises(NotRun) as refused:
            engine.executions.start("echo", None, input)
        assert refused.value.code == "InvalidExecutionInput"

    def test_a_workflow_that_is_not_there_is_refused(self, engine: ExecutionsUnderTest) -> None:
        with pytest.raises(NotRun) as refused:
            engine.executions.start("nothing", None, "{}")
        assert refused.value.code == "StateMachineDoesNotExist"

    def test_a_task_is_asked_and_its_result_goes_on(self, engine: ExecutionsUnderTest) -> None:
        ended = run(engine, "task", {"a": 1})
        assert output(ended) == {"a": 1}
        assert types(engine, ended.id) == [
            "ExecutionStarted",
            "TaskStateEntered",
            "LambdaFunctionScheduled",
            "LambdaFunctionStarted",
            "LambdaFunctionSucceeded",
            "TaskStateExited",
            "PassStateEntered",
            "PassStateExited",
            "ExecutionSucceeded",
        ]

    def test_the_history_is_read_in_pages(self, engine: ExecutionsUnderTest) -> None:
        ended = run(engine, "echo", {})
        first = engine.executions.history(ended.id, limit=2)
        rest = engine.executions.history(ended.id, after=first[-1].id)
        assert [event.id for event in (*first, *rest)] == [1, 2, 3, 4]

    def test_an_error_nothing_catches_fails_the_execution(self, engine: ExecutionsUnderTest) -> None:
        ended = run(engine, "task", {"raise": "Boom"})
        assert (ended.status, ended.error, ended.output) == ("FAILED", "Boom", None)

    def test_an_error_is_caught_by_its_name(self, engine: ExecutionsUnderTest) -> None:
        assert output(run(engine, "catch", {"raise": "Boom"}))["caught"]["Error"] == "Boom"
        assert run(engine, "catch", {"raise": "Other"}).error == "Other"

    def test_a_retry_waits_for_its_interval(self, engine: ExecutionsUnderTest) -> None:
        waiting = run(engine, "retry", {"flaky": "Flaky"})
        later(engine, 4)
        assert described(engine, waiting.id).status == "RUNNING"
        later(engine, 2)
        assert output(described(engine, waiting.id)) == {"flaky": "Flaky"}

    def test_retries_come_to_an_end(self, engine: ExecutionsUnderTest) -> None:
        failing = run(engine, "retry", {"raise": "Flaky"})
        later(engine, 6)
        assert described(engine, failing.id).error == "Flaky"

    def test_a_wait_lasts_as_long_as_it_says(self, engine: ExecutionsUnderTest) -> None:
        waiting = run(engine, "nap", {"a": 1})
        later(engine, 59)
        assert described(engine, waiting.id).status == "RUNNING"
        later(engine, 2)
        assert output(described(engine, waiting.id)) == {"a": 1}

    def test_a_map_gives_the_results_in_order(self, engine: ExecutionsUnderTest) -> None:
        assert output(run(engine, "each", [{"n": n} for n in range(100)])) == [{"n": n} for n in range(100)]
        assert output(run(engine, "each", [])) == []

    def test_a_failing_item_fails_the_map(self, engine: ExecutionsUnderTest) -> None:
        assert run(engine, "each", [1, {"raise": "Boom"}, 3]).error == "Boom"

    def test_parallel_branches_get_the_same_input(self, engine: ExecutionsUnderTest) -> None:
        assert output(run(engine, "both", {"a": 1})) == [{"a": 1}, 2]

    def test_an_execution_that_takes_too_long_times_out(self, engine: ExecutionsUnderTest) -> None:
        waiting = run(engine, "short", {})
        later(engine, 6)
        assert described(engine, waiting.id).status == "TIMED_OUT"
        assert types(engine, waiting.id)[-1] == "ExecutionTimedOut"

    def test_a_stopped_execution_does_no_more(self, engine: ExecutionsUnderTest) -> None:
        waiting = run(engine, "nap", {})
        assert engine.executions.stop(waiting.id, "Enough", "said so").status == "ABORTED"
        later(engine, 61)
        ended = described(engine, waiting.id)
        assert (ended.status, ended.error, ended.cause) == ("ABORTED", "Enough", "said so")
        assert types(engine, waiting.id)[-1] == "ExecutionAborted"

    def test_stopping_what_has_ended_changes_nothing(self, engine: ExecutionsUnderTest) -> None:
        ended = run(engine, "echo", {})
        assert engine.executions.stop(ended.id) == ended
        with pytest.raises(NotRun) as refused:
            engine.executions.stop(ended.id + "x")
        assert refused.value.code == "ExecutionDoesNotExist"

    def test_a_redrive_goes_on_where_it_failed(self, engine: ExecutionsUnderTest) -> None:
        failed = run(engine, "each", [{"n": 1}, {"flaky": "Boom"}])
        assert failed.status == "FAILED"
        engine.executions.redrive(failed.id)
        engine.settle()
        ended = described(engine, failed.id)
        assert output(ended) == [{"n": 1}, {"flaky": "Boom"}]
        assert (ended.redrives, ended.error) == (1, None)
        assert "ExecutionRedriven" in types(engine, failed.id)

    def test_a_stopped_execution_is_redriven_too(self, engine: ExecutionsUnderTest) -> None:
        waiting = run(engine, "nap", {"a": 1})
        engine.executions.stop(waiting.id)
        engine.executions.redrive(waiting.id)
        engine.settle()
        later(engine, 61)
        assert output(described(engine, waiting.id)) == {"a": 1}

    def test_what_runs_succeeded_or_is_long_gone_is_not_redriven(self, engine: ExecutionsUnderTest) -> None:
        old = run(engine, "task", {"raise": "Boom"})
        later(engine, 15 * 86_400)
        for execution in (run(engine, "nap", {}), run(engine, "echo", {}), old):
            with pytest.raises(NotRun) as refused:
                engine.executions.redrive(execution.id)
            assert refused.value.code == "ExecutionNotRedrivable"

    def test_executions_are_found_by_workflow_and_status(self, engine: ExecutionsUnderTest) -> None:
        napping = [run(engine, "nap", {}).id for _ in range(3)]
        run(engine, "echo", {})
        failed = run(engine, "task", {"raise": "Boom"}).id
        find = engine.executions.find
        assert [each.id for each in find(status="FAILED").executions] == [failed]
        assert [each.id for each in find("nap", "RUNNING").executions] == napping[::-1]
        page = find("nap", limit=2)
        assert [each.id for each in (*page.executions, *find("nap", limit=2, after=page.next).executions)] == napping[
            ::-1
        ]
        assert len(find().executions) == 5
