"""From a request to stored messages: the steps of `accept` are read top to bottom."""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from json.encoder import encode_basestring
from typing import Any

from headgate.clock import isoformat
from headgate.declare.channel import Channel
from headgate.engine import Outcome, Place
from headgate.errors import (
    Answerable,
    Conflict,
    InProgress,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMedia,
)
from headgate.events import Accepted
from headgate.gate.batch import accept_many
from headgate.gate.effects import Admit, Backlog, Commit, Effect, ReadBody
from headgate.gate.finish import stored
from headgate.gate.judge import Envelope, judge
from headgate.gate.observe import Observer, contained
from headgate.gate.plan import Plan
from headgate.http import RETRY_AFTER_S, Receipt, Reply, Request
from headgate.message import STARTED, UNREAD, Message, load

_JSON_MEDIA = re.compile(r"application/(json|[\w.!#$&^-]+\+json)\s*(;.*)?", re.IGNORECASE)
_FULL = "As much is waiting here as may wait. Send it again when some of it is done."
_FULL_RETRY_S = 5

Steps = Generator[Effect, Any, Reply]


def accept(plan: Plan, request: Request, observer: Observer) -> Steps:
    """Store what a POST brings. Raises a Refusal or a Fault for what is not stored."""
    principal, body = yield from _who_and_what(plan, request)
    if plan.channel.unread:
        return (yield from _let_in(plan, request, principal, body, observer))
    if plan.channel.many:
        return (yield from accept_many(plan, Envelope.of(plan, request, principal), body, observer))
    item = load(body)
    message = judge(plan, Envelope.of(plan, request, principal), item)
    (outcome,) = yield from stored(plan, [message])
    return _answer_one(plan.channel, message, outcome, observer)


def _let_in(plan: Plan, request: Request, principal: str, body: bytes, observer: Observer) -> Steps:
    """Store a body unread, under an id of ours: gate/work.py looks at it later."""
    scope = principal if plan.per_principal else ""
    id_ = plan.new_id()
    arrived = Message(
        plan.channel.name, scope, id_, body, request.received_ms, principal, id_, request.traceparent, UNREAD, None
    )
    (outcome,) = yield Commit([arrived], whole=False)
    if outcome.kind != "stored":
        raise _refusal(outcome)
    observer.told(Accepted(plan.channel.name, 1, 0))
    return Reply(plan.channel.taken, {"id": id_})


def _admit(channel: Channel) -> Generator[Effect, Any, None]:
    if channel.throttle is not None:
        wait_s = yield Admit(channel.name, channel.throttle)
        if wait_s > 0:
            raise TooManyRequests(retry_after_s=math.ceil(wait_s))
    if channel.queue is not None and (yield Backlog(channel.name)) >= channel.queue.at_most:
        raise Unavailable(_FULL, reason="queue_full", retry_after_s=_FULL_RETRY_S)


def _who_and_what(plan: Plan, request: Request) -> Generator[Effect, Any, tuple[str, bytes]]:
    """The principal and the body. Credentials are looked at before the body is read, unless they sign it; and before
    the throttle, so that who has none cannot use up what is there for those who have."""
    if plan.verifier.needs_body:
        body = yield from _body(plan.channel)
        principal = yield from plan.verifier.verify(request, body)
        yield from _admit(plan.channel)
        _check_media(request)
        return principal, body
    principal = yield from plan.verifier.verify(request, None)
    yield from _admit(plan.channel)
    _check_media(request)
    return principal, (yield from _body(plan.channel))


def _check_media(request: Request) -> None:
    media = request.headers.get(b"content-type")
    if not media and b"origin" in request.headers:
        # A web page of somebody else's can make its visitor post without a type, but not with one of ours.
        raise UnsupportedMedia
    if media and media != b"application/json" and not _JSON_MEDIA.fullmatch(media.decode("latin-1").strip()):
        raise UnsupportedMedia
    if request.headers.get(b"content-encoding", b"identity") not in (b"identity", b""):
        raise UnsupportedMedia("Send the body as it is, without Content-Encoding.", reason="content_encoding")


def _body(channel: Channel) -> Generator[Effect, Any, bytes]:
    body = yield ReadBody(channel.body_limit_bytes)
    if body is None:
        raise TooLarge(f"This channel takes bodies of at most {channel.body_limit_bytes} bytes.")
    return body  # type: ignore[no-any-return]


def receipt(message: Message, place: Place | None, body: bytes) -> Receipt:
    """The facts from which a stored message's reply is made."""
    shard, sequence = (None, None) if place is None else place
    started = next((moment.detail for moment in reversed(message.timeline) if moment.what == STARTED), None)
    received_at = isoformat(message.received_ms)
    return Receipt(message.channel, message.key, message.received_ms, received_at, shard, sequence, started, body)


def _answer_one(channel: Channel, message: Message, outcome: Outcome, observer: Observer) -> Reply:
    match outcome.kind:
        case "stored":
            observer.told(Accepted(channel.name, 1, 0))
            return _accepted(channel, outcome.message or message, outcome.place, message.body, observer)
        case "replayed" if outcome.message is not None:
            observer.told(Accepted(channel.name, 0, 1))
            reply = _accepted(channel, outcome.message, outcome.place, message.body, observer)
            return reply.with_headers(("Idempotency-Replayed", "true"))
        case _:
            raise _refusal(outcome)


def _accepted(channel: Channel, message: Message, place: Place | None, body: bytes, observer: Observer) -> Reply:
    if channel.accepted is None:
        return Reply(channel.taken, b'{"id":%b}' % encode_basestring(message.key).encode())
    try:
        with contained():
            reply = channel.accepted(receipt(message, place, body))
        made = (reply if isinstance(reply, Reply) else Reply(channel.taken, reply)).checked()
    except Exception as error:  # noqa: BLE001 - the message is stored: whatever `accepted=` does, the sender must hear so
        observer.shaping_failed(channel.name, "accepted=", message.request_id, error)
        return Reply(channel.taken, {"id": message.key})
    return made


def _refusal(outcome: Outcome) -> Answerable:
    match outcome.kind:
        case "conflict":
            return Conflict()
        case "in_progress":
            return InProgress(retry_after_s=RETRY_AFTER_S)
        case _:
            return Unavailable(retry_after_s=RETRY_AFTER_S)
