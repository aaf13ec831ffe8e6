"""Amazon States Language, checked when the app loads: what no engine carries out is refused, by state and reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from headgate.declare import asl_fields as fields
from headgate.declare.asl_rules import choice_faults, handler_faults

Document = Mapping[str, Any]

_NAME_CHARS = 80
_LAMBDA = re.compile(r"arn:aws[\w-]*:lambda:[^:]*:[^:]*:function:.+")
_INTEGRATIONS = {
    "arn:aws:states:::lambda:invoke": ("FunctionName",),
    "arn:aws:states:::sns:publish": ("Message",),
    "arn:aws:states:::sqs:sendMessage": ("QueueUrl", "MessageBody"),
    "arn:aws:states:::dynamodb:putItem": ("TableName", "Item"),
    "arn:aws:states:::dynamodb:updateItem": ("TableName", "Key"),
    "arn:aws:states:::dynamodb:getItem": ("TableName", "Key"),
    "arn:aws:states:::aws-sdk:s3:putObject": ("Bucket", "Key"),
}
INTEGRATIONS = tuple(_INTEGRATIONS)


def refusals(document: object) -> list[str]:
    """Everything for which this document cannot run, as sentences that name the state; empty for one that can."""
    if not isinstance(document, Mapping):
        return ["The definition is no JSON object."]
    faults = [f"The definition: {fault}." for fault in _machine_faults(document)]
    language = document.get("QueryLanguage", "JSONPath")
    faults += _states_faults(document, language, language)
    return faults


def is_lambda(resource: str) -> bool:
    """Whether a Task's resource is a function itself, rather than a service that is asked to invoke one."""
    return _LAMBDA.fullmatch(resource) is not None


def states(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every state by its name, those within Map and Parallel states too."""
    for name, state in document.get("States", {}).items():
        yield name, state
        for machine in inner_machines(state):
            yield from states(machine)


def inner_machines(state: Mapping[str, Any]) -> list[Document]:
    """The machines within a state: a Parallel state's branches, what a Map state does for each item."""
    if state.get("Type") == "Parallel":
        return list(branches) if isinstance(branches := state.get("Branches"), list) else []
    if state.get("Type") == "Map":
        return [machine for key in ("ItemProcessor", "Iterator") if (machine := state.get(key)) is not None]
    return []


def _machine_faults(document: Document) -> Iterator[str]:
    yield from (f"the field {key} is not known" for key in document if key not in fields.MACHINE)
    if "Version" in document and document["Version"] != "1.0":
        yield "Version has to be '1.0'"
    if document.get("QueryLanguage", "JSONPath") not in ("JSONPath", "JSONata"):
        yield "QueryLanguage has to be 'JSONPath' or 'JSONata'"
    if "TimeoutSeconds" in document and not fields.whole(document["TimeoutSeconds"], 1, fields.MOST_SECONDS):
        yield f"TimeoutSeconds has to be a whole number from 1 to {fields.MOST_SECONDS}"


def _states_faults(machine: Document, language: str, whole: str, within: str = "The definition") -> list[str]:
    """The faults of a machine's graph and of its states. `whole` is the language of the whole document."""
    missing = [key for key in ("States", "StartAt") if key not in machine]
    if missing:
        return [f"{within}: these fields are required: {', '.join(missing)}."]
    found = machine["States"]
    if not isinstance(found, Mapping) or not found:
        return [f"{within}: States has to be an object with at least one state."]
    if not fields.is_one_of(machine["StartAt"], found):
        return [f"{within}: StartAt names '{machine['StartAt']}', which is no state of it."]
    faults: list[str] = []
    for name, state in found.items():
        faults += [f"State '{name}': {fault}." for fault in _state_faults(name, state, found, whole)]
        for inner in inner_machines(state) if isinstance(state, Mapping) else []:
            if isinstance(inner, Mapping):
                faults += _states_faults(inner, language, whole, f"State '{name}'")
    if not faults:
        reached = _reached(machine["StartAt"], found)
        faults += [f"State '{name}': no other state leads to it." for name in found if name not in reached]
        if not any(_ends(found[name]) for name in reached):
            faults.append(f"{within}: no state ends it.")
    return faults


def _state_faults(name: str, state: object, siblings: Document, whole: str) -> Iterator[str]:
    if not isinstance(state, Mapping):
        yield "it is no JSON object"
        return
    kind = state.get("Type")
    if kind not in fields.KINDS:
        yield f"the type {kind!r} is not known; there are {', '.join(fields.KINDS)}"
        return
    if len(name) > _NAME_CHARS:
        yield f"its name is longer than {_NAME_CHARS} characters"
    language = state.get("QueryLanguage", whole)
    if language not in ("JSONPath", "JSONata"):
        yield "QueryLanguage has to be 'JSONPath' or 'JSONata'"
        return
    if whole == "JSONata" and language == "JSONPath":
        yield "QueryLanguage cannot be 'JSONPath' where the whole definition's is 'JSONata'"
        return
    yield from fields.field_faults(state, kind, language)
    yield from _transition_faults(state, kind, siblings)
    yield from fields.value_faults(state, language)
    yield from handler_faults(state, language, siblings)
    if kind == "Choice":
        yield from choice_faults(state, language, siblings)
    if check := _KIND_FAULTS.get(kind):
        yield from check(state, language)


def _transition_faults(state: Mapping[str, Any], kind: str, siblings: Document) -> Iterator[str]:
    if kind in ("Choice", "Succeed", "Fail"):
        return
    if ("Next" in state) == (state.get("End") is True):
        yield "it needs either Next or End: true"
    if "Next" in state and not fields.is_one_of(state["Next"], siblings):
        yield f"Next names '{state['Next']}', which is no state beside it"


def _task_faults(state: Mapping[str, Any], language: str) -> Iterator[str]:
    resource = state.get("Resource")
    if not isinstance(resource, str):
        yield "Resource has to be the ARN of a function or of a service integration"
        return
    if is_lambda(resource):
        return
    if resource.endswith((".waitForTaskToken", ".sync", ".sync:2")):
        yield f"{resource} waits for a callback or a job, which headgate does not; use request and response"
    elif resource not in _INTEGRATIONS:
        yield f"the integration {resource} is not known to headgate; it knows {', '.join(INTEGRATIONS)}"
    else:
        given = state.get("Arguments" if language == "JSONata" else "Parameters")
        if isinstance(given, Mapping):
            names = {key.removesuffix(".$") for key in given}
            yield from (f"{resource} needs {key}" for key in _INTEGRATIONS[resource] if key not in names)
        elif not isinstance(given, str):
            yield f"{resource} needs {' and '.join(_INTEGRATIONS[resource])}"


def _wait_faults(state: Mapping[str, Any], _: str) -> Iterator[str]:
    if sum(key in state for key in ("Seconds", "SecondsPath", "Timestamp", "TimestampPath")) != 1:
        yield "it needs exactly one of Seconds, SecondsPath, Timestamp and TimestampPath"


def _map_faults(state: Mapping[str, Any], _: str) -> Iterator[str]:
    machines = inner_machines(state)
    if len(machines) != 1 or not isinstance(machines[0], Mapping):
        yield "it needs exactly one ItemProcessor"
        return
    yield from fields.unknown_fields(machines[0], fields.PROCESSOR, "ItemProcessor")
    config = machines[0].get("ProcessorConfig", {})
    mode = config.get("Mode", "INLINE") if isinstance(config, Mapping) else None
    if mode not in ("INLINE", "DISTRIBUTED"):
        yield "ProcessorConfig.Mode has to be INLINE or DISTRIBUTED"
    if mode == "DISTRIBUTED" and config.get("ExecutionType") not in ("STANDARD", "EXPRESS"):
        yield "a DISTRIBUTED Map needs ProcessorConfig.ExecutionType: STANDARD or EXPRESS"
    if mode == "INLINE" and (only := [key for key in fields.DISTRIBUTED_ONLY if key in state]):
        yield f"{', '.join(only)} needs ProcessorConfig.Mode: DISTRIBUTED"
    if "Parameters" in state and "ItemSelector" in state:
        yield "it has both ItemSelector and its older name, Parameters"
    label = state.get("Label")
    if label is not None and not (isinstance(label, str) and 1 <= len(label) <= 40):
        yield "Label has to have 1 to 40 characters"


def _parallel_faults(state: Mapping[str, Any], _: str) -> Iterator[str]:
    branches = state.get("Branches")
    if not isinstance(branches, list) or not branches or not all(isinstance(one, Mapping) for one in branches):
        yield "it needs Branches: a list with at least one machine"
        return
    for branch in branches:
        yield from fields.unknown_fields(branch, fields.BRANCH, "a branch")


_KIND_FAULTS: dict[str, Callable[[Mapping[str, Any], str], Iterator[str]]] = {
    "Task": _task_faults,
    "Wait": _wait_faults,
    "Map": _map_faults,
    "Parallel": _parallel_faults,
}


def _ends(state: Mapping[str, Any]) -> bool:
    return state.get("End") is True or state["Type"] in ("Succeed", "Fail")


def _reached(start: str, siblings: Document) -> set[str]:
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += [target for target in _targets(siblings[name]) if target in siblings]
    return reached


def _targets(state: Mapping[str, Any]) -> Iterator[str]:
    for key in ("Next", "Default"):
        if key in state:
            yield state[key]
    for rule in (*state.get("Choices", ()), *state.get("Catch", ())):
        yield rule["Next"]
