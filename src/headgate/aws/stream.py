"""Streams in Kinesis: a record is the message as it came, with what is known of it beside the body."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from headgate.aws.clients import Clients, Declined
from headgate.aws.pages import TRIES, pause
from headgate.clock import Clock
from headgate.declare.delivery import Stream as Declared
from headgate.engine import Outcome, Place, Record, Stream
from headgate.errors import Unavailable
from headgate.http import RETRY_AFTER_S
from headgate.message import Message

REPLAYED = "headgate.replayed"
"""There in an event that is not the mapping's: what it holds comes beside what the consumer is at."""

_AT_ONCE = 500
_AT_ONCE_BYTES = 4 * 1024 * 1024
_READ_MOST = 10_000
_TOLD_MOST = 500
_CLOCKS = timedelta(minutes=1)
_SEQUENCE = re.compile(r"\d{1,128}", re.ASCII)


class Told(NamedTuple):
    """A record, and what Kinesis told of it. `arrived_s` is when that got it."""

    record: Record
    data: bytes
    partition: str
    arrived_s: float

    @classmethod
    def of(cls, channel: str, shard: str, told: Mapping[str, Any]) -> Told:
        """One of what GetRecords answers."""
        return cls(record_of(channel, shard, told), told["Data"], told["PartitionKey"], _arrived_s(told))


class Log(NamedTuple):
    """A channel's stream in Kinesis, and for how long records are seen there."""

    name: str
    retention_ms: int


def log_of(delivery: Declared, name: str) -> Log:
    """A declared stream, as it is called in Kinesis."""
    return Log(name, delivery.retention // timedelta(milliseconds=1))


class KinesisStream(Stream):
    """The streams of channels. Data are a line of JSON with what is known of a message, and its body behind it.

    Where Kinesis takes only some records of a call, the others are sent again, and come to stand behind them.
    """

    def __init__(self, logs: Mapping[str, Log], clients: Clients, clock: Clock) -> None:
        self._logs = logs
        self._clients = clients
        self._clock = clock

    def append(self, messages: Sequence[Message]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for group in _groups(messages):
            outcomes += self._append(group)
        return outcomes

    def shards(self, channel: str) -> list[str]:
        found: list[str] = []
        asked: dict[str, Any] = {"StreamName": self._logs[channel].name}
        while True:
            answer = self._call("list_shards", **asked)
            found += [shard["ShardId"] for shard in answer["Shards"]]
            if not answer.get("NextToken"):
                return sorted(found)
            asked = {"NextToken": answer["NextToken"]}

    def read(self, channel: str, shard: str, after: str | None, limit: int) -> list[Record]:
        if after is not None and not _SEQUENCE.fullmatch(after):
            raise ValueError(f"{after!r} is not a sequence number")
        at: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if after is not None:
            at = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        return self._records(channel, shard, at, limit)

    def position(self, channel: str, shard: str, since_ms: int | None) -> str | None:
        # Kinesis tells no sequence for a time or for its end: what is there is looked through.
        last: str | None = None
        while page := self.read(channel, shard, last, _READ_MOST):
            for record in page:
                if since_ms is not None and record.message.received_ms >= since_ms:
                    return last
                last = record.place.sequence
        return last

    def between(self, channel: str, shard: str, first: str, last: str) -> list[Record]:
        """The records of a shard from one sequence to another, both included, as far as they are still there."""
        found: list[Record] = []
        at: dict[str, Any] = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": first}
        while page := self._records(channel, shard, at, _READ_MOST):
            found += [record for record in page if int(record.place.sequence) <= int(last)]
            newest = page[-1].place.sequence
            if int(newest) >= int(last):
                break
            at = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": newest}
        return found

    def told(self, channel: str, shard: str, after: str | None, since_ms: int | None) -> Iterator[Told]:
        """The records of a shard behind a sequence, else from about a time on, else from the oldest one on, to the end.
        Raises as `read` does."""
        while page := self._page(channel, shard, after, since_ms):
            yield from page
            after = page[-1].record.place.sequence

    def _page(self, channel: str, shard: str, after: str | None, since_ms: int | None) -> list[Told]:
        at: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if since_ms is not None:  # a record arrives after it was received, by clocks that are not quite the same
            from_ = datetime.fromtimestamp(since_ms / 1000, UTC) - _CLOCKS
            at = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": from_}
        if after is not None:
            at = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        return self._told(channel, shard, at, _TOLD_MOST)

    def _append(self, group: Sequence[Message]) -> list[Outcome]:
        places: dict[int, Place] = {}
        for attempt in range(TRIES):
            waiting = [at for at in range(len(group)) if at not in places]
            if not waiting:
                break
            try:
                answer = self._call(
                    "put_records",
                    StreamName=self._logs[group[0].channel].name,
                    Records=[{"Data": data_of(group[at]), "PartitionKey": group[at].order} for at in waiting],
                )
            except Unavailable:
                break
            for at, told in zip(waiting, answer["Records"], strict=True):
                if "SequenceNumber" in told:
                    places[at] = Place(told["ShardId"], told["SequenceNumber"])
            if len(places) < len(group):
                pause(attempt)
        return [
            Outcome("stored", None, places[at]) if at in places else Outcome("unavailable") for at in range(len(group))
        ]

    def _records(self, channel: str, shard: str, at: Mapping[str, Any], limit: int) -> list[Record]:
        oldest_ms = self._clock.now_ms() - self._logs[channel].retention_ms
        return [told.record for told in self._told(channel, shard, at, limit, oldest_ms)]

    def _told(self, channel: str, shard: str, at: Mapping[str, Any], limit: int, oldest_ms: int = 0) -> list[Told]:
        """Records that were received after `oldest_ms`."""
        found: list[Told] = []
        iterator = self._call("get_shard_iterator", StreamName=self._logs[channel].name, ShardId=shard, **at).get(
            "ShardIterator"
        )
        while iterator and len(found) < limit:
            answer = self._call("get_records", ShardIterator=iterator, Limit=min(limit - len(found), _READ_MOST))
            all_ = [Told.of(channel, shard, each) for each in answer["Records"]]
            found += [told for told in all_ if told.record.message.received_ms > oldest_ms]
            iterator = answer.get("NextShardIterator")
            if not answer["Records"] and not answer.get("MillisBehindLatest"):
                break
        return found

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._clients.call("kinesis", operation, **parameters)
        except Declined as declined:
            if operation == "get_shard_iterator" and declined.code == "InvalidArgumentException":
                raise ValueError("this sequence number is of another shard, or of none") from None
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None


def data_of(message: Message) -> bytes:
    """A message as the data of a record."""
    facts = {
        "id": message.key,
        "received_ms": message.received_ms,
        "principal": message.principal,
        "request_id": message.request_id,
        "traceparent": message.traceparent,
    }
    return json.dumps(facts, ensure_ascii=False).encode() + b"\n" + message.body


def record_of(channel: str, shard: str, told: Mapping[str, Any]) -> Record:
    """A record, as Kinesis tells it. One that is not of our making has the data for its body, and its sequence number
    for its id."""
    data: bytes = told["Data"]
    sequence, partition = told["SequenceNumber"], told["PartitionKey"]
    line, _, body = data.partition(b"\n")
    try:
        facts = json.loads(line)
        message = Message(
            channel, "", facts["id"], body, int(facts["received_ms"]), facts["principal"], facts["request_id"],
            facts["traceparent"], "accepted", None, order=partition,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        received_ms = round(_arrived_s(told) * 1000)
        message = Message(channel, "", sequence, data, received_ms, "", sequence, "", "accepted", None, order=partition)
    return Record(Place(shard, sequence), message)


def pushed(channel: str, told: Mapping[str, Any]) -> Record:
    """A record, as Lambda hands it to a consumer."""
    kinesis = told["kinesis"]
    return record_of(
        channel,
        str(told["eventID"]).partition(":")[0],
        {
            "Data": base64.b64decode(kinesis["data"]),
            "SequenceNumber": kinesis["sequenceNumber"],
            "PartitionKey": kinesis["partitionKey"],
            "ApproximateArrivalTimestamp": kinesis["approximateArrivalTimestamp"],
        },
    )


def pushing(told: Told, stream_arn: str) -> dict[str, Any]:
    """A record, as Lambda hands it over: what `pushed` takes."""
    shard, sequence = told.record.place
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": told.partition,
            "sequenceNumber": sequence,
            "data": base64.b64encode(told.data).decode(),
            "approximateArrivalTimestamp": told.arrived_s,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard}:{sequence}",
        "eventName": "aws:kinesis:record",
        "awsRegion": stream_arn.split(":")[3],
        "eventSourceARN": stream_arn,
    }


def _arrived_s(told: Mapping[str, Any]) -> float:
    arrived = told.get("ApproximateArrivalTimestamp", 0.0)
    return arrived.timestamp() if isinstance(arrived, datetime) else float(arrived)


def _groups(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """What one call can take, of one stream."""
    group: list[Message] = []
    size = 0
    for message in messages:
        weight = len(data_of(message)) + len(message.order.encode())
        full = len(group) == _AT_ONCE or size + weight > _AT_ONCE_BYTES
        if group and (full or message.channel != group[0].channel):
            yield group
            group, size = [], 0
        group.append(message)
        size += weight
    if group:
        yield group
