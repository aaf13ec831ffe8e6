"""The store's file: its layout, its version, and how a connection to it is opened."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from headgate.errors import Misuse
from headgate.local.alarms import SCHEMA as ALARMS_SCHEMA
from headgate.local.append import ENVELOPES
from headgate.local.items import SCHEMA as ITEMS_SCHEMA
from headgate.local.journal import SCHEMA as WORK_SCHEMA
from headgate.local.keys import SCHEMA as KEYS_SCHEMA
from headgate.local.layout import is_as_made
from headgate.local.scheduler import SCHEMA as SCHEDULES_SCHEMA
from headgate.local.stream import SCHEMA as STREAM_SCHEMA
from headgate.local.topics import SCHEMA as TOPICS_SCHEMA

FILE_NAME = "messages.sqlite3"
VERSION = 3

# FULL: every commit is synced. With NORMAL 233 of 240 simulated power cuts lost acknowledged rows.
SYNCHRONOUS = "FULL"

_WRITER_CACHE_KIB = 64 * 1024
_READER_CACHE_KIB = 4 * 1024  # for each thread that reads
_BUSY_TIMEOUT_MS = 5_000
_LOG_BYTES = 64 * 1024 * 1024  # what is kept of the log's file after a checkpoint

# `message` only ever grows at its end. `claim` says which row holds a key, by fingerprint; it is merged in sorted
# order by claims.py and may lag behind: rows above `meta.claimed_to` are not in it yet.
_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE channel (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    traceparent TEXT NOT NULL,
    status TEXT NOT NULL,
    expires_ms INTEGER,
    error TEXT
);
CREATE INDEX message_channel ON message (channel);
CREATE INDEX message_expires ON message (expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE claim (fingerprint BLOB PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE field (
    channel INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (channel, name, value, seq)
) WITHOUT ROWID;
CREATE INDEX field_seq ON field (seq);
{WORK_SCHEMA};
{KEYS_SCHEMA};
{STREAM_SCHEMA};
{TOPICS_SCHEMA};
{ALARMS_SCHEMA};
{SCHEDULES_SCHEMA};
{ITEMS_SCHEMA};
"""


def open_writing(file: Path) -> sqlite3.Connection:
    """The one connection that writes; makes the file where there is none.

    Raises Misuse for a file that a newer headgate wrote, or that is not one of ours.
    """
    file.touch(mode=0o600)
    connection = sqlite3.connect(
        file,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        timeout=_BUSY_TIMEOUT_MS / 1000,
    )
    with _closed_when_refused(connection):
        _configure(connection, file, _WRITER_CACHE_KIB)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
        connection.execute("PRAGMA temp_store = MEMORY")  # a full /var/tmp is not our full disk
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # upkeep.py does it, beside the writer
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            _create(connection)
        check_version(connection, file)
        connection.execute(ENVELOPES)
        # What an earlier process wrote but could not sync is in this machine's memory only: write and sync it now.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return connection


def open_reading(file: Path) -> sqlite3.Connection:
    """A connection that cannot write; it sees every commit that has returned."""
    connection = sqlite3.connect(
        f"{file.resolve().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_BUSY_TIMEOUT_MS / 1000,
    )
    with _closed_when_refused(connection):
        _configure(connection, file, _READER_CACHE_KIB)
        connection.execute("PRAGMA query_only = ON")
        check_version(connection, file)
    return connection


@contextlib.contextmanager
def _closed_when_refused(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # A file that is refused is left as it is: no checkpoint on the way out, where Python can say so (3.12).
        if configure := getattr(connection, "setconfig", None):
            configure(1006, True)  # SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE
            connection.close()
        raise


def know_channels(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Give every channel its number, durably, before anything is stored for it."""
    connection.executemany("INSERT OR IGNORE INTO channel (name) VALUES (?)", [(name,) for name in names])


def fingerprint_key(connection: sqlite3.Connection) -> bytes:
    """The store's own secret, from which claims.py makes fingerprints."""
    (key,) = connection.execute("SELECT value FROM meta WHERE name = 'fingerprint_key'").fetchone()
    return bytes(key)


def not_a_store(file: Path) -> str:
    """What is said of a file that is no store; it may be one that was damaged, or anything at all."""
    if file.name != FILE_NAME:
        return f"{file} is not a headgate store."
    return f"{file} is not a headgate store; `headgate restore FILE --force` puts a backup in its place."


def check_version(connection: sqlite3.Connection, file: Path) -> None:
    """Raise Misuse unless this headgate can read the file."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        raise Misuse(not_a_store(file))
    if version != VERSION:
        age = "newer" if version > VERSION else "older"
        raise Misuse(
            f"{file} was written by {age} headgate (store version {version}, this one knows {VERSION}); "
            "use that headgate, or another --state folder."
        )


def _configure(connection: sqlite3.Connection, file: Path, cache_kib: int) -> None:
    try:
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise Misuse(not_a_store(file)) from None
        raise


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('fingerprint_key', ?), ('claimed_to', 0)", (secrets.token_bytes(32),))
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def is_store(connection: sqlite3.Connection) -> bool:
    """Whether the file has the tables and indexes of a store of messages, and nothing else."""
    return is_as_made(connection, _create)
