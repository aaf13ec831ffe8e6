"""Requests and replies as values, free of any server's types."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

from uuid_utils import uuid7

from headgate import limits
from headgate.errors import Answerable, FieldFault

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 1  # what to wait before sending again, where nothing better is known
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_FRAMING = ("connection", "content-length", "transfer-encoding")
_BODILESS = (204, 205, 304)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]{1,128})?")


class Request(NamedTuple):
    """What came in, without its body: the gate asks for that once it knows how much it may read.

    `path` and `query` are as sent, percent-encoding and all. `headers` has lower-case names; of a repeated header it
    holds the last, `fields` has all of them in the order they came. `id` is the sender's X-Request-Id where that is a
    plain word, else one of ours. `client` is an IP address, empty where it is not known; it is for the log alone.
    """

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    id: str
    received_ms: int
    client: str = ""
    fields: Sequence[tuple[bytes, bytes]] = ()

    def header(self, name: bytes) -> str | None:
        """The value of a header (name in lower case), read as UTF-8; None where absent or not UTF-8."""
        value = self.headers.get(name)
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None

    @property
    def traceparent(self) -> str:
        """The W3C trace context, or empty where there is none, or none that is well-formed."""
        value = self.header(b"traceparent")
        return value if value and _TRACEPARENT.fullmatch(value) else ""


def new_id() -> str:
    """A UUIDv7, for requests and for messages that bring no key: unique, and in the order of time."""
    return str(uuid7())


def request_id(headers: Mapping[bytes, bytes], otherwise: str) -> str:
    """The sender's X-Request-Id where it is 1 to 128 visible ASCII characters, else `otherwise`."""
    sent = headers.get(b"x-request-id")
    if sent is None:
        return otherwise
    text = sent.decode("latin-1")
    return text if _REQUEST_ID.fullmatch(text) else otherwise


def behind_proxy(peer: str, headers: Mapping[bytes, bytes]) -> str:
    """The sender's address where `peer` is a proxy on this machine: the last one in X-Forwarded-For, which is the one
    that this proxy wrote. Else `peer`."""
    try:
        if ip_address(peer).is_loopback:
            return str(ip_address(headers.get(b"x-forwarded-for", b"").rpartition(b",")[2].decode().strip()))
    except ValueError:
        pass
    return peer


class Reply(NamedTuple):
    """What goes back. `body` is JSON-able, or bytes that are sent as they are."""

    status: int
    body: object = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON

    def encoded(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")

    def all_headers(self, length: int) -> list[tuple[str, str]]:
        """The headers, names in lower case, with those that tell of a body of `length` bytes."""
        headers = [(name.lower(), value) for name, value in self.headers]
        if self.status != 204:
            headers += (("content-type", self.content_type), ("content-length", str(length)))
        return headers

    def wire_headers(self, length: int) -> list[tuple[bytes, bytes]]:
        """`all_headers` as ASGI has them."""
        return [
            (name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in self.all_headers(length)
        ]

    def head(self, length: int) -> bytes:
        """`all_headers` as the lines of HTTP/1.1."""
        lines = [f"{name.lower()}: {value}\r\n" for name, value in self.headers]
        if self.status != 204:
            lines.append(f"content-type: {self.content_type}\r\ncontent-length: {length}\r\n")
        return "".join(lines).encode("latin-1", "replace")

    def checked(self) -> Reply:
        """Itself; for replies that a user's function made. Raises where it could not be sent as it is, or where a
        client would take it for two replies or for none."""
        if self.status not in range(200, 600):
            raise ValueError("the status of a reply is from 200 to 599")
        if self.encoded() and self.status in _BODILESS:
            raise ValueError("a reply with this status has no body")
        for name, value in (*self.headers, ("Content-Type", self.content_type)):
            if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)) or name.lower() in _FRAMING:
                raise ValueError("a header of the reply cannot be sent")
        self.wire_headers(0)
        return self

    def with_headers(self, *headers: tuple[str, str]) -> Reply:
        """The same reply with headers added."""
        return Reply(self.status, self.body, (*self.headers, *headers), self.content_type)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The facts about a stored message, from which `accepted=` makes the reply.

    They are kept with the message, so a replayed answer is made from the same facts and is the same answer. `body` are
    the bytes that this sender sent; JSON that is spaced or ordered otherwise is the same. `shard` and
    `sequence` are where it is in the channel's stream, `execution` is the ARN of the execution that it started; None
    where it has none.
    """

    channel: str
    key: str
    received_ms: int
    received_at: str
    shard: str | None = None
    sequence: str | None = None
    execution: str | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a sender reads it: RFC 9457, with a `message` that can be shown as it is.

    `reason` is the stable word that `type` ends in and that refusals are counted by.
    """

    status: int
    reason: str
    title: str
    detail: str
    request_id: str
    errors: tuple[FieldFault, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, error: Answerable, request_id: str) -> Problem:
        """The problem that tells of `error`."""
        headers = error.headers
        # What broke is ours to look up: the sender gets the id to ask with, and no more.
        detail = f"{error.sentence} Tell us the request id {request_id}." if error.status == 500 else error.detail
        if error.retry_after_s is not None:
            headers = (*headers, ("Retry-After", str(error.retry_after_s)))
        return cls(
            status=error.status,
            reason=error.reason,
            title=error.title,
            detail=detail,
            request_id=request_id,
            errors=error.faults[: limits.FAULTS.value],
            headers=headers,
        )

    @property
    def message(self) -> str:
        """One sentence: the detail, and of several faults the first."""
        if not self.errors or self.errors[0].detail in self.detail:
            return self.detail
        first = self.errors[0]
        where = f"{first.pointer}: " if first.pointer else ""
        return f"{self.detail} {where}{first.detail}."

    def body(self) -> dict[str, object]:
        """The JSON object that is sent."""
        return {
            "type": f"urn:headgate:problem:{self.reason}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "message": self.message,
            "errors": [fault._asdict() for fault in self.errors],
            "request_id": self.request_id,
            **self.extra,
        }

    def reply(self) -> Reply:
        """The reply that carries it, unless the channel shapes its own."""
        return Reply(self.status, self.body(), self.headers, PROBLEM_JSON)
