"""What follows when a consumer was handed records of a shard: how far it is, what is given up, and what comes next.

all handled ─────────────────────────────────▶ behind it: the checkpoint moves; twice as many come next
none handled, of several ────────────────────▶ half of them come next: nobody knows whose fault it was
one to be tried again ── attempts left? ─ yes ▶ behind those before it; it comes next, alone, after the backoff
                                        ─ no ─▶ given up: it becomes a dead letter, and the checkpoint moves
one that cannot ever work ───────────────────▶ given up on the spot

An attempt at a record is one at it alone, or one that it got a verdict of its own for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from headgate.clock import CautiousTime, Clock
from headgate.declare.channel import Channel
from headgate.declare.delivery import Stream
from headgate.engine import Record, lengthened
from headgate.events import Worked
from headgate.gate.handle import Report
from headgate.gate.observe import Observer
from headgate.gate.work import LOST
from headgate.message import Message, Moment

TOO_OLD = Report("failed", detail="The record was older than `most_age=` when its turn came.", kind="TooOld")
LOST_TURN = Report("retry", detail=LOST, kind="Lost")


class Turn(NamedTuple):
    """What a consumer is handed next from a shard: at most `size` records; at the first one there have been `tries`
    attempts already."""

    size: int
    tries: int = 0


class Step(NamedTuple):
    """What follows. The first `behind` records are done with; those in `given_up` (places, with the reason) are dead
    letters and are to be kept as such before the checkpoint moves. With `again` the first one behind is to be tried
    again."""

    behind: int
    given_up: tuple[tuple[int, Report], ...]
    turn: Turn
    wait_s: float = 0.0
    again: bool = False


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
    asked_s = reports[first].delay_s
    if len(reports) > 1 and all(report.ending == "retry" for report in reports):
        return Step(0, (), Turn(len(reports) // 2), max(0, asked_s or 0), again=True)
    tries = 1 + (turn.tries if first == 0 else 0)
    if tries >= stream.attempts:
        return Step(first + 1, (*given_up, (first, reports[first])), Turn(most))
    wait_s = stream.backoff.delay_s(tries, dice) if asked_s is None else max(0, asked_s)
    return Step(first, given_up, Turn(1, tries), wait_s, again=True)


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


class Trial(NamedTuple):
    """What a consumer is at behind its checkpoint, as it is written down with it: the turn, and what happened to its
    first record, whose sequence is `first`. With `is_begun` the turn was handed over."""

    turn: Turn
    first: str
    moments: tuple[Moment, ...] = ()
    is_begun: bool = False


class Follow(NamedTuple):
    """What follows a turn: `letters` are to be kept as dead letters, then the consumer is done up to `after`. The next
    turn comes in `wait_s`; `trial` says more of it, if not all went well. Nothing of it has happened before
    `Reading.go`."""

    after: str | None
    letters: tuple[Message, ...]
    wait_s: float
    turn: Turn
    trial: Trial | None
    ends: tuple[Worked, ...]


class Reading:
    """A consumer's way through one shard, from `after` on: turn by turn, `begin`, then `told`, then `go`.

    Where `begun` is written down before a turn is handed over, and given as `trial` to the one who goes on after a
    crash, that turn counts as failed. So a record at which everything dies is found, and given up after its attempts,
    too.
    """

    def __init__(self, consuming: Consuming, after: str | None, trial: Trial | None = None) -> None:
        self.after = after
        self._consuming = consuming
        self._time = CautiousTime(consuming.clock)
        self._turn = Turn(consuming.most)
        self._first = ""
        self._moments: tuple[Moment, ...] = ()
        self._is_lost = False
        if trial is not None:
            self._turn = trial.turn._replace(size=min(trial.turn.size, consuming.most))
            self._first, self._moments, self._is_lost = trial.first, trial.moments, trial.is_begun
        self._records: Sequence[Record] = ()
        self._known: Sequence[Report] = ()

    @property
    def size(self) -> int:
        """How many records `begin` takes at most."""
        return self._turn.size

    @property
    def begun(self) -> Trial:
        """What to write down before the handler is given what `begin` answered with."""
        return Trial(self._turn._replace(size=len(self._records)), self._first, self._moments, is_begun=True)

    @property
    def rest(self) -> Trial | None:
        """What to write down while no turn is handed over."""
        return Trial(self._turn, self._first, self._moments) if self._turn.tries else None

    def begin(self, records: Sequence[Record]) -> list[Message]:
        """What the handler is given of the next records. Nothing where it is known already what becomes of the first
        ones: then `told` is next, with no reports."""
        first = records[0].place.sequence
        if self._first not in ("", first):  # what was tried last is not kept any more
            self._turn, self._moments, self._is_lost = Turn(self._turn.size), (), False
        self._first = first
        self._known = self._reports_known(records)
        self._records = records[: len(self._known)] or records
        if self._known:
            return []
        return [record.message._replace(attempts=self._attempt(at)) for at, record in enumerate(records)]

    def told(self, reports: Sequence[Report]) -> Follow:
        """What follows from what the handler reported of each."""
        reports = self._known or reports
        consuming = self._consuming
        following = step(consuming.stream, consuming.most, self._turn, reports, consuming.dice)
        reasons = dict(following.given_up)
        letters = tuple(self._letter(at, reason) for at, reason in following.given_up)
        ends = [
            self._worked(at, "failed" if at in reasons else "processed", report)
            for at, report in enumerate(reports[: following.behind])
        ]
        trial = None
        if following.again:
            first = self._records[following.behind]
            moments = self._moments if following.behind == 0 else ()
            if following.turn.tries:
                moments = (*moments, self._moment(following.behind, "retried", reports[following.behind]))
            trial = Trial(following.turn, first.place.sequence, moments)
            ends.append(self._worked(following.behind, "retried", reports[following.behind]))
        after = self._records[following.behind - 1].place.sequence if following.behind else self.after
        return Follow(after, letters, following.wait_s, following.turn, trial, tuple(ends))

    def go(self, follow: Follow) -> None:
        """It has followed: the letters are kept."""
        self.after, self._turn = follow.after, follow.turn
        self._first, self._moments = ("", ()) if follow.trial is None else (follow.trial.first, follow.trial.moments)
        self._is_lost, self._records, self._known = False, (), ()
        for end in follow.ends:
            self._consuming.observer.told(end)

    def _reports_known(self, records: Sequence[Record]) -> list[Report]:
        if old := too_old(self._consuming.stream, records, self._time.now_ms()):
            return [TOO_OLD] * old
        return [LOST_TURN] * len(records) if self._is_lost else []

    def _attempt(self, at: int, report: Report | None = None) -> int:
        tries = self._turn.tries if at == 0 else 0
        return tries if report is TOO_OLD else tries + 1

    def _moment(self, at: int, what: str, report: Report) -> Moment:
        if report is LOST_TURN and what == "retried":
            what = "lost"
        return Moment(
            self._consuming.clock.now_ms(), what, self._attempt(at, report), report.took_ms,
            report.detail, report.kind, report.pointer, report.told,
        )  # fmt: skip

    def _letter(self, at: int, report: Report) -> Message:
        """The dead letter, in the scope of its consumer: nobody else is concerned."""
        attempts = self._attempt(at, report)
        if report is LOST_TURN:
            report = report._replace(detail=f"All {attempts} attempts are used up. {LOST}")
        moments = (*(self._moments if at == 0 else ()), self._moment(at, "failed", report))
        return self._records[at].message._replace(
            scope=self._consuming.consumer, status="failed", error=report.detail, attempts=attempts,
            timeline=lengthened(moments, ()),
        )  # fmt: skip

    def _worked(self, at: int, what: str, report: Report) -> Worked:
        message = self._records[at].message
        return Worked(message.channel, what, message.request_id, self._attempt(at, report), report.kind, report.where)
