"""A message as an item of its channel's table, and back; `aws/layout.py` says what is called how."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from uuid_utils import uuid7

from headgate import limits
from headgate.aws.layout import (
    BODY,
    BODY_AT,
    DIGEST,
    ERROR,
    EXPIRES_AT,
    EXPIRES_MS,
    PRINCIPAL,
    RECEIVED_AT,
    REQUEST_ID,
    SHARD,
    STATUS,
    TRACEPARENT,
    Layout,
    body_prefix,
    key_text,
    value_of,
)
from headgate.clock import isoformat
from headgate.message import Message, at_path, digest, load, scalar_text

Values = Mapping[str, Any]
"""Attributes as DynamoDB's API has them: `{"status": {"S": "processed"}}`."""

Mark = tuple[str, str, str]
"""Channel, scope and key."""

PLACE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z_[0-9a-f]{32}", re.ASCII)
"""What `received_at` looks like."""

_ISO_LENGTH = 24
_DAY_MS = 24 * 3600 * 1000


class Row(NamedTuple):
    """A message on its way into its table. `body_at` is where its body lies in the bucket, None where in the row."""

    message: Message
    key: Values
    values: Values
    place: str
    digest: bytes
    body_at: str | None

    @property
    def mark(self) -> Mark:
        """What two messages with the same key have in common."""
        return self.message[:3]


def row_of(message: Message, layout: Layout, inline_bytes: int) -> Row:
    """The row of a message that comes now. Raises where there can be none, as for a key that is not UTF-8."""
    key = key_of(layout, message.scope, message.key)
    if key is None:
        raise ValueError("keys of this channel do not count per principal")
    unique = uuid7().hex
    place = f"{isoformat(message.received_ms)}_{unique}"
    digest_ = digest(message.body)
    body_at = _address(message) if len(message.body) > inline_bytes else None
    values: dict[str, Any] = {
        **_attributes(layout, message),
        **{name: {"S": key_text(value)} for name, value in message.fields if layout.index_of(name)},
        **key,
        RECEIVED_AT: {"S": place},
        SHARD: {"S": unique[-1]},
        DIGEST: {"B": digest_},
        **({BODY: {"S": message.body.decode()}} if body_at is None else {BODY_AT: {"S": body_at}}),
        STATUS: {"S": message.status},
        REQUEST_ID: {"S": message.request_id},
    }
    for name, text in ((PRINCIPAL, message.principal), (TRACEPARENT, message.traceparent), (ERROR, message.error)):
        if text:
            values[name] = {"S": text}
    if message.expires_ms is not None:
        values[EXPIRES_MS] = {"N": str(message.expires_ms)}
        values[EXPIRES_AT] = {"N": str(-(-message.expires_ms // 1000))}
    json.dumps(values, default=lambda _: "", ensure_ascii=False).encode()  # half a surrogate pair ends here
    return Row(message, key, values, place, digest_, body_at)


def key_of(layout: Layout, scope: str, key: str) -> dict[str, Any] | None:
    """The primary key of a message; None where the table can hold none under it."""
    partition = {layout.partition.name: {"S": key_text(key)}}
    if layout.sort is not None:
        return {**partition, layout.sort.name: {"S": key_text(scope)}}
    return partition if not scope else None


def message_of(layout: Layout, values: Values, body: bytes = b"") -> Message:
    """The message of a row, with its body where it lies in the row, else with the one given."""
    return Message(
        layout.channel,
        "" if layout.sort is None else value_of(values[layout.sort.name]["S"]),
        value_of(values[layout.partition.name]["S"]),
        values[BODY]["S"].encode() if BODY in values else body,
        _received_ms(values[RECEIVED_AT]["S"]),
        _text(values, PRINCIPAL) or "",
        values[REQUEST_ID]["S"],
        _text(values, TRACEPARENT) or "",
        values[STATUS]["S"],
        int(values[EXPIRES_MS]["N"]) if EXPIRES_MS in values else None,
        (),
        _text(values, ERROR),
    )


def is_expired(values: Values, now_ms: int) -> bool:
    """Whether a row is there for DynamoDB alone, which removes it some time later."""
    return EXPIRES_MS in values and int(values[EXPIRES_MS]["N"]) <= now_ms


def _address(message: Message) -> str:
    """Where a large body lies: named by what it is and whose, so that a repeat writes the same object again, and
    removing one message never takes away the body of another."""
    days = None if message.expires_ms is None else -(-(message.expires_ms - message.received_ms) // _DAY_MS)
    whose = json.dumps([message.scope, message.key], ensure_ascii=False).encode()
    name = hashlib.sha256(hashlib.sha256(whose).digest() + message.body).hexdigest()
    return f"{body_prefix(message.channel, days)}{name}"


def _attributes(layout: Layout, message: Message) -> dict[str, Any]:
    if not layout.attributes:
        return {}
    tree = load(message.body).tree
    found = ((field.name, scalar_text(at_path(tree, field.path))) for field in layout.attributes)
    most = limits.INDEX_VALUE.value
    return {name: {"S": text} for name, text in found if text is not None and len(text.encode()) <= most}


def _received_ms(place: str) -> int:
    return round(datetime.fromisoformat(place[:_ISO_LENGTH]).timestamp() * 1000)


def _text(values: Values, name: str) -> str | None:
    return values[name]["S"] if name in values else None
