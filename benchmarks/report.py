"""The figures as a page: benchmarks/RESULTS.md."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from servers import Server, tool

if TYPE_CHECKING:
    from growth import Grown
    from intake import Load, Measured

SINGLE = "single posts, 64 connections"
BATCH = "batches of 100, 64 connections"
OWN = ("headgate", "headgate-fronts")


def written(
    servers: Sequence[Server],
    loads: Sequence[Load],
    results: Mapping[tuple[str, str], Measured],
    grown: Grown | None,
    rounds: int,
    seconds: int,
    sync_ms: float,
) -> str:
    """The whole page."""
    parts = [
        "# Figures of one run",
        f"Made by `benchmarks/intake.py` on {datetime.now(UTC):%Y-%m-%d}. What they mean: [README](README.md).",
        "\n".join(_machine(sync_ms)),
        f"{_times(rounds, 'round')} of {seconds} s for each server and load, servers in turn in a round; medians.",
        "\n".join(f"- {server.title}: a success means {server.promise}" for server in servers),
        "\n".join(_targets(servers, results)),
    ]
    for load in loads:
        parts += [f"## {load.name[0].upper()}{load.name[1:]}", "\n".join(_table(servers, load, results))]
    if grown:
        parts += ["## A growing store", "\n".join(_growth(grown))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(servers: Sequence[Server], load: Load, results: Mapping[tuple[str, str], Measured]) -> Iterator[str]:
    own = [results[name, load.name] for name in OWN if (name, load.name) in results]
    ratios = [f"{server.title} is" for server in servers if server.name in OWN]
    heads = [
        "messages/s",
        "requests/s",
        "lowest, highest round",
        "p50 ms",
        "p99 ms",
        "processor µs/message",
        "memory MB",
    ]
    yield f"| server | {' | '.join([*heads, *ratios])} |"
    yield "|---|" + "---:|" * (len(heads) + len(ratios))
    for server in servers:
        one = results[server.name, load.name]
        times = " | ".join(
            f"{each.requests_per_s / one.requests_per_s:.2f} ×" if each is not one else "" for each in own
        )
        yield (
            f"| {server.title} | {one.requests_per_s * load.messages:,.0f} | {one.requests_per_s:,.0f} "
            f"| {min(one.rounds):,.0f} to {max(one.rounds):,.0f} | {one.p50_ms:.2f} | {one.p99_ms:.2f} "
            f"| {one.processor_us / load.messages:.1f} | {one.memory_mb:,.0f} | {times} |"
        )


def _targets(servers: Sequence[Server], results: Mapping[tuple[str, str], Measured]) -> Iterator[str]:
    rows = list(_judged({server.name: server.title for server in servers}, results))
    if rows:
        yield from ("| goal | asked | of | against | seen | |", "|---|---:|---|---|---:|---|", *rows)


def _judged(titles: Mapping[str, str], results: Mapping[tuple[str, str], Measured]) -> Iterator[str]:
    """Each goal for each way to serve, against each way to serve of the other: as many processes, or one."""
    for other, asked in (("asyncpg", 5.0), ("asyncpg-workers", 5.0), ("nginx", 0.1)):
        for name in OWN:
            mine, theirs = results.get((name, SINGLE)), results.get((other, SINGLE))
            if mine and theirs:
                seen = mine.requests_per_s / theirs.requests_per_s
                yield (
                    f"| {SINGLE} | {asked:g} × | {titles[name]} | {titles[other]} | {seen:.2f} × "
                    f"| {met(seen >= asked)} |"
                )
    for name in OWN:
        if batch := results.get((name, BATCH)):
            seen = batch.requests_per_s * 100
            yield f"| {BATCH} | 100,000/s | {titles[name]} | | {seen:,.0f}/s | {met(seen >= 100_000)} |"


def _growth(grown: Grown) -> Iterator[str]:
    layouts = list(grown)
    yield f"| rows in the store | {' | '.join(f'{layout}, messages/s' for layout in layouts)} |"
    yield "|---|" + "---:|" * len(layouts)
    windows = list(grown[layouts[0]])
    for window in windows:
        rates = " | ".join(f"{grown[layout][window]:,.0f}" for layout in layouts)
        yield f"| {window[0]:,} to {window[1]:,} | {rates} |"
    held = " | ".join(f"{grown[layout][windows[-1]] / grown[layout][windows[1]]:.2f} ×" for layout in layouts)
    yield f"| last window over {windows[1][0]:,} to {windows[1][1]:,} | {held} |"


def _machine(sync_ms: float) -> Iterator[str]:
    yield f"- {os.cpu_count()} cores ({_processor()}), shared by servers and load; {_memory_gb():.0f} GB of memory"
    yield f"- {platform.system()}; a 4 KB write and its fdatasync: {sync_ms:.2f} ms (median, before the run)"
    peers = ", ".join(f"{name} {version(name)}" for name in ("fastapi", "uvicorn", "sqlalchemy", "asyncpg", "pydantic"))
    yield f"- Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {peers}"
    yield f"- {_first_line('psql', 'postgresql', '--version')}; {_first_line('nginx', 'nginx-light', '-v')}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def sync_ms(folder: Path) -> float:
    """How long the disk under `folder` takes for a write of 4 KB and its fdatasync: the median of a hundred."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for at in range(101):
            began = time.perf_counter()
            os.pwrite(file.fileno(), bytes(4096), at * 4096)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return sorted(taken)[50] * 1000


def _first_line(name: str, package: str, flag: str) -> str:
    told = subprocess.run([tool(name, package), flag], check=True, capture_output=True, text=True)
    return (told.stdout or told.stderr).splitlines()[0].removeprefix("nginx version: ")


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def met(yes: bool) -> str:
    return "met" if yes else "not met"
