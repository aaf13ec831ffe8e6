"""The table `work`: how far a queued message is, beside its row, which is written once and has the body in it.

due_ms      not before then; of a message in work, when its lease runs out. NULL when it is settled, and while
            another message of its line has to be done first
token       which claim has it in work
line        what `order_by=` names: of the open messages of a line at most one has a due time
body        the body that somebody gave it, if so
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec

from headgate.clock import Clock, SteadyTime
from headgate.message import Message, Moment

_IS_OPEN = "status IN ('accepted', 'processing')"
_LOST = "status = 'processing'"  # and due: nobody has it in work any more
SCHEMA = f"""CREATE TABLE work (
    seq INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_ms INTEGER,
    token TEXT,
    line TEXT,
    error TEXT,
    body BLOB,
    timeline BLOB
);
CREATE INDEX work_due ON work (channel, due_ms) WHERE {_IS_OPEN};
CREATE INDEX work_leased ON work (channel, due_ms) WHERE {_LOST};
CREATE INDEX work_line ON work (channel, line, seq) WHERE line IS NOT NULL AND {_IS_OPEN};
CREATE INDEX work_dead ON work (channel, seq) WHERE status IN ('failed', 'rejected')"""

# Each by its index, however the planner sees it: a backlog may have millions of rows.
_OPEN = f"INDEXED BY work_due WHERE {_IS_OPEN}"
_LEASED = f"INDEXED BY work_leased WHERE {_LOST}"
_COLUMNS = "seq, channel, status, attempts, due_ms, token, line, error, body, timeline"
_ROWS_AT_ONCE = 64
_TIME, _TIME_KEPT_EVERY_MS = "queue_time", 1_000


class Care(NamedTuple):
    """How those are claimed of which an attempt was lost, with the process that made it: perhaps by their own doing.

    - `limit`: how many at a time, so that each is begun at once and costs no other one an attempt
    - `most`: the attempts that are declared. The last one is made while no other of them is in work,
    - `is_alone`: which is so now
    """

    limit: int
    most: int
    is_alone: bool


class Entry(NamedTuple):
    """A row of `work`."""

    seq: int
    channel: int
    status: str
    attempts: int
    due_ms: int | None
    token: str | None
    line: str | None
    error: str | None
    body: bytes | None
    timeline: bytes | None

    @property
    def is_open(self) -> bool:
        """Whether it waits or is in work."""
        return self.status in ("accepted", "processing")

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The timeline, read."""
        return _moments(self.timeline) if self.timeline else ()

    def told(self, message: Message) -> Message:
        """The message as it is now."""
        return message._replace(
            status=self.status,
            attempts=self.attempts,
            error=self.error,
            order=self.line or "",
            body=message.body if self.body is None else self.body,
            original=None if self.body is None else message.body,
            timeline=self.moments,
        )


_moments = msgspec.json.Decoder(tuple[Moment, ...]).decode
encoded = msgspec.json.Encoder().encode


class Journal:
    """What is done to the table, inside a transaction of the writer, and read from it, with any connection.

    Due times are on a time of their own, which does not jump; it goes on from where it was when the store was last
    written to, should the wall clock have been set back meanwhile. `waiting` counts the open messages of each channel,
    as of the last commit; `when_more` is told, on the writer's thread, which channels got some.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        (kept_ms,) = connection.execute("SELECT max(value) FROM meta WHERE name = ?", (_TIME,)).fetchone()
        self._time = SteadyTime(clock, max(clock.now_ms(), kept_ms or 0))
        self._kept_ms = 0
        counted = f"SELECT channel, count(*) FROM work WHERE {_IS_OPEN} GROUP BY channel"
        self.waiting: Counter[int] = Counter(dict(connection.execute(counted).fetchall()))
        self._change: Counter[int] = Counter()
        self.when_more: Callable[[list[int]], None] = lambda _: None

    def after_commit(self, done: bool) -> None:
        """The commit is durable, or nothing of it is."""
        change, self._change = self._change, Counter()
        if done and change:
            self.waiting.update(change)
            self.when_more([channel for channel, more in change.items() if more > 0])

    def now_ms(self) -> int:
        """The time by which messages are due."""
        return self._time.now_ms()

    # -------------------------------------------------------------------------------------------- one row and another

    def add(self, connection: sqlite3.Connection, channel: int, rows: Sequence[tuple[int, str]]) -> None:
        """Put (seq, line) of new messages into the queue of a channel, due now, or when it is their turn."""
        now_ms = self.now_ms()
        values: list[object] = []
        begun: set[str] = set()
        for seq, line in rows:
            due_ms: int | None = now_ms
            if line and (line in begun or self._has_open(connection, channel, line)):
                due_ms = None
            begun.add(line)
            values += (seq, channel, due_ms, line or None)
        width = 4 * _ROWS_AT_ONCE
        for at in range(0, len(values), width):
            part = values[at : at + width]
            places = ",".join(["(?,?,'accepted',0,?,?)"] * (len(part) // 4))
            connection.execute(f"INSERT INTO work (seq, channel, status, attempts, due_ms, line) VALUES {places}", part)
        self._change[channel] += len(rows)

    def add_dead(self, connection: sqlite3.Connection, seq: int, channel: int, message: Message) -> None:
        """A message that is a dead letter from the start."""
        connection.execute(
            "INSERT INTO work (seq, channel, status, attempts, error, timeline) VALUES (?, ?, ?, ?, ?, ?)",
            (seq, channel, message.status, message.attempts, message.error, encoded(message.timeline)),
        )

    def entry(self, connection: sqlite3.Connection, seq: int) -> Entry | None:
        """One row."""
        row = connection.execute(f"SELECT {_COLUMNS} FROM work WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else Entry(*row)

    def put(self, connection: sqlite3.Connection, old: Entry, new: Entry) -> None:
        """Change a row. Who settles, or goes away, makes room for the next of its line."""
        self._keep_time(connection)
        connection.execute(
            "UPDATE work SET status = ?, attempts = ?, due_ms = ?, token = ?, line = ?, error = ?, body = ?,"
            " timeline = ? WHERE seq = ?",
            (
                new.status, new.attempts, new.due_ms, new.token, new.line, new.error, new.body, new.timeline, new.seq
            ),
        )  # fmt: skip
        self._change[old.channel] += new.is_open - old.is_open
        if old.is_open and not new.is_open:
            self._next_of_line(connection, old)

    def remove(self, connection: sqlite3.Connection, seq: int) -> None:
        """Forget a row."""
        old = self.entry(connection, seq)
        if old is None:
            return
        connection.execute("DELETE FROM work WHERE seq = ?", (seq,))
        if old.is_open:
            self._change[old.channel] -= 1
            self._next_of_line(connection, old)

    def turn(self, connection: sqlite3.Connection, entry: Entry) -> int | None:
        """When a message that comes back is due: now, or when its line has got to it."""
        if entry.line and self._has_open(connection, entry.channel, entry.line):
            return None
        return self.now_ms()

    def _keep_time(self, connection: sqlite3.Connection) -> None:
        if (now_ms := self.now_ms()) - self._kept_ms >= _TIME_KEPT_EVERY_MS:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_TIME, now_ms))
            self._kept_ms = now_ms

    def _has_open(self, connection: sqlite3.Connection, channel: int, line: str) -> bool:
        asked = f"SELECT 1 FROM work WHERE channel = ? AND line = ? AND {_IS_OPEN} LIMIT 1"
        return connection.execute(asked, (channel, line)).fetchone() is not None

    def _next_of_line(self, connection: sqlite3.Connection, done: Entry) -> None:
        if done.line is None:
            return
        first = f"SELECT min(seq) FROM work WHERE channel = ? AND line = ? AND {_IS_OPEN}"
        connection.execute(
            f"UPDATE work SET due_ms = ? WHERE due_ms IS NULL AND seq = ({first})",
            (self.now_ms(), done.channel, done.line),
        )

    # ------------------------------------------------------------------------------------------------------ many rows

    def due(
        self,
        connection: sqlite3.Connection,
        channel: int,
        until_ms: int,
        limit: int,
        scope: str | None = None,
        care: Care | None = None,
    ) -> list[tuple[int, bool]]:
        """The messages that are due at `until_ms`, of one scope if it is said, those longest due first, and whether an
        attempt of them was lost; those are in front, and not more than `care` says."""

        def due(limit: int, which: str) -> list[tuple[int, bool]]:
            found = connection.execute(
                f"SELECT seq, {_LOST} FROM work {which} AND channel = :channel AND due_ms <= :until{_in(scope)}"
                " ORDER BY due_ms LIMIT :limit",
                {"channel": channel, "until": until_ms, "scope": scope, "limit": limit},
            )
            return [(seq, bool(is_lost)) for seq, is_lost in found]

        if care is None:
            return due(limit, _OPEN)
        lost = due(min(limit, care.limit), f"{_LEASED} AND attempts <> {care.most - 1}") if care.limit else []
        if not lost and care.limit and care.is_alone:
            lost = due(1, _LEASED)
        return lost + due(limit - len(lost), f"{_OPEN} AND NOT {_LOST}")

    def next_due_ms(
        self, connection: sqlite3.Connection, channel: int, scope: str | None = None, care: Care | None = None
    ) -> int | None:
        """When the next message is due that may be claimed."""
        of = ""
        if care is not None and not care.limit:
            of = f" AND NOT {_LOST}"
        elif care is not None and not care.is_alone:
            of = f" AND NOT ({_LOST} AND attempts = {care.most - 1})"
        found = connection.execute(
            f"SELECT due_ms FROM work {_OPEN} AND channel = :channel AND due_ms IS NOT NULL{_in(scope)}{of}"
            " ORDER BY due_ms LIMIT 1",
            {"channel": channel, "scope": scope},
        ).fetchone()
        return None if found is None else int(found[0])

    def take(self, connection: sqlite3.Connection, seqs: Iterable[int], token: str, until_ms: int) -> None:
        """Count an attempt of each."""
        some = list(seqs)
        for at in range(0, len(some), _ROWS_AT_ONCE):
            part = some[at : at + _ROWS_AT_ONCE]
            connection.execute(
                "UPDATE work SET status = 'processing', attempts = attempts + 1, token = ?, due_ms = ?"
                f" WHERE seq IN ({','.join('?' * len(part))})",
                (token, until_ms, *part),
            )

    def free_all(self, connection: sqlite3.Connection) -> None:
        """When the store is opened nobody is at work: every lease is a dead process's."""
        connection.execute(
            "UPDATE work SET due_ms = ?, token = NULL WHERE status = 'processing' AND due_ms IS NOT NULL",
            (self.now_ms(),),
        )

    def waiting_outside(self, connection: sqlite3.Connection, channel: int, scopes: Collection[str]) -> int:
        """How many open messages of a channel are in none of these scopes."""
        marks = ",".join("?" * len(scopes))
        sql = (
            f"SELECT count(*) FROM message WHERE scope NOT IN ({marks})"
            f" AND seq IN (SELECT seq FROM work {_OPEN} AND channel = ?)"
        )
        (count,) = connection.execute(sql, (*scopes, channel)).fetchone()
        return int(count)

    def count_dead(self, connection: sqlite3.Connection, channel: int) -> int:
        """How many dead letters there are."""
        asked = "SELECT count(*) FROM work WHERE channel = ? AND status IN ('failed', 'rejected')"
        (count,) = connection.execute(asked, (channel,)).fetchone()
        return int(count)

    def dead(self, connection: sqlite3.Connection, channel: int, before: int, limit: int) -> list[int]:
        """Dead letters, newest message first."""
        found = connection.execute(
            "SELECT seq FROM work WHERE channel = ? AND status IN ('failed', 'rejected') AND seq < ?"
            " ORDER BY seq DESC LIMIT ?",
            (channel, before, limit),
        )
        return [seq for (seq,) in found]

    def failed(self, connection: sqlite3.Connection, channel: int) -> int:
        """How many messages failed for good."""
        asked = "SELECT count(*) FROM work WHERE channel = ? AND status IN ('failed', 'rejected') AND status = 'failed'"
        return int(connection.execute(asked, (channel,)).fetchone()[0])


def _in(scope: str | None) -> str:
    return "" if scope is None else " AND (SELECT scope FROM message WHERE message.seq = work.seq) = :scope"
