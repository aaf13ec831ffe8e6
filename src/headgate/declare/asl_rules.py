"""Choice rules, and what follows an error: Retry and Catch, checked when the app loads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headgate.declare.asl_fields import (
    MOST_SECONDS,
    assign_faults,
    dynamic_faults,
    expression_faults,
    is_expression,
    is_one_of,
    template_faults,
    unknown_fields,
    whole,
)
from headgate.declare.paths import path, reference_path

# What a comparison compares with: the type of its value, or None where a path may stand in its place.
_ORDERS = ("Equals", "LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals")
COMPARISONS: dict[str, type | tuple[type, ...]] = {
    **{f"String{order}": str for order in _ORDERS},
    **{f"Numeric{order}": (int, float) for order in _ORDERS},
    **{f"Timestamp{order}": str for order in _ORDERS},
    "BooleanEquals": bool,
    "StringMatches": str,
    "IsNull": bool,
    "IsPresent": bool,
    "IsNumeric": bool,
    "IsString": bool,
    "IsBoolean": bool,
    "IsTimestamp": bool,
}
_WITHOUT_PATH = {"StringMatches"} | {name for name in COMPARISONS if name.startswith("Is")}
_CONNECTIVES = ("And", "Or", "Not")
_ON_ERROR = ("Task", "Map", "Parallel")
_RETRIER = {
    "ErrorEquals",
    "IntervalSeconds",
    "MaxAttempts",
    "BackoffRate",
    "MaxDelaySeconds",
    "JitterStrategy",
    "Comment",
}
_CATCHER = {"ErrorEquals", "Next", "Assign", "Comment"}


def choice_faults(state: Mapping[str, Any], language: str, siblings: Mapping[str, Any]) -> Iterator[str]:
    """The rules of a Choice state."""
    rules = state.get("Choices")
    if not isinstance(rules, list) or not rules or not all(isinstance(rule, Mapping) for rule in rules):
        yield "it needs Choices: a list with at least one rule"
        return
    if "Default" in state and not is_one_of(state["Default"], siblings):
        yield f"Default names '{state['Default']}', which is no state beside it"
    for index, rule in enumerate(rules):
        where = f"Choices[{index}]"
        if not is_one_of(rule.get("Next"), siblings):
            yield f"{where}: Next has to name a state beside it"
        yield from assign_faults(rule, f"{where}.")
        inner = {key: value for key, value in rule.items() if key not in ("Next", "Comment", "Assign", "Output")}
        if language == "JSONata":
            yield from _condition_faults(rule, inner, where)
        else:
            yield from _rule_faults(inner, where)
            if "Output" in rule:
                yield f"{where}: Output belongs to JSONata"
            yield from template_faults(rule.get("Assign", {}), f"{where}.Assign")


def _condition_faults(rule: Mapping[str, Any], inner: Mapping[str, Any], where: str) -> Iterator[str]:
    if set(inner) != {"Condition"}:
        yield f"{where} needs Condition, and nothing else but Next, Assign and Output"
    elif not is_expression(inner["Condition"]) and not isinstance(inner["Condition"], bool):
        yield f"{where}: Condition has to be an expression within {{% %}}, true or false"
    for key in ("Condition", "Assign", "Output"):
        yield from expression_faults(rule.get(key), f"{where}/{key}")


def _rule_faults(rule: Mapping[str, Any], where: str) -> Iterator[str]:
    connectives = [key for key in _CONNECTIVES if key in rule]
    if connectives:
        yield from _connective_faults(rule, connectives, where)
        return
    operators = [key for key in rule if key not in ("Variable", "Comment")]
    if len(operators) != 1 or "Variable" not in rule:
        yield f"{where} needs Variable and exactly one comparison"
        return
    (operator,) = operators
    yield from _read_faults(rule["Variable"], f"{where}.Variable")
    by_path = operator.endswith("Path")
    name = operator.removesuffix("Path")
    if name not in COMPARISONS or (by_path and name in _WITHOUT_PATH):
        yield f"{where}: the comparison {operator} is not known"
    elif by_path:
        yield from _read_faults(rule[operator], f"{where}.{operator}")
    elif not _fits(rule[operator], COMPARISONS[name]):
        yield f"{where}: {operator} cannot compare with {rule[operator]!r}"


def _connective_faults(rule: Mapping[str, Any], connectives: list[str], where: str) -> Iterator[str]:
    if len(connectives) != 1 or set(rule) - {connectives[0], "Comment"}:
        yield f"{where} needs {connectives[0]} alone"
        return
    (connective,) = connectives
    inner = [rule["Not"]] if connective == "Not" else rule[connective]
    if not isinstance(inner, list) or not inner or not all(isinstance(one, Mapping) for one in inner):
        yield f"{where}: {connective} needs {'a rule' if connective == 'Not' else 'a list of rules'}"
        return
    for one in inner:
        if "Next" in one:
            yield f"{where}: only a whole rule has Next, not a part of one"
        yield from _rule_faults({key: value for key, value in one.items() if key != "Next"}, f"{where}.{connective}")


def _fits(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def handler_faults(state: Mapping[str, Any], language: str, siblings: Mapping[str, Any]) -> Iterator[str]:
    """Retry and Catch."""
    if state["Type"] not in _ON_ERROR:
        return
    for key in ("Retry", "Catch"):
        handlers = state.get(key, [])
        if not isinstance(handlers, list) or not all(isinstance(one, Mapping) for one in handlers):
            yield f"{key} has to be a list of objects"
            continue
        for index, one in enumerate(handlers):
            where = f"{key}[{index}]"
            yield from _names_faults(one, where, last=index == len(handlers) - 1)
            yield from (
                _retrier_faults(one, where) if key == "Retry" else _catcher_faults(one, where, language, siblings)
            )


def _names_faults(handler: Mapping[str, Any], where: str, *, last: bool) -> Iterator[str]:
    names = handler.get("ErrorEquals")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        yield f"{where} needs ErrorEquals: a list of names of errors"
    elif "States.ALL" in names and (len(names) > 1 or not last):
        yield f"{where}: States.ALL has to stand alone, and in the last place"


def _retrier_faults(retrier: Mapping[str, Any], where: str) -> Iterator[str]:
    yield from unknown_fields(retrier, _RETRIER, where)
    if not whole(retrier.get("IntervalSeconds", 1), 1, MOST_SECONDS):
        yield f"{where}: IntervalSeconds has to be a whole number from 1 to {MOST_SECONDS}"
    if not whole(retrier.get("MaxAttempts", 3), 0, MOST_SECONDS):
        yield f"{where}: MaxAttempts has to be a whole number from 0 to {MOST_SECONDS}"
    rate = retrier.get("BackoffRate", 2.0)
    if not isinstance(rate, (int, float)) or isinstance(rate, bool) or rate < 1:
        yield f"{where}: BackoffRate has to be a number of at least 1"
    if not whole(retrier.get("MaxDelaySeconds", 1), 1, 31_622_400):
        yield f"{where}: MaxDelaySeconds has to be a whole number from 1 to 31622400"
    if retrier.get("JitterStrategy", "NONE") not in ("NONE", "FULL"):
        yield f"{where}: JitterStrategy has to be NONE or FULL"


def _catcher_faults(
    catcher: Mapping[str, Any], where: str, language: str, siblings: Mapping[str, Any]
) -> Iterator[str]:
    yield from unknown_fields(catcher, _CATCHER | ({"Output"} if language == "JSONata" else {"ResultPath"}), where)
    if not is_one_of(catcher.get("Next"), siblings):
        yield f"{where}: Next has to name a state beside it"
    yield from assign_faults(catcher, f"{where}.")
    if language == "JSONata":
        for key in ("Output", "Assign"):
            yield from expression_faults(catcher.get(key), f"{where}/{key}")
        return
    yield from template_faults(catcher.get("Assign", {}), f"{where}.Assign")
    if catcher.get("ResultPath") is not None:
        try:
            reference_path(str(catcher["ResultPath"]))
        except ValueError as error:
            yield f"{where}.ResultPath: {error}"


def _read_faults(value: object, where: str) -> Iterator[str]:
    if isinstance(value, str) and not value.startswith("$"):
        yield from dynamic_faults(value, where)
        return
    try:
        path(str(value))
    except ValueError as error:
        yield f"{where}: {error}"
