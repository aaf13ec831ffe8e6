"""What the index on DynamoDB does beside the cases of every index: faults in between, bodies in the bucket, TTL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from headgate import App, Public
from headgate.aws.clients import Clients
from headgate.aws.index import INLINE_BYTES, DynamoIndex
from headgate.aws.layout import EXPIRES_MS, Layout, layout_of
from headgate.aws.pages import Table
from headgate.aws.wire import Wire
from headgate.clock import ManualClock, SystemClock
from headgate.errors import Unavailable
from headgate.testing.contract.index import kinds, message
from tests.aws.emulator.process import Emulator
from tests.aws.endpoint import Answer, Endpoint, answering, error
from tests.aws.tables import make_bucket, make_table

pytestmark = pytest.mark.xdist_group("emulator")

LARGE = json.dumps({"text": "x" * INLINE_BYTES})
DAY_MS = 24 * 3600 * 1000


def layout(**options: Any) -> Layout:
    return layout_of(App("shop").channel("/orders", key="id", auth=Public(), **options))


# ---------------------------------------------------------------------------------- an endpoint that does as it is told


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with answering() as endpoint:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        yield endpoint


@pytest.fixture(params=["as the command line calls", "as functions call"])
def told(request: pytest.FixtureRequest, endpoint: Endpoint) -> Iterator[DynamoIndex]:
    clock = ManualClock()
    wire = Wire(endpoint.environment(), clock) if request.param == "as functions call" else None
    index = DynamoIndex([Table("orders", layout())], "bodies", Clients(clock, wire=wire), clock)
    yield index
    index.close()


def test_what_an_answer_that_was_lost_had_stored_is_stored(endpoint: Endpoint, told: DynamoIndex) -> None:
    held: list[dict[str, Any]] = []

    def answer(asked: dict[str, Any]) -> Answer:
        if held:
            return error("ConditionalCheckFailedException", Item=held[0])
        held.append(asked["Item"])
        return error("InternalServerError", 500)

    endpoint.answer = answer
    assert kinds(told.commit([message("1")])) == ["stored"]
    assert kinds(told.commit([message("1")])) == ["replayed"]


def test_a_row_that_a_transaction_is_writing_is_waited_for_a_while(endpoint: Endpoint, told: DynamoIndex) -> None:
    endpoint.answer = lambda _: error("TransactionConflictException") if len(endpoint.asked) < 3 else (200, {})
    assert kinds(told.commit([message("1")])) == ["stored"]
    endpoint.answer = lambda _: error("TransactionConflictException")
    assert kinds(told.commit([message("1")])) == ["in_progress"]


@pytest.mark.parametrize("whole", [False, True])
def test_a_key_whose_message_expires_while_dynamodb_looks_is_free(
    endpoint: Endpoint, told: DynamoIndex, whole: bool
) -> None:
    sent = [message("1"), message("2")] if whole else [message("1")]

    def answer(asked: dict[str, Any]) -> Answer:
        if len(endpoint.asked) > 1:
            return 200, {}
        put = asked["TransactItems"][0]["Put"] if whole else asked
        held = {**put["Item"], EXPIRES_MS: {"N": "1"}}
        failed = {"Code": "ConditionalCheckFailed", "Item": held}
        if whole:
            return error("TransactionCanceledException", CancellationReasons=[failed, {"Code": "None"}])
        return error("ConditionalCheckFailedException", Item=held)

    endpoint.answer = answer
    assert kinds(told.commit(sent, whole=whole)) == ["stored"] * len(sent)


def test_in_an_outage_a_batch_does_not_wait_for_each_of_its_items(endpoint: Endpoint, told: DynamoIndex) -> None:
    endpoint.answer = lambda _: error("AccessDeniedException")
    assert kinds(told.commit([message(str(n)) for n in range(500)])) == ["unavailable"] * 500
    assert len(endpoint.asked) < 50
    assert kinds(told.commit([message("1"), message("2")], whole=True)) == ["unavailable"] * 2
    for read in (lambda: told.get("orders", "", "1"), lambda: told.find("orders", None, None, None, 1, None)):
        with pytest.raises(Unavailable):
            read()


def test_a_transaction_that_is_throttled_is_repeated(endpoint: Endpoint, told: DynamoIndex) -> None:
    def answer(_: dict[str, Any]) -> Answer:
        reasons = [{"Code": "ThrottlingError"}, {"Code": "None"}]
        canceled = error("TransactionCanceledException", CancellationReasons=reasons)
        return canceled if len(endpoint.asked) < 4 else (200, {})

    endpoint.answer = answer
    assert kinds(told.commit([message("1"), message("2")], whole=True)) == ["stored", "stored"]


# ------------------------------------------------------------------------------------------------------- the emulator


class Store:
    """A table and a bucket of its own."""

    def __init__(self, emulator: Emulator, **options: Any) -> None:
        self.dynamodb, self.s3 = emulator.client("dynamodb"), emulator.client("s3")
        self.clock = ManualClock()
        self.table = make_table(self.dynamodb, layout(**options))
        self.bucket = make_bucket(self.s3)
        self.index = self.over(self.table.name)

    def over(self, table: str) -> DynamoIndex:
        return DynamoIndex([Table(table, self.table.layout)], self.bucket, Clients(SystemClock()), self.clock)

    def objects(self) -> list[str]:
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ())]

    def row(self) -> dict[str, Any]:
        (row,) = self.dynamodb.scan(TableName=self.table.name)["Items"]
        return dict(row)


@pytest.fixture
def store(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    return Store(emulator, indexes=["n"])


def test_bodies_of_32_kb_lie_in_the_row_and_larger_ones_in_the_bucket(store: Store) -> None:
    inline = json.dumps("x" * (INLINE_BYTES - 2))
    assert kinds(store.index.commit([message("1", inline)])) == ["stored"]
    assert store.row()["body"] == {"S": inline}
    assert store.objects() == []
    assert kinds(store.index.commit([message("2", LARGE), message("3", LARGE)], whole=True)) == ["stored", "stored"]
    assert len(store.objects()) == 2
    found = store.index.get("orders", "", "2")
    assert found is not None
    assert found.body == LARGE.encode()


def test_what_failed_between_bucket_and_table_is_completed_by_a_retry(store: Store) -> None:
    assert kinds(store.over("gone").commit([message("1", LARGE)])) == ["unavailable"]
    assert len(store.objects()) == 1
    assert store.index.get("orders", "", "1") is None
    assert kinds(store.index.commit([message("1", LARGE)])) == ["stored"]
    assert kinds(store.index.commit([message("1", LARGE)])) == ["replayed"]
    assert len(store.objects()) == 1


def test_deleting_one_message_leaves_the_same_body_of_another(store: Store) -> None:
    assert kinds(store.index.commit([message("1", LARGE), message("2", LARGE)])) == ["stored", "stored"]
    assert store.index.delete("orders", "", "1") is True
    assert len(store.objects()) == 1
    found = store.index.get("orders", "", "2")
    assert found is not None
    assert found.body == LARGE.encode()


def test_bodies_lie_where_the_bucket_may_remove_them_when_they_are_of_no_more_use(store: Store) -> None:
    received_ms = store.clock.now_ms()
    for key, keep_ms in (("1", DAY_MS), ("2", DAY_MS + 1)):
        sent = message(key, LARGE, received_ms=received_ms, expires_ms=received_ms + keep_ms)
        assert kinds(store.index.commit([sent])) == ["stored"]
    store.index.commit([message("3", LARGE)])
    assert sorted(key.rpartition("/")[0] for key in store.objects()) == ["orders/1d", "orders/2d", "orders/kept"]


def test_dynamodb_is_told_when_a_row_may_go_and_never_before_its_time(store: Store) -> None:
    store.index.commit([message("1", expires_ms=store.clock.now_ms() + 1_500)])
    assert store.row()["expires_at"] == {"N": str(store.clock.now_ms() // 1000 + 2)}
    assert store.dynamodb.describe_time_to_live(TableName=store.table.name)["TimeToLiveDescription"] == {
        "TimeToLiveStatus": "ENABLED",
        "AttributeName": "expires_at",
    }


def test_a_body_that_is_lost_is_no_message_without_a_body(store: Store) -> None:
    store.index.commit([message("1", LARGE)])
    (key,) = store.objects()
    store.s3.delete_object(Bucket=store.bucket, Key=key)
    with pytest.raises(Unavailable):
        store.index.get("orders", "", "1")
    assert kinds(store.index.commit([message("1", LARGE)])) == ["replayed"]
    assert store.index.delete("orders", "", "1") is True


def test_where_keys_do_not_count_per_principal_there_is_one_scope(store: Store) -> None:
    assert kinds(store.index.commit([message("1"), message("1", scope="bob")])) == ["stored", "unavailable"]
    assert store.index.get("orders", "bob", "1") is None
    assert store.index.delete("orders", "bob", "1") is False
    assert [found.key for found in store.index.find("orders", "", None, None, 5, None).messages] == ["1"]
    assert store.index.find("orders", "bob", None, None, 5, None).messages == []
    assert store.index.scopes("orders", "1") == [""]
    assert store.index.scopes("orders", "2") == []


def test_the_command_line_finds_the_scopes_of_a_key_and_the_newest_of_all(emulator: Emulator, store: Store) -> None:
    per_principal = Store(emulator, scope="principal")
    for scope in ("bob", "alice"):
        per_principal.index.commit([message("1", scope=scope)])
    per_principal.index.commit([message("2", scope="carol", expires_ms=1)])
    assert per_principal.index.scopes("orders", "1") == ["alice", "bob"]
    assert per_principal.index.scopes("orders", "2") == []
    first = per_principal.index.newest(1, None)
    assert [found.scope for found in first.messages] == ["alice"]
    assert [found.scope for found in per_principal.index.newest(5, first.next).messages] == ["bob"]
    with pytest.raises(ValueError):
        per_principal.index.newest(5, "x")


def test_a_reader_finds_its_own_among_very_many_of_others_however_many_pages_it_takes(
    emulator: Emulator, store: Store
) -> None:
    store = Store(emulator, scope="principal", indexes=["n"])
    others = [message(str(n), scope="others", fields=[("n", "1")]) for n in range(60)]
    store.index.commit([message("mine", scope="me", fields=[("n", "1")]), *others])
    found: list[str] = []
    after, pages = None, 0
    while pages == 0 or after is not None:
        page = store.index.find("orders", "me", "n", "1", 1, after)
        found += [each.key for each in page.messages]
        after, pages = page.next, pages + 1
    assert found == ["mine"]
    assert 1 < pages < 10
