"""What travels through SQS: where a row is; or, with `validate="worker"`, what came in, as API Gateway wraps it,
or what a workflow has sent, as it is."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from headgate.declare.auth import Iam
from headgate.declare.channel import Channel
from headgate.message import Message

_ROW = "headgate_row"
_MARK = "headgate"
_ARRIVAL = ("id", "received_ms", "principal", "traceparent", "body")


MARKED = {_MARK: {"DataType": "String", "StringValue": "1"}}
"""What headgate puts on each message that it writes into a queue, and nobody else does. A workflow may be brought to
send a body that looks like one of ours; without this it is a body like any other."""


class Where(NamedTuple):
    """A message that has a row. `place` is where it stands among those that it is ordered with (its `received_at`),
    empty where there are none."""

    scope: str
    key: str
    place: str = ""

    def written(self) -> str:
        """As the body of a message of SQS."""
        told = {"scope": self.scope, "key": self.key, **({"place": self.place} if self.place else {})}
        return json.dumps({_ROW: told}, ensure_ascii=False)


def arrival_template(channel: Channel) -> str:
    """The mapping template by which API Gateway makes a SendMessage of a request, which it has turned into base64
    (CONVERT_TO_TEXT, every media type binary). What a sender can write is base64, so it needs no quoting."""
    who = "$!context.identity.userArn" if isinstance(channel.auth, Iam) else "$!context.authorizer.principalId"
    members = {
        "id": "$context.requestId",
        "received_ms": "$context.requestTimeEpoch",
        "principal": f'$util.urlEncode($util.base64Encode("{who}"))',
        "traceparent": "$util.urlEncode($util.base64Encode(\"$!input.params('traceparent')\"))",
        "body": "$util.urlEncode($input.body)",
    }
    inside = "%2C".join(f"%22{name}%22%3A%22{value}%22" for name, value in members.items())
    ((name, value),) = MARKED.items()
    mark = {"Name": name, **{f"Value.{part}": text for part, text in value.items()}}
    attribute = "".join(f"&MessageAttribute.1.{part}={text}" for part, text in mark.items())
    return f"Action=SendMessage&MessageBody=%7B{inside}%7D{attribute}"


ARRIVAL_REPLY = '{"id":"$context.requestId"}'
"""The response template, for the status 202."""


class Sent(NamedTuple):
    """A message of SQS: its id, when it was sent, and whether headgate has written it."""

    id: str
    at_ms: int
    is_ours: bool

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Sent:
        """That of a record of an event."""
        sent_ms = (record.get("attributes") or {}).get("SentTimestamp") or 0
        return cls(record["messageId"], int(sent_ms), _MARK in (record.get("messageAttributes") or {}))


def opened(channel: Channel, body: str, sent: Sent) -> Where | Message | None:
    """What a message of SQS is about: a row, or a message that has none yet; None where it is neither. Where messages
    are let in unread, whatever a workflow has sent is one, under the id of the message of SQS."""
    if sent.is_ours:
        return _read(channel, body)
    if not channel.unread:
        return None
    return Message(channel.name, "", sent.id, body.encode(), sent.at_ms, "", sent.id, "", "accepted", None)


def _read(channel: Channel, body: str) -> Where | Message | None:
    try:
        found = json.loads(body)
        if found.keys() == {_ROW}:
            row = found[_ROW]
            return Where(_text(row["scope"]), _text(row["key"]), _text(row.get("place", "")))
        return _arrived(channel, found) if found.keys() == {*_ARRIVAL} else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        return None


def sealed(arrived: Message) -> str:
    """What came in, as API Gateway would have put it into the queue: it keeps its id whatever message it is in."""
    told = {
        "id": arrived.key,
        "received_ms": arrived.received_ms,
        "principal": base64.b64encode(arrived.principal.encode()).decode(),
        "traceparent": base64.b64encode(arrived.traceparent.encode("latin-1")).decode(),
        "body": base64.b64encode(arrived.body).decode(),
    }
    return json.dumps(told)


def _arrived(channel: Channel, found: Mapping[str, Any]) -> Message:
    principal = _decoded(found["principal"]).decode()
    return Message(
        channel.name,
        principal if channel.per_principal else "",
        _text(found["id"]),
        _decoded(found["body"]),
        int(found["received_ms"]),
        principal,
        _text(found["id"]),
        _decoded(found["traceparent"]).decode("latin-1"),
        "accepted",
        None,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
