"""What is due, and when: durations by a clock that never goes back, moments of the calendar by the wall clock."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from headgate.clock import Clock

# A moment of the calendar may come nearer by a jump of the wall clock: look at least this often.
_LOOK_EVERY_S = 1.0


class Entry(NamedTuple):
    """`branch` is None where the time is up for the execution as a whole. `due_ms` tells stale entries apart."""

    seq: int
    branch: int | None
    due_ms: int


class Timers:
    """For one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._durations: list[tuple[float, Entry]] = []
        self._moments: list[tuple[int, Entry]] = []

    def add(self, entry: Entry, *, by_wall: bool) -> None:
        if by_wall:
            heapq.heappush(self._moments, (entry.due_ms, entry))
        else:
            ahead_s = (entry.due_ms - self._clock.now_ms()) / 1000
            heapq.heappush(self._durations, (self._clock.elapsed_s() + ahead_s, entry))

    def due(self) -> list[Entry]:
        """Take out what is due."""
        found = []
        while self._durations and self._durations[0][0] <= self._clock.elapsed_s():
            found.append(heapq.heappop(self._durations)[1])
        while self._moments and self._moments[0][0] <= self._clock.now_ms():
            found.append(heapq.heappop(self._moments)[1])
        return found

    def next_s(self) -> float | None:
        """For how long nothing has to be looked at; None for as long as nothing is added."""
        ahead = []
        if self._durations:
            ahead.append(max(self._durations[0][0] - self._clock.elapsed_s(), 0.0))
        if self._moments:
            ahead.append(min(max((self._moments[0][0] - self._clock.now_ms()) / 1000, 0.0), _LOOK_EVERY_S))
        return min(ahead, default=None)
