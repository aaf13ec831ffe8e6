"""What every stream has to do: keep what was appended, in order within a partition, for as long as it is declared."""

from __future__ import annotations

from typing import Protocol

import pytest

from headgate.clock import ManualClock
from headgate.engine import DedupedStream, Index, Place, Record, Stream
from headgate.message import Message
from headgate.testing.contract import CHANNELS

EVENTS = CHANNELS[1]
SHARDS = 2
"""How many shards the engine under test has for `EVENTS`."""
RETENTION_MS = 24 * 3_600_000
"""For how long the engine under test keeps records of `EVENTS`."""


class StreamUnderTest(Protocol):
    """What the fixture `engine` gives: an engine with an empty stream, whose time is the clock's."""

    @property
    def stream(self) -> Stream: ...

    @property
    def clock(self) -> ManualClock: ...


def sent(engine: StreamUnderTest, id: str, partition: str | None = None, body: bytes = b"{}") -> Message:
    """A message as the gate would hand it over, received now."""
    return Message(
        EVENTS, "", id, body, engine.clock.now_ms(), "alice", f"request-of-{id[:9]}", "", "accepted", None,
        order=id if partition is None else partition,
    )  # fmt: skip


def append(engine: StreamUnderTest, *messages: Message) -> list[Place]:
    """Append what must be taken."""
    outcomes = engine.stream.append(messages)
    assert {outcome.kind for outcome in outcomes} == {"stored"}
    return [outcome.place for outcome in outcomes if outcome.place is not None]


def everything(stream: Stream, limit: int = 1_000) -> list[Record]:
    """All records, shard by shard, read in pages."""
    found: list[Record] = []
    for shard in stream.shards(EVENTS):
        after = None
        while page := stream.read(EVENTS, shard, after, limit):
            found += page
            after = page[-1].place.sequence
    return found


class StreamCases:
    """Cases for `engine.Stream`."""

    def test_a_new_stream_is_empty(self, engine: StreamUnderTest) -> None:
        assert len(engine.stream.shards(EVENTS)) == SHARDS
        assert everything(engine.stream) == []

    @pytest.mark.parametrize(
        "body", [b"{}", b'{"a": 2.10}', b"12345678901234567890", "\U0001f6b0".encode(), bytes(range(256))]
    )
    def test_a_record_comes_back_as_it_went_in(self, engine: StreamUnderTest, body: bytes) -> None:
        message = sent(engine, "ключ-1", body=body)
        (place,) = append(engine, message)
        assert everything(engine.stream) == [Record(place, message)]

    def test_a_partition_keeps_its_order_and_its_shard(self, engine: StreamUnderTest) -> None:
        for n in range(0, 60, 3):
            append(engine, *(sent(engine, str(n + i), f"p{(n + i) % 7}") for i in range(3)))
        for name in {f"p{n % 7}" for n in range(60)}:
            records = [record for record in everything(engine.stream, limit=4) if record.message.order == name]
            ids = [int(record.message.key) for record in records]
            assert ids == sorted(ids)
            assert len({record.place.shard for record in records}) == 1

    def test_sequences_grow_within_a_shard(self, engine: StreamUnderTest) -> None:
        append(engine, *(sent(engine, str(n)) for n in range(50)))
        for shard in engine.stream.shards(EVENTS):
            sequences = [int(record.place.sequence) for record in engine.stream.read(EVENTS, shard, None, 100)]
            assert sequences == sorted(set(sequences))

    def test_many_partitions_are_spread_over_all_shards(self, engine: StreamUnderTest) -> None:
        places = append(engine, *(sent(engine, str(n)) for n in range(200)))
        counts = [sum(place.shard == shard for place in places) for shard in engine.stream.shards(EVENTS)]
        assert min(counts) > 50

    def test_appending_again_appends_again(self, engine: StreamUnderTest) -> None:
        one = sent(engine, "1")
        assert len({*append(engine, one), *append(engine, one)}) == 2
        assert [record.message.key for record in everything(engine.stream)] == ["1", "1"]

    def test_reading_starts_behind_a_sequence(self, engine: StreamUnderTest) -> None:
        places = append(engine, *(sent(engine, str(n), "one") for n in range(5)))
        found = engine.stream.read(EVENTS, places[0].shard, places[2].sequence, 1)
        assert [record.message.key for record in found] == ["3"]
        assert engine.stream.read(EVENTS, places[0].shard, places[4].sequence, 10) == []

    def test_a_position_is_found_by_time(self, engine: StreamUnderTest) -> None:
        shard = append(engine, sent(engine, "1", "one"))[0].shard
        engine.clock.advance(10)
        then_ms = engine.clock.now_ms()
        append(engine, sent(engine, "2", "one"))
        engine.clock.advance(10)
        append(engine, sent(engine, "3", "one"))

        def ids(since_ms: int | None) -> list[str]:
            after = engine.stream.position(EVENTS, shard, since_ms)
            return [record.message.key for record in engine.stream.read(EVENTS, shard, after, 10)]

        assert ids(0) == ["1", "2", "3"]
        assert ids(then_ms) == ["2", "3"]
        assert ids(then_ms + 1) == ["3"]
        assert ids(then_ms + 60_000) == []
        assert ids(None) == []

    def test_the_latest_position_sees_what_comes_next(self, engine: StreamUnderTest) -> None:
        shard = append(engine, sent(engine, "1", "one"))[0].shard
        latest = engine.stream.position(EVENTS, shard, None)
        append(engine, sent(engine, "2", "one"))
        assert [record.message.key for record in engine.stream.read(EVENTS, shard, latest, 10)] == ["2"]

    def test_what_is_older_than_the_retention_is_absent(self, engine: StreamUnderTest) -> None:
        append(engine, sent(engine, "1"))
        engine.clock.advance(RETENTION_MS / 1000 - 1)
        append(engine, sent(engine, "2"))
        assert {record.message.key for record in everything(engine.stream)} == {"1", "2"}
        engine.clock.advance(1)
        assert {record.message.key for record in everything(engine.stream)} == {"2"}

    @pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "9" * 200])
    def test_what_is_no_sequence_is_refused(self, engine: StreamUnderTest, after: str) -> None:
        with pytest.raises(ValueError, match="sequence"):
            engine.stream.read(EVENTS, engine.stream.shards(EVENTS)[0], after, 1)


class DedupedStreamUnderTest(Protocol):
    """What the fixture `engine` gives for `DedupedStreamCases`: an engine with an empty stream and an empty index."""

    @property
    def stream(self) -> DedupedStream: ...

    @property
    def index(self) -> Index: ...

    @property
    def clock(self) -> ManualClock: ...

    def crash(self, message: Message, step: int) -> bool:
        """Begin `append_once` of a message, and leave behind what a crash after that many of its writes does. False
        where there are not so many; an engine with one transaction has one."""


def once(engine: DedupedStreamUnderTest, id: str, body: bytes = b"{}") -> Message:
    """A message as the gate would hand it over."""
    return sent(engine, id, body=body)._replace(status="processed", principal="")


class DedupedStreamCases:
    """Cases for `engine.DedupedStream`."""

    def test_a_message_is_appended_once_and_told_the_same_place_again(self, engine: DedupedStreamUnderTest) -> None:
        (first,) = engine.stream.append_once([once(engine, "1")])
        engine.clock.advance(5)
        (second,) = engine.stream.append_once([once(engine, "1")])
        assert (first.kind, second.kind) == ("stored", "replayed")
        assert first.place is not None
        assert second.place == first.place
        (record,) = everything(engine.stream)
        assert (record.place, record.message.key) == (first.place, "1")

    def test_it_has_a_row_that_is_read(self, engine: DedupedStreamUnderTest) -> None:
        engine.stream.append_once([once(engine, "1", b'{"a": 2.10}')])
        found = engine.index.get(EVENTS, "", "1")
        assert found is not None
        assert (found.body, found.status) == (b'{"a": 2.10}', "processed")

    def test_another_body_is_a_conflict_and_in_no_stream(self, engine: DedupedStreamUnderTest) -> None:
        engine.stream.append_once([once(engine, "1")])
        (outcome,) = engine.stream.append_once([once(engine, "1", b"[]")])
        assert outcome.kind == "conflict"
        assert [record.message.body for record in everything(engine.stream)] == [b"{}"]

    def test_twins_of_one_call_are_appended_once(self, engine: DedupedStreamUnderTest) -> None:
        outcomes = engine.stream.append_once([once(engine, "1"), once(engine, "2"), once(engine, "1")])
        assert [outcome.kind for outcome in outcomes] == ["stored", "stored", "replayed"]
        assert outcomes[2].place == outcomes[0].place
        assert len(everything(engine.stream)) == 2

    @pytest.mark.parametrize("step", range(4))
    def test_row_and_record_agree_after_a_crash_in_between(self, engine: DedupedStreamUnderTest, step: int) -> None:
        if not engine.crash(once(engine, "1"), step):
            return
        (again,) = engine.stream.append_once([once(engine, "1")])
        assert again.kind in ("stored", "replayed")
        places = [record.place for record in everything(engine.stream)]
        assert again.place in places
        (then,) = engine.stream.append_once([once(engine, "1")])
        assert (then.kind, then.place) == ("replayed", again.place)
        assert engine.index.get(EVENTS, "", "1") is not None
