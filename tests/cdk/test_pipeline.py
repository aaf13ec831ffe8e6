"""The stack of the pipeline: what it reads, what it runs, what it deploys, and who is told when that fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from headgate.cdk import toolkit
from headgate.cdk.pipeline import add_pipeline, commands
from headgate.cdk.program import Wishes
from headgate.declare.load import load_app
from headgate.errors import Misuse
from tests.cases import ROOT
from tests.cdk.stacks import Node, Template

ARN = "arn:aws:codeconnections:eu-west-1:111122223333:connection/0b1f5b3e-0000-4000-8000-000000000000"
APP = """\
from headgate import App, CodeCommit, Env, Public, stage

import rooms

app = App("desk")
app.channel(f"/notes-of-{stage()}", name=rooms.NAME, auth=Public(), env={"MODE": Env("DESK_MODE")})
app.pipeline(CodeCommit("desk"), ["test", "prod"], folder="services/desk")
"""


@pytest.fixture(autouse=True)
def _settled(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache, with the tests of packaging; and no trace of an app that was loaded."""
    monkeypatch.setenv("HEADGATE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("HEADGATE_STAGE", "dev")
    monkeypatch.setenv("CONNECTION_ARN", ARN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("app", "rooms"):
        monkeypatch.setitem(sys.modules, name, sys)
        del sys.modules[name]


def made(target: Path, folder: Path) -> Template:
    root = cdk.App(outdir=str(folder), analytics_reporting=False)
    stack = add_pipeline(root, Wishes(app=str(target), nag=True))
    root.synth()
    return Template(stack.stack_name, folder / f"{stack.stack_name}.template.json")


@pytest.fixture
def orders(tmp_path: Path) -> Template:
    return made(ROOT / "examples" / "orders", tmp_path / "out")


def actions(template: Template) -> dict[str, list[Node]]:
    """Of each stage of the pipeline, in their order."""
    (pipeline,) = template.properties("AWS::CodePipeline::Pipeline")
    return {stage["Name"]: stage["Actions"] for stage in pipeline["Stages"]}


def built(template: Template, step: str) -> Any:
    """What a step runs, as CodeBuild reads it."""
    (project,) = [it["Properties"] for name, it in template.all("AWS::CodeBuild::Project").items() if step in name]
    return json.loads(project["Source"]["BuildSpec"])


def test_a_push_to_main_deploys_the_pipeline_itself_and_then_each_stage_in_its_order(orders: Template) -> None:
    found = actions(orders)
    assert [*found] == ["Source", "Build", "UpdatePipeline", "Assets", "dev", "prod"]
    (source,) = found["Source"]
    assert source["ActionTypeId"]["Provider"] == "CodeStarSourceConnection"
    assert source["Configuration"] == {"ConnectionArn": ARN, "FullRepositoryId": "acme/orders", "BranchName": "main"}
    assert [it["Configuration"]["StackName"] for it in found["dev"] if it["Name"].endswith("Deploy")] == [
        "orders-dev-data",
        "orders-dev-service",
    ]


def test_somebody_says_yes_before_prod_and_nobody_before_dev(orders: Template) -> None:
    kinds = {name: [it["ActionTypeId"]["Category"] for it in them] for name, them in actions(orders).items()}
    assert kinds["prod"][0] == "Approval"
    assert "Approval" not in kinds["dev"]


def test_the_topic_is_told_when_a_run_fails(orders: Template) -> None:
    (rule,) = [it for it in orders.properties("AWS::Events::Rule") if "EventPattern" in it]
    assert rule["EventPattern"]["source"] == ["aws.codepipeline"]
    assert rule["EventPattern"]["detail"]["state"] == ["FAILED"]
    (topic,) = orders.all("AWS::SNS::Topic")
    assert [target["Arn"] for target in rule["Targets"]] == [{"Ref": topic}]
    (key,) = orders.properties("AWS::KMS::Key")
    assert "events.amazonaws.com" in json.dumps(key["KeyPolicy"])


def test_what_is_built_is_built_by_what_we_know(orders: Template) -> None:
    assert f"npm install -g aws-cdk@{toolkit.pinned()}" in json.dumps(built(orders, "SelfMutation"))
    assert "latest" not in json.dumps([it["Source"] for it in orders.properties("AWS::CodeBuild::Project")])
    synth = built(orders, "Synth")
    assert synth["phases"]["install"]["runtime-versions"] == {"nodejs": "22", "python": "3.13"}
    (declared,) = load_app(str(ROOT / "examples" / "orders")).pipelines
    assert synth["phases"]["build"]["commands"] == commands(declared)
    assert synth["artifacts"]["base-directory"] == "cdk.out"


def test_cfn_lint_finds_nothing(orders: Template) -> None:
    lint = Path(sys.executable).with_name("cfn-lint")
    # E3703 wants Fn::Sub in the place of the Fn::Join that the CDK writes; W3005 is as everywhere.
    done = subprocess.run([lint, "-i", "W3005", "E3703", "--", orders.path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_stage_is_the_app_as_it_is_declared_there_with_the_settings_of_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "desk"
    project.mkdir()
    (project / "app.py").write_text(APP)
    (project / "rooms.py").write_text('from headgate import stage\n\nNAME = f"notes-{stage()}"\n')
    monkeypatch.setenv("DESK_MODE", "fast")

    pipeline = made(project, tmp_path / "out")

    for stage in ("test", "prod"):
        (written,) = (tmp_path / "out" / f"assembly-desk-pipeline-{stage}").glob("*service*.template.json")
        assert f"Notes{stage.capitalize()}Url" in json.loads(written.read_text())["Outputs"]
    (project_,) = [it["Properties"] for name, it in pipeline.all("AWS::CodeBuild::Project").items() if "Synth" in name]
    assert project_["Environment"]["EnvironmentVariables"] == [
        {"Name": "DESK_MODE", "Type": "PLAINTEXT", "Value": "fast"}
    ]
    assert built(pipeline, "Synth")["phases"]["build"]["commands"][0] == "cd services/desk"
    assert built(pipeline, "Synth")["artifacts"]["base-directory"] == "services/desk/cdk.out"
    (source,) = actions(pipeline)["Source"]
    assert source["ActionTypeId"]["Provider"] == "CodeCommit"


FAR = """\
from headgate import App, CodeCommit, Public

app = App("far")
app.channel("/notes", auth=Public())
app.stage("test", region="eu-west-1"{account})
app.stage("prod", region="us-east-1"{other})
app.pipeline(CodeCommit("far"), ["test", "prod"])
"""


def test_stages_may_be_in_other_accounts_and_regions(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FAR.format(account=', account="111122223333"', other=', account="444455556666"'))
    pipeline = made(tmp_path, tmp_path / "out")
    (it,) = pipeline.properties("AWS::CodePipeline::Pipeline")
    assert [store["Region"] for store in it["ArtifactStores"]] == ["us-east-1", "eu-west-1"]
    assert "444455556666" in json.dumps(actions(pipeline)["prod"])
    assert pipeline.properties("AWS::KMS::Key")[0]["EnableKeyRotation"]


def test_several_regions_need_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDK_DEFAULT_ACCOUNT", raising=False)
    (tmp_path / "app.py").write_text(FAR.format(account="", other=""))
    with pytest.raises(Misuse, match="The stages are in several regions: say `region=` and `account=` of stage test"):
        made(tmp_path, tmp_path / "out")


def test_an_app_without_a_pipeline_says_how_to_declare_one(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="message declares no pipeline: say"):
        made(ROOT / "examples" / "message", tmp_path)


def test_a_connection_that_nobody_has_named_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONNECTION_ARN")
    with pytest.raises(Misuse, match="CONNECTION_ARN is not set, which the pipeline's `source=` names"):
        made(ROOT / "examples" / "orders", tmp_path)
