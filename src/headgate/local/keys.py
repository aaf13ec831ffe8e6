"""Credentials: API keys and access keys in the store, and the public keys that issuers of tokens publish."""

from __future__ import annotations

import secrets
import sqlite3
import string
from collections.abc import Callable, Iterable
from typing import NamedTuple

from headgate.clock import Clock
from headgate.engine import ApiKeyRow, Keys
from headgate.issuers import Issuers, Jwks

_BASE32 = string.ascii_uppercase + "234567"
_SECRET = string.ascii_letters + string.digits + "+/"

SCHEMA = """CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE iam_key (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    name TEXT NOT NULL,
    secret TEXT NOT NULL,
    session_token TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER
) WITHOUT ROWID"""

Change = Callable[[sqlite3.Connection], None]


def load_keys(connection: sqlite3.Connection) -> list[ApiKeyRow]:
    """Every API key of the store."""
    rows = connection.execute("SELECT id, channel, name, digest, created_ms FROM api_key")
    return [ApiKeyRow(*row) for row in rows]


class IamKeyRow(NamedTuple):
    """An access key. Its secret is kept as it is, since a signature can only be checked by making it again.

    `channel` is empty where it opens every Iam channel. A temporary key has a session token, and expires.
    """

    id: str
    channel: str
    name: str
    secret: str
    session_token: str
    created_ms: int
    expires_ms: int | None

    def environment(self) -> dict[str, str]:
        """What the tools and SDKs of AWS read."""
        said = {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret}
        return {**said, "AWS_SESSION_TOKEN": self.session_token} if self.session_token else said


def load_iam_keys(connection: sqlite3.Connection) -> list[IamKeyRow]:
    """Every access key of the store."""
    rows = connection.execute("SELECT id, channel, name, secret, session_token, created_ms, expires_ms FROM iam_key")
    return [IamKeyRow(*row) for row in rows]


def new_iam_key(channel: str, name: str, created_ms: int, session_s: int = 0) -> IamKeyRow:
    """A new access key; with `session_s` a temporary one, which is good for so long."""
    id_ = ("ASIA" if session_s else "AKIA") + _random(_BASE32, 16)
    token = _random(_SECRET, 128) if session_s else ""
    expires_ms = created_ms + session_s * 1000 if session_s else None
    return IamKeyRow(id_, channel, name, _random(_SECRET, 40), token, created_ms, expires_ms)


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


class LocalKeys(Keys):
    """API keys and access keys are held in memory, `rows` and `iam` at first; `change` makes a change durable, or
    raises Unavailable.

    `jwks` fetches in the calling thread.
    """

    def __init__(
        self,
        rows: Iterable[ApiKeyRow],
        change: Callable[[Change], None],
        clock: Clock,
        iam: Iterable[IamKeyRow] = (),
    ) -> None:
        self._rows = {row.id: row for row in rows}
        self._iam = {row.id: row for row in iam}
        self._change = change
        self._issuers = Issuers(clock)

    def api_key(self, id: str) -> ApiKeyRow | None:
        return self._rows.get(id)

    def add_api_key(self, row: ApiKeyRow) -> None:
        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO api_key (id, channel, name, digest, created_ms) VALUES (?, ?, ?, ?, ?)", row
            )

        self._change(insert)
        self._rows[row.id] = row

    def remove_api_key(self, id: str) -> bool:
        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM api_key WHERE id = ?", (id,))

        if id not in self._rows:
            return False
        self._change(delete)
        return self._rows.pop(id, None) is not None

    def api_keys(self) -> list[ApiKeyRow]:
        return sorted(self._rows.values(), key=lambda row: (row.created_ms, row.id))

    def iam_key(self, id: str) -> IamKeyRow | None:
        """The access key with this id, or None."""
        return self._iam.get(id)

    def add_iam_key(self, row: IamKeyRow) -> None:
        """Keep an access key, durably. Raises Unavailable when it cannot."""

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO iam_key VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        self._change(insert)
        self._iam[row.id] = row

    def remove_iam_key(self, id: str) -> bool:
        """Forget an access key: from the return on it opens nothing. False where there was none."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM iam_key WHERE id = ?", (id,))

        if id not in self._iam:
            return False
        self._change(delete)
        return self._iam.pop(id, None) is not None

    def jwks(self, url: str, *, missing: bool) -> Jwks:
        return self._issuers.jwks(url, missing=missing)
