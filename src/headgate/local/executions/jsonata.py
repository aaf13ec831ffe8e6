"""JSONata within `{% %}`: evaluated with bounds on time, depth and size."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from headgate import limits
from headgate.local.executions.state import Fault, text

_MOST_S = limits.JSONATA_SECONDS.value
_MOST_DEPTH = 100
_MOST_BYTES = limits.JSONATA_DATA.value
_ALGORITHMS = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
_TOO_LARGE = "Expression evaluation memory limit exceeded"
_ERROR = "States.QueryEvaluationError"


def evaluate(expression: str, location: str, bindings: Mapping[str, Any], chance: random.Random) -> Any:
    """The value of an expression. Raises Fault States.QueryEvaluationError, naming the expression and its field."""
    from jsonata.jexception import JException
    from jsonata.jsonata import Jsonata
    from jsonata.utils import Utils

    named = f"The JSONata expression '{expression}' specified for the field '{location}'"
    try:
        parsed = _parsed(expression)
        frame = parsed.create_frame(parsed.environment)
        for name, value in bindings.items():
            frame.bind(name, _bound(value, Utils.NULL_VALUE))
        for name, function in _functions(chance).items():
            frame.bind(name, Jsonata.JLambda(function))
        bounds = _Bounds()
        frame.set_evaluate_entry_callback(bounds.enter)
        frame.set_evaluate_exit_callback(bounds.leave)
        result = parsed.evaluate(None, frame)
    except JException as error:
        raise Fault(
            _ERROR,
            f"{named} threw an error during evaluation. {getattr(error, 'error', '')}: {error}",
            location=location,
            evaluation=True,
        ) from None
    except (RecursionError, MemoryError, OverflowError, ValueError, TypeError, ArithmeticError) as error:
        raise Fault(
            _ERROR, f"{named} threw an error during evaluation. {error}", location=location, evaluation=True
        ) from None
    if result is None:
        raise Fault(_ERROR, f"{named} returned nothing (undefined).", location=location, evaluation=True)
    try:
        plain = _plain(result, Utils.NULL_VALUE)
    except TypeError:
        raise Fault(
            _ERROR, f"{named} returned an unsupported result type.", location=location, evaluation=True
        ) from None
    if len(text(plain)) > _MOST_BYTES:
        raise Fault(
            _ERROR, f"{named} threw an error during evaluation. {_TOO_LARGE}", location=location, evaluation=True
        )
    return plain


class _Bounds:
    """Looks in before and after every part of an expression."""

    def __init__(self) -> None:
        self._depth = 0
        self._until_s = time.monotonic() + _MOST_S

    def enter(self, *_: Any) -> None:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ValueError(f"Stack overflow error: it nests too deep. Depth={self._depth} max={_MOST_DEPTH}")
        if time.monotonic() > self._until_s:
            raise ValueError(f"Expression evaluation timeout: it takes longer than {_MOST_S} s")

    def leave(self, _: Any, __: Any, ___: Any, value: Any) -> None:
        self._depth -= 1
        if isinstance(value, (str, list)) and len(value) > (
            _MOST_BYTES if isinstance(value, str) else _MOST_BYTES // 8
        ):
            raise ValueError(_TOO_LARGE)


def wrong_type(expression: str, location: str, expected: str, value: Any) -> Fault:
    """The fault of an expression whose value has another type than its field needs."""
    return Fault(
        _ERROR,
        f"The JSONata expression '{expression}' specified for the field '{location}' returned an unexpected result "
        f"type. Expected '{expected}', but was '{kind_of(value)}' for value: {text(value)}",
        location=location,
        evaluation=True,
    )


def kind_of(value: Any) -> str:
    """The name JSON has for the type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


@lru_cache(maxsize=1024)
def _parsed(expression: str) -> Any:
    from jsonata.jsonata import Jsonata

    parsed = Jsonata(expression)
    parsed.set_output_convert_nulls(False)
    parsed.set_validate_input(False)
    return parsed


def _bound(value: Any, null: Any) -> Any:
    """JSON as the library wants it: its own null, since its None says that there is nothing."""
    match value:
        case None:
            return null
        case dict():
            return {key: _bound(member, null) for key, member in value.items()}
        case list():
            return [_bound(member, null) for member in value]
        case _:
            return value


def _plain(value: Any, null: Any) -> Any:
    """What the library returns as JSON. Raises TypeError for what is none, such as a function."""
    if value is null or value is None:
        return None
    match value:
        case bool() | int() | str():
            return value
        case float():
            if math.isfinite(value):
                return int(value) if value.is_integer() and abs(value) < 1e15 else value
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {str(key): _plain(member, null) for key, member in value.items()}
        case list() | tuple() | range():
            return [_plain(member, null) for member in value]
    if hasattr(value, "__iter__") and hasattr(value, "__len__"):  # the library's own kind of range
        return [_plain(member, null) for member in value]
    raise TypeError


def _functions(chance: random.Random) -> dict[str, Any]:
    """What Step Functions adds to JSONata, and takes from it."""
    return {
        "partition": _partition,
        "range": _range,
        "hash": _hash,
        "random": lambda *seed: (random.Random(_whole(seed[0])) if seed else chance).random(),  # noqa: S311
        "uuid": lambda: str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "parse": lambda value: _bound(json.loads(value), _null()),
        "eval": _no_eval,
        "pad": _pad,
    }


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
        raise ValueError(_TOO_LARGE)
    return list(whole) if len(whole) != 1 else whole[0]


def _hash(value: str, algorithm: str | None = None) -> Any:
    if algorithm is None:
        return None
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"the algorithm has to be one of {', '.join(_ALGORITHMS)}")
    return hashlib.new(_ALGORITHMS[algorithm], value.encode(), usedforsecurity=False).hexdigest()


def _pad(value: str, width: float, char: str = " ") -> str:
    """As JSONata's own, which would fill the memory when asked to."""
    whole = _whole(width)
    if abs(whole) > _MOST_BYTES:
        raise ValueError(_TOO_LARGE)
    missing = max(abs(whole) - len(value), 0)
    filling = ((char or " ") * (missing // len(char or " ") + 1))[:missing]
    return value + filling if whole > 0 else filling + value


def _no_eval(*_: Any) -> Any:
    raise ValueError("Attempted to invoke a non-function: $eval is not there; use $parse")


def _whole(value: float) -> int:
    return math.trunc(value)


def _null() -> Any:
    from jsonata.utils import Utils

    return Utils.NULL_VALUE
