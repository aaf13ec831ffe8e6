"""Reading executions from beside the server that runs them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headgate.engine import Execution, ExecutionPage, HistoryEvent
from headgate.local.executions import store
from headgate.local.executions.room import told
from headgate.local.executions.schema import open_reading


class Reading:
    """What the file holds, over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, workflow: str | None, status: str | None, limit: int, after: str | None) -> ExecutionPage:
        """See `Executions.find`."""
        if after is not None and not (after.isascii() and after.isdigit()):
            raise ValueError("no cursor of ours")
        found = store.runs(self._connection, workflow, status, limit + 1, None if after is None else int(after))
        more = str(found[limit - 1].seq) if len(found) > limit else None
        return ExecutionPage([told(run) for run in found[:limit]], more)

    def called(self, name: str) -> list[Execution]:
        """The execution with that ARN; else those of that name, of any workflow."""
        one = store.find(self._connection, name)
        if one is not None:
            return [told(one)]
        rows = self._connection.execute("SELECT arn FROM execution WHERE name = ? ORDER BY seq", (name,)).fetchall()
        return [told(run) for (arn,) in rows if (run := store.find(self._connection, arn)) is not None]

    def history(self, id: str, after: int = 0, limit: int = -1) -> list[HistoryEvent]:
        """See `Executions.history`; all of it, if no limit is said."""
        return [HistoryEvent(*line) for line in store.events(self._connection, id, after, limit)]

    def document(self, id: str) -> dict[str, Any]:
        """The definition it was started with."""
        row = self._connection.execute(
            "SELECT text FROM document JOIN execution ON execution.document = digest WHERE arn = ?", (id,)
        ).fetchone()
        return json.loads(row[0])  # type: ignore[no-any-return]


@contextmanager
def reading(file: Path) -> Iterator[Reading]:
    """Open the file for a while. Raises Misuse where no workflow has run."""
    connection = open_reading(file)
    try:
        yield Reading(connection)
    finally:
        connection.close()
