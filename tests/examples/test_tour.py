"""`make run`, as a newcomer meets it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from tests.cases import ROOT
from tests.docs.blocks import alike, blocks
from tests.serving import PATIENCE_S, ask

MOST_LINES = 9  # of twelve: the first `make run` says three lines of its own
_LAST = "Ctrl-C ends it."
_ALARM = re.compile(r" headgate\.(alarms|notices) ")


class Tour:
    """A tour that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: Queue[str | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def lines(self) -> list[str]:
        """What it printed, stdout and stderr, until it has shown everything, or ended."""
        found: list[str] = []
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            found.append(line)
            if line.endswith(_LAST):
                break
        return found

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, list[str]]:
        """Its exit code, and what it said since; of alarms it may tell after a while."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        return code, [line for line in self.lines() if _ALARM.search(line) is None]


@contextmanager
def tour(root: Path) -> Iterator[Tour]:
    process = subprocess.Popen(
        [sys.executable, root / "examples" / "tour.py"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Tour(process)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(autouse=True)
def _one_at_a_time() -> Iterator[None]:
    """They all want port 8000 of this machine, or the next free one."""
    with (Path(tempfile.gettempdir()) / f"headgate-tour-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the example and nothing stored."""
    for name in ("tour.py", "company_messages"):
        source = ROOT / "examples" / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / "examples" / name, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        else:
            (tmp_path / "examples").mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / "examples" / name)
    return tmp_path


def urls_in(text: str) -> list[tuple[int, str]]:
    """The port and the path of every URL in a text."""
    return [(int(port), path) for port, path in re.findall(r"http://127\.0\.0\.1:(\d+)(/\S*)", text)]


def test_the_tour_shows_five_posts_in_few_lines_and_keeps_serving_until_ctrl_c(root: Path) -> None:
    with tour(root) as shown:
        lines = shown.lines()

        assert len(lines) <= MOST_LINES
        became = [line[30:].strip().split(":")[0] for line in lines[1:6]]
        assert became == ["processed", "processed already", "rejected", "rejected", "failed"]
        (port, back), (_, docs), (_, metrics) = urls_in("\n".join(lines[1:]))
        assert ask(port, "GET", back).json()["body"]["data"]["order_amount"] == 99.5
        assert len(ask(port, "GET", "/messages?company_id=C-7").json()["items"]) == 2
        assert ask(port, "GET", docs).headers["content-type"].startswith("text/html")
        assert b"headgate_messages_total" in ask(port, "GET", metrics).body
        assert shown.process.poll() is None
        assert shown.stop() == (0, [])
    with pytest.raises(OSError, match="refused"):
        ask(port, "GET", docs)


def test_a_second_tour_in_the_same_folder_shows_the_same(root: Path) -> None:
    told = []
    for _ in range(2):
        with tour(root) as shown:
            told.append([re.sub(r"http://\S+|key \w+", "", line) for line in shown.lines()])
            assert shown.stop(signal.SIGTERM)[0] == 0

    assert told[0] == told[1]


def test_where_the_port_is_taken_the_tour_takes_the_next_one(root: Path) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        except OSError:
            pass  # somebody else holds it: as good
        with tour(root) as shown:
            assert min(port for port, _ in urls_in("\n".join(shown.lines()))) > 8000


def test_a_tour_beside_another_one_says_who_has_the_folder(root: Path) -> None:
    with tour(root) as first:
        first.lines()
        with tour(root) as second:
            said = second.lines()
            assert [line for line in said if "is in use by process" in line] == said
            assert second.process.wait(PATIENCE_S) == 2


def test_the_readme_shows_what_make_run_prints(root: Path) -> None:
    (shown_there,) = (block for block in blocks(ROOT / "README.md") if block.text.startswith("$ make run\n"))
    with tour(root) as shown:
        printed = "\n".join(shown.lines())
        port, _ = urls_in(printed)[0]

    assert alike(shown_there.text.removeprefix("$ make run\n").replace("8000", str(port)), printed)
