"""JSONata within `{% %}`, checked when the app loads: whether it can be read, and what Step Functions takes from it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

# Where the parts of an expression are that see what the whole sees, by the type of the part.
_WITHIN = {
    "binary": ("lhs", "rhs"),
    "apply": ("lhs", "rhs"),
    "bind": ("rhs",),
    "condition": ("condition", "then", "_else"),
    "block": ("expressions",),
    "function": ("procedure", "arguments"),
    "partial": ("procedure", "arguments"),
    "lambda": ("body",),
    "unary": ("expression", "expressions", "lhs_object"),
}


@lru_cache(maxsize=4096)
def expression_fault(expression: str) -> str:
    """Why an expression would be refused; an empty text for one that is fine."""
    from jsonata.jexception import JException
    from jsonata.jsonata import Jsonata

    try:
        parsed = Jsonata(expression)
    except (JException, RecursionError, ValueError, TypeError, AttributeError, IndexError) as error:
        return f"'{expression}' is no JSONata: {str(error).rstrip('.') or type(error).__name__}"
    if parsed.errors:
        return f"'{expression}' is no JSONata: {parsed.errors[0]}"
    return next(_faults(parsed.ast), "")


def _faults(part: Any) -> Iterator[str]:
    """An expression has no context of its own: what it reads begins with a variable, such as $states."""
    if isinstance(part, (list, tuple)):
        for each in part:
            yield from _faults(each)
        return
    kind = getattr(part, "type", None)
    if kind == "path":
        first = part.steps[0]
        if first.type == "name":
            yield f"'{first.value}' is read from nothing; what a state is handed is $states.input.{first.value}"
        else:
            yield from _faults(first)
    elif kind == "variable" and part.value == "$":
        yield "$$ is nothing here; what a state is handed is $states.input"
    elif kind == "variable" and part.value == "eval":
        yield "Step Functions has no $eval; $parse reads JSON"
    else:
        for key in _WITHIN.get(str(kind), ()):
            yield from _faults(getattr(part, key, None))
