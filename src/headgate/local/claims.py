"""Which row holds a key.

A unique index on random keys dirties one page a row, and its rate falls to a fifth as it grows. So the newest claims
live in memory, and are merged into the `claim` table in sorted slices, one slice a commit: a slice touches few pages.
Nothing is lost by that: the message rows are the truth, and the claims of the newest rows are made anew from them
when the store is opened.

    live     claims of committed rows since the last turn
    merging  the ones before, on their way into the table
    table    all older ones
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence

_TURN = 100_000
_SLICE = 2_000
_MARK_BYTES = 16

# Marks come as one value, end to end: one statement for any number of them, and nothing but its result to wait for.
_HOLDERS = f"""
WITH RECURSIVE place (at) AS (SELECT 1 UNION ALL SELECT at + {_MARK_BYTES} FROM place WHERE at + {_MARK_BYTES} < ?2)
SELECT fingerprint, seq FROM place CROSS JOIN claim ON fingerprint = substr(?1, at, {_MARK_BYTES})
"""
_MERGE = f"""
INSERT OR REPLACE INTO claim SELECT substr(?1, key * {_MARK_BYTES} + 1, {_MARK_BYTES}), value FROM json_each(?2)
"""


class Claims:
    """Owned by the writer; `holders` may be called from any thread, with a connection of its own."""

    def __init__(self, secret: bytes, *, turn: int = _TURN, slice_: int = _SLICE) -> None:
        self._hash = hashlib.blake2b(digest_size=_MARK_BYTES, key=secret)
        self._turn = turn
        self._slice = slice_
        self._live: dict[bytes, int] = {}
        self._merging: dict[bytes, int] = {}
        self._order: list[bytes] = []  # of those being merged, what is not in the table yet; the next ones come last
        self._written = 0  # of these, by the commit under way
        self._merging_to = 0

    def mark(self, channel: int, scope: str, key: str) -> bytes:
        """128 keyed bits that stand for a key; without the store's secret nobody can make two keys meet."""
        return self.marks(channel, scope, [key])[0]

    def marks(self, channel: int, scope: str, keys: Iterable[str]) -> list[bytes]:
        """The marks of several keys of one channel and scope."""
        place = self._hash.copy()
        place.update(f"{channel}:{len(scope)}:{scope}".encode())
        marks = []
        for key in keys:
            state = place.copy()
            state.update(key.encode())
            marks.append(state.digest())
        return marks

    def load(self, connection: sqlite3.Connection) -> None:
        """Make the newest claims anew from the rows that the table does not know yet."""
        (claimed_to,) = connection.execute("SELECT value FROM meta WHERE name = 'claimed_to'").fetchone()
        newer = "SELECT channel, scope, key, seq FROM message WHERE seq > ? ORDER BY seq"
        rows = connection.execute(newer, (claimed_to,))
        self._live = {self.mark(channel, scope, key): seq for channel, scope, key, seq in rows}

    def holders(self, connection: sqlite3.Connection, marks: Sequence[bytes]) -> dict[bytes, int]:
        """The rows of those `marks` that are claimed."""
        held: dict[bytes, int] = {}
        # In this order: a turn fills `_merging` before it empties `_live`. The newer claim counts.
        for claims in (self._live, self._merging):
            for mark in claims.keys() & marks:
                if (seq := claims.get(mark)) is not None:
                    held.setdefault(mark, seq)
        unknown = [mark for mark in marks if mark not in held] if held else marks
        if unknown:
            held.update(connection.execute(_HOLDERS, (b"".join(unknown), len(unknown) * _MARK_BYTES)))
        return held

    def add(self, claimed: dict[bytes, int]) -> None:
        """Take note of rows that are committed."""
        self._live.update(claimed)

    def release(self, connection: sqlite3.Connection, released: dict[bytes, int]) -> None:
        """Give up claims, inside the transaction that removes their rows."""
        for mark, seq in sorted(released.items()):
            connection.execute("DELETE FROM claim WHERE fingerprint = ? AND seq = ?", (mark, seq))

    def forget(self, released: dict[bytes, int]) -> None:
        """Take note that released claims are committed."""
        for mark, seq in released.items():
            for kept in (self._live, self._merging):
                if kept.get(mark) == seq:
                    del kept[mark]

    def merge(self, connection: sqlite3.Connection, new: int) -> None:
        """Inside a commit that has `new` claims: write the next slice, if a merge is under way, and one that is larger
        than what comes in. Repeating a slice does no harm."""
        if not self._order:
            return
        self._written = max(self._slice, 2 * new)
        part = [mark for mark in reversed(self._order[-self._written :]) if mark in self._merging]
        connection.execute(_MERGE, (b"".join(part), json.dumps([self._merging[mark] for mark in part])))
        if self._written >= len(self._order):
            connection.execute("UPDATE meta SET value = ? WHERE name = 'claimed_to'", (self._merging_to,))

    def merged(self) -> None:
        """After that commit: the slice is durable. When none is left and enough has gathered, start the next turn."""
        if self._order:
            del self._order[-self._written :]
            if not self._order:
                self._merging = {}
        elif len(self._live) >= self._turn:
            self._merging_to = max(self._live.values())
            self._merging = self._live
            self._live = {}
            self._order = sorted(self._merging, reverse=True)
