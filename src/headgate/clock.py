"""Time, as a value that is handed in to whatever decides by it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_ms(self) -> int:
        """Wall time: milliseconds since 1970-01-01 UTC. It may jump, forwards and back."""
        ...

    def elapsed_s(self) -> float:
        """Seconds since some fixed moment; never goes back. For waiting and for rates."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def elapsed_s(self) -> float:
        return time.monotonic()


class SteadyTime:
    """Milliseconds that start at `from_ms` and then go on evenly, however the wall clock jumps: what is to happen in a
    minute happens in a minute."""

    def __init__(self, clock: Clock, from_ms: int) -> None:
        self._clock = clock
        self._from_ms = from_ms - round(clock.elapsed_s() * 1000)

    def now_ms(self) -> int:
        """The time now."""
        return self._from_ms + round(self._clock.elapsed_s() * 1000)


class CautiousTime:
    """The earlier of the wall clock and of a time that does not jump, so that nothing is taken for old because the wall
    clock was set forward, or for older than it is because it was set back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steady = SteadyTime(clock, clock.now_ms())

    def now_ms(self) -> int:
        """The time by which something is old."""
        return min(self._clock.now_ms(), self._steady.now_ms())


class ManualClock:
    """A clock that stands still until `advance` moves it. Safe to read from several threads."""

    def __init__(self, start_ms: int = 1_767_225_600_000) -> None:
        self._wall_ms = start_ms
        self._elapsed_s = 0.0
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        return self._wall_ms

    def elapsed_s(self) -> float:
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, on both scales."""
        with self._lock:
            self._wall_ms += round(seconds * 1000)
            self._elapsed_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward (or, below zero, back) while no time passes."""
        with self._lock:
            self._wall_ms += round(seconds * 1000)


def isoformat(ms: int) -> str:
    """`1767225600000` → `2026-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
