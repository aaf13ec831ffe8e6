"""Whether a file of SQLite is one of ours."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable


def is_as_made(connection: sqlite3.Connection, create: Callable[[sqlite3.Connection], None]) -> bool:
    """Whether the file has the tables and indexes that `create` makes, and nothing else: a trigger would change what is
    kept.

    What SQLite itself counted for its query planner does not matter.
    """
    layout = (
        "SELECT type, name, tbl_name, sql FROM sqlite_master"
        " WHERE NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4')) ORDER BY type, name"
    )
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        create(fresh)
        return connection.execute(layout).fetchall() == fresh.execute(layout).fetchall()
