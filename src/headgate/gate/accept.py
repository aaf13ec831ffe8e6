"""From a request to stored messages: the steps of `accept` are read top to bottom."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Generator, Sequence
from json.encoder import encode_basestring
from typing import Any, NamedTuple

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
from headgate.message import MISSING, Item, Json, Message, at_path, key_fault, load, load_many, scalar_text

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
    message = _message(plan, Envelope.of(plan, request, principal), item, _model_faults(plan, item, ""), None)
    (outcome,) = yield Commit([message], whole=False)
    return _answer_one(plan.channel, message, outcome, observer)


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


class Envelope(NamedTuple):
    """What the messages of one request have in common."""

    request: Request
    channel: str
    scope: str
    principal: str
    received_ms: int
    request_id: str
    traceparent: str
    expires_ms: int | None

    @classmethod
    def of(cls, plan: Plan, request: Request, principal: str) -> Envelope:
        """The envelope of a request."""
        return cls(
            request,
            plan.channel.name,
            principal if plan.per_principal else "",
            principal,
            request.received_ms,
            request.id,
            request.traceparent,
            None if plan.keep_ms is None else request.received_ms + plan.keep_ms,
        )


def _message(
    plan: Plan, envelope: Envelope, item: Item, faults: list[FieldFault], place: int | None
) -> Message:
    """The item as a message; raises Invalid with every fault, those of the model and those of key and indexes."""
    channel = plan.channel
    key_place = channel.key
    if type(key_place) is Field:
        key = _key_in_body(key_place, item.tree, place, faults)
    else:
        key = _key_beside(plan, envelope.request, place, faults)
    fields = _fields(channel, item.tree, place, faults) if channel.indexes else ()
    if faults:
        raise Invalid(faults=tuple(faults))
    _, name, scope, principal, received_ms, request_id, traceparent, expires_ms = envelope
    return Message(
        name,
        scope,
        key,
        item.raw,
        received_ms,
        principal,
        request_id,
        traceparent,
        "processed",
        expires_ms,
        fields,
    )


def _pointer_to(field: Field, place: int | None) -> str:
    return field.pointer if place is None else f"/{place}{field.pointer}"


def _model_faults(plan: Plan, item: Item, prefix: str) -> list[FieldFault]:
    if plan.validator is None:
        return []
    try:
        plan.validator.validate_json(item.raw, strict=True)
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
    node: Any = tree
    pointer = prefix
    for at, part in enumerate(loc):
        if _holds(node, part):
            node = node[part]
        elif not (missing and at == len(loc) - 1):
            continue
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return pointer


def _holds(node: object, part: str | int) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, dict) and part in node


def _key_in_body(field: Field, tree: Json, place: int | None, faults: list[FieldFault]) -> str:
    value = at_path(tree, field.path)
    if isinstance(value, str) or type(value) is int:
        key = str(value)
        if (fault := key_fault(key)) is not None:
            faults.append(FieldFault(_pointer_to(field, place), fault, "key"))
        return key
    pointer = _pointer_to(field, place)
    if all(fault.pointer != pointer for fault in faults):
        missing = value is MISSING
        detail = "Field required" if missing else "A key must be a string or an integer"
        faults.append(FieldFault(pointer, detail, "missing" if missing else "key"))
    return ""


def _key_beside(plan: Plan, request: Request, place: int | None, faults: list[FieldFault]) -> str:
    """A key that is not in the body: the declared header's, or Idempotency-Key where it is sent, or a new one.

    The messages of a batch get the header's value with their place behind it.
    """
    declared = plan.channel.key
    name = declared.name if isinstance(declared, Header) else "Idempotency-Key"
    if name.lower().encode() not in request.headers:
        if declared is None:
            return plan.new_id()
        faults.append(FieldFault("", f"Send the header {name}", "missing_key"))
        return ""
    sent = request.header(name.lower().encode()) or ""
    key = sent if place is None or not sent else f"{sent}.{place}"
    if (fault := key_fault(key)) is not None:
        faults.append(FieldFault("", f"{fault} (header {name})", "key"))
    return key


def _fields(
    channel: Channel, tree: Json, place: int | None, faults: list[FieldFault]
) -> tuple[tuple[str, str], ...]:
    found = []
    for index in channel.indexes:
        text = scalar_text(at_path(tree, index.path))
        if not text:
            continue
        if len(text.encode()) > limits.INDEX_VALUE.value:
            detail = f"An indexed value is at most {limits.INDEX_VALUE.value} bytes long"
            faults.append(FieldFault(_pointer_to(index, place), detail, "too_long"))
        found.append((index.name, text))
    return tuple(found)


def receipt(message: Message) -> Receipt:
    """The facts from which a stored message's reply is made."""
    return Receipt(message.channel, message.key, message.received_ms, isoformat(message.received_ms))


def _answer_one(channel: Channel, message: Message, outcome: Outcome, observer: Observer) -> Reply:
    match outcome:
        case Outcome("stored"):
            observer.told(Accepted(channel.name, 1, 0))
            return _accepted(channel, message, observer)
        case Outcome("replayed", Message() as first):
            observer.told(Accepted(channel.name, 0, 1))
            return _accepted(channel, first, observer).with_headers(("Idempotency-Replayed", "true"))
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
    envelope = Envelope.of(plan, request, principal)
    verdicts = [_judge(plan, envelope, item, place) for place, item in enumerate(items)]
    messages = [verdict for verdict in verdicts if isinstance(verdict, Message)]
    if channel.whole and len(messages) < len(items):
        raise _whole_refused([verdict for verdict in verdicts if isinstance(verdict, dict)])
    outcomes = (yield Commit(messages, whole=channel.whole)) if messages else []
    return _answer_many(channel, request, verdicts, outcomes, observer)


def _judge(
    plan: Plan, envelope: Envelope, item: Item | FieldFault, place: int
) -> Message | dict[str, object]:
    """The item as a message, or the verdict that says why it is none."""
    if isinstance(item, FieldFault):
        return _invalid(place, None, [item._replace(pointer=f"/{place}")])
    try:
        return _message(plan, envelope, item, _model_faults(plan, item, f"/{place}"), place)
    except Invalid as error:
        key = (
            scalar_text(at_path(item.tree, plan.channel.key.path))
            if isinstance(plan.channel.key, Field)
            else None
        )
        return _invalid(place, key, list(error.faults))


def _invalid(place: int, key: str | None, faults: list[FieldFault]) -> dict[str, object]:
    return {"index": place, "key": key, "status": "invalid", "errors": [fault._asdict() for fault in faults]}


def _whole_refused(bad: list[dict[str, object]]) -> Invalid:
    faults = [FieldFault(**fault) for verdict in bad for fault in verdict["errors"]]  # type: ignore[attr-defined]
    return Invalid("Nothing was stored: every message of this request has to be valid.", faults=tuple(faults))


def _answer_many(
    channel: Channel,
    request: Request,
    verdicts: list[dict[str, object] | Message],
    outcomes: list[Outcome],
    observer: Observer,
) -> Reply:
    remaining = iter(outcomes)
    items = [
        _encoded(verdict) if isinstance(verdict, dict) else _item(place, verdict, next(remaining))
        for place, verdict in enumerate(verdicts)
    ]
    counts: Counter[str] = Counter(outcome.kind if outcome.kind in _ANSWERED else "unavailable" for outcome in outcomes)
    counts["invalid"] += len(verdicts) - len(outcomes)
    if channel.whole and counts["stored"] + counts["replayed"] < len(verdicts):
        raise _whole_failed(verdicts, outcomes)
    observer.told(Accepted(channel.name, counts["stored"], counts["replayed"]))
    refused = [(reason, status) for reason, status in _ITEM_STATUS.items() if counts[reason]]
    for reason, status in refused:
        observer.told(Refused(channel.name, reason, status, request.id, counts[reason]))
    return Reply(
        _MADE if counts["stored"] + counts["replayed"] else refused[0][1],
        b'{"items":[%b]}' % ",".join(items).encode(),
        (("Retry-After", str(_RETRY_AFTER_S)),) if counts["unavailable"] else (),
    )


_ANSWERED = ("stored", "replayed", "conflict")

# The status of a batch of which nothing was stored: what may still succeed comes first.
_ITEM_STATUS = {"unavailable": 503, "conflict": 409, "invalid": 400}


def _item(place: int, message: Message, outcome: Outcome) -> str:
    match outcome.kind:
        case "stored" | "replayed" as kind:
            return f'{{"index":{place},"key":{encode_basestring(message.key)},"status":"{kind}","errors":[]}}'
        case "conflict":
            fault = FieldFault(f"/{place}", Conflict.sentence, "conflict")
            return _encoded(
                {"index": place, "key": message.key, "status": "conflict", "errors": [fault._asdict()]}
            )
        case _:
            return _encoded({"index": place, "key": message.key, "status": "unavailable", "errors": []})


def _encoded(verdict: dict[str, object]) -> str:
    return json.dumps(verdict, ensure_ascii=False, separators=(",", ":"))


def _whole_failed(verdicts: list[dict[str, object] | Message], outcomes: list[Outcome]) -> Answerable:
    faults = [
        FieldFault(
            f"/{place}", f"The key {encode_basestring(verdict.key)} is taken by another body", "conflict"
        )
        for place, (verdict, outcome) in enumerate(zip(verdicts, outcomes, strict=True))
        if isinstance(verdict, Message) and outcome.kind == "conflict"
    ]
    if not faults:
        return Unavailable(retry_after_s=_RETRY_AFTER_S)
    return Conflict("Nothing was stored: another message holds a key of this request.", faults=tuple(faults))
