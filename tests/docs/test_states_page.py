"""The page on Amazon States Language: what it says is refused when the app loads is refused; what runs is listed."""

from __future__ import annotations

from typing import Any

import pytest

from headgate import App, DeclarationError, Public, Queued
from headgate.declare.asl import INTEGRATIONS
from tests.cases import ROOT

PAGE = (ROOT / "docs" / "states.md").read_text()
RUNS, REFUSED = (PAGE.partition(f"## {title}")[2].partition("\n## ")[0] for title in ("What runs", "What is refused"))

PASS: dict[str, Any] = {"Type": "Pass", "End": True}
TASK: dict[str, Any] = {"Type": "Task", "Resource": "arn:aws:lambda:eu-west-1:111122223333:function:f", "End": True}
INNER = {"StartAt": "in", "States": {"in": PASS}}
MAP: dict[str, Any] = {"Type": "Map", "ItemProcessor": INNER, "End": True}


def asking(verb: str, **given: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": f"arn:aws:states:::{verb}", "Parameters": given, "End": True}


SEND = {"QueueUrl": "${queue:jobs}", "MessageBody": "m"}
GET = {"TableName": "${table:ledger}", "Key": {"id": {"S": "1"}}}
CHANGE = {**GET, "UpdateExpression": "REMOVE #a", "ExpressionAttributeNames": {"#a": "a"}}

# What the page says, and a machine that does it.
SAID: list[tuple[str, dict[str, Any]]] = [
    ("fields, types and comparisons that are not known", {"one": {**PASS, "Colour": "red"}}),
    ("fields, types and comparisons that are not known", {"one": {"Type": "Nap", "End": True}}),
    ("belong to the other query language", {"one": {**PASS, "Output": {}}}),
    ("fields without each other", {"one": {"Type": "Pass"}}),
    ("one of `Seconds` and `Timestamp`", {"one": {"Type": "Wait", "End": True}}),
    ("names no state beside it", {"one": {"Type": "Pass", "Next": "gone"}}),
    ("a state nothing leads to", {"one": PASS, "other": PASS}),
    ("a machine nothing ends", {"one": {"Type": "Pass", "Next": "one"}}),
    ("paths, calls and expressions that cannot be read", {"one": {**PASS, "InputPath": "$..["}}),
    ("`$eval`", {"one": {**PASS, "QueryLanguage": "JSONata", "Output": "{% $eval('1') %}"}}),
    ("JSONata that reads a name from nothing", {"one": {**PASS, "QueryLanguage": "JSONata", "Output": "{% phone %}"}}),
    ("a `ResultPath` that could mean several places", {"one": {**PASS, "ResultPath": "$.a[*]"}}),
    ("numbers out of bounds", {"one": {"Type": "Wait", "Seconds": -1, "End": True}}),
    ("`States.ALL` beside other names", {"one": {**TASK, "Retry": [{"ErrorEquals": ["States.ALL", "A"]}]}}),
    ("resources that are not in the list above", {"one": {**TASK, "Resource": "arn:aws:states:::batch:submitJob"}}),
    ("`.waitForTaskToken`", {"one": {**TASK, "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken"}}),
    ("`.sync`", {"one": {**TASK, "Resource": "arn:aws:states:::states:startExecution.sync"}}),
    ("activities", {"one": {**TASK, "Resource": "arn:aws:states:eu-west-1:111122223333:activity:a"}}),
    ("beyond `QueueUrl` and `MessageBody`", {"one": asking("sqs:sendMessage", **SEND, DelaySeconds=1)}),
    ("`QueueUrl` and `TableName` that are no", {"one": asking("sqs:sendMessage", **{**SEND, "QueueUrl": "q"})}),
    ("`QueueUrl` and `TableName` that are no", {"one": asking("dynamodb:getItem", **{**GET, "TableName": "t"})}),
    ("`ProjectionExpression`", {"one": asking("dynamodb:getItem", **GET, ProjectionExpression="#a")}),
    ("`UPDATED_OLD` and `UPDATED_NEW`", {"one": asking("dynamodb:updateItem", **CHANGE, ReturnValues="UPDATED_NEW")}),
    (
        "put together when the state runs",
        {"one": asking("dynamodb:updateItem", **GET, **{"UpdateExpression.$": "$.e"})},
    ),
    ("not written as `#name`", {"one": asking("dynamodb:updateItem", **GET, UpdateExpression="REMOVE a")}),
    ("`ItemReader`", {"one": {**MAP, "ItemReader": {}}}),
    ("`ItemBatcher`", {"one": {**MAP, "ItemBatcher": {}}}),
    ("`ResultWriter`", {"one": {**MAP, "ResultWriter": {}}}),
    ("`Credentials`", {"one": {**TASK, "Credentials": {}}}),
]


@pytest.mark.parametrize(("said", "states"), SAID)
def test_what_the_page_says_is_refused_is_refused_with_the_state(said: str, states: dict[str, Any]) -> None:
    assert said in " ".join(REFUSED.split())
    app = App("shop")
    app.channel("/jobs", auth=Public(), delivery=Queued(validate="worker"))
    app.table("ledger", key="id")
    app.workflow("machine", {"StartAt": "one", "States": states})
    with pytest.raises(DeclarationError) as refused:
        app.check()
    told = str(refused.value)
    assert "workflow machine: " in told
    assert "State '" in told or "The definition: " in told


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_every_resource_that_runs_is_on_the_page(integration: str) -> None:
    assert f"`{integration.removeprefix('arn:aws:states:::')}`" in " ".join(RUNS.split())
