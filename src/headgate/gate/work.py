"""What becomes of a message behind the gate: one attempt, from its lease to what is written down about it.

lease ──▶ attempts used up? ───────────────────────────────────────▶ failed
      ──▶ Handle ──▶ done ─────────────────────────────────────────▶ processed
                 ──▶ it cannot ever work (Permanent, Failed, unfit) ▶ failed
                 ──▶ anything else ──▶ attempts left? ── yes ──────▶ accepted, due after the backoff
                                                     └── no ───────▶ failed
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

from headgate import limits
from headgate.clock import Clock
from headgate.declare.channel import Channel
from headgate.declare.delivery import Queued
from headgate.engine import Lease, Settlement
from headgate.events import Worked
from headgate.gate.handle import Report
from headgate.gate.observe import Observer
from headgate.message import Message, Moment

_DAY_MS = 86_400_000
_SLACK_S = 30.0
LOST = "Nobody knows how this attempt ended: its process was stopped, or died."


class Handle(NamedTuple):
    """Let the handler try. Answer: a Report."""

    lease: Lease


class Settle(NamedTuple):
    """Answer: whether it was written down; see `Queue.settle`."""

    lease: Lease
    settlement: Settlement


Steps = Generator[Handle | Settle, Any, None]


@dataclass(frozen=True)
class Work:
    """What every attempt of one channel needs."""

    channel: Channel
    delivery: Queued
    clock: Clock
    observer: Observer
    dice: Random = field(default_factory=Random)

    @property
    def lease_ms(self) -> int:
        """How long a lease is good: a message may have to wait for the one before it to be killed."""
        return round(1000 * (2 * self.channel.needs.timeout_s + _SLACK_S))

    def attempt(self, lease: Lease) -> Steps:
        """One attempt. What is done goes to the row first; a verdict that comes too late changes nothing."""
        where = ""
        if lease.message.attempts > self.delivery.attempts:
            settlement = self._used_up(lease.message)
        elif self.channel.handler is None:
            settlement = self._settled(lease.message, "processed", Report("done"))
        else:
            report: Report = yield Handle(lease)
            settlement, where = self._judged(lease.message, report), report.where
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
                moments = (*self._lost(message), self._moment(message, "retried", report))
                return Settlement("accepted", moments, delay_ms=round(1000 * wait_s))
            case _:
                return self._settled(message, "failed", report)

    def _settled(self, message: Message, status: str, report: Report) -> Settlement:
        moments = (*self._lost(message), self._moment(message, status, report))
        if status == "processed":
            return Settlement(status, moments, keep_ms=self._keep_ms)
        return Settlement(status, moments, error=report.detail, keep_ms=self.keep_dead_ms)

    def _used_up(self, message: Message) -> Settlement:
        """The last attempt was lost: what was leased now is none."""
        counted = message._replace(attempts=message.attempts - 1)
        lost = self._lost(message)
        detail = f"All {counted.attempts} attempts are used up. {LOST}"
        failed = Moment(self.clock.now_ms(), "failed", counted.attempts, detail=detail, kind="Lost")
        return Settlement("failed", (*lost, failed), error=detail, keep_ms=self.keep_dead_ms, uncounted=True)

    @property
    def _keep_ms(self) -> int | None:
        keep = self.channel.keep
        return None if keep is None else keep // timedelta(milliseconds=1)

    @property
    def keep_dead_ms(self) -> int | None:
        """How long a dead letter, or a discarded one, stays; None for ever."""
        return None if self._keep_ms is None else max(self._keep_ms, limits.DEAD_KEEP.value * _DAY_MS)

    def _moment(self, message: Message, what: str, report: Report) -> Moment:
        return Moment(
            self.clock.now_ms(), what, message.attempts, report.took_ms,
            report.detail, report.kind, report.pointer, report.told,
        )  # fmt: skip

    def _lost(self, message: Message) -> tuple[Moment, ...]:
        """Moments for the attempts before this one of which no end was written down."""
        told = 0
        for moment in message.timeline:
            told = 0 if moment.what == "redriven" else moment.attempt or told
        now_ms = self.clock.now_ms()
        return tuple(Moment(now_ms, "lost", n, detail=LOST, kind="Lost") for n in range(told + 1, message.attempts))


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
