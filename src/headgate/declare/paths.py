"""Paths into JSON as workflows write them: `$.orders[0].id`, `$$.Execution.Name`, `$variable.field`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

Root = Literal["input", "context", "variable"]

_VARIABLE = re.compile(r"\$([^\W\d]\w*)(.*)", re.DOTALL)
_CHAIN_OF_NAMES = re.compile(r"\$(?:\.[^\W\d][\w-]*)*")
_NOTHING = object()


class NoSuchPath(LookupError):
    """The path leads nowhere in this value."""


class Path(NamedTuple):
    """A compiled path. `keys` lead to one place; `rest` (None for most paths) selects any number of values there.

    `lenient`: a wildcard or slice selects nothing where there is no such place, rather than failing.
    """

    text: str
    root: Root
    variable: str
    keys: tuple[str | int, ...]
    rest: Any
    lenient: bool = False

    @property
    def definite(self) -> bool:
        """Whether the path leads to one place at most."""
        return self.rest is None


@lru_cache(maxsize=4096)
def path(text: str) -> Path:
    """Compile a path. Raises ValueError with a sentence for what is none, or what Step Functions would not take."""
    if not text.startswith("$"):
        raise ValueError(f"'{text}' is no path: it has to begin with '$'")
    root: Root = "input"
    variable, tail = "", text
    if text.startswith("$$"):
        root, tail = "context", text[1:]
    elif found := _VARIABLE.fullmatch(text):
        root, variable, tail = "variable", found[1], "$" + found[2]
    if _CHAIN_OF_NAMES.fullmatch(tail):  # most paths; the library takes 130 ms to import
        return Path(text, root, variable, tuple(tail.split(".")[1:]), None)
    return Path(text, root, variable, *_compiled(text, tail))


def reference_path(text: str) -> Path:
    """A path that says where one value goes. Raises ValueError where it could mean several places."""
    found = path(text)
    if not found.definite:
        raise ValueError(f"'{text}' may only name members and elements: no wildcard, slice, filter or '..'")
    return found


def _compiled(text: str, tail: str) -> tuple[tuple[str | int, ...], Any, bool]:
    import jsonpath
    from jsonpath.selectors import Filter, IndexSelector, NameSelector, SliceSelector, WildcardSelector

    try:
        compiled = jsonpath.compile(tail)
    except jsonpath.JSONPathError as error:
        raise ValueError(f"'{text}' is no path: {str(error).splitlines()[0]}") from None
    if not isinstance(compiled, jsonpath.JSONPath):
        raise ValueError(f"'{text}' joins two paths, which Step Functions does not know")
    keys: list[str | int] = []
    segments = list(compiled.segments)
    for segment in segments:
        for selector in segment.selectors:
            if not isinstance(selector, (NameSelector, IndexSelector, SliceSelector, WildcardSelector, Filter)):
                raise ValueError(f"'{text}' uses a selector that Step Functions does not know")
    while segments and len(segments[0].selectors) == 1 and type(segments[0]).__name__ == "JSONPathChildSegment":
        match segments[0].selectors[0]:
            case NameSelector(name=key) | IndexSelector(index=key):
                keys.append(key)
            case _:
                break
        segments.pop(0)
    if not segments:
        return tuple(keys), None, False
    first = segments[0].selectors[0]
    lenient = isinstance(first, WildcardSelector) or (isinstance(first, SliceSelector) and bool(keys))
    return tuple(keys), jsonpath.JSONPath(env=compiled.env, segments=segments, pseudo_root=False), lenient


def read(where: Path, document: Any) -> Any:
    """What the path selects: one value, or for an indefinite path the list of them. Raises NoSuchPath."""
    for key in where.keys:
        document = _step(document, key)
        if document is _NOTHING:
            if where.lenient:
                return []
            raise NoSuchPath(where.text)
    if where.rest is None:
        return document
    return where.rest.findall(document)


def _step(document: Any, key: str | int) -> Any:
    if isinstance(key, str):
        return document.get(key, _NOTHING) if isinstance(document, Mapping) else _NOTHING
    if isinstance(document, list) and -len(document) <= key < len(document):
        return document[key]
    return _NOTHING


def written(where: Path, document: Any, value: Any) -> Any:
    """A copy of `document` with `value` at the place; members on the way are made. Raises NoSuchPath where it cannot
    be put: below something that is no object, or at an element that is not there."""
    return _put(where, where.keys, document, value)


def _put(where: Path, keys: tuple[str | int, ...], document: Any, value: Any) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(key, int):
        if not isinstance(document, list) or not -len(document) <= key < len(document):
            raise NoSuchPath(where.text)
        elements = list(document)
        elements[key] = _put(where, rest, elements[key], value)
        return elements
    if not isinstance(document, dict):
        raise NoSuchPath(where.text)
    return {**document, key: _put(where, rest, document.get(key, {}), value)}
