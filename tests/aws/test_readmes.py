"""The READMEs of the examples hold on the deployed stacks, line by line; and destroying leaves nothing behind."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

import pytest

from headgate.clock import SystemClock
from headgate.declare.load import load_app
from headgate.testing.credentials import Credentials
from tests.aws.emulator import deployment
from tests.aws.emulator.deployment import Deployed
from tests.aws.emulator.process import Emulator
from tests.cases import ROOT, command
from tests.docs.blocks import Block, blocks, steps, terminal

_ON_AWS = {
    "localhost:8000": "{url}",
    # docs/guide/engines.md: API Gateway does not say why.
    "problem:no_credentials": "problem:unauthorized",
    "Send credentials in the header Authorization: Bearer.": "Send valid credentials for this channel.",
    "idempotency-replayed: true": "Idempotency-Replayed: true",  # one and the same: names of headers have no case
    "sleep 2": "sleep 5",  # functions start first
    "sleep 1\n": "sleep 4\n",
}
_SEQUENCE = re.compile(r'"sequenceNumber": "\d+"')  # those of Kinesis are long, and nobody knows them beforehand
_OF_THE_LOCAL_ENGINE = ("headgate ", "head ", "cat ", "SIGN=")
# A reply of API Gateway's own: `problem=` of a channel has no part in it.
_UNSIGNED = """{
  "error": "Forbidden",
  "message": "Sign the request with AWS Signature Version 4, in the header Authorization."
}"""
_NOT_LET_IN = """{
  "type": "urn:headgate:problem:forbidden",
  "title": "Forbidden",
  "status": 403,
  "detail": "<why>",
  "message": "<why>",
  "errors": [],
  "request_id": "<request id>"
}"""


@pytest.mark.parametrize("example", ["message", "orders", "company_messages", "events"])
def test_a_readmes_lines_print_what_the_page_says_and_destroy_leaves_nothing(
    example: str, emulator: Emulator, bootstrapped: None, tmp_path: Path
) -> None:
    command("curl")
    project = deployment.project_of(ROOT / "examples" / example, tmp_path / example)
    app = deployment.deploy(emulator, project)

    (tmp_path / "terminal").mkdir()
    with terminal(tmp_path / "terminal") as shell:
        if "OrdersJwtSecretSecretArn" in app.outputs:
            page = ROOT / "examples" / example / "README.md"
            shell.run(Block(page, 0, "console", (), f"$ TOKEN={_token(app)}"))
        for block in lines(example, app.url):
            shell.run(block)

    deployment.destroy(emulator, project)
    own = f"{load_app(str(app.project)).name}-dev-"
    left = [name for name in _everything(emulator) if own in name]
    # Lambda makes the log of the CDK's own function itself, and it stays there, on AWS too.
    assert [name for name in left if not name.startswith(f"/aws/lambda/{own}data-Custom")] == []


def lines(example: str, url: str) -> list[Block]:
    """What the page has to say about requests, as it is where the app is deployed."""
    found = []
    for block in blocks(ROOT / "examples" / example / "README.md"):
        if block.language == "console" and "$ curl" in block.text and "localhost:8000" in block.text:
            text = "\n".join(
                f"$ {step.command}\n{step.printed}".rstrip()
                for step in steps(block)
                if not step.command.startswith(_OF_THE_LOCAL_ENGINE)
            )
            text = text.replace(_UNSIGNED, _NOT_LET_IN)
            text = _SEQUENCE.sub('"sequenceNumber": "<sequence>"', text)
            for here, there in _ON_AWS.items():
                text = text.replace(here, there.format(url=url))
            found.append(block._replace(text=text))
    assert found
    return found


def _token(app: Deployed) -> str:
    """What `headgate token` gives, with a secret that the stack was given."""
    secret = secrets.token_urlsafe(32)
    app.set_secret("ORDERS_JWT_SECRET", secret)
    (channel,) = load_app(str(app.project)).channels
    made = Credentials({"ORDERS_JWT_SECRET": secret}, SystemClock()).headers(channel, b"")
    return made["Authorization"].removeprefix("Bearer ")


def _everything(emulator: Emulator) -> list[str]:
    """The names of all that there is in the account."""

    def of(service: str, operation: str, of_all: str, name: str = "", **asked: Any) -> list[str]:
        pages = emulator.client(service).get_paginator(operation).paginate(**asked)
        return [str(one[name] if name else one) for page in pages for one in page.get(of_all, ())]

    standing = ["CREATE_COMPLETE", "UPDATE_COMPLETE", "ROLLBACK_COMPLETE", "DELETE_FAILED"]
    return [
        *of("cloudformation", "list_stacks", "StackSummaries", "StackName", StackStatusFilter=standing),
        *of("dynamodb", "list_tables", "TableNames"),
        *of("s3", "list_buckets", "Buckets", "Name"),
        *of("lambda", "list_functions", "Functions", "FunctionName"),
        *of("lambda", "list_layers", "Layers", "LayerName"),
        *of("logs", "describe_log_groups", "logGroups", "logGroupName"),
        *of("iam", "list_roles", "Roles", "RoleName"),
        *of("secretsmanager", "list_secrets", "SecretList", "Name"),
        *of("apigateway", "get_rest_apis", "items", "name"),
        *of("sqs", "list_queues", "QueueUrls"),
        *of("kinesis", "list_streams", "StreamNames"),
        *of("lambda", "list_event_source_mappings", "EventSourceMappings", "FunctionArn"),
        *of("sns", "list_topics", "Topics", "TopicArn"),
        *of("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
        *of("events", "list_rules", "Rules", "Name"),
    ]
