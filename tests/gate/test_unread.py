"""validate="worker": everything is let in, and looked at later. Nobody who sends nonsense takes a key, or a row, from
anybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from headgate import ApiKey, App, Message, Public, Queued, RetryPolicy
from headgate.engine import Edited, Redriven
from headgate.message import Moment
from headgate.testing.answer import Answer
from headgate.testing.inprocess import AppUnderTest

Serve = Callable[[App], AppUnderTest]

UNREAD = Queued(validate="worker", attempts=2, backoff=RetryPolicy(first_s=1, jitter=0))


class Order(BaseModel):
    id: str
    n: int


def served(serve: Serve, seen: list[Any] | None = None, **options: Any) -> AppUnderTest:
    app = App("shop")
    options = {"key": "id", "auth": Public(), "read": True, "indexes": ["n"], **options}
    channel = app.channel("/orders", Order, delivery=UNREAD, **options)
    if seen is not None:
        channel(seen.append)
    return serve(app)


def let_in(app: AppUnderTest, body: str | bytes, **more: Any) -> str:
    """The id that the sender is told."""
    answer = app.send("/orders", body=body, **more)
    assert answer.status == 202
    assert list(answer.json()) == ["id"]
    return str(answer.json()["id"])


def read(app: AppUnderTest, key: str) -> Answer:
    return app.send(f"/orders/{key}", method="GET")


def rows(app: AppUnderTest) -> dict[str, str]:
    return {message.key: message.status for message in app.messages("orders")}


def the(app: AppUnderTest, key: str) -> Message:
    found = app._engine.index.get("orders", "", key)
    assert found is not None
    return found


def test_a_good_message_gets_its_own_key_and_is_worked_off(headgate_app_from: Serve) -> None:
    seen: list[Any] = []
    app = served(headgate_app_from, seen)
    id_ = let_in(app, '{"id":"A", "n": 1}')
    assert read(app, id_).json()["status"] == "accepted"
    app.drain()
    assert rows(app) == {"A": "processed"}
    assert read(app, "A").json()["body"] == {"id": "A", "n": 1}
    assert read(app, id_).status == 404
    assert [message.key for message in app.messages("orders", n=1)] == ["A"]
    assert seen == [Order(id="A", n=1)]


def test_without_a_key_in_the_body_the_id_is_the_key(headgate_app_from: Serve) -> None:
    seen: list[Any] = []
    app = served(headgate_app_from, seen, key=None)
    id_ = let_in(app, '{"id":"A","n":1}')
    app.drain()
    assert rows(app) == {id_: "processed"}
    assert [message.key for message in app.messages("orders", n=1)] == [id_]
    assert len(seen) == 1


def test_the_same_again_is_taken_and_handled_once(headgate_app_from: Serve) -> None:
    seen: list[Any] = []
    app = served(headgate_app_from, seen)
    for _ in range(3):
        let_in(app, '{"id":"A","n":1}')
    app.drain()
    let_in(app, '{ "n":1, "id":"A" }')
    app.drain()
    assert rows(app) == {"A": "processed"}
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("body", "kind", "pointer"),
    [
        (b"", "empty_body", ""),
        (b"\xff\x00 not text", "malformed", ""),
        ("[" * 100, "malformed", ""),
        ('{"id":"A","id":"B","n":1}', "duplicate_key", ""),
        ('{"id":"A"}', "missing", "/n"),
        ('{"id":"A","n":"1"}', "int_type", "/n"),
        ('{"id":"","n":1}', "key", "/id"),
    ],
)
def test_a_bad_message_is_a_row_of_its_own_with_reason_and_bytes(
    headgate_app_from: Serve, body: str | bytes, kind: str, pointer: str
) -> None:
    app = served(headgate_app_from, [])
    id_ = let_in(app, body)
    app.drain()
    assert rows(app) == {id_: "rejected"}
    row = the(app, id_)
    assert row.body == (body.encode() if isinstance(body, str) else body)
    assert (row.timeline[-1].what, row.timeline[-1].kind, row.timeline[-1].pointer) == ("rejected", kind, pointer)
    assert row.error
    told = read(app, id_)
    assert (told.status, told.json()["status"], told.json()["error"]) == (200, "rejected", row.error)
    assert [message.key for message in app._engine.queue.dead("orders", 10, None).messages] == [id_]


def test_a_corrected_resend_is_accepted(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, [])
    bad = let_in(app, '{"id":"A","n":"one"}')
    let_in(app, '{"id":"A","n":1}')
    app.drain()
    assert rows(app) == {bad: "rejected", "A": "processed"}


def test_another_body_under_a_key_changes_nothing_of_the_first(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, [])
    let_in(app, '{"id":"A","n":1}')
    app.drain()
    other = let_in(app, '{"id":"A","n":2}')
    app.drain()
    assert rows(app) == {"A": "processed", other: "rejected"}
    assert the(app, "A").body == b'{"id":"A","n":1}'
    assert the(app, other).error == "Another message holds the key A; it stands unchanged."


def test_a_rejected_message_is_edited_and_redriven(headgate_app_from: Serve) -> None:
    seen: list[Any] = []
    app = served(headgate_app_from, seen)
    id_ = let_in(app, b"\xff")
    app.drain()
    queue = app._engine.queue
    now_ms = app.clock.now_ms()
    assert queue.alter("orders", "", id_, Edited(Moment(now_ms, "edited"), b'{"id":"A","n":1}'))
    assert queue.alter("orders", "", id_, Redriven(Moment(now_ms, "redriven")))
    app.drain()
    assert rows(app) == {"A": "processed", id_: "processed"}
    assert [moment.what for moment in the(app, id_).timeline] == ["rejected", "edited", "redriven", "processed"]
    assert the(app, id_).original == b"\xff"
    assert the(app, id_).timeline[-1].detail == "It goes on under the key A."
    assert [moment.what for moment in the(app, "A").timeline] == ["redriven", "processed"]
    assert the(app, "A").timeline[0].detail == f"It was let in under the id {id_}, where what happened before is told."
    assert the(app, "A").request_id == id_
    assert seen == [Order(id="A", n=1)]
    assert not queue.alter("orders", "", id_, Redriven(Moment(now_ms, "redriven"))), "it is no dead letter any more"


def test_a_rejected_message_whose_key_was_taken_meanwhile_is_rejected_again(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, [])
    id_ = let_in(app, '{"id":"A","n":"one"}')
    let_in(app, '{"id":"A","n":1}')
    app.drain()
    queue, now_ms = app._engine.queue, app.clock.now_ms()
    assert queue.alter("orders", "", id_, Edited(Moment(now_ms, "edited"), b'{"id":"A","n":2}'))
    assert queue.alter("orders", "", id_, Redriven(Moment(now_ms, "redriven")))
    app.drain()
    assert rows(app) == {"A": "processed", id_: "rejected"}
    assert the(app, "A").body == b'{"id":"A","n":1}'
    assert [moment.what for moment in the(app, id_).timeline] == ["rejected", "edited", "redriven", "rejected"]


def test_only_who_may_post_is_let_in_and_keys_count_for_each(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, [], auth=ApiKey(), scope="principal")
    assert app.send("/orders", body="{}", auth=False).status == 401
    let_in(app, '{"id":"A","n":1}', as_="ann")
    let_in(app, '{"id":"A","n":2}', as_="bob")
    app.drain()
    assert sorted(message.body for message in app.messages("orders")) == [b'{"id":"A","n":1}', b'{"id":"A","n":2}']


def test_a_model_that_breaks_is_tried_again_and_then_a_dead_letter(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, [])
    id_ = let_in(app, '{"id":"A","n":1}')
    (channel,) = app.app.channels
    plan = app._server.driver.gate.plan_of(channel)
    object.__setattr__(plan, "order", 5)  # as wrong as a model can be
    app.drain()
    app.clock.advance(1)
    app.drain()
    assert rows(app) == {id_: "failed"}
    assert [moment.what for moment in the(app, id_).timeline] == ["retried", "failed"]


def test_when_nobody_saw_the_end_of_a_look_it_is_looked_at_again(headgate_app_from: Serve) -> None:
    app = served(headgate_app_from, [])
    let_in(app, '{"id":"A","n":1}')
    (lease,) = app._engine.queue.claim("orders", 1, 1_000)
    app.clock.advance(1)
    app.drain()
    assert rows(app) == {"A": "processed"}
    assert app._engine.queue.promote(lease, the(app, "A")) == "late"
