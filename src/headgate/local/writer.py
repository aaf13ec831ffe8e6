"""The one thread that writes. What waits together is committed together: one sync for the whole group."""

from __future__ import annotations

import logging
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from headgate.errors import Unavailable
from headgate.gate.observe import site

log = logging.getLogger("headgate.local")

# Result codes after which the connection cannot be trusted, whatever it says next.
_LASTING = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
}
_WRITING = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN}
_NO_ROOM_BYTES = 1024 * 1024
# What SQLite says of one statement and its values. Every other DatabaseError is about the store.
ITS_OWN = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)

Change = Callable[[sqlite3.Connection], Any]
Landed = Callable[[list[Any]], None]


class Job:
    """Changes that arrived together, and who is told when they are durable.

    `landed` is called on the writer's thread with one result a change: what it returned, or the exception that kept
    it from being stored. Changes that are `contained` undo by themselves what is wrong with them alone: what they raise
    is about the store.
    """

    __slots__ = ("changes", "contained", "landed")

    def __init__(self, changes: Sequence[Change], landed: Landed, *, contained: bool = False) -> None:
        self.changes = changes
        self.landed = landed
        self.contained = contained


class Writer:
    """Owns the writing connection.

    A change that fails is undone alone; the others of its group are stored. When the disk is full everyone waiting is
    told Unavailable, and the next group tries again. After any other I/O error nothing more is acknowledged, since
    nobody knows what such a disk has kept: `on_broken` is called once, and every later change is Unavailable.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        folder: Path,
        *,
        before_commit: Change = lambda _: None,
        after_commit: Callable[[bool], None] = lambda _: None,
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._before_commit = before_commit
        self._after_commit = after_commit
        self._on_broken = on_broken
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._broken = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="headgate-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand over a job; returns at once. After `close` every change is Unavailable."""
        self._jobs.put(job)
        if self._closed and not self._thread.is_alive():
            self._turn_away()

    def change(self, change: Change) -> Any:
        """Carry out one change durably and return what it returns. Raises what it raises, or Unavailable."""
        done = threading.Event()
        result: list[Any] = []

        def landed(results: list[Any]) -> None:
            result.extend(results)
            done.set()

        self.submit(Job([change], landed))
        done.wait()
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def close(self) -> None:
        """Finish what was submitted, then close the connection."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        self._turn_away()

    def _turn_away(self) -> None:
        """Nobody writes any more: who waits is told."""
        with suppress(queue.Empty):
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    job.landed([Unavailable(retry_after_s=1)] * len(job.changes))

    def _run(self) -> None:
        while self._next():
            pass
        self._connection.close()

    def _next(self) -> bool:
        """Wait for jobs and commit those that are there; False when there will be no more. What it has done it lets go
        of, which may be megabytes, and not when the next job comes."""
        group = [self._jobs.get()]
        while not self._jobs.empty():
            group.append(self._jobs.get())
        jobs = [job for job in group if job is not None]
        if jobs:
            self._commit(jobs)
        return len(jobs) == len(group)

    def _commit(self, jobs: list[Job]) -> None:
        try:
            results = self._attempt(jobs)
        except Exception as error:  # noqa: BLE001 - a mistake of ours behind a commit; nobody may wait for ever
            log.critical("the writer failed where=%s: nothing more is acknowledged", site(error))
            self._break()
            results = _nothing(jobs)
        at = 0
        for job in jobs:
            try:
                job.landed(results[at : at + len(job.changes)])
            except Exception as error:  # noqa: BLE001 - one that cannot be told must not keep it from the others
                log.error("an outcome was not told where=%s", site(error))
            at += len(job.changes)

    def _attempt(self, jobs: list[Job]) -> list[Any]:
        failed = _nothing(jobs)
        if self._broken:
            return failed
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [
                change(self._connection) if job.contained else self._apply(change)
                for job in jobs
                for change in job.changes
            ]
            self._before_commit(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._failed(error)
            return failed
        except Exception as error:  # noqa: BLE001 - a mistake of ours; who waits must hear of it all the same
            log.critical("the writer failed where=%s: nothing more is acknowledged", site(error))
            self._break()
            return failed
        self._after_commit(True)
        return results

    def _apply(self, change: Change) -> Any:
        """One change of a group; what is wrong with it alone (not with the disk) fails it alone."""
        self._connection.execute("SAVEPOINT change")
        try:
            result = change(self._connection)
        except Exception as error:
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, ITS_OWN):
                raise
            self._connection.execute("ROLLBACK TO change")
            result = error
        self._connection.execute("RELEASE change")
        return result

    def _failed(self, error: sqlite3.Error) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as second:
            error = second
        self._after_commit(False)
        if self._no_room(error.sqlite_errorcode):
            log.error("the disk is full: nothing is stored until there is room")
        elif error.sqlite_errorcode & 0xFF in _LASTING:
            log.critical("the store failed (%s): nothing more is acknowledged", error.sqlite_errorname)
            self._break()
        else:
            log.error("a commit failed (%s)", error.sqlite_errorname)

    def _break(self) -> None:
        self._broken = True
        try:
            self._on_broken()
        except Exception as error:  # noqa: BLE001 - the thread must live to tell every later change
            log.critical("nothing restarts the process where=%s: stop it and start it again", site(error))

    def _no_room(self, code: int) -> bool:
        """Whether nothing but space is missing. A failed sync is never that: what it left on disk is unknown."""
        if code == sqlite3.SQLITE_FULL:
            return True
        return code in _WRITING and shutil.disk_usage(self._folder).free < _NO_ROOM_BYTES


def _nothing(jobs: Sequence[Job]) -> list[Any]:
    """The results where none of it is stored, or nobody knows."""
    return [Unavailable(retry_after_s=1)] * sum(len(job.changes) for job in jobs)
