"""What has to be done now and then: checkpoints and the removal of expired messages, beside the writer."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from headgate.errors import Unavailable
from headgate.gate.observe import site

log = logging.getLogger("headgate.local")

_PAUSE_S = 0.25
_SWEEP_EVERY_S = 30.0
# 64 MiB of log: a passive checkpoint keeps behind a busy writer; from here on the writer is made to start over.
_LOG_PAGES = 16_384


class Upkeep:
    """A thread of its own. `touched` says that something was committed; without it the thread sleeps."""

    def __init__(
        self,
        file: Path,
        sweep: Callable[[], int],
        *,
        pause_s: float = _PAUSE_S,
        sweep_every_s: float = _SWEEP_EVERY_S,
    ) -> None:
        self._file = file
        self._sweep = sweep
        self._pause_s = pause_s
        self._sweep_every_s = sweep_every_s
        self._touched = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headgate-upkeep", daemon=True)
        self._thread.start()

    def touched(self) -> None:
        """There is something to checkpoint."""
        self._touched.set()

    def close(self) -> None:
        """Stop, after what is being done."""
        self._closing.set()
        self._touched.set()
        self._thread.join()

    def _run(self) -> None:
        connection = sqlite3.connect(self._file, isolation_level=None, timeout=1.0)
        busy_s = 0.0  # without a sweep; a store that is never idle is swept all the same
        try:
            while not self._closing.is_set():
                if self._touched.wait(self._sweep_every_s) and busy_s < self._sweep_every_s:
                    self._touched.clear()
                    self._closing.wait(self._pause_s)
                    busy_s += self._pause_s
                    self._checkpoint(connection)
                else:
                    busy_s = 0.0
                    self._remove_expired()
        finally:
            connection.close()

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        try:
            _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages > _LOG_PAGES:
                connection.execute("PRAGMA wal_checkpoint(RESTART)")
        except sqlite3.Error as error:
            log.warning("a checkpoint failed (%s); the next one tries again", error.sqlite_errorname)

    def _remove_expired(self) -> None:
        try:
            while self._sweep() and not self._closing.is_set():
                pass
        except Unavailable:
            log.warning("expired messages could not be removed; the next sweep tries again")
        except Exception as error:  # noqa: BLE001 - the thread must live
            log.error("a sweep failed where=%s", site(error))
