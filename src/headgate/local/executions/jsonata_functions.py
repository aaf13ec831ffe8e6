"""The functions that JSONata has in Step Functions, and those whose own way could take all time or memory: messages
choose what they are called with."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from headgate import limits

MOST_BYTES = limits.JSONATA_DATA.value
TOO_LARGE = "Expression evaluation memory limit exceeded"
_MOST_S = limits.JSONATA_SECONDS.value
_MOST_DEPTH = 100
_ALGORITHMS = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
_GROUP = re.compile(r"\\g<(\d+)>")  # as the library writes `$1` of a replacement


class Bounds:
    """Looks in before and after every part of an expression, on the thread that works it out. The time is that of a
    processor: where the machine stands still, no execution fails."""

    def __init__(self) -> None:
        self._depth = 0
        self._until_s = time.thread_time() + _MOST_S

    def enter(self, *_: Any) -> None:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ValueError(f"Stack overflow error: it nests too deep. Depth={self._depth} max={_MOST_DEPTH}")
        self.look()

    def leave(self, _: Any, __: Any, ___: Any, value: Any) -> None:
        self._depth -= 1
        if isinstance(value, (str, list)) and len(value) > (MOST_BYTES if isinstance(value, str) else MOST_BYTES // 8):
            raise ValueError(TOO_LARGE)

    def look(self) -> None:
        """Raises ValueError where the time is up."""
        if time.thread_time() > self._until_s:
            raise ValueError(f"Expression evaluation timeout: it takes longer than {_MOST_S} s")


def functions(chance: random.Random, bounds: Bounds) -> dict[str, Any]:
    """By name, as the library takes them."""
    from jsonata.jsonata import Jsonata

    def plain(function: Callable[..., Any]) -> Any:
        return Jsonata.JLambda(function)

    def signed(function: Callable[..., Any], signature: str) -> Any:
        """With the library's own signature: the context stands in for what is left out, and types are checked."""
        return Jsonata.JFunction(Jsonata.JLambda(function), signature)

    return {
        "partition": plain(_partition),
        "range": plain(_range),
        "hash": plain(_hash),
        "random": plain(lambda *seed: (random.Random(_whole(seed[0])) if seed else chance).random()),  # noqa: S311
        "uuid": plain(lambda: str(uuid.UUID(int=chance.getrandbits(128), version=4))),
        "parse": plain(lambda value: bound(json.loads(value), _null())),
        "eval": plain(_no_eval),
        "pad": plain(_pad),
        "join": signed(_join, "<a<s>s?:s>"),
        "replace": signed(_replace, "<s-(sf)(sf)n?:s>"),
        "distinct": signed(lambda array=None: _distinct(array, bounds), "<x:x>"),
    }


def bound(value: Any, null: Any) -> Any:
    """JSON as the library wants it: its own null, since its None says that there is nothing."""
    match value:
        case None:
            return null
        case dict():
            return {key: bound(member, null) for key, member in value.items()}
        case list():
            return [bound(member, null) for member in value]
        case _:
            return value


def pattern(source: str, flags: Any) -> Pattern:
    """What the library makes of `/.../`, with an end to its patience."""
    import regex

    return Pattern(regex.compile(source, regex.IGNORECASE * flags.case_insensitive | regex.MULTILINE * flags.multiline))


class Pattern:
    """A regular expression that gives up, rather than going through a text in all the ways there are; meanwhile other
    threads go on. What it raises then is TimeoutError."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def search(self, text: str) -> Any:
        return self._compiled.search(text, timeout=_MOST_S, concurrent=True)

    def finditer(self, text: str) -> Iterator[Any]:
        found: Iterator[Any] = self._compiled.finditer(text, timeout=_MOST_S, concurrent=True)
        return found

    def split(self, text: str, maxsplit: int = 0) -> list[str]:
        parts: list[str] = self._compiled.split(text, maxsplit, timeout=_MOST_S, concurrent=True)
        return parts

    def sub(self, replacement: Any, text: str, count: int = 0) -> str:
        """`replacement` is a function of a match, or a text in which groups are named as in `\\g<1>`."""
        made_of = replacement if callable(replacement) else self._filling(replacement)
        size = len(text)

        def made(match: Any) -> str:
            nonlocal size
            told: str = made_of(match)
            size += len(told)
            if size > 2 * MOST_BYTES:
                raise ValueError(TOO_LARGE)
            return told

        whole: str = self._compiled.sub(made, text, count, timeout=_MOST_S, concurrent=True)
        return whole

    def _filling(self, replacement: str) -> Callable[[Any], str]:
        literals, groups = _GROUP.split(replacement)[::2], [int(number) for number in _GROUP.findall(replacement)]
        for group in groups:
            if group > self._compiled.groups:
                raise ValueError(f"invalid group reference {group} at position 0")  # which the library understands

        def filled(match: Any) -> str:
            found = [match[group] or "" for group in groups]
            if len(replacement) + sum(map(len, found)) > MOST_BYTES:
                raise ValueError(TOO_LARGE)
            return "".join(part for pair in zip(literals, [*found, ""], strict=True) for part in pair)

        return filled


def _partition(array: list[Any], size: float) -> Any:
    whole = _whole(size)
    if whole < 1 or not array:
        return None
    return [array[begin : begin + whole] for begin in range(0, len(array), whole)]


def _range(first: float, last: float, step: float = 0) -> Any:
    begin, end, by = _whole(first), _whole(last), _whole(step)
    if by == 0 or (end - begin) * by < 0:
        return None
    whole = range(begin, end + (1 if by > 0 else -1), by)
    if len(whole) > 360_145:  # as Step Functions bounds it
        raise ValueError(TOO_LARGE)
    return list(whole) if len(whole) != 1 else whole[0]


def _hash(value: str, algorithm: str | None = None) -> Any:
    if algorithm is None:
        return None
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"the algorithm has to be one of {', '.join(_ALGORITHMS)}")
    return hashlib.new(_ALGORITHMS[algorithm], value.encode(), usedforsecurity=False).hexdigest()


def _pad(value: str, width: float, char: str = " ") -> str:
    whole = _whole(width)
    if abs(whole) > MOST_BYTES:
        raise ValueError(TOO_LARGE)
    missing = max(abs(whole) - len(value), 0)
    filling = ((char or " ") * (missing // len(char or " ") + 1))[:missing]
    return value + filling if whole > 0 else filling + value


def _join(parts: Any = None, separator: str | None = None) -> Any:
    from jsonata.functions import Functions

    if isinstance(parts, list) and len(separator or "") * len(parts) > MOST_BYTES:
        raise ValueError(TOO_LARGE)
    return Functions.join(parts, separator)


def _replace(text: Any = None, old: Any = None, new: Any = None, limit: Any = None) -> Any:
    from jsonata.functions import Functions

    if isinstance(text, str) and isinstance(old, str) and old and isinstance(new, str):
        times = text.count(old)  # `$0` stands for what is replaced
        if len(text) + times * (len(new) + new.count("$0") * len(old)) > MOST_BYTES:
            raise ValueError(TOO_LARGE)
    return Functions.replace(text, old, new, limit)


def _distinct(array: Any, bounds: Bounds) -> Any:
    """The library looks through all that it has, for each; a set knows at once what is no array and no object."""
    from jsonata.utils import Utils

    if not isinstance(array, list) or len(array) <= 1:
        return array
    known: set[Any] = set()
    found = Utils.create_sequence() if isinstance(array, Utils.JList) else []
    for each in array:
        if isinstance(each, (str, int, float)):
            if each not in known:
                known.add(each)
                found.append(each)
            continue
        bounds.look()
        if each not in found:
            found.append(each)
    return found


def _no_eval(*_: Any) -> Any:
    raise ValueError("Attempted to invoke a non-function: $eval is not there; use $parse")


def _whole(value: float) -> int:
    return math.trunc(value)


def _null() -> Any:
    from jsonata.utils import Utils

    return Utils.NULL_VALUE
