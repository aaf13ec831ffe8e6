"""Consumers of a stream against kill -9 of the whole process tree: every record that was taken is handled by each at
least once, or is a dead letter of it; none is skipped, and those of a partition come in their order."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash.consumed import ATTEMPTS
from tests.crash.outside import rows, until, until_yes
from tests.crash.test_handled import kill_all
from tests.serving import free_port, start

APP = Path(__file__).with_name("consumed.py")
LINES = 8
KILLS = int(os.environ.get("HEADGATE_KILLS", "5"))


class Sender:
    """Posts batch after batch; what was not answered with yes is sent again, so some are appended twice."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.taken = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            number = self.taken + 1
            body = json.dumps([{"id": f"{n}-{number}", "line": f"L{n}", "number": number} for n in range(LINES)])
            if until_yes(self.port, "/events", body.encode(), self._stop):
                self.taken = number
            time.sleep(0.005)


def behind(state: Path) -> int:
    """How many records wait, for all consumers together."""
    ((count,),) = rows(
        state,
        "SELECT count(*) FROM record, (SELECT 'numbers' AS name UNION SELECT 'others') AS consumer"
        " LEFT JOIN checkpoint ON checkpoint.consumer = consumer.name AND checkpoint.shard = record.shard"
        " WHERE record.sequence > coalesce(checkpoint.sequence, 0)",
    )
    return int(count)


def dead(state: Path) -> dict[tuple[str, str], list[int]]:
    """The attempts of each dead letter, as its timeline tells them."""
    found = rows(state, "SELECT scope, key, timeline FROM message JOIN work USING (seq) WHERE work.status = 'failed'")
    return {(scope, key): [moment[2] for moment in json.loads(timeline)] for scope, key, timeline in found}


def test_no_record_is_skipped_by_any_consumer(tmp_path: Path, told: Callable[[str], None]) -> None:
    state, effects, port = tmp_path / "state", tmp_path / "effects", free_port()
    dice = random.Random(4711)
    served = start(APP, state, port, env={"EFFECTS": str(effects)})
    sender = Sender(port)
    try:
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.3, 1.5))
            kill_all(served)
            served = start(APP, state, port, env={"EFFECTS": str(effects)})
        time.sleep(1)
        sender.stop()
        until(lambda: behind(state) == 0, lambda: f"{behind(state)} records wait")
    finally:
        sender.stop()
        kill_all(served)

    handled: dict[str, list[int]] = {}
    for line in effects.read_text().splitlines():
        name, told_number = line.split()
        handled.setdefault(name, []).append(int(told_number))
    letters = dead(state)
    for n in range(LINES):
        for number in range(1, sender.taken + 1):
            if number % 50:
                assert number in handled[f"L{n}"]
            else:
                assert ("numbers", f"{n}-{number}") in letters
            assert number in handled[f"other-L{n}"] or ("others", f"{n}-{number}") in letters
    for (consumer, _), attempts in letters.items():
        assert attempts == list(range(1, len(attempts) + 1)), "none twice, none left out, whatever was killed meanwhile"
        assert len(attempts) == ATTEMPTS or consumer == "numbers"
    for name, numbers in handled.items():
        # Again after a kill, perhaps, or appended twice; but no number comes the first time behind a later one.
        firsts = list(dict.fromkeys(numbers))
        if name.startswith("L"):
            assert firsts == sorted(firsts)
    told(
        f"{LINES * sender.taken} records, {KILLS} kills, {len(letters)} dead, {sum(map(len, handled.values()))} effects"
    )
