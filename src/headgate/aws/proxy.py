"""API Gateway's events of a REST API as requests, and replies in the form that it takes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from headgate.clock import Clock
from headgate.declare.auth import Iam
from headgate.declare.channel import Channel
from headgate.http import Reply, Request, new_id, request_id

Event = Mapping[str, Any]

_TEXT_BYTES = 1024 * 1024
"""Larger bodies go back in base64: a reply has at most 6 MB, and as text a body may become three times as long."""


def request_of(event: Event, channel: Channel, clock: Clock) -> Request:
    """The request of a proxy event, or of an authorizer's, which come without each other's parts."""
    context = event.get("requestContext") or {}
    fields = _fields(event)
    headers = dict(fields)
    return Request(
        str(event.get("httpMethod", "")),
        _path(event, channel),
        _query(event),
        headers,
        request_id(headers, str(context.get("requestId") or new_id())),
        clock.now_ms(),
        str((context.get("identity") or {}).get("sourceIp") or ""),
        fields,
    )


def body_of(event: Event) -> bytes:
    """The body, byte for byte."""
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        try:
            return base64.b64decode(body)
        except binascii.Error:
            pass
    return str(body).encode("utf-8", "surrogatepass")


def principal_of(event: Event, channel: Channel) -> str | None:
    """Who was let in, by our authorizer or by IAM. API Gateway writes it; no header and no body gets there."""
    context = event.get("requestContext") or {}
    if isinstance(channel.auth, Iam):
        return (context.get("identity") or {}).get("userArn") or None
    return (context.get("authorizer") or {}).get("principalId") or None


def answer_of(reply: Reply, *, bodiless: bool = False) -> dict[str, Any]:
    """A reply as a proxy integration gives it back; `bodiless` for what answers a HEAD."""
    body = b"" if bodiless else reply.encoded()
    headers: dict[str, list[str]] = {}
    for name, value in reply.headers:
        headers.setdefault(name, []).append(value)
    if reply.status != 204:
        headers["Content-Type"] = [reply.content_type]
    text = _text(body)
    return {
        "statusCode": reply.status,
        "multiValueHeaders": headers,
        "body": base64.b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
    }


def _text(body: bytes) -> str | None:
    if len(body) > _TEXT_BYTES:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _fields(event: Event) -> list[tuple[bytes, bytes]]:
    """Every header, as often as it was sent, by its name in lower case."""
    several = {name.lower(): values for name, values in (event.get("multiValueHeaders") or {}).items()}
    single = {name.lower(): [value] for name, value in (event.get("headers") or {}).items()}
    return [
        (name.encode("latin-1", "replace"), str(value).encode("utf-8", "surrogatepass"))
        for name, values in {**single, **several}.items()
        for value in values or ()
    ]


def _path(event: Event, channel: Channel) -> str:
    """The path as the app declares it, percent-encoding and all: behind a domain of the user's own the event's begins
    with what that domain puts before it, so the resource says where in the app this is."""
    path, resource = str(event.get("path", "")), event.get("resource")
    below = channel.path.rstrip("/") + "/"
    if resource == channel.path and (channel.path == "/" or not path.endswith("/")):
        return channel.path
    if resource == below + "{key}":
        return below + path.rpartition("/")[2]
    if resource == below + "{key}/timeline":
        return below + "/".join(path.rsplit("/", 2)[1:])
    return path


def _query(event: Event) -> str:
    several = event.get("multiValueQueryStringParameters") or {
        name: [value] for name, value in (event.get("queryStringParameters") or {}).items()
    }
    pairs = [(name, value) for name, values in several.items() for value in values or ()]
    return urlencode(pairs, errors="surrogatepass")
