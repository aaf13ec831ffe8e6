"""examples/requests, deployed by its own program to the region it names: signed calls, a row, an object and an
execution for each, and nothing left of it when it is destroyed."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from headgate.clock import SystemClock
from headgate.testing.answer import Answer, Headers
from headgate.testing.credentials import aws_signature
from tests.aws.desk import Desk
from tests.aws.emulator import deployment
from tests.aws.emulator.process import ACCOUNT, Emulator
from tests.aws.emulator.versions import ARCHITECTURE, RUNTIME
from tests.aws.test_readmes import lines
from tests.cases import ROOT, command
from tests.cli.shell import Done
from tests.docs.blocks import Block, terminal
from tests.once import once

pytestmark = [pytest.mark.xdist_group("requests"), pytest.mark.slow]

REGION = "us-west-2"
PUBLISHED = {"message": "Request processed successfully"}
ROW = ("request_id", "timestamp", "s3_key", "status", "step_function_execution_arn")


@dataclass(frozen=True)
class Tap:
    """The deployed app, and an access key of the account that may call it."""

    desk: Desk
    outputs: Mapping[str, str]
    access_key: Mapping[str, str]

    @property
    def url(self) -> str:
        return self.desk.emulator.plain_url(self.outputs["ApiEndpoint"]) + "/"

    def client(self, service: str) -> Any:
        return self.desk.emulator.client(service, REGION)

    def post(self, body: bytes, headers: Mapping[str, str] = {}, *, signed: bool = True) -> Answer:
        return self.ask("POST", self.url, body, headers, signed=signed)

    def ask(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] = {}, *, signed: bool = True
    ) -> Answer:
        signature = aws_signature(self.access_key, method, url, body, SystemClock()) if signed else {}
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.netloc, timeout=300)
        try:
            connection.request(method, place.path, body or None, {**headers, **signature})
            reply = connection.getresponse()
            return Answer(reply.status, Headers(reply.getheaders()), reply.read())
        finally:
            connection.close()

    def rows(self) -> list[dict[str, Any]]:
        found = self.client("dynamodb").scan(TableName=self.outputs["TableName"], ConsistentRead=True)["Items"]
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in found]

    def row(self, request_id: str) -> dict[str, Any]:
        """The row of a request, once its execution has ended."""
        until_s = time.monotonic() + 300
        while True:
            (found,) = [row for row in self.rows() if row["request_id"] == request_id]
            if found["status"] != "processing":
                return found
            assert time.monotonic() < until_s, found
            time.sleep(0.2)


def _project(emulator: Emulator, folder: Path) -> Desk:
    shutil.copytree(
        ROOT / "examples" / "requests", folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "cdk.out")
    )
    said = json.loads((folder / "cdk.json").read_text())
    here = {"runtime": RUNTIME, "architecture": ARCHITECTURE, "nag": "true"}
    (folder / "cdk.json").write_text(json.dumps({**said, "context": here}))
    return Desk(folder, emulator)


def _access_key(emulator: Emulator) -> dict[str, str]:
    """Of a user who may call APIs, and nothing else."""
    users, name = emulator.client("iam"), f"sender-{uuid4().hex[:8]}"
    users.create_user(UserName=name)
    allowed = {
        "Effect": "Allow",
        "Action": "execute-api:Invoke",
        "Resource": f"arn:aws:execute-api:{REGION}:{ACCOUNT}:*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    users.put_user_policy(UserName=name, PolicyName="sends", PolicyDocument=policy)
    key = users.create_access_key(UserName=name)["AccessKey"]
    return {
        "access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"],
        "region": REGION, "service": "execute-api",
    }  # fmt: skip


@pytest.fixture(scope="module")
def prepared(emulator: Emulator, run_folder: Path) -> Emulator:
    """The emulator, with what the CDK needs in that region."""

    def bootstrap() -> dict[str, Any]:
        deployment.bootstrap(emulator, run_folder / "aws" / "bootstrap-west", REGION)
        return {}

    once(run_folder / "aws", "bootstrapped-west", bootstrap)
    return emulator


@pytest.fixture(scope="module")
def tap(prepared: Emulator, run_folder: Path) -> Tap:
    """As `headgate deploy` makes it."""
    folder = run_folder / "aws" / "requests"

    def deploy() -> dict[str, Any]:
        done = _project(prepared, folder).type("deploy", "--stage", "dev", "--log-role")
        return {"done": asdict(done), "access_key": _access_key(prepared)}

    made = once(run_folder / "aws", "requests-deployed", deploy)
    assert Done(**made["done"]).code == 0, made["done"]["err"]
    (outputs,) = json.loads((folder / "outputs.json").read_text()).values()
    return Tap(Desk(folder, prepared), outputs, made["access_key"])


def test_its_outputs_name_what_is_there(tap: Tap) -> None:
    told = {name: tap.outputs[name] for name in ("BucketName", "TableName", "LambdaFunctionName")}
    assert told == {
        "BucketName": "tap-dev-bucket",
        "TableName": "tap-dev-requests",
        "LambdaFunctionName": "tap-dev-processor",
    }
    assert tap.outputs["StateMachineArn"] == f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:tap-dev-statemachine"
    assert tap.outputs["ApiEndpoint"].startswith("https://")


def test_who_does_not_sign_is_refused_and_nothing_is_stored(tap: Tap) -> None:
    before = len(tap.rows())
    stranger = Tap(tap.desk, tap.outputs, {**tap.access_key, "secret_access_key": "x" * 40})

    for reply in (tap.post(b"{}", signed=False), stranger.post(b"{}")):
        assert (reply.status, reply.headers["content-type"]) == (403, "application/problem+json")
    assert len(tap.rows()) == before


def test_a_signed_request_becomes_a_row_an_object_and_an_execution_and_is_processed(tap: Tap) -> None:
    reply = tap.post(b'{"amount": 2.10}', {"Content-Type": "application/json"})

    told = reply.json()
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert list(told) == ["message", "request_id", "execution_arn"]
    assert told | PUBLISHED == told
    assert UUID(told["request_id"])
    assert f":express:tap-dev-statemachine:execution-{told['request_id']}:" in told["execution_arn"]

    row = tap.row(told["request_id"])
    shown = {name: row[name] for name in ROW}
    assert shown == {
        "request_id": told["request_id"],
        "timestamp": row["received_at"].partition("_")[0],
        "s3_key": f"requests/{told['request_id']}.json",
        "status": "processed",
        "step_function_execution_arn": told["execution_arn"],
    }
    kept = tap.client("s3").get_object(Bucket="tap-dev-bucket", Key=shown["s3_key"])
    assert (kept["ContentType"], kept["Body"].read()) == ("application/json", b'{"amount": 2.10}')


def test_the_same_again_is_answered_the_same_and_starts_nothing(tap: Tap) -> None:
    key = {"Idempotency-Key": f"R-{uuid4()}"}
    first, again, other = (tap.post(body, key) for body in (b'{"n": 1}', b'{"n":1}', b'{"n": 2}'))

    assert (again.status, again.body) == (200, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert other.status == 409
    assert tap.row(key["Idempotency-Key"])["status"] == "processed"


def test_web_pages_may_ask_beforehand(tap: Tap) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    reply = tap.ask("OPTIONS", tap.url, headers=asked, signed=False)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, "*")


def test_the_processor_runs_as_published(tap: Tap) -> None:
    config = tap.client("lambda").get_function_configuration(FunctionName="tap-dev-processor")
    told = config["Environment"]["Variables"]
    assert {name: told[name] for name in ("BUCKET_NAME", "TABLE_NAME", "STATE_MACHINE_ARN")} == {
        "BUCKET_NAME": "tap-dev-bucket",
        "TABLE_NAME": "tap-dev-requests",
        "STATE_MACHINE_ARN": tap.outputs["StateMachineArn"],
    }
    tags = tap.client("lambda").list_tags(Resource=config["FunctionArn"])["Tags"]
    assert {**tags, "Environment": "Production", "Project": "TAP", "Repository": "unknown", "Author": "unknown"} == tags


def test_the_commands_find_the_stack_by_its_own_name(tap: Tap) -> None:
    told = tap.post(b'{"by": "hand"}').json()
    tap.row(told["request_id"])
    assert tap.desk.told("outputs", "--stage", "dev")["BucketName"] == "tap-dev-bucket"
    shown = tap.desk.told("messages", "show", "requests", told["request_id"], "--stage", "dev")
    assert shown["status"] == "processed"


def test_the_lines_of_its_readme_print_what_the_page_says(tap: Tap, tmp_path: Path) -> None:
    command("curl")
    sign = f"{tap.access_key['access_key_id']}:{tap.access_key['secret_access_key']}"
    page = ROOT / "examples" / "requests" / "README.md"
    (tmp_path / "terminal").mkdir()
    with terminal(tmp_path / "terminal") as shell:
        shell.run(Block(page, 0, "console", (), f"$ SIGN={sign}"))
        for block in lines("requests", tap.url.removesuffix("/")):
            shell.run(block)


def test_its_functions_may_do_what_they_do_and_nothing_else(tap: Tap) -> None:
    key, large = {"Idempotency-Key": f"R-{uuid4()}"}, json.dumps({"text": "x" * 40_000}).encode()
    other = Tap(tap.desk, tap.outputs, _access_key(tap.desk.emulator))
    for sender, body in ((tap, large), (tap, large), (other, b'{"the": "same key"}')):
        assert sender.post(body, key).status == 200
    read = tap.ask("GET", f"{tap.url}{key['Idempotency-Key']}")
    assert read.json()["body"] == json.loads(large)
    functions = [it["FunctionName"] for it in tap.client("lambda").list_functions()["Functions"]]
    own = [name for name in functions if name.startswith(("TapStackdev-", "tap-dev-")) and "Custom" not in name]
    used = {name: {action for action, _ in tap.desk.emulator.actions(name)} for name in own}
    assert len(used) == 4
    for name in own:
        if "Sweep" not in name:  # which has nothing left to do
            assert granted(tap, name) == used[name], name


def granted(tap: Tap, function: str) -> set[str]:
    """What the role of a function may do, beside writing its log."""
    role = tap.client("lambda").get_function_configuration(FunctionName=function)["Role"].rpartition("/")[2]
    roles, found = tap.client("iam"), set[str]()
    for name in roles.list_role_policies(RoleName=role)["PolicyNames"]:
        for statement in roles.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]:
            said = statement["Action"]
            found |= {said} if isinstance(said, str) else {*said}
    return found - {"logs:CreateLogStream", "logs:PutLogEvents"}


def test_destroying_leaves_nothing(tap: Tap) -> None:
    tap.post(b'{"last": true}')
    done = tap.desk.type("destroy", "--stage", "dev", "--yes")
    assert done.code == 0, done.err
    assert left(tap, "dev") == []


def test_the_cdks_own_command_makes_the_same_under_another_suffix(prepared: Emulator, tmp_path: Path) -> None:
    desk = _project(prepared, tmp_path / "requests")
    told = tmp_path / "outputs.json"
    suffix = ("-c", "environmentSuffix=pr7")
    deployment.cdk(prepared, desk.folder, "deploy", "--require-approval", "never", "--outputs-file", str(told), *suffix)
    ((stack, outputs),) = json.loads(told.read_text()).items()
    tap = Tap(desk, outputs, _access_key(prepared))
    assert (stack, outputs["TableName"]) == ("TapStackpr7", "tap-pr7-requests")

    reply = tap.post(b'{"amount": 1}', {"Content-Type": "application/json"})
    assert reply.status == 200
    assert tap.row(reply.json()["request_id"])["status"] == "processed"
    deployment.cdk(prepared, desk.folder, "destroy", "--force", *suffix)


def test_the_app_alone_is_one_stack_too(prepared: Emulator, tmp_path: Path) -> None:
    desk = _project(prepared, tmp_path / "requests")
    made = deployment.deploy(prepared, desk.folder, stage="pr8")  # by the program of headgate.cdk
    assert made.stacks == ("TapStackpr8",)

    reply = Tap(desk, made.outputs, _access_key(prepared)).post(b"{}", {"Content-Type": "application/json"})
    assert reply.status == 200
    deployment.destroy(prepared, desk.folder, stage="pr8")


def left(tap: Tap, suffix: str) -> list[str]:
    """The names of what is still there of a stage."""
    named = (f"tap-{suffix}-", f"TapStack{suffix}", f"tapstack{suffix}")
    found = [
        *(it["Name"] for it in tap.client("s3").list_buckets()["Buckets"]),
        *tap.client("dynamodb").list_tables()["TableNames"],
        *(it["FunctionName"] for it in tap.client("lambda").list_functions()["Functions"]),
        *(it["name"] for it in tap.client("stepfunctions").list_state_machines()["stateMachines"]),
        *(it["name"] for it in tap.client("apigateway").get_rest_apis()["items"]),
        *(it["RoleName"] for it in tap.client("iam").list_roles()["Roles"]),
        *(it["Name"] for it in tap.client("events").list_rules()["Rules"]),
        *(it["logGroupName"] for it in tap.client("logs").describe_log_groups()["logGroups"]),
    ]
    # The role that API Gateway writes logs with is the account's; the CDK's own function makes its log itself.
    staying = ("CloudWatchRole", "/aws/lambda/TapStackdev-CustomS3Auto")
    return [name for name in found if any(part in name for part in named) and not any(it in name for it in staying)]
