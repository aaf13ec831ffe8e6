"""What a queue is worth: how much poison messages harm the others, and how fast a backlog is worked off.

    .venv/bin/python benchmarks/queues.py [--seconds 30] [--backlog 100000] [--folder /var/tmp]

Writes QUEUES.md. What is measured: README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import aiohttp
from queued import ATTEMPTS
from servers import BIN, HERE, Running, _listens, _process, free_port
from tasks import PEERS, WORKERS, Peer, Rates, measure, rate_of

RATE_PER_S = 500
POISON = 0.01
GOAL = 2.0
WARM_S = 3.0
ROUNDS = 3
_BATCH = 500
_PROMISE = (
    "a message is synced before the 202, once per key; one that a killed handler was at is tried again; "
    "verdicts are synced"
)


class Site(NamedTuple):
    """A server of the app, and what its handlers wrote."""

    running: Running
    store: Path
    handled: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.port}/jobs"

    def statuses(self) -> Counter[str]:
        return Counter(dict(self.ask("SELECT status, count(*) FROM work GROUP BY 1")))

    def ask(self, query: str) -> list[tuple]:
        store = sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)
        try:
            return store.execute(query).fetchall()
        finally:
            store.close()

    def wait_until_idle(self) -> None:
        while (found := self.statuses())["accepted"] + found["processing"]:
            time.sleep(0.05)


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    folder.mkdir()
    port, state, handled = free_port(), folder / "state", folder / "handled"
    command = [BIN / "headgate", "serve", "--app", HERE / "queued.py", "--port", port, "--state", state]
    with _process(command, folder, lambda: _listens(port), environment={"HANDLED": str(handled)}) as process:
        yield Site(Running(port, (process,), None), state / "messages.sqlite3", handled)


def order(id_: str) -> dict[str, object]:
    return {"record_id": id_, "parameter_1": "x" * 40, "parameter_2": 2.5}


async def post(session: aiohttp.ClientSession, url: str, *ids: str) -> None:
    async with session.post(url, json=[order(id_) for id_ in ids]) as answer:
        assert answer.status == 202, await answer.text()


async def send_steadily(url: str, seconds: float, poison: float, name: str) -> int:
    """One message a request, on time whatever the answers take; how many were poison."""
    bad, every, sent = 0, round(1 / poison) if poison else 0, []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
        began = time.monotonic()
        for n in range(round(seconds * RATE_PER_S)):
            is_bad = bool(every) and n % every == 0
            bad += is_bad
            await asyncio.sleep(max(0.0, began + n / RATE_PER_S - time.monotonic()))
            sent.append(asyncio.create_task(post(session, url, f"{'poison' if is_bad else name}-{n}")))
        await asyncio.gather(*sent)
    return bad


async def send_backlog(url: str, count: int) -> None:
    async with aiohttp.ClientSession() as session:
        for at in range(0, count, _BATCH):
            await post(session, url, *(f"m-{n}" for n in range(at, at + _BATCH)))


class Steady(NamedTuple):
    """A run at a steady rate; latencies are from being taken to being handled, of the healthy messages."""

    healthy: int
    poison: int
    p50_ms: float
    p99_ms: float


def steady(folder: Path, seconds: float, poison: float) -> Steady:
    with serving(folder) as site:
        asyncio.run(send_steadily(site.url, WARM_S, 0, "warm"))
        site.wait_until_idle()
        os.truncate(site.handled, 0)
        bad = asyncio.run(send_steadily(site.url, seconds, poison, "good"))
        site.wait_until_idle()
        check_dead(site, bad)
        lines = site.handled.read_text().splitlines()
    waits = [int(done) - int(received) for received, done in map(str.split, lines)]
    assert len(waits) == round(seconds * RATE_PER_S) - bad
    cuts = statistics.quantiles(waits, n=100)
    return Steady(len(waits), bad, cuts[49], cuts[98])


def check_dead(site: Site, bad: int) -> None:
    """Every poison message is dead after exactly its attempts, with its reason and its bytes."""
    query = (
        "SELECT work.attempts, work.timeline, message.body, message.key FROM work JOIN message USING (seq)"
        " WHERE work.status = 'failed'"
    )
    rows = site.ask(query)
    assert len(rows) == bad, (len(rows), bad)
    for attempts, timeline, body, key in rows:
        kinds = [(moment[1], moment[5]) for moment in json.loads(timeline)]
        assert attempts == ATTEMPTS
        assert kinds == [("retried", "ValueError")] * (ATTEMPTS - 1) + [("failed", "ValueError")]
        assert body == json.dumps(order(key)).encode()


class Backlog(NamedTuple):
    """Messages sent as fast as one connection takes them, and how fast they were worked off meanwhile."""

    messages: int
    accepted_per_s: float
    processed_per_s: float
    handled_per_s: float
    memory_mb: float


def backlog(folder: Path, count: int) -> Backlog:
    """Taken and worked off at the same time, from the first POST to the last settlement."""
    with serving(folder) as site:
        asyncio.run(send_steadily(site.url, 1, 0, "warm"))
        site.wait_until_idle()
        os.truncate(site.handled, 0)
        began = time.monotonic()
        asyncio.run(send_backlog(site.url, count))
        taken = time.monotonic()
        memory_mb = site.running.memory_mb()
        site.wait_until_idle()
        done = time.monotonic()
        assert site.statuses()["processed"] >= count
        times_ms = [int(line.split()[1]) for line in site.handled.read_text().splitlines()]
    assert len(times_ms) == count
    return Backlog(count, count / (taken - began), count / (done - began), rate_of(times_ms), memory_mb)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=float, default=30)
    asked.add_argument("--backlog", type=int, default=100_000)
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    said = asked.parse_args()
    runs: dict[float, list[Steady]] = {0.0: [], POISON: []}
    with tempfile.TemporaryDirectory(prefix="headgate-benchmark-", dir=said.folder) as name:
        folder = Path(name)
        for turn in range(said.rounds):
            for poison, found in runs.items():
                found.append(steady(folder / f"steady-{turn}-{poison}", said.seconds, poison))
                print(poison, found[-1], flush=True)
        piled = backlog(folder / "backlog", said.backlog)
        print(piled, flush=True)
        others = {}
        for peer in PEERS:
            others[peer] = measure(peer, folder / peer.module)
            print(peer.name, others[peer], flush=True)
    (HERE / "QUEUES.md").write_text(page(runs, piled, others, said.seconds))


def page(runs: dict[float, list[Steady]], piled: Backlog, others: dict[Peer, Rates], seconds: float) -> str:
    p99 = {poison: statistics.median(run.p99_ms for run in found) for poison, found in runs.items()}
    times = p99[POISON] / p99[0.0]
    rows = "\n".join(
        f"| {poison:.0%} | {found[0].healthy:,} | {found[0].poison:,} | "
        f"{statistics.median(run.p50_ms for run in found):.0f} | {p99[poison]:.0f} | "
        f"{', '.join(f'{run.p99_ms:.0f}' for run in found)} |"
        for poison, found in runs.items()
    )
    peers = "\n".join(
        f"| {peer.name} | {peer.count:,} | {rates.sent:,.0f} | {rates.handled:,.0f} | "
        f"{piled.handled_per_s / rates.handled:.1f} × | {peer.promise} |"
        for peer, rates in others.items()
    )
    met = "met" if times <= GOAL else "not met"
    return f"""# Figures of one run: queues

Made by `benchmarks/queues.py` on {datetime.now(UTC):%Y-%m-%d}. What they mean: [README](README.md#queues).

- {os.cpu_count()} cores, shared by server, handlers and load
- Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}
- accepted: synced to disk before the 202; processed: the verdict synced to disk (SQLite WAL, synchronous=FULL)
- a trivial handler, in up to 4 processes, {ATTEMPTS} attempts

## Poison

{RATE_PER_S} messages a second for {seconds:g} s, one a request, {len(runs[0.0])} rounds in turn; milliseconds from
being taken to being handled, of the healthy ones; medians.

| poison | healthy | poison messages | p50 ms | p99 ms | p99 of each round |
|---:|---:|---:|---:|---:|---|
{rows}

p99 with poison is {times:.2f} × that without; the goal is at most {GOAL:g} ×: {met}. Every poison message was dead
after exactly {ATTEMPTS} attempts, with its reason and its bytes (checked in each round).

## A backlog

{piled.messages:,} messages in batches of {_BATCH} over one connection, worked off while they came.

| accepted, messages/s | from the first POST to the last verdict, messages/s | memory of server and handlers |
|---:|---:|---:|
| {piled.accepted_per_s:,.0f} | {piled.processed_per_s:,.0f} | {piled.memory_mb:,.0f} MB |

## Beside task queues

Messages a second: sent, by one sender, and handled, by {WORKERS} processes, without the first tenth. The others are
given their backlog before their workers start; headgate works off while it takes in, and over HTTP.

| | messages | sent | handled | headgate is | promise |
|---|---:|---:|---:|---:|---|
| headgate | {piled.messages:,} | {piled.accepted_per_s:,.0f} | {piled.handled_per_s:,.0f} |  | {_PROMISE} |
{peers}
"""


if __name__ == "__main__":
    main()
