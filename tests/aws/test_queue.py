"""What the queue on DynamoDB does beside the cases of every queue: faults in between, large bodies, unread messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from headgate import App, Public, Queued
from headgate.aws.clients import Clients
from headgate.aws.index import INLINE_BYTES, DynamoIndex
from headgate.aws.layout import layout_of
from headgate.aws.pages import Table
from headgate.aws.queue import DynamoQueue
from headgate.clock import ManualClock, SystemClock
from headgate.engine import Edited, Lease, NotYet, Redriven, Settlement
from headgate.errors import Unavailable
from headgate.message import UNREAD, Message, Moment
from headgate.testing.contract.index import kinds, message
from tests.aws.emulator.process import Emulator
from tests.aws.endpoint import Answer, Endpoint, answering, error
from tests.aws.tables import make_bucket, make_table

pytestmark = pytest.mark.xdist_group("emulator")

LARGE = json.dumps({"text": "x" * INLINE_BYTES})
LEASE_MS = 30_000
CHANNEL = App("shop").channel("/orders", key="id", auth=Public(), indexes=["n"], attributes=["m"], delivery=Queued())


# ---------------------------------------------------------------------------------- an endpoint that does as it is told


class Told:
    """A queue over an endpoint whose one row is `row`; of each write `lose` says whether its answer is lost."""

    def __init__(self, endpoint: Endpoint) -> None:
        clock = ManualClock()
        clients = Clients(clock)
        index = DynamoIndex([Table("orders", layout_of(CHANNEL))], "bodies", clients, clock)
        self.index, self.queue = index, DynamoQueue(index, clients, clock)
        self.row: dict[str, Any] | None = None
        self.endpoint = endpoint
        self.written = 0
        endpoint.answer = self._answer

    def _answer(self, asked: dict[str, Any]) -> Answer:
        """Only what is new of a row is looked at: the mark that a change leaves."""
        if "UpdateExpression" not in asked:
            return 200, {"Item": self.row} if self.row else {}
        if self.written:
            return error("ConditionalCheckFailedException", Item=self.row)
        self.written += 1
        names, values = asked["ExpressionAttributeNames"], asked["ExpressionAttributeValues"]
        sets = {names[f"#{at[1:]}"]: value for at, value in values.items() if f"#{at[1:]}" in names and at[1] == "n"}
        self.row = {**(self.row or {}), **{name: value for name, value in sets.items() if name != "attempts"}}
        return error("InternalServerError", 500)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    with answering() as endpoint:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        made = Told(endpoint)
        yield made
        made.index.close()


ROW = {
    "id": {"S": "1"}, "received_at": {"S": f"2026-01-01T00:00:00.000Z_{'0' * 32}"}, "shard": {"S": "0"},
    "digest": {"B": ""}, "body": {"S": "{}"}, "request": {"S": "r"}, "due_at": {"N": "0"},
}  # fmt: skip


def test_an_attempt_whose_answer_was_lost_is_counted_once_and_can_be_made(told: Told) -> None:
    told.row = {**ROW, "status": {"S": "accepted"}}
    lease = told.queue.begin("orders", "", "1", LEASE_MS)
    assert isinstance(lease, Lease)
    assert told.queue.begin("orders", "", "1", LEASE_MS) == NotYet(lease.until_ms)


def test_a_verdict_whose_answer_was_lost_was_written_down(told: Told) -> None:
    told.row = {**ROW, "status": {"S": "accepted"}}
    lease = told.queue.begin("orders", "", "1", LEASE_MS)
    assert isinstance(lease, Lease)
    told.written = 0
    assert told.queue.settle(lease, Settlement("processed")) is True
    assert told.queue.settle(lease, Settlement("processed")) is False


def test_an_alteration_whose_answer_was_lost_has_been_made(told: Told) -> None:
    told.row = {**ROW, "status": {"S": "failed"}}
    assert told.queue.alter("orders", "", "1", Redriven(Moment(1, "redriven"))) is True
    assert told.row["status"] == {"S": "accepted"}
    assert told.queue.alter("orders", "", "1", Redriven(Moment(1, "redriven"))) is False


def test_a_message_that_is_put_off_says_until_when(told: Told) -> None:
    now_ms = ManualClock().now_ms()
    for status, due_ms, until_ms in (
        ("accepted", now_ms + 60_000, now_ms + 60_000),
        ("accepted", now_ms, None),
        ("processing", now_ms + 60_000, None),
    ):
        told.row = {**ROW, "status": {"S": status}, "due_at": {"N": str(due_ms)}}
        assert told.queue.put_off_until_ms("orders", "", "1") == until_ms
    told.row = None
    assert told.queue.put_off_until_ms("orders", "", "1") is None


def test_in_an_outage_every_verb_says_so(told: Told) -> None:
    told.endpoint.answer = lambda _: error("AccessDeniedException")
    lease = Lease(message("1"), "a-token", 1)
    for verb in (
        lambda: told.queue.begin("orders", "", "1", LEASE_MS),
        lambda: told.queue.settle(lease, Settlement("processed")),
        lambda: told.queue.alter("orders", "", "1", Redriven(Moment(1, "redriven"))),
        lambda: told.queue.overdue("orders", 0, 1),
        lambda: told.queue.dead("orders", 1, None),
    ):
        with pytest.raises(Unavailable):
            verb()


# ------------------------------------------------------------------------------------------------------- the emulator


class Store:
    """A table and a bucket of its own."""

    def __init__(self, emulator: Emulator) -> None:
        self.dynamodb, self.s3 = emulator.client("dynamodb"), emulator.client("s3")
        self.clock = ManualClock()
        self.table = make_table(self.dynamodb, layout_of(CHANNEL))
        self.bucket = make_bucket(self.s3)
        clients = Clients(SystemClock())
        self.index = DynamoIndex([self.table], self.bucket, clients, self.clock)
        self.queue = DynamoQueue(self.index, clients, self.clock)

    def begun(self, key: str) -> Lease:
        lease = self.queue.begin("orders", "", key, LEASE_MS)
        assert isinstance(lease, Lease)
        return lease

    def bury(self, key: str) -> None:
        assert self.queue.settle(self.begun(key), Settlement("failed", (Moment(1, "failed", 1),), error="No."))

    def row(self, key: str) -> dict[str, Any]:
        return dict(self.dynamodb.get_item(TableName=self.table.name, Key={"id": {"S": key}})["Item"])

    def message(self, key: str) -> Message | None:
        return self.index.get("orders", "", key)

    def objects(self) -> list[str]:
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ())]


@pytest.fixture
def store(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    made = Store(emulator)
    yield made
    made.index.close()


def accepted(key: str, body: str = '{"n":1}', **more: Any) -> Message:
    return message(key, body)._replace(status="accepted", **more)


def test_an_attempt_without_its_large_body_is_not_counted(store: Store) -> None:
    assert kinds(store.index.commit([accepted("1", LARGE)])) == ["stored"]
    (at,) = store.objects()
    body = store.s3.get_object(Bucket=store.bucket, Key=at)["Body"].read()
    store.s3.delete_object(Bucket=store.bucket, Key=at)
    with pytest.raises(Unavailable):
        store.queue.begin("orders", "", "1", LEASE_MS)
    store.s3.put_object(Bucket=store.bucket, Key=at, Body=body)
    lease = store.begun("1")
    assert (lease.message.attempts, lease.message.body) == (1, LARGE.encode())


@pytest.mark.parametrize(("first", "second"), [("{}", LARGE), (LARGE, "{}"), (LARGE, LARGE.replace("x", "y"))])
def test_bodies_are_edited_whatever_their_size_and_go_with_their_message(store: Store, first: str, second: str) -> None:
    assert kinds(store.index.commit([accepted("1", first)])) == ["stored"]
    store.bury("1")
    assert store.queue.alter("orders", "", "1", Edited(Moment(2, "edited"), second.encode()))
    found = store.message("1")
    assert found is not None
    assert (found.body, found.original) == (second.encode(), first.encode())
    assert kinds(store.index.commit([accepted("1", first)])) == ["replayed"]
    assert store.index.delete("orders", "", "1") is True
    assert store.objects() == []


def test_an_edited_row_shows_what_is_in_its_new_body(store: Store) -> None:
    sent = accepted("1", '{"n":1,"m":"a"}', fields=(("n", "1"),), order="x")
    assert kinds(store.index.commit([sent])) == ["stored"]
    store.bury("1")
    assert store.queue.alter("orders", "", "1", Edited(Moment(2, "edited"), b'{"n":2}', (("n", "2"),), "y"))
    row = store.row("1")
    assert (row["n"], row["order_key"], "m" in row) == ({"S": "2"}, {"S": "y"}, False)


def test_of_two_who_alter_at_once_both_are_told_in_the_timeline(store: Store) -> None:
    assert kinds(store.index.commit([accepted("1")])) == ["stored"]
    store.bury("1")
    held = store.index.held("orders", "", "1")
    assert held is not None
    assert store.queue.alter("orders", "", "1", Edited(Moment(2, "edited"), b"2"))
    assert store.queue._altered(*held, Edited(Moment(3, "edited"), b"3")) is None  # it was read before: again
    assert store.queue.alter("orders", "", "1", Edited(Moment(3, "edited"), b"3"))
    found = store.message("1")
    assert found is not None
    assert [moment.at_ms for moment in found.timeline] == [1, 2, 3]


# ----------------------------------------------------------------------------------------------------- let in unread


def unread(key: str, body: bytes) -> Message:
    return message(key)._replace(body=body, status=UNREAD, request_id=key)


def test_what_was_let_in_unread_is_told_apart_until_it_was_promoted(store: Store) -> None:
    assert kinds(store.index.commit([unread("r", b"\xff")])) == ["stored"]
    found = store.message("r")
    assert found is not None
    assert (found.status, found.body) == ("accepted", b"\xff")
    lease = store.begun("r")
    assert store.queue.is_unread(lease)
    assert store.queue.promote(lease, accepted("r", '{"n":1}', fields=(("n", "1"),))) == "stored"
    assert store.queue.promote(lease, accepted("r")) == "late"
    lease = store.begun("r")
    assert not store.queue.is_unread(lease)
    assert lease.message.attempts == 1
    assert store.row("r")["n"] == {"S": "1"}


def test_a_message_goes_on_under_its_own_key_and_the_row_it_came_in_as_stays_as_a_record(store: Store) -> None:
    told = Moment(1, "rejected", detail="No.")
    bad = unread("r", b'{"id":"1"}')._replace(status="rejected", error="No.", timeline=(told,))
    assert kinds(store.index.commit([bad])) == ["stored"]
    assert store.queue.alter("orders", "", "r", Redriven(Moment(2, "redriven")))
    lease, own = store.begun("r"), accepted("1", '{"id":"1"}')
    assert store.queue.is_unread(lease)
    assert store.queue.promote(lease, own) == "stored"
    assert store.queue.promote(lease, own) == "replayed"  # after a crash in between
    for _ in range(2):
        store.queue.leave(lease, own)
    found = store.message("r")
    assert found is not None
    assert [moment.what for moment in found.timeline] == ["rejected", "redriven", "processed"]
    assert store.begun("1").message.attempts == 1


def test_somebody_elses_key_stays_as_it_is(store: Store) -> None:
    assert kinds(store.index.commit([accepted("1", "2")])) == ["stored"]
    assert kinds(store.index.commit([unread("r", b'{"id":"1"}')])) == ["stored"]
    lease = store.begun("r")
    assert store.queue.promote(lease, accepted("1", '{"id":"1"}')) == "conflict"
    assert store.queue.settle(lease, Settlement("rejected", (Moment(1, "rejected"),), error="Taken."))


# ----------------------------------------------------------------------------------------------------------- the sweep


def test_what_is_overdue_is_put_into_its_queue_again_once_in_a_while(store: Store) -> None:
    assert kinds(store.index.commit([accepted("1")])) == ["stored"]
    store.clock.advance(60)
    assert store.queue.swept("orders", "", "1", 30_000) == ("", "")
    assert store.queue.swept("orders", "", "1", 30_000) is None
    store.clock.advance(30)
    assert store.queue.swept("orders", "", "1", 30_000) == ("", "")
    lease = store.begun("1")
    store.clock.advance(29)
    assert store.queue.swept("orders", "", "1", 0) is None
    assert store.queue.settle(lease, Settlement("processed"))
    assert store.queue.swept("orders", "", "1", 0) is None
    assert store.queue.swept("orders", "", "none", 0) is None
