"""State machines: the app's document, what it calls, and a role for exactly that."""

from __future__ import annotations

import json
import re

from headgate.aws.settings import Settings
from headgate.declare.compile import places
from tests.cdk.stacks import Node, Synthesized, Template, functions, grants, spelled
from tests.cdk.works import app, nightly

MACHINE = "AWS::StepFunctions::StateMachine"


def machine(template: Template, kind: str) -> Node:
    return template.one(MACHINE, StateMachineType=kind)


def test_the_document_is_that_of_the_app_with_names_put_in_when_it_is_deployed(works: Synthesized) -> None:
    made = machine(works.service, "STANDARD")
    document = json.loads(made["DefinitionString"])
    assert document["StartAt"] == nightly.document["StartAt"]
    assert document["States"].keys() == nightly.document["States"].keys()
    assert document["TimeoutSeconds"] == 300
    substituted = set(re.findall(r"\$\{([^}]+)\}", made["DefinitionString"]))
    assert substituted == set(made["DefinitionSubstitutions"])
    assert len(substituted) == len(places(nightly.document)) == 4
    assert document["States"]["collect"]["Resource"] == "${task_Collect}"
    assert spelled(made["DefinitionSubstitutions"]["topic_Alerts"]) == "works-prod-data-AlertsTopicArn"
    assert spelled(made["DefinitionSubstitutions"]["archive_Results"]) == "works-prod-data-ResultsArchiveName"


def test_a_machine_writes_a_log_without_what_is_handed_on_and_is_traced(works: Synthesized) -> None:
    for made in works.service.properties(MACHINE):
        assert made["LoggingConfiguration"]["Level"] == "ALL"
        assert not made["LoggingConfiguration"]["IncludeExecutionData"]
        assert made["TracingConfiguration"] == {"Enabled": True}


def test_the_log_of_a_machine_is_of_those_that_one_policy_of_the_account_allows_all_at_once(
    works: Synthesized,
) -> None:
    groups, roles = (works.service.all(f"AWS::{kind}") for kind in ("Logs::LogGroup", "IAM::Role"))
    for made in works.service.properties(MACHINE):
        (destination,) = made["LoggingConfiguration"]["Destinations"]
        group = groups[destination["CloudWatchLogsLogGroup"]["LogGroupArn"]["Fn::GetAtt"][0]]
        prefix, _, role = spelled(group["Properties"]["LogGroupName"]).rpartition("/")
        assert prefix == "/aws/vendedlogs/states"
        assert role in roles  # whose name CloudFormation makes up: where a log stayed, the next one has another name


def test_express_is_express(works: Synthesized) -> None:
    assert {it["StateMachineType"] for it in works.service.properties(MACHINE)} == {"STANDARD", "EXPRESS"}


def test_a_role_may_do_what_its_document_asks_and_no_more(works: Synthesized) -> None:
    def may(kind: str) -> dict[str, set[str]]:
        role = machine(works.service, kind)["RoleArn"]["Fn::GetAtt"][0]
        (policy,) = [it for it in works.service.properties("AWS::IAM::Policy") if {"Ref": role} in it["Roles"]]
        found: dict[str, set[str]] = {}
        for statement in policy["PolicyDocument"]["Statement"]:
            actions, resources = (
                it if isinstance(it, list) else [it] for it in (statement["Action"], statement["Resource"])
            )
            for action in actions:
                found.setdefault(action, set()).update(re.sub("[0-9A-F]{8}", "", spelled(it)) for it in resources)
        return found

    own = {action for action, resources in may("STANDARD").items() if resources == {"*"}}
    assert {action.partition(":")[0] for action in own} == {"logs", "xray"}
    collect, settle = "FunctionsCollectTaskFunction.Arn", "FunctionsSettleTaskFunction.Arn"
    assert {action: it for action, it in may("STANDARD").items() if action not in own} == {
        "lambda:InvokeFunction": {collect, settle},
        "sns:Publish": {"works-prod-data-AlertsTopicArn"},
        "kms:Decrypt": {"works-prod-data-NoticesKeyArn"},
        "kms:GenerateDataKey": {"works-prod-data-NoticesKeyArn"},
        "s3:PutObject": {"arn:AWS::Partition:s3:::works-prod-data-ResultsArchiveName/*"},
    }
    assert {action: it for action, it in may("EXPRESS").items() if action not in own} == {
        "lambda:InvokeFunction": {collect}
    }


def test_a_task_is_a_function_with_what_it_needs(works: Synthesized) -> None:
    settle = functions(works.service)["settle.task"]
    assert (settle["MemorySize"], settle["Timeout"]) == (256, 60)
    assert settle["Handler"] == "headgate.aws.lambdas.task.handler"
    told = {name: spelled(value) for name, value in settle["Environment"]["Variables"].items()}
    assert told["PARTNER"] == "https://partner.example"
    assert Settings.read(told).task == "settle"
    assert grants(works.service, settle) == {"secretsmanager:GetSecretValue": {"works-prod-data-PartnerTokenSecretArn"}}
    assert grants(works.service, functions(works.service)["collect.task"]) == {}


def test_every_task_is_deployed_once(works: Synthesized) -> None:
    found = [duty for duty in functions(works.service) if duty.endswith(".task")]
    assert sorted(found) == sorted(f"{task.name}.task" for task in app.tasks)
