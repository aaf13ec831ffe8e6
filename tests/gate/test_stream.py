"""Channels with a stream, as their senders meet them; on the real local engine, in process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from headgate import App, Header, Public, Receipt, Reply, Stream
from headgate.errors import DeclarationError
from headgate.testing.inprocess import AppUnderTest


class Event(BaseModel):
    kind: str
    user: str | None = None


def placed(receipt: Receipt) -> Reply:
    return Reply(202, {"eventId": receipt.key, "shardId": receipt.shard, "sequenceNumber": receipt.sequence})


def events(app: App, **options: Any) -> None:
    app.channel("/events", Event, **{"delivery": Stream(shards=2), "auth": Public(), "accepted": placed, **options})


Up = Callable[..., AppUnderTest]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    apps: list[AppUnderTest] = []

    def up(**options: Any) -> AppUnderTest:
        app = App("shop")
        events(app, **options)
        app.check()
        apps.append(AppUnderTest(app, tmp_path))
        return apps[-1]

    yield up
    for app in apps:
        app.close()


def test_an_event_is_answered_with_its_place(up: Up) -> None:
    app = up()
    first, second = (app.send("/events", {"kind": "a"}) for _ in range(2))
    assert (first.status, second.status) == (202, 202)
    assert first.json()["shardId"].startswith("shardId-")
    assert int(first.json()["sequenceNumber"]) < int(second.json()["sequenceNumber"])
    assert first.json()["eventId"] != second.json()["eventId"]


def test_without_a_shape_of_its_own_the_answer_is_202_and_the_id(up: Up) -> None:
    answer = up(accepted=None).send("/events", {"kind": "a"})
    assert answer.status == 202
    assert list(answer.json()) == ["id"]


def test_the_reply_may_be_made_of_the_body_too(up: Up) -> None:
    def told(receipt: Receipt) -> dict[str, Any]:
        return {"kind": json.loads(receipt.body)["kind"]}

    assert up(accepted=told).send("/events", {"kind": "a"}).json() == {"kind": "a"}


def test_a_partition_key_keeps_messages_in_one_shard(up: Up) -> None:
    app = up(delivery=Stream(shards=7, partition_key="user"))
    shards = {app.send("/events", {"kind": str(n), "user": "alice"}).json()["shardId"] for n in range(9)}
    assert len(shards) == 1


def test_without_one_they_are_spread(up: Up) -> None:
    app = up(delivery=Stream(shards=2))
    assert len({app.send("/events", {"kind": "a"}).json()["shardId"] for _ in range(40)}) == 2


def test_a_bad_event_is_400_and_in_no_stream(up: Up) -> None:
    app = up()
    assert app.send("/events", {"kind": 1}).status == 400
    assert app.send("/events", {"kind": "a"}).json()["sequenceNumber"] == "1"


def test_a_partition_key_that_is_too_long_is_400(up: Up) -> None:
    answer = up(delivery=Stream(partition_key="user")).send("/events", {"kind": "a", "user": "u" * 257})
    assert answer.status == 400
    assert answer.json()["errors"][0]["pointer"] == "/user"


def test_a_batch_is_answered_item_by_item(up: Up) -> None:
    answer = up(many=True, accepted=None).send("/events", [{"kind": "a"}, {"kind": 1}, {"kind": "b"}])
    assert answer.status == 202
    assert [item["status"] for item in answer.json()["items"]] == ["stored", "invalid", "stored"]


def test_sent_again_it_is_appended_again(up: Up) -> None:
    app = up(key="kind")
    first, second = (app.send("/events", {"kind": "a"}).json() for _ in range(2))
    assert first["eventId"] == second["eventId"] == "a"
    assert first["sequenceNumber"] != second["sequenceNumber"]


def test_with_dedupe_it_is_appended_once_and_answered_the_same(up: Up) -> None:
    app = up(key="kind", delivery=Stream(shards=2, dedupe=True), read=True)
    first, second = (app.send("/events", {"kind": "a"}) for _ in range(2))
    assert (first.status, second.status, second.body) == (202, 202, first.body)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert app.send("/events", {"kind": "a", "user": "b"}).status == 409
    assert app.send("/events/a", method="GET").json()["body"] == {"kind": "a"}
    assert app.send("/events", {"kind": "b"}).json()["sequenceNumber"] == "2"


def test_with_dedupe_a_header_may_be_the_key_and_fields_are_indexed(up: Up) -> None:
    app = up(key=Header("Idempotency-Key"), delivery=Stream(dedupe=True), read=True, indexes=["user"])
    body = {"kind": "a", "user": "alice"}
    first, second = (app.send("/events", body, headers={"Idempotency-Key": "1"}) for _ in range(2))
    assert first.json() == second.json()
    assert [item["key"] for item in app.send("/events?user=alice", method="GET").json()["items"]] == ["1"]


def test_with_dedupe_a_row_may_end_before_its_record(up: Up) -> None:
    app = up(key="kind", delivery=Stream(dedupe=True), read=True, keep=timedelta(hours=1))
    app.send("/events", {"kind": "a"})
    app.clock.advance(3601)
    assert app.send("/events/a", method="GET").status == 404
    assert app.send("/events", {"kind": "a"}).json()["sequenceNumber"] == "2"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"delivery": Stream(shards=0)}, "`shards=` must be 1"),
        ({"delivery": Stream(partition_key="nobody")}, "has no field 'nobody'"),
        ({"many": "all", "accepted": None}, 'many="all"'),
        ({"key": Header()}, "name a field, or say dedupe=True"),
        ({"delivery": Stream(dedupe=True)}, "needs a key"),
        ({"keep": 5}, "Stream(retention="),
        ({"indexes": ["user"]}, "`indexes=` find rows"),
        ({"read": True}, "`read=` is for rows"),
        ({"body_limit_bytes": 2_000_000}, "the most that its delivery can carry"),
        ({"delivery": Stream(attempts=0)}, "`attempts=` must be 1"),
    ],
)
def test_what_a_stream_cannot_do_is_refused_at_load(options: dict[str, Any], told: str) -> None:
    app = App("shop")
    events(app, **options)
    with pytest.raises(DeclarationError) as refused:
        app.check()
    assert any(told in fault.sentence for fault in refused.value.faults)
