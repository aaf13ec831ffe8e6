"""Streams on SQLite: the cases of every stream, and what only this one has: checkpoints, and a sweep."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from headgate.clock import ManualClock
from headgate.local.index import LocalIndex
from headgate.local.stream import Lane, LocalStream, Log, Mark, shard_of
from headgate.message import Message
from headgate.testing.contract.stream import (
    EVENTS,
    RETENTION_MS,
    SHARDS,
    DedupedStreamCases,
    StreamCases,
    append,
    everything,
    sent,
)
from tests.local.store import Store


class Engine:
    """A store with a stream, by a clock that stands still."""

    def __init__(self, folder: Path, shards: int = SHARDS) -> None:
        self.clock = ManualClock()
        self.store = Store(folder, self.clock)
        self.stream = LocalStream(self.store.index, {EVENTS: Log(shards, RETENTION_MS)}, self.clock, self.store.writer)

    @property
    def index(self) -> LocalIndex:
        return self.store.index

    def crash(self, message: Message, step: int) -> bool:
        """The first write is undone with its transaction; behind it there is none."""
        if step > 1:
            return False

        def write(connection: sqlite3.Connection) -> None:
            self.stream.write_once(connection, [message])
            if step == 0:
                raise OSError("as if the process had died here")

        with suppress(OSError):
            self.store.writer.change(write)
        return True


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.store.close()


class TestDedupedStream(DedupedStreamCases):
    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine


class TestStream(StreamCases):
    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine


def test_a_consumer_goes_on_where_it_was(engine: Engine) -> None:
    places = append(engine, *(sent(engine, str(n), "one") for n in range(4)))
    shard = places[0].shard
    assert engine.stream.checkpoint(EVENTS, "totals", shard) is None
    engine.stream.move(EVENTS, "totals", {Lane(shard): Mark(places[1].sequence)})
    engine.stream.move(EVENTS, "mail", {Lane(shard): Mark(places[3].sequence)})
    after = engine.stream.checkpoint(EVENTS, "totals", shard)
    assert [record.message.key for record in engine.stream.read(EVENTS, shard, after, 9)] == ["2", "3"]


def test_a_sweep_removes_what_is_too_old_and_no_number_comes_again(engine: Engine) -> None:
    append(engine, *(sent(engine, str(n), "one") for n in range(3)))
    newest = append(engine, sent(engine, "3", "one"))[0]
    engine.clock.advance(RETENTION_MS / 1000)
    assert engine.stream.sweep() == 4
    assert engine.stream.sweep() == 0
    assert int(append(engine, sent(engine, "4", "one"))[0].sequence) > int(newest.sequence)


def test_records_of_shards_that_are_no_longer_declared_are_read_on(tmp_path: Path) -> None:
    before = Engine(tmp_path, shards=5)
    append(before, *(sent(before, str(n)) for n in range(50)))
    before.store.close()
    after = Engine(tmp_path, shards=1)
    assert len(everything(after.stream)) == 50
    assert append(after, sent(after, "new"))[0].shard == after.stream.shards(EVENTS)[0]
    after.store.close()


@pytest.mark.parametrize(("partition", "shard"), [("a", 0), ("b", 1), ("", 1)])
def test_a_partition_key_goes_to_the_shard_that_kinesis_would_give_it(partition: str, shard: int) -> None:
    # md5 of "a" is 0cc1..., of "b" 92eb..., of "" d41d...: the halves of the range meet at 8000...
    assert shard_of(partition, 2) == shard


def test_a_row_from_before_the_channel_had_a_stream_gets_its_record(engine: Engine) -> None:
    message = sent(engine, "1")._replace(status="processed")
    engine.store.index.commit([message])
    (first,) = engine.stream.append_once([message])
    (second,) = engine.stream.append_once([message])
    assert (first.kind, second.kind) == ("replayed", "replayed")
    assert [record.place for record in everything(engine.stream)] == [first.place] == [second.place]


def test_the_place_goes_with_its_row(engine: Engine) -> None:
    message = sent(engine, "1")._replace(status="processed")
    engine.stream.append_once([message])
    assert engine.store.rows("placed") == 1
    engine.store.index.delete(EVENTS, "", "1")
    assert engine.store.rows("placed") == 0
    assert engine.stream.append_once([message])[0].kind == "stored"
