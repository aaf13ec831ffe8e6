"""Reading back: one message by its key, or a page of them by an index."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Generator
from typing import Any
from urllib.parse import parse_qsl, unquote

from headgate import limits
from headgate.clock import isoformat
from headgate.engine import Page
from headgate.errors import FieldFault, Invalid, Malformed, NotFound
from headgate.gate.effects import Effect, Find, Get
from headgate.gate.plan import Plan
from headgate.http import Reply, Request
from headgate.message import Message, Moment, load

_PAGE_DEFAULT = 10
_NO_MESSAGE = "There is no message with this key."

Steps = Generator[Effect, Any, Reply]


def read_one(plan: Plan, request: Request, encoded_key: str) -> Steps:
    """GET /<channel>/{key}. A message that expired, or that another principal's key names, is not there."""
    message = yield from _message(plan, request, encoded_key)
    return Reply(200, shown(message, unread=plan.channel.unread))


def _message(plan: Plan, request: Request, encoded_key: str) -> Generator[Effect, Any, Message]:
    principal = yield from plan.verifier.verify(request, b"")
    try:
        key = unquote(encoded_key, errors="strict")
    except UnicodeDecodeError:
        raise NotFound(_NO_MESSAGE) from None
    message = yield Get(plan.channel.name, principal if plan.per_principal else "", key)
    if message is None:
        raise NotFound(_NO_MESSAGE)
    return message  # type: ignore[no-any-return]


def read_many(plan: Plan, request: Request) -> Steps:
    """GET /<channel>?<index>=<value>&limit=&cursor=, newest first."""
    principal = yield from plan.verifier.verify(request, b"")
    field, value, limit, cursor = _asked(plan, request.query)
    after = _opened(cursor, field, value) if cursor is not None else None
    try:
        page: Page = yield Find(
            plan.channel.name, principal if plan.per_principal else None, field, value, limit, after
        )
    except ValueError:
        raise _bad_cursor() from None
    items = b",".join(shown(message, unread=plan.channel.unread) for message in page.messages)
    following = None if page.next is None else _sealed(field, value, page.next)
    return Reply(200, b'{"items":[%b],"cursor":%b}' % (items, json.dumps(following).encode()))


def read_timeline(plan: Plan, request: Request, encoded_key: str) -> Steps:
    """GET /<channel>/{key}/timeline: what happened to a message, and when. Exceptions are not told."""
    message = yield from _message(plan, request, encoded_key)
    told = {"key": message.key, "status": message.status, "items": [_told(moment) for moment in moments_of(message)]}
    return Reply(200, told)


def moments_of(message: Message) -> list[Moment]:
    """A message's timeline, from its acceptance on."""
    return [Moment(message.received_ms, "accepted"), *message.timeline]


def _told(moment: Moment) -> dict[str, object]:
    return {
        "at": isoformat(moment.at_ms),
        "what": moment.what,
        "attempt": moment.attempt or None,
        "took_ms": moment.took_ms,
        "detail": moment.detail or None,
    }


def shown(message: Message, *, unread: bool = False) -> bytes:
    """A message as a reader gets it: the body's bytes stand in it as they came. On a channel that lets them in unread
    the body may be anything; what is no JSON is shown as text."""
    return b'{"key":%b,"status":"%b","received_at":"%b","body":%b,"error":%b}' % (
        json.dumps(message.key, ensure_ascii=False).encode(),
        message.status.encode(),
        isoformat(message.received_ms).encode(),
        body_as_json(message.body) if unread else message.body,
        json.dumps(message.error, ensure_ascii=False).encode(),
    )


def body_as_json(body: bytes) -> bytes:
    """The body itself, or, where it is no JSON, its text as a JSON string."""
    try:
        load(body)
    except Malformed:
        return json.dumps(body.decode("utf-8", "backslashreplace")).encode()
    return body


def _asked(plan: Plan, query: str) -> tuple[str, str, int, str | None]:
    names = [index.name for index in plan.channel.indexes]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=10, errors="strict")
    except ValueError:
        raise Invalid("The query is not valid.", reason="invalid_query") from None
    asked = dict(pairs)
    limit = _limit(asked.pop("limit", str(_PAGE_DEFAULT)))
    cursor = asked.pop("cursor", None)
    if len(asked) != 1 or len(pairs) != len(dict(pairs)) or next(iter(asked)) not in names:
        raise Invalid(f"Ask by exactly one of these: {', '.join(names)}.", reason="invalid_query")
    ((field, value),) = asked.items()
    return field, value, limit, cursor


def _limit(text: str) -> int:
    most = limits.PAGE.value
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise Invalid(
            f"`limit` must be a number from 1 to {most}.",
            reason="invalid_query",
            faults=(FieldFault("", f"`limit` must be a number from 1 to {most}", "limit"),),
        )
    return int(text)


def _sealed(field: str, value: str, after: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([field, value, after]).encode()).decode().rstrip("=")


def _opened(cursor: str, field: str, value: str) -> str:
    """What `_sealed` put in; a cursor of another query, or of no query, is the sender's mistake."""
    try:
        parts = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise _bad_cursor() from None
    if not (isinstance(parts, list) and len(parts) == 3 and parts[:2] == [field, value] and isinstance(parts[2], str)):
        raise _bad_cursor()
    return parts[2]


def _bad_cursor() -> Invalid:
    return Invalid("`cursor` is not one that this query gave. Start again without it.", reason="invalid_cursor")
