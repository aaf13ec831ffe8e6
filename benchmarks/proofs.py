"""The long forms of the hardest tests behind the gate, and the memory of a server with a million queued messages.

    .venv/bin/python benchmarks/proofs.py [--kills 50] [--messages 100000] [--queued 1000000] [--folder /var/tmp]

Writes PROOFS.md. A test that fails ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from handled import Site, post, serving, session
from report import met
from servers import HERE

TESTS = ("test_ordered.py", "test_handled.py", "test_consumed.py", "test_poisoned.py", "test_redriven.py")
_LIST = 2_000
_FLAT_MB = 32.0
_FULL = 3  # the sample from which on SQLite's cache has what it may have


class Sample(NamedTuple):
    """The memory of server and handlers at a moment."""

    when: str
    waiting: int
    memory_mb: float


def tested(name: str, kills: int, messages: int) -> list[str]:
    """What a test of tests/crash tells in its long form."""
    environment = {**os.environ, "HEADGATE_KILLS": str(kills), "HEADGATE_MESSAGES": str(messages)}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/crash/{name}"]
    run = subprocess.run(words, cwd=HERE.parent, env=environment, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stdout + run.stderr)
    return re.findall(r"^(test_\w+(?:\[\w+\])?: .*)$", run.stdout, re.MULTILINE)


async def fill(site: Site, first: int, count: int) -> None:
    async with session() as open_session:
        for at in range(first, first + count, _LIST):
            await post(open_session, site.url, *(f"m-{n}" for n in range(at, at + _LIST)))


def queued(folder: Path, count: int) -> list[Sample]:
    """Samples while `count` messages come in and wait, and when they are worked off."""
    go = folder / "go"
    with serving(folder / "served", HERE / "waiting.py", {"GO": str(go)}) as site:
        asyncio.run(fill(site, 0, _LIST))
        time.sleep(2)
        samples = [Sample("the first ones wait", _LIST, site.running.memory_mb())]
        for tenth in range(10):
            part = count // 10 - (_LIST if tenth == 0 else 0)
            asyncio.run(fill(site, count // 10 * tenth + (_LIST if tenth == 0 else 0), part))
            samples.append(Sample("taken in", count // 10 * (tenth + 1), site.running.memory_mb()))
            tell(samples[-1])
        time.sleep(10)
        samples.append(Sample("ten seconds later", count, site.running.memory_mb()))
        go.touch()
        time.sleep(5)
        (left,) = site.ask("SELECT count(*) FROM work WHERE status IN ('accepted', 'processing')")[0]
        samples.append(Sample("worked off", left, site.running.memory_mb()))
        site.wait_until_idle()
        samples.append(Sample("all done", 0, site.running.memory_mb()))
        assert site.statuses()["processed"] == count
    return samples


def tell(what: object) -> None:
    print(what, flush=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--kills", type=int, default=50)
    asked.add_argument("--messages", type=int, default=100_000)
    asked.add_argument("--queued", type=int, default=1_000_000)
    asked.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    said = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="headgate-benchmark-", dir=said.folder) as name:
        samples = queued(Path(name), said.queued)
    lines = []
    for test in TESTS:
        lines += tested(test, said.kills, said.messages)
        tell(lines[-1])
    (HERE / "PROOFS.md").write_text(page(said, samples, lines))


def page(said: argparse.Namespace, samples: Sequence[Sample], lines: Sequence[str]) -> str:
    rows = "\n".join(f"| {one.when} | {one.waiting:,} | {one.memory_mb:,.0f} |" for one in samples)
    told = "\n".join(
        f"| {name[5:].replace('_', ' ')} | {text} |" for name, text in (line.split(": ", 1) for line in lines)
    )
    grown = max(one.memory_mb for one in samples[_FULL:]) - samples[_FULL].memory_mb
    return f"""# Figures of one run: what has to hold behind the gate

Made by `benchmarks/proofs.py` on {datetime.now(UTC):%Y-%m-%d}, on {os.cpu_count()} cores; Python
{platform.python_version()}, SQLite {sqlite3.sqlite_version}.

## Against SIGKILL of the whole process tree

Each line is a test in `tests/crash`, in its long form; a test that fails writes no page.

| test | what was seen |
|---|---|
{told}

## Memory, with {said.queued:,} queued messages

Of server and handlers together, while messages come in, wait, and are worked off. From {samples[_FULL].waiting:,} on,
where SQLite's cache (64 MB) is full, it grows by {grown:,.0f} MB; flat means at most {_FLAT_MB:g} MB:
{met(grown <= _FLAT_MB)}.

| | waiting | MB |
|---|---:|---:|
{rows}
"""


if __name__ == "__main__":
    main()
