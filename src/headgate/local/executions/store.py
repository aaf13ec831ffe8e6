"""What is read from and written to the store of executions."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from headgate.local.executions.state import Branch, Event, Run, branch_from_json, text

_RUN = (
    "seq, arn, machine, name, kind, input, started_ms, status, stopped_ms, output, error, cause, deadline_ms,"
    " next_event, next_branch, redrives, redriven_ms"
)


_MOST_DOCUMENTS = 256
_documents: dict[str, Mapping[str, Any]] = {}  # by digest, which says what they are


class Loaded(NamedTuple):
    """An execution as it was last written."""

    run: Run
    document: Mapping[str, Any]
    branches: dict[int, Branch]


class Change:
    """What happened to one execution since it was last written."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.new_document: str | None = None  # the execution itself is new
        self.branches: dict[int, Branch | None] = {}
        self.events: list[Event] = []


def digest(document: str) -> str:
    return hashlib.sha256(document.encode()).hexdigest()


def write(connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Write what happened; the caller's transaction makes it one with everything else in it."""
    for change in changes:
        if change.new_document is not None:
            _insert(connection, change.run, change.new_document)
        else:
            _update(connection, change.run)
        _write_branches(connection, change)
        if change.run.kind == "STANDARD":  # of an Express execution Step Functions keeps no history
            connection.executemany(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (change.run.seq, event.id, event.previous, event.ms, event.type, text(event.details))
                    for event in change.events
                ],
            )


def _insert(connection: sqlite3.Connection, run: Run, document: str) -> None:
    key = digest(document)
    connection.execute("INSERT OR IGNORE INTO document VALUES (?, ?)", (key, document))
    connection.execute(
        f"INSERT INTO execution ({_RUN}, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*_row(run), key),
    )


def _update(connection: sqlite3.Connection, run: Run) -> None:
    connection.execute(
        "UPDATE execution SET status = ?, stopped_ms = ?, output = ?, error = ?, cause = ?, deadline_ms = ?,"
        " next_event = ?, next_branch = ?, redrives = ?, redriven_ms = ?, told = 0 WHERE seq = ?",
        (*_row(run)[7:], run.seq),
    )


def _row(run: Run) -> tuple[Any, ...]:
    return (
        run.seq,
        run.arn,
        run.machine,
        run.name,
        run.kind,
        run.input,
        run.started_ms,
        run.status,
        run.stopped_ms,
        run.output,
        run.error,
        run.cause,
        run.deadline_ms,
        run.next_event,
        run.next_branch,
        run.redrives,
        run.redriven_ms,
    )


def _write_branches(connection: sqlite3.Connection, change: Change) -> None:
    kept, gone = [], []
    for id, branch in change.branches.items():
        if branch is None:
            gone.append((change.run.seq, id))
        else:
            kept.append((change.run.seq, id, branch.phase, branch.due_ms, branch.by_wall, branch.to_json()))
    connection.executemany("INSERT OR REPLACE INTO branch VALUES (?, ?, ?, ?, ?, ?)", kept)
    connection.executemany("DELETE FROM branch WHERE execution = ? AND id = ?", gone)


def load(connection: sqlite3.Connection, seq: int) -> Loaded | None:
    """An execution with its branches; None where there is none."""
    row = connection.execute(f"SELECT {_RUN}, document FROM execution WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        return None
    branches = {
        id: branch_from_json(id, data)
        for id, data in connection.execute("SELECT id, data FROM branch WHERE execution = ?", (seq,))
    }
    return Loaded(Run(*row[:-1]), _document(connection, row[-1]), branches)


def _document(connection: sqlite3.Connection, key: str) -> Mapping[str, Any]:
    if key not in _documents:
        (found,) = connection.execute("SELECT text FROM document WHERE digest = ?", (key,)).fetchone()
        if len(_documents) >= _MOST_DOCUMENTS:
            _documents.clear()
        _documents[key] = json.loads(found)
    return _documents[key]


def find(connection: sqlite3.Connection, arn: str) -> Run | None:
    row = connection.execute(f"SELECT {_RUN} FROM execution WHERE arn = ?", (arn,)).fetchone()
    return None if row is None else Run(*row)


def runs(
    connection: sqlite3.Connection, machine: str | None, status: str | None, limit: int, before: int | None
) -> list[Run]:
    """Executions, the one started last first."""
    by_status = "status = ?" if status == "SUCCEEDED" else "status != 'SUCCEEDED' AND status = ?"  # as its index says
    wanted = [("machine = ?", machine), (by_status, status), ("seq < ?", before)]
    given = [(clause, value) for clause, value in wanted if value is not None]
    where = " AND ".join(clause for clause, _ in given) or "1"
    rows = connection.execute(
        f"SELECT {_RUN} FROM execution WHERE {where} ORDER BY seq DESC LIMIT ?", (*(v for _, v in given), limit)
    )
    return [Run(*row) for row in rows]


def events(connection: sqlite3.Connection, arn: str, after: int, limit: int) -> list[Event]:
    rows = connection.execute(
        "SELECT id, previous, ms, type, details FROM event"
        " WHERE execution = (SELECT seq FROM execution WHERE arn = ?) AND id > ? ORDER BY id LIMIT ?",
        (arn, after, limit),
    )
    return [Event(id, previous, ms, type, json.loads(details)) for id, previous, ms, type, details in rows]


def last_seq(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT ifnull(max(seq), 0) FROM execution").fetchone()[0])


def under_way(connection: sqlite3.Connection) -> list[tuple[int, int, str, int | None, int]]:
    """Every branch that something has to be done for: execution, branch, phase, due time, whether by the calendar."""
    return connection.execute(
        "SELECT execution, id, phase, due_ms, by_wall FROM execution JOIN branch ON execution = seq"
        " WHERE status != 'SUCCEEDED' AND status = 'RUNNING' AND phase IN ('ready', 'waiting', 'task')"
        " ORDER BY execution, id"
    ).fetchall()


def deadlines(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    return connection.execute(
        "SELECT seq, deadline_ms FROM execution"
        " WHERE status != 'SUCCEEDED' AND status = 'RUNNING' AND deadline_ms IS NOT NULL"
    ).fetchall()


def untold(connection: sqlite3.Connection) -> list[int]:
    """Executions whose end was not yet passed on."""
    return [seq for (seq,) in connection.execute("SELECT seq FROM execution WHERE told = 0 AND status != 'RUNNING'")]


def mark_told(connection: sqlite3.Connection, seqs: Iterable[int]) -> None:
    connection.executemany("UPDATE execution SET told = 1 WHERE seq = ?", [(seq,) for seq in seqs])


def forget(connection: sqlite3.Connection, stopped_before_ms: int, limit: int = 100) -> int:
    """Remove executions that ended before then, with their history; how many."""
    seqs = connection.execute(
        "SELECT seq FROM execution WHERE stopped_ms < ? ORDER BY stopped_ms LIMIT ?", (stopped_before_ms, limit)
    ).fetchall()
    for table, key in (("event", "execution"), ("branch", "execution"), ("execution", "seq")):
        connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", seqs)
    return len(seqs)
