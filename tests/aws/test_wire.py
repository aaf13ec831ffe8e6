"""The wire does to the calls of a function what a test tells it, and to those of no other."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.emulator.process import ACCOUNT, Emulator
from tests.aws.emulator.versions import RUNTIME

_CODE = """
import json, os
from botocore.session import get_session
from botocore.config import Config

def handler(event, context):
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=60, read_timeout=60)
    service, action, arguments = event
    client = get_session().create_client(service, config=config)
    try:
        getattr(client, action)(**arguments)
        return "done"
    except Exception as error:
        return (getattr(error, "response", None) or {}).get("Error", {}).get("Code") or type(error).__name__
"""
_PUT = ["dynamodb", "put_item", {"TableName": "wired", "Item": {"id": {"S": "1"}}}]
_STORE = ["s3", "put_object", {"Bucket": "wired", "Key": "k", "Body": "some bytes"}]


class Function:
    """A function that makes one call, and tells what came of it."""

    def __init__(self, emulator: Emulator, name: str) -> None:
        self.emulator, self.name = emulator, name
        self._client = emulator.client("lambda")

    def call(self, call: Any) -> str:
        reply = self._client.invoke(FunctionName=self.name, Payload=json.dumps(call))
        told: str = json.loads(reply["Payload"].read())
        return told


@pytest.fixture(scope="module")
def functions(emulator: Emulator) -> Iterator[list[Function]]:
    own = f"wired-{os.getpid()}"
    roles, lambdas = emulator.client("iam"), emulator.client("lambda")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    roles.create_role(
        RoleName=own, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    allowed = {"Effect": "Allow", "Action": ["dynamodb:PutItem", "s3:PutObject"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    roles.put_role_policy(RoleName=own, PolicyName="own", PolicyDocument=policy)
    emulator.client("dynamodb").create_table(
        TableName="wired", BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )  # fmt: skip
    emulator.client("s3").create_bucket(
        Bucket="wired", CreateBucketConfiguration={"LocationConstraint": emulator.env["AWS_REGION"]}
    )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("index.py", _CODE)
    names = [f"{own}-{n}" for n in range(2)]
    for name in names:
        lambdas.create_function(
            FunctionName=name, Runtime=RUNTIME, Handler="index.handler", Timeout=10,
            Role=f"arn:aws:iam::{ACCOUNT}:role/{own}", Code={"ZipFile": content.getvalue()},
        )  # fmt: skip
    yield [Function(emulator, name) for name in names]
    emulator.client("dynamodb").delete_table(TableName="wired")


pytestmark = pytest.mark.xdist_group("wire")


def test_calls_get_through_and_are_written_down(functions: list[Function]) -> None:
    function, _ = functions
    assert (function.call(_PUT), function.call(_STORE)) == ("done", "done")
    assert function.emulator.calls(function.name)[-2:] == [("dynamodb", "PutItem"), ("s3", "PutObject")]
    asked = {action for action, _ in function.emulator.actions(function.name)}
    assert asked == {"dynamodb:PutItem", "s3:PutObject"}


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("refuse", {"ConnectionClosedError", "EndpointConnectionError", "SSLError"}),
        ("cut", {"ConnectionClosedError", "SSLError"}),
        ("throttle", {"ThrottlingException", "SlowDown"}),
        ("fail", {"InternalServerError", "InternalError"}),
    ],
)
@pytest.mark.parametrize("call", [_PUT, _STORE], ids=["dynamodb", "s3"])
def test_a_fault_is_met_by_one_function_alone(functions: list[Function], call: Any, kind: Any, told: set[str]) -> None:
    function, other = functions
    with function.emulator.fault(function.name, kind, service=call[0]):
        assert function.call(call) in told
        assert other.call(call) == "done"
    assert function.call(call) == "done"


def test_a_call_that_is_cut_was_carried_out(functions: list[Function]) -> None:
    function, _ = functions
    table = function.emulator.client("dynamodb")
    for kind, there in (("refuse", False), ("cut", True)):
        with function.emulator.fault(function.name, kind):  # type: ignore[arg-type]
            function.call(["dynamodb", "put_item", {"TableName": "wired", "Item": {"id": {"S": kind}}}])
        assert ("Item" in table.get_item(TableName="wired", Key={"id": {"S": kind}})) == there


def test_a_fault_may_come_late_and_go_soon(functions: list[Function]) -> None:
    function, _ = functions
    with function.emulator.fault(function.name, "throttle", action="PutItem", after=1, times=1):
        assert [function.call(_PUT) for _ in range(3)] == ["done", "ThrottlingException", "done"]


def test_a_call_may_be_late(functions: list[Function]) -> None:
    function, _ = functions
    with function.emulator.fault(function.name, "delay", delay_s=0.3):
        before = time.monotonic()
        assert function.call(_PUT) == "done"
        assert time.monotonic() - before >= 0.3


def test_what_a_role_is_not_allowed_is_refused(functions: list[Function]) -> None:
    function, _ = functions
    assert function.call(["dynamodb", "scan", {"TableName": "wired"}]) == "AccessDeniedException"
