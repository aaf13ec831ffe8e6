"""What the intrinsic functions compute."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import random
import re
import uuid
from collections.abc import Callable
from typing import Any

from headgate.declare.intrinsics import Call, Literal
from headgate.declare.paths import Path
from headgate.local.executions.state import Fault, text

_MOST_ELEMENTS = 1000  # of States.ArrayRange
_MOST_CHARS = 10_000  # of States.Hash, States.Base64Encode and Base64Decode
_ALGORITHMS = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
_HOLE = re.compile(r"\\([{}\\])|(\{\})|([{}])")


def compute(call: Call, look_up: Callable[[Path], Any], chance: random.Random) -> Any:
    """The value of a call. Raises Fault States.IntrinsicFailure; what `look_up` raises passes through."""
    arguments = [_argument(each, look_up, chance, call.name) for each in call.arguments]
    try:
        return _compute(call.name, arguments, chance)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise Fault("States.IntrinsicFailure", f"The function '{call.text}' had the following error: {error}") from None


def _argument(argument: Call | Path | Literal, look_up: Callable[[Path], Any], chance: random.Random, of: str) -> Any:
    match argument:
        case Call():
            return compute(argument, look_up, chance)
        case Path():
            return look_up(argument)
        case Literal(value=str(value)) if of != "States.Format":
            return value.replace("\\{", "{").replace("\\}", "}")
        case Literal(value=value):
            return value


def _compute(name: str, arguments: list[Any], chance: random.Random) -> Any:
    match name, arguments:
        case "States.Format", [template, *values]:
            return _format(_text(template, "the template"), values)
        case "States.StringToJson", [value]:
            return _parsed(_text(value, "the argument"))
        case "States.JsonToString", [value]:
            return text(value)
        case "States.Array", values:
            return values
        case "States.ArrayPartition", [array, size]:
            return _partition(_array(array), _integer(size, "the chunk size"))
        case "States.ArrayContains", [array, value]:
            return any(_same(each, value) for each in _array(array))
        case "States.ArrayRange", [first, last, step]:
            return _range(*(_integer(each, "an argument") for each in (first, last, step)))
        case "States.ArrayGetItem", [array, index]:
            return _item(_array(array), _integer(index, "the index"))
        case "States.ArrayLength", [array]:
            return len(_array(array))
        case "States.ArrayUnique", [array]:
            return _unique(_array(array))
        case "States.Base64Encode", [value]:
            return base64.b64encode(_bounded(value).encode()).decode()
        case "States.Base64Decode", [value]:
            return _decoded(_bounded(value))
        case "States.Hash", [value, algorithm]:
            return _hashed(value, algorithm)
        case "States.JsonMerge", [left, right, deep]:
            return _merged(left, right, deep)
        case "States.MathRandom", [first, last, *seed]:
            generator = random.Random(_integer(seed[0], "the seed")) if seed else chance  # noqa: S311
            return _random(_integer(first, "the start"), _integer(last, "the end"), generator)
        case "States.MathAdd", [left, right]:
            return _integer(left, "an argument") + _integer(right, "an argument")
        case "States.StringSplit", [value, splitter]:
            return _split(_text(value, "the string"), _text(splitter, "the splitter"))
        case "States.UUID", []:
            return str(uuid.UUID(int=chance.getrandbits(128), version=4))
    raise ValueError("it is not known")


def _format(template: str, values: list[Any]) -> str:
    ahead = iter(values)
    used = 0

    def filled(found: re.Match[str]) -> str:
        nonlocal used
        if found[1]:
            return found[1]
        if found[3]:
            raise ValueError("a brace in the template has to be part of {} or escaped")
        used += 1
        value = next(ahead, ahead)
        if value is ahead:
            raise ValueError("the template has more {} than there are arguments")
        return _written(value)

    whole = _HOLE.sub(filled, template)
    if used != len(values):
        raise ValueError("there are more arguments than {} in the template")
    return whole


def _written(value: Any) -> str:
    """As Step Functions fills in a value, which is Java's way of writing maps and lists rather than JSON."""
    match value:
        case str():
            return value
        case list():
            return f"[{', '.join(map(_written, value))}]"
        case dict():
            return "{" + ", ".join(f"{key}={_written(member)}" for key, member in value.items()) + "}"
        case _:
            return text(value)


def _parsed(value: str) -> Any:
    if not value.strip():
        return None
    return json.loads(value, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _partition(array: list[Any], size: int) -> list[Any]:
    if size < 1:
        raise ValueError("the chunk size has to be at least 1")
    return [array[begin : begin + size] for begin in range(0, len(array), size)]


def _range(first: int, last: int, step: int) -> list[int]:
    if step == 0:
        raise ValueError("the step must not be 0")
    whole = range(first, last + (1 if step > 0 else -1), step)
    if len(whole) > _MOST_ELEMENTS:
        raise ValueError(f"it would have more than {_MOST_ELEMENTS} elements")
    return list(whole)


def _item(array: list[Any], index: int) -> Any:
    if not 0 <= index < len(array):
        raise ValueError(f"there is no element {index}")
    return array[index]


def _unique(array: list[Any]) -> list[Any]:
    found: dict[str, Any] = {}
    for each in array:
        found.setdefault(json.dumps(each, sort_keys=True), each)
    return list(found.values())


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("the argument is not Base64 of a text") from None


def _hashed(value: Any, algorithm: Any) -> str:
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"the algorithm has to be one of {', '.join(_ALGORITHMS)}")
    data = _bounded(value)
    return hashlib.new(_ALGORITHMS[algorithm], data.encode(), usedforsecurity=False).hexdigest()


def _merged(left: Any, right: Any, deep: Any) -> Any:
    if not isinstance(left, dict) or not isinstance(right, dict):
        raise ValueError("both arguments have to be objects")
    if deep is not False:
        raise ValueError("only the shallow merge is known: the third argument has to be false")
    return {**left, **right}


def _random(first: int, last: int, generator: random.Random) -> int:
    if first >= last:
        raise ValueError("the start has to be smaller than the end")
    return generator.randrange(first, last)


def _split(value: str, splitter: str) -> list[str]:
    """At any of the characters; what is empty is left out, as Java's tokenizer has it."""
    if not splitter:
        return [value]
    return [part for part in re.split("[" + re.escape(splitter) + "]", value) if part]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("an argument has to be an array")
    return value


def _integer(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{what} has to be a number")
    return round(value)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} has to be a string")
    return value


def _bounded(value: Any) -> str:
    data = _text(value, "the argument")
    if len(data) > _MOST_CHARS:
        raise ValueError(f"the argument has more than {_MOST_CHARS} characters")
    return data
