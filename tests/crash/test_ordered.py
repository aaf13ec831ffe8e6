"""Order per key, with handlers that fail and SIGKILLs of the whole process tree: of each line, what is handled is
handled in its order, all but the poison, which is dead."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash.outside import PATIENCE_S, statuses, until_yes
from tests.crash.test_handled import kill_all
from tests.serving import free_port, start

APP = Path(__file__).with_name("ordered.py")
LINES = 100
# CI takes so many; HEADGATE_MESSAGES=100000 HEADGATE_KILLS=20 is the long form.
MESSAGES = int(os.environ.get("HEADGATE_MESSAGES", "6000"))
KILLS = min(20, int(os.environ.get("HEADGATE_KILLS", "3")))
AT_ONCE = 500


def send_all(port: int, is_over: threading.Event) -> None:
    """Every line's numbers in their order; what was not answered with yes is sent again."""
    for at in range(0, MESSAGES, AT_ONCE):
        steps = [
            {"id": str(n), "line": f"L{n % LINES}", "number": n // LINES + 1}
            for n in range(at, min(MESSAGES, at + AT_ONCE))
        ]
        until_yes(port, "/steps", json.dumps(steps).encode(), is_over)


def settled(state: Path) -> int:
    found = statuses(state)
    return found["processed"] + found["failed"]


def test_every_line_is_handled_in_its_order(tmp_path: Path, told: Callable[[str], None]) -> None:
    state, effects, port = tmp_path / "state", tmp_path / "effects", free_port()
    dice, is_over = random.Random(4711), threading.Event()
    served = start(APP, state, port, env={"EFFECTS": str(effects)})
    sender = threading.Thread(target=send_all, args=(port, is_over))
    began = time.monotonic()
    kills = 0
    sender.start()
    try:
        while (done := settled(state)) < MESSAGES:
            assert time.monotonic() - began < PATIENCE_S, f"{done} of {MESSAGES} after {kills} kills"
            if kills < KILLS and done >= (kills + dice.random()) * MESSAGES / (KILLS + 1):
                kill_all(served)
                kills += 1
                served = start(APP, state, port, env={"EFFECTS": str(effects)})
            time.sleep(0.05)
    finally:
        is_over.set()
        sender.join()
        kill_all(served)

    took_s = time.monotonic() - began
    handled: dict[str, list[int]] = {f"L{n}": [] for n in range(LINES)}
    for line in effects.read_text().splitlines():
        name, number = line.split()
        handled[name].append(int(number))
    for numbers in handled.values():
        # Handled again after a kill, perhaps, but never before one that came earlier.
        assert numbers == sorted(numbers)
        assert set(numbers) == {number for number in range(1, MESSAGES // LINES + 1) if number % 50}
    assert statuses(state)["failed"] == MESSAGES // LINES // 50 * LINES
    told(
        f"{MESSAGES:,} messages of {LINES} keys in their order, {kills} kills, {statuses(state)['failed']:,} dead, "
        f"{sum(map(len, handled.values())):,} effects, in {took_s:.0f} s"
    )
