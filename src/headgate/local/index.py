"""The index on SQLite: decides what is new, and finds what is there."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from headgate import limits
from headgate.clock import Clock
from headgate.engine import Index, Outcome, Page
from headgate.errors import Unavailable
from headgate.local.claims import Claims, fingerprint
from headgate.local.schema import open_reading
from headgate.local.writer import Change, Job, Writer
from headgate.message import Message, digest

_COLUMNS = "seq, channel, scope, key, body, received_ms, principal, request_id, traceparent, status, expires_ms, error"
_ROW = "(" + ",".join("?" * 12) + ")"
_READ = f"SELECT {_COLUMNS} FROM message"
_ROWS_AT_ONCE = (512, 64, 8, 1)  # few sizes, so that every statement stays prepared
_SWEEP_ROWS = 1_000


class Batch(NamedTuple):
    """Messages that were submitted together."""

    messages: Sequence[Message]
    whole: bool


class Twin(NamedTuple):
    """A message with its row's number: one of the store, or one that this group is about to store."""

    seq: int
    message: Message


class LocalIndex(Index):
    """See `Index`; knows the channels that stood in the file when it was made. `land` is `commit` for the event loop: it lets requests that wait together share one commit.

    Close the writer it was made with before closing the index.
    """

    def __init__(self, file: Path, claims: Claims, clock: Clock) -> None:
        self._file = file
        self._claims = claims
        self._clock = clock
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._channels: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._fresh: dict[bytes, int] = {}
        self._gone: dict[bytes, int] = {}
        self._group: _Group | None = None
        self._in_flight: _Group | None = None
        reader = self._reader()
        for id_, name in reader.execute("SELECT id, name FROM channel"):
            self._channels[name], self._names[id_] = id_, name
        self._last_seq: int = reader.execute("SELECT coalesce(max(seq), 0) FROM message").fetchone()[0]
        self._writer: Writer | None = None

    def write_with(self, writer: Writer) -> None:
        """Take the writer into use; without one the index only reads."""
        self._writer = writer

    def close(self) -> None:
        """Close what reads; the index cannot be used afterwards."""
        for reader in self._opened:
            reader.close()

    # ------------------------------------------------------------------------------------------------ the contract

    def commit(self, messages: Sequence[Message], *, whole: bool = False) -> list[Outcome]:
        try:
            (outcomes,) = self._writing.change(self._storing([Batch(messages, whole)]))
        except Unavailable:
            return [Outcome("unavailable")] * len(messages)
        return outcomes  # type: ignore[no-any-return]

    def get(self, channel: str, scope: str, key: str) -> Message | None:
        return self._read(lambda reader: self._get(reader, channel, scope, key))

    def find(
        self, channel: str, scope: str | None, field: str | None, value: str | None, limit: int, after: str | None
    ) -> Page:
        before = _position(after)
        return self._read(lambda reader: self._find(reader, channel, scope, field, value, limit, before))

    def delete(self, channel: str, scope: str, key: str) -> bool:
        def delete(connection: sqlite3.Connection) -> bool:
            twin = self._held(connection, channel, scope, key)
            if twin is None:
                return False
            self._remove(connection, [twin])
            return not self._expired(twin.message)

        return bool(self._writing.change(delete))

    # -------------------------------------------------------------------------------------------------- on the loop

    async def land(self, messages: Sequence[Message], *, whole: bool = False) -> list[Outcome]:
        """`commit` without blocking the event loop. A caller that goes away cancels nothing."""
        if self._group is None:
            self._group = _Group(asyncio.get_running_loop())
            if self._in_flight is None:
                self._group.loop.call_soon(self._take_off)
        group, place = self._group, len(self._group.batches)
        group.batches.append(Batch(messages, whole))
        while group.outcomes is None:
            await group.wait()
            if place in group.late:
                return [Outcome("in_progress")] * len(messages)
        return group.outcomes[place]

    def _take_off(self) -> None:
        """Hand the open group to the writer. Whatever arrives until it lands makes up the next one."""
        group, self._group = self._group, None
        self._in_flight = group
        if group is None:
            return
        watch = group.loop.call_later(limits.TWIN_WAIT.value, self._release_twins)

        def landed(results: list[Any]) -> None:
            group.loop.call_soon_threadsafe(self._touch_down, group, watch, results[0])

        self._writing.submit(Job([self._storing(group.batches)], landed))

    def _touch_down(self, group: _Group, watch: asyncio.TimerHandle, result: Any) -> None:
        watch.cancel()
        if isinstance(result, BaseException):
            result = [[Outcome("unavailable")] * len(batch.messages) for batch in group.batches]
        group.outcomes = result
        group.wake()
        self._take_off()

    def _release_twins(self) -> None:
        """The disk is slow: whoever waits behind the same key need not wait any longer, and is told `in_progress`."""
        first, then = self._in_flight, self._group
        if first is None:
            return
        seen: set[tuple[str, str, str]] = set()
        for group in (first, then):
            for place, batch in enumerate(group.batches if group else ()):
                keys = {(message.channel, message.scope, message.key) for message in batch.messages}
                if group and keys & seen:
                    group.late.add(place)
                seen |= keys
            if group:
                group.wake()
        first.loop.call_later(limits.TWIN_WAIT.value, self._release_twins)

    # ------------------------------------------------------------------------------------------- inside a transaction

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("this index was opened for reading")
        return self._writer

    def _storing(self, batches: Sequence[Batch]) -> Change:
        def store(connection: sqlite3.Connection) -> list[list[Outcome]]:
            try:
                return self._store(connection, batches)
            except (sqlite3.OperationalError, MemoryError):
                raise
            except Exception:
                if len(batches) == 1:
                    raise
                # One of them cannot be written at all. Each for itself, so that it does not take the others along.
                return [self._store_alone(connection, batch) for batch in batches]

        return store

    def _store_alone(self, connection: sqlite3.Connection, batch: Batch) -> list[Outcome]:
        connection.execute("SAVEPOINT alone")
        try:
            (outcomes,) = self._store(connection, [batch])
        except sqlite3.OperationalError:
            raise
        except Exception:  # noqa: BLE001 - it is told apart from the others, and its sender may try again
            connection.execute("ROLLBACK TO alone")
            outcomes = [Outcome("unavailable")] * len(batch.messages)
        connection.execute("RELEASE alone")
        return outcomes

    def _store(self, connection: sqlite3.Connection, batches: Sequence[Batch]) -> list[list[Outcome]]:
        """Decide everything first, from what the store holds; then write what is new in a few statements."""
        now_ms = self._clock.now_ms()
        marks = [self._mark(message) for batch in batches for message in batch.messages]
        twins = self._twins(connection, marks)
        new: dict[bytes, Twin] = {}
        stale: list[Twin] = []
        seq = self._last_seq
        results = []
        at = 0
        for batch in batches:
            outcomes: list[Outcome] = []
            claimed: dict[bytes, Twin] = {}
            for message in batch.messages:
                mark = marks[at]
                at += 1
                twin = claimed.get(mark) or new.get(mark) or twins.get(mark)
                if twin is not None and not self._expired(twin.message, now_ms):
                    outcomes.append(_compared(twin.message, message))
                    continue
                if twin is not None:
                    stale.append(twin)
                seq += 1
                claimed[mark] = Twin(seq, message)
                outcomes.append(Outcome("stored", message))
            if batch.whole and any(outcome.kind == "conflict" for outcome in outcomes):
                seq -= len(claimed)
                outcomes = [_withheld(outcome) for outcome in outcomes]
            else:
                new.update(claimed)
            results.append(outcomes)
        self._remove(connection, stale)
        self._insert(connection, new)
        self._last_seq = seq
        self._fresh.update({mark: twin.seq for mark, twin in new.items()})
        return results

    def _twins(self, connection: sqlite3.Connection, marks: list[bytes]) -> dict[bytes, Twin]:
        unknown = marks
        held: dict[bytes, int] = {}
        if self._fresh:
            held = {mark: self._fresh[mark] for mark in marks if mark in self._fresh}
            unknown = [mark for mark in marks if mark not in held]
        held.update(self._claims.holders(connection, unknown))
        found = {}
        for mark, seq in held.items():
            row = connection.execute(f"{_READ} WHERE seq = ?", (seq,)).fetchone()
            # A claim may outlive its row, and the row's number may be in use again.
            if row is not None and self._mark(message := self._message(row)) == mark:
                found[mark] = Twin(seq, message)
        return found

    def _insert(self, connection: sqlite3.Connection, new: dict[bytes, Twin]) -> None:
        channels = self._channels
        rows = [
            (seq, channels[m[0]], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[11])
            for seq, m in new.values()
        ]
        at = 0
        for size in _ROWS_AT_ONCE:
            while len(rows) - at >= size:
                values = list(chain.from_iterable(rows[at : at + size]))
                connection.execute(_INSERTS[size], values)
                at += size
        fields = [
            (channels[twin.message.channel], name, value, twin.seq)
            for twin in new.values()
            for name, value in twin.message.fields
        ]
        if fields:
            connection.executemany("INSERT OR IGNORE INTO field VALUES (?,?,?,?)", fields)

    def _remove(self, connection: sqlite3.Connection, twins: Sequence[Twin]) -> None:
        if not twins:
            return
        for twin in twins:
            connection.execute("DELETE FROM message WHERE seq = ?", (twin.seq,))
            connection.execute("DELETE FROM field WHERE seq = ?", (twin.seq,))
        released = {self._mark(twin.message): twin.seq for twin in twins}
        self._claims.release(connection, released)
        self._gone.update(released)
        for mark, seq in released.items():
            if self._fresh.get(mark) == seq:
                del self._fresh[mark]

    def before_commit(self, connection: sqlite3.Connection) -> None:
        """For the writer: what else goes into this commit."""
        self._claims.merge(connection)

    def after_commit(self, done: bool) -> None:
        """For the writer: the commit is durable, or nothing of it is."""
        fresh, self._fresh = self._fresh, {}
        gone, self._gone = self._gone, {}
        if done:
            self._claims.forget(gone)
            self._claims.add(fresh)
            self._claims.merged()

    def sweep(self) -> int:
        """Remove up to a thousand expired messages; how many there were."""

        def sweep(connection: sqlite3.Connection) -> int:
            rows = connection.execute(
                f"{_READ} WHERE expires_ms <= ? ORDER BY expires_ms LIMIT {_SWEEP_ROWS}", (self._clock.now_ms(),)
            ).fetchall()
            self._remove(connection, [Twin(row[0], self._message(row)) for row in rows])
            return len(rows)

        return int(self._writing.change(sweep))

    def _mark(self, message: Message) -> bytes:
        return fingerprint(self._claims.secret, self._channels[message.channel], message.scope, message.key)

    def _held(self, connection: sqlite3.Connection, channel: str, scope: str, key: str) -> Twin | None:
        if channel not in self._channels:
            return None
        mark = fingerprint(self._claims.secret, self._channels[channel], scope, key)
        return self._twins(connection, [mark]).get(mark)

    # ------------------------------------------------------------------------------------------------------ reading

    def _get(self, reader: sqlite3.Connection, channel: str, scope: str, key: str) -> Message | None:
        twin = self._held(reader, channel, scope, key)
        return None if twin is None or self._expired(twin.message) else twin.message

    def _find(
        self,
        reader: sqlite3.Connection,
        channel: str,
        scope: str | None,
        field: str | None,
        value: str | None,
        limit: int,
        before: int,
    ) -> Page:
        where = ["message.channel = :channel", "seq < :before", "(expires_ms IS NULL OR expires_ms > :now)"]
        if scope is not None:
            where.append("scope = :scope")
        if field is not None:
            where.append("seq IN (SELECT seq FROM field WHERE channel = :channel AND name = :field AND value = :value"
                         " AND seq < :before)")
        rows = reader.execute(
            f"{_READ} WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT :limit",  # noqa: S608
            {
                "channel": self._channels.get(channel, -1),
                "before": before,
                "now": self._clock.now_ms(),
                "scope": scope,
                "field": field,
                "value": value,
                "limit": limit + 1,
            },
        ).fetchall()
        more = len(rows) > limit
        return Page([self._message(row) for row in rows[:limit]], str(rows[limit - 1][0]) if more else None)

    def _read(self, query: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            return query(self._reader())
        except sqlite3.Error:
            raise Unavailable("The store cannot be read right now. Try again in a moment.", retry_after_s=1) from None

    def _reader(self) -> sqlite3.Connection:
        if not hasattr(self._readers, "connection"):
            self._readers.connection = open_reading(self._file)
            self._opened.append(self._readers.connection)
        return self._readers.connection  # type: ignore[no-any-return]

    def _message(self, row: tuple[Any, ...]) -> Message:
        _, channel, scope, key, body, received_ms, principal, request_id, traceparent, status, expires_ms, error = row
        name = self._names[channel]
        return Message(
            name, scope, key, body, received_ms, principal, request_id, traceparent, status, expires_ms, (), error
        )

    def _expired(self, message: Message, now_ms: int | None = None) -> bool:
        return message.expires_ms is not None and message.expires_ms <= (
            self._clock.now_ms() if now_ms is None else now_ms
        )


class _Group:
    """Batches that share a commit, and the requests that wait for it. One future serves them all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.batches: list[Batch] = []
        self.outcomes: list[list[Outcome]] | None = None
        self.late: set[int] = set()
        self._woken = _Uncancelled(loop=loop)

    async def wait(self) -> None:
        await self._woken

    def wake(self) -> None:
        woken, self._woken = self._woken, _Uncancelled(loop=self.loop)
        woken.set_result(None)


class _Uncancelled(asyncio.Future[None]):
    """Awaited by many requests: one that hangs up must not cancel it for the others."""

    def cancel(self, msg: Any = None) -> bool:
        return False




_INSERTS = {size: f"INSERT INTO message ({_COLUMNS}) VALUES " + ",".join([_ROW] * size) for size in _ROWS_AT_ONCE}


def _compared(held: Message, sent: Message) -> Outcome:
    same = held.body == sent.body or digest(held.body) == digest(sent.body)
    return Outcome("replayed" if same else "conflict", held)


def _withheld(outcome: Outcome) -> Outcome:
    return Outcome("untouched") if outcome.kind == "stored" else outcome


def _position(after: str | None) -> int:
    if after is None:
        return 2**63 - 1
    if not (after.isascii() and after.isdigit() and len(after) < 20):
        raise ValueError(f"{after!r} is not a place in a list")
    return int(after)
