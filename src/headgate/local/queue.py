"""The queue on SQLite: it is the rows of `work` that are due. See journal.py for the table."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from random import Random

from headgate.clock import Clock
from headgate.engine import (
    DEAD,
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
from headgate.local.index import LocalIndex, position
from headgate.local.journal import Entry, Journal, encoded
from headgate.local.writer import Writer
from headgate.message import Moment

_CLAIM_BYTES = 16 * 1024 * 1024  # of bodies in memory at a time


class LocalQueue(Queue):
    """See `Queue`. With `dice` messages are claimed in a random order, as SQS would hand them out."""

    def __init__(
        self, writer: Writer, index: LocalIndex, journal: Journal, clock: Clock, dice: Random | None = None
    ) -> None:
        self._writer = writer
        self._index = index
        self._journal = journal
        self._clock = clock
        self._dice = dice

    # ------------------------------------------------------------------------------------------------ the contract

    def begin(self, channel: str, scope: str, key: str, lease_ms: int) -> Lease | NotYet | None:
        def begin(connection: sqlite3.Connection) -> Lease | NotYet | None:
            entry = self._entry(connection, channel, scope, key)
            if entry is None or not entry.is_open:
                return None
            if entry.due_ms is None or entry.due_ms > self._journal.now_ms():
                return NotYet(entry.due_ms)
            return self._leased(connection, [entry.seq], lease_ms)[0]

        return self._writer.change(begin)  # type: ignore[no-any-return]

    def settle(self, lease: Lease, settlement: Settlement) -> bool:
        return bool(self._writer.change(lambda connection: self._settle(connection, lease, settlement)))

    def overdue(self, channel: str, by_ms: int, limit: int) -> list[tuple[str, str]]:
        def overdue(reader: sqlite3.Connection) -> list[tuple[str, str]]:
            number = self._index.number(channel)
            seqs = self._journal.due(reader, number, self._journal.now_ms() - by_ms, limit)
            return [(message.scope, message.key) for message in self._index.at(reader, seqs)]

        return self._index.read_with(overdue)

    def dead(self, channel: str, limit: int, after: str | None) -> Page:
        before = position(after)

        def dead(reader: sqlite3.Connection) -> Page:
            seqs = self._journal.dead(reader, self._index.number(channel), before, limit + 1)
            return self._index.page(reader, seqs, limit)

        return self._index.read_with(dead)

    def alter(self, channel: str, scope: str, key: str, alteration: Alteration) -> bool:
        def alter(connection: sqlite3.Connection) -> bool:
            entry = self._entry(connection, channel, scope, key)
            if entry is None or entry.status not in DEAD:
                return False
            self._alter(connection, entry, alteration)
            return True

        return bool(self._writer.change(alter))

    # -------------------------------------------------------------------------------------------------- for the worker

    def claim(self, channel: str, limit: int, lease_ms: int) -> list[Lease]:
        """`begin` for messages that are due, at most `limit`, by one durable write."""
        return self.turn_over((), channel, limit, lease_ms)[1]

    def turn_over(
        self, settled: Sequence[tuple[Lease, Settlement]], channel: str, limit: int, lease_ms: int
    ) -> tuple[list[bool], list[Lease]]:
        """`settle` some leases and `claim` others, by one durable write. Raises Unavailable; both may be repeated."""

        def turn_over(connection: sqlite3.Connection) -> tuple[list[bool], list[Lease]]:
            done = [self._settle(connection, lease, settlement) for lease, settlement in settled]
            return done, self._claim(connection, channel, limit, lease_ms) if limit > 0 else []

        return self._writer.change(turn_over)  # type: ignore[no-any-return]

    def idle_ms(self, channel: str) -> int | None:
        """How long until a message is due, 0 where one is; None where none will be, as things are."""
        due_ms = self._index.read_with(lambda reader: self._journal.next_due_ms(reader, self._index.number(channel)))
        return None if due_ms is None else max(0, due_ms - self._journal.now_ms())

    def when_more(self, told: Callable[[list[str]], None]) -> None:
        """Let `told` be called when channels, by name, got more to do; on the writer's thread, so it must be quick."""
        self._journal.when_more = lambda numbers: told([self._index.name(number) for number in numbers])

    def waiting(self, channel: str) -> int:
        """How many messages are waiting or in work."""
        return int(self._journal.waiting[self._index.number(channel)])

    # ------------------------------------------------------------------------------------------- inside a transaction

    def _entry(self, connection: sqlite3.Connection, channel: str, scope: str, key: str) -> Entry | None:
        seq = self._index.place(connection, channel, scope, key)
        return None if seq is None else self._journal.entry(connection, seq)

    def _claim(self, connection: sqlite3.Connection, channel: str, limit: int, lease_ms: int) -> list[Lease]:
        number = self._index.number(channel)
        now_ms = self._journal.now_ms()
        if self._dice is None:
            seqs = self._journal.due(connection, number, now_ms, limit)
        else:
            some = self._journal.due(connection, number, now_ms, 4 * limit)
            seqs = self._dice.sample(some, min(limit, len(some)))
        return self._leased(connection, self._index.not_too_large(connection, seqs, _CLAIM_BYTES), lease_ms)

    def _leased(self, connection: sqlite3.Connection, seqs: Sequence[int], lease_ms: int) -> list[Lease]:
        if not seqs:
            return []
        token = secrets.token_hex(8)
        self._journal.take(connection, seqs, token, self._journal.now_ms() + lease_ms)
        until_ms = self._clock.now_ms() + lease_ms
        leases = []
        for seq, message in zip(seqs, self._index.at(connection, seqs), strict=True):
            leases.append(Lease(message._replace(deadline_ms=until_ms), f"{token}.{seq}", until_ms))
        return leases

    def _settle(self, connection: sqlite3.Connection, lease: Lease, settlement: Settlement) -> bool:
        token, _, seq = lease.token.partition(".")
        old = self._journal.entry(connection, int(seq))
        if old is None or old.token != token or old.status != "processing":
            return False
        final = settlement.status != "accepted"
        new = old._replace(
            status=settlement.status,
            attempts=old.attempts - settlement.uncounted,
            due_ms=None if final else self._journal.now_ms() + settlement.delay_ms,
            token=None,
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
