"""The queue on SQLite: it is the rows of `work` that are due. See journal.py for the table."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import NamedTuple

from headgate.clock import Clock
from headgate.engine import (
    DEAD,
    OPEN,
    Alteration,
    Discarded,
    Edited,
    Lease,
    NotYet,
    Page,
    Queue,
    Redriven,
    Settlement,
    lengthened,
)
from headgate.gate.work import Promote, Settle
from headgate.local.index import LocalIndex, position
from headgate.local.journal import Care, Entry, Journal, encoded
from headgate.local.writer import Writer
from headgate.message import Message, Moment

_UNREAD, _LOST = ".unread", ".lost"
_CLAIM_BYTES = 16 * 1024 * 1024  # of bodies in memory at a time


class Backlog(NamedTuple):
    """Of one channel: messages waiting or in work, for how long the one that has been due for longest has been due, and
    dead letters."""

    waiting: int
    late_s: float
    dead: int


class LocalQueue(Queue):
    """See `Queue`. With `dice` messages are claimed in a random order, as SQS would hand them out."""

    def __init__(
        self, writer: Writer | None, index: LocalIndex, journal: Journal, clock: Clock, dice: Random | None = None
    ) -> None:
        self._writing = writer
        self._index = index
        self._journal = journal
        self._clock = clock
        self._dice = dice

    @property
    def _writer(self) -> Writer:
        if self._writing is None:
            raise RuntimeError("this queue was opened for reading")
        return self._writing

    # ------------------------------------------------------------------------------------------------ the contract

    def begin(self, channel: str, scope: str, key: str, lease_ms: int) -> Lease | NotYet | None:
        return self._writer.change(  # type: ignore[no-any-return]
            lambda connection: self._begin(connection, channel, scope, key, lease_ms)
        )

    def settle(self, lease: Lease, settlement: Settlement) -> bool:
        return bool(self._writer.change(lambda connection: self._settle(connection, lease, settlement)))

    def overdue(self, channel: str, by_ms: int, limit: int) -> list[tuple[str, str]]:
        def overdue(reader: sqlite3.Connection) -> list[tuple[str, str]]:
            number = self._index.number(channel)
            due = self._journal.due(reader, number, self._journal.now_ms() - by_ms, limit)
            return [(message.scope, message.key) for message in self._index.at(reader, [seq for seq, _ in due])]

        return self._index.read_with(overdue)

    def dead(self, channel: str, limit: int, after: str | None) -> Page:
        before = position(after)

        def dead(reader: sqlite3.Connection) -> Page:
            seqs = self._journal.dead(reader, self._index.number(channel), before, limit + 1)
            return self._index.page(reader, seqs, limit)

        return self._index.read_with(dead)

    def alter(self, channel: str, scope: str, key: str, alteration: Alteration) -> bool:
        return bool(self.alter_all(channel, [(scope, key)], alteration))

    # -------------------------------------------------------------------------------------------- for the command line

    def alter_all(self, channel: str, places: Sequence[tuple[str, str]], alteration: Alteration) -> int:
        """`alter` for several (scope, key), by one durable write; how many it changed."""

        def alter_all(connection: sqlite3.Connection) -> int:
            entries = [self._entry(connection, channel, scope, key) for scope, key in places]
            dead = [entry for entry in entries if entry is not None and entry.status in DEAD]
            for entry in dead:
                self._alter(connection, entry, alteration)
            return len(dead)

        return int(self._writer.change(alter_all))

    def put_off_until_ms(self, channel: str, scope: str, key: str) -> int | None:
        """When a message is due that waits for a later time; None where it waits for none."""

        def until(reader: sqlite3.Connection) -> int | None:
            entry = self._entry(reader, channel, scope, key)
            if entry is None or entry.status != "accepted" or entry.due_ms is None:
                return None
            left_ms = entry.due_ms - self._journal.now_ms()
            return self._clock.now_ms() + left_ms if left_ms > 0 else None

        return self._index.read_with(until)

    # -------------------------------------------------------------------------------------------------- for the worker

    def claim(self, channel: str, limit: int, lease_ms: int) -> list[Lease]:
        """`begin` for messages that are due, at most `limit`, by one durable write."""
        return self.turn_over((), channel, limit, lease_ms)[1]

    def turn_over(
        self,
        done: Sequence[Promote | Settle],
        channel: str,
        limit: int,
        lease_ms: int,
        scope: str | None = None,
        care: Care | None = None,
    ) -> tuple[list[bool | str], list[Lease]]:
        """`settle` and `promote` some leases and `claim` others (of one scope, if it is said), by one durable write.
        Raises Unavailable; all of it may be repeated."""

        def turn_over(connection: sqlite3.Connection) -> tuple[list[bool | str], list[Lease]]:
            answers: list[bool | str] = []
            for effect in done:
                match effect:
                    case Settle(lease, settlement):
                        answers.append(self._settle(connection, lease, settlement))
                    case Promote(lease, message):
                        answers.append(self._promote(connection, lease, message))
            return answers, self._claim(connection, channel, limit, lease_ms, scope, care) if limit > 0 else []

        return self._writer.change(turn_over)  # type: ignore[no-any-return]

    def promote(self, lease: Lease, message: Message) -> str:
        """Turn a message that was let in unread into one like all others, `message`, under the key that is its own;
        what came of it, as `Index.commit` says it, or `late`. With `conflict` it is still leased."""
        return str(self._writer.change(lambda connection: self._promote(connection, lease, message)))

    def is_unread(self, lease: Lease) -> bool:
        """Whether nobody has looked at a message yet."""
        return _UNREAD in lease.token

    def was_lost(self, lease: Lease) -> bool:
        """Whether nobody knows how the attempt before this one ended."""
        return _LOST in lease.token

    def begin_all(self, messages: Sequence[Message], lease_ms: int) -> list[Lease | NotYet | None]:
        """`begin` for each, by one durable write."""
        return self._writer.change(  # type: ignore[no-any-return]
            lambda connection: [
                self._begin(connection, message.channel, message.scope, message.key, lease_ms) for message in messages
            ]
        )

    def settle_all(self, settled: Sequence[tuple[Lease, Settlement]]) -> list[bool]:
        """`settle` for each, by one durable write."""
        return self._writer.change(  # type: ignore[no-any-return]
            lambda connection: [self._settle(connection, lease, settlement) for lease, settlement in settled]
        )

    # ------------------------------------------------------------------------------------------- for ends of executions

    def leased(self, channel: str, scope: str, key: str) -> Lease | None:
        """The lease that a message in work has now, whoever took it. None where it is not in work."""

        def leased(reader: sqlite3.Connection) -> Lease | None:
            entry = self._entry(reader, channel, scope, key)
            if entry is None or entry.status != "processing" or entry.token is None:
                return None
            (message,) = self._index.at(reader, [entry.seq])
            return Lease(message, f"{entry.token}.{entry.seq}", entry.due_ms or 0)

        return self._index.read_with(leased)

    def unheld(self, channel: str, scope: str, key: str) -> Message | None:
        """A message that is neither settled nor in work."""

        def unheld(reader: sqlite3.Connection) -> Message | None:
            entry = self._entry(reader, channel, scope, key)
            if entry is None or not entry.is_open or entry.token is not None:
                return None
            (message,) = self._index.at(reader, [entry.seq])
            return message

        return self._index.read_with(unheld)

    def take_over(self, lease: Lease, settlement: Settlement) -> bool:
        """`settle` with `processing`, after which the lease is nobody's that had it. False too where something was told
        of the message since."""

        def take_over(connection: sqlite3.Connection) -> bool:
            before = self._mine(connection, lease)
            if before is None or len(before.moments) != len(lease.message.timeline):
                return False
            if not self._settle(connection, lease, settlement):
                return False
            entry = self._journal.entry(connection, int(lease.token.split(".")[1]))
            if entry is not None:
                self._journal.put(connection, entry, entry._replace(token=secrets.token_hex(8)))
            return True

        return bool(self._writer.change(take_over))

    # ------------------------------------------------------------------------------------------- what is in the queue

    def idle_ms(self, channel: str, scope: str | None = None, care: Care | None = None) -> int | None:
        """How long until a message is due that may be claimed, 0 or less where one is; None where none will be, as
        things are."""
        due_ms = self._index.read_with(
            lambda reader: self._journal.next_due_ms(reader, self._index.number(channel), scope, care)
        )
        return None if due_ms is None else due_ms - self._journal.now_ms()

    def when_more(self, told: Callable[[list[str]], None]) -> None:
        """Let `told` be called when channels, by name, got more to do; on the writer's thread, so it must be quick."""
        self._journal.when_more = lambda numbers: told([self._index.name(number) for number in numbers])

    def backlog(self, channel: str) -> Backlog:
        """What is in a channel's queue, and what fell out of it."""

        def look(reader: sqlite3.Connection) -> Backlog:
            number = self._index.number(channel)
            due_ms = self._journal.next_due_ms(reader, number)
            late_ms = 0 if due_ms is None else max(0, self._journal.now_ms() - due_ms)
            return Backlog(self.waiting(channel), late_ms / 1000, self._journal.count_dead(reader, number))

        return self._index.read_with(look)

    def failed(self, channel: str) -> int:
        """How many dead letters with the status `failed` there are."""
        return self._index.read_with(lambda reader: self._journal.failed(reader, self._index.number(channel)))

    def overdue_ms(self, channel: str) -> int:
        """For how long the message has been due that has been due longest; 0 where none is."""
        due_ms = self._index.read_with(lambda reader: self._journal.next_due_ms(reader, self._index.number(channel)))
        return 0 if due_ms is None else max(0, self._journal.now_ms() - due_ms)

    def stranded(self, worked: Mapping[str, Collection[str] | None]) -> dict[str, int]:
        """How many messages wait that nobody works off, by channel: those of other channels than `worked`, and of one
        that has scopes there, those in other scopes."""

        def count(reader: sqlite3.Connection) -> dict[str, int]:
            found = {}
            for number, waiting in self._journal.waiting.items():
                name = self._index.name(number)
                scopes = worked.get(name, ())
                if scopes and waiting > 0:
                    waiting = self._journal.waiting_outside(reader, number, scopes)
                if scopes is not None and waiting > 0:
                    found[name] = waiting
            return found

        return self._index.read_with(count)

    def waiting(self, channel: str) -> int:
        """How many messages are waiting or in work."""
        return int(self._journal.waiting[self._index.number(channel)])

    # ------------------------------------------------------------------------------------------- inside a transaction

    def _entry(self, connection: sqlite3.Connection, channel: str, scope: str, key: str) -> Entry | None:
        seq = self._index.place(connection, channel, scope, key)
        return None if seq is None else self._journal.entry(connection, seq)

    def _begin(
        self, connection: sqlite3.Connection, channel: str, scope: str, key: str, lease_ms: int
    ) -> Lease | NotYet | None:
        entry = self._entry(connection, channel, scope, key)
        if entry is None or not entry.is_open:
            return None
        if entry.due_ms is None or entry.due_ms > self._journal.now_ms():
            return NotYet(entry.due_ms)
        return self._leased(connection, [entry.seq], lease_ms)[0]

    def _claim(
        self,
        connection: sqlite3.Connection,
        channel: str,
        limit: int,
        lease_ms: int,
        scope: str | None,
        care: Care | None,
    ) -> list[Lease]:
        number = self._index.number(channel)
        now_ms = self._journal.now_ms()
        if self._dice is None:
            due = self._journal.due(connection, number, now_ms, limit, scope, care)
        else:
            some = self._journal.due(connection, number, now_ms, 4 * limit, scope, care)
            due = self._dice.sample(some, min(limit, len(some)))
        seqs = self._index.not_too_large(connection, [seq for seq, _ in due], _CLAIM_BYTES)
        return self._leased(connection, seqs, lease_ms, {seq for seq, is_lost in due if is_lost})

    def _leased(
        self, connection: sqlite3.Connection, seqs: Sequence[int], lease_ms: int, lost: Collection[int] = ()
    ) -> list[Lease]:
        if not seqs:
            return []
        token = secrets.token_hex(8)
        self._journal.take(connection, seqs, token, self._journal.now_ms() + lease_ms)
        until_ms = self._clock.now_ms() + lease_ms
        unread = self._index.are_unread(connection, seqs)
        leases = []
        for seq, message in zip(seqs, self._index.at(connection, seqs), strict=True):
            mark = (_UNREAD if seq in unread else "") + (_LOST if seq in lost else "")
            leases.append(Lease(message._replace(deadline_ms=until_ms), f"{token}.{seq}{mark}", until_ms))
        return leases

    def _mine(self, connection: sqlite3.Connection, lease: Lease) -> Entry | None:
        """The row of a lease; None where the lease is not the row's any more."""
        token, seq, *_ = lease.token.split(".")
        entry = self._journal.entry(connection, int(seq))
        return entry if entry is not None and entry.token == token and entry.status == "processing" else None

    def _promote(self, connection: sqlite3.Connection, lease: Lease, message: Message) -> str:
        old = self._mine(connection, lease)
        if old is None:
            return "late"
        if (message.scope, message.key) == (lease.message.scope, lease.message.key):
            self._index.look_at(connection, old.seq, message.fields)
            waiting = old._replace(attempts=0, token=None, line=message.order or None)
            self._journal.put(connection, old, waiting._replace(due_ms=self._journal.turn(connection, waiting)))
            return "stored"
        kind = self._index.store(connection, message).kind
        if kind == "stored" and message.timeline:
            new = self._entry(connection, message.channel, message.scope, message.key)
            assert new is not None  # noqa: S101 - it was stored just now
            self._journal.put(connection, new, new._replace(timeline=encoded(message.timeline)))
        if kind in ("stored", "replayed"):
            self._leave(connection, old, lease, message)
        return kind

    def _leave(self, connection: sqlite3.Connection, old: Entry, lease: Lease, message: Message) -> None:
        """The row under the sender's id has done its service; one with a history stays, as a record of it."""
        if not lease.message.timeline:
            self._index.remove(connection, old.seq)
            return
        moved = Moment(self._clock.now_ms(), "processed", detail=f"It goes on under the key {message.key}.")
        self._journal.put(
            connection,
            old,
            old._replace(status="processed", due_ms=None, token=None, timeline=_lengthened(old, (moved,))),
        )

    def _settle(self, connection: sqlite3.Connection, lease: Lease, settlement: Settlement) -> bool:
        old = self._mine(connection, lease)
        if old is None:
            return False
        final = settlement.status not in OPEN
        new = old._replace(
            status=settlement.status,
            attempts=old.attempts - settlement.uncounted,
            due_ms=None if final else self._journal.now_ms() + settlement.delay_ms,
            token=old.token if settlement.status == "processing" else None,
            error=settlement.error,
            timeline=_lengthened(old, settlement.moments),
        )
        self._journal.put(connection, old, new)
        if final and settlement.keep_ms is not None:
            self._index.expire(connection, old.seq, self._clock.now_ms() + settlement.keep_ms)
        return True

    def _alter(self, connection: sqlite3.Connection, old: Entry, alteration: Alteration) -> None:
        new = old._replace(timeline=_lengthened(old, (alteration.moment,)))
        match alteration:
            case Redriven():
                due_ms = self._journal.turn(connection, old)
                new = new._replace(status="accepted", attempts=0, due_ms=due_ms, error=None)
                self._index.expire(connection, old.seq, None)
            case Edited(_, body, fields, order):
                new = new._replace(body=body, line=order or None)
                self._index.refile(connection, old.seq, fields)
            case Discarded(_, keep_ms):
                new = new._replace(status="discarded")
                self._index.expire(connection, old.seq, None if keep_ms is None else self._clock.now_ms() + keep_ms)
        self._journal.put(connection, old, new)


def _lengthened(entry: Entry, moments: tuple[Moment, ...]) -> bytes | None:
    if not moments:
        return entry.timeline
    return encoded(lengthened(entry.moments, moments))
