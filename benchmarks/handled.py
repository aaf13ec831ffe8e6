"""The app whose queue is measured, served in a folder of its own; and what posts to it."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
from servers import BIN, HERE, Running, _listens, _process, free_port

WARM_S = 3.0
_CONNECTIONS = 256


class Handled(NamedTuple):
    """A message that the handler was done with: when it was sent, and when it was done, in seconds."""

    sent_s: float
    done_s: float


class Site(NamedTuple):
    """A server of the app, and what its handlers wrote."""

    running: Running
    store: Path
    lines: Path

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
        while self.ask("SELECT 1 FROM work WHERE status IN ('accepted', 'processing') LIMIT 1"):
            time.sleep(0.05)

    def handled(self, name: str) -> list[Handled]:
        """Those whose ids begin with `name`."""
        found = (line.split() for line in self.lines.read_text().splitlines())
        return [Handled(float(sent), float(done)) for id_, sent, done in found if id_.startswith(name)]


@contextmanager
def serving(folder: Path, app: Path = HERE / "queued.py", more: Mapping[str, str] = {}) -> Iterator[Site]:
    """The app in a new folder; `more` is for its environment."""
    folder.mkdir()
    port, state, lines = free_port(), folder / "state", folder / "handled"
    command = [BIN / "headgate", "serve", "--app", app, "--port", port, "--state", state]
    with _process(command, folder, lambda: _listens(port), environment={"HANDLED": str(lines), **more}) as process:
        yield Site(Running(port, (process,), None), state / "messages.sqlite3", lines)


def session() -> aiohttp.ClientSession:
    """What posts."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS))


async def post(session: aiohttp.ClientSession, url: str, *ids: str) -> None:
    """Send messages in one request; each says when that was."""
    now_s = time.time()
    orders = [{"record_id": id_, "parameter_1": "x" * 40, "parameter_2": now_s} for id_ in ids]
    async with session.post(url, json=orders) as answer:
        assert answer.status == 202, await answer.text()
