"""The stack of tap.py: one, with the published names, and nothing in it that can be taken for more than it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2]

pytestmark = pytest.mark.xdist_group("cdk")


def synthesized(folder: Path, *context: tuple[str, str], **env: str) -> dict[str, Any]:
    """The template of the only stack that the program makes."""
    pytest.importorskip("aws_cdk")
    from headgate.cdk.toolkit import node

    own = {name: value for name, value in os.environ.items() if not name.startswith(("CDK_", "HEADGATE_STAGE"))}
    told = {"CDK_OUTDIR": str(folder), "CDK_CONTEXT_JSON": json.dumps(dict(context)), "JSII_NODE": node()}
    subprocess.run([sys.executable, "tap.py"], cwd=FOLDER, env={**own, **told, **env}, check=True)
    (found,) = folder.glob("*.template.json")
    template: dict[str, Any] = {"name": found.name.removesuffix(".template.json"), **json.loads(found.read_text())}
    return template


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return synthesized(tmp_path_factory.mktemp("dev"), ("nag", "true"), CDK_DEFAULT_ACCOUNT="111122223333")


def properties(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [it.get("Properties", {}) for it in template["Resources"].values() if it["Type"] == kind]


def test_the_stack_and_what_is_in_it_have_the_published_names(dev: dict[str, Any]) -> None:
    assert dev["name"] == "TapStackdev"
    assert "tap-dev-bucket" in [it.get("BucketName") for it in properties(dev, "AWS::S3::Bucket")]
    assert [it["TableName"] for it in properties(dev, "AWS::DynamoDB::Table")] == ["tap-dev-requests"]
    assert "tap-dev-processor" in [it.get("FunctionName") for it in properties(dev, "AWS::Lambda::Function")]
    assert [it["Name"] for it in properties(dev, "AWS::ApiGateway::RestApi")] == ["tap-dev-api"]
    (machine,) = properties(dev, "AWS::StepFunctions::StateMachine")
    assert (machine["StateMachineName"], machine["StateMachineType"]) == ("tap-dev-statemachine", "EXPRESS")
    assert {"ApiEndpoint", "BucketName", "TableName", "StateMachineArn", "LambdaFunctionName"} <= dev["Outputs"].keys()


def test_the_processor_is_told_where_to_store_and_what_to_start(dev: dict[str, Any]) -> None:
    (processor,) = [
        it for it in properties(dev, "AWS::Lambda::Function") if it.get("FunctionName") == "tap-dev-processor"
    ]
    told = processor["Environment"]["Variables"]
    assert processor["Runtime"] == "python3.12"
    assert {"BUCKET_NAME", "TABLE_NAME", "STATE_MACHINE_ARN"} <= told.keys()
    assert told["TABLE_NAME"] == told["HEADGATE_TABLE"]


def test_the_machine_passes_within_five_minutes(dev: dict[str, Any]) -> None:
    (machine,) = properties(dev, "AWS::StepFunctions::StateMachine")
    document = json.loads(machine["DefinitionString"])
    (branch,) = document["States"]["headgate: run"]["Branches"]
    assert document["TimeoutSeconds"] == 300
    assert branch["States"] == {"ProcessRequest": {"Type": "Pass", "Result": {"status": "processed"}, "End": True}}


def test_it_goes_to_us_west_2_with_the_published_tags(tmp_path: Path) -> None:
    said = {"REPOSITORY": "shop/tap", "COMMIT_AUTHOR": "Ada"}
    template = synthesized(tmp_path, ("environmentSuffix", "pr7"), CDK_DEFAULT_ACCOUNT="111122223333", **said)
    assert template["name"] == "TapStackpr7"
    artifact = json.loads((tmp_path / "manifest.json").read_text())["artifacts"]["TapStackpr7"]
    assert artifact["environment"] == "aws://111122223333/us-west-2"
    for name, value in {
        "Environment": "Production",
        "Project": "TAP",
        "Repository": "shop/tap",
        "Author": "Ada",
    }.items():
        assert artifact["properties"]["tags"][name] == value


def test_in_dev_the_bucket_empties_itself_and_elsewhere_it_stays(dev: dict[str, Any], tmp_path: Path) -> None:
    other = synthesized(tmp_path, ("environmentSuffix", "prod"))
    for template, policy in ((dev, "Delete"), (other, "RetainExceptOnCreate")):
        (bucket,) = [
            it
            for it in template["Resources"].values()
            if it["Type"] == "AWS::S3::Bucket" and it["Properties"].get("BucketName", "").endswith("-bucket")
        ]
        assert bucket["DeletionPolicy"] == policy
    assert properties(dev, "Custom::S3AutoDeleteObjects")
    assert not properties(other, "Custom::S3AutoDeleteObjects")
