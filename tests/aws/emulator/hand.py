"""Time that tests move by hand, in an emulator that is started so. Workflows wait for it; by itself it stands still.

Files, since the tests are another process: one tells the time, one of each who waits for it until when.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

_LOOK_AGAIN_S = 0.01


class Hand:
    """The time, in seconds since the emulator was started."""

    def __init__(self, folder: Path) -> None:
        self._now, self._waiting = folder / "now", folder / "waiting"

    def set_up(self) -> None:
        self._waiting.mkdir(parents=True)
        self._now.write_text("0")

    def now_s(self) -> float:
        return float(self._now.read_text())

    def move(self, seconds: float) -> None:
        """Let time pass."""
        then = self._now.with_name(uuid4().hex)
        then.write_text(str(self.now_s() + seconds))
        then.replace(self._now)

    def wait(self, who: str, due_s: float, then: Callable[[], object] = int) -> None:
        """Wait for a time, and do something when it has come."""
        mark = self._waiting / f"{due_s} {_digest(who)} {uuid4().hex}"
        mark.touch()
        while self.now_s() < due_s:
            time.sleep(_LOOK_AGAIN_S)
        then()
        mark.unlink()

    def is_at_rest(self, who: str) -> bool:
        """Whether they wait for a time that has not come yet, and for none that has."""
        marks = [mark.name.split(" ") for mark in self._waiting.iterdir()]
        dues = [float(due) for due, whose, _ in marks if whose == _digest(who)]
        return bool(dues) and min(dues) > self.now_s()


def _digest(who: str) -> str:
    return hashlib.sha256(who.encode()).hexdigest()[:32]


class Followed:
    """In the emulator: of each thread, which execution it is at, and when that was last told of anything."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self._at = threading.local()

    def tell(self, execution: str) -> None:
        self._at.told = execution, self.hand.now_s()

    def sleep(self, seconds: float) -> None:
        """Wait, from the last event of the execution on."""
        execution, from_s = self._at.told
        self.hand.wait(execution, from_s + seconds)


def followed() -> Followed | None:
    """None where time passes by itself."""
    folder = os.environ.get("EMULATOR_TIME")
    return Followed(Hand(Path(folder))) if folder else None
