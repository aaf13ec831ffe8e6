"""Workflows: what steps compile to, and what is refused when the app loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headgate import App, DeclarationError, Public, Secret
from headgate import workflow as w
from headgate.declare.asl import refusals
from headgate.declare.compile import machine, placed, places, template
from headgate.declare.task import local_name


def compiled(step: w.Step) -> dict[str, Any]:
    """The machine of a step, which the checker has nothing against."""
    made = machine(step)
    assert refusals(placed(made, local_name)) == []
    return made


def states(step: w.Step) -> dict[str, Any]:
    return compiled(step)["States"]  # type: ignore[no-any-return]


def only(step: w.Step) -> Any:
    (state,) = states(step).values()
    return state


def refused(app: App) -> str:
    with pytest.raises(DeclarationError) as caught:
        app.check()
    return str(caught.value)


def an_app() -> App:
    app = App("shop")
    app.channel("/orders", key="id", auth=Public())
    return app


class TestSteps:
    """One step at a time."""

    def test_a_task_is_handed_what_came_and_its_result_takes_that_place(self) -> None:
        assert only(w.task("collect")) == {"Type": "Task", "Resource": "${task:collect}", "End": True}

    def test_a_task_takes_a_template_and_puts_its_result_beside(self) -> None:
        state = only(
            w.task("settle", input={"id": "$.id", "n": 1}, select={"ok": "$.ok"}, result="$.said", timeout_s=9)
        )
        assert state["Parameters"] == {"id.$": "$.id", "n": 1}
        assert state["ResultSelector"] == {"ok.$": "$.ok"}
        assert (state["ResultPath"], state["TimeoutSeconds"]) == ("$.said", 9)
        assert only(w.task("settle", input="$.order"))["InputPath"] == "$.order"
        assert only(w.task("settle", result=None))["ResultPath"] is None

    def test_errors_are_retried_and_caught(self) -> None:
        found = states(
            w.chain(
                w.task(
                    "settle",
                    retry=[w.retry("Busy", attempts=5, after_s=2, backoff=1.5, most_s=60, jitter=True), w.retry()],
                    catch=[w.catch("Rejected", then=w.notify("alerts", "rejected: {$.error.Cause}"))],
                ),
                w.succeed(),
            )
        )
        assert found["settle"]["Retry"][0] == {
            "ErrorEquals": ["Busy"],
            "IntervalSeconds": 2,
            "MaxAttempts": 5,
            "BackoffRate": 1.5,
            "MaxDelaySeconds": 60,
            "JitterStrategy": "FULL",
        }
        assert found["settle"]["Retry"][1]["ErrorEquals"] == ["States.ALL"]
        assert found["settle"]["Catch"] == [{"ErrorEquals": ["Rejected"], "ResultPath": "$.error", "Next": "notify"}]
        assert found["notify"]["Next"] == "succeed"

    def test_a_choice_goes_one_way_and_on_with_what_follows(self) -> None:
        amount = w.value("$.amount")
        found = states(
            w.chain(
                w.choice(
                    w.when((amount > 100) & ~(w.value("$.kind") == "gift"), w.fail("TooMuch")),
                    w.when(w.value("$.urgent").is_true(), w.task("hurry")),
                    otherwise=w.wait(5),
                ),
                w.succeed(),
            )
        )
        first, second = found["choose"]["Choices"]
        assert first["And"] == [
            {"Variable": "$.amount", "NumericGreaterThan": 100},
            {"Not": {"Variable": "$.kind", "StringEquals": "gift"}},
        ]
        assert second == {"Variable": "$.urgent", "BooleanEquals": True, "Next": "hurry"}
        assert (found["choose"]["Default"], found["hurry"]["Next"], found["wait"]["Next"]) == (
            "wait",
            "succeed",
            "succeed",
        )
        assert states(w.choice(w.when(amount >= 1, w.fail("x"))))["choose: done"] == {"Type": "Succeed"}

    def test_conditions_compare_as_the_value_asks(self) -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        place = w.value("$.x")
        rules = [
            ~place.is_null(),
            place <= 1.5,
            place < "b",
            place >= at,
            place.present(),
            place.matches("a*"),
            place == 1,
        ]
        assert [one.rule for one in rules] == [
            {"Not": {"Variable": "$.x", "IsNull": True}},
            {"Variable": "$.x", "NumericLessThanEquals": 1.5},
            {"Variable": "$.x", "StringLessThan": "b"},
            {"Variable": "$.x", "TimestampGreaterThanEquals": "2026-01-01T00:00:00.000Z"},
            {"Variable": "$.x", "IsPresent": True},
            {"Variable": "$.x", "StringMatches": "a*"},
            {"Variable": "$.x", "NumericEquals": 1},
        ]
        states(w.choice(*(w.when(one, w.succeed()) for one in rules)))

    def test_what_cannot_be_compared_is_refused_where_it_stands(self) -> None:
        wrongs: list[Callable[[], object]] = [lambda: w.value("$.x") == timedelta(1), lambda: w.value("$.x") < True]
        for wrong in wrongs:
            with pytest.raises(DeclarationError, match=r"test_workflow\.py:\d+: \$\.x can be compared with"):
                wrong()
        with pytest.raises(DeclarationError, match="join conditions with & and"):
            bool(w.value("$.x") == 1 and w.value("$.y") == 2)

    def test_waits(self) -> None:
        assert only(w.wait(3))["Seconds"] == 3
        assert only(w.wait("$.delay"))["SecondsPath"] == "$.delay"
        assert only(w.wait(until="$.at"))["TimestampPath"] == "$.at"
        assert only(w.wait(until=datetime(2026, 1, 1, tzinfo=UTC)))["Timestamp"] == "2026-01-01T00:00:00.000Z"
        with pytest.raises(DeclarationError, match="say either seconds or until="):
            w.wait()

    def test_each_item_has_a_machine_of_its_own(self) -> None:
        state = only(w.for_each("$.orders", w.task("settle"), at_a_time=2, input={"order": "$$.Map.Item.Value"}))
        assert (state["ItemsPath"], state["MaxConcurrency"]) == ("$.orders", 2)
        assert state["ItemSelector"] == {"order.$": "$$.Map.Item.Value"}
        assert state["ItemProcessor"]["StartAt"] == "settle"

    def test_branches_run_side_by_side(self) -> None:
        state = only(w.parallel(w.task("a"), w.chain(w.task("b"), w.task("b")), result="$.both"))
        assert [branch["StartAt"] for branch in state["Branches"]] == ["a", "b"]
        assert [*state["Branches"][1]["States"]] == ["b", "b 2"]

    def test_notices_and_objects_pass_on_what_they_were_handed(self) -> None:
        notice = only(w.notify("alerts", {"order": "$.id"}, subject="it's {$.id}"))
        assert notice["Resource"] == "arn:aws:states:::sns:publish"
        assert notice["Parameters"] == {
            "TopicArn": "${topic:alerts}",
            "Message": {"order.$": "$.id"},
            "Subject.$": "States.Format('it\\'s {}', $.id)",
        }
        assert notice["ResultPath"] is None
        put = only(w.save("results", "orders/{$.id}.json"))
        assert put["Parameters"] == {
            "Bucket": "${archive:results}",
            "Key.$": "States.Format('orders/{}.json', $.id)",
            "Body.$": "$",
        }

    def test_what_is_given_is_a_value_a_path_or_a_template(self) -> None:
        assert only(w.give({"status": "processed"}))["Result"] == {"status": "processed"}
        assert only(w.give({"id": "$.id"}, result="$.x"))["Parameters"] == {"id.$": "$.id"}
        assert only(w.give("$.order"))["InputPath"] == "$.order"
        assert only(w.fail("Bad", "order {$.id}"))["CausePath"] == "States.Format('order {}', $.id)"

    def test_lists_with_paths_become_calls(self) -> None:
        assert template({"ids": ["$.a", "it's", 3, None]}) == {"ids.$": "States.Array($.a, 'it\\'s', 3, null)"}
        assert template({"ids": [{"a": "$.a"}, 1]}) == {"ids": [{"a.$": "$.a"}, 1]}
        with pytest.raises(DeclarationError, match="a list with paths in it"):
            template({"ids": ["$.a", {}]})


class TestPoll:
    """A task that is called until it returns what is waited for."""

    def test_each_call_is_handed_the_same_and_the_result_is_handed_on(self) -> None:
        found = states(
            w.chain(
                w.poll("collect", until=w.value("$.results").is_true(), every_s=10, most=3),
                w.succeed(),
            )
        )
        assert found["collect: begin"]["Parameters"] == {"input.$": "$", "calls": 1}
        assert (found["collect"]["InputPath"], found["collect"]["ResultPath"]) == ("$.input", "$.result")
        assert found["collect: done?"]["Choices"] == [
            {"Variable": "$.result.results", "BooleanEquals": True, "Next": "collect: result"},
            {"Variable": "$.calls", "NumericGreaterThanEquals": 3, "Next": "collect: enough"},
        ]
        assert found["collect: wait"]["Seconds"] == 10
        assert found["collect: result"] == {"Type": "Pass", "OutputPath": "$.result", "Next": "succeed"}
        assert found["collect: give up"]["Error"] == "Poll.GaveUp"

    def test_paths_are_read_from_what_it_was_handed(self) -> None:
        found = states(
            w.poll(
                "look",
                until=(w.value("$") == "done") | (w.value("$$.State.RetryCount") > 1),
                every_s=1,
                most=2,
                input={"job": "$.id", "text": "{$.a} and {$.b[0].c}", "run": "$$.Execution.Name"},
                give_up=w.give({"gave": "up"}),
            )
        )
        assert found["look"]["Parameters"] == {
            "job.$": "$.input.id",
            "text.$": "States.Format('{} and {}', $.input.a, $.input.b[0].c)",
            "run.$": "$$.Execution.Name",
        }
        (either, _) = found["look: done?"]["Choices"]
        assert either["Or"][0]["Variable"] == "$.result"
        assert either["Or"][1]["Variable"] == "$$.State.RetryCount"
        assert found["give"]["End"] is True


class TestDeclared:
    """What an app says about tasks and workflows."""

    def test_a_task_stays_the_function_it_is(self) -> None:
        app = an_app()

        @app.task
        def collect(given: dict[str, int]) -> int:
            return given["n"] + 1

        @app.task(name="settle-it", timeout_s=60, secrets=[Secret("TOKEN")])
        def settle(_: object) -> None: ...

        app.workflow("orders", w.chain(w.task(collect), w.task(settle)))
        app.check()
        assert collect({"n": 1}) == 2
        assert [task.name for task in app.tasks] == ["collect", "settle-it"]
        assert [setting for _, setting in app.settings()] == [Secret("TOKEN")]
        assert places(app.workflows[0].document) == [("task", "collect"), ("task", "settle-it")]
        assert app.workflows[0].placed()["States"]["collect"]["Resource"].endswith(":function:collect")

    def test_a_document_may_be_a_dict_or_a_file_beside_the_app(self, tmp_path: Path) -> None:
        document = {"StartAt": "a", "States": {"a": {"Type": "Task", "Resource": "${task:collect}", "End": True}}}
        (tmp_path / "machine.json").write_text(json.dumps(document))
        (tmp_path / "app.py").write_text(
            "from headgate import App, Public\n"
            "app = App('shop')\n"
            "app.channel('/orders', auth=Public())\n"
            "@app.task\n"
            "def collect(given): ...\n"
            "app.workflow('from-file', 'machine.json', timeout_s=300)\n"
            f"app.workflow('from-dict', {document!r}, express=True)\n"
        )
        from headgate.declare.load import load_app

        file, given = load_app(str(tmp_path)).workflows
        assert file.document == {**document, "TimeoutSeconds": 300}
        assert (given.document, given.kind) == (document, "EXPRESS")

    @pytest.mark.parametrize(
        ("definition", "sentence"),
        [
            (w.task("absent"), "there is no task 'absent'; the app has collect."),
            ({"StartAt": "a", "States": {"a": {"Type": "Pass", "Next": "b"}}}, "State 'a': Next names 'b'"),
            (
                {"StartAt": "a", "States": {"a": {"Type": "Pass", "Nxt": "b", "End": True}}},
                "the field Nxt is not known",
            ),
            ("absent.json", "the file absent.json cannot be read (No such file or directory)."),
            (3, "the definition must be a step, a dict, or the name of a JSON file."),
            (w.chain(w.succeed(), w.task("collect")), "State 'collect': no other state leads to it."),
            (w.give("{$.a}"), "give takes a path, or a template"),
        ],
    )
    def test_what_cannot_run_is_refused_with_its_place(self, definition: Any, sentence: str) -> None:
        app = an_app()
        app.task(name="collect")(lambda _: None)
        app.workflow("orders", definition)
        said = refused(app)
        assert "test_workflow.py:" in said
        assert "workflow orders: " in said
        assert sentence in said

    def test_names_are_taken_once(self) -> None:
        app = an_app()
        for _ in range(2):
            app.task(name="collect")(lambda _: None)
            app.workflow("orders", w.task("collect"))
        said = refused(app)
        assert "task collect: the name is taken by another" in said
        assert "workflow orders: the name is taken by another" in said

    def test_a_task_takes_one_argument(self) -> None:
        app = an_app()
        app.task(name="none")(lambda: None)  # type: ignore[arg-type, misc]
        app.task(name="!", timeout_s=0)(lambda _: None)
        said = refused(app)
        assert "task none: a task is a function of one argument" in said
        assert "task !: a name is 1 to 64 letters" in said
        assert "`timeout_s=` must be" in said
