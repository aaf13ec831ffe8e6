"""Copies of the store, and putting one back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from errno import ENOSPC
from pathlib import Path
from typing import NamedTuple

from headgate.errors import Misuse
from headgate.local.executions.schema import is_store as is_executions
from headgate.local.executions.schema import open_reading as open_executions
from headgate.local.schema import is_store, open_reading
from headgate.local.state import sync_folder

_PAGES_AT_ONCE = 4_096
_BESIDE = ("-wal", "-shm")


class Kind(NamedTuple):
    """What is in a file: how it is opened, what its layout has to be, and what is counted in it."""

    opened: Callable[[Path], sqlite3.Connection]
    is_whole: Callable[[sqlite3.Connection], bool]
    counted: str


MESSAGES = Kind(open_reading, is_store, "SELECT count(*) FROM message")
EXECUTIONS = Kind(open_executions, is_executions, "SELECT count(*) FROM execution")


class Restored(NamedTuple):
    """How many messages or executions are back, and where the store that they replaced is kept."""

    total: int
    kept: Path | None


def back_up(store: Path, file: Path, kind: Kind = MESSAGES) -> int:
    """Copy the store, as it is at one moment, into a new file; how much is in it.

    Also beside a server, which goes on writing. When it returns, the copy was read through and is on disk. The name
    is taken at once and never holds a part of a copy. Raises Misuse where the file exists.
    """
    file = file.resolve()
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise Misuse(f"{file} exists already; a backup never replaces a file. Say another name.") from None
    try:
        with _reading(store, kind) as source:
            count = _copy(source, store, file, kind)
    except BaseException:
        file.unlink()
        raise
    return count


def put_back(file: Path, store: Path, *, replaced: str | None, kind: Kind = MESSAGES) -> Restored:
    """Put a backup in the store's place, in one step. The caller holds the state folder.

    The backup is checked first. Where there is a store, `replaced` is the suffix under which it is kept beside.
    Raises Misuse where the file is no good backup, or where there is a store and no suffix.
    """
    if not file.is_file():
        raise Misuse(f"There is no file {file}.")
    if replaced is None and store.exists():
        raise Misuse(f"There is a store already, {store}; --force replaces it, and keeps it beside.")
    with _reading(file, kind) as source:
        copied = store.with_name(f"{store.name}.restoring")
        try:
            count = _copy(source, file, copied, kind)
            kept = _set_aside(store, replaced) if store.exists() else None
            copied.replace(store)
        except BaseException:
            copied.unlink(missing_ok=True)
            raise
    sync_folder(store.parent)
    return Restored(count, kept)


@contextlib.contextmanager
def _reading(file: Path, kind: Kind) -> Iterator[sqlite3.Connection]:
    try:
        connection = kind.opened(file)
    except sqlite3.DatabaseError as error:
        raise Misuse(f"{file} cannot be read ({error}).") from None
    try:
        yield connection
    finally:
        connection.close()


def _copy(source: sqlite3.Connection, origin: Path, file: Path, kind: Kind) -> int:
    """Copy into a file beside `file`, check it, sync it, then give it the name. `origin` is where `source` reads."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        copy = sqlite3.connect(part, isolation_level=None)
        try:
            source.execute("BEGIN")  # one moment, however long the copying takes
            source.backup(copy, pages=_PAGES_AT_ONCE)
            source.execute("COMMIT")
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, that needs no other beside it
            _check(copy, origin, kind)
            (count,) = copy.execute(kind.counted).fetchone()
        finally:
            copy.close()
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(file)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:  # of the copy: of the store nothing is written
            raise OSError(ENOSPC, os.strerror(ENOSPC), str(file)) from None
        raise
    sync_folder(file.parent)
    return int(count)


def _check(copy: sqlite3.Connection, origin: Path, kind: Kind) -> None:
    try:
        (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise Misuse(f"The copy of {origin} is damaged, and so is what it was made from: {found}")
    if not kind.is_whole(copy):
        raise Misuse(f"{origin} has other tables, indexes or triggers than a headgate store; use a backup without.")


def _set_aside(store: Path, suffix: str | None) -> Path:
    """Keep a store under another name, and its log with it: that one first, since it must not meet another store."""
    kept = store.with_name(f"{store.name}.{suffix}")
    for beside in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{store}{beside}").replace(f"{kept}{beside}")
    store.replace(kept)
    return kept
