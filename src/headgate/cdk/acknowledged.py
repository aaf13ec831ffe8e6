"""Findings of cdk-nag that are meant: each with its reason, which stands in the report of the synthesis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_iam as iam
from constructs import IConstruct


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Say that a finding on a construct, or on anything below it, is meant."""
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))


def acknowledge_wildcard(construct: IConstruct, resource: str, reason: str) -> None:
    """Say that a resource with a `*` in a policy is meant: that one, and no other."""
    spelled = _flat(Stack.of(construct).resolve(resource))
    acknowledge(construct, f"AwsSolutions-IAM5[Resource::{spelled}]", reason)


def wildcards(policy: iam.CfnPolicy) -> Iterator[str]:
    """What has a `*` in a policy, as cdk-nag spells it: actions and resources."""
    document = Stack.of(policy).resolve(policy.policy_document)
    for statement in document["Statement"]:
        for kind in ("Action", "Resource"):
            said = statement[kind]
            for each in map(_flat, said if isinstance(said, list) else [said]):
                if "*" in each:
                    yield f"{kind}::{each}"


def _flat(value: Any) -> str:
    """A resource as cdk-nag spells it."""
    match value:
        case str():
            return value.replace("${", "<").replace("}", ">")
        case {"Fn::Join": [delimiter, parts]}:
            return str(delimiter).join(map(_flat, parts))
        case {"Fn::Sub": text} | {"Fn::ImportValue": text}:
            return _flat(text)
        case {"Fn::GetStackOutput": _}:
            return json.dumps(value, separators=(",", ":"))
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Ref": name}:
            return f"<{name}>"
    raise ValueError(f"a resource of a policy is none of the kinds that we make: {value}")
