"""The index on SQLite: decides what is new, and finds what is there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from headgate import limits
from headgate.clock import Clock
from headgate.engine import DEAD, Index, Outcome, Page
from headgate.errors import Unavailable
from headgate.local.append import append
from headgate.local.claims import Claims
from headgate.local.journal import Journal
from headgate.local.readers import Readers, Result
from headgate.local.schema import open_reading
from headgate.local.writer import ITS_OWN, Change, Job, Writer
from headgate.message import UNREAD, Message, digest

_COLUMNS = "seq, channel, scope, key, body, received_ms, principal, request_id, traceparent, status, expires_ms, error"
_WITHOUT_BODY = _COLUMNS.replace("body", "x''")
_COLUMNS_OF_MESSAGE = ", ".join(f"message.{column}" for column in _COLUMNS.split(", "))
_READ = f"SELECT {_COLUMNS} FROM message"
_ROWS_READ = 500  # by one statement
_SWEEP_ROWS = 1_000
_SWEEP_BYTES = 16 * 1024 * 1024  # of one transaction, for as long as which everybody waits
_DIGESTS = 10_000
_STORED = Outcome("stored")


class Batch(NamedTuple):
    """Messages that were submitted together."""

    messages: Sequence[Message]
    whole: bool


class Twin(NamedTuple):
    """A message with its row's number: one of the store, or one that this group is about to store."""

    seq: int
    message: Message


class LocalIndex(Index):
    """See `Index`; knows the channels that stood in the file when it was made.

    Close the writer it was made with before closing the index.
    """

    def __init__(self, file: Path, claims: Claims, journal: Journal, clock: Clock) -> None:
        self._claims = claims
        self._journal = journal
        self._clock = clock
        self._readers = Readers(lambda: open_reading(file))
        self._channels: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._digests: dict[int, bytes] = {}
        self._fresh: dict[bytes, int] = {}
        self._gone: dict[bytes, int] = {}
        self._last_seq = 0
        self._writer: Writer | None = None
        self.read_with(self._load)

    def write_with(self, writer: Writer) -> None:
        """Take the writer into use; without one the index only reads."""
        self._writer = writer

    @property
    def journal(self) -> Journal:
        """How far queued messages are."""
        return self._journal

    def close(self) -> None:
        """Close what reads; the index cannot be used afterwards."""
        self._readers.close()

    # ------------------------------------------------------------------------------------------------ the contract

    def commit(self, messages: Sequence[Message], *, whole: bool = False) -> list[Outcome]:
        try:
            (outcomes,) = self._writing.change(self._storing(lambda: [Batch(messages, whole)]))
        except Unavailable:
            return [Outcome("unavailable")] * len(messages)
        return outcomes  # type: ignore[no-any-return]

    def get(self, channel: str, scope: str, key: str) -> Message | None:
        return self.read_with(lambda reader: self._get(reader, channel, scope, key))

    def find(
        self, channel: str, scope: str | None, field: str | None, value: str | None, limit: int, after: str | None
    ) -> Page:
        before = position(after)
        return self.read_with(lambda reader: self._find(reader, channel, scope, field, value, limit, before))

    def delete(self, channel: str, scope: str, key: str) -> bool:
        def delete(connection: sqlite3.Connection) -> bool:
            twin = self._held(connection, channel, scope, key, self._fresh)
            if twin is None:
                return False
            self._remove(connection, [twin])
            return not self._expired(twin.message)

        return bool(self._writing.change(delete))

    # ------------------------------------------------------------------------------------------ for the command line

    def newest(self, limit: int, after: str | None) -> Page:
        """`find` over every channel, those too that the app no longer has."""
        before = position(after)
        return self.read_with(lambda reader: self._find(reader, None, None, None, None, limit, before))

    def scopes(self, channel: str, key: str) -> list[str]:
        """The scopes under which a channel holds a key. Looks at every message of the channel."""
        rows = self.read_with(
            lambda reader: reader.execute(
                "SELECT DISTINCT scope FROM message JOIN channel ON channel.id = message.channel"
                " WHERE channel.name = ? AND key = ? AND (expires_ms IS NULL OR expires_ms > ?) ORDER BY scope",
                (channel, key, self._clock.now_ms()),
            ).fetchall()
        )
        return [scope for (scope,) in rows]

    def commit_together(
        self, batches: Callable[[], Sequence[Batch]], landed: Callable[[list[list[Outcome]]], None]
    ) -> None:
        """`commit` of several batches by one durable write; returns at once.

        Both are called on the writer's thread: `batches` when it begins, once or more, and `landed` with the outcomes
        of each batch.
        """

        def told(results: list[Any]) -> None:
            if isinstance(results[0], BaseException):
                landed([[Outcome("unavailable")] * len(batch.messages) for batch in batches()])
            else:
                landed(results[0])

        self._writing.submit(Job([self._storing(batches)], told, contained=True))

    # ------------------------------------------------------------------------------------------- inside a transaction

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("this index was opened for reading")
        return self._writer

    def _storing(self, waiting: Callable[[], Sequence[Batch]]) -> Change:
        def store(connection: sqlite3.Connection) -> list[list[Outcome]]:
            batches = waiting()
            outcomes = self._store_or_undo(connection, batches)
            if outcomes is None:
                # One of them cannot be written at all. Each for itself, so that it does not take the others along.
                outcomes = [self._store_alone(connection, batch) for batch in batches]
            return outcomes

        return store

    def _store_alone(self, connection: sqlite3.Connection, batch: Batch) -> list[Outcome]:
        outcomes = self._store_or_undo(connection, [batch])
        return outcomes[0] if outcomes is not None else [Outcome("unavailable")] * len(batch.messages)

    def _store_or_undo(self, connection: sqlite3.Connection, batches: Sequence[Batch]) -> list[list[Outcome]] | None:
        """`_store`; None, and nothing is changed, where something in the messages (not the disk) stands against it."""
        fresh, gone = dict(self._fresh), dict(self._gone)
        connection.execute("SAVEPOINT attempt")
        try:
            outcomes: list[list[Outcome]] | None = self._store(connection, batches)
        except (sqlite3.DatabaseError, MemoryError) as error:
            if not isinstance(error, ITS_OWN):
                raise
            outcomes = None
        except Exception:  # noqa: BLE001 - its sender is told, and may try again
            outcomes = None
        if outcomes is None:
            connection.execute("ROLLBACK TO attempt")
            self._fresh, self._gone = fresh, gone
        connection.execute("RELEASE attempt")
        return outcomes

    def _store(self, connection: sqlite3.Connection, batches: Sequence[Batch]) -> list[list[Outcome]]:
        """Decide everything first, from what the store holds; then write what is new in a few statements."""
        messages = [message for batch in batches for message in batch.messages]
        marks = self._marks(messages)
        twins = self._twins(connection, marks, self._fresh)
        new = dict(zip(marks, messages, strict=True))
        if twins or len(new) < len(marks):
            new, stale, results = self._decide(connection, batches, marks, twins)
            self._remove(connection, stale)
        else:
            results = [[_STORED] * len(batch.messages) for batch in batches]
        append(connection, self._channels, new.values(), self._last_seq + 1)
        if any(batch.messages and batch.messages[0].status != "processed" for batch in batches):
            self._enqueue(connection, new.values())
        self._fresh.update(zip(new, range(self._last_seq + 1, self._last_seq + 1 + len(new)), strict=True))
        self._last_seq += len(new)
        return results

    def _decide(
        self,
        connection: sqlite3.Connection,
        batches: Sequence[Batch],
        marks: list[bytes],
        twins: dict[bytes, Twin],
    ) -> tuple[dict[bytes, Message], list[Twin], list[list[Outcome]]]:
        """What is new, which rows have to go, and the outcomes of each batch."""
        now_ms = self._clock.now_ms()
        held = {mark: twin.message for mark, twin in twins.items()}
        compare = _Comparison(connection, {mark: twin.seq for mark, twin in twins.items()}, self._digests)
        new: dict[bytes, Message] = {}
        stale: list[Twin] = []
        results = []
        unread = iter(marks)
        for batch in batches:
            outcomes: list[Outcome] = []
            claimed: dict[bytes, Message] = {}
            for message in batch.messages:
                mark = next(unread)
                twin = held.get(mark)
                if twin is not None and (twin.expires_ms is None or twin.expires_ms > now_ms):
                    outcomes.append(Outcome("replayed" if compare.same(mark, twin, message) else "conflict", twin))
                    continue
                if mark in twins:
                    stale.append(twins[mark])
                    compare.forget(mark)
                held[mark] = claimed[mark] = message
                outcomes.append(_STORED)
            if batch.whole and any(outcome.kind == "conflict" for outcome in outcomes):
                for mark in claimed:
                    del held[mark]
                outcomes = [_withheld(outcome) for outcome in outcomes]
            else:
                new.update(claimed)
            results.append(outcomes)
        return new, stale, results

    def _twins(
        self, connection: sqlite3.Connection, marks: list[bytes], fresh: Mapping[bytes, int]
    ) -> dict[bytes, Twin]:
        """The rows that hold `marks`, without their bodies. `fresh` are the claims of the transaction itself, which a
        reader has none of."""
        unknown = marks
        held: dict[bytes, int] = {}
        if fresh:
            held = {mark: fresh[mark] for mark in marks if mark in fresh}
            unknown = [mark for mark in marks if mark not in held]
        held.update(self._claims.holders(connection, unknown))
        found = {}
        for mark, seq in held.items():
            row = connection.execute(f"SELECT {_WITHOUT_BODY} FROM message WHERE seq = ?", (seq,)).fetchone()
            # A claim may outlive its row, and the row's number may be in use again.
            if row is not None and self._mark(message := self._message(row)) == mark:
                found[mark] = Twin(seq, message)
        return found

    def _enqueue(self, connection: sqlite3.Connection, messages: Collection[Message]) -> None:
        """Those of them that are to be worked off; in the same write, so that a row and its entry are there or not."""
        rows: dict[int, list[tuple[int, str]]] = {}
        for seq, message in enumerate(messages, self._last_seq + 1):
            channel = self._channels[message.channel]
            if message.status in DEAD:
                self._journal.add_dead(connection, seq, channel, message)
            elif message.status != "processed":
                rows.setdefault(channel, []).append((seq, message.order))
        for channel, some in rows.items():
            self._journal.add(connection, channel, some)

    def _remove(self, connection: sqlite3.Connection, twins: Sequence[Twin]) -> None:
        if not twins:
            return
        for twin in twins:
            connection.execute("DELETE FROM message WHERE seq = ?", (twin.seq,))
            connection.execute("DELETE FROM field WHERE seq = ?", (twin.seq,))
            connection.execute("DELETE FROM placed WHERE seq = ?", (twin.seq,))
            if twin.message.status != "processed":
                self._journal.remove(connection, twin.seq)
        released = {self._mark(twin.message): twin.seq for twin in twins}
        self._claims.release(connection, released)
        self._gone.update(released)
        for mark, seq in released.items():
            if self._fresh.get(mark) == seq:
                del self._fresh[mark]

    # ------------------------------------------------------------------------------------------------ for the queue

    def number(self, channel: str) -> int:
        """The number of a channel; -1 where the store has none of that name."""
        return self._channels.get(channel, -1)

    def name(self, number: int) -> str:
        """The name of a channel's number."""
        return self._names[number]

    def place(self, connection: sqlite3.Connection, channel: str, scope: str, key: str) -> int | None:
        """The row that holds a key, inside a transaction."""
        twin = self._held(connection, channel, scope, key, self._fresh)
        return None if twin is None or self._expired(twin.message) else twin.seq

    def at(self, connection: sqlite3.Connection, seqs: Sequence[int]) -> list[Message]:
        """The messages of rows, in that order."""
        found: dict[int, Message] = {}
        for at in range(0, len(seqs), _ROWS_READ):
            part = seqs[at : at + _ROWS_READ]
            for row in connection.execute(f"{_READ} WHERE seq IN ({','.join('?' * len(part))})", part):
                found[row[0]] = self._told(connection, row[0], self._message(row))
        return [found[seq] for seq in seqs if seq in found]

    def page(self, connection: sqlite3.Connection, seqs: Sequence[int], limit: int) -> Page:
        """The first `limit` of rows as a page, or fewer where they are large; there is another behind it if there are
        more rows."""
        some = self.not_too_large(connection, seqs[:limit], limits.PAGE_BYTES.value)
        messages = self.at(connection, some)
        following = str(some[-1]) if len(some) < len(seqs) else None
        return Page([message for message in messages if not self._expired(message)], following)

    def not_too_large(self, connection: sqlite3.Connection, seqs: Sequence[int], most_bytes: int) -> Sequence[int]:
        """Of some rows the first ones: one, and more until their bodies make up `most_bytes`."""
        sizes: dict[int, int] = {}
        for at in range(0, len(seqs), _ROWS_READ):
            part = seqs[at : at + _ROWS_READ]
            asked = f"SELECT seq, length(body) FROM message WHERE seq IN ({','.join('?' * len(part))})"
            sizes.update(connection.execute(asked, part))
        return [seq for _, seq in _while_below(most_bytes, ((sizes.get(seq, 0), seq) for seq in seqs))]

    def are_unread(self, connection: sqlite3.Connection, seqs: Sequence[int]) -> set[int]:
        """Those of some rows whose messages nobody has looked at."""
        found: set[int] = set()
        for at in range(0, len(seqs), _ROWS_READ):
            part = seqs[at : at + _ROWS_READ]
            asked = f"SELECT seq FROM message WHERE status = '{UNREAD}' AND seq IN ({','.join('?' * len(part))})"
            found.update(seq for (seq,) in connection.execute(asked, part))
        return found

    def look_at(self, connection: sqlite3.Connection, seq: int, fields: Iterable[tuple[str, str]]) -> None:
        """A message that was unread is one like all others."""
        connection.execute("UPDATE message SET status = 'accepted' WHERE seq = ?", (seq,))
        self.refile(connection, seq, fields)

    def store(self, connection: sqlite3.Connection, message: Message) -> Outcome:
        """`commit` of one message, inside a transaction."""
        return self._store_alone(connection, Batch([message], whole=False))[0]

    def remove(self, connection: sqlite3.Connection, seq: int) -> None:
        """Remove a row, inside a transaction."""
        row = connection.execute(f"SELECT {_WITHOUT_BODY} FROM message WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            self._remove(connection, [Twin(seq, self._message(row))])

    def expire(self, connection: sqlite3.Connection, seq: int, at_ms: int | None) -> None:
        """Let a message end then, or never."""
        connection.execute("UPDATE message SET expires_ms = ? WHERE seq = ?", (at_ms, seq))

    def refile(self, connection: sqlite3.Connection, seq: int, fields: Iterable[tuple[str, str]]) -> None:
        """Give a message other index values."""
        (channel,) = connection.execute("SELECT channel FROM message WHERE seq = ?", (seq,)).fetchone()
        connection.execute("DELETE FROM field WHERE seq = ?", (seq,))
        rows = [(channel, name, value, seq) for name, value in fields]
        connection.executemany("INSERT OR IGNORE INTO field VALUES (?,?,?,?)", rows)

    def before_commit(self, connection: sqlite3.Connection) -> None:
        """For the writer: what else goes into this commit."""
        self._claims.merge(connection, len(self._fresh))

    def after_commit(self, done: bool) -> None:
        """For the writer: the commit is durable, or nothing of it is."""
        fresh, self._fresh = self._fresh, {}
        gone, self._gone = self._gone, {}
        self._journal.after_commit(done)
        if done:
            self._claims.forget(gone)
            self._claims.add(fresh)
            self._claims.merged()

    def sweep(self) -> int:
        """Remove some of the expired messages, as many as may be removed at once; how many that were."""

        def sweep(connection: sqlite3.Connection) -> int:
            rows = connection.execute(
                f"SELECT length(body), {_WITHOUT_BODY} FROM message WHERE expires_ms <= ?"
                f" ORDER BY expires_ms LIMIT {_SWEEP_ROWS}",
                (self._clock.now_ms(),),
            ).fetchall()
            some = list(_while_below(_SWEEP_BYTES, rows))
            self._remove(connection, [Twin(row[1], self._message(row[1:])) for row in some])
            return len(some)

        return int(self._writing.change(sweep))

    def _mark(self, message: Message) -> bytes:
        return self._claims.mark(self._channels[message.channel], message.scope, message.key)

    def _marks(self, messages: Sequence[Message]) -> list[bytes]:
        marks: list[bytes] = []
        for (channel, scope), alike in groupby(messages, key=itemgetter(0, 1)):
            marks += self._claims.marks(self._channels[channel], scope, [message.key for message in alike])
        return marks

    def _held(
        self, connection: sqlite3.Connection, channel: str, scope: str, key: str, fresh: Mapping[bytes, int]
    ) -> Twin | None:
        if channel not in self._channels:
            return None
        mark = self._claims.mark(self._channels[channel], scope, key)
        return self._twins(connection, [mark], fresh).get(mark)

    # ------------------------------------------------------------------------------------------------------ reading

    def _get(self, reader: sqlite3.Connection, channel: str, scope: str, key: str) -> Message | None:
        twin = self._held(reader, channel, scope, key, {})
        if twin is None or self._expired(twin.message):
            return None
        body = _body(reader, twin.seq)
        return None if body is None else self._told(reader, twin.seq, twin.message._replace(body=body))

    def _told(self, reader: sqlite3.Connection, seq: int, message: Message) -> Message:
        """The message as it is now: how far it is, and whether it was edited, the journal says."""
        entry = None if message.status == "processed" else self._journal.entry(reader, seq)
        return message if entry is None else entry.told(message)

    def _find(
        self,
        reader: sqlite3.Connection,
        channel: str | None,
        scope: str | None,
        field: str | None,
        value: str | None,
        limit: int,
        before: int,
    ) -> Page:
        table = "message"
        where = ["message.seq < :before", "(expires_ms IS NULL OR expires_ms > :now)"]
        if channel is not None and field is None:
            where.append("message.channel = :channel")
        if scope is not None:
            where.append("scope = :scope")
        if field is not None:
            # CROSS JOIN keeps SQLite to this order: along the field's index, which is in the order of the page.
            table = "field CROSS JOIN message USING (seq)"
            where[0] = "field.seq < :before"
            where.append("field.channel = :channel AND name = :field AND value = :value")
        order = table.split()[0]
        found = reader.execute(
            f"SELECT length(body), {_COLUMNS_OF_MESSAGE} FROM {table} WHERE {' AND '.join(where)}"
            f" ORDER BY {order}.seq DESC LIMIT :limit",
            {
                "channel": None if channel is None else self._channels.get(channel, -1),
                "before": before,
                "now": self._clock.now_ms(),
                "scope": scope,
                "field": field,
                "value": value,
                "limit": limit + 1,
            },
        )
        rows = list(islice(_while_below(limits.PAGE_BYTES.value, found), limit + 1))
        more = len(rows) > limit or found.fetchone() is not None
        rows = rows[:limit]
        messages = [self._told(reader, row[1], self._message(row[1:])) for row in rows]
        return Page(messages, str(rows[-1][1]) if more else None)

    def read_with(self, query: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `query` finds, on a connection that only reads. Raises Unavailable."""
        return self._readers.read_with(query)

    def _load(self, reader: sqlite3.Connection) -> None:
        for id_, name in reader.execute("SELECT id, name FROM channel"):
            self._channels[name], self._names[id_] = id_, name
        # Not below what was merged, though the newest rows may be deleted: load() passes over numbers up to there.
        (self._last_seq,) = reader.execute(
            "SELECT max((SELECT coalesce(max(seq), 0) FROM message), value) FROM meta WHERE name = 'claimed_to'"
        ).fetchone()

    def _message(self, row: tuple[Any, ...]) -> Message:
        _, channel, scope, key, body, received_ms, principal, request_id, traceparent, status, expires_ms, error = row
        name = self._names[channel]
        return Message(
            name, scope, key, body, received_ms, principal, request_id, traceparent, status, expires_ms, (), error
        )

    def _expired(self, message: Message) -> bool:
        return message.expires_ms is not None and message.expires_ms <= self._clock.now_ms()


class _Comparison:
    """Of what is sent with what holds its key. A held body is read one at a time, and digested once: what a sender
    costs us depends on what it sends, not on what lies under the keys that it names."""

    def __init__(self, connection: sqlite3.Connection, rows: dict[bytes, int], known: dict[int, bytes]) -> None:
        self._connection = connection
        self._rows = rows
        self._known = known
        self._new: dict[bytes, bytes] = {}

    def same(self, mark: bytes, held: Message, sent: Message) -> bool:
        """Whether `sent` has the body of `held`, the message that `mark` stands for."""
        seq = self._rows.get(mark)
        if seq is None:
            return held.body == sent.body or self._digest_of_new(mark, held) == digest(sent.body)
        if seq in self._known:
            return self._known[seq] == digest(sent.body)
        body = _body(self._connection, seq)
        if body is None or body == sent.body:
            return body is not None
        while len(self._known) >= _DIGESTS:
            del self._known[next(iter(self._known))]
        self._known[seq] = digest(body)
        return self._known[seq] == digest(sent.body)

    def forget(self, mark: bytes) -> None:
        """Its row expired: from here on a new message holds the key."""
        self._rows.pop(mark, None)

    def _digest_of_new(self, mark: bytes, held: Message) -> bytes:
        if mark not in self._new:
            self._new[mark] = digest(held.body)
        return self._new[mark]


def _body(connection: sqlite3.Connection, seq: int) -> bytes | None:
    row = connection.execute("SELECT body FROM message WHERE seq = ?", (seq,)).fetchone()
    return None if row is None else bytes(row[0])


def _while_below(size: int, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The rows whose first columns add up to less than `size`; one at least, if there is one."""
    for row in rows:
        yield row
        size -= row[0]
        if size <= 0:
            return


def _withheld(outcome: Outcome) -> Outcome:
    return Outcome("untouched") if outcome.kind == "stored" else outcome


def position(after: str | None) -> int:
    """The row's number that `next` of a page stands for. Raises ValueError."""
    if after is None:
        return 2**63 - 1
    if not (after.isascii() and after.isdigit() and len(after) < 19):
        raise ValueError(f"{after!r} is not a place in a list")
    return int(after)
