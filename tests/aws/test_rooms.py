"""The archive in S3, streams in Kinesis and topics in SNS pass the cases of every engine; and faults in between."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from headgate import App, Public, Stream
from headgate.aws.archive import S3Archive
from headgate.aws.clients import Clients, Declined
from headgate.aws.index import DynamoIndex
from headgate.aws.layout import layout_of
from headgate.aws.once import OnceStream
from headgate.aws.pages import Threads
from headgate.aws.stream import KinesisStream, Log, pushed
from headgate.aws.topics import SnsTopics
from headgate.clock import ManualClock, SystemClock
from headgate.engine import Archive, ArchiveObject, Notice
from headgate.errors import Unavailable
from headgate.message import Message
from headgate.testing.contract import CHANNELS
from headgate.testing.contract.archive import ArchiveCases
from headgate.testing.contract.stream import (
    RETENTION_MS,
    SHARDS,
    DedupedStreamCases,
    StreamCases,
    everything,
    once,
    sent,
)
from headgate.testing.contract.topics import NOTICE, TOPIC, TopicsCases
from tests.aws.deaf import Deaf
from tests.aws.emulator.process import Emulator
from tests.aws.tables import make_bucket, make_queue, make_stream, make_table

pytestmark = pytest.mark.xdist_group("emulator")

ORDERS, EVENTS = CHANNELS


@pytest.fixture(scope="module")
def clients(emulator: Emulator) -> Iterator[Clients]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.env.items():
            patch.setenv(name, value)
        made = Clients(SystemClock())
        for service in ("s3", "kinesis", "sns", "dynamodb"):
            made.client(service)
        yield made


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads()
    yield made
    made.close()


class Meddling(Clients):
    """Clients between which something happens: `before` is called with each operation, and may do as it likes."""

    def __init__(self, clients: Clients) -> None:
        super().__init__(SystemClock())
        self._clients = clients
        self.before: Any = lambda _: None
        self.after: Any = lambda _, answer: answer
        self.asked: list[str] = []

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        self.asked.append(operation)
        self.before(operation)
        return self.after(operation, self._clients.call(service, operation, **parameters))  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------------------- archive


class ArchiveEngine:
    def __init__(self, archive: Archive) -> None:
        self.archive = archive


class TestArchive(ArchiveCases):
    @pytest.fixture
    def engine(self, emulator: Emulator, clients: Clients, threads: Threads) -> ArchiveEngine:
        buckets = {channel: make_bucket(emulator.client("s3")) for channel in CHANNELS}
        return ArchiveEngine(S3Archive(buckets, clients, threads))


class TestArchiveWhoseAnswersAreLost(ArchiveCases):
    """Between every two steps; but for deletions, of which a repetition can only tell that there is nothing left."""

    @pytest.fixture
    def engine(self, emulator: Emulator, clients: Clients, threads: Threads) -> ArchiveEngine:
        buckets = {channel: make_bucket(emulator.client("s3")) for channel in CHANNELS}
        return ArchiveEngine(S3Archive(buckets, Deaf(clients, "delete_object", "head_object"), threads))


def an_object(body: bytes = b"{}", replaces: bytes | None = None) -> ArchiveObject:
    return ArchiveObject(ORDERS, "acme/1.json", body, "application/xml", "m1", replaces)


class Shelf:
    """An archive with a bucket, and a hand in what it calls."""

    def __init__(self, emulator: Emulator, clients: Clients, threads: Threads) -> None:
        self.s3 = emulator.client("s3")
        self.bucket = make_bucket(self.s3)
        self.meddling = Meddling(clients)
        self.archive = S3Archive({ORDERS: self.bucket}, self.meddling, threads)

    def put_by_another(self, body: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key="acme/1.json", Body=body)


@pytest.fixture
def shelf(emulator: Emulator, clients: Clients, threads: Threads) -> Shelf:
    return Shelf(emulator, clients, threads)


def test_an_object_has_the_declared_content_type(shelf: Shelf) -> None:
    assert shelf.archive.put([an_object()]) == ["acme/1.json"]
    assert shelf.s3.head_object(Bucket=shelf.bucket, Key="acme/1.json")["ContentType"] == "application/xml"


def test_an_object_whose_answer_was_lost_is_kept_under_its_own_name(shelf: Shelf) -> None:
    def lost(operation: str, answer: Any) -> Any:
        if operation == "put_object":
            raise Unavailable
        return answer

    shelf.meddling.after = lost
    assert shelf.archive.put([an_object()]) == [None]
    shelf.meddling.after = lambda _, answer: answer
    assert shelf.archive.put([an_object()]) == ["acme/1.json"]


def test_what_somebody_wrote_in_between_is_not_written_over(shelf: Shelf) -> None:
    shelf.put_by_another(b"mine, before it was edited")

    def meddle(operation: str) -> None:
        if operation == "get_object":
            shelf.meddling.before = again

    def again(operation: str) -> None:
        if operation == "put_object":
            shelf.meddling.before = lambda _: None
            shelf.put_by_another(b"of another")

    shelf.meddling.before = meddle
    assert shelf.archive.put([an_object(b"edited", b"mine, before it was edited")]) == ["acme/1.json~m1"]
    assert shelf.archive.get(ORDERS, "acme/1.json") == b"of another"


def test_two_who_write_at_once_are_asked_to_try_again_and_do(shelf: Shelf) -> None:
    def conflict(operation: str) -> None:
        if operation == "put_object":
            shelf.meddling.before = lambda _: None
            raise Declined("ConditionalRequestConflict", {})

    shelf.meddling.before = conflict
    assert shelf.archive.put([an_object()]) == ["acme/1.json"]


def test_in_an_outage_an_object_is_not_kept_and_may_be_tried_again(shelf: Shelf) -> None:
    def outage(_: str) -> None:
        raise Unavailable

    shelf.meddling.before = outage
    assert shelf.archive.put([an_object(), an_object()]) == [None, None]
    for read in (lambda: shelf.archive.get(ORDERS, "1"), lambda: shelf.archive.delete(ORDERS, "1")):
        with pytest.raises(Unavailable):
            read()


# -------------------------------------------------------------------------------------------------------------- stream


class StreamEngine:
    def __init__(self, emulator: Emulator, clients: Clients) -> None:
        self.clock = ManualClock()
        self.name = make_stream(emulator.client("kinesis"), SHARDS)
        self.stream = KinesisStream({EVENTS: Log(self.name, RETENTION_MS)}, clients, self.clock)


class TestStream(StreamCases):
    @pytest.fixture
    def engine(self, emulator: Emulator, clients: Clients) -> StreamEngine:
        return StreamEngine(emulator, clients)


class Died(BaseException):
    """The process is no more."""


class OnceEngine:
    """A stream and a table of its own."""

    def __init__(self, emulator: Emulator, clients: Clients) -> None:
        self.clock = ManualClock()
        self.meddling = Meddling(clients)
        app = App("contract")
        channel = app.channel(f"/{EVENTS}", name=EVENTS, key="id", auth=Public(), delivery=Stream(dedupe=True))
        table = make_table(emulator.client("dynamodb"), layout_of(channel))
        self.index = DynamoIndex([table], make_bucket(emulator.client("s3")), self.meddling, self.clock)
        logs = {EVENTS: Log(make_stream(emulator.client("kinesis"), SHARDS), RETENTION_MS)}
        self.stream = OnceStream(logs, self.index, self.meddling, self.clock)

    def crash(self, message: Message, step: int) -> bool:
        """The writes are those of the row, the record, and the row again."""
        begun = len(self.meddling.asked)

        def die(_: str) -> None:
            if len(self.meddling.asked) - begun > step:
                raise Died

        self.meddling.before = die
        with suppress(Died):
            self.stream.append_once([message])
        self.meddling.before = lambda _: None
        return step <= len(self.meddling.asked) - begun


@pytest.fixture
def once_engine(emulator: Emulator, clients: Clients) -> Iterator[OnceEngine]:
    engine = OnceEngine(emulator, clients)
    yield engine
    engine.index.close()


class TestDedupedStream(DedupedStreamCases):
    @pytest.fixture
    def engine(self, once_engine: OnceEngine) -> OnceEngine:
        return once_engine


class TestDedupedStreamWhoseAnswersAreLost(DedupedStreamCases):
    """Between every two steps: all are told one place, and a record is there twice where nobody heard of the first."""

    @pytest.fixture
    def engine(self, emulator: Emulator, clients: Clients) -> Iterator[OnceEngine]:
        engine = OnceEngine(emulator, Deaf(clients, "put_records"))
        yield engine
        engine.index.close()


def test_of_records_whose_answers_were_lost_there_are_two_of_one_id_and_both_are_consumed_in_order(
    emulator: Emulator, clients: Clients
) -> None:
    engine = OnceEngine(emulator, Deaf(clients))
    outcomes = [engine.stream.append_once([once(engine, key)])[0] for key in ("1", "1", "2")]
    assert [outcome.kind for outcome in outcomes] == ["stored", "replayed", "stored"]
    assert outcomes[0].place == outcomes[1].place
    shard = outcomes[0].place.shard if outcomes[0].place else ""
    found = [record for record in engine.stream.read(EVENTS, shard, None, 10) if record.message.key == "1"]
    assert [record.message.key for record in found] == ["1", "1"]
    assert found[-1].place == outcomes[0].place
    engine.index.close()


def test_a_message_that_is_taken_once_costs_three_writes_and_its_repetition_one(once_engine: OnceEngine) -> None:
    for _ in range(2):
        once_engine.stream.append_once([once(once_engine, "1")])
    assert once_engine.meddling.asked == ["put_item", "put_records", "update_item", "put_item"]


def test_of_two_who_append_one_message_at_once_both_tell_the_place_that_the_row_has(once_engine: OnceEngine) -> None:
    others: list[Any] = []

    def overtake(operation: str) -> None:
        if operation == "update_item":
            once_engine.meddling.before = lambda _: None
            others.extend(once_engine.stream.append_once([once(once_engine, "1")]))

    once_engine.meddling.before = overtake
    (mine,) = once_engine.stream.append_once([once(once_engine, "1")])
    assert [mine.kind, others[0].kind] == ["stored", "replayed"]
    assert mine.place == others[0].place
    assert len(everything(once_engine.stream)) == 2


@pytest.mark.parametrize("failing", ["put_records", "update_item"])
def test_what_an_outage_left_unfinished_is_unavailable_and_finished_by_its_repetition(
    once_engine: OnceEngine, failing: str
) -> None:
    def outage(operation: str) -> None:
        if operation == failing:
            raise Unavailable

    once_engine.meddling.before = outage
    large = b'["%s"]' % (b"x" * 40_000)
    (first,) = once_engine.stream.append_once([once(once_engine, "1", large)])
    row = once_engine.index.get(EVENTS, "", "1")
    assert (first.kind, row and row.status) == ("unavailable", "accepted")
    once_engine.meddling.before = lambda _: None
    (second,) = once_engine.stream.append_once([once(once_engine, "1", large)])
    row = once_engine.index.get(EVENTS, "", "1")
    assert (second.kind, row and row.status) == ("replayed", "processed")
    assert second.message is not None
    assert second.message.status == "processed"
    newest = everything(once_engine.stream)[-1]
    assert (newest.place, newest.message.body) == (second.place, large)


def test_records_that_kinesis_did_not_take_are_sent_again(emulator: Emulator, clients: Clients) -> None:
    meddling = Meddling(clients)
    engine = StreamEngine(emulator, meddling)
    refused: list[int] = []

    def throttled(operation: str, answer: Any) -> Any:
        if operation == "put_records" and not refused:
            refused.append(1)
            answer["Records"][1:] = [{"ErrorCode": "ProvisionedThroughputExceededException"}] * 2
        return answer

    meddling.after = throttled
    outcomes = engine.stream.append([sent(engine, str(n)) for n in range(3)])
    assert [outcome.kind for outcome in outcomes] == ["stored"] * 3
    assert len({outcome.place for outcome in outcomes}) == 3
    assert meddling.asked.count("put_records") == 2


def test_what_kinesis_never_takes_is_unavailable_and_the_others_are_stored(
    emulator: Emulator, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.aws.stream.pause", lambda _: None)
    meddling = Meddling(clients)
    engine = StreamEngine(emulator, meddling)

    def throttled(operation: str, answer: Any) -> Any:
        if operation == "put_records":
            answer["Records"][-1:] = [{"ErrorCode": "InternalFailure"}]
        return answer

    meddling.after = throttled
    kinds = [outcome.kind for outcome in engine.stream.append([sent(engine, str(n)) for n in range(3)])]
    assert kinds == ["stored", "stored", "unavailable"]


def test_a_sequence_that_is_of_another_shard_is_told_as_one(emulator: Emulator, clients: Clients) -> None:
    meddling = Meddling(clients)
    engine = StreamEngine(emulator, meddling)

    def refuse(operation: str) -> None:
        if operation == "get_shard_iterator":
            raise Declined("InvalidArgumentException", {})

    meddling.before = refuse
    with pytest.raises(ValueError, match="of another shard"):
        engine.stream.read(EVENTS, "shardId-000000000000", "1", 1)


def test_a_call_takes_500_records_or_4_mb(emulator: Emulator, clients: Clients) -> None:
    meddling = Meddling(clients)
    engine = StreamEngine(emulator, meddling)
    many = [sent(engine, str(n)) for n in range(501)]
    large = [sent(engine, str(n), body=b"x" * 1_000_000) for n in range(5)]
    assert {outcome.kind for outcome in engine.stream.append([*many, *large])} == {"stored"}
    assert meddling.asked.count("put_records") == 3


def test_what_a_consumer_is_handed_is_what_was_appended(emulator: Emulator, clients: Clients) -> None:
    engine = StreamEngine(emulator, clients)
    ((outcome,), message) = (engine.stream.append([one := sent(engine, "1", "p", b"\xff\n{}")]), one)
    assert outcome.place is not None
    kinesis = emulator.client("kinesis")
    iterator = kinesis.get_shard_iterator(
        StreamName=engine.name, ShardId=outcome.place.shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    (raw,) = kinesis.get_records(ShardIterator=iterator)["Records"]
    event = {
        "eventID": f"{outcome.place.shard}:{raw['SequenceNumber']}",
        "kinesis": {
            "data": base64.b64encode(raw["Data"]).decode(),
            "sequenceNumber": raw["SequenceNumber"],
            "partitionKey": "p",
            "approximateArrivalTimestamp": 1.5,
        },
    }
    assert pushed(EVENTS, event) == (outcome.place, message)


def test_a_record_of_somebody_else_is_a_message_too(cases: Any) -> None:
    event = json.loads((cases / "lambda_events" / "kinesisStreamEvent.json").read_text())
    record = pushed(EVENTS, event["Records"][0])
    assert record.place.shard == "shardId-000000000006"
    assert record.message.body == b"Hello, this is a test."
    assert (record.message.key, record.message.received_ms) == (record.place.sequence, 1_545_084_650_987)


# -------------------------------------------------------------------------------------------------------------- topics


class TopicsEngine:
    """A topic with two queues, and readers who may be away; it is its own subscribers."""

    def __init__(self, emulator: Emulator, clients: Clients) -> None:
        self._sqs, sns = emulator.client("sqs"), emulator.client("sns")
        arn = sns.create_topic(Name=TOPIC)["TopicArn"]
        for old in sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]:
            sns.unsubscribe(SubscriptionArn=old["SubscriptionArn"])
        self._queues = [make_queue(self._sqs) for _ in range(2)]
        for url in self._queues:
            attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
            allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
            self._sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
            sns.subscribe(
                TopicArn=arn, Protocol="sqs", Endpoint=attributes["QueueArn"],
                Attributes={"RawMessageDelivery": "true"},
            )  # fmt: skip
        self.topics = SnsTopics({TOPIC: arn}, clients)
        self.up = True
        self._taken: list[list[Any]] = [[], []]

    @property
    def subscribers(self) -> TopicsEngine:
        return self

    def set_up(self, up: bool) -> None:
        self.up = up

    def settle(self) -> None:
        for url, taken in zip(self._queues, self._taken, strict=True):
            while self.up:
                found = self._sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
                if not found.get("Messages"):
                    break
                for message in found["Messages"]:
                    taken.append(json.loads(message["Body"]))
                    self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def received(self) -> list[list[Any]]:
        return self._taken


class TestTopics(TopicsCases):
    @pytest.fixture
    def engine(self, emulator: Emulator, clients: Clients) -> TopicsEngine:
        return TopicsEngine(emulator, clients)


def test_a_notice_whose_answer_was_lost_is_told_and_perhaps_again(emulator: Emulator, clients: Clients) -> None:
    engine = TopicsEngine(emulator, Deaf(clients))
    engine.topics.publish(TOPIC, NOTICE)
    engine.settle()
    assert engine.received() == [[NOTICE._asdict()] * 2] * 2


@pytest.mark.parametrize("subject", ["", "\n", "\u20ac \U0001f6b0\r\nBcc: x", "x" * 500])
def test_whatever_a_subject_is_people_are_told(emulator: Emulator, clients: Clients, subject: str) -> None:
    engine = TopicsEngine(emulator, clients)
    notice = Notice(subject, "text", {"channel": "orders", "empty": ""})
    engine.topics.publish(TOPIC, notice)
    engine.settle()
    assert engine.received() == [[notice._asdict()]] * 2


def test_a_topic_that_cannot_be_reached_is_unavailable(clients: Clients) -> None:
    with pytest.raises(Unavailable):
        SnsTopics({TOPIC: "arn:aws:sns:eu-west-1:111122223333:gone"}, clients).publish(TOPIC, NOTICE)
