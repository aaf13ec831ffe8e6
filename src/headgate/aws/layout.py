"""How a channel lies in DynamoDB: pure data, for the stacks that make the tables and for the index that uses them.

    partition key   the key, under its own name: `record_id` for key="metadata.record_id"
    sort key        `scope`, the sender, only where a key counts per principal
    body            the bytes as they came, as text; from 32 KB on in the bucket, under `body_at`
    received_at     `<ISO time>_<UUIDv7>`: when it came, unique, and in the order of time
    expires_at      for DynamoDB's own expiry, in seconds; `expires_ms` is exact, and what readers go by
    shard           0 to f, by chance: what lists of a whole channel are spread over
    due_at          when an unfinished message has to be looked after next, in milliseconds
    lease           of a message in work: the token of whoever is at it; else what was done to the row last
    dead            of a dead letter: its shard
    execution_arn   of the execution that the message started last
    order_line      of an unfinished message with an order: what stands for the value that it is ordered by
    record_at       of a message in a stream: the shard and the sequence of its record; absent until both are known
    headgate.trial  in rows that are no messages: what a consumer of a stream is at, and had no luck with
    unread          there where nobody has looked at the body yet, or it was found to be bad

A key or an index that is empty, or begins with a NUL, is stored behind a NUL: DynamoDB takes no empty keys.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal, NamedTuple

from headgate.declare.channel import Channel
from headgate.declare.stores import Archive, Shown

Kind = Literal["S", "N"]

SCOPE = "scope"
BODY = "body"
BODY_AT = "body_at"
DIGEST = "digest"
RECEIVED_AT = "received_at"
PRINCIPAL = "principal"
REQUEST_ID = "request"
TRACEPARENT = "traceparent"
STATUS = "status"
ERROR = "error"
EXPIRES_AT = "expires_at"
EXPIRES_MS = "expires_ms"
DUE_AT = "due_at"
SHARD = "shard"
ATTEMPTS = "attempts"
LEASE = "lease"
TIMELINE = "timeline"
ORDER = "order_key"
ORIGINAL = "original"
ORIGINAL_AT = "original_at"
UNREAD = "unread"
SWEPT_AT = "swept_at"
DEAD = "dead"
EXECUTION_ARN = "execution_arn"
RECORD_AT = "record_at"
LINE = "order_line"
TRIAL = "headgate.trial"

SHARDS = "0123456789abcdef"
"""The values of `shard`."""

NEWEST = "headgate.newest"
"""The index of all messages; no field can be called so, since a dot separates the names of fields."""
DUE = "headgate.due"
"""The index of unfinished messages: only those have `due_at`."""
DEAD_LETTERS = "headgate.dead"
"""The index of dead letters: only those have `dead`."""
LINES = "headgate.line"
"""The index of unfinished messages by the value that they are ordered by, in the order in which they came."""
EXECUTIONS = "headgate.execution"
"""The index of messages by the execution that they started."""

_INDEX_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")


class Attribute(NamedTuple):
    """An attribute that is part of a key."""

    name: str
    kind: Kind = "S"


class SecondaryIndex(NamedTuple):
    """A global secondary index. It projects keys alone, so that a write costs one unit whatever the body weighs."""

    name: str
    partition: Attribute
    sort: Attribute


class Layout(NamedTuple):
    """The table of one channel. TTL is on EXPIRES_AT; everything else is settled by whoever makes it.

    Of the indexes those that begin with `headgate.` are ours, the rest are the declared ones. `attributes` are
    what is shown beside the body; fields that are part of a key are attributes already. `archive` names the objects
    that one of them may tell.
    """

    channel: str
    partition: Attribute
    sort: Attribute | None
    indexes: tuple[SecondaryIndex, ...]
    attributes: tuple[Shown, ...] = ()
    archive: Archive | None = None

    def index_of(self, field: str) -> SecondaryIndex | None:
        """The index that finds messages by a declared field; None where none does."""
        declared = (index for index in self.indexes if not index.name.startswith("headgate."))
        return next((index for index in declared if index.partition.name == field), None)

    def telling(self, fact: str) -> list[str]:
        """The attributes that tell a fact."""
        return [it.name for it in self.attributes if it.fact == fact]


API_KEYS = Attribute("id")
"""The partition key of the table of API keys; it has no other key and no index."""


def layout_of(channel: Channel) -> Layout:
    """The layout of a checked channel's table. The rows of a Stream channel are its dead letters, each in the scope of
    the consumer that gave the record up; and, in no scope, those by which it dedupes."""
    received = Attribute(RECEIVED_AT)
    keys = {channel.key_name, *(field.name for field in channel.indexes)}
    found = (SecondaryIndex(_index_name(field.name), Attribute(field.name), received) for field in channel.indexes)
    return Layout(
        channel.name,
        Attribute(channel.key_name),
        Attribute(SCOPE) if channel.per_principal or channel.stream else None,
        (
            SecondaryIndex(NEWEST, Attribute(SHARD), received),
            SecondaryIndex(DUE, Attribute(SHARD), Attribute(DUE_AT, "N")),
            *([SecondaryIndex(DEAD_LETTERS, Attribute(DEAD), received)] if _can_fail(channel) else []),
            *([SecondaryIndex(LINES, Attribute(LINE), received)] if _is_ordered(channel) else []),
            *([SecondaryIndex(EXECUTIONS, Attribute(EXECUTION_ARN), received)] if channel.start else []),
            *found,
        ),
        tuple(it for it in channel.attributes if it.name not in keys),
        channel.archive,
    )


def line_of(order: str) -> str:
    """What stands for a value that messages are ordered by, in a row and in a queue of SQS."""
    return hashlib.sha256(order.encode("utf-8", "surrogatepass")).hexdigest()


def body_prefix(channel: str, keep_days: int | None) -> str:
    """Where a channel's large bodies lie in the bucket. With `keep_days` they may be removed from the bucket so many
    days (and one to spare) after they came; with None they stay until their message is deleted."""
    return f"{channel}/{'kept' if keep_days is None else f'{keep_days}d'}/"


def key_text(value: str) -> str:
    """A value as it is stored where it is part of a key."""
    return f"\0{value}" if not value or value[0] == "\0" else value


def dead_shard(status: str, shard: str) -> str:
    """The part of the index of dead letters where one lies: what was rejected by itself, alarms count what failed."""
    return shard if status == "failed" else f"{status}-{shard}"


def value_of(text: str) -> str:
    """What `key_text` was given."""
    return text.removeprefix("\0")


def _can_fail(channel: Channel) -> bool:
    """Whether its table may hold dead letters."""
    return bool(channel.queue or channel.stream or channel.start)


def _is_ordered(channel: Channel) -> bool:
    return channel.queue is not None and channel.queue.order_by is not None


def _index_name(field: str) -> str:
    """The field's name; for one that DynamoDB takes for no index, one made of it."""
    if _INDEX_NAME.fullmatch(field):
        return field
    return f"by-{field}" if _INDEX_NAME.fullmatch(f"by-{field}") else f"by-{hashlib.sha256(field.encode()).hexdigest()}"
