"""Whoever still reads or writes while the engine is closed is told so, and the process lives on."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headgate.clock import ManualClock
from headgate.errors import Unavailable
from headgate.local.readers import Readers
from headgate.local.schema import open_writing
from headgate.local.writer import Writer
from headgate.testing.contract.index import message
from tests.local.store import opened

# Threads that read and write without end, and an engine that is closed under them. A process of its own, since what
# could go wrong ends it.
_CLOSED_UNDER_LOAD = """
import sys, threading
from pathlib import Path
from headgate.clock import ManualClock
from headgate.errors import Unavailable
from headgate.testing.contract.index import message
from tests.local.store import opened

def read(index, ended):
    try:
        while True:
            index.find("orders", None, None, None, 50, None)
    except Unavailable:
        ended.append("read")

def write(index, ended):
    n = 0
    while index.commit([message(f"{threading.get_ident()}-{n}")])[0].kind != "unavailable":
        n += 1
    ended.append("write")

for round in range(40):
    ended = []
    folder = Path(sys.argv[1]) / str(round)
    folder.mkdir()
    with opened(folder, ManualClock()) as store:
        store.index.commit([message(str(n)) for n in range(50)])
        threads = [threading.Thread(target=use, args=(store.index, ended)) for use in [read, write] * 4]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(120)
    assert len(ended) == len(threads), f"{len(ended)} threads were told"
"""


def test_an_engine_is_closed_while_threads_read_and_write(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _CLOSED_UNDER_LOAD, str(tmp_path)], capture_output=True, text=True, timeout=600
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_query_under_way_is_finished_before_its_connection_is_closed() -> None:
    readers = Readers(lambda: sqlite3.connect(":memory:", check_same_thread=False))
    begun, closed = threading.Event(), threading.Event()

    def query(connection: sqlite3.Connection) -> tuple[bool, int]:
        begun.set()
        was_closed = closed.wait(0.1)
        return was_closed, connection.execute("SELECT 7").fetchone()[0]

    def close() -> None:
        readers.close()
        closed.set()

    with ThreadPoolExecutor(2) as pool:
        found = pool.submit(readers.read_with, query)
        begun.wait()
        pool.submit(close).result()

    assert found.result() == (False, 7)


def test_after_close_nothing_is_read_or_written_and_nobody_waits(tmp_path: Path) -> None:
    with opened(tmp_path, ManualClock()) as store:
        store.index.commit([message("1")])
        index = store.index

    with pytest.raises(Unavailable), ThreadPoolExecutor(1) as pool:
        pool.submit(index.get, "orders", "", "1").result()
    with pytest.raises(Unavailable):
        index.get("orders", "", "1")
    assert index.commit([message("2")])[0].kind == "unavailable"


def test_a_mistake_behind_a_commit_leaves_nobody_waiting(tmp_path: Path) -> None:
    def fails(_: bool) -> None:
        raise KeyError

    broken = threading.Event()
    writer = Writer(open_writing(tmp_path / "store"), tmp_path, after_commit=fails, on_broken=broken.set)
    for _ in range(2):
        with pytest.raises(Unavailable):
            writer.change(lambda _: None)
    assert broken.is_set()
    writer.close()
