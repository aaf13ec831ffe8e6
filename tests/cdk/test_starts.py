"""Channels whose messages start workflows: who may start what, and who hears of the end."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from headgate import App, Public, Start
from headgate import workflow as w
from headgate.aws.settings import Settings
from headgate.declare.express import noted
from tests.cdk.stacks import Node, Synthesized, functions, grants, spelled, synthesize

app = App("starts")


@app.task
def settle(given: Any) -> Any:
    return given


standard = app.workflow("standard", w.task(settle))
express = app.workflow("express", w.task(settle), express=True)
app.channel("/jobs", key="id", auth=Public(), workflow=standard)
app.channel("/hits", key="id", auth=Public(), workflow=Start("express", name="hit-{id}"), body_limit_bytes=1_000)

TABLES = "arn:AWS::Partition:dynamodb:AWS::Region:AWS::AccountId:table/starts-dev-data-"
BODIES = "arn:AWS::Partition:s3:::starts-dev-data-BodiesBucketName/jobs/kept/*"
EXECUTIONS = "arn:AWS::Partition:states:AWS::Region:AWS::AccountId:execution:StandardWorkflowMachine.Name:*"
DUTIES: dict[str, dict[str, str | set[str]]] = {
    "jobs.ingest": {
        "dynamodb:PutItem": f"{TABLES}JobsTableName",
        "dynamodb:UpdateItem": f"{TABLES}JobsTableName",
        "dynamodb:GetItem": f"{TABLES}JobsTableName",
        "s3:PutObject": BODIES,
        "s3:GetObject": BODIES,
        "states:StartExecution": "StandardWorkflowMachine.Arn",
        "states:DescribeExecution": EXECUTIONS,
        "states:RedriveExecution": EXECUTIONS,
    },
    "jobs.ended": {
        "dynamodb:Query": f"{TABLES}JobsTableName/index/headgate.execution",
        "dynamodb:GetItem": f"{TABLES}JobsTableName",
        "dynamodb:UpdateItem": f"{TABLES}JobsTableName",
    },
    "hits.ended": {
        "dynamodb:GetItem": f"{TABLES}HitsTableName",
        "dynamodb:UpdateItem": f"{TABLES}HitsTableName",
    },
    "hits.sweep": {
        "dynamodb:Query": {f"{TABLES}HitsTableName/index/headgate.{name}" for name in ("due", "dead")},
        "dynamodb:GetItem": f"{TABLES}HitsTableName",
        "dynamodb:UpdateItem": f"{TABLES}HitsTableName",
        "states:StartExecution": "ExpressWorkflowMachine.Arn",
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    return synthesize(tmp_path_factory.mktemp("starts"), app)


def machine(made: Synthesized, kind: str) -> Node:
    return made.service.one("AWS::StepFunctions::StateMachine", StateMachineType=kind)


@pytest.mark.parametrize("duty", DUTIES)
def test_a_function_may_do_what_its_duty_asks_and_no_more(made: Synthesized, duty: str) -> None:
    found = grants(made.service, functions(made.service)[duty])
    plain = {action: {re.sub("(?<=Machine)[0-9A-F]{8}", "", it) for it in on} for action, on in found.items()}
    assert plain == {action: on if isinstance(on, set) else {on} for action, on in DUTIES[duty].items()}


def test_the_ends_of_a_standard_machine_are_told_to_the_channel_that_started_it(made: Synthesized) -> None:
    (rule,) = [it for it in made.service.properties("AWS::Events::Rule") if "EventPattern" in it]
    assert rule["EventPattern"]["source"] == ["aws.states"]
    assert rule["EventPattern"]["detail"]["status"] == ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]
    (watched,) = rule["EventPattern"]["detail"]["stateMachineArn"]
    assert watched["Fn::GetAtt"][0].startswith("StandardWorkflowMachine")
    assert rule["Targets"][0]["Arn"]["Fn::GetAtt"][0].startswith("FunctionsJobsEnded")


def test_an_express_machine_claims_the_message_first_and_writes_its_end_last(made: Synthesized) -> None:
    document = json.loads(machine(made, "EXPRESS")["DefinitionString"])
    assert document == noted(express.placed(lambda kind, name: f"${{{kind}_{name.capitalize()}}}"))
    told = functions(made.service)["hits.ingest"]["Environment"]["Variables"]
    settings = Settings.read({name: spelled(value) for name, value in told.items()})
    assert settings.ended.startswith("FunctionsHitsEndedFunction")
    assert [*settings.workflows] == ["express"]
    role = machine(made, "EXPRESS")["RoleArn"]["Fn::GetAtt"][0]
    (policy,) = [it for it in made.service.properties("AWS::IAM::Policy") if {"Ref": role} in it["Roles"]]
    (called,) = [
        it["Resource"] for it in policy["PolicyDocument"]["Statement"] if it["Action"] == "lambda:InvokeFunction"
    ]
    assert {spelled(it)[:18] for it in called} == {"FunctionsSettleTas", "FunctionsHitsEnded"}


def test_a_standard_document_is_deployed_as_it_is(made: Synthesized) -> None:
    document = json.loads(machine(made, "STANDARD")["DefinitionString"])
    assert document["States"].keys() == standard.document["States"].keys()
