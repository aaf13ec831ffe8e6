"""The time by which alarms look at metrics. It passes by itself, fifty times as fast as it should, until a test takes
that of the alarms of one topic into its hand: then no stall of a process makes one miss what it was told, or forget it.

Files, since the tests are another process. What was told to CloudWatch while the time stood still is all of one moment.
"""

from __future__ import annotations

import hashlib
import json
import time
from bisect import bisect
from pathlib import Path

_SCALE = 0.02
_LOOK_AGAIN_S = 0.02


class Clock:
    """Makes alarm time of real time."""

    def __init__(self, moves: list[tuple[float, float]]) -> None:
        self._moves = moves
        self.since = repr(moves[-1][0]) if moves else "never"
        """When it was last moved."""

    def alarm_s(self, real_s: float) -> float:
        """The alarm time that it was then."""
        at = bisect(self._moves, (real_s, float("inf")))
        return self._moves[at - 1][1] if at else real_s / _SCALE


class Minutes:
    """Of the alarms that tell one topic. `folder` is there as long as the emulator is."""

    def __init__(self, folder: Path, topic: str) -> None:
        own = hashlib.sha256(topic.encode()).hexdigest()[:32]
        self._moves, self._seen = folder / f"moves-{own}", folder / f"seen-{own}"

    # --------------------------------------------------------------------------------------------------- of the tests

    def take(self) -> None:
        """From here on the time passes when it is told to."""
        now_s = time.time()
        self._write([(now_s, now_s / _SCALE)])

    def leave(self) -> None:
        """From here on it passes by itself again."""
        self._moves.unlink()

    def go_by(self, minutes: int, patience_s: float) -> None:
        """Let so many minutes pass, and wait until all alarms have looked at what there is then."""
        moves = self._read()
        moves.append((time.time(), moves[-1][1] + 60 * minutes))
        self._write(moves)
        until_s = time.monotonic() + patience_s
        while not self._seen.exists() or self._seen.read_text() != Clock(moves).since:
            assert time.monotonic() < until_s, "alarms are not looked at"
            time.sleep(_LOOK_AGAIN_S)

    # ------------------------------------------------------------------------------------------------ of the emulator

    def clock(self) -> Clock:
        return Clock(self._read())

    def saw(self, clock: Clock) -> None:
        """All alarms have looked at what there was by this clock."""
        _put(self._seen, clock.since)

    def _read(self) -> list[tuple[float, float]]:
        try:
            return [(real_s, alarm_s) for real_s, alarm_s in json.loads(self._moves.read_text())]
        except FileNotFoundError:
            return []

    def _write(self, moves: list[tuple[float, float]]) -> None:
        _put(self._moves, json.dumps(moves))


def _put(place: Path, text: str) -> None:
    """At once, for whoever reads it."""
    half = place.with_name(f"half-{place.name}")
    half.write_text(text)
    half.replace(place)
