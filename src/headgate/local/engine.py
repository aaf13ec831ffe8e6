"""The local engine, put together: one store, one writer, and what reads beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from headgate.clock import Clock
from headgate.declare.table import Table
from headgate.declare.topic import Topic
from headgate.engine import Lease
from headgate.errors import Misuse
from headgate.gate.effects import Started
from headgate.local.alarms import Standing, standings
from headgate.local.archive import FOLDER_NAME as ARCHIVE
from headgate.local.archive import LocalArchive
from headgate.local.claims import Claims
from headgate.local.index import LocalIndex
from headgate.local.items import LocalItems
from headgate.local.journal import Journal
from headgate.local.keys import LocalKeys, load_iam_keys, load_keys
from headgate.local.queue import LocalQueue
from headgate.local.scheduler import DueTimes
from headgate.local.schema import fingerprint_key, know_channels, open_reading, open_writing
from headgate.local.state import sync_folder
from headgate.local.stream import LocalStream, Log
from headgate.local.topics import LocalTopics
from headgate.local.upkeep import Upkeep
from headgate.local.writer import Writer

if TYPE_CHECKING:
    from headgate.local.workflows import LocalWorkflows


class LocalEngine:
    """The rooms of one store. The caller holds the state folder (`StateFolder.hold`) for as long as it is open.

    `logs` are the streams of the channels that have one. `on_broken` is called, on the writer's thread, when the disk
    failed in a way that only a restart can mend. With `dice` queues give out their messages in any order.
    """

    def __init__(
        self,
        store: Path,
        channels: Iterable[str],
        clock: Clock,
        on_broken: Callable[[], None] = lambda: None,
        dice: Random | None = None,
        *,
        logs: Mapping[str, Log] | None = None,
    ) -> None:
        self._clock = clock
        connection = open_writing(store)
        sync_folder(store.parent)
        know_channels(connection, channels)
        claims = Claims(fingerprint_key(connection))
        claims.load(connection)
        keys, iam = load_keys(connection), load_iam_keys(connection)
        self._on_broken = on_broken
        self.ready = True
        self.workflows: LocalWorkflows | None = None  # put here by whoever serves an app that has some
        journal = Journal(connection, clock)
        journal.free_all(connection)
        self.index = LocalIndex(store, claims, journal, clock)
        self._writer = Writer(
            connection,
            store.parent,
            before_commit=self.index.before_commit,
            after_commit=self._after_commit,
            on_broken=self._break,
        )
        self.index.write_with(self._writer)
        self.queue = LocalQueue(self._writer, self.index, journal, clock, dice)
        self.keys = LocalKeys(keys, self._writer.change, clock, iam)
        self.archive = LocalArchive(store.parent / ARCHIVE)
        self.stream = LocalStream(self.index, logs or {}, clock, self._writer)
        self.due = DueTimes(self._writer.change, self.index.read_with)
        self._upkeep = Upkeep(store, lambda: self.index.sweep() + self.stream.sweep())

    def _after_commit(self, done: bool) -> None:
        self.ready = done
        self.index.after_commit(done)
        self.stream.after_commit(done)
        if done:
            self._upkeep.touched()

    def _break(self) -> None:
        self.ready = False
        self._on_broken()

    def start_all(self, leases: Sequence[Lease]) -> list[Started | None]:
        """See `StartAll`; nothing can be started where no workflows run."""
        return [None] * len(leases) if self.workflows is None else self.workflows.start_all(leases)

    def follow(self, started: Sequence[tuple[Lease, str]]) -> None:
        """See `Follow`."""
        if self.workflows is not None:
            self.workflows.starts.follow(started)

    def topics(self, declared: Sequence[Topic], settings: Mapping[str, str]) -> LocalTopics:
        """Where an app tells people; notices lie in this store."""
        return LocalTopics(declared, settings, self._clock, self._writer.change, self.index.read_with)

    def items(self, declared: Sequence[Table]) -> LocalItems:
        """What the workflows of an app keep in its tables; items lie in this store."""
        return LocalItems(declared, self._writer.change, self.index.read_with, self._clock)

    def standings(self) -> dict[str, Standing]:
        """How the alarms were when somebody last looked."""
        return standings(self.index.read_with)

    def close(self) -> None:
        """Finish what was submitted and close every connection."""
        self._upkeep.close()
        self._writer.close()
        self.index.close()


def open_index(store: Path, clock: Clock) -> LocalIndex:
    """An index that only reads, for use beside a running server. Raises Misuse where there is no store yet."""
    if not store.exists():
        raise Misuse(f"Nothing was stored yet: there is no {store}. Start with `headgate dev`.")
    connection = open_reading(store)
    try:
        claims = Claims(fingerprint_key(connection))
        claims.load(connection)
        journal = Journal(connection, clock)
    finally:
        connection.close()
    return LocalIndex(store, claims, journal, clock)
