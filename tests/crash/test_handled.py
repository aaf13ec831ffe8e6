"""P1 and P6 behind the gate, against kill -9 of the whole process tree: every message that was taken is handled at
least once or is a dead letter, none is lost, and those of a line are handled in their order."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.crash.outside import rows, until, until_yes
from tests.serving import Served, free_port, kill, start

APP = Path(__file__).with_name("handled.py")
LINES = 10
# CI kills so often under load; HEADGATE_KILLS=50 is the long form.
KILLS = int(os.environ.get("HEADGATE_KILLS", "5"))


class Senders:
    """Two senders, each posting batch after batch until it is told yes, whatever happens in between."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.taken: dict[str, list[str]] = {"/jobs": [], "/lines": []}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(path,)) for path in self.taken]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, path: str) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            jobs = [{"id": f"{turn}-{line}", "line": f"L{line}", "number": turn} for line in range(LINES)]
            if until_yes(self.port, path, json.dumps(jobs).encode(), self._stop):
                self.taken[path] += [str(job["id"]) for job in jobs]
            time.sleep(0.01)


def hands_of(served: Served) -> list[int]:
    """The processes that the server has started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(served.process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def is_stopped(pid: int) -> bool:
    """Whether no thread of a process does anything more."""
    states = set()
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            states.add(file.read_text().rpartition(")")[2].split()[0])
    return states <= {"T", "Z", "X"}


def kill_all(served: Served) -> None:
    """SIGKILL to the server and to its handlers, at the same moment: it begins nothing more while they are killed."""
    if served.process.poll() is None:
        os.kill(served.process.pid, signal.SIGSTOP)
        until(lambda: is_stopped(served.process.pid), lambda: "the server does not stop")
    for pid in hands_of(served):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    kill(served)


def statuses(state: Path) -> Counter[tuple[str, str]]:
    return Counter(rows(state, "SELECT channel.name, work.status FROM work JOIN channel ON channel.id = work.channel"))


def test_nothing_taken_is_lost_or_handled_zero_times_or_out_of_line(
    tmp_path: Path, told: Callable[[str], None]
) -> None:
    state, effects, port = tmp_path / "state", tmp_path / "effects", free_port()
    dice = random.Random(4711)
    served = start(APP, state, port, env={"EFFECTS": str(effects)})
    senders = Senders(port)
    try:
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.3, 1.5))
            kill_all(served)
            served = start(APP, state, port, env={"EFFECTS": str(effects)})
        time.sleep(1)
        senders.stop()
        until(
            lambda: not any(status in ("accepted", "processing") for _, status in statuses(state)),
            lambda: statuses(state),
        )
    finally:
        senders.stop()
        kill_all(served)

    handled: dict[str, set[str]] = {"/jobs": set(), "/lines": set()}
    order: dict[str, list[int]] = {}
    for line in effects.read_text().splitlines():
        one, two = line.split()
        if one.startswith("L"):
            handled["/lines"].add(f"{two}-{one[1:]}")
            order.setdefault(one, []).append(int(two))
        else:
            handled["/jobs"].add(one)
    poison = {id_ for id_ in senders.taken["/jobs"] if int(id_.split("-")[0]) % 50 == 0}
    assert set(senders.taken["/jobs"]) - poison <= handled["/jobs"]
    assert not poison & handled["/jobs"]
    assert set(senders.taken["/lines"]) <= handled["/lines"]
    for numbers in order.values():
        # Handled again after a kill, perhaps, but never before one that came earlier.
        assert numbers == sorted(numbers)
    counts = statuses(state)
    assert counts["jobs", "failed"] >= len(poison)
    assert counts["jobs", "failed"] % LINES == 0
    total = sum(len(taken) for taken in senders.taken.values())
    told(f"{total} messages taken, {KILLS} kills, {dict(counts)}, {len(effects.read_text().splitlines())} effects")
