"""P1 against a power cut: the row is synced to disk before the reply is written. Seen from outside, by strace."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases import command
from tests.serving import PATIENCE_S, free_port, kill, start

APP = Path(__file__).parent.parent / "crash" / "app.py"
KEY = "power-cut-witness"
_SYNCS = ("fsync", "fdatasync")
_CALL = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<rest>.*)")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<call>\w+) resumed>")
# A reply is written in one piece, and its body names the key: only the reply to the post of KEY looks like this.
_REPLY = re.compile(rf"HTTP/1\.1 201 .*{KEY}")


@pytest.fixture
def strace() -> str:
    return command("strace")


def calls_of_one_post(strace: str, fault: str, folder: Path) -> list[str]:
    """Every write and sync of a server that takes one message, under KEY, in order."""
    state, port, trace = folder / "state", free_port(), folder / "trace"
    watch = "trace=pwrite64,pwritev,fsync,fdatasync,write,writev,sendto,sendmsg"
    served = start(
        APP,
        state,
        port,
        before=[strace, "-f", "-y", "-s", "100000", "-e", watch, "-o", str(trace)],
        command=[
            sys.executable,
            str(Path(__file__).with_name("launch.py")),
            fault,
            str(APP),
            str(state),
            str(port),
        ],
    )
    try:
        answer = served.post("/orders", {"record_id": KEY, "amount": 1})
        assert answer.status == 201
        _until(lambda: _REPLY.search(trace.read_text(errors="replace")) is not None)
    finally:
        kill(served)
    return trace.read_text(errors="replace").splitlines()


def _until(seen: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not seen() and time.monotonic() < until:
        time.sleep(0.01)


def verdict(lines: list[str]) -> str:
    """`synced` when the log holds the row, and is synced, before the reply to it is written; else what came first."""
    assert sum(_REPLY.search(line) is not None for line in lines) == 1, "there is not one reply"
    written = synced = False
    syncing: set[str] = set()
    for line in lines:
        if resumed := _RESUMED.match(line):
            if resumed["call"] in _SYNCS and resumed["pid"] in syncing:
                synced = True
            continue
        call = _CALL.match(line)
        if call is None:
            continue
        if call["call"].startswith("pwrite") and "-wal>" in call["rest"] and KEY in call["rest"]:
            written = True
        elif call["call"] in _SYNCS and "-wal>" in call["rest"] and written:
            if "<unfinished" in call["rest"]:
                syncing.add(call["pid"])
            else:
                synced = True
        elif _REPLY.search(call["rest"]):
            break
    return "synced" if synced else "replied before the row was synced"


def test_the_row_is_on_disk_before_the_reply_is_sent(strace: str, tmp_path: Path, told: Callable[[str], None]) -> None:
    lines = calls_of_one_post(strace, "none", tmp_path)
    told(f"{verdict(lines)}, in {len(lines)} traced writes and syncs")
    assert verdict(lines) == "synced"


def test_the_check_notices_a_store_that_does_not_sync(strace: str, tmp_path: Path) -> None:
    assert verdict(calls_of_one_post(strace, "normal", tmp_path)) == "replied before the row was synced"


def test_the_check_notices_a_reply_before_the_commit(strace: str, tmp_path: Path) -> None:
    assert verdict(calls_of_one_post(strace, "early", tmp_path)) == "replied before the row was synced"
