"""How a channel names, finds and keeps its messages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from urllib.parse import quote

from headgate import limits
from headgate.message import Json, at_path, scalar_text

ID = "id"
"""What the key of a message is called that brings none."""

OWN_NAMES = frozenset(
    {
        "scope", "body", "body_at", "digest", "received_at", "principal", "request", "traceparent", "status",
        "error", "expires_at", "expires_ms", "due_at", "shard", "attempts", "lease", "timeline", "order_key",
        "original", "original_at", "unread", "swept_at", "dead", "execution_arn", "record_at",
        "order_line",
    }
)  # fmt: skip
"""What else a table on AWS holds of a message, beside its key and its declared fields; `aws/layout.py` tells what."""

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_header_name(name: object) -> bool:
    """Whether a header can be called so: a token, as RFC 9110 has it."""
    return isinstance(name, str) and _TOKEN.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Header:
    """The key is the value of a request header, which then must be sent; it counts per principal.

    `Header("webhook-id")` suits Standard Webhooks, `Header("x-github-delivery")` GitHub.
    """

    name: str = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Made:
    """The key is a UUIDv7 that headgate makes, unless the sender sends an `Idempotency-Key`; it counts per principal.

    `name` is what it is called in a table on AWS.
    """

    name: str = ID

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if not isinstance(self.name, str) or not _COLUMN.fullmatch(self.name):
            yield f"`key=`: {self.name!r} cannot be the name of a key; say letters, digits and _."
        elif self.name in OWN_NAMES:
            yield f"`key=`: {self.name!r} is the name of something else in the table on AWS; say another one."


@dataclass(frozen=True)
class Field:
    """A place in the body, `record_id` or `metadata.company_id`; its name in queries is its last part."""

    dotted: str

    @cached_property
    def path(self) -> tuple[str, ...]:
        """The names from the outside in."""
        return tuple(self.dotted.split("."))

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.path[-1]

    @property
    def pointer(self) -> str:
        """The JSON pointer of the place."""
        return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in self.path)


FACTS = ("received_at", "principal", "object", "execution")
"""What an attribute beside the body can tell that is not in it."""


@dataclass(frozen=True)
class Shown:
    """An attribute beside the body in a table on AWS: `of` a field of the body, or one of FACTS in braces."""

    name: str
    of: str

    @cached_property
    def fact(self) -> str | None:
        """What it tells; None where that is a field of the body."""
        return self.of[1:-1] if self.of.startswith("{") and self.of.endswith("}") else None

    @cached_property
    def field(self) -> Field | None:
        """The field it tells; None where it tells a fact."""
        return Field(self.of) if self.fact is None else None


class Named(NamedTuple):
    """What the name of an archived object can tell of its message."""

    id: str
    principal: str
    body: Json


_PLACE = re.compile(r"\{([^{}]*)\}")
_PLAIN = re.compile(r"[A-Za-z0-9._~=-]*")
_MOST_PARTS = limits.OBJECT_NAME.value // (limits.OBJECT_NAME_PART.value + 1)
_ABSENT = "-"  # stands for a field that a message leaves out


@dataclass(frozen=True)
class Archive:
    """Where the bytes of a channel's messages rest, as files or in S3: one object a message, named by a template.

    `{id}` is the message's key, `{principal}` its sender; any other name in braces is a field of the body, as in
    `Archive("{metadata.company_id}/{id}.json")`. What stands in their place is percent-encoded, so that no message
    can name an object outside its folder; a part that is longer than a file name can be is cut and ends in its
    SHA-256. The name has to tell messages apart: it holds `{id}`, or the field that is the key.
    """

    template: str
    content_type: str = "application/json"

    @property
    def places(self) -> list[str]:
        """What stands in braces."""
        return _PLACE.findall(self.template)

    @property
    def fields(self) -> list[Field]:
        """The fields of the body that the name takes from."""
        return [Field(place) for place in self.places if place not in ("id", "principal")]

    def sentences(self, key: Field | Header | None, *, per_principal: bool) -> Iterator[str]:
        """What of it cannot be honoured; the fields themselves are checked against the model elsewhere."""
        if not isinstance(self.template, str) or not _PLAIN.fullmatch(_PLACE.sub("", self.template).replace("/", "")):
            yield "`archive=`: a template has letters, digits and . _ ~ = - / beside the fields in braces."
            return
        if any(part in ("", ".", "..") for part in self.template.split("/")):
            yield "`archive=`: a template has no empty parts, no . or .. and no / at either end."
        if not ("id" in self.places or (isinstance(key, Field) and key.dotted in self.places)):
            yield "`archive=`: put {id} into the template, or two messages would have one object."
        if per_principal and key is not None and "principal" not in self.places:
            yield "`archive=`: a key counts per sender here, so put {principal} into the template too."
        if self.template.count("/") >= _MOST_PARTS:
            yield f"`archive=`: a template has at most {_MOST_PARTS} parts between its slashes."

    def name(self, message: Named) -> str:
        """The object's name: the same one for the same message, whenever it is asked for."""
        return "/".join(_cut(_safe(_PLACE.sub(_fill(message), part))) for part in self.template.split("/"))


def _fill(message: Named) -> Callable[[re.Match[str]], str]:
    def filled(place: re.Match[str]) -> str:
        match place[1]:
            case "id":
                text: str | None = message.id
            case "principal":
                text = message.principal
            case dotted:
                text = scalar_text(at_path(message.body, Field(dotted).path))
        return quote(text or _ABSENT, safe="")

    return filled


def _safe(part: str) -> str:
    return part.replace(".", "%2E") if part in (".", "..") else part


def _cut(part: str) -> str:
    most = limits.OBJECT_NAME_PART.value
    if len(part) <= most:
        return part
    mark = hashlib.sha256(part.encode()).hexdigest()
    return f"{part[: most - len(mark) - 1]}~{mark}"
