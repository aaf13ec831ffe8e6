"""Credentials: API keys and access keys in the store, and the public keys that issuers of tokens publish."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import string
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.client import HTTPException, HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import HTTPErrorProcessor, ProxyHandler, Request, build_opener

from headgate.clock import Clock
from headgate.declare.auth import jwks_url_fault
from headgate.engine import ApiKeyRow, Keys
from headgate.errors import Unavailable

log = logging.getLogger("headgate.local")

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

FRESH_S = 600
"""Published keys are asked for anew when they are older."""
MISSING_S = 60
"""Because of a key id that is not among them, or after a failure, they are asked for at most this often."""
FIRST_S = 5
"""While there were never any, they are asked for at most this often."""

_TIMEOUT_S = 5
_MOST_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024

Jwks = Sequence[Mapping[str, Any]]
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


class Published(NamedTuple):
    """What is known of the keys at one URL: the last good ones, None where there never were any.

    They are fresh until `stale_s`; no miss and no failure leads to another fetch before `again_s`.
    """

    keys: Jwks | None = None
    stale_s: float = float("-inf")
    again_s: float = float("-inf")


class LocalKeys(Keys):
    """API keys and access keys are held in memory, `rows` and `iam` at first; `change` makes a change durable, or
    raises Unavailable.

    `jwks` fetches in the calling thread; of several threads that need the same keys one does, the rest wait.
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
        self._clock = clock
        self._published: dict[str, Published] = {}
        self._fetching: dict[str, threading.Lock] = {}

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
        known = self._published.get(url, Published())
        if known.keys is None or missing or self._clock.elapsed_s() >= known.stale_s:
            with self._fetching.setdefault(url, threading.Lock()):
                known = self._refreshed(url, missing)
        if known.keys is None:
            raise Unavailable(
                "The keys that tokens are signed with cannot be had right now. Send it again in a moment.",
                reason="jwks_unavailable",
                retry_after_s=FIRST_S,
            )
        return known.keys

    def _refreshed(self, url: str, missing: bool) -> Published:
        """What is known after a fetch, if one is due; the caller holds the URL's lock."""
        known = self._published.get(url, Published())
        now_s = self._clock.elapsed_s()
        if now_s < known.again_s or (now_s < known.stale_s and not missing):
            return known
        try:
            keys = fetch_jwks(url, self._clock)
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            again_s = now_s + (FIRST_S if known.keys is None else MISSING_S)
            known = known._replace(again_s=again_s)
            log.warning(
                "the keys at %s could not be fetched (%s)%s",
                _without_query(url),
                type(error).__name__,
                "" if known.keys is None else "; the last good ones stay in use",
            )
        else:
            known = Published(keys, now_s + FRESH_S, now_s + MISSING_S if missing else known.again_s)
        self._published[url] = known
        return known


def fetch_jwks(url: str, clock: Clock) -> Jwks:
    """The JWK objects in the set that `url` answers with. Follows no redirect.

    Raises OSError, HTTPException, ValueError or RecursionError where no set of at most 1 MiB comes in time.
    """
    if fault := jwks_url_fault(url):
        raise ValueError(fault)
    # http is for this machine only, where no proxy can stand in between.
    proxies = [ProxyHandler({})] if urlsplit(url).scheme == "http" else []
    opener = build_opener(AnyAnswer, *proxies)
    deadline_s = clock.elapsed_s() + _TIMEOUT_S
    content = bytearray()
    with opener.open(Request(url, headers={"Accept": "application/json"}), timeout=_TIMEOUT_S) as response:  # noqa: S310
        if response.status != 200:
            raise ValueError("the answer is not 200")
        while chunk := response.read1(_CHUNK_BYTES):
            content += chunk
            if len(content) > _MOST_BYTES:
                raise ValueError("the answer is longer than 1 MiB")
            if clock.elapsed_s() > deadline_s:
                raise TimeoutError("the answer takes too long")
    document = json.loads(content)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("the answer is not a set of keys")
    return tuple(key for key in document["keys"] if isinstance(key, dict))


class AnyAnswer(HTTPErrorProcessor):
    """Hands over whatever answer came; above all it follows no redirect."""

    def http_response(self, request: Request, response: HTTPResponse) -> HTTPResponse:  # noqa: ARG002
        return response

    https_response = http_response


def _without_query(url: str) -> str:
    return url.partition("?")[0]
