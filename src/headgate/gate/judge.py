"""From the bytes of one item to a message, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic_core import ValidationError

from headgate import limits
from headgate.declare.channel import Channel
from headgate.declare.stores import Field, Header
from headgate.errors import FieldFault, Invalid
from headgate.gate.faults import faults_of
from headgate.gate.plan import Plan
from headgate.http import Request
from headgate.message import MISSING, Item, Json, Message, all_plain_keys, at_path, key_fault, scalar_text

_KEY_HEADER = Header()


class Envelope(NamedTuple):
    """What the messages of one request have in common."""

    request: Request
    channel: str
    scope: str
    principal: str
    received_ms: int
    request_id: str
    traceparent: str
    status: str
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
            plan.status,
            None if plan.keep_ms is None else request.received_ms + plan.keep_ms,
        )

    def around(self, key: str, body: bytes, fields: tuple[tuple[str, str], ...] = (), order: str = "") -> Message:
        """A message in this envelope."""
        _, channel, scope, principal, received_ms, request_id, traceparent, status, expires_ms = self
        return Message(
            channel, scope, key, body, received_ms, principal, request_id, traceparent, status, expires_ms, fields,
            None, order,
        )  # fmt: skip


def judge_all(plan: Plan, envelope: Envelope, body: bytes, items: Sequence[Item | FieldFault]) -> list[Message] | None:
    """The items of the array `body` as messages, in one go; None where one is at fault, or needs a closer look, and
    each has to be judged for itself."""
    channel, order = plan.channel, plan.order
    whole = [item for item in items if type(item) is Item]
    if type(channel.key) is not Field or len(whole) < len(items) or not _all_valid(plan, body):
        return None
    path = channel.key.path
    keys = [at_path(item.tree, path) for item in whole]
    if not all_plain_keys(keys):
        return None
    faults: list[FieldFault] = []
    messages = [
        envelope.around(
            key,
            raw,
            _fields(channel, tree, None, faults) if channel.indexes else (),
            "" if order is None else _indexed(order, tree, None, faults),
        )
        for key, (raw, tree) in zip(keys, whole, strict=True)
    ]
    return None if faults else messages


def _all_valid(plan: Plan, body: bytes) -> bool:
    if plan.validator_of_many is None:
        return True
    try:
        plan.validator_of_many.validate_json(body, strict=True)
    except (Exception, SystemExit):  # noqa: BLE001 - the user's code in a model may raise anything
        return False
    return True


def judge(plan: Plan, envelope: Envelope, item: Item, place: int | None = None) -> Message:
    """The item as a message; raises Invalid with every fault, those of the model and those of key and indexes.

    `place` is the item's place in a batch: pointers start with it, since they point into the request's body.
    """
    channel = plan.channel
    faults = _model_faults(plan, item, place)
    key_place = channel.key
    if type(key_place) is Field:
        key = _key_in_body(key_place, item.tree, place, faults)
    else:
        key = _key_beside(plan, envelope.request, place, faults)
    fields = _fields(channel, item.tree, place, faults) if channel.indexes else ()
    order = "" if plan.order is None else _order(plan.order, channel, item.tree, place, faults)
    if faults:
        raise Invalid(faults=tuple(faults))
    return envelope.around(key, item.raw, fields, order)


def _pointer_to(field: Field, place: int | None) -> str:
    return field.pointer if place is None else f"/{place}{field.pointer}"


def _model_faults(plan: Plan, item: Item, place: int | None) -> list[FieldFault]:
    if plan.validator is None:
        return []
    try:
        plan.validator.validate_json(item.raw, strict=True)
    except ValidationError as error:
        return faults_of(error, item.tree, "" if place is None else f"/{place}")
    return []


def _key_in_body(field: Field, tree: Json, place: int | None, faults: list[FieldFault]) -> str:
    value = at_path(tree, field.path)
    if isinstance(value, str) or type(value) is int:
        key = str(value)
        if (fault := key_fault(key)) is not None:
            faults.append(FieldFault(_pointer_to(field, place), fault, "key"))
        return key
    pointer = _pointer_to(field, place)
    told = {fault.pointer for fault in faults}
    if pointer not in told and pointer.removesuffix(field.pointer) not in told:
        missing = value is MISSING
        detail = "Field required" if missing else "A key must be a string or an integer"
        faults.append(FieldFault(pointer, detail, "missing" if missing else "key"))
    return ""


def key_header(channel: Channel) -> str:
    """The header that may bring the key of a message that does not bring it in its body."""
    return (channel.key if isinstance(channel.key, Header) else _KEY_HEADER).name


def _key_beside(plan: Plan, request: Request, place: int | None, faults: list[FieldFault]) -> str:
    """A key that is not in the body: the declared header's, or Idempotency-Key where it is sent, or a new one.

    The messages of a batch get the header's value with their place behind it.
    """
    declared = plan.channel.key
    name = key_header(plan.channel)
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


def _fields(channel: Channel, tree: Json, place: int | None, faults: list[FieldFault]) -> tuple[tuple[str, str], ...]:
    found = ((index.name, _indexed(index, tree, place, faults)) for index in channel.indexes)
    return tuple((name, text) for name, text in found if text)


def _order(field: Field, channel: Channel, tree: Json, place: int | None, faults: list[FieldFault]) -> str:
    most = limits.PARTITION_KEY if channel.stream else limits.INDEX_VALUE
    return _indexed(field, tree, place, faults, most.value)


def _indexed(
    index: Field, tree: Json, place: int | None, faults: list[FieldFault], most_bytes: int = limits.INDEX_VALUE.value
) -> str:
    """The value of a field that messages are found or ordered by; empty where the body has none."""
    text = scalar_text(at_path(tree, index.path))
    if not text:
        return ""
    if len(text.encode()) > most_bytes:
        detail = f"A value that messages are found or ordered by is at most {most_bytes} bytes long"
        faults.append(FieldFault(_pointer_to(index, place), detail, "too_long"))
    return text
