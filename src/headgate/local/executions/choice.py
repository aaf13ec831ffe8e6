"""Choice: the first rule that holds decides where to go."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from headgate.declare.paths import NoSuchPath
from headgate.local.executions.scope import Scope
from headgate.local.executions.state import Branch, Fault
from headgate.local.executions.turn import Turn

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "LessThanEquals": operator.le,
    "GreaterThanEquals": operator.ge,
    "LessThan": operator.lt,
    "GreaterThan": operator.gt,
    "Equals": operator.eq,
}
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")
_NOTHING = object()


def enter(turn: Turn, branch: Branch, state: Mapping[str, Any]) -> None:
    scope = turn.scope(branch, state)
    document = scope.selected(state.get("InputPath", "$"), "InputPath", branch.input)
    for index, rule in enumerate(state["Choices"]):
        if not _holds(rule, index, scope, document):
            continue
        _go(turn, branch, state, rule, f"Choices[{index}]/", scope, document, rule["Next"])
        return
    if "Default" not in state:
        raise Fault("States.NoChoiceMatched", "No choice rule holds, and there is no Default.")
    _go(turn, branch, state, state, "", scope, document, state["Default"])


def _go(
    turn: Turn,
    branch: Branch,
    state: Mapping[str, Any],
    holder: Mapping[str, Any],
    where: str,
    scope: Scope,
    document: Any,
    target: str,
) -> None:
    """To `target`, with the Assign and Output of the rule that holds or, without one, of the state."""
    if not scope.jsonata:
        output = scope.selected(state.get("OutputPath", "$"), "OutputPath", document)
    elif "Output" in holder:
        output = scope.value(holder["Output"], f"{where}Output", None)
    else:
        output = scope.value(state["Output"], "Output", None) if "Output" in state else branch.input
    turn.assign(branch, holder, scope, document, where)
    turn.leave(branch, state, output, target)


def _holds(rule: Mapping[str, Any], index: int, scope: Scope, document: Any) -> bool:
    if not scope.jsonata:
        return _true(rule, scope, document)
    field = f"Choices[{index}]/Condition"
    found = scope.value(rule["Condition"], field, document)
    if not isinstance(found, bool):
        raise scope.mistyped(rule["Condition"], field, "boolean", found)
    return found


def _true(rule: Mapping[str, Any], scope: Scope, document: Any) -> bool:
    if "And" in rule:
        return all(_true(each, scope, document) for each in rule["And"])
    if "Or" in rule:
        return any(_true(each, scope, document) for each in rule["Or"])
    if "Not" in rule:
        return not _true(rule["Not"], scope, document)
    (name,) = (key for key in rule if key not in ("Variable", "Next", "Comment", "Assign"))
    try:
        value = scope.find(rule["Variable"], document)
    except NoSuchPath:
        value = _NOTHING
    if name == "IsPresent":
        return bool((value is not _NOTHING) == rule[name])
    if value is _NOTHING:
        raise Fault(
            "States.Runtime",
            f"Invalid path '{rule['Variable']}': The choice state's condition path references an invalid value.",
        )
    if name.startswith("Is"):
        return bool(_KINDS[name](value) == rule[name])
    if name.endswith("Path"):
        return _compared(name.removesuffix("Path"), value, _other(rule[name], scope, document))
    return _compared(name, value, rule[name])


def _other(where: str, scope: Scope, document: Any) -> Any:
    try:
        return scope.find(where, document)
    except NoSuchPath:
        raise Fault(
            "States.Runtime",
            f"Invalid path '{where}': The choice state's condition path references an invalid value.",
        ) from None


def _compared(name: str, value: Any, other: Any) -> bool:
    """Values of another type than the comparison's compare as false."""
    if name == "StringMatches":
        return isinstance(value, str) and _matches(value, other)
    for kind, read in _READ.items():
        if name.startswith(kind):
            left, right = read(value), read(other)
            if left is None or right is None:
                return False
            return _ORDERS[name.removeprefix(kind)](left, right)
    raise Fault("States.Runtime", f"The comparison {name} is not known")


def _matches(value: str, pattern: str) -> bool:
    """`*` stands for any characters; `\\*` for itself. Each part is taken where it comes first, so that nothing is
    looked at twice: as a regular expression, a long value could keep the whole process busy."""
    first, *rest = _between_stars(pattern)
    if not rest:
        return value == first
    *middle, last = rest
    at, end = len(first), len(value) - len(last)
    if at > end or not (value.startswith(first) and value.endswith(last)):
        return False
    for part in middle:
        found = value.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _between_stars(pattern: str) -> list[str]:
    parts = [""]
    for piece in re.findall(r"\\[\\*]|.", pattern, re.DOTALL):
        if piece == "*":
            parts.append("")
        else:
            parts[-1] += piece[-1]
    return parts


def _number(value: Any) -> Any:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _string(value: Any) -> Any:
    """By UTF-16 units, as Java orders strings; of equality that makes no difference."""
    return value.encode("utf-16-be", "surrogatepass") if isinstance(value, str) else None


def _boolean(value: Any) -> Any:
    return value if isinstance(value, bool) else None


def timestamp(value: Any) -> tuple[datetime, str] | None:
    """A moment that can be ordered to the nanosecond, or None for what is no RFC 3339 timestamp."""
    found = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00")), (found[2] or "").rstrip("0").rstrip(
            "."
        )
    except ValueError:
        return None


_READ: dict[str, Callable[[Any], Any]] = {
    "Numeric": _number,
    "String": _string,
    "Boolean": _boolean,
    "Timestamp": timestamp,
}
_KINDS: dict[str, Callable[[Any], bool]] = {
    "IsNull": lambda value: value is None,
    "IsNumeric": lambda value: _number(value) is not None,
    "IsString": lambda value: isinstance(value, str),
    "IsBoolean": lambda value: isinstance(value, bool),
    "IsTimestamp": lambda value: timestamp(value) is not None,
}
