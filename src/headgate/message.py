"""What a message is: bytes as they came, read by one strict JSON loader, with a key and a digest.

The loader keeps every number as its own text, so that `2.10`, `-0` and a 20-digit integer are compared as they were
written. In a parsed tree a number is the string `NUMBER + text`; `NUMBER` is a lone surrogate, which no accepted
string can contain.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from json.decoder import WHITESPACE
from typing import NamedTuple, NoReturn, TypeAlias

from headgate import limits
from headgate.errors import FieldFault, Invalid, Malformed

Json: TypeAlias = "None | bool | str | list[Json] | dict[str, Json]"

NUMBER = "\ud800"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Item(NamedTuple):
    """One message of a body: the sender's own text, and the tree it parses to."""

    text: str
    tree: Json


class Message(NamedTuple):
    """A message at the gate, ready to be stored; and, read back, as it was stored.

    `scope` is the principal for keys that count per principal, else empty. Times are milliseconds since 1970 UTC.
    `fields` holds (index name, value) for every declared index that the body has a value for.
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


class DuplicateKey(ValueError):
    """An object has the same name twice."""


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise DuplicateKey(name)
            seen.add(name)
    return tree


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_number = NUMBER.__add__
_scan = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_number, parse_int=_number, parse_constant=_no_constant
).scan_once
_scan_any_names = json.JSONDecoder(parse_float=_number, parse_int=_number, parse_constant=_no_constant).scan_once
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


def digest(body: bytes) -> bytes:
    """SHA-256 of the body's canonical form: names sorted, numbers by their text, no white space.

    Two bodies with the same digest are the same body, whatever their spacing and the order of their names.
    `body` must have passed `load`.
    """
    tree, _ = _scan(body.decode(), WHITESPACE.match(body.decode(), 0).end())  # type: ignore[union-attr]
    return hashlib.sha256(_canonical(tree).encode()).digest()


def load(body: bytes) -> Item:
    """The one message in `body`. Raises Malformed, with a sentence that says what and where."""
    text = _decoded(body)
    start = _skip(text, 0)
    tree, end = _value(text, start)
    _nothing_after(text, end)
    if (fault := item_fault(Item(text[start:end], tree))) is not None:
        raise Malformed(fault.detail, reason=fault.type, faults=(fault,))
    return Item(text[start:end], tree)


def load_many(body: bytes, at_most: int) -> list[Item | FieldFault]:
    """The messages of an array, each with its own text; a fault where one item alone is at fault.

    Raises Malformed when the text as a whole is not JSON, Invalid when it is not an array, or an empty one.
    Reads no further than `at_most` + 1 items.
    """
    text = _decoded(body)
    at = _skip(text, 0)
    if text[at] != "[":
        _, end = _value(text, at)
        _nothing_after(text, end)
        raise Invalid("Send an array of messages.", faults=(FieldFault("", "Input should be an array", "list_type"),))
    at = _skip(text, at + 1)
    if text[at] == "]":
        _nothing_after(text, at + 1)
        raise Invalid(
            "The array is empty: send at least one message.",
            faults=(FieldFault("", "Array should have at least one item", "too_short"),),
        )
    items: list[Item | FieldFault] = []
    while True:
        item, at = _next_item(text, at)
        items.append(item)
        if len(items) > at_most:
            return items
        at = _skip(text, at)
        if text[at] == "]":
            break
        if text[at] != ",":
            raise _malformed(f"a comma or ] is missing at character {at + 1}")
        at = _skip(text, at + 1)
    _nothing_after(text, at + 1)
    return items


def _next_item(text: str, at: int) -> tuple[Item | FieldFault, int]:
    try:
        tree, end = _scan(text, at)
    except (DuplicateKey, RecursionError, ValueError, StopIteration):
        tree, end = _value(text, at, _scan_any_names)
        return _duplicate(text[at:end]), end
    item = Item(text[at:end], tree)
    return item_fault(item) or item, end


def item_fault(item: Item) -> FieldFault | None:
    """What the parser lets through and we do not: lone surrogates, and too much depth."""
    text = item.text
    if text.count("[") + text.count("{") > limits.DEPTH.value and _deeper_than(text, limits.DEPTH.value):
        return FieldFault("", f"The body is nested more than {limits.DEPTH.value} levels deep.", "too_deep")
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(json.loads(text, parse_float=str, parse_int=str), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return FieldFault("", "The body has half a surrogate pair, which is not text.", "lone_surrogate")
    return None


def _deeper_than(text: str, levels: int) -> bool:
    # Outside strings only brackets matter; each pass takes away the innermost pair everywhere at once.
    outside = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2]).encode()
    brackets = outside.translate(bytes.maketrans(b"{}", b"[]"), bytes(set(range(256)) - set(b"[]{}")))
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def _decoded(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start + 1} is not UTF-8") from None
    if not text.strip(" \t\r\n"):
        raise Malformed("The body is empty: send a JSON message.", reason="empty_body", faults=_whole("empty_body"))
    return text


def _skip(text: str, at: int) -> int:
    end: int = WHITESPACE.match(text, at).end()  # type: ignore[union-attr]
    if end == len(text):
        raise _malformed("it ends too early")
    return end


def _nothing_after(text: str, at: int) -> None:
    end: int = WHITESPACE.match(text, at).end()  # type: ignore[union-attr]
    if end != len(text):
        raise _malformed(f"there is more after its end, at character {end + 1}")


def _value(text: str, at: int, scan: object = _scan) -> tuple[Json, int]:
    try:
        return scan(text, at)  # type: ignore[operator, no-any-return]
    except DuplicateKey:
        fault = _duplicate(text[at:])
        raise Malformed(fault.detail, reason=fault.type, faults=(fault,)) from None
    except StopIteration as stop:
        raise _malformed(f"a value is missing at character {stop.value + 1}") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"character {error.pos + 1} is not what JSON has there") from None
    except RecursionError:
        fault = FieldFault("", f"The body is nested more than {limits.DEPTH.value} levels deep.", "too_deep")
        raise Malformed(fault.detail, reason=fault.type, faults=(fault,)) from None
    except ValueError as error:
        raise _malformed(str(error)) from None


def _duplicate(text: str) -> FieldFault:
    try:
        _scan(text, 0)
    except DuplicateKey as error:
        return FieldFault("", f"The name {json.dumps(str(error))} stands twice in one object.", "duplicate_key")
    return FieldFault("", "The body is not valid JSON.", "malformed")


def _malformed(what: str) -> Malformed:
    return Malformed(f"The body is not valid JSON: {what}.", faults=_whole("malformed", f"Not valid JSON: {what}"))


def _whole(type_: str, detail: str = "The body is empty") -> tuple[FieldFault, ...]:
    return (FieldFault("", detail, type_),)


MISSING = object()


def at_path(tree: Json, path: Iterable[str]) -> object:
    """The value at a dotted path's parts, or MISSING."""
    value: object = tree
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


def scalar_text(value: object) -> str | None:
    """A string as it is, a number as it was written, `true` and `false`; None for anything else."""
    if isinstance(value, str):
        return value[1:] if value.startswith(NUMBER) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return None


def key_fault(key: str) -> str | None:
    """Why `key` cannot be a key, or None: 1 to 255 bytes of UTF-8 without control characters."""
    if not key:
        return "A key must not be empty"
    if (not key.isascii() and len(key.encode("utf-8", "replace")) > limits.KEY.value) or len(key) > limits.KEY.value:
        return f"A key is at most {limits.KEY.value} bytes long"
    if not key.isprintable() and _CONTROL.search(key):
        return "A key must not contain control characters"
    return None
