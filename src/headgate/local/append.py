"""New rows at the end of `message`, in few statements.

To bind a value costs more than to store it, and holds up the event loop (the GIL); every statement that begins or ends
waits for its turn. So what the messages of one request share is bound once, in the temporary table `envelope`, and
statements are long: of few sizes, so that they stay prepared, and filled up with rows of 0, which join no envelope.
Where requests brought one message each there is little to share, and each row brings all of its own.

Python's sqlite3 looks for an adapter for each None and each `bytes`, which takes ten times as long as to bind an
integer or a `bytearray`: so there are none in what is bound for each row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from headgate.message import Message

_SHARED = "channel, scope, received_ms, principal, request_id, traceparent, status, expires_ms, error"
_NULLED = _SHARED.replace("expires_ms, error", "nullif(expires_ms, 0), nullif(error, '')")
_shared = itemgetter(*map(Message._fields.index, _SHARED.split(", ")))
_MOST_ROWS = 1024  # of one statement
_SIZES = [2**power for power in range(_MOST_ROWS.bit_length())]

# Rows of earlier groups are overwritten when their number comes up again.
ENVELOPES = f"CREATE TEMP TABLE envelope (id INTEGER PRIMARY KEY, {_SHARED})"


def append(
    connection: sqlite3.Connection, channels: Mapping[str, int], messages: Collection[Message], first_seq: int
) -> None:
    """Insert `messages` under the numbers that begin with `first_seq`, in order. Only for the writing connection."""
    envelopes = [(shared, [*alike]) for shared, alike in groupby(messages, key=_shared)]
    if 2 * len(envelopes) > len(messages):
        _append_singly(connection, channels, messages, first_seq)
    else:
        _append_shared(connection, channels, envelopes, first_seq)
    if any(message.fields for message in messages):
        fields = [
            (channels[message.channel], name, value, seq)
            for seq, message in enumerate(messages, first_seq)
            for name, value in message.fields
        ]
        connection.executemany("INSERT OR IGNORE INTO field VALUES (?,?,?,?)", fields)


def _append_singly(
    connection: sqlite3.Connection, channels: Mapping[str, int], messages: Iterable[Message], first_seq: int
) -> None:
    """Most have an envelope of their own: there is nothing to share."""
    rows: list[Any] = []
    for message in messages:
        channel, *shared, expires_ms, error = _shared(message)
        rows += (message.key, bytearray(message.body), channels[channel], *shared, expires_ms or 0, error or "")
    for size, values in _slices(rows, 11):
        connection.execute(_INSERT_WHOLE[size], [*values, first_seq])
        first_seq += size


def _append_shared(
    connection: sqlite3.Connection,
    channels: Mapping[str, int],
    envelopes: Iterable[tuple[tuple[Any, ...], list[Message]]],
    first_seq: int,
) -> None:
    heads: list[Any] = []
    rows: list[Any] = []
    for number, ((channel, *shared), alike) in enumerate(envelopes, start=1):
        heads += (number, channels[channel], *shared)
        for message in alike:
            rows += (number, message.key, bytearray(message.body))
    for size, values in _slices(heads, 10):
        connection.execute(_INSERT_ENVELOPES[size], values)
    for size, values in _slices(rows, 3):
        connection.execute(_INSERT_ROWS[size], [*values, first_seq])
        first_seq += size


def _slices(values: list[Any], width: int) -> Iterator[tuple[int, list[Any]]]:
    """The values of at most `_MOST_ROWS` rows at a time, filled up to one of the sizes."""
    for at in range(0, len(values), _MOST_ROWS * width):
        part = values[at : at + _MOST_ROWS * width]
        size = next(size for size in _SIZES if size * width >= len(part))
        yield size, part + [0] * (size * width - len(part))


def _envelopes(size: int) -> str:
    values = ",".join(["(?,?,?,?,?,?,?,?,?,?)"] * size)
    return f"INSERT OR REPLACE INTO envelope SELECT * FROM (VALUES {values}) WHERE column1 <> 0"


def _rows(size: int) -> str:
    values = ",".join(f"({place},?,?,?)" for place in range(size))
    return (
        f"WITH new (place, envelope, key, body) AS (VALUES {values})"
        f" INSERT INTO message (seq, key, body, {_SHARED}) SELECT ? + place, key, body, {_SHARED}"
        " FROM new CROSS JOIN envelope ON envelope.id = new.envelope"
    )


def _whole(size: int) -> str:
    values = ",".join(f"({place},?,?,?,?,?,?,?,?,?,?,?)" for place in range(size))
    return (
        f"WITH new (place, key, body, {_SHARED}) AS (VALUES {values})"
        f" INSERT INTO message (seq, key, body, {_SHARED}) SELECT ? + place, key, body, {_NULLED}"
        " FROM new WHERE key <> 0"
    )


_INSERT_ENVELOPES = {size: _envelopes(size) for size in _SIZES}
_INSERT_ROWS = {size: _rows(size) for size in _SIZES}
_INSERT_WHOLE = {size: _whole(size) for size in _SIZES}
