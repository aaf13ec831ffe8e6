"""What becomes of a message behind the gate: attempts, waits, and ends; in process, on a clock moved by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from headgate import App, Archive, Failed, Message, Permanent, Public, Queued, Retry, RetryPolicy
from headgate.testing.inprocess import AppUnderTest

Serve = Callable[[App], AppUnderTest]

STEADY = RetryPolicy(first_s=10, factor=2, most_s=60, jitter=0)


def served(
    serve: Serve, function: Callable[..., Any] | None, delivery: Queued | None = None, **options: Any
) -> AppUnderTest:
    app = App("shop")
    made = delivery or Queued(attempts=3, backoff=STEADY)
    channel = app.channel("/orders", key="id", auth=Public(), read=True, delivery=made, **options)
    if function is not None:
        channel(function)
    return serve(app)


def only(app: AppUnderTest) -> Message:
    (message,) = app.messages("orders")
    return message


def attempts(app: AppUnderTest, key: str = "1") -> list[tuple[str, int]]:
    """The timeline of a message: what, and at which attempt."""
    found = app._engine.index.get("orders", "", key)
    assert found is not None
    return [(moment.what, moment.attempt) for moment in found.timeline]


def test_a_message_is_answered_202_then_worked_off(headgate_app_from: Serve) -> None:
    seen: list[Any] = []
    app = served(headgate_app_from, seen.append)
    answer = app.send("/orders", {"id": "1"})
    assert (answer.status, answer.json()) == (202, {"id": "1"})
    assert app.send("/orders/1", method="GET").json()["status"] == "accepted"
    app.drain()
    assert seen == [{"id": "1"}]
    assert app.send("/orders/1", method="GET").json()["status"] == "processed"
    again = app.send("/orders", {"id": "1"})
    assert (again.status, again.headers["Idempotency-Replayed"]) == (202, "true")
    app.drain()
    assert len(seen) == 1


def test_without_a_handler_it_is_done_when_it_is_stored(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, None)
    app.send("/orders", {"id": "1"})
    app.drain()
    assert only(app).status == "processed"


def test_a_failure_is_tried_again_after_the_backoff_up_to_the_attempts(headgate_app_from: Serve) -> None:
    seen: list[int] = []

    def handle(_: Any, message: Message) -> None:
        seen.append(message.attempt)
        raise OSError

    app = served(headgate_app_from, handle)
    app.send("/orders", {"id": "1"})
    for wait_s in (0, 9.999, 0.001, 19.999, 0.001, 3600):
        app.clock.advance(wait_s)
        app.drain()
        seen.append(0)
    assert seen == [1, 0, 0, 2, 0, 0, 3, 0, 0]
    assert (only(app).status, only(app).error, only(app).attempts) == ("failed", "The handler failed.", 3)
    assert attempts(app) == [("retried", 1), ("retried", 2), ("failed", 3)]


def test_an_archive_that_cannot_be_written_uses_up_no_attempt_for_an_hour(headgate_app_from: Serve) -> None:
    seen: list[Any] = []
    app = served(headgate_app_from, seen.append, archive=Archive("{id}.json"))
    in_the_way = app._engine.archive._root / "orders"
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_text("")

    def wait(minutes: int) -> None:
        for _ in range(minutes):
            app.drain()
            app.clock.advance(60)

    app.send("/orders", {"id": "1"})
    wait(59)
    assert (only(app).status, only(app).attempts, attempts(app)) == ("accepted", 0, [])
    in_the_way.unlink()
    wait(1)
    assert (seen, attempts(app)) == ([{"id": "1"}], [("archived", 0), ("processed", 1)])

    shutil.rmtree(in_the_way)
    in_the_way.write_text("")
    app.send("/orders", {"id": "2"})
    wait(70)
    assert attempts(app, "2") == [("retried", 1), ("retried", 2), ("failed", 3)]
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("verdict", "error"), [(Permanent("no such customer"), "no such customer"), (Failed("too old"), "too old")]
)
def test_what_cannot_ever_work_is_not_tried_again(headgate_app_from: Serve, verdict: Any, error: str) -> None:
    def handle(_: Any) -> Any:
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    app = served(headgate_app_from, handle)
    app.send("/orders", {"id": "1"})
    app.drain()
    assert app.send("/orders/1", method="GET").json()["error"] == error
    assert attempts(app) == [("failed", 1)]


def test_a_handler_may_say_when_it_wants_to_try_again(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, lambda _: Retry(100))
    app.send("/orders", {"id": "1"})
    app.drain()
    app.clock.advance(99)
    app.drain()
    assert attempts(app) == [("retried", 1)]
    app.clock.advance(1)
    app.drain()
    assert attempts(app) == [("retried", 1), ("retried", 2)]


def test_a_message_that_fits_a_changed_model_no_more_is_a_dead_letter(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, lambda _: None)
    app.send("/orders", body='{"id":"1","n": 2.10}')
    (channel,) = app.app.channels
    channel.model, channel._adapter = dict[str, str], None
    app.drain()
    assert only(app).status == "failed"
    assert "does not fit the channel's model any more at /n" in str(only(app).error)
    assert only(app).body == b'{"id":"1","n": 2.10}'


def test_attempts_that_nobody_saw_the_end_of_are_told_and_used_up(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, lambda _: None)
    app.send("/orders", {"id": "1"})
    for _ in range(3):
        app._engine.queue.claim("orders", 1, 1_000)
        app.clock.advance(1)
    app.drain()
    assert only(app).status == "failed"
    assert "All 3 attempts are used up" in str(only(app).error)
    assert only(app).attempts == 3
    assert attempts(app) == [("lost", 1), ("lost", 2), ("lost", 3), ("failed", 3)]


def test_a_timeline_tells_what_came_first_at_its_own_time(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, lambda _: app.clock.advance(7), archive=Archive("{id}.json"))
    app.send("/orders", {"id": "1"})
    app._engine.queue.claim("orders", 1, 1_000)
    app.clock.advance(3600)
    before_ms = app.clock.now_ms()
    app.drain()
    found = app._engine.index.get("orders", "", "1")
    assert found is not None
    told = [(moment.what, moment.at_ms - before_ms) for moment in found.timeline]
    assert told == [("archived", 0), ("lost", 0), ("processed", 7_000)]


def test_a_lost_attempt_stands_between_the_others(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, lambda _: Retry(0), Queued(attempts=4))
    app.send("/orders", {"id": "1"})
    app._engine.queue.claim("orders", 1, 1_000)
    app.clock.advance(1)
    app.drain()
    assert attempts(app) == [("lost", 1), ("retried", 2), ("retried", 3), ("failed", 4)]


def test_what_is_done_is_kept_as_long_as_declared_and_dead_letters_two_weeks(headgate_app_from: Serve) -> None:
    def handle(order: Any) -> None:
        if order["id"] == "bad":
            raise Permanent("bad")

    app = served(headgate_app_from, handle, keep=timedelta(hours=1))
    app.send("/orders", {"id": "good"})
    app.send("/orders", {"id": "bad"})
    app.clock.advance(86_400)
    assert len(app.messages("orders")) == 2
    app.drain()
    app.clock.advance(3_600)
    assert [message.key for message in app.messages("orders")] == ["bad"]
    app.clock.advance(14 * 86_400 - 3_601)
    assert [message.key for message in app.messages("orders")] == ["bad"]
    app.clock.advance(1)
    assert app.messages("orders") == []


def test_messages_of_one_order_are_worked_off_one_after_the_other(headgate_app_from: Serve) -> None:
    seen: list[str] = []

    def handle(order: dict[str, Any], message: Message) -> None:
        if order["id"] == "a1" and message.attempt == 1:
            raise OSError
        seen.append(order["id"])

    app = served(headgate_app_from, handle, Queued(order_by="customer", backoff=STEADY), many=True)
    sent = [{"id": f"{customer}{n}", "customer": customer} for n in range(1, 5) for customer in "abc"]
    assert app.send("/orders", sent).status == 202
    app.drain()
    assert sorted(seen) == ["b1", "b2", "b3", "b4", "c1", "c2", "c3", "c4"], "only a waits for its first"
    app.clock.advance(10)
    app.drain()
    for customer in "abc":
        assert [key for key in seen if key[0] == customer] == [f"{customer}{n}" for n in range(1, 5)]


def test_a_dead_letter_does_not_hold_up_those_behind_it(headgate_app_from: Serve) -> None:
    def handle(order: dict[str, Any]) -> None:
        if order["id"] == 1:
            raise Permanent("bad")

    app = served(headgate_app_from, handle, Queued(order_by="customer"), many=True)
    app.send("/orders", [{"id": n, "customer": "a"} for n in range(4)])
    app.drain()
    assert {message.key: message.status for message in app.messages("orders")} == {
        "0": "processed", "1": "failed", "2": "processed", "3": "processed"
    }  # fmt: skip


def test_one_that_failed_takes_no_other_with_it_again(headgate_app_from: Serve) -> None:
    calls: list[list[int]] = []

    def handle(orders: list[dict[str, int]]) -> None:
        calls.append(sorted(order["id"] for order in orders))
        if any(order["id"] == 3 for order in orders):
            raise OSError

    app = served(headgate_app_from, handle, Queued(attempts=2, backoff=STEADY), many=True, batch=10)
    app.send("/orders", [{"id": n} for n in range(5)])
    app.drain()
    app.clock.advance(10)
    app.drain()
    assert sorted(calls) == [[0], [0, 1, 2, 3, 4], [1], [2], [3], [4]]
    assert [message.key for message in app.messages("orders") if message.status != "processed"] == ["3"]


def test_a_full_queue_is_told_and_takes_again_when_some_is_done(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, lambda _: None, Queued(at_most=3))
    for n in range(3):
        assert app.send("/orders", {"id": n}).status == 202
    full = app.send("/orders", {"id": 3})
    assert (full.status, full.headers["Retry-After"]) == (503, "5")
    assert json.loads(full.body)["type"] == "urn:headgate:problem:queue_full"
    app.drain()
    assert app.send("/orders", {"id": 3}).status == 202


@pytest.mark.parametrize("jump_s", [3_600, -3_600, 86_400, -86_400])
def test_a_jump_of_the_wall_clock_hurries_nothing_and_holds_up_nothing(headgate_app_from: Serve, jump_s: float) -> None:
    seen: list[int] = []

    def handle(_: Any, message: Message) -> None:
        seen.append(message.attempt)
        raise OSError

    app = served(headgate_app_from, handle)
    app.send("/orders", {"id": "1"})
    app.drain()
    app.send("/orders", {"id": "2"})
    app._engine.queue.claim("orders", 1, 30_000)
    app.clock.jump(jump_s)
    app.clock.advance(9.999)
    app.drain()
    assert seen == [1], "neither the one that waits nor the one in work comes early"
    app.clock.advance(0.001)
    app.drain()
    assert seen == [1, 2]
    app.clock.advance(20)
    app.drain()
    assert sorted(seen) == [1, 2, 2, 3], "the lease ran out in its time"


def test_metrics_tell_what_waits_how_late_it_is_and_what_is_dead(headgate_app_from: Serve) -> None:
    def handle(order: Any) -> None:
        if order["id"] == 0:
            raise Permanent("bad")

    app = served(headgate_app_from, handle)
    for n in range(3):
        app.send("/orders", {"id": n})
    app.clock.advance(7)
    told = app.send("/-/metrics", method="GET").body.decode()
    assert 'headgate_waiting{channel="orders"} 3.0' in told
    assert 'headgate_late_seconds{channel="orders"} 7.0' in told
    app.drain()
    told = app.send("/-/metrics", method="GET").body.decode()
    assert 'headgate_waiting{channel="orders"} 0.0' in told
    assert 'headgate_dead_letters{channel="orders"} 1.0' in told
    assert 'headgate_worked_total{channel="orders",outcome="processed"} 2.0' in told
