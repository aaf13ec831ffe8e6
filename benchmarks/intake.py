"""Durable, validated, deduplicated messages a second: headgate and its peers side by side, in one run.

    .venv/bin/python benchmarks/intake.py [--quick] [--only headgate,asyncpg] [--no-growth]

Needs the Debian packages wrk, nginx-light and postgresql. Writes benchmarks/RESULTS.md after a full run.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from statistics import median
from typing import NamedTuple

import growth
import report
from servers import HERE, SERVERS, MissingToolError, Running, Server, tool

SETTLE_S = 30
WARM_UP_S = 1


class Load(NamedTuple):
    """What is posted: `items` orders a request (0: one order, not in an array) over `connections`."""

    name: str
    path: str
    items: int
    connections: int
    quick: bool

    @property
    def messages(self) -> int:
        """How many messages a request holds."""
        return max(self.items, 1)


LOADS = (
    Load("single posts, 1 connection", "/single", 0, 1, quick=True),
    Load("single posts, 64 connections", "/single", 0, 64, quick=True),
    Load("single posts, 256 connections", "/single", 0, 256, quick=False),
    Load("batches of 100, 64 connections", "/batch", 100, 64, quick=True),
    Load("batches of 1000, 16 connections", "/batch", 1000, 16, quick=False),
)


class Measured(NamedTuple):
    """One load on one server; after several rounds, the medians. `processor_us` is used by a request."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    memory_mb: float
    processor_us: float
    rounds: tuple[float, ...] = ()


class WrongWorkError(Exception):
    """A server did not do the work that it was to be measured at."""


def main() -> None:
    """Run what the command line asks for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that every server is ended
    options = _options()
    servers = [SERVERS[name] for name in options.only.split(",")]
    loads = [load for load in LOADS if load.quick or not options.quick]
    rounds, seconds = (1, 2) if options.quick else (options.rounds, options.seconds)
    try:
        tool("wrk", "wrk")
        sync_ms = report.sync_ms(options.folder)
        results = measure(servers, loads, rounds, seconds, options.folder)
        grown = (
            growth.measure(options.folder, growth.ROWS // 10 if options.quick else growth.ROWS)
            if options.growth
            else None
        )
    except (MissingToolError, WrongWorkError) as error:
        sys.exit(str(error))
    text = report.written(servers, loads, results, grown, rounds, seconds, sync_ms)
    if not options.quick and options.growth and len(servers) >= 4:
        (HERE / "RESULTS.md").write_text(text)
    print("\n" + text)


def measure(
    servers: list[Server], loads: list[Load], rounds: int, seconds: int, folder: Path
) -> dict[tuple[str, str], Measured]:
    """Every load on every server, in turn, `rounds` times, each time from an empty store."""
    seen: dict[tuple[str, str], list[Measured]] = {}
    for load in loads:
        for _ in range(rounds):
            for server in servers:
                one = _measured(server, load, seconds, folder)
                seen.setdefault((server.name, load.name), []).append(one)
                print(
                    f"{load.name:32} {server.title:38} {one.requests_per_s * load.messages:>10,.0f} messages/s"
                    f"   p50 {one.p50_ms:8.2f} ms   p99 {one.p99_ms:8.2f} ms   {one.memory_mb:5.0f} MB"
                    f"   {one.processor_us / load.messages:6.1f} µs",
                    flush=True,
                )
    return {which: _median(ones) for which, ones in seen.items()}


def _measured(server: Server, load: Load, seconds: int, under: Path) -> Measured:
    with tempfile.TemporaryDirectory(prefix="headgate-benchmark-", dir=under) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as another user than we do
        with server.start(folder) as running:
            if running.rows is not None:
                _check_work(server, running)
            before = running.rows() if running.rows is not None else 0
            warm = _wrk(running, load, WARM_UP_S)
            used_s = running.processor_s()
            run = _wrk(running, load, seconds)
            used_s = running.processor_s() - used_s
            memory_mb = running.memory_mb()
            if running.rows is not None:
                answered = (warm["requests"] + run["requests"]) * load.messages
                _check_rows(server, load, running, before, int(answered))
    return Measured(
        run["requests"] / run["seconds"], run["p50_ms"], run["p99_ms"], memory_mb, 1e6 * used_s / run["requests"]
    )


def _wrk(running: Running, load: Load, seconds: int) -> dict[str, float]:
    threads = min(2, load.connections)
    command = [
        tool("wrk", "wrk"), "-t", threads, "-c", load.connections, "-d", seconds, "--timeout", "30s",
        "-s", HERE / "load/orders.lua", f"http://127.0.0.1:{running.port}", "--", load.path, load.items,
    ]  # fmt: skip
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    told = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    result: dict[str, float] = json.loads(told.removeprefix("RESULT "))
    if result["refused"] or result["broken"]:
        raise WrongWorkError(f"{load.name}: not every request was accepted: {told}")
    return result


def _check_work(server: Server, running: Running) -> None:
    """A good order, its twin, another one under its key, and one that is not valid; alone, and in a batch."""
    for path, wrap in (("/single", lambda order: order), ("/batch", lambda order: [order])):
        good = {"record_id": uuid.uuid4().hex, "parameter_1": "abc", "parameter_2": 4.25}
        for what, order, expected in (
            ("a good order", good, range(200, 300)),
            ("the same order again", good, range(200, 300)),
            ("another order under its key", good | {"parameter_2": 4.5}, [409]),
            (
                "an order with a wrong type",
                good | {"record_id": uuid.uuid4().hex, "parameter_2": "much"},
                [400, 422],
            ),
        ):
            status = _post(running.port, path, wrap(order))
            if status not in expected:
                raise WrongWorkError(f"{server.title} answers {status} to {what} at {path}")
    if running.rows is not None and (rows := running.rows()) != 2:
        raise WrongWorkError(f"{server.title} has {rows} rows after two good orders")


def _post(port: int, path: str, body: object) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def _check_rows(server: Server, load: Load, running: Running, before: int, answered: int) -> None:
    """Every acknowledged message is a row; further rows are what was under way the two times wrk hung up."""
    assert running.rows is not None
    under_way = 2 * load.connections * load.messages
    give_up = time.monotonic() + SETTLE_S
    rows, earlier = running.rows(), -1
    while rows != earlier and time.monotonic() < give_up:
        time.sleep(0.3)
        rows, earlier = running.rows(), rows
    if not answered <= rows - before <= answered + under_way:
        raise WrongWorkError(f"{server.title}, {load.name}: {answered} messages acknowledged, {rows - before} stored")


def _median(ones: list[Measured]) -> Measured:
    rates = tuple(one.requests_per_s for one in ones)
    return Measured(
        median(rates),
        median(one.p50_ms for one in ones),
        median(one.p99_ms for one in ones),
        median(one.memory_mb for one in ones),
        median(one.processor_us for one in ones),
        rates,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, fewer loads; figures are only a hint")
    parser.add_argument(
        "--only",
        default="headgate,headgate-fronts,sqlalchemy,asyncpg,asyncpg-workers,nginx",
        help=f"of {', '.join(SERVERS)}",
    )
    parser.add_argument("--no-growth", dest="growth", action="store_false", help="leave out the growing store")
    parser.add_argument("--rounds", type=int, default=3, help="how often each load is measured (default 3)")
    parser.add_argument("--seconds", type=int, default=4, help="how long each measurement takes (default 4)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("/var/tmp"),
        help="where stores are made: a real disk, not tmpfs (default /var/tmp)",
    )
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(SERVERS):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(SERVERS)}")
    return options


if __name__ == "__main__":
    main()
