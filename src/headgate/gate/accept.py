"""From a request to stored messages: the steps of `accept` are read top to bottom."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator, Sequence
from typing import Any

from pydantic_core import ValidationError

from headgate import limits
from headgate.clock import isoformat
from headgate.declare.channel import Channel
from headgate.declare.stores import Field, Header
from headgate.engine import Outcome
from headgate.errors import (
    Answerable,
    Conflict,
    FieldFault,
    InProgress,
    Invalid,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMedia,
)
from headgate.events import Accepted, Refused
from headgate.gate.effects import Admit, Commit, Effect, ReadBody
from headgate.gate.observe import Observer
from headgate.gate.plan import Plan
from headgate.http import Receipt, Reply, Request
from headgate.message import MISSING, NUMBER, Item, Json, Message, at_path, key_fault, load, load_many, scalar_text

_JSON_MEDIA = re.compile(r"application/(json|[\w.!#$&^-]+\+json)\s*(;.*)?", re.IGNORECASE)
_RETRY_AFTER_S = 1
_MADE = 201

Steps = Generator[Effect, Any, Reply]


def accept(plan: Plan, request: Request, observer: Observer) -> Steps:
    """Store what a POST brings. Raises a Refusal or a Fault for what is not stored."""
    yield from _admit(plan.channel)
    principal, body = yield from _who_and_what(plan, request)
    if plan.channel.many:
        return (yield from _accept_many(plan, request, principal, body, observer))
    item = load(body)
    message = _message(plan, request, principal, item, faults=_model_faults(plan, item, ""))
    (outcome,) = yield Commit([message], whole=False)
    return _answer_one(plan.channel, outcome, observer)


def _admit(channel: Channel) -> Generator[Effect, Any, None]:
    if channel.throttle is None:
        return
    wait_s = yield Admit(channel.name, channel.throttle)
    if wait_s > 0:
        raise TooManyRequests(retry_after_s=math.ceil(wait_s))


def _who_and_what(plan: Plan, request: Request) -> Generator[Effect, Any, tuple[str, bytes]]:
    """The principal and the body. Credentials are looked at before the body is read, unless they sign it."""
    if plan.verifier.needs_body:
        body = yield from _body(plan.channel)
        principal = yield from plan.verifier.verify(request, body)
        _check_media(request)
        return principal, body
    principal = yield from plan.verifier.verify(request, None)
    _check_media(request)
    return principal, (yield from _body(plan.channel))


def _check_media(request: Request) -> None:
    media = request.headers.get(b"content-type")
    if media and media != b"application/json" and not _JSON_MEDIA.fullmatch(media.decode("latin-1").strip()):
        raise UnsupportedMedia
    if request.headers.get(b"content-encoding", b"identity") not in (b"identity", b""):
        raise UnsupportedMedia("Send the body as it is, without Content-Encoding.", reason="content_encoding")


def _body(channel: Channel) -> Generator[Effect, Any, bytes]:
    body = yield ReadBody(channel.body_limit_bytes)
    if body is None:
        raise TooLarge(f"This channel takes bodies of at most {channel.body_limit_bytes} bytes.")
    return body  # type: ignore[no-any-return]


def _message(
    plan: Plan, request: Request, principal: str, item: Item, *, faults: list[FieldFault], place: int | None = None
) -> Message:
    """The item as a message; raises Invalid with every fault, those of the model and those of key and indexes."""
    channel = plan.channel
    prefix = "" if place is None else f"/{place}"
    key = _key(plan, request, item.tree, prefix, place, faults)
    fields = _fields(channel, item.tree, prefix, faults) if channel.indexes else ()
    if faults:
        raise Invalid(faults=tuple(faults))
    return Message(
        channel.name,
        principal if plan.per_principal else "",
        key,
        item.text.encode(),
        request.received_ms,
        principal,
        request.id,
        request.traceparent,
        "processed",
        None if plan.keep_ms is None else request.received_ms + plan.keep_ms,
        fields,
    )


def _model_faults(plan: Plan, item: Item, prefix: str) -> list[FieldFault]:
    if plan.validator is None:
        return []
    try:
        plan.validator.validate_json(item.text, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return [
            FieldFault(
                _pointer(fault["loc"], item.tree, prefix, missing=fault["type"] == "missing"),
                fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, "),
                fault["type"],
            )
            for fault in found
        ]
    return []


def _pointer(loc: Sequence[str | int], tree: Json, prefix: str, *, missing: bool) -> str:
    """pydantic's location as a JSON pointer into the body: what is not in the body (union tags and the like) is left
    out, but for the name of a missing field."""
    node: object = tree
    pointer = prefix
    for at, part in enumerate(loc):
        if isinstance(node, dict) and part in node:
            node = node[part]  # type: ignore[index]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        elif not (missing and at == len(loc) - 1):
            continue
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return pointer


def _key(
    plan: Plan, request: Request, tree: Json, prefix: str, place: int | None, faults: list[FieldFault]
) -> str:
    match plan.channel.key:
        case Field() as field:
            return _key_in_body(field, tree, prefix, faults)
        case Header(name):
            sent = request.header(name.lower().encode())
            if sent is None:
                faults.append(FieldFault("", f"Send the header {name}", "missing_key"))
                return ""
        case _:
            sent = request.header(b"idempotency-key")
            if sent is None and b"idempotency-key" not in request.headers:
                return plan.new_id()
    key = sent if place is None or sent is None else f"{sent}.{place}"
    if fault := key_fault(key or ""):
        faults.append(FieldFault("", fault, "key"))
    return key or ""


def _key_in_body(field: Field, tree: Json, prefix: str, faults: list[FieldFault]) -> str:
    value = at_path(tree, field.path)
    pointer = prefix + field.pointer
    if value is MISSING:
        if all(fault.pointer != pointer for fault in faults):
            faults.append(FieldFault(pointer, "Field required", "missing"))
        return ""
    text = scalar_text(value)
    if text is None or isinstance(value, bool) or (str(value).startswith(NUMBER) and not text.lstrip("-").isdigit()):
        if all(fault.pointer != pointer for fault in faults):
            faults.append(FieldFault(pointer, "A key must be a string or an integer", "key"))
        return ""
    if fault := key_fault(text):
        faults.append(FieldFault(pointer, fault, "key"))
    return text


def _fields(channel: Channel, tree: Json, prefix: str, faults: list[FieldFault]) -> tuple[tuple[str, str], ...]:
    found = []
    for index in channel.indexes:
        text = scalar_text(at_path(tree, index.path))
        if not text:
            continue
        if len(text.encode()) > limits.INDEX_VALUE.value:
            detail = f"An indexed value is at most {limits.INDEX_VALUE.value} bytes long"
            faults.append(FieldFault(prefix + index.pointer, detail, "too_long"))
        found.append((index.name, text))
    return tuple(found)


def receipt(message: Message) -> Receipt:
    """The facts from which a stored message's reply is made."""
    return Receipt(message.channel, message.key, message.received_ms, isoformat(message.received_ms))


def _answer_one(channel: Channel, outcome: Outcome, observer: Observer) -> Reply:
    match outcome:
        case Outcome("stored" | "replayed" as kind, Message() as message):
            observer.told(Accepted(channel.name, int(kind == "stored"), int(kind == "replayed")))
            reply = _accepted(channel, message, observer)
            return reply if kind == "stored" else reply.with_headers(("Idempotency-Replayed", "true"))
        case _:
            raise _refusal(outcome)


def _accepted(channel: Channel, message: Message, observer: Observer) -> Reply:
    if channel.accepted is None:
        return Reply(_MADE, b'{"id":%b}' % json.dumps(message.key, ensure_ascii=False).encode())
    try:
        reply = channel.accepted(receipt(message))
        made = reply if isinstance(reply, Reply) else Reply(_MADE, reply)
        made.encoded()
    except Exception as error:  # noqa: BLE001 - the message is stored: whatever `accepted=` does, the sender must hear so
        observer.shaping_failed(channel.name, "accepted=", message.request_id, error)
        return Reply(_MADE, {"id": message.key})
    return made


def _refusal(outcome: Outcome) -> Answerable:
    match outcome.kind:
        case "conflict":
            return Conflict()
        case "in_progress":
            return InProgress(retry_after_s=_RETRY_AFTER_S)
        case _:
            return Unavailable(retry_after_s=_RETRY_AFTER_S)


# ------------------------------------------------------------------------------------------------------------ batches


def _accept_many(plan: Plan, request: Request, principal: str, body: bytes, observer: Observer) -> Steps:
    channel = plan.channel
    items = load_many(body, channel.most_items)
    if len(items) > channel.most_items:
        raise TooLarge(f"This channel takes at most {channel.most_items} messages in one request.")
    messages: list[Message] = []
    verdicts: list[dict[str, object] | Message] = []
    for place, item in enumerate(items):
        verdict = _judge(plan, request, principal, item, place)
        verdicts.append(verdict)
        if isinstance(verdict, Message):
            messages.append(verdict)
    if channel.whole and len(messages) < len(items):
        raise _whole_refused([verdict for verdict in verdicts if isinstance(verdict, dict)])
    outcomes = (yield Commit(messages, whole=channel.whole)) if messages else []
    return _answer_many(channel, request, verdicts, outcomes, observer)


def _judge(
    plan: Plan, request: Request, principal: str, item: Item | FieldFault, place: int
) -> Message | dict[str, object]:
    """The item as a message, or the verdict that says why it is none."""
    if isinstance(item, FieldFault):
        return _invalid(place, None, [item._replace(pointer=f"/{place}")])
    faults = _model_faults(plan, item, f"/{place}")
    try:
        return _message(plan, request, principal, item, faults=faults, place=place)
    except Invalid as error:
        key = scalar_text(at_path(item.tree, plan.channel.key.path)) if isinstance(plan.channel.key, Field) else None
        return _invalid(place, key, list(error.faults))


def _invalid(place: int, key: str | None, faults: list[FieldFault]) -> dict[str, object]:
    return {"index": place, "key": key, "status": "invalid", "errors": [fault._asdict() for fault in faults]}


def _whole_refused(bad: list[dict[str, object]]) -> Invalid:
    faults = [FieldFault(**fault) for verdict in bad for fault in verdict["errors"]]  # type: ignore[attr-defined]
    return Invalid("Nothing was stored: every message of this request has to be valid.", faults=tuple(faults))


_CONFLICT_ERRORS = [FieldFault("", Conflict.sentence, "conflict")._asdict()]


def _answer_many(
    channel: Channel,
    request: Request,
    verdicts: list[dict[str, object] | Message],
    outcomes: list[Outcome],
    observer: Observer,
) -> Reply:
    remaining = iter(outcomes)
    counts: dict[str, int] = {}
    items = []
    for place, verdict in enumerate(verdicts):
        item = verdict if isinstance(verdict, dict) else _item(place, verdict, next(remaining))
        status = str(item["status"])
        counts[status] = counts.get(status, 0) + 1
        items.append(item)
    if channel.whole and not counts.keys() <= {"stored", "replayed"}:
        raise _whole_failed(items, counts)
    stored, replayed = counts.pop("stored", 0), counts.pop("replayed", 0)
    if stored or replayed:
        observer.told(Accepted(channel.name, stored, replayed))
    for reason, count in counts.items():
        observer.told(Refused(channel.name, reason, _ITEM_STATUS[reason], request.id, count))
    headers = (("Retry-After", str(_RETRY_AFTER_S)),) if "unavailable" in counts else ()
    if stored or replayed:
        return Reply(_MADE, {"items": items}, headers)
    worst = next(status for reason, status in _ITEM_STATUS.items() if reason in counts)
    return Reply(worst, {"items": items}, headers)


# The status of a batch of which nothing was stored: what may still succeed comes first.
_ITEM_STATUS = {"unavailable": 503, "conflict": 409, "invalid": 400}


def _item(place: int, message: Message, outcome: Outcome) -> dict[str, object]:
    match outcome.kind:
        case "stored" | "replayed":
            return {"index": place, "key": message.key, "status": outcome.kind, "errors": []}
        case "conflict":
            errors = [{**fault, "pointer": f"/{place}"} for fault in _CONFLICT_ERRORS]
            return {"index": place, "key": message.key, "status": "conflict", "errors": errors}
        case "untouched":
            return {"index": place, "key": message.key, "status": "untouched", "errors": []}
        case _:
            return {"index": place, "key": message.key, "status": "unavailable", "errors": []}


def _whole_failed(items: list[dict[str, object]], counts: dict[str, int]) -> Answerable:
    if "conflict" not in counts:
        return Unavailable(retry_after_s=_RETRY_AFTER_S)
    faults = [
        FieldFault(f"/{item['index']}", f"The key {json.dumps(item['key'])} is taken by another body", "conflict")
        for item in items
        if item["status"] == "conflict"
    ]
    return Conflict("Nothing was stored: another message holds a key of this request.", faults=tuple(faults))


