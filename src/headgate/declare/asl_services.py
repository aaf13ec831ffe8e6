"""What a workflow asks of services, checked when the app loads: whose queue or table it is, and what it says to it.

An engine carries out what stands here and nothing else, so that no parameter is dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from headgate.declare import asl
from headgate.declare.asl_fields import is_expression
from headgate.declare.compile import place
from headgate.declare.item_expressions import Place, Used, condition, update
from headgate.declare.table import Table

ADDRESSED = {
    "arn:aws:states:::lambda:invoke": ("FunctionName", "task"),
    "arn:aws:states:::sns:publish": ("TopicArn", "topic"),
    "arn:aws:states:::sqs:sendMessage": ("QueueUrl", "queue"),
    "arn:aws:states:::dynamodb:putItem": ("TableName", "table"),
    "arn:aws:states:::dynamodb:updateItem": ("TableName", "table"),
    "arn:aws:states:::dynamodb:getItem": ("TableName", "table"),
    "arn:aws:states:::aws-sdk:s3:putObject": ("Bucket", "archive"),
}
"""Of each integration: the parameter that says of whom something is asked, and what of the app that is."""

_CONDITIONAL = {"ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues", "ReturnValues"}
_KNOWN = {
    "sqs:sendMessage": {"QueueUrl", "MessageBody"},
    "dynamodb:putItem": {"TableName", "Item"} | _CONDITIONAL,
    "dynamodb:updateItem": {"TableName", "Key", "UpdateExpression"} | _CONDITIONAL,
    "dynamodb:getItem": {"TableName", "Key", "ConsistentRead"},
}
_RETURNS = {"dynamodb:putItem": ("NONE", "ALL_OLD"), "dynamodb:updateItem": ("NONE", "ALL_OLD", "ALL_NEW")}
_NAMED = re.compile(r"\$\{(?:queue|table):([^{}]+)\}")
_SERVICE = "arn:aws:states:::"

VALUE_TYPES = {"S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"}
"""What a value of an item is of, in DynamoDB's way of writing it: `{"S": "text"}`."""


class Ask(NamedTuple):
    """What a state asks of whom: `verb` as in `sns:publish`, of the app's `kind` (as in `topic`) that is called so."""

    verb: str
    kind: str
    name: str


def asks(document: Mapping[str, Any]) -> Iterator[Ask]:
    """What the states of a document ask, where it says of whom by a name of the app."""
    for _, state in asl.states(document):
        resource = str(state.get("Resource", ""))
        parameter, kind = ADDRESSED.get(resource, ("", ""))
        given = state.get("Parameters", state.get("Arguments"))
        if isinstance(given, Mapping) and kind:
            found = re.fullmatch(rf"\$\{{{kind}:([^{{}}]+)\}}", str(given.get(parameter, "")))
            if found is not None:
                yield Ask(resource.removeprefix(_SERVICE), kind, found[1])


def service_faults(document: Mapping[str, Any], tables: Mapping[str, Table]) -> Iterator[str]:
    """Everything for which what a sound document, with names in `${kind:name}` form, asks of queues and tables cannot
    be carried out. Whether there are queues of these names is not looked at."""
    for name, state in asl.states(document):
        verb = str(state.get("Resource", "")).removeprefix(_SERVICE)
        if verb in _KNOWN:
            given = state.get("Arguments" if "Arguments" in state else "Parameters")
            for fault in _faults(verb, given, tables):
                yield f"State '{name}': {fault}."


def _faults(verb: str, given: object, tables: Mapping[str, Table]) -> Iterator[str]:
    if not isinstance(given, Mapping):
        yield f"the parameters of {verb} have to be an object, so that it can be checked when the app loads"
        return
    parameter, kind = ADDRESSED[_SERVICE + verb]
    found = _NAMED.fullmatch(str(given.get(parameter, "")))
    if found is None or found[0] != place(kind, found[1]):
        yield f"say {parameter} as {place(kind, 'NAME')}, with a name that the app declares"
        return
    known = _KNOWN[verb]
    yield from (
        f"headgate does not carry out {key.removesuffix('.$')} of {verb}; it knows {', '.join(sorted(known))}"
        for key in given
        if key.removesuffix(".$") not in known
    )
    if verb == "sqs:sendMessage":
        return
    table = tables.get(found[1])
    if table is not None:
        yield from _item_faults(verb, given, table)
    yield from _expression_faults(verb, given, table)


def _item_faults(verb: str, given: Mapping[str, Any], table: Table) -> Iterator[str]:
    parameter = "Item" if verb == "dynamodb:putItem" else "Key"
    item = given.get(parameter)
    if not isinstance(item, Mapping):
        return  # it is told when the state runs
    yield from _value_faults(parameter, item)
    names = {str(key).removesuffix(".$") for key in item}
    if missing := [key for key in table.keys if key not in names]:
        yield f"{parameter} needs {', '.join(missing)}, the key of the table {table.name}"
    if parameter == "Key" and (beyond := sorted(names - {*table.keys})):
        yield f"Key has {', '.join(beyond)}, which is not of the key of the table {table.name}"


def _expression_faults(verb: str, given: Mapping[str, Any], table: Table | None) -> Iterator[str]:
    texts = ("ConditionExpression", "UpdateExpression", "ReturnValues")
    for key in texts:
        if f"{key}.$" in given or (key in given and (not isinstance(given[key], str) or is_expression(given[key]))):
            yield f"{key} has to be a text that is known when the app loads; let the values be paths"
            return
    names, values = given.get("ExpressionAttributeNames", {}), given.get("ExpressionAttributeValues", {})
    if "ExpressionAttributeNames.$" in given or not _are_names(names):
        yield "ExpressionAttributeNames has to be an object of #name and text"
        return
    if "ExpressionAttributeValues.$" in given or not isinstance(values, Mapping):
        yield "ExpressionAttributeValues has to be an object of :name and value"
        return
    used = Used()
    changed: list[Place] = []
    for key in ("ConditionExpression", "UpdateExpression"):
        try:
            if key in given and key == "ConditionExpression":
                condition(given[key], names, used)
            elif key in given:
                changed = update(given[key], names, used).places
        except (ValueError, RecursionError) as error:
            yield f"{key}: {error}"
            return
    known = {str(key).removesuffix(".$") for key in values}
    yield from (f"the value {name} is not in ExpressionAttributeValues" for name in sorted(used.values - known))
    idle = (known - used.values) | (names.keys() - used.names)
    yield from (f"{name} stands in no expression" for name in sorted(idle))
    yield from _value_faults("ExpressionAttributeValues", values)
    if table is not None and any(place.steps[0] in table.keys for place in changed):
        yield f"UpdateExpression changes the key of the table {table.name}, which stays"
    returned = given.get("ReturnValues", "NONE")
    if verb in _RETURNS and returned not in _RETURNS[verb]:
        yield f"ReturnValues has to be one of {', '.join(_RETURNS[verb])}"


def _value_faults(where: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Values that are written down have to say their type; what a path or an expression gives is seen when it runs."""
    for name, value in values.items():
        if name.endswith(".$") or is_expression(value):
            continue
        kinds = [str(key).removesuffix(".$") for key in value] if isinstance(value, Mapping) else []
        if len(kinds) != 1 or kinds[0] not in VALUE_TYPES:
            yield f'{where}: {name} has to say its type, as in {{"S": "text"}} or {{"N.$": "$.number"}}'


def _are_names(names: object) -> bool:
    if not isinstance(names, Mapping):
        return False
    return all(name.startswith("#") and isinstance(one, str) and not is_expression(one) for name, one in names.items())
