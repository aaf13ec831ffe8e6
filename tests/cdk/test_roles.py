"""Roles and policies of every app there is: who may take a role on, no `*` without a reason, nobody let in unnamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import aws_cdk as cdk
import pytest

from tests.cdk.conftest import EXAMPLES, OTHERS
from tests.cdk.stacks import Node, Synthesized, Template

POLICY, ROLE = "AWS::IAM::Policy", "AWS::IAM::Role"
OF_RESOURCES = {
    "AWS::S3::BucketPolicy": "PolicyDocument",
    "AWS::SQS::QueuePolicy": "PolicyDocument",
    "AWS::SNS::TopicPolicy": "PolicyDocument",
    "AWS::KMS::Key": "KeyPolicy",
}
TRUSTED = {
    "apigateway.amazonaws.com", "events.amazonaws.com", "lambda.amazonaws.com", "scheduler.amazonaws.com",
    "states.amazonaws.com",
}  # fmt: skip
EMPTIES = "CustomS3AutoDeleteObjects"
"""The CDK's own function, which empties buckets before they go. It may what the policies of those buckets say."""
EMPTYING = {"s3:PutBucketPolicy", "s3:GetBucket*", "s3:List*", "s3:DeleteObject*"}


@pytest.fixture(params=[*EXAMPLES, *OTHERS])
def made(request: pytest.FixtureRequest, synthesized: Callable[[str], Synthesized]) -> Synthesized:
    return synthesized(request.param)


def templates(made: Synthesized) -> list[Template]:
    return list({template.name: template for template in made.templates()}.values())


def listed(said: Any) -> list[Any]:
    return said if isinstance(said, list) else [said]


def statements(template: Template) -> Iterator[tuple[str, Node]]:
    """Those of roles, with the resource that each stands in."""
    for name, found in template.all(POLICY).items():
        yield from ((name, one) for one in found["Properties"]["PolicyDocument"]["Statement"])
    for name, found in template.all(ROLE).items():
        for inline in found["Properties"].get("Policies", ()):
            yield from ((name, one) for one in inline["PolicyDocument"]["Statement"])


def reasons(made: Synthesized, template: Template) -> dict[str, dict[str, str]]:
    """What is acknowledged of each resource, by its logical name: findings and reasons."""
    metadata = json.loads((made.folder / f"{template.name}.metadata.json").read_text())
    logical = {
        path: entry["data"] for path, entries in metadata.items() for entry in entries
        if entry["type"] == "aws:cdk:logicalId"
    }  # fmt: skip
    found: dict[str, dict[str, str]] = {}
    for path, entries in metadata.items():
        for entry in entries:
            if entry["type"] == cdk.Validations.ACKNOWLEDGED_RULES_METADATA_KEY:
                for below, name in logical.items():
                    if below == path or below.startswith(f"{path}/"):
                        found.setdefault(name, {}).update(entry["data"])
    return found


def test_no_resource_of_a_role_has_a_star_without_a_reason(made: Synthesized) -> None:
    for template in templates(made):
        stated = reasons(made, template)
        for name, statement in statements(template):
            for resource in listed(statement["Resource"]):
                if "*" in (text := flat(resource)):
                    rules = [rule for rule in stated.get(name, {}) if rule.endswith(f"[Resource::{text}]")]
                    assert rules, f"{name}: {text}"
                    assert all(stated[name][rule].endswith(".") for rule in rules)


def flat(resource: Any) -> str:
    """A resource as cdk-nag spells it."""
    match resource:
        case str():
            return resource
        case {"Fn::Join": [delimiter, parts]}:
            return str(delimiter).join(map(flat, parts))
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::ImportValue": name}:
            return str(name)
    return json.dumps(resource, separators=(",", ":"))


def test_every_statement_of_a_role_allows_actions_by_their_whole_names(made: Synthesized) -> None:
    for template in templates(made):
        for name, statement in statements(template):
            assert statement["Effect"] == "Allow", name
            assert not any("*" in action for action in listed(statement["Action"])), name


def test_a_role_has_no_policies_of_others_and_is_taken_on_by_one_service(made: Synthesized) -> None:
    for template in templates(made):
        for name, found in template.all(ROLE).items():
            properties = found["Properties"]
            assert not properties.get("ManagedPolicyArns"), name
            (trust,) = properties["AssumeRolePolicyDocument"]["Statement"]
            assert (trust["Effect"], trust["Action"]) == ("Allow", "sts:AssumeRole")
            assert trust["Principal"].keys() == {"Service"}
            assert trust["Principal"]["Service"] in TRUSTED


def test_a_function_is_called_by_who_is_named_on_behalf_of_what_is_named(made: Synthesized) -> None:
    for template in templates(made):
        for permission in template.properties("AWS::Lambda::Permission"):
            assert permission["Action"] == "lambda:InvokeFunction"
            assert permission["Principal"] in TRUSTED
            assert "SourceArn" in permission


def test_a_policy_of_a_resource_lets_in_services_and_roles_that_it_names_and_denies_the_rest_without_tls(
    made: Synthesized,
) -> None:
    for template in templates(made):
        for kind, where in OF_RESOURCES.items():
            for name, found in template.all(kind).items():
                for statement in found["Properties"][where]["Statement"]:
                    check(kind, statement, name)


def check(kind: str, statement: Node, name: str) -> None:
    who = statement["Principal"]
    if statement["Effect"] == "Deny":
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, name
    elif "Service" in who:
        assert who["Service"] == "cloudwatch.amazonaws.com", name
        assert not any("*" in action for action in listed(statement["Action"])), name
    elif kind == "AWS::KMS::Key":
        assert flat(who["AWS"]).endswith(":root"), name  # the account, which lets roles in by their own policies
    else:
        assert flat(who["AWS"]).startswith(f"<{EMPTIES}"), name
        assert set(listed(statement["Action"])) == EMPTYING, name
