"""The store of a local engine, opened with little room for claims in memory, so that they are merged all the time."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from headgate.clock import ManualClock
from headgate.local.claims import Claims
from headgate.local.index import LocalIndex
from headgate.local.journal import Journal
from headgate.local.queue import LocalQueue
from headgate.local.schema import FILE_NAME, fingerprint_key, know_channels, open_writing
from headgate.local.writer import Job, Writer
from headgate.testing.contract import CHANNELS


class Store:
    """What LocalEngine puts together, but for keys and upkeep."""

    def __init__(self, folder: Path, clock: ManualClock, *, turn: int = 8, slice_: int = 3) -> None:
        self.folder = folder
        self.clock = clock
        self._sizes = {"turn": turn, "slice_": slice_}
        self.connection = open_writing(self.file)
        know_channels(self.connection, CHANNELS)
        claims = Claims(fingerprint_key(self.connection), **self._sizes)
        claims.load(self.connection)
        self.journal = Journal(self.connection, clock)
        self.journal.free_all(self.connection)
        self.index = LocalIndex(self.file, claims, self.journal, clock)
        self.writer = Writer(
            self.connection,
            folder,
            before_commit=self.index.before_commit,
            after_commit=self.index.after_commit,
        )
        self.index.write_with(self.writer)
        self.queue = LocalQueue(self.writer, self.index, self.journal, clock)

    @property
    def file(self) -> Path:
        return self.folder / FILE_NAME

    def close(self) -> None:
        self.writer.close()
        self.index.close()

    def reopened(self) -> Store:
        """Closed, and opened again."""
        self.close()
        return Store(self.folder, self.clock, **self._sizes)

    def as_after_a_crash(self, folder: Path) -> Store:
        """Another store, of the files as they lie there at this moment."""
        folder.mkdir()
        for name in (FILE_NAME, f"{FILE_NAME}-wal"):
            if (self.folder / name).exists():
                shutil.copy(self.folder / name, folder / name)
        return Store(folder, self.clock, **self._sizes)

    def rows(self, table: str) -> int:
        """How many rows a table has."""
        with closing(sqlite3.connect(self.file)) as connection:
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            return int(count)


@contextmanager
def opened(folder: Path, clock: ManualClock, *, turn: int = 8, slice_: int = 3) -> Iterator[Store]:
    store = Store(folder, clock, turn=turn, slice_=slice_)
    try:
        yield store
    finally:
        store.close()


def all_keys(index: LocalIndex, channel: str = "orders", scope: str | None = None) -> Sequence[str]:
    """Every key of a channel, newest first."""
    keys: list[str] = []
    after = None
    while True:
        page = index.find(channel, scope, None, None, 100, after)
        keys += [message.key for message in page.messages]
        if (after := page.next) is None:
            return keys


class Held:
    """Keeps the writer busy until `release`, as a slow disk would."""

    def __init__(self, writer: Writer) -> None:
        self._go_on = threading.Event()
        begun = threading.Event()

        def wait(_: sqlite3.Connection) -> None:
            begun.set()
            self._go_on.wait()

        writer.submit(Job([wait], lambda _: None))
        begun.wait()

    def release(self) -> None:
        self._go_on.set()
