"""Workflows that keep items and send to channels: the tables, and a role for exactly what their documents ask."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from headgate import App, Public, Queued
from headgate import workflow as w
from headgate.declare.asl import refusals
from tests.cdk.stacks import Synthesized, spelled, synthesize

app = App("keeps")
app.channel("/jobs", key="id", auth=Public(), delivery=Queued(validate="worker"))
app.channel("/other", key="id", auth=Public(), delivery=Queued(validate="worker"))
app.table("ledger", key="id", sort="day")
app.table("marks", key="id")
app.workflow(
    "keeping",
    w.chain(
        w.put("ledger", {"id": "$.id", "day": "1"}),
        w.for_each("$.marks", w.put("marks", {"id": "$.id"})),
        w.get("marks", {"id": "1"}, result="$.found"),
        w.send("jobs", {"id": "$.id"}),
    ),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    return synthesize(tmp_path_factory.mktemp("keeps"), app)


def test_a_table_has_the_key_that_is_declared(made: Synthesized) -> None:
    schemas = [table["KeySchema"] for table in made.data.properties("AWS::DynamoDB::Table")]
    assert [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "day", "KeyType": "RANGE"}] in schemas


def test_a_machine_may_ask_of_each_table_and_queue_what_its_document_asks(made: Synthesized) -> None:
    (machine,) = made.service.properties("AWS::StepFunctions::StateMachine")
    role = machine["RoleArn"]["Fn::GetAtt"][0]
    (policy,) = [it for it in made.service.properties("AWS::IAM::Policy") if {"Ref": role} in it["Roles"]]
    found: dict[str, Any] = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        if statement["Resource"] != "*":
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            found[statement["Action"]] = {spelled(one).rpartition("/")[2] for one in resources}
    assert found == {
        "sqs:SendMessage": {"keeps-dev-data-JobsQueueArn"},
        "dynamodb:PutItem": {"keeps-dev-data-LedgerTableName", "keeps-dev-data-MarksTableName"},
        "dynamodb:GetItem": {"keeps-dev-data-MarksTableName"},
    }


def test_names_are_put_in_when_it_is_deployed(made: Synthesized) -> None:
    (machine,) = made.service.properties("AWS::StepFunctions::StateMachine")
    substituted = {name: spelled(value) for name, value in machine["DefinitionSubstitutions"].items()}
    assert substituted == {
        "table_Ledger": "keeps-dev-data-LedgerTableName",
        "table_Marks": "keeps-dev-data-MarksTableName",
        "queue_Jobs": "keeps-dev-data-JobsQueueUrl",
    }
    assert refusals(json.loads(re.sub(r"\$\{(\w+)\}", r"\1", machine["DefinitionString"]))) == []
