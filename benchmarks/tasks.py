"""Task queues that are measured beside headgate's: each is given a backlog, and then its workers are started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from servers import BIN, HERE, _listens, _process, free_port, tool

WORKERS = 4
_PATIENCE_S = 120.0
_SEND = """
import importlib, sys
send = importlib.import_module(sys.argv[1]).send
for n in range(int(sys.argv[2])):
    send({"record_id": f"m-{n}", "parameter_1": "x" * 40, "parameter_2": 2.5})
"""


class Peer(NamedTuple):
    """A task queue. `promise` says what of a task survives; `store` gives where it keeps its tasks."""

    name: str
    promise: str
    count: int
    module: str
    command: tuple[str, ...]
    store: Callable[[Path], AbstractContextManager[str]]


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    yield str(folder / "tasks.db")


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis of its own on loopback, which syncs every command that writes before it answers."""
    port = free_port()
    words = [tool("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", port, "--dir", folder]
    words += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    with _process(words, folder, lambda: _listens(port)):
        yield f"redis://127.0.0.1:{port}/0"


_SYNCED = "a task is synced when it is sent"
PEERS = (
    Peer(
        "huey on SQLite",
        f"{_SYNCED} (fsync=True); one that a killed worker was at is lost",
        10_000,
        "peers.tasks_huey",
        ("huey_consumer", "peers.tasks_huey.queue", "-k", "process", "-w", str(WORKERS), "-q", "-d", "0.01"),
        sqlite,
    ),
    Peer(
        "dramatiq on Redis",
        f"{_SYNCED} (appendfsync always); one that a killed worker was at is tried again",
        10_000,
        "peers.tasks_dramatiq",
        ("dramatiq", "peers.tasks_dramatiq", "--processes", str(WORKERS), "--threads", "1"),
        redis,
    ),
    Peer(
        "rq on Redis",
        f"{_SYNCED} (appendfsync always); one that a killed worker was at is marked as failed",
        500,
        "peers.tasks_rq",
        ("rq", "worker-pool", "-q", "-n", str(WORKERS)),
        redis,
    ),
)


class Rates(NamedTuple):
    """Messages a second: sent, by one sender; and handled, when the workers are up."""

    sent: float
    handled: float


def measure(peer: Peer, folder: Path) -> Rates:
    """The rates of a peer; it has to handle every task."""
    folder.mkdir()
    handled = folder / "handled"
    with peer.store(folder) as store:
        environment = {**os.environ, "TASKS_STORE": store, "HANDLED": str(handled), "PYTHONPATH": str(HERE)}
        began_s = time.monotonic()
        words = [sys.executable, "-c", _SEND, peer.module, str(peer.count)]
        subprocess.run(words, check=True, cwd=HERE, env=environment)
        sent = peer.count / (time.monotonic() - began_s)
        if peer.name.startswith("rq"):
            environment |= {"RQ_REDIS_URL": store}
        with _workers(peer, folder, environment):
            until_s = time.monotonic() + _PATIENCE_S
            while (done := handled.read_bytes().count(b"\n") if handled.exists() else 0) < peer.count:
                if time.monotonic() > until_s:
                    raise RuntimeError(f"{peer.name} handled {done} of {peer.count}")
                time.sleep(0.05)
    return Rates(sent, rate_of([int(line.split()[1]) for line in handled.read_text().splitlines()]))


def rate_of(times_ms: list[int]) -> float:
    """Handled a second, without the first tenth, in which workers start."""
    steady = sorted(times_ms)[len(times_ms) // 10 :]
    return 1000 * len(steady) / max(1, steady[-1] - steady[0])


@contextmanager
def _workers(peer: Peer, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / "workers.log").open("wb") as log:
        words = [str(BIN / peer.command[0]), *peer.command[1:]]
        process = subprocess.Popen(words, cwd=HERE, env=dict(environment), stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
