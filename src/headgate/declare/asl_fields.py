"""Which fields a state may have, and whether what they hold can be read: paths, calls, expressions, numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headgate.declare.asl_expressions import expression_fault
from headgate.declare.intrinsics import call, is_call
from headgate.declare.paths import path, reference_path

KINDS = ("Task", "Choice", "Wait", "Pass", "Map", "Parallel", "Succeed", "Fail")
MOST_SECONDS = 99_999_999

MACHINE = {"Comment", "StartAt", "States", "Version", "TimeoutSeconds", "QueryLanguage"}
PROCESSOR = {"Comment", "StartAt", "States", "ProcessorConfig"}
BRANCH = {"Comment", "StartAt", "States", "ProcessorConfig"}
DISTRIBUTED_ONLY = (
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
    "Label",
)
_ELSEWHERE = {
    "ItemReader": "reading items from S3",
    "ItemBatcher": "batches of items",
    "ResultWriter": "writing results to S3",
    "Credentials": "roles of other accounts",
}

_ALL = {"Type", "Comment", "QueryLanguage"}
_ON = {"Next", "End", "Assign"}
_HANDLED = {"Retry", "Catch"}
_COMMON = {
    "Task": _ON | _HANDLED | {"Resource", "TimeoutSeconds", "HeartbeatSeconds"},
    "Choice": {"Choices", "Default", "Assign"},
    "Wait": _ON | {"Seconds", "Timestamp"},
    "Pass": _ON,
    "Map": _ON
    | _HANDLED
    | {"ItemProcessor", "Iterator", "ItemSelector", "MaxConcurrency", "ToleratedFailureCount"}
    | {"ToleratedFailurePercentage", "Label"},
    "Parallel": _ON | _HANDLED | {"Branches"},
    "Succeed": set(),
    "Fail": {"Error", "Cause"},
}
_IN_OUT = {"InputPath", "OutputPath"}
_RESULT = {"Parameters", "ResultSelector", "ResultPath"}
_JSONPATH = {
    "Task": _IN_OUT | _RESULT | {"TimeoutSecondsPath", "HeartbeatSecondsPath"},
    "Choice": _IN_OUT,
    "Wait": _IN_OUT | {"SecondsPath", "TimestampPath"},
    "Pass": _IN_OUT | {"Parameters", "ResultPath", "Result"},
    "Map": _IN_OUT
    | _RESULT
    | {"ItemsPath", "MaxConcurrencyPath", "ToleratedFailureCountPath"}
    | {"ToleratedFailurePercentagePath"},
    "Parallel": _IN_OUT | _RESULT,
    "Succeed": _IN_OUT,
    "Fail": {"ErrorPath", "CausePath"},
}
_JSONATA = {
    "Task": {"Arguments", "Output"},
    "Choice": {"Output"},
    "Wait": {"Output"},
    "Pass": {"Output"},
    "Map": {"Items", "Output"},
    "Parallel": {"Arguments", "Output"},
    "Succeed": {"Output"},
    "Fail": set(),
}
_TEMPLATES = {"Parameters", "ResultSelector", "ItemSelector", "Assign"}
_EXPRESSIONS = {"Arguments", "Output", "Assign", "Items", "ItemSelector", "Error", "Cause", "Seconds", "Timestamp"}
_EXPRESSIONS |= {"MaxConcurrency", "TimeoutSeconds", "HeartbeatSeconds", "ToleratedFailureCount"}
_EXPRESSIONS |= {"ToleratedFailurePercentage"}
_OBJECTS = {"Parameters", "Arguments", "ResultSelector", "ItemSelector"}
_VARIABLE = re.compile(r"[^\W\d]\w{0,79}")
_NUMBERS = {
    "Seconds": (0, MOST_SECONDS),
    "TimeoutSeconds": (1, MOST_SECONDS),
    "HeartbeatSeconds": (1, MOST_SECONDS),
    "MaxConcurrency": (0, 10_000),
    "ToleratedFailureCount": (0, 10_000_000),
}


def field_faults(state: Mapping[str, Any], kind: str, language: str) -> Iterator[str]:
    """Fields that this kind of state does not have, or not in this language."""
    own, other = (_JSONATA, _JSONPATH) if language == "JSONata" else (_JSONPATH, _JSONATA)
    for key in state:
        if key in _ALL or key in _COMMON[kind] or key in own[kind]:
            continue
        if key in _ELSEWHERE:
            yield f"{key} ({_ELSEWHERE[key]}) is nothing that headgate does"
        elif key in other[kind]:
            yield f"{key} belongs to the other query language; this state's is {language}"
        else:
            yield f"the field {key} is not known for the type {kind}"
    for key in state:
        if key + "Path" in state and key != "Result":  # ResultPath says where Result goes
            yield f"it has both {key} and {key}Path"


def unknown_fields(value: Mapping[str, Any], known: Iterable[str], where: str) -> Iterator[str]:
    yield from (f"{where} has a field that is not known: {key}" for key in value if key not in known)


def value_faults(state: Mapping[str, Any], language: str) -> Iterator[str]:
    """What the fields hold."""
    for key, value in state.items():
        if key in _NUMBERS and not is_expression(value) and not whole(value, *_NUMBERS[key]):
            least, most = _NUMBERS[key]
            yield f"{key} has to be a whole number from {least} to {most}"
    percentage = state.get("ToleratedFailurePercentage", 0)
    if not is_expression(percentage) and not (_number(percentage) and 0 <= percentage <= 100):
        yield "ToleratedFailurePercentage has to be a number from 0 to 100"
    heartbeat, timeout = state.get("HeartbeatSeconds", 0), state.get("TimeoutSeconds", MOST_SECONDS)
    if _number(heartbeat) and _number(timeout) and heartbeat >= timeout:
        yield "HeartbeatSeconds has to be smaller than TimeoutSeconds"
    yield from assign_faults(state, "")
    for key in _OBJECTS & state.keys():
        expression = language == "JSONata" and is_expression(state[key])
        if not isinstance(state[key], Mapping) and not expression:
            yield f"{key} has to be an object"
    if "Items" in state and not isinstance(state["Items"], list) and not is_expression(state["Items"]):
        yield "Items has to be a list, or an expression that gives one"
    if language == "JSONata":
        for key in _EXPRESSIONS & state.keys():
            yield from expression_faults(state[key], key)
    else:
        yield from _path_faults(state)


def assign_faults(holder: Mapping[str, Any], where: str) -> Iterator[str]:
    """The names of variables."""
    assigned = holder.get("Assign", {})
    if not isinstance(assigned, Mapping):
        yield f"{where}Assign has to be an object"
        return
    for key in assigned:
        name = str(key).removesuffix(".$")
        if not _VARIABLE.fullmatch(name) or name == "states":
            yield f"{where}Assign: '{name}' is no name of a variable"


def _path_faults(state: Mapping[str, Any]) -> Iterator[str]:
    for key, value in state.items():
        if key == "ResultPath":
            if value is not None:
                yield from _result_path_faults(value)
        elif key in ("ErrorPath", "CausePath") or key == "ItemsPath":
            yield from dynamic_faults(value, key)
        elif key.endswith("Path") and not (value is None and key in _IN_OUT):
            yield from _faults_of(path, value, key)
        elif key in _TEMPLATES:
            yield from template_faults(value, key)


def _result_path_faults(value: object) -> Iterator[str]:
    yield from _faults_of(reference_path, value, "ResultPath")
    if isinstance(value, str) and value.startswith("$") and not value.startswith(("$.", "$[")) and value != "$":
        yield "ResultPath has to lead into the state's input"


def template_faults(value: object, where: str) -> Iterator[str]:
    """A payload template: fields whose name ends in `.$` hold a path or a call."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            if key.endswith(".$"):
                yield from dynamic_faults(member, f"{where}.{key}")
            else:
                yield from template_faults(member, f"{where}.{key}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from template_faults(member, f"{where}[{index}]")


def dynamic_faults(value: object, where: str) -> Iterator[str]:
    """A path or a call of an intrinsic function."""
    if isinstance(value, str) and is_call(value):
        yield from _faults_of(call, value, where)
    else:
        yield from _faults_of(path, value, where)


def expression_faults(value: object, where: str) -> Iterator[str]:
    """JSONata within `{% %}`, wherever it is in the value."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from expression_faults(member, f"{where}/{key}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from expression_faults(member, f"{where}[{index}]")
    elif is_expression(value):
        fault = expression_fault(str(value)[2:-2].strip())
        if fault:
            yield f"{where}: {fault}"


def is_expression(value: object) -> bool:
    """Whether a value is JSONata: a text that begins with `{%` and ends with `%}`."""
    return isinstance(value, str) and value.startswith("{%") and value.endswith("%}") and len(value) >= 4


def is_one_of(name: object, siblings: Mapping[str, Any]) -> bool:
    """Whether this is the name of a state beside it."""
    return isinstance(name, str) and name in siblings


def whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _faults_of(read: Any, value: object, where: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where} has to be a text"
        return
    try:
        read(value)
    except ValueError as error:
        yield f"{where}: {error}"
