"""Connections that only read: one for each thread that asks, and safe to close while some still do."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from headgate.errors import Unavailable

Result = TypeVar("Result")


class _Reader(NamedTuple):
    connection: sqlite3.Connection
    in_use: threading.RLock  # a query may ask for another one


class Readers:
    """Queries of one file. `opened` makes a connection to it.

    A query under way when `close` is called is finished first; later ones are Unavailable. Nothing less will do: a
    statement on a connection that another thread closes meanwhile takes the process down.
    """

    def __init__(self, opened: Callable[[], sqlite3.Connection]) -> None:
        self._opened = opened
        self._of_thread = threading.local()
        self._all: list[_Reader] = []
        self._changing = threading.Lock()
        self._closed = False

    def read_with(self, query: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `query` finds, on a connection of this thread's. Raises Unavailable."""
        try:
            reader: _Reader = getattr(self._of_thread, "reader", None) or self._add()
            with reader.in_use:
                if self._closed:
                    raise Unavailable(retry_after_s=1)
                return query(reader.connection)
        except sqlite3.Error:
            raise Unavailable("The store cannot be read right now. Try again in a moment.", retry_after_s=1) from None

    def close(self) -> None:
        """Let queries finish, then close every connection."""
        with self._changing:
            self._closed = True
        for reader in self._all:
            with reader.in_use:
                reader.connection.close()

    def _add(self) -> _Reader:
        with self._changing:
            if self._closed:
                raise Unavailable(retry_after_s=1)
            reader = self._of_thread.reader = _Reader(self._opened(), threading.RLock())
            self._all.append(reader)
            return reader
