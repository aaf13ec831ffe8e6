"""What pydantic finds wrong with a body, as senders are told it: with JSON pointers into what they sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import ValidationError

from headgate import limits
from headgate.errors import FieldFault
from headgate.message import Json

# Above, making them takes longer than everything else that is done for a request.
_MOST_FAULTS = 10 * limits.FAULTS.value


def faults_of(error: ValidationError, tree: Json, prefix: str) -> list[FieldFault]:
    """The faults, at most limits.FAULTS of them. `tree` is the body, `prefix` what all pointers begin with."""
    if error.error_count() > _MOST_FAULTS:
        return [FieldFault(prefix, f"There are {error.error_count()} faults, too many to tell", "too_many_faults")]
    found = error.errors(include_url=False, include_context=False, include_input=False)[: limits.FAULTS.value]
    return [
        FieldFault(
            _pointer(fault["loc"], tree, prefix, missing=fault["type"] == "missing"),
            fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, "),
            fault["type"],
        )
        for fault in found
    ]


def _pointer(loc: Sequence[str | int], tree: Json, prefix: str, *, missing: bool) -> str:
    """pydantic's location as a JSON pointer into the body: what is not in the body (union tags and the like) is left
    out, but for the name of a missing field."""
    node: Any = tree
    pointer = prefix
    for at, part in enumerate(loc):
        if _holds(node, part):
            node = node[part]
        elif not (missing and at == len(loc) - 1):
            continue
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return pointer


def _holds(node: object, part: str | int) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, dict) and part in node
