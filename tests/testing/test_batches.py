"""Requests whose messages start one workflow together: one execution, whose end is the end of every message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from headgate import App, DeclarationError, Public, Start
from headgate import workflow as w
from headgate.engine import Lease, Redriven
from headgate.gate.start import executions_of
from headgate.message import Message, Moment
from headgate.testing.inprocess import AppUnderTest


class Order(BaseModel):
    id: str
    amount: int = 0
    note: str = ""


class Rejected(Exception):
    """What the task raises."""


def shop(**options: Any) -> tuple[App, list[Any]]:
    """An app whose requests start a workflow each, and what its task was called with."""
    app, calls = App("shop"), []

    @app.task
    def settle(orders: list[Any]) -> Any:
        calls.append(orders)
        if any(order.get("amount") == 13 for order in orders) and len(calls) == 1:
            raise Rejected("no 13")
        return len(orders)

    orders = app.workflow("orders", w.chain(w.wait(10), w.task(settle)))
    start = Start(orders, per="batch", **options.pop("start", {}))
    app.channel("/orders", Order, key="id", auth=Public(), read=True, **{"many": True, **options}, workflow=start)
    app.check()
    return app, calls


@contextmanager
def up(app: App, folder: Path) -> Iterator[AppUnderTest]:
    under_test = AppUnderTest(app, folder)
    try:
        yield under_test
    finally:
        under_test.close()


def statuses(site: AppUnderTest) -> dict[str, str]:
    return {message.key: message.status for message in site.messages("orders")}


def later(site: AppUnderTest, seconds: float = 10) -> None:
    site.clock.advance(seconds)
    site.drain()


def test_the_messages_of_a_request_start_one_and_end_with_it(tmp_path: Path) -> None:
    app, calls = shop()
    with up(app, tmp_path / "state") as site:
        answer = site.send("/orders", [{"id": "1"}, {"amount": "bad"}, {"id": "2"}, {"id": "3"}])
        assert [item["status"] for item in answer.json()["items"]] == ["stored", "invalid", "stored", "stored"]
        assert statuses(site) == dict.fromkeys("123", "processing")
        later(site)
        assert statuses(site) == dict.fromkeys("123", "processed")
        assert calls == [[{"id": "1"}, {"id": "2"}, {"id": "3"}]]
        (run,) = site.runs("orders")
        for message in site.messages("orders"):
            assert [moment.what for moment in message.timeline] == ["started", "processed"]
            assert message.timeline[0].detail == run.id


def test_each_request_starts_its_own_and_a_repetition_none(tmp_path: Path) -> None:
    app, calls = shop()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", [{"id": "1"}, {"id": "2"}])
        again = site.send("/orders", [{"id": "1"}, {"id": "2"}, {"id": "3"}, {"id": "1", "amount": 9}])
        kinds = [item["status"] for item in again.json()["items"]]
        assert kinds == ["replayed", "replayed", "stored", "conflict"]
        later(site)
        assert calls in ([[{"id": "1"}, {"id": "2"}], [{"id": "3"}]], [[{"id": "3"}], [{"id": "1"}, {"id": "2"}]])
        assert len({run.name for run in site.runs("orders")}) == 2
        assert statuses(site) == dict.fromkeys("123", "processed")


def test_a_failure_is_that_of_all_and_each_can_be_put_back(tmp_path: Path) -> None:
    app, calls = shop()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", [{"id": "1"}, {"id": "2", "amount": 13}])
        later(site)
        assert statuses(site) == dict.fromkeys("12", "failed")
        (told,) = {message.error for message in site.messages("orders")}
        assert told == "The workflow orders ended as FAILED: Rejected."
        for key in "12":
            site._engine.queue.alter("orders", "", key, Redriven(Moment(site.clock.now_ms(), "redriven")))
        later(site, 60)
        later(site)
        assert statuses(site) == dict.fromkeys("12", "processed")
        (run,) = site.runs("orders")
        assert (run.redrives, len(calls)) == (1, 2)


def test_the_input_is_a_list_of_what_is_said_of_each(tmp_path: Path) -> None:
    app, calls = shop(start={"input": {"key": "{id}", "order": "{body}"}, "name": "all-{batch}"})
    with up(app, tmp_path / "state") as site:
        site.send("/orders", [{"id": "1"}, {"id": "2"}])
        later(site)
        assert calls == [[{"key": "1", "order": {"id": "1"}}, {"key": "2", "order": {"id": "2"}}]]
        (run,) = site.runs("orders")
        assert run.name.startswith("all-")


def test_all_or_none_starts_one(tmp_path: Path) -> None:
    app, calls = shop(many="all")
    with up(app, tmp_path / "state") as site:
        assert site.send("/orders", [{"id": "1"}, {"amount": "x"}]).status == 400
        assert site.send("/orders", [{"id": "1"}, {"id": "2"}]).status == 201
        later(site)
        assert calls == [[{"id": "1"}, {"id": "2"}]]


def test_more_than_an_execution_can_be_handed_is_refused_at_the_gate(tmp_path: Path) -> None:
    app, _ = shop(start={"input": {"order": "{body}", "channel": "{channel}", "received_at": "{received_at}"}})
    with up(app, tmp_path / "state") as site:
        answer = site.send("/orders", [{"id": str(n)} for n in range(5_000)])
        assert answer.status == 413
        assert "start one workflow together" in answer.json()["message"]
        assert statuses(site) == {}


def test_after_a_restart_the_end_is_written_to_every_message(tmp_path: Path) -> None:
    app, calls = shop()
    with up(app, tmp_path / "state") as site:
        site.send("/orders", [{"id": "1"}, {"id": "2"}])
    with up(app, tmp_path / "state") as site:
        later(site, 40)
        site.drain()
        assert statuses(site) == dict.fromkeys("12", "processed")
        assert len(calls) == 1


def test_what_a_crash_left_of_a_batch_finds_the_execution_it_is_in_else_starts_its_own(tmp_path: Path) -> None:
    app, _ = shop()
    (channel,) = app.channels

    def leased(key: str, body: str = "") -> Lease:
        text = body or json.dumps({"id": key})
        return Lease(Message("orders", "", key, text.encode(), 1_000, "", "request", "", "processing", None), key, 0)

    with up(app, tmp_path / "state") as site:
        room = site._engine.workflows.executions  # type: ignore[union-attr]
        first = executions_of(room, channel, [leased("1"), leased("2")], 2_000)
        rest = executions_of(room, channel, [leased("2")], 2_000)
        assert {one.id for one in (*first, *rest) if one} == {first[0].id}  # type: ignore[union-attr]
        more = executions_of(room, channel, [leased("2"), leased("3"), leased("4")], 2_000)
        again = executions_of(room, channel, [leased("3"), leased("4")], 2_000)
        ids = [one.id for one in (*more, *again) if one]
        assert ids[0] == first[0].id  # type: ignore[union-attr]
        assert len({*ids[1:]}) == 1
        assert len(site.runs("orders")) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"many": False}, "is for channels that take arrays"),
        ({"start": {"name": "one-{id}"}}, "must hold {batch}, and no {id}"),
        ({"start": {"name": "same"}}, "must hold {batch}"),
    ],
)
def test_what_cannot_be_kept_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        shop(**options)
    assert sentence in str(caught.value)


def test_an_express_workflow_or_an_unknown_word_is_refused() -> None:
    app = App("shop")
    app.workflow("orders", w.succeed(), express=True)
    app.channel("/orders", key="id", auth=Public(), many=True, workflow=Start("orders", per="batch"))
    app.channel("/others", key="id", auth=Public(), many=True, workflow=Start("orders", per="day"))  # type: ignore[arg-type]
    with pytest.raises(DeclarationError) as caught:
        app.check()
    assert "needs a workflow that is not Express" in str(caught.value)
    assert "Start `per=` is 'day'" in str(caught.value)
