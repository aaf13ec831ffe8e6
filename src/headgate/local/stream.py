"""Streams on SQLite: records in the order in which they were committed, and how far each consumer has come."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from headgate.clock import Clock
from headgate.declare.app import App
from headgate.engine import Outcome, Place, Record, Stream
from headgate.errors import Unavailable
from headgate.local.writer import Job, Writer
from headgate.message import Message

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
    channel INTEGER NOT NULL, consumer TEXT NOT NULL, shard INTEGER NOT NULL, sequence INTEGER NOT NULL,
    PRIMARY KEY (channel, consumer, shard)
) WITHOUT ROWID"""

_COLUMNS = "channel, shard, partition, key, body, received_ms, principal, request_id, traceparent"
_SHARD = "shardId-{:012d}"
_SWEEP_ROWS = 1_000

Result = TypeVar("Result")


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


class LocalStream(Stream):
    """The streams of the channels in `logs`. `number` gives a channel's number in the store.

    `read_with` runs a query on a connection of its caller's thread. Records and rows are written by one writer, so a
    record and its row can share a transaction.
    """

    def __init__(
        self,
        number: Callable[[str], int],
        logs: Mapping[str, Log],
        clock: Clock,
        writer: Writer | None,
        read_with: Callable[[Callable[[sqlite3.Connection], Any]], Any],
    ) -> None:
        self._number = number
        self._logs = logs
        self._clock = clock
        self._writer = writer
        self._read_with = read_with

    # ------------------------------------------------------------------------------------------------ the contract

    def append(self, messages: Sequence[Message]) -> list[Outcome]:
        try:
            outcomes = self._writing.change(lambda connection: self.write(connection, messages))
        except Unavailable:
            return [Outcome("unavailable")] * len(messages)
        return list(outcomes)

    def shards(self, channel: str) -> list[str]:
        number = self._number(channel)
        (newest,) = self._read(
            lambda reader: reader.execute("SELECT max(shard) FROM record WHERE channel = ?", (number,)).fetchone()
        )
        # Those too that the declaration does not have any more, for as long as there are records in them.
        return [_SHARD.format(shard) for shard in range(max(self._logs[channel].shards, (newest or 0) + 1))]

    def read(self, channel: str, shard: str, after: str | None, limit: int) -> list[Record]:
        rows = self._read(
            lambda reader: reader.execute(
                f"SELECT sequence, {_COLUMNS} FROM record"
                " WHERE channel = ? AND shard = ? AND sequence > ? AND received_ms > ? ORDER BY sequence LIMIT ?",
                (self._number(channel), _shard_number(shard), _sequence(after), self._oldest_ms(channel), limit),
            ).fetchall()
        )
        return [_record(channel, row) for row in rows]

    def position(self, channel: str, shard: str, since_ms: int | None) -> str | None:
        where, values = "", [self._number(channel), _shard_number(shard)]
        if since_ms is not None:
            where, values = (
                " AND sequence < (SELECT coalesce(min(sequence), 1 << 62) FROM record"
                " WHERE channel = ?1 AND shard = ?2 AND received_ms >= ?3)",
                [*values, since_ms],
            )
        (found,) = self._read(
            lambda reader: reader.execute(
                f"SELECT max(sequence) FROM record WHERE channel = ?1 AND shard = ?2{where}", values
            ).fetchone()
        )
        return None if found is None else str(found)

    # --------------------------------------------------------------------------------------- for the rest of the engine

    def append_soon(self, messages: Sequence[Message], landed: Callable[[list[Outcome]], None]) -> None:
        """`append`; returns at once. `landed` is called on the writer's thread."""

        def told(results: list[Any]) -> None:
            failed = isinstance(results[0], BaseException)
            landed([Outcome("unavailable")] * len(messages) if failed else results[0])

        self._writing.submit(Job([lambda connection: self.write(connection, messages)], told))

    def write(self, connection: sqlite3.Connection, messages: Sequence[Message]) -> list[Outcome]:
        """`append` inside a transaction of the writer's."""
        return [Outcome("stored", None, self._write(connection, message)) for message in messages]

    def checkpoint(self, channel: str, consumer: str, shard: str) -> str | None:
        """The sequence up to which a consumer is done; None where it has not begun."""
        row = self._read(
            lambda reader: reader.execute(
                "SELECT sequence FROM checkpoint WHERE channel = ? AND consumer = ? AND shard = ?",
                (self._number(channel), consumer, _shard_number(shard)),
            ).fetchone()
        )
        return None if row is None else str(row[0])

    def move(self, channel: str, consumer: str, shard: str, sequence: str | None) -> None:
        """Set a consumer's checkpoint, durably; None is the very start. Raises Unavailable where it cannot be."""
        values = (self._number(channel), consumer, _shard_number(shard), _sequence(sequence))
        self._writing.change(
            lambda connection: connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?)", values)
        )

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

    def _write(self, connection: sqlite3.Connection, message: Message) -> Place:
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
        return self._clock.now_ms() - self._logs[channel].retention_ms

    def _read(self, query: Callable[[sqlite3.Connection], Result]) -> Result:
        found: Result = self._read_with(query)
        return found


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
