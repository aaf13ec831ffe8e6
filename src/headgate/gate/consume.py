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
from random import Random
from typing import NamedTuple

from headgate.declare.delivery import Stream
from headgate.engine import Record
from headgate.gate.handle import Report

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
