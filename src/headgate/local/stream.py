"""Streams on SQLite: records in the order in which they were committed, and how far each consumer has come."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headgate import limits
from headgate.clock import CautiousTime, Clock
from headgate.declare.app import App
from headgate.engine import DEAD, DedupedStream, Outcome, Place, Record
from headgate.errors import Unavailable
from headgate.gate.consume import Trial
from headgate.local.writer import Job, Writer
from headgate.message import Message

if TYPE_CHECKING:
    from headgate.local.index import LocalIndex

SCHEMA = """CREATE TABLE record (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    channel INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    partition TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    traceparent TEXT NOT NULL
);
CREATE INDEX record_shard ON record (channel, shard, sequence, received_ms);
CREATE TABLE checkpoint (
    channel INTEGER NOT NULL, consumer TEXT NOT NULL, shard INTEGER NOT NULL, sequence INTEGER NOT NULL, trial BLOB,
    PRIMARY KEY (channel, consumer, shard)
) WITHOUT ROWID;
CREATE TABLE placed (seq INTEGER PRIMARY KEY, shard INTEGER NOT NULL, sequence INTEGER NOT NULL);
CREATE TABLE replay (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel INTEGER NOT NULL,
    consumer TEXT NOT NULL,
    shard INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    until INTEGER NOT NULL,
    trial BLOB
)"""

_COLUMNS = "channel, shard, partition, key, body, received_ms, principal, request_id, traceparent"
_SHARD = "shardId-{:012d}"
_SWEEP_ROWS = 1_000
_KEY_CHARS = 60  # that, in UTF-8, and a number behind it are always short enough for a key
_trial = msgspec.json.Decoder(Trial).decode
_encoded = msgspec.json.Encoder().encode


class Lane(NamedTuple):
    """Where a consumer reads: a shard, from its checkpoint on; or, of a replay, a range of one, whose last record is
    `until`."""

    shard: str
    replay: int | None = None
    until: str | None = None


class Mark(NamedTuple):
    """How far a consumer is with a lane: done up to the sequence `after`, None where it has not begun; and what it is
    at behind it, if that did not go well."""

    after: str | None = None
    trial: Trial | None = None


class Progress(NamedTuple):
    """How far a consumer is with a lane: `behind` records wait, the oldest of them for `lag_ms`."""

    lane: Lane
    after: str | None
    behind: int
    lag_ms: int


class Log(NamedTuple):
    """A channel's stream, as declared."""

    shards: int
    retention_ms: int


def logs_of(app: App) -> dict[str, Log]:
    """The streams that an app declares, by channel."""
    return {
        channel.name: Log(channel.stream.shards, channel.stream.retention // timedelta(milliseconds=1))
        for channel in app.channels
        if channel.stream
    }


class LocalStream(DedupedStream):
    """The streams of the channels in `logs`. Records and the rows of `index` are written by one writer, so they can
    share a transaction."""

    def __init__(
        self,
        index: LocalIndex,
        logs: Mapping[str, Log],
        clock: Clock,
        writer: Writer | None,
    ) -> None:
        self._index = index
        self._number = index.number
        self._logs = logs
        self._time = CautiousTime(clock)
        self._writer = writer
        self._more: set[str] = set()
        self._told: Callable[[list[str]], None] = lambda _: None

    # ------------------------------------------------------------------------------------------------ the contract

    def append(self, messages: Sequence[Message]) -> list[Outcome]:
        try:
            outcomes = self._writing.change(lambda connection: self.write(connection, messages))
        except Unavailable:
            return [Outcome("unavailable")] * len(messages)
        return list(outcomes)

    def append_once(self, messages: Sequence[Message]) -> list[Outcome]:
        try:
            outcomes = self._writing.change(lambda connection: self.write_once(connection, messages))
        except Unavailable:
            return [Outcome("unavailable")] * len(messages)
        return list(outcomes)

    def shards(self, channel: str) -> list[str]:
        number = self._number(channel)
        (newest,) = self._index.read_with(
            lambda reader: reader.execute("SELECT max(shard) FROM record WHERE channel = ?", (number,)).fetchone()
        )
        # Those too that the declaration does not have any more, for as long as there are records in them.
        return [_SHARD.format(shard) for shard in range(max(self._logs[channel].shards, (newest or 0) + 1))]

    def read(self, channel: str, shard: str, after: str | None, limit: int) -> list[Record]:
        values = (self._number(channel), _shard_number(shard), _sequence(after), self._oldest_ms(channel), limit)

        def read(reader: sqlite3.Connection) -> list[Record]:
            records, size = [], 0
            for row in reader.execute(
                f"SELECT sequence, {_COLUMNS} FROM record"
                " WHERE channel = ? AND shard = ? AND sequence > ? AND received_ms > ? ORDER BY sequence LIMIT ?",
                values,
            ):
                records.append(_record(channel, row))
                size += len(records[-1].message.body)
                if size >= limits.PAGE_BYTES.value:
                    break
            return records

        return self._index.read_with(read)

    def position(self, channel: str, shard: str, since_ms: int | None) -> str | None:
        where, values = "", [self._number(channel), _shard_number(shard)]
        if since_ms is not None:
            where, values = (
                " AND sequence < (SELECT coalesce(min(sequence), 1 << 62) FROM record"
                " WHERE channel = ?1 AND shard = ?2 AND received_ms >= ?3)",
                [*values, since_ms],
            )
        (found,) = self._index.read_with(
            lambda reader: reader.execute(
                f"SELECT max(sequence) FROM record WHERE channel = ?1 AND shard = ?2{where}", values
            ).fetchone()
        )
        return None if found is None else str(found)

    # --------------------------------------------------------------------------------------- for the rest of the engine

    def append_soon(
        self, messages: Sequence[Message], landed: Callable[[list[Outcome]], None], *, once: bool = False
    ) -> None:
        """`append`, or `append_once`; returns at once. `landed` is called on the writer's thread."""
        write = self.write_once if once else self.write

        def told(results: list[Any]) -> None:
            failed = isinstance(results[0], BaseException)
            landed([Outcome("unavailable")] * len(messages) if failed else results[0])

        self._writing.submit(Job([lambda connection: write(connection, messages)], told))

    def write(self, connection: sqlite3.Connection, messages: Sequence[Message]) -> list[Outcome]:
        """`append` inside a transaction of the writer's."""
        return [Outcome("stored", None, self._write(connection, message)) for message in messages]

    def write_once(self, connection: sqlite3.Connection, messages: Sequence[Message]) -> list[Outcome]:
        """`append_once` inside a transaction of the writer's."""
        return [self._write_once(connection, message) for message in messages]

    # ------------------------------------------------------------------------------------------------- for consumers

    def lanes(self, channel: str, consumer: str) -> dict[Lane, Mark]:
        """Where a consumer reads, and how far it is there."""
        values = (self._number(channel), consumer)
        done = self._index.read_with(
            lambda reader: reader.execute(
                "SELECT shard, sequence, trial FROM checkpoint WHERE channel = ? AND consumer = ?", values
            ).fetchall()
        )
        replays = self._index.read_with(
            lambda reader: reader.execute(
                "SELECT shard, id, until, sequence, trial FROM replay WHERE channel = ? AND consumer = ? ORDER BY id",
                values,
            ).fetchall()
        )
        checkpoints = {_SHARD.format(shard): _mark(sequence, trial) for shard, sequence, trial in done}
        lanes = {Lane(shard): checkpoints.get(shard, Mark()) for shard in self.shards(channel)}
        return lanes | {
            Lane(_SHARD.format(shard), id_, str(until)): _mark(sequence, trial)
            for shard, id_, until, sequence, trial in replays
        }

    def checkpoint(self, channel: str, consumer: str, shard: str) -> str | None:
        """The sequence up to which a consumer is done; None where it has not begun."""
        return self.lanes(channel, consumer)[Lane(shard)].after

    def move(self, channel: str, consumer: str, moves: Mapping[Lane, Mark], letters: Sequence[Message] = ()) -> None:
        """Keep dead letters and set checkpoints, by one durable write. Raises Unavailable where it cannot be done."""
        self._writing.change(self._moving(channel, consumer, moves, letters))

    def move_soon(
        self, channel: str, consumer: str, moves: Mapping[Lane, Mark], landed: Callable[[bool], None]
    ) -> None:
        """Set checkpoints; returns at once. `landed` is told on the writer's thread whether that was done."""
        change = self._moving(channel, consumer, moves, ())
        self._writing.submit(Job([change], lambda results: landed(not isinstance(results[0], BaseException))))

    def finish(self, lane: Lane) -> None:
        """A replay has come to its end."""
        self._writing.change(lambda connection: connection.execute("DELETE FROM replay WHERE id = ?", (lane.replay,)))

    def progress(self, channel: str, consumer: str) -> list[Progress]:
        """How far a consumer is, lane by lane."""
        found = []
        for lane, (after, _) in self.lanes(channel, consumer).items():
            behind, oldest_ms = self.waiting(channel, lane, after)
            lag_ms = 0 if oldest_ms is None else max(0, self._time.now_ms() - oldest_ms)
            found.append(Progress(lane, after, behind, lag_ms))
        return found

    def waiting(self, channel: str, lane: Lane, after: str | None) -> tuple[int, int | None]:
        """How many records there are in a lane behind a sequence, and when the oldest of them was received."""
        asked = (
            "SELECT count(*), min(received_ms) FROM record"
            " WHERE channel = ? AND shard = ? AND sequence > ? AND sequence <= ? AND received_ms > ?"
        )
        until = 2**63 - 1 if lane.until is None else _sequence(lane.until)
        shard = _shard_number(lane.shard)
        values = (self._number(channel), shard, _sequence(after), until, self._oldest_ms(channel))
        count, oldest_ms = self._index.read_with(lambda reader: reader.execute(asked, values).fetchone())
        return int(count), oldest_ms

    def replay(self, channel: str, consumer: str, ranges: Mapping[str, tuple[str | None, str]]) -> list[int]:
        """Let a consumer read ranges once more, beside what it is at; a number for each, under which `lanes` has it
        until it is done."""

        def replay(connection: sqlite3.Connection) -> list[int]:
            ids = []
            for shard, (after, until) in ranges.items():
                values = (self._number(channel), consumer, _shard_number(shard), _sequence(after), _sequence(until))
                asked = "INSERT INTO replay (channel, consumer, shard, sequence, until) VALUES (?, ?, ?, ?, ?)"
                ids.append(int(connection.execute(asked, values).lastrowid or 0))
            self._more.add(channel)
            return ids

        return list(self._writing.change(replay))

    def when_more(self, told: Callable[[list[str]], None]) -> None:
        """Let `told` be called when there is more to read in channels; on the writer's thread, so it must be quick."""
        self._told = told

    def after_commit(self, done: bool) -> None:
        """For the writer: the commit is durable, or nothing of it is."""
        more, self._more = self._more, set()
        if done and more:
            self._told(sorted(more))

    # ---------------------------------------------------------------------------------------------------------- upkeep

    def sweep(self) -> int:
        """Remove some of the records that are older than their stream keeps them; how many that were."""

        def sweep(connection: sqlite3.Connection) -> int:
            return sum(
                connection.execute(
                    "DELETE FROM record WHERE sequence IN (SELECT sequence FROM record"
                    f" WHERE channel = ? AND received_ms <= ? LIMIT {_SWEEP_ROWS})",
                    (self._number(channel), self._oldest_ms(channel)),
                ).rowcount
                for channel in self._logs
            )

        return int(self._writing.change(sweep)) if self._logs else 0

    # ---------------------------------------------------------------------------------------------------------- inside

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("this stream was opened for reading")
        return self._writer

    def _moving(
        self, channel: str, consumer: str, moves: Mapping[Lane, Mark], letters: Sequence[Message]
    ) -> Callable[[sqlite3.Connection], None]:
        def move(connection: sqlite3.Connection) -> None:
            for letter in letters:
                self._bury(connection, letter)
            for lane, mark in moves.items():
                state = (_sequence(mark.after), None if mark.trial is None else _encoded(mark.trial))
                if lane.replay is not None:
                    connection.execute("UPDATE replay SET sequence = ?, trial = ? WHERE id = ?", (*state, lane.replay))
                    continue
                values = (self._number(channel), consumer, _shard_number(lane.shard), *state)
                connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?)", values)

        return move

    def _bury(self, connection: sqlite3.Connection, letter: Message) -> None:
        """Keep a dead letter. Where its key is taken (what has one key was appended twice, or is replayed after a
        redrive) it is kept under its key and a number; unless it is the same that is dead already."""
        number, key = 1, letter.key
        while (held := self._held(connection, letter)) is not None:
            if held.status in DEAD and held.body == letter.body:
                return
            number += 1
            letter = letter._replace(key=f"{key[:_KEY_CHARS]}~{number}")
        if self._index.store(connection, letter).kind != "stored":
            raise Unavailable

    def _held(self, connection: sqlite3.Connection, message: Message) -> Message | None:
        seq = self._index.place(connection, message.channel, message.scope, message.key)
        return None if seq is None else self._index.at(connection, [seq])[0]

    def _write_once(self, connection: sqlite3.Connection, message: Message) -> Outcome:
        """A row that has no place yet (the channel had no stream when it was written) gets one."""
        outcome = self._index.store(connection, message)
        if outcome.kind not in ("stored", "replayed"):
            return outcome
        seq = self._index.place(connection, message.channel, message.scope, message.key)
        row = connection.execute("SELECT shard, sequence FROM placed WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            return outcome._replace(place=Place(_SHARD.format(row[0]), str(row[1])))
        place = self._write(connection, message)
        values = (seq, _shard_number(place.shard), _sequence(place.sequence))
        connection.execute("INSERT INTO placed VALUES (?, ?, ?)", values)
        return outcome._replace(place=place)

    def _write(self, connection: sqlite3.Connection, message: Message) -> Place:
        self._more.add(message.channel)
        shard = shard_of(message.order, self._logs[message.channel].shards)
        sequence = connection.execute(
            f"INSERT INTO record ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)",
            (
                self._number(message.channel), shard, message.order, message.key, message.body,
                message.received_ms, message.principal, message.request_id, message.traceparent,
            ),
        ).lastrowid  # fmt: skip
        return Place(_SHARD.format(shard), str(sequence))

    def _oldest_ms(self, channel: str) -> int:
        return self._time.now_ms() - self._logs[channel].retention_ms


def shard_of(partition: str, shards: int) -> int:
    """The shard of a partition key: an even part of the range of its MD5, as Kinesis has it."""
    digest = hashlib.md5(partition.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest) * shards >> 128


def _record(channel: str, row: tuple[Any, ...]) -> Record:
    sequence, _, shard, partition, key, body, received_ms, principal, request_id, traceparent = row
    message = Message(
        channel, "", key, body, received_ms, principal, request_id, traceparent, "accepted", None, order=partition
    )
    return Record(Place(_SHARD.format(shard), str(sequence)), message)


def _mark(sequence: int, trial: bytes | None) -> Mark:
    return Mark(str(sequence) if sequence else None, _trial(trial) if trial else None)


def _shard_number(shard: str) -> int:
    digits = shard.removeprefix("shardId-")
    if not (digits.isascii() and digits.isdigit() and _SHARD.format(int(digits)) == shard):
        raise ValueError(f"{shard!r} is not a shard")
    return int(digits)


def _sequence(after: str | None) -> int:
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit() and len(after) < 19):
        raise ValueError(f"{after!r} is not a sequence number")
    return int(after)
