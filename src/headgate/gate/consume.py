"""What follows when a consumer was handed records of a shard: how far it is, what is given up, and what comes next.

all handled ─────────────────────────────────▶ behind it: the checkpoint moves; twice as many come next
some handled, then one to be tried again ────▶ behind those before it; that one comes next, alone
none handled, of several ────────────────────▶ half of them come next, at once
none handled, of one ── attempts left? ─ yes ▶ the same one comes next, after the backoff
                                       ─ no ─▶ given up: it becomes a dead letter, and the checkpoint moves
one that cannot ever work ───────────────────▶ given up on the spot
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from headgate.clock import Clock
from headgate.declare.channel import Channel
from headgate.declare.delivery import Stream
from headgate.engine import Record, lengthened
from headgate.events import Worked
from headgate.gate.handle import Report
from headgate.gate.observe import Observer
from headgate.message import Message, Moment

TOO_OLD = Report("failed", detail="The record was older than `most_age=` when its turn came.", kind="TooOld")


class Turn(NamedTuple):
    """What a consumer is handed next from a shard: at most `size` records; the first one has been handed over alone
    `tries` times already."""

    size: int
    tries: int = 0


class Step(NamedTuple):
    """What follows. The first `behind` records are done with; those in `given_up` (places, with the reason) are dead
    letters and are to be kept as such before the checkpoint moves."""

    behind: int
    given_up: tuple[tuple[int, Report], ...]
    turn: Turn
    wait_s: float = 0.0


def too_old(stream: Stream, records: Sequence[Record], now_ms: int) -> int:
    """How many records, from the first one on, are older than the stream lets them become."""
    if stream.most_age is None:
        return 0
    oldest_ms = now_ms - stream.most_age.total_seconds() * 1000
    return next((at for at, record in enumerate(records) if record.message.received_ms >= oldest_ms), len(records))


def step(stream: Stream, most: int, turn: Turn, reports: Sequence[Report], dice: Random) -> Step:
    """What follows from the reports of one turn, one for each record it had. `most` is the declared batch."""
    first = next((at for at, report in enumerate(reports) if report.ending == "retry"), None)
    before = reports if first is None else reports[:first]
    given_up = tuple((at, report) for at, report in enumerate(before) if report.ending == "failed")
    if first is None:
        return Step(len(reports), given_up, Turn(min(most, 2 * turn.size)))
    if first > 0:
        return Step(first, given_up, Turn(1))
    if len(reports) > 1:
        size = 1 if _is_alone(reports) else len(reports) // 2
        return Step(0, (), Turn(size))
    tries = turn.tries + 1
    if tries < stream.attempts:
        asked_s = reports[0].delay_s
        return Step(0, (), Turn(1, tries), stream.backoff.delay_s(tries, dice) if asked_s is None else max(0, asked_s))
    return Step(1, ((0, reports[0]),), Turn(most))


def _is_alone(reports: Sequence[Report]) -> bool:
    """Whether the handler said of the first record that it has to be tried again, and not of all."""
    return any(report.ending != "retry" for report in reports)


@dataclass(frozen=True)
class Consuming:
    """What every turn of one consumer needs. `consumer` is its name."""

    channel: Channel
    consumer: str
    clock: Clock
    observer: Observer
    dice: Random = field(default_factory=Random)

    @property
    def stream(self) -> Stream:
        """Whose records they are."""
        if self.channel.stream is None:
            raise ValueError(f"channel {self.channel.name} has no stream")
        return self.channel.stream

    @property
    def most(self) -> int:
        """How many records the consumer takes at a time."""
        return self.channel.needs.batch


class Follow(NamedTuple):
    """What follows a turn: `letters` are to be kept as dead letters, then the consumer is done up to `after`. The next
    turn comes in `wait_s`. Nothing of it has happened before `Reading.go`."""

    after: str | None
    letters: tuple[Message, ...]
    wait_s: float
    turn: Turn
    seen: dict[str, tuple[Moment, ...]]
    ends: tuple[Worked, ...]


class Reading:
    """A consumer's way through one shard, from `after` on: turn by turn, `begin`, then `told`, then `go`.

    It is in memory only. Where it is lost with the process, the records behind the checkpoint are read again, and
    their attempts are counted from the start.
    """

    def __init__(self, consuming: Consuming, after: str | None) -> None:
        self.after = after
        self._consuming = consuming
        self._turn = Turn(consuming.most)
        self._seen: dict[str, tuple[Moment, ...]] = {}
        self._records: Sequence[Record] = ()
        self._old = 0

    @property
    def size(self) -> int:
        """How many records `begin` takes at most."""
        return self._turn.size

    def begin(self, records: Sequence[Record]) -> list[Message]:
        """What the handler is given of the next records. Nothing where the first ones are too old for it: then `told`
        is next, with no reports."""
        self._old = too_old(self._consuming.stream, records, self._consuming.clock.now_ms())
        self._records = records[: self._old] if self._old else records
        if self._old:
            return []
        return [record.message._replace(attempts=self._attempt(record)) for record in self._records]

    def told(self, reports: Sequence[Report]) -> Follow:
        """What follows from what the handler reported of each."""
        reports = [TOO_OLD] * self._old if self._old else reports
        consuming = self._consuming
        following = step(consuming.stream, consuming.most, self._turn, reports, consuming.dice)
        reasons = dict(following.given_up)
        letters = tuple(self._letter(self._records[at], reason) for at, reason in following.given_up)
        seen, ends = {}, []
        for at, (record, report) in enumerate(zip(self._records, reports, strict=True)):
            if at < following.behind:
                ends.append(self._worked(record, "failed" if at in reasons else "processed", report))
            elif report.ending == "retry":
                moments = (*self._seen.get(record.place.sequence, ()), self._moment(record, "retried", report))
                seen[record.place.sequence] = moments
                ends.append(self._worked(record, "retried", report))
            elif record.place.sequence in self._seen:
                seen[record.place.sequence] = self._seen[record.place.sequence]
        beyond = {sequence: moments for sequence, moments in self._seen.items() if not self._has(sequence)}
        after = self._records[following.behind - 1].place.sequence if following.behind else self.after
        return Follow(after, letters, following.wait_s, following.turn, beyond | seen, tuple(ends))

    def go(self, follow: Follow) -> None:
        """It has followed: the letters are kept."""
        self.after, self._turn, self._seen, self._records = follow.after, follow.turn, follow.seen, ()
        for end in follow.ends:
            self._consuming.observer.told(end)

    def _has(self, sequence: str) -> bool:
        return any(record.place.sequence == sequence for record in self._records)

    def _attempt(self, record: Record) -> int:
        return len(self._seen.get(record.place.sequence, ())) + 1

    def _moment(self, record: Record, what: str, report: Report) -> Moment:
        return Moment(
            self._consuming.clock.now_ms(), what, self._attempt(record), report.took_ms,
            report.detail, report.kind, report.pointer, report.told,
        )  # fmt: skip

    def _letter(self, record: Record, report: Report) -> Message:
        """The dead letter, in the scope of its consumer: nobody else is concerned."""
        timeline = (*self._seen.get(record.place.sequence, ()), self._moment(record, "failed", report))
        return record.message._replace(
            scope=self._consuming.consumer, status="failed", error=report.detail, attempts=self._attempt(record),
            timeline=lengthened(timeline, ()),
        )  # fmt: skip

    def _worked(self, record: Record, what: str, report: Report) -> Worked:
        message = record.message
        return Worked(message.channel, what, message.request_id, self._attempt(record), report.kind, report.where)
