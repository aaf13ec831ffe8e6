"""What AWS's own linter says of the templates, and cdk-nag: nothing that is not acknowledged, with its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from cdk_nag import AwsSolutionsChecks

from headgate import App, Public
from headgate.cdk.program import add_stacks
from headgate.declare.stage import Stage
from tests.cdk.conftest import EXAMPLES
from tests.cdk.stacks import Synthesized, package

LINT = Path(sys.executable).with_name("cfn-lint")

ACKNOWLEDGED = {
    "APIG2": "the function validates",
    "APIG3": "no web ACL",
    "APIG4": "open methods",
    "COG4": "no Cognito",
    "DDB3": "dev keeps nothing",
    "IAM5": "names of bodies, logs and traces",
    "L1": "the declared Python",
    "S1": "no access log of the bucket",
    "SQS3": "it is a dead letter queue",
    "SMG4": "no rotation of secrets",
}


@pytest.mark.parametrize("name", [*EXAMPLES, "conformance", "works"])
def test_cfn_lint_finds_nothing(name: str, synthesized: Callable[[str], Synthesized]) -> None:
    # W3005: CDK's own functions say DependsOn beside a reference that implies it.
    done = subprocess.run([LINT, "-i", "W3005", "--", *_paths(synthesized(name))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _paths(made: Synthesized) -> list[str]:
    return [str(template.path) for template in made.templates()]


def test_cdk_nag_stops_what_is_not_acknowledged(tmp_path: Path) -> None:
    app = App("shop")
    app.channel("/orders", auth=Public())
    root = cdk.App(outdir=str(tmp_path / "out"))
    cdk.Validations.of(root).add_plugins(AwsSolutionsChecks(root))
    stacks = add_stacks(root, app, Stage("dev"), package(tmp_path, image=False), "app:app")
    role = stacks.service.node.find_child("Functions").node.find_child("OrdersIngest").node.find_child("Role")
    assert isinstance(role, iam.Role)
    role.add_to_policy(iam.PolicyStatement(actions=["dynamodb:*"], resources=["*"]))
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        root.synth()
    report = (tmp_path / "out" / "validation-report.json").read_text()
    assert "AwsSolutions-IAM5[Action::dynamodb:*]" in report
    assert "AwsSolutions-IAM5[Resource::*]" in report


def test_every_acknowledgement_is_one_that_is_meant_and_tells_its_reason(
    message: Synthesized, orders: Synthesized, conformance: Synthesized, works: Synthesized
) -> None:
    found: dict[str, set[str]] = {}
    for made in (message, orders, conformance, works):
        for template in made.templates():
            metadata = json.loads((made.folder / f"{template.name}.metadata.json").read_text())
            for entries in metadata.values():
                for entry in (
                    it["data"] for it in entries if it["type"] == cdk.Validations.ACKNOWLEDGED_RULES_METADATA_KEY
                ):
                    for rule, reason in entry.items():
                        found.setdefault(rule.partition("AwsSolutions-")[2].partition("[")[0], set()).add(reason)
    assert found.keys() == ACKNOWLEDGED.keys()
    for reasons in found.values():
        assert all(len(reason) > 20 and reason.endswith(".") for reason in reasons)
