"""Tables: where workflows keep items of their own, in DynamoDB and, locally, in the store."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headgate.declare.shape import TEXT, Shape, misfits

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_ATTRIBUTE_CHARS = 255
_MAYBE_TEXT = Shape("text", lambda value: value is None or isinstance(value, str))


class Table:
    """Where workflows keep items; made by `App.table`. Channels have tables of their own, which this is none of.

    - `name`: 1 to 64 letters, digits, `_` and `-`, and no channel's
    - `key`: the attribute that tells items apart, a text
    - `sort`: one beside it, a text too; none
    """

    def __init__(self, where: str, name: str, *, key: str, sort: str | None = None) -> None:
        self.where = where
        self.name = name
        self.key = key
        self.sort = sort

    def __repr__(self) -> str:
        return f"<table {self.name}>"

    @property
    def keys(self) -> tuple[str, ...]:
        """The attributes of its key."""
        return (self.key,) if self.sort is None else (self.key, self.sort)

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        shapes = {"name": TEXT, "key": TEXT, "sort": _MAYBE_TEXT}
        if wrong := list(misfits("", {name: getattr(self, name) for name in shapes}, shapes)):
            yield from wrong
            return
        if not _NAME.fullmatch(self.name):
            yield "a name is 1 to 64 letters, digits, _ and -, and starts with a letter."
        for option, attribute in (("key", self.key), ("sort", self.sort)):
            if attribute is not None and not 1 <= len(attribute.encode()) <= _ATTRIBUTE_CHARS:
                yield f"`{option}=` is the name of an attribute, of 1 to {_ATTRIBUTE_CHARS} bytes."
        if self.key == self.sort:
            yield "`key=` and `sort=` are two attributes."
