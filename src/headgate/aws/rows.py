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
from headgate import message as words
from headgate.aws.layout import (
    ATTEMPTS,
    BODY,
    BODY_AT,
    DEAD,
    DIGEST,
    DUE_AT,
    ERROR,
    EXPIRES_AT,
    EXPIRES_MS,
    LINE,
    LINES,
    ORDER,
    ORIGINAL,
    PRINCIPAL,
    RECEIVED_AT,
    RECORD_AT,
    REQUEST_ID,
    SHARD,
    STATUS,
    TIMELINE,
    TRACEPARENT,
    UNREAD,
    Layout,
    body_prefix,
    dead_shard,
    key_text,
    line_of,
    value_of,
)
from headgate.clock import isoformat
from headgate.declare.stores import Named
from headgate.engine import DEAD as DEAD_STATUSES
from headgate.engine import OPEN, Place
from headgate.errors import Malformed
from headgate.message import Message, Moment, at_path, digest, load, scalar_text

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


def row_of(message: Message, layout: Layout, inline_bytes: int, now_ms: int) -> Row:
    """The row of a message that comes now. Raises where there can be none, as for a key that is not UTF-8."""
    key = key_of(layout, message.scope, message.key)
    if key is None:
        raise ValueError("keys of this channel do not count per principal")
    unique = uuid7().hex
    place = f"{isoformat(message.received_ms)}_{unique}"
    unread = is_unread(message)
    bad = unread or message.status in DEAD_STATUSES
    digest_ = _digest(message.body) if bad else digest(message.body)
    body_at = address(message) if len(message.body) > inline_bytes else None
    values: dict[str, Any] = {
        **({} if bad and not _is_json(message.body) else shown(layout, message)),
        **_facts(layout, message),
        **key,
        RECEIVED_AT: {"S": place},
        SHARD: {"S": unique[-1]},
        DIGEST: {"B": digest_},
        **({BODY: text_or_bytes(message.body)} if body_at is None else {BODY_AT: {"S": body_at}}),
        STATUS: {"S": "accepted" if message.status == words.UNREAD else message.status},
        REQUEST_ID: {"S": message.request_id},
        **({UNREAD: {"BOOL": True}} if unread else {}),
    }
    named = (
        (PRINCIPAL, message.principal), (TRACEPARENT, message.traceparent), (ERROR, message.error),
        (ORDER, message.order),
    )  # fmt: skip
    values |= {name: {"S": text} for name, text in named if text}
    if message.status in OPEN or message.status == words.UNREAD:
        values[DUE_AT] = {"N": str(now_ms)}
        values |= in_line(layout, message.order)
    if message.status in DEAD_STATUSES:
        values[DEAD] = {"S": dead_shard(message.status, unique[-1])}
    if message.attempts:
        values[ATTEMPTS] = {"N": str(message.attempts)}
    if message.timeline:
        values[TIMELINE] = {"S": timeline_text(message.timeline)}
    if message.expires_ms is not None:
        values |= expiry(message.expires_ms)
    json.dumps(values, default=lambda _: "", ensure_ascii=False).encode()  # half a surrogate pair ends here
    return Row(message, key, values, place, digest_, body_at)


def key_of(layout: Layout, scope: str, key: str) -> dict[str, Any] | None:
    """The primary key of a message; None where the table can hold none under it."""
    partition = {layout.partition.name: {"S": key_text(key)}}
    if layout.sort is not None:
        return {**partition, layout.sort.name: {"S": key_text(scope)}}
    return partition if not scope else None


def message_of(layout: Layout, values: Values, body: bytes = b"", original: bytes | None = None) -> Message:
    """The message of a row, with its body and its original where they lie in the row, else with those given."""
    return Message(
        layout.channel,
        "" if layout.sort is None else value_of(values[layout.sort.name]["S"]),
        value_of(values[layout.partition.name]["S"]),
        bytes_of(values[BODY]) if BODY in values else body,
        _received_ms(values[RECEIVED_AT]["S"]),
        _text(values, PRINCIPAL) or "",
        values[REQUEST_ID]["S"],
        _text(values, TRACEPARENT) or "",
        values[STATUS]["S"],
        int(values[EXPIRES_MS]["N"]) if EXPIRES_MS in values else None,
        (),
        _text(values, ERROR),
        _text(values, ORDER) or "",
        int(values[ATTEMPTS]["N"]) if ATTEMPTS in values else 0,
        None,
        bytes_of(values[ORIGINAL]) if ORIGINAL in values else original,
        tuple(Moment(*each) for each in json.loads(values[TIMELINE]["S"])) if TIMELINE in values else (),
    )


def is_expired(values: Values, now_ms: int) -> bool:
    """Whether a row is there for DynamoDB alone, which removes it some time later."""
    return EXPIRES_MS in values and int(values[EXPIRES_MS]["N"]) <= now_ms


def text_of(place: Place) -> str:
    """Where a record is, as its row tells it."""
    return f"{place.shard} {place.sequence}"


def record_at(values: Values) -> Place | None:
    """Where the record of a row is, as far as that is known."""
    return Place(*values[RECORD_AT]["S"].split(" ")) if RECORD_AT in values else None


def is_unread(message: Message) -> bool:
    """Whether a message has nothing but an id of ours, since nobody has looked at it, or what was seen was bad."""
    return message.status == words.UNREAD or (message.status in DEAD_STATUSES and message.key == message.request_id)


def expiry(expires_ms: int) -> dict[str, Any]:
    """The attributes that say when a row expires."""
    return {EXPIRES_MS: {"N": str(expires_ms)}, EXPIRES_AT: {"N": str(-(-expires_ms // 1000))}}


def timeline_text(timeline: tuple[Moment, ...]) -> str:
    """A timeline as it is stored."""
    return json.dumps(timeline, ensure_ascii=False, separators=(",", ":"))


def text_or_bytes(body: bytes) -> dict[str, Any]:
    """A body as an attribute: as text, which people can read, wherever it is some."""
    try:
        return {"S": body.decode()}
    except UnicodeDecodeError:
        return {"B": body}


def bytes_of(attribute: Mapping[str, Any]) -> bytes:
    """What `text_or_bytes` was given."""
    return attribute["S"].encode() if "S" in attribute else bytes(attribute["B"])


def shown(layout: Layout, message: Message) -> dict[str, Any]:
    """The attributes that are taken from the body: the declared indexes, and what is shown beside it. Of an object
    its name is told beforehand, as the row is there first; one that got another name is told once more."""
    found = {name: {"S": key_text(value)} for name, value in message.fields if layout.index_of(name)}
    return {**_attributes(layout, message), **found}


def address(message: Message) -> str:
    """Where a large body lies: named by what it is and whose, so that a repeat writes the same object again, and
    removing one message never takes away the body of another."""
    days = None if message.expires_ms is None else -(-(message.expires_ms - message.received_ms) // _DAY_MS)
    whose = json.dumps([message.scope, message.key], ensure_ascii=False).encode()
    name = hashlib.sha256(hashlib.sha256(whose).digest() + message.body).hexdigest()
    return f"{body_prefix(message.channel, days)}{name}"


def in_line(layout: Layout, order: str) -> dict[str, Any]:
    """What an unfinished message has where messages wait for each other."""
    has_lines = any(index.name == LINES for index in layout.indexes)
    return {LINE: {"S": line_of(order)}} if order and has_lines else {}


def _digest(body: bytes) -> bytes:
    try:
        return digest(body)
    except (ValueError, RecursionError):
        return hashlib.sha256(body).digest()


def _is_json(body: bytes) -> bool:
    try:
        load(body)
    except Malformed:
        return False
    return True


def _attributes(layout: Layout, message: Message) -> dict[str, Any]:
    fields = [(it.name, it.field) for it in layout.attributes if it.field is not None]
    objects = layout.telling("object") if layout.archive is not None and not is_unread(message) else []
    if not fields and not objects:
        return {}
    tree = load(message.body).tree
    found = [(name, scalar_text(at_path(tree, field.path))) for name, field in fields]
    if objects and layout.archive is not None:
        called = layout.archive.name(Named(message.key, message.principal, tree))
        found += [(name, called) for name in objects]
    most = limits.INDEX_VALUE.value
    return {name: {"S": text} for name, text in found if text is not None and len(text.encode()) <= most}


def _facts(layout: Layout, message: Message) -> dict[str, Any]:
    """What is known of a message when it comes, and never changes."""
    known = {"received_at": isoformat(message.received_ms), "principal": message.principal}
    told = ((name, text) for fact, text in known.items() for name in layout.telling(fact))
    return {name: {"S": text} for name, text in told if text}


def _received_ms(place: str) -> int:
    return round(datetime.fromisoformat(place[:_ISO_LENGTH]).timestamp() * 1000)


def _text(values: Values, name: str) -> str | None:
    return values[name]["S"] if name in values else None
