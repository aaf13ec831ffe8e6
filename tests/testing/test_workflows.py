"""Messages that start workflows, in process: started before the reply, and ended by the end of the execution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headgate import ApiKey, App, Archive, DeclarationError, Header, Public, Queued, Receipt, Start
from headgate import workflow as w
from headgate.declare.compile import placed
from headgate.declare.express import noted
from headgate.declare.task import local_name
from headgate.engine import Redriven
from headgate.message import Moment
from headgate.testing.inprocess import AppUnderTest


class Rejected(Exception):
    """What the task raises."""


def shop(**options: Any) -> tuple[App, list[Any]]:
    """An app whose messages start a workflow, and what its task was called with."""
    app, calls = App("shop"), []

    @app.task
    def settle(order: Any) -> Any:
        calls.append(order)
        if order.get("reject"):
            raise Rejected("no")
        return {"settled": order["id"]}

    options.setdefault("workflow", app.workflow("orders", w.chain(w.wait(10), w.task(settle))))
    app.channel("/orders", key="id", auth=Public(), read=True, **options)
    app.check()
    return app, calls


@contextmanager
def up(app: App, folder: Path) -> Iterator[AppUnderTest]:
    under_test = AppUnderTest(app, folder)
    try:
        yield under_test
    finally:
        under_test.close()


def status(site: AppUnderTest, key: str = "1") -> Any:
    return site.send(f"/orders/{key}", method="GET").json()["status"]


def test_a_message_is_processing_until_its_execution_ends(tmp_path: Path) -> None:
    app, calls = shop()
    with up(app, tmp_path / "state") as site:
        assert site.send("/orders", {"id": "1"}).status == 201
        assert status(site) == "processing"
        site.clock.advance(10)
        site.drain()
        assert status(site) == "processed"
        assert calls == [{"id": "1"}]
        (message,) = site.messages("orders")
        assert [moment.what for moment in message.timeline] == ["started", "processed"]


def test_a_message_that_is_looked_after_for_long_tells_once_that_it_was_started(tmp_path: Path) -> None:
    app = App("shop")
    slow = app.workflow("slow", w.chain(w.wait(5 * 3600), w.give({"status": "processed"})))
    app.channel("/orders", key="id", auth=Public(), read=True, archive=Archive("{id}.json"), workflow=slow)
    app.check()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", {"id": "1"})
        for _ in range(4):
            site.clock.advance(3601)
            site.drain()
        assert status(site) == "processing"
        site.clock.advance(3601)
        site.drain()
        assert status(site) == "processed"
        (message,) = site.messages("orders")
        assert [moment.what for moment in message.timeline] == ["archived", "started", "processed"]


def test_an_execution_that_fails_makes_a_dead_letter_of_its_message(tmp_path: Path) -> None:
    app, _ = shop()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", {"id": "1", "reject": True})
        site.clock.advance(10)
        site.drain()
        found = site.send("/orders/1", method="GET").json()
        assert (found["status"], found["error"]) == ("failed", "The workflow orders ended as FAILED: Rejected.")


def test_a_dead_letter_that_is_put_back_lets_its_execution_go_on(tmp_path: Path) -> None:
    app, calls = shop()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", {"id": "1", "reject": True})
        site.clock.advance(10)
        site.drain()
        assert status(site) == "failed"
        calls.clear()
        app.tasks[0].function = lambda order: calls.append(order)
        site.clock.advance(60)
        site._engine.queue.alter("orders", "", "1", Redriven(Moment(site.clock.now_ms(), "redriven")))
        site.drain()
        site.drain()
        assert status(site) == "processed"
        assert calls == [{"id": "1", "reject": True}]
        (message,) = site.messages("orders")
        whats = [moment.what for moment in message.timeline]
        assert whats == ["started", "failed", "redriven", "started", "processed"]


def test_the_same_message_starts_nothing_twice_and_is_told_the_same(tmp_path: Path) -> None:
    def accepted(receipt: Receipt) -> dict[str, Any]:
        return {"id": receipt.key, "execution_arn": receipt.execution}

    app, calls = shop(accepted=accepted)
    with up(app, tmp_path / "state") as site:
        first = site.send("/orders", {"id": "1"})
        arn = "arn:aws:states:local:000000000000:execution:orders:orders-1"
        assert first.json() == {"id": "1", "execution_arn": arn}
        for _ in range(2):
            again = site.send("/orders", {"id": "1"})
            assert (again.status, again.json()) == (201, first.json())
            assert again.headers["Idempotency-Replayed"] == "true"
            site.clock.advance(10)
            site.drain()
        assert site.send("/orders", {"id": "1", "other": True}).status == 409
        assert len(calls) == 1


def test_after_a_restart_the_end_is_still_written_back(tmp_path: Path) -> None:
    app, calls = shop()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", {"id": "1"})
        site.send("/orders", {"id": "2", "reject": True})
    with up(app, tmp_path / "state") as site:
        site.clock.advance(40)
        site.drain()
        site.drain()
        assert (status(site), status(site, "2")) == ("processed", "failed")
        assert len(calls) == 2


def test_under_a_key_that_is_free_again_another_execution_is_started(tmp_path: Path) -> None:
    app, calls = shop(keep=timedelta(minutes=1))
    with up(app, tmp_path / "state") as site:
        for _ in range(3):
            assert site.send("/orders", {"id": "1"}).status == 201
            site.clock.advance(10)
            site.drain()
            assert status(site) == "processed"
            site.clock.advance(61)
            site.drain()
        assert len(calls) == 3


def test_an_express_execution_that_was_noted_is_not_started_again_after_a_restart(tmp_path: Path) -> None:
    app = App("shop")
    waits = app.workflow("waits", w.wait(100), express=True)
    app.channel("/orders", key="id", auth=Public(), read=True, workflow=waits)
    with up(app, tmp_path / "state") as site:
        site.send("/orders", {"id": "1"})
        site.drain()  # its time counts from when it has claimed the message
    with up(app, tmp_path / "state") as site:
        site.clock.advance(50)
        site.drain()
        assert site._workflows is not None
        assert len(site._workflows.executions.find().executions) == 1
        site.clock.advance(60)
        site.drain()
        assert status(site) == "processed"


def test_a_start_names_the_execution_and_shapes_its_input(tmp_path: Path) -> None:
    start = Start(
        "orders", name="execution-{id}", input={"request_id": "{id}", "payload": "{body}", "list": ["{channel}"]}
    )
    app, calls = shop()
    app.channels.clear()
    app.channel("/in", key=Header(), auth=Public(), workflow=start, accepted=lambda receipt: {"arn": receipt.execution})
    app.workflows.clear()
    app.workflow("orders", w.task("settle", input={"id": "$.request_id", "all": "$"}))
    app.check()
    with up(app, tmp_path / "state") as site:
        answer = site.send("/in", body=b'{"n": 2.10}', headers={"Idempotency-Key": "k 1"})
        assert answer.json()["arn"].startswith("arn:aws:states:local:000000000000:execution:orders:execution-k_1-")
        site.drain()
        assert calls == [{"id": "k 1", "all": {"request_id": "k 1", "payload": {"n": 2.1}, "list": ["in"]}}]


def test_an_express_workflow_and_an_archive(tmp_path: Path) -> None:
    app = App("shop")
    done = app.workflow("done", w.give({"status": "processed"}), express=True)
    app.channel("/orders", key="id", auth=Public(), read=True, archive=Archive("{id}.json"), workflow=done)
    app.check()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", {"id": "1"})
        site.drain()
        assert status(site) == "processed"
        assert site.archived("orders", "1.json") == b'{"id": "1"}'
        (message,) = site.messages("orders")
        assert [moment.what for moment in message.timeline] == ["archived", "started", "processed"]


def test_each_message_of_a_batch_starts_one(tmp_path: Path) -> None:
    app, calls = shop(many=True)
    with up(app, tmp_path / "state") as site:
        answer = site.send("/orders", [{"id": str(n)} for n in range(5)])
        assert [item["status"] for item in answer.json()["items"]] == ["stored"] * 5
        site.clock.advance(10)
        site.drain()
        assert len(calls) == 5
        assert {status(site, str(n)) for n in range(5)} == {"processed"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workflow": "absent"}, "there is no workflow 'absent'; the app has orders."),
        ({"workflow": Start("orders", name="same")}, "Start `name=` must hold {id}"),
        ({"workflow": "orders", "delivery": Queued()}, "`workflow=` is for Direct channels"),
        ({"workflow": "orders", "body_limit_bytes": 300_000}, "`body_limit_bytes=300000` is not within 1 and 250000"),
    ],
)
def test_what_cannot_be_started_is_refused(options: dict[str, Any], sentence: str) -> None:
    app = App("shop")
    app.workflow("orders", w.succeed())
    app.channel("/orders", key="id", auth=Public(), **options)
    with pytest.raises(DeclarationError) as caught:
        app.check()
    assert sentence in str(caught.value)


def test_what_a_workflow_kept_and_told_can_be_looked_at(tmp_path: Path) -> None:
    app = App("shop")
    app.topic("alerts")
    kept = w.chain(
        w.save("results", "{$.id}.json"),
        w.save("results", "{$.id}.id", "$.id", name="save its id"),
        w.notify("alerts", "{$.id} is kept."),
    )
    app.channel("/orders", key="id", auth=Public(), workflow=app.workflow("orders", kept))
    app.check()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", {"id": "1"})
        site.drain()
        assert site.archived("results", "1.json") == b'{"id":"1"}'
        assert site.archived("results", "1.id") == b'"1"'
        assert [notice.text for notice in site.notices("alerts")] == ["1 is kept."]
        assert [(run.name, run.status) for run in site.runs("orders")] == [("orders-1", "SUCCEEDED")]
        with pytest.raises(LookupError, match="ordres: the app has the workflows orders"):
            site.runs("ordres")
        with pytest.raises(LookupError, match="alert: the app has the topics alerts"):
            site.notices("alert")
        with pytest.raises(LookupError, match="the app has no table"):
            site.items("ledger")


def test_an_express_execution_is_called_as_declared_also_where_keys_count_per_principal(tmp_path: Path) -> None:
    app = App("shop")
    done = app.workflow("done", w.give({"status": "processed"}), express=True)
    app.channel("/in", key=Header(), auth=ApiKey(), workflow=Start(done, name="execution-{id}"))
    app.check()
    with up(app, tmp_path / "state") as site:
        for sender in ("alice", "bob"):
            site.send("/in", {}, headers={"Idempotency-Key": "k"}, as_=sender)
        assert [run.name for run in site.runs("done")] == ["execution-k", "execution-k"]
        assert len({run.id for run in site.runs("done")}) == 2


def test_a_workflow_keeps_items_and_sends_to_a_channel(tmp_path: Path) -> None:
    app = App("shop")
    ledger = app.table("ledger", key="id")
    key = {"id": "$.id"}
    app.workflow(
        "orders",
        w.chain(
            w.put(ledger, {"id": "$.id", "amount": w.number("$.amount"), "order": w.json("$")}),
            w.update(ledger, key, set={"state": "seen"}, add={"amount": 1}),
            w.get(ledger, key, result="$.found"),
            w.send("letters", {"id": "letter-{$.id}", "amount": "$.found.Item.amount.N"}),
        ),
    )
    letters = []
    app.channel("/orders", key="id", auth=Public(), read=True, workflow="orders")

    @app.channel("/letters", key="id", auth=Public(), read=True, delivery=Queued(validate="worker"))
    def write(letter: Any) -> None:
        letters.append(letter)

    app.check()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", {"id": "1", "amount": 2.5})
        site.drain()
        site.drain()
        assert status(site) == "processed"
        (item,) = site.items("ledger")
        assert (item["amount"], item["state"]) == ({"N": "3.5"}, {"S": "seen"})
        assert item["order"] == {"S": '{"id":"1","amount":2.5}'}
        assert letters == [{"id": "letter-1", "amount": "3.5"}]
        assert site.send("/letters/letter-1", method="GET").json()["status"] == "processed"


def test_a_condition_that_does_not_hold_is_caught_by_its_name(tmp_path: Path) -> None:
    app = App("shop")
    app.table("ledger", key="id")
    asked = {
        "TableName": "${table:ledger}",
        "Item": {"id": {"S": "one"}},
        "ConditionExpression": "attribute_not_exists(#id)",
        "ExpressionAttributeNames": {"#id": "id"},
    }
    once = {
        "Type": "Task",
        "Resource": "arn:aws:states:::dynamodb:putItem",
        "Parameters": asked,
        "Catch": [{"ErrorEquals": ["DynamoDB.ConditionalCheckFailedException"], "Next": "again"}],
        "ResultPath": None,
        "End": True,
    }
    again = {"Type": "Fail", "Error": "Again"}
    app.workflow("orders", {"StartAt": "once", "States": {"once": once, "again": again}})
    app.channel("/orders", key="id", auth=Public(), read=True, workflow="orders")
    app.check()
    with up(app, tmp_path / "state") as site:
        for key, status_then in (("1", "processed"), ("2", "failed")):
            site.send("/orders", {"id": key})
            site.drain()
            assert status(site, key) == status_then


def test_an_express_workflow_that_messages_start_runs_with_the_states_around_it(
    tmp_path: Path,
) -> None:
    app = App("shop")
    quick = app.workflow("quick", w.give({"status": "processed"}), express=True)
    app.workflow("alone", w.give({"status": "processed"}), express=True)
    app.channel("/orders", key="id", auth=Public(), read=True, workflow=quick)
    app.check()
    with up(app, tmp_path / "state") as site:
        engine = site._engine.workflows
        assert engine is not None
        known = {name: workflow.document for name, workflow in engine.executions.workflows.items()}
        assert known["quick"] == placed(noted(quick.document), local_name)
        assert "headgate: claim" not in known["alone"]["States"]
        site.send("/orders", {"id": "1"})
        site.drain()
        assert status(site) == "processed"
        (run,) = site.runs("quick")
        assert (run.input, run.output) == ('{"id": "1"}', '{"status":"processed"}')


def test_a_message_that_nobody_holds_after_a_crash_is_still_that_of_the_execution_it_started(tmp_path: Path) -> None:
    app = App("shop")
    quick = app.workflow("quick", w.wait(10), express=True)
    app.channel("/orders", key="id", auth=Public(), read=True, workflow=quick)
    app.check()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", {"id": "1"})
        (run,) = site.runs("quick")
    with up(app, tmp_path / "state") as site:  # every lease is free, and nobody has swept yet
        engine = site._engine.workflows
        assert engine is not None
        claim = {"what": "claim", "execution": run.id, "message": {"channel": "orders", "scope": "", "key": "1"}}
        assert engine.starts.hear({"headgate": claim}) == {"claimed": True}
        assert engine.starts.hear({"headgate": {**claim, "execution": f"{run.id}x"}}) == {"claimed": False}
        for _ in range(3):
            site.clock.advance(20)
            site.drain()
        assert status(site) == "processed"
        assert len(site.runs("quick")) == 1
