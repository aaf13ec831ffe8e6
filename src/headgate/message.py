"""What a message is: bytes as they came, read by one strict JSON loader, with a key and a digest.

jiter reads (strictly: UTF-8, no duplicate names, no NaN, no half surrogate pairs, floats kept as their text), msgspec
cuts an array into the bytes of its items. Which library does what, and why two: docs/adr/0002-json-loader.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeGuard

import jiter

from headgate import limits
from headgate.errors import FieldFault, Invalid, Malformed, TooLarge

if TYPE_CHECKING:
    import msgspec

Json = Any  # what jiter makes: dict, list, str, int, bool, None, and LosslessFloat for numbers with a fraction

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLACE = re.compile(r" at line (\d+) column (\d+)$")
_SPACE = b" \t\r\n"
_NESTED = frozenset({list, dict})


class Item(NamedTuple):
    """One message of a body: the sender's own bytes, and the tree they parse to."""

    raw: bytes
    tree: Json


UNREAD = "unread"
"""What a message is stored as that was let in unread. Its body may be anything, and its key is the id that its sender
was told; readers see it as `accepted`, until it was looked at."""


STARTED = "started"


class Moment(NamedTuple):
    """Something that happened to a message behind the gate.

    `what` is `processed`, `retried` (the attempt failed, another follows), `failed`, `rejected`, `lost` (nobody knows
    how the attempt ended), `archived`, `started` (`detail` is the ARN of the execution), `redriven`, `edited` or
    `discarded`. `detail` is a sentence that a sender may read; `kind`, `pointer` (into the body) and `told` (a
    traceback, or who did it) are for those who run the app.
    """

    at_ms: int
    what: str
    attempt: int = 0
    took_ms: int | None = None
    detail: str = ""
    kind: str = ""
    pointer: str = ""
    told: str = ""


class Message(NamedTuple):
    """A message at the gate, ready to be stored; and, read back, as it was stored.

    `scope` is the principal for keys that count per principal, else empty. Times are milliseconds since 1970 UTC.
    `fields` holds (index name, value) for every declared index that the body has a value for. `order` is the value of
    the field that `order_by=` names, and empty where none is. `attempts` counts the tries at handling it, the one
    under way included, which has to end by `deadline_ms`. `original` is the body as it came, where somebody edited it.
    """

    channel: str
    scope: str
    key: str
    body: bytes
    received_ms: int
    principal: str
    request_id: str
    traceparent: str
    status: str
    expires_ms: int | None
    fields: tuple[tuple[str, str], ...] = ()
    error: str | None = None
    order: str = ""
    attempts: int = 0
    deadline_ms: int | None = None
    original: bytes | None = None
    timeline: tuple[Moment, ...] = ()

    @property
    def id(self) -> str:
        """The key, as a handler knows it."""
        return self.key

    @property
    def attempt(self) -> int:
        """Which try this is: 1 is the first."""
        return self.attempts

    @property
    def received_at(self) -> datetime:
        """When it came in, in UTC."""
        return datetime.fromtimestamp(self.received_ms / 1000, UTC)

    @property
    def deadline(self) -> datetime | None:
        """When this attempt will be killed, in UTC; None outside of a handler."""
        return None if self.deadline_ms is None else datetime.fromtimestamp(self.deadline_ms / 1000, UTC)


def load(body: bytes) -> Item:
    """The one message in `body`. Raises Malformed, with a sentence that says what and where."""
    raw = body.strip(_SPACE)
    if not raw:
        _refuse(FieldFault("", "The body is empty: send a JSON message.", "empty_body"))
    item = _read(raw)
    if isinstance(item, FieldFault):
        _refuse(item)
    return item


def load_many(body: bytes, at_most: int) -> list[Item | FieldFault]:
    """The messages of an array, each with its own bytes; a fault where one item alone is at fault.

    Raises Malformed when the text as a whole is not JSON, Invalid when it is not an array, an empty one, or one of
    more than `at_most` items.
    """
    try:
        parts = cutter()(body)
    except (ValueError, RecursionError):
        load(body)
        fault = FieldFault("", "Input should be an array", "list_type")
        raise Invalid("Send an array of messages.", faults=(fault,)) from None
    if not parts:
        fault = FieldFault("", "Array should have at least one item", "too_short")
        raise Invalid("The array is empty: send at least one message.", faults=(fault,))
    if len(parts) > at_most:
        raise TooLarge(f"This channel takes at most {at_most} messages in one request.")
    try:
        trees = _parse(body)
    except ValueError:
        return [_read(bytes(part)) for part in parts]
    raws = [bytes(part) for part in parts]
    within = _brackets(body) - 1 - sum(map(_NESTED.__contains__, map(type, trees)))
    if within >= limits.DEPTH.value:
        return [_read(raw) for raw in raws]
    return list(map(Item, raws, trees))


@cache
def cutter() -> Callable[[bytes], Sequence[msgspec.Raw]]:
    """What cuts an array into the bytes of its items. Whoever takes no arrays does without the library for it."""
    import msgspec

    return msgspec.json.Decoder(list[msgspec.Raw]).decode


def _parse(raw: bytes) -> Json:
    return jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="lossless-float")


def _read(raw: bytes) -> Item | FieldFault:
    try:
        tree = _parse(raw)
    except ValueError as error:
        return _fault_of(str(error))
    if _brackets(raw) > limits.DEPTH.value and _deeper_than(raw, limits.DEPTH.value):
        return _TOO_DEEP
    return Item(raw, tree)


_TOO_DEEP = FieldFault("", f"The body is nested more than {limits.DEPTH.value} levels deep.", "too_deep")


def _fault_of(told: str) -> FieldFault:
    """jiter's finding in our words."""
    place = _PLACE.search(told)
    where = f" at line {place[1]}, column {place[2]}" if place else ""
    if "duplicate key" in told:
        return FieldFault("", f"A name stands twice in one object{where}.", "duplicate_key")
    if "recursion limit" in told:
        return _TOO_DEEP
    return FieldFault("", f"The body is not valid JSON{where}.", "malformed")


def _refuse(fault: FieldFault) -> NoReturn:
    raise Malformed(fault.detail, reason=fault.type, faults=(fault,))


def _brackets(raw: bytes) -> int:
    return raw.count(b"[") + raw.count(b"{")


def _deeper_than(raw: bytes, levels: int) -> bool:
    # Outside strings only brackets matter; each pass takes away the innermost pair everywhere at once.
    outside = b"".join(raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside.translate(bytes.maketrans(b"{}", b"[]"), bytes(set(range(256)) - set(b"[]{}")))
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def digest(body: bytes) -> bytes:
    """SHA-256 of the canonical form of a body that was loaded: names sorted, numbers by their text, no white space.

    Two bodies with the same digest are the same body, whatever their spacing and the order of their names.
    """
    # A number becomes the string of half a surrogate pair and its text, which no loaded string can be.
    number = "\ud800".__add__
    tree = json.loads(body, parse_float=number, parse_int=number)
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).digest()


MISSING = object()


def at_path(tree: Json, path: Iterable[str]) -> object:
    """The value at a dotted path's parts, or MISSING."""
    value: object = tree
    for name in path:
        if not isinstance(value, dict):
            return MISSING
        value = value.get(name, MISSING)
    return value


def scalar_text(value: object) -> str | None:
    """A string as it is, a number as it was written, `true` and `false`; None for anything else."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case jiter.LosslessFloat():
            return bytes(value).decode()
        case _:
            return None


def all_plain_keys(keys: Sequence[object]) -> TypeGuard[Sequence[str]]:
    """Whether all are keys at first sight: short strings of printable ASCII. Others may be keys as well."""
    try:
        text = "".join(keys)  # type: ignore[arg-type]
    except TypeError:
        return False
    lengths = [len(key) for key in keys]  # type: ignore[arg-type]
    return text.isascii() and text.isprintable() and min(lengths) > 0 and max(lengths) <= limits.KEY.value


def key_fault(key: str) -> str | None:
    """Why `key` cannot be a key, or None: 1 to 255 bytes of UTF-8 without control characters."""
    if key.isascii() and key.isprintable() and 0 < len(key) <= limits.KEY.value:
        return None
    if not key:
        return "A key must not be empty"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return "A key must be valid UTF-8"
    if size > limits.KEY.value:
        return f"A key is at most {limits.KEY.value} bytes long"
    if _CONTROL.search(key):
        return "A key must not contain control characters"
    return None
