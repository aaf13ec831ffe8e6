"""What a queue is worth: how much poison messages harm the others, and how fast a backlog is worked off, beside task
queues.

    .venv/bin/python benchmarks/queues.py [--rounds 3] [--seconds 15] [--backlog 100000] [--folder /var/tmp]

Writes QUEUES.md. What is measured: README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import poison
from handled import post, serving, session
from poison import RATE_PER_S, SHARE, Steady, send_steadily, steady
from queued import ATTEMPTS
from report import met, sync_ms
from servers import HERE
from tasks import PEERS, WORKERS, Peer, Rates, measure, rate_of

ROUNDS = 3
_BATCH = 500
_SINGLE = 2_000
_PROMISE = (
    "a message is synced before the 202, once per key; one that a killed handler was at is tried again; "
    "verdicts are synced"
)
_began_s = time.monotonic()


class Backlog(NamedTuple):
    """Messages a second: taken one a request and in lists, over one connection; handled; and settled, from the first
    list sent to the last verdict."""

    alone: float
    sent: float
    handled: float
    settled: float
    memory_mb: float


async def send_one_by_one(url: str, count: int) -> None:
    async with session() as open_session:
        for n in range(count):
            await post(open_session, url, f"one-{n}")


async def send_lists(url: str, count: int) -> None:
    async with session() as open_session:
        for at in range(0, count, _BATCH):
            await post(open_session, url, *(f"m-{n}" for n in range(at, at + _BATCH)))


def backlog(folder: Path, count: int) -> Backlog:
    """Taken and worked off at the same time."""
    with serving(folder) as site:
        asyncio.run(send_steadily(site.url, 1, 0, "warm"))
        alone = _SINGLE / _seconds_of(lambda: asyncio.run(send_one_by_one(site.url, _SINGLE)))
        site.wait_until_idle()
        began = time.monotonic()
        sent = count / _seconds_of(lambda: asyncio.run(send_lists(site.url, count)))
        memory_mb = site.running.memory_mb()
        site.wait_until_idle()
        settled = count / (time.monotonic() - began)
        assert site.statuses()["processed"] >= count
        times_ms = [round(1000 * one.done_s) for one in site.handled("m-")]
    assert len(times_ms) == count
    return Backlog(alone, sent, rate_of(times_ms), settled, memory_mb)


def _seconds_of(step: Callable[[], None]) -> float:
    began = time.monotonic()
    step()
    return time.monotonic() - began


Figure = TypeVar("Figure", Backlog, Rates, Steady)


def median(found: Sequence[Figure]) -> Figure:
    """Of each figure the median of the rounds."""
    return type(found[0])(*(statistics.median(values) for values in zip(*found, strict=True)))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--seconds", type=float, default=15)
    asked.add_argument("--backlog", type=int, default=100_000)
    asked.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    said = asked.parse_args()
    steadies: dict[float, list[Steady]] = {0.0: [], SHARE: []}
    own: list[Backlog] = []
    others: dict[Peer, list[Rates]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="headgate-benchmark-", dir=said.folder) as name:
        disk_ms = sync_ms(Path(name))
        for turn in range(said.rounds):
            folder = Path(name) / str(turn)
            folder.mkdir()
            for share, found in steadies.items():
                found.append(steady(folder / f"steady-{share}", said.seconds, share))
                tell(turn, f"{share:.0%} poison", found[-1])
            own.append(backlog(folder / "backlog", said.backlog))
            tell(turn, "headgate", own[-1])
            for peer in PEERS:
                others[peer].append(measure(peer, folder / peer.module))
                tell(turn, peer.name, others[peer][-1])
    (HERE / "QUEUES.md").write_text(page(said, disk_ms, steadies, own, others))
    tell(said.rounds - 1, "written", "benchmarks/QUEUES.md")


def tell(turn: int, what: str, figures: object) -> None:
    if isinstance(figures, tuple):
        figures = "  ".join(f"{name} {value:,.1f}" for name, value in figures._asdict().items())
    print(f"{time.monotonic() - _began_s:5.0f} s  round {turn + 1}  {what}: {figures}", flush=True)


def page(
    said: argparse.Namespace,
    disk_ms: float,
    steadies: Mapping[float, Sequence[Steady]],
    own: Sequence[Backlog],
    others: Mapping[Peer, Sequence[Rates]],
) -> str:
    mine = median(own)
    peers = {peer: median(found) for peer, found in others.items()}
    return f"""# Figures of one run: queues

Made by `benchmarks/queues.py` on {datetime.now(UTC):%Y-%m-%d}. What they mean: [README](README.md#queues).

- {os.cpu_count()} cores, shared by server, handlers and load
- Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; a 4 KB write and its fdatasync: {disk_ms:.2f} ms
- a trivial handler, in up to {WORKERS} processes, {ATTEMPTS} attempts
- {said.rounds} rounds, everything in turn in each; medians

{chr(10).join(_goals(steadies, mine, peers))}

## Poison

{RATE_PER_S} messages a second for {said.seconds:g} s, one a request; milliseconds from being sent to being handled, of
the healthy ones. Every poison message was dead after exactly {ATTEMPTS} attempts, with its reason and its bytes, in
each round.

| poison | healthy | poison messages | p50 ms | p99 ms | longest ms | p99 of each round |
|---:|---:|---:|---:|---:|---:|---|
{chr(10).join(_steady_rows(steadies))}

## Beside task queues

Messages a second: sent, by one sender, one a call and in lists of {_BATCH}; and handled, by {WORKERS} processes,
without the first tenth. The others are given their backlog before their workers start; headgate works off while it
takes in, over HTTP. {mine.settled:,.0f} a second were settled from the first list sent to the last verdict synced;
server and handlers then had {mine.memory_mb:,.0f} MB.

{chr(10).join(_rows(said.backlog, own, peers, others))}
"""


def _goals(steadies: Mapping[float, Sequence[Steady]], mine: Backlog, peers: Mapping[Peer, Rates]) -> Iterator[str]:
    times = median(steadies[SHARE]).p99_ms / median(steadies[0.0]).p99_ms
    yield "| goal | asked | seen | |"
    yield "|---|---:|---:|---|"
    yield (
        f"| p99 of healthy messages with {SHARE:.0%} poison, against none | at most {poison.GOAL:g} × | {times:.2f} × "
        f"| {met(times <= poison.GOAL)} |"
    )
    for peer, rates in peers.items():
        ahead = mine.handled / rates.handled
        yield f"| handled messages/s, against {peer.name} | more than 1 × | {ahead:.1f} × | {met(ahead > 1)} |"


def _steady_rows(steadies: Mapping[float, Sequence[Steady]]) -> Iterator[str]:
    for share, found in steadies.items():
        one = median(found)
        yield (
            f"| {share:.0%} | {one.healthy:,.0f} | {one.poison:,.0f} | {one.p50_ms:.1f} | {one.p99_ms:.1f} "
            f"| {one.most_ms:.1f} | {', '.join(f'{run.p99_ms:.1f}' for run in found)} |"
        )


def _rows(
    count: int, own: Sequence[Backlog], peers: Mapping[Peer, Rates], rounds: Mapping[Peer, Sequence[Rates]]
) -> Iterator[str]:
    mine = median(own)
    yield "| | messages | sent, one a call | in lists | handled | lowest, highest round | headgate is | promise |"
    yield "|---|---:|---:|---:|---:|---:|---:|---|"
    yield (
        f"| headgate | {count:,} | {mine.alone:,.0f} | {mine.sent:,.0f} | {mine.handled:,.0f} | {_span(own)} |  "
        f"| {_PROMISE} |"
    )
    for peer, rates in peers.items():
        yield (
            f"| {peer.name} | {peer.count:,} | {rates.sent:,.0f} |  | {rates.handled:,.0f} | {_span(rounds[peer])} "
            f"| {mine.handled / rates.handled:.1f} × | {peer.promise} |"
        )


def _span(found: Sequence[Backlog] | Sequence[Rates]) -> str:
    return f"{min(one.handled for one in found):,.0f} to {max(one.handled for one in found):,.0f}"


if __name__ == "__main__":
    main()
