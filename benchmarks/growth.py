"""How the rate holds as one store grows: headgate's index, and the same rows under a plain unique index.

    .venv/bin/python benchmarks/growth.py [ROWS]

Both take commits of a thousand messages with random keys, through no network: WAL, synchronous=FULL, the same
cache, the same rows, and checkpoints by the same thread beside the writer. One is filled after the other, each in a
process of its own, and that twice; a window's rate is the better of the two, since noise only ever slows.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from headgate.clock import SystemClock
from headgate.local.engine import LocalEngine
from headgate.local.upkeep import Upkeep
from headgate.message import Message

ROWS = 2_000_000
GROUP = 1_000
MARKS = (10_000, 100_000, 500_000, 1_000_000, 1_500_000, 2_000_000)

Commit = Callable[[list[Message]], None]
Window = tuple[int, int]
Grown = dict[str, dict[Window, float]]


def measure(folder: Path, rows: int = ROWS, rounds: int = 2) -> Grown:
    """Messages per second of each layout, between each two marks."""
    grown: Grown = {}
    for _ in range(rounds):
        for layout in LAYOUTS:
            for window, rate in _in_a_process(layout, folder, rows).items():
                best = grown.setdefault(layout, {})
                best[window] = max(rate, best.get(window, 0.0))
                rows_then = f"{window[0]:>9,} to {window[1]:>9,} rows"
                print(f"growing store, {layout:20} {rows_then} {rate:>10,.0f} messages/s", flush=True)
    return grown


def _in_a_process(layout: str, folder: Path, rows: int) -> dict[Window, float]:
    with tempfile.TemporaryDirectory(prefix="headgate-benchmark-", dir=folder) as store:
        command = [sys.executable, __file__, str(rows), layout, store]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {(start, end): rate for start, end, rate in told}


def _fill(layout: str, folder: Path, rows: int) -> list[tuple[int, int, float]]:
    windows = []
    marks = [0, *(mark for mark in MARKS if mark <= rows)]
    with LAYOUTS[layout](folder / "store.sqlite3") as commit:
        for start, end in pairwise(marks):
            spent_s = 0.0
            for _ in range(start, end, GROUP):
                group = [_message() for _ in range(GROUP)]
                began = time.perf_counter()
                commit(group)
                spent_s += time.perf_counter() - began
            windows.append((start, end, (end - start) / spent_s))
    return windows


def _message() -> Message:
    key = os.urandom(16).hex()
    body = b'{"record_id": "%s", "parameter_1": "%s", "parameter_2": 4.25}' % (key.encode(), b"abc " * 16)
    return Message("orders", "", key, body, time.time_ns() // 1_000_000, "", key, "", "processed", None)


@contextmanager
def _headgate(store: Path) -> Iterator[Commit]:
    engine = LocalEngine(store, ["orders"], SystemClock())

    def commit(messages: list[Message]) -> None:
        assert all(outcome.kind == "stored" for outcome in engine.index.commit(messages))

    try:
        yield commit
    finally:
        engine.close()


@contextmanager
def _plain(store: Path) -> Iterator[Commit]:
    connection = sqlite3.connect(store, isolation_level=None)
    for pragma in (
        "journal_mode = wal",
        "synchronous = full",
        "cache_size = -65536",
        "wal_autocheckpoint = 0",
    ):
        connection.execute(f"pragma {pragma}")
    connection.execute(
        "create table message (seq integer primary key, channel integer, scope text, key text, body blob,"
        " received_ms integer, principal text, request_id text, traceparent text, status text,"
        " expires_ms integer, error text, unique (channel, scope, key))"
    )
    columns = "channel, scope, key, body, received_ms, principal, request_id, traceparent, status, expires_ms, error"
    insert = f"insert or ignore into message ({columns}) values " + ",".join(["(1,?,?,?,?,?,?,?,?,?,?)"] * GROUP)
    upkeep = Upkeep(store, lambda: 0)

    def commit(messages: list[Message]) -> None:
        values = [value for m in messages for value in (*m[1:10], m.error)]
        connection.execute("begin immediate")
        stored = connection.execute(insert, values).rowcount
        connection.execute("commit")
        upkeep.touched()
        assert stored == len(messages)

    try:
        yield commit
    finally:
        upkeep.close()
        connection.close()


LAYOUTS = {"headgate": _headgate, "plain unique index": _plain}


def main() -> None:
    """Measure; or, called with a layout and a folder, be the process that is measured."""
    rows, *one = sys.argv[1:] or [str(ROWS)]
    if one:
        print(json.dumps(_fill(one[0], Path(one[1]), int(rows))))
    else:
        measure(Path("/var/tmp"), int(rows))


if __name__ == "__main__":
    main()
