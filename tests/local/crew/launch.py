"""Serves with time limits of handlers that run out when a test says so: the file CREW_CLOCK sets their clock forward.

usage: launch.py ARGUMENTS-OF-HEADGATE
"""

from __future__ import annotations

import os
from pathlib import Path

from headgate.cli import main
from headgate.clock import SystemClock
from headgate.local import crew

_LOOK_EVERY_S = 0.05


class Forward(SystemClock):
    """So many seconds ahead of the system's clock as the file says."""

    def elapsed_s(self) -> float:
        file = Path(os.environ["CREW_CLOCK"])
        return super().elapsed_s() + (float(file.read_text()) if file.exists() else 0.0)


def look_often() -> None:
    """A crew that waits for a time limit sees that the clock was set forward."""
    wait = crew.Crew._wait

    def wait_shortly(self: crew.Crew[object], patience_s: float | None) -> None:
        wait(self, _LOOK_EVERY_S if patience_s is None else min(patience_s, _LOOK_EVERY_S))

    crew.Crew._wait = wait_shortly  # type: ignore[method-assign, assignment]


def tell_of_the_end() -> None:
    """A crew that begins nothing more says so."""
    stop = crew.Crew.stop

    def stop_and_tell(self: crew.Crew[object], patience_s: float) -> None:
        stop(self, patience_s)
        print(f"{self._name} begins nothing more", flush=True)

    crew.Crew.stop = stop_and_tell  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    crew.SystemClock = Forward  # type: ignore[attr-defined]
    look_often()
    tell_of_the_end()
    main()
