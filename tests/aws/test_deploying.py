"""The headgate command where an app is deployed, changed and destroyed: each time another one, by any worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.aws.desk import project
from tests.aws.emulator.process import Emulator
from tests.aws.emulator.versions import ARCHITECTURE, RUNTIME

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prepared")]

# Refused by SQS, and therefore by whatever stands for it.
BAD = """\
import aws_cdk as cdk

app = cdk.App()
stack = cdk.Stack(app, "bad-queue")
cdk.CfnResource(stack, "Letters", type="AWS::SQS::Queue", properties={"QueueName": "a b c", "FifoQueue": True})
app.synth()
"""


def test_an_account_in_which_api_gateway_cannot_log_is_told_so_before_anything_is_made_and_prepared_when_asked(
    emulator: Emulator, tmp_path: Path
) -> None:
    app = "from headgate import App, Public\napp = App('north')\napp.channel('/notes', auth=Public())\n"
    desk = project(tmp_path / "north", emulator, app)
    there = {"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "eu-north-1", "CDK_DEFAULT_REGION": "eu-north-1"}
    refused = desk.type("deploy", env=there)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert refused.err.startswith("API Gateway has no role to write logs with in this account and region")

    done = desk.type("deploy", "--bootstrap", "--log-role", env=there)
    assert done.code == 0, done.err
    assert desk.type("doctor", "--aws", env=there).code == 0
    assert desk.type("destroy", "--yes", env=there).code == 0
    assert desk.type("doctor", "--aws", env=there).code == 0, "the role has to stay"


def test_a_channel_is_added_and_removed_by_a_deployment_each(emulator: Emulator, tmp_path: Path) -> None:
    fewer = "from headgate import App, Public\napp = App('fewer')\napp.channel('/notes', auth=Public())\n"
    desk = project(tmp_path / "fewer", emulator, fewer)
    for app, channels in ((fewer + "app.channel('/more', auth=Public())\n", {"More", "Notes"}), (fewer, {"Notes"})):
        (desk.folder / "app.py").write_text(app)
        done = desk.type("deploy")
        assert done.code == 0, done.err
        told = desk.told("outputs")
        assert {name.removesuffix("Url") for name in told if name.endswith("Url")} == {"Api", *channels}
    # AWS, unlike the emulator, would not remove what another stack imports.
    assert "ImportValue" not in (desk.folder / "cdk.out" / "fewer-dev-service.template.json").read_text()
    assert desk.type("destroy", "--yes").code == 0


def test_a_deployment_that_fails_names_the_resource_and_the_reason_that_aws_gives(
    emulator: Emulator, tmp_path: Path
) -> None:
    bad = project(tmp_path / "bad", emulator, "from headgate import App, Public\napp = App('bad')\n"
                                              "app.channel('/notes', auth=Public())\n")  # fmt: skip
    (bad.folder / "bad.py").write_text(BAD)
    (bad.folder / "cdk.json").write_text('{"app": "python bad.py"}')

    done = bad.type("deploy")

    assert (done.code, done.out) == (1, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("SQS Queue Letters of bad-queue could not be created: The name of a FIFO queue ")
    assert not (bad.folder / "outputs.json").exists()


# The stage keeps what it stores, and the stack cannot be made.
KEEPING = """\
import aws_cdk as cdk

from headgate.cdk.program import add_app, wishes_of

root = cdk.App()
data = add_app(root, wishes_of(root)).data
letters = cdk.CfnResource(data, "Letters", type="AWS::SQS::Queue", properties={"QueueName": "a b c", "FifoQueue": True})
letters.node.add_dependency(data.storage.bodies, *data.storage.secrets.values())
root.synth()
"""


def test_a_first_deployment_that_fails_leaves_nothing_in_the_way_of_the_next_one(
    emulator: Emulator, tmp_path: Path
) -> None:
    app = "from headgate import App, Public, Secret, Signed\napp = App('keeping')\n"
    app += "app.channel('/notes', auth=Signed(Secret('HOOK')))\napp.stage('prod', region='eu-west-1')\n"
    desk = project(tmp_path / "keeping", emulator, app)
    (desk.folder / "infra.py").write_text(KEEPING)
    context = {"runtime": RUNTIME, "architecture": ARCHITECTURE}
    (desk.folder / "cdk.json").write_text(json.dumps({"app": "python infra.py", "context": context}))

    done = desk.type("deploy", "--stage", "prod")

    assert (done.code, "SQS Queue Letters of keeping-prod-data could not be created" in done.err) == (1, True)
    buckets = [it["Name"] for it in emulator.client("s3").list_buckets()["Buckets"]]
    secrets = [it["Name"] for it in emulator.client("secretsmanager").list_secrets()["SecretList"]]
    assert not [name for name in (*buckets, *secrets) if name.lower().startswith(("keeping-prod", "secretshook"))]


def test_destroying_says_what_is_lost_asks_and_leaves_nothing(emulator: Emulator, tmp_path: Path) -> None:
    desk = project(tmp_path / "gone", emulator, 'from headgate import App, Public\napp = App("gone")\n'
                                                'app.channel("/notes", auth=Public())\n')  # fmt: skip
    assert desk.type("deploy").code == 0
    assert desk.type("send", "notes", "{}", "--stage", "dev", *desk.at(desk.told("outputs"))).code == 0

    asked = desk.type("destroy")
    assert (asked.code, asked.err) == (2, "There is nobody to ask; say --yes.\n")
    rows = {tuple(line.split()[:1] + line.split()[2:]) for line in asked.out.splitlines()[1:]}
    assert rows == {("table", "1", "item", "lost"), ("bucket", "0", "objects", "lost")}

    assert desk.type("destroy", "--yes").err.splitlines()[-1] == "gone (stage dev) is removed."
    assert [name for name in everything(emulator) if "gone-dev" in name] == []
    again = desk.type("destroy", "--yes")
    assert (again.code, again.err) == (0, "gone (stage dev) is not deployed: there is nothing to remove.\n")


def everything(emulator: Emulator) -> list[str]:
    """The names of what there is in an account, of the kinds that cost money or hold something when they stay."""
    tables = emulator.client("dynamodb").list_tables()["TableNames"]
    buckets = [it["Name"] for it in emulator.client("s3").list_buckets()["Buckets"]]
    logs = [it["logGroupName"] for it in emulator.client("logs").describe_log_groups()["logGroups"]]
    functions = [it["FunctionName"] for it in emulator.client("lambda").list_functions()["Functions"]]
    roles = [it["RoleName"] for it in emulator.client("iam").list_roles()["Roles"]]
    return [*tables, *buckets, *logs, *functions, *roles]
