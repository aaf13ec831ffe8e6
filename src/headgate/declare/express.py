"""An Express workflow that messages start, as it is deployed. Step Functions tells of no end of it, and may start it
twice; so the machine itself claims the message first, and writes its end down last.

    claim ──▶ ours? ──yes──▶ run: the workflow ──▶ write processed ──▶ its output
                │                    └── any error ─▶ write failed ──▶ the error
                └──no──▶ done: another execution has the message

What is no error to catch (a time limit, States.Runtime, too much data) stays unwritten, and is the sweep's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.declare.compile import Machine

if TYPE_CHECKING:
    from headgate.declare.app import App
    from headgate.declare.task import Workflow

ADDRESS = "headgate"
"""In the input of a machine made so: whose execution this is, with `ended`, `channel`, `scope` and `key`. Without it
it is nobody's, and the workflow is handed the whole input."""
INPUT = "input"
"""Beside it: what the workflow is handed."""

_NAME = "headgate: {}".format
_OURS = f"$.{ADDRESS}"
_ALWAYS = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 4, "BackoffRate": 2.0}


def document_of(app: App, workflow: Workflow) -> Machine:
    """The document that the engines run: with these states around it where messages start it and it is Express."""
    starts = (channel.start for channel in app.channels if channel.start is not None)
    is_noted = workflow.express and any(start.workflow_name == workflow.name for start in starts)
    return noted(workflow.document) if is_noted else workflow.document


def noted(document: Mapping[str, Any]) -> Machine:
    """The document with these states around it. Its own states have the same names, input and context as without."""
    whole = {key: value for key, value in document.items() if key not in ("StartAt", "States", "QueryLanguage")}
    branch = {"StartAt": document["StartAt"], "States": _spoken(document)}
    return {
        **whole,
        "StartAt": _NAME("whose"),
        "States": {
            _NAME("whose"): {
                "Type": "Choice",
                "Choices": [{"Variable": _OURS, "IsPresent": True, "Next": _NAME("claim")}],
                "Default": _NAME("nobody's"),
            },
            _NAME("nobody's"): {"Type": "Pass", "Parameters": {f"{INPUT}.$": "$"}, "Next": _NAME("run")},
            _NAME("claim"): _call({"what": "claim"}, "$.claim", _NAME("ours")),
            _NAME("ours"): {
                "Type": "Choice",
                "Choices": [{"Variable": "$.claim.claimed", "BooleanEquals": True, "Next": _NAME("run")}],
                "Default": _NAME("another's"),
            },
            _NAME("another's"): {"Type": "Succeed"},
            _NAME("run"): {
                "Type": "Parallel",
                "Branches": [branch],
                "InputPath": f"$.{INPUT}",
                "ResultPath": "$.result",
                "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": _NAME("failed")}],
                "Next": _NAME("succeeded"),
            },
            _NAME("succeeded"): _whether(_NAME("write processed"), _NAME("output")),
            _NAME("write processed"): _call({"what": "SUCCEEDED"}, None, _NAME("output")),
            _NAME("output"): {"Type": "Pass", "InputPath": "$.result[0]", "End": True},
            _NAME("failed"): _whether(_NAME("write failed"), _NAME("error")),
            _NAME("write failed"): _call(
                {"what": "FAILED", "error.$": "$.failure.Error", "cause.$": "$.failure.Cause"}, None, _NAME("error")
            ),
            _NAME("error"): {"Type": "Fail", "ErrorPath": "$.failure.Error", "CausePath": "$.failure.Cause"},
        },
    }


def addressed(text: str, ended: str, channel: str, scope: str, key: str) -> str:
    """The input of such a machine for a message: `text` is what the workflow is handed, `ended` the function that
    writes down its end."""
    address = {"ended": ended, "channel": channel, "scope": scope, "key": key}
    return f'{{"{ADDRESS}":{json.dumps(address, ensure_ascii=False)},"{INPUT}":{text}}}'


class Address(NamedTuple):
    """Whose execution it is."""

    channel: str
    scope: str
    key: str


def address_of(input: str) -> Address | None:
    """Whose execution has this input; None where it is nobody's."""
    match json.loads(input):
        case {"headgate": {"channel": str(channel), "scope": str(scope), "key": str(key)}}:
            return Address(channel, scope, key)
    return None


def handed(input: str) -> str:
    """What the workflow itself is handed of an execution's input: all of it, where it is nobody's."""
    if not input.startswith(f'{{"{ADDRESS}":'):
        return input
    return input.partition(f'}},"{INPUT}":')[2][:-1] or input


def _call(said: Mapping[str, Any], result: str | None, following: str) -> dict[str, Any]:
    """Ask the function `ended` of the message's channel."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {
            "FunctionName.$": f"{_OURS}.ended",
            "Payload": {ADDRESS: {**said, "execution.$": "$$.Execution.Id", "message.$": _OURS}},
        },
        **({} if result is None else {"ResultSelector": {"claimed.$": "$.Payload.claimed"}}),
        "ResultPath": result,
        "Retry": [_ALWAYS],
        "Next": following,
    }


def _whether(ours: str, otherwise: str) -> dict[str, Any]:
    return {
        "Type": "Choice",
        "Choices": [{"Variable": _OURS, "IsPresent": True, "Next": ours}],
        "Default": otherwise,
    }


def _spoken(machine: Mapping[str, Any], language: str | None = None) -> dict[str, Any]:
    """The states of a machine, each with the language it is written in, since the whole now has none."""
    language = machine.get("QueryLanguage", language)
    return {name: _stated(state, language) for name, state in machine["States"].items()}


def _stated(state: Mapping[str, Any], language: str | None) -> dict[str, Any]:
    own = dict(state) if language is None else {"QueryLanguage": language, **state}
    if "Branches" in own:
        own["Branches"] = [{**branch, "States": _spoken(branch, language)} for branch in own["Branches"]]
    for processor in ("ItemProcessor", "Iterator"):
        if processor in own:
            own[processor] = {**own[processor], "States": _spoken(own[processor], language)}
    return own
