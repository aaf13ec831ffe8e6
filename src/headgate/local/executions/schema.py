"""The file that executions are kept in: its tables, its version, and how a connection to it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from headgate.errors import Misuse
from headgate.local.layout import is_as_made

FILE_NAME = "executions.sqlite3"
VERSION = 1
_BUSY_TIMEOUT_S = 5.0

# `branch` holds what is under way, and what a redrive needs of executions that ended badly. `event` grows at its end
# for each execution. Documents are kept: a changed app does not change what is under way, and there are few of them.
SCHEMA = """
CREATE TABLE document (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE execution (
    seq INTEGER PRIMARY KEY,
    arn TEXT UNIQUE NOT NULL,
    machine TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    document TEXT NOT NULL,
    input TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    stopped_ms INTEGER,
    output TEXT,
    error TEXT,
    cause TEXT,
    deadline_ms INTEGER,
    next_event INTEGER NOT NULL,
    next_branch INTEGER NOT NULL,
    redrives INTEGER NOT NULL,
    redriven_ms INTEGER,
    told INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX execution_machine ON execution (machine, seq);
CREATE INDEX execution_status ON execution (status, seq) WHERE status != 'SUCCEEDED';
CREATE INDEX execution_untold ON execution (seq) WHERE told = 0 AND status != 'RUNNING';
CREATE INDEX execution_stopped ON execution (stopped_ms) WHERE stopped_ms IS NOT NULL;
CREATE TABLE branch (
    execution INTEGER NOT NULL, id INTEGER NOT NULL, phase TEXT NOT NULL, due_ms INTEGER, by_wall INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (execution, id)
) WITHOUT ROWID;
CREATE TABLE event (
    execution INTEGER NOT NULL, id INTEGER NOT NULL, previous INTEGER NOT NULL, ms INTEGER NOT NULL,
    type TEXT NOT NULL, details TEXT NOT NULL,
    PRIMARY KEY (execution, id)
) WITHOUT ROWID"""


def open_writing(file: Path) -> sqlite3.Connection:
    """The one connection that writes; makes the file where there is none. Raises Misuse for one that is not ours."""
    from headgate.local.schema import SYNCHRONOUS  # here, because it brings the HTTP client of the keys along

    file.touch(mode=0o600)
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    try:
        _refuse_others(connection, file)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # upkeep.py does it, beside the writer
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            _create(connection)
        # What an earlier process wrote but could not sync is in this machine's memory only: write and sync it now.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except BaseException:
        connection.close()
        raise
    return connection


def open_reading(file: Path) -> sqlite3.Connection:
    """A connection that cannot write; it sees every commit that has returned. Raises Misuse where there is none."""
    if not file.exists():
        raise Misuse(f"No workflow has run yet: there is no {file}.")
    uri = f"{file.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    try:
        _refuse_others(connection, file)
    except BaseException:
        connection.close()
        raise
    return connection


def is_store(connection: sqlite3.Connection) -> bool:
    """Whether the file has the tables and indexes of a store of executions, and nothing else."""
    return is_as_made(connection, _create)


def _refuse_others(connection: sqlite3.Connection, file: Path) -> None:
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise Misuse(f"{file} is not a headgate store of executions.") from None
        raise
    if version not in (0, VERSION) or (version == 0 and tables):
        raise Misuse(
            f"{file} was written by another headgate (version {version}, this one knows {VERSION}); use that headgate, "
            "or another --state folder."
        )


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
