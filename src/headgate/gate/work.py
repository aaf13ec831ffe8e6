"""What becomes of a message behind the gate: one attempt, from its lease to what is written down about it.

    lease ──▶ attempts used up? ──────────────────────────────────────────▶ failed
          ──▶ Handle ──▶ done ────────────────────────────────────────────▶ processed
                     ──▶ it cannot ever work (Permanent, Failed, unfit) ──▶ failed
                     ──▶ anything else ──▶ attempts left? ── yes ─────────▶ accepted, due after the backoff
                                                         └── no ──────────▶ failed

What was let in unread is looked at first:

    lease ──▶ judge ──▶ good ──▶ Promote ──▶ new, or the same as before ──▶ accepted, under its own key
                                         └── another body has the key ────▶ rejected
                    └── bad ──────────────────────────────────────────────▶ rejected
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, NamedTuple

from headgate import limits
from headgate.clock import Clock
from headgate.declare.channel import Channel
from headgate.declare.delivery import Queued, Stream
from headgate.engine import ArchiveObject, Lease, Settlement
from headgate.errors import Conflict, FieldFault, Refusal
from headgate.events import Accepted, Worked
from headgate.gate.finish import archived, object_of
from headgate.gate.handle import BROKE, DONE, Report
from headgate.gate.judge import Envelope, judge
from headgate.gate.observe import Observer, site
from headgate.gate.plan import Plan
from headgate.http import Request
from headgate.message import Message, Moment, load

_SLACK_S = 30.0
_OUTAGE_S, _OUTAGE_MOST_S, _OUTAGE_LAST_S = 1.0, 60.0, 3600.0
_PUT_OFF = {"Archive": "The archive could not be written.", "Store": BROKE}
LOST = "Nobody knows how this attempt ended: its process was stopped, or died."


class Handle(NamedTuple):
    """Let the handler try. Answer: a Report."""

    lease: Lease


class Promote(NamedTuple):
    """What was let in unread is `message`: store it under its key, in the place of the row that it came in as. Answer:
    the kind of an Outcome, or `late`."""

    lease: Lease
    message: Message


class Archived(NamedTuple):
    """Keep the message's object in its channel's archive. Answer: its name, empty where it could not be kept."""

    object: ArchiveObject


class Settle(NamedTuple):
    """Answer: whether it was written down; see `Queue.settle`."""

    lease: Lease
    settlement: Settlement


Effect = Handle | Promote | Archived | Settle
Steps = Generator[Effect, Any, None]


def take(steps: Steps, carry_out: Callable[[Effect], Any]) -> None:
    """Take steps to their end; `carry_out` gives the answer to each effect. Raises what either of them raises."""
    answer: Any = None
    with suppress(StopIteration):
        while True:
            answer = carry_out(steps.send(answer))


@dataclass(frozen=True)
class Work:
    """What every attempt of one channel needs."""

    plan: Plan
    delivery: Queued | Stream
    clock: Clock
    observer: Observer
    dice: Random = field(default_factory=Random)

    @property
    def channel(self) -> Channel:
        """Whose messages they are."""
        return self.plan.channel

    @property
    def lease_ms(self) -> int:
        """How long a lease is good: a message may have to wait for the one before it to be killed."""
        return round(1000 * (2 * self.channel.needs.timeout_s + _SLACK_S))

    def attempt(self, lease: Lease) -> Steps:
        """One attempt. What is done goes to the row first; a verdict that comes too late changes nothing."""
        if lease.message.attempts > self.delivery.attempts:
            yield from self._end(lease, self._used_up(lease.message))
            return
        report = DONE
        kept: tuple[Moment, ...] = ()
        if self.channel.archive is not None:
            name = yield Archived(object_of(self.channel, lease.message))
            if not name:
                yield from self._put_off(lease, "Archive")
                return
            if not any(moment.what == "archived" and moment.detail == name for moment in lease.message.timeline):
                kept = (archived(name, self.clock),)
        if self.channel.handler is not None:
            report = yield Handle(lease)
        settlement = self._judged(lease.message, report)
        yield from self._end(lease, settlement._replace(moments=(*kept, *settlement.moments)), report.where)

    def look(self, lease: Lease) -> Steps:
        """The first look at a message that was let in unread. It changes no row but its own, unless it is good and
        nobody has its key: then it becomes a message like all others, and waits for its first attempt."""
        try:
            message = self._read(lease.message)
            outcome = yield Promote(lease, message._replace(timeline=self._origin(lease.message)))
        except Refusal as error:
            yield from self._end(lease, self._rejected(lease.message, error))
            return
        except Exception as error:  # noqa: BLE001 - a validator of the user's
            report = Report("retry", detail=BROKE, kind=type(error).__name__, where=site(error))
            yield from self._end(lease, self._judged(lease.message, report), report.where)
            return
        match outcome:
            case "replayed":
                self.observer.told(Accepted(self.channel.name, 0, 1))
            case "conflict":
                taken = Conflict(f"Another message holds the key {message.key}; it stands unchanged.")
                yield from self._end(lease, self._rejected(lease.message, taken))
            case "unavailable":
                yield from self._put_off(lease, "Store")

    def _put_off(self, lease: Lease, kind: str) -> Steps:
        """An outage of ours uses up no attempt: the same one is made when it is over. What has waited for long can wait
        a little longer; but what could not be kept for an hour may be no matter of an outage at all."""
        message = lease.message
        redriven = (moment.at_ms for moment in message.timeline if moment.what == "redriven")
        waited_s = (self.clock.now_ms() - max([message.received_ms, *redriven])) / 1000
        if waited_s > _OUTAGE_LAST_S:
            yield from self._end(lease, self._judged(message, Report("retry", detail=_PUT_OFF[kind], kind=kind)))
            return
        backoff_s = self.delivery.backoff.delay_s(message.attempts, self.dice)
        wait_s = max(backoff_s, min(max(waited_s / 10, _OUTAGE_S), _OUTAGE_MOST_S))
        yield Settle(lease, Settlement("accepted", delay_ms=round(1000 * wait_s), uncounted=True))
        self.observer.told(Worked(self.channel.name, "put_off", message.request_id, message.attempts, kind))

    def _read(self, arrived: Message) -> Message:
        """Raises what senders of other channels are refused with."""
        request = Request("POST", self.channel.path, "", {}, arrived.request_id, arrived.received_ms)
        plan = replace(self.plan, new_id=lambda: arrived.key)
        return judge(plan, Envelope.of(plan, request, arrived.principal), load(arrived.body))

    def _origin(self, arrived: Message) -> tuple[Moment, ...]:
        """What the new row says of the one that was redriven, which stays, and has the history."""
        if not arrived.timeline:
            return ()
        detail = f"It was let in under the id {arrived.key}, where what happened before is told."
        return (Moment(self.clock.now_ms(), "redriven", detail=detail),)

    def _rejected(self, message: Message, error: Refusal) -> Settlement:
        first = error.faults[0] if error.faults else FieldFault("", "", error.reason)
        at = f"{first.pointer}: " if first.pointer else ""
        detail = f"{error.detail} {at}{first.detail}".strip() if first.detail not in error.detail else error.detail
        return self._settled(message, "rejected", Report("failed", 0, detail, first.type, first.pointer).tidied())

    def _end(self, lease: Lease, settlement: Settlement, where: str = "") -> Steps:
        written: bool = yield Settle(lease, settlement)
        end, request_id = settlement.moments[-1], lease.message.request_id
        self.observer.told(
            Worked(self.channel.name, end.what, request_id, end.attempt, end.kind, where, late=not written)
        )

    def _judged(self, message: Message, report: Report) -> Settlement:
        match report.ending:
            case "done":
                return self._settled(message, "processed", report)
            case "retry" if message.attempts < self.delivery.attempts:
                wait_s = report.delay_s
                if wait_s is None:
                    wait_s = self.delivery.backoff.delay_s(message.attempts, self.dice)
                wait_s = min(max(wait_s, 0), limits.RETRY_DELAY.value)
                moments = (*self._lost(message, report), self._moment(message, "retried", report))
                return Settlement("accepted", moments, delay_ms=round(1000 * wait_s))
            case _:
                return self._settled(message, "failed", report)

    def _settled(self, message: Message, status: str, report: Report) -> Settlement:
        moments = (*self._lost(message, report), self._moment(message, status, report))
        if status == "processed":
            return Settlement(status, moments, keep_ms=self.channel.keep_ms)
        return Settlement(status, moments, error=report.detail, keep_ms=self.channel.keep_dead_ms)

    def _used_up(self, message: Message) -> Settlement:
        """The last attempt was lost: what was leased now is none."""
        counted = message._replace(attempts=message.attempts - 1)
        lost = self._lost(message, DONE)
        detail = f"All {counted.attempts} attempts are used up. {LOST}"
        failed = Moment(self.clock.now_ms(), "failed", counted.attempts, detail=detail, kind="Lost")
        return Settlement("failed", (*lost, failed), error=detail, keep_ms=self.channel.keep_dead_ms, uncounted=True)

    def _moment(self, message: Message, what: str, report: Report) -> Moment:
        return Moment(
            self.clock.now_ms(), what, message.attempts, report.took_ms,
            report.detail, report.kind, report.pointer, report.told,
        )  # fmt: skip

    def _lost(self, message: Message, report: Report) -> tuple[Moment, ...]:
        """Moments for the attempts before this one of which no end was written down: they were missed when it began."""
        told = 0
        for moment in message.timeline:
            told = 0 if moment.what == "redriven" else moment.attempt or told
        began_ms = self.clock.now_ms() - report.took_ms
        return tuple(Moment(began_ms, "lost", n, detail=LOST, kind="Lost") for n in range(told + 1, message.attempts))


class Attempt(NamedTuple):
    """A lease, and the gate's steps with it."""

    lease: Lease
    steps: Steps


def in_groups(attempts: Sequence[Attempt], most: int) -> list[list[Attempt]]:
    """What the calls of a handler are given, `most` messages at a time. A message that failed before is alone, so that
    it does not take others with it again."""
    fresh = [attempt for attempt in attempts if attempt.lease.message.attempts == 1]
    lists = [fresh[at : at + most] for at in range(0, len(fresh), most)]
    return [*lists, *([attempt] for attempt in attempts if attempt.lease.message.attempts > 1)]
