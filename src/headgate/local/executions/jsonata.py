"""JSONata within `{% %}`: evaluated with bounds on time, depth and size."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from headgate.local.executions.jsonata_functions import MOST_BYTES, TOO_LARGE, Bounds, bound, functions, pattern
from headgate.local.executions.state import Fault, text

_ERROR = "States.QueryEvaluationError"


def evaluate(expression: str, location: str, bindings: Mapping[str, Any], chance: random.Random) -> Any:
    """The value of an expression. Raises Fault States.QueryEvaluationError, naming the expression and its field."""
    from jsonata.jexception import JException
    from jsonata.utils import Utils

    named = f"The JSONata expression '{expression}' specified for the field '{location}'"
    try:
        parsed = _parsed(expression)
        frame = parsed.create_frame(parsed.environment)
        for name, value in bindings.items():
            frame.bind(name, bound(value, Utils.NULL_VALUE))
        bounds = Bounds()
        for name, function in functions(chance, bounds).items():
            frame.bind(name, function)
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
    except Exception as error:  # noqa: BLE001 - the library's own functions raise what they come upon
        raise Fault(
            _ERROR, f"{named} threw an error during evaluation. {error}", location=location, evaluation=True
        ) from None
    if result is None:
        raise Fault(_ERROR, f"{named} returned nothing (undefined).", location=location, evaluation=True)
    try:
        plain = _Plain(Utils.NULL_VALUE).of(result)
        if len(text(plain)) > MOST_BYTES:
            raise ValueError(TOO_LARGE)
    except TypeError:
        raise Fault(
            _ERROR, f"{named} returned an unsupported result type.", location=location, evaluation=True
        ) from None
    except ValueError:
        raise Fault(
            _ERROR, f"{named} threw an error during evaluation. {TOO_LARGE}", location=location, evaluation=True
        ) from None
    return plain


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

    parsed = Jsonata(expression, pattern)
    parsed.set_output_convert_nulls(False)
    parsed.set_validate_input(False)
    return parsed


class _Plain:
    """What the library returns, as JSON. What stands in it many times is one thing to the library, and many to us."""

    def __init__(self, null: Any) -> None:
        self._null = null
        self._room = MOST_BYTES

    def of(self, value: Any) -> Any:
        """Raises TypeError for what is no JSON, such as a function, and ValueError for what is too large."""
        self._room -= len(value) if isinstance(value, str) else 1
        if self._room < 0:
            raise ValueError(TOO_LARGE)
        if value is self._null or value is None:
            return None
        match value:
            case bool() | int() | str():
                return value
            case float():
                if math.isfinite(value):
                    return int(value) if value.is_integer() and abs(value) < 1e15 else value
                return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            case dict():
                return {str(key): self.of(member) for key, member in value.items()}
            case list() | tuple() | range():
                return [self.of(member) for member in value]
        if hasattr(value, "__iter__") and hasattr(value, "__len__"):  # the library's own kind of range
            return [self.of(member) for member in value]
        raise TypeError
