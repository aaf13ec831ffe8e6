"""A redrive that is cut off by SIGKILL, of the command or of the server, is run again: nothing is lost or forked."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.crash.outside import rows, statuses, until
from tests.crash.test_handled import kill_all
from tests.serving import Served, free_port, headgate, start

APP = Path(__file__).with_name("redriven.py")
LETTERS = 600
# So often the command or the server is killed; HEADGATE_KILLS=50 is the long form.
KILLS = min(10, int(os.environ.get("HEADGATE_KILLS", "3")))


def until_all_are(status: str, state: Path) -> None:
    until(lambda: statuses(state)[status] == LETTERS, lambda: statuses(state))


def redrive(state: Path) -> subprocess.Popen[bytes]:
    command = headgate(
        "dead", "redrive", "--app", APP, "--state", state, "jobs", "--all", "--rate", str(LETTERS), "--yes"
    )
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_redrive_that_was_cut_off_goes_on_and_forks_nothing(tmp_path: Path, told: Callable[[str], None]) -> None:
    state, port, dice = tmp_path / "state", free_port(), random.Random(4711)
    places = {"EFFECTS": str(tmp_path / "effects"), "MENDED": str(tmp_path / "mended")}

    def serve() -> Served:
        return start(APP, state, port, env=places)

    served = serve()
    try:
        for at in range(0, LETTERS, 200):
            jobs = [{"id": n} for n in range(at, at + 200)]
            assert served.post("/jobs", jobs).status == 202
        until_all_are("failed", state)
        Path(places["MENDED"]).touch()
        for turn in range(KILLS):
            command = redrive(state)
            time.sleep(dice.uniform(0.6, 1.2))
            if turn % 2:
                kill_all(served)
                command.kill()
                command.wait()
                served = serve()
            else:
                command.kill()
                command.wait()
        left = statuses(state)["failed"]
        until(lambda: redrive(state).wait() == 0, lambda: "the command does not come to an end")
        until_all_are("processed", state)
    finally:
        kill_all(served)

    found = statuses(state)
    assert found == Counter({"processed": LETTERS})
    effects = Counter((tmp_path / "effects").read_text().split())
    assert set(effects) == {str(n) for n in range(LETTERS)}
    for (text,) in rows(state, "SELECT timeline FROM work"):
        timeline = json.loads(text)
        assert [moment[1] for moment in timeline if moment[1] in ("failed", "redriven")] == ["failed", "redriven"]
    told(f"{LETTERS} dead letters, {KILLS} kills, {left} left for the last run, {effects.total()} effects")
