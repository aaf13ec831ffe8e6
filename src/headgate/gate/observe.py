"""Telemetry: every event is counted, and every refusal is one log line. Bodies and tokens are in neither."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from headgate.events import Accepted, Event, Faulted, Refused, Worked

log = logging.getLogger("headgate.gate")


class Counts(NamedTuple):
    """What an observer counted at the gate: its keys, and how often."""

    accepted: Sequence[tuple[tuple[str, str], int]] = ()
    refused: Sequence[tuple[tuple[str, str, int], int]] = ()
    faulted: Sequence[tuple[tuple[str, str, int], int]] = ()


class Observer:
    """Counts since it was made; safe to read at any time."""

    def __init__(self) -> None:
        self.accepted: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[tuple[str, str, int]] = Counter()
        self.faulted: Counter[tuple[str, str, int]] = Counter()
        self.worked: Counter[tuple[str, str]] = Counter()

    def told(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Accepted():  # each message is told of: patterns that name attributes take three times as long
                channel, stored, replayed = event
                self.accepted[channel, "stored"] += stored
                if replayed:
                    self.accepted[channel, "replayed"] += replayed
            case Refused(channel, reason, status, request_id, times, client):
                self.refused[channel, reason, status] += times
                log.warning(
                    "refused channel=%s reason=%s status=%d count=%d request_id=%s client=%s",
                    channel or "-", reason, status, times, request_id, client or "-",
                )  # fmt: skip
            case Faulted(channel, reason, status, request_id, where):
                self.faulted[channel, reason, status] += 1
                log.error(
                    "failed channel=%s reason=%s status=%d request_id=%s where=%s",
                    channel or "-", reason, status, request_id, where,
                )  # fmt: skip

            case Worked(channel, what, request_id, attempt, kind, where, late):
                self.worked[channel, "late" if late else what] += 1
                if late or what != "processed":
                    log.warning(
                        "%s channel=%s attempt=%d kind=%s request_id=%s where=%s",
                        f"late: {what}" if late else what, channel, attempt, kind or "-", request_id, where or "-",
                    )  # fmt: skip

    def taken(self) -> Counts | None:
        """What was counted at the gate, which is forgotten here; None where that is nothing."""
        if not (self.accepted or self.refused or self.faulted):
            return None
        counts = Counts([*self.accepted.items()], [*self.refused.items()], [*self.faulted.items()])
        for counter in (self.accepted, self.refused, self.faulted):
            counter.clear()
        return counts

    def add(self, counts: Counts) -> None:
        """Count what another observer has counted, and logged."""
        self.accepted.update(dict(counts.accepted))
        self.refused.update(dict(counts.refused))
        self.faulted.update(dict(counts.faulted))

    def shaping_failed(self, channel: str, option: str, request_id: str, error: Exception) -> None:
        """A user's `accepted=` or `problem=` raised; the plain reply was sent instead."""
        log.error(
            "the channel's %s raised channel=%s request_id=%s where=%s",
            option,
            channel,
            request_id,
            site(error),
        )


@contextmanager
def contained() -> Iterator[None]:
    """Around a call of a user's function: what would end more than this one request (sys.exit(), a StopIteration or
    a cancellation that slips out) becomes a RuntimeError, raised at the same place."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise
        raise RuntimeError(type(error).__name__).with_traceback(error.__traceback__) from None


def site(error: BaseException) -> str:
    """Where and what, never with which value: `orders.py:12 fulfil KeyError`. Messages of exceptions quote bodies."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} {last.name} {type(error).__name__}"
