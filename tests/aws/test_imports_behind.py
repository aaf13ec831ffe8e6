"""What each function behind the gate loads for its first event: lists of modules, as for those at the gate."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.aws.behind import arrival, event
from tests.aws.emulator import signer
from tests.aws.endpoint import answering
from tests.aws.test_imports import COSTLY, OURS, SIGNER, others

APP = """
from pydantic import BaseModel
from headgate import App, Archive, Public, Queued, Stream
{first}

class Order(BaseModel):
    id: str

def handle(order):
    pass

app = App("shop")
app.channel("/queued", Order, key="id", auth=Public(), delivery=Queued())(handle)
app.channel("/unread", Order, key="id", auth=Public(), delivery=Queued(validate="worker"))(handle)
app.channel("/events", Order, auth=Public(), delivery=Stream())(handle)
app.channel("/visits", Order, key="id", auth=Public(), delivery=Stream(dedupe=True))(handle)
app.channel("/kept", Order, key="id", auth=Public(), archive=Archive("{{id}}.json"))
{last}
"""
FLOWS = """
@app.task
def settle(given):
    return given

settling = app.workflow("settling", w.task(settle))
app.channel("/orders", Order, key="id", auth=Public(), workflow=settling)
"""

PROGRAM = """
import json, sys
before = set(sys.modules)
from headgate.aws.lambdas.{entry} import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 20_000

told = handler(json.load(open("event")), Context())
json.dump([told, sorted(set(sys.modules) - before)], open("loaded", "w"))
"""

SDK = {"botocore", "certifi", "dateutil", "jmespath", "six", "urllib3"}
"""Whoever calls SQS, Kinesis or S3. Lambda brings it."""
OF_THE_SDK = {"encodings.idna", "urllib.request"}

ROOMS = {
    "aws.bodies", "aws.clients", "aws.deployed", "aws.keys", "aws.lambdas", "aws.layout", "aws.pages", "aws.rooms",
    "aws.rows", "aws.settings", "aws.signing", "aws.telemetry", "aws.wire", "gate.observe",
}  # fmt: skip
"""Of ours, what all of them need that serve a channel."""
ROWS = {
    "aws.index", "aws.queue", "gate.credentials", "gate.effects", "gate.finish", "gate.iam", "gate.plan",
    "gate.signed", "gate.verify",
}  # fmt: skip
POST = {"aws.envelope", "aws.postbox"}
FORWARDER = {"aws.forwarder", *POST}
WORK = {*ROWS, *FORWARDER, "gate.faults", "gate.handle", "gate.judge", "gate.redrive", "gate.work"}
WORKER = {*WORK, "aws.duties", "aws.hand", "aws.worker"}
SWEEP = {*ROWS, *POST, "aws.driver", "aws.duties", "aws.sweep"}
STARTS = {"aws.archive", "aws.executions", "aws.starts", "gate.given", "gate.start"}
TASK = {"aws.clients", "aws.deployed", "aws.keys", "aws.layout", "aws.settings", "aws.signing", "aws.tasks"}

ROW = {
    "id": {"S": "1"}, "body": {"S": '{"id": "1"}'}, "received_at": {"S": f"2026-01-01T00:00:00.000Z_{'0' * 32}"},
    "status": {"S": "accepted"}, "request": {"S": "r"}, "due_at": {"N": "1"}, "attempts": {"N": "1"},
}  # fmt: skip
CHANGE = {"Records": [{"eventName": "INSERT", "dynamodb": {"NewImage": ROW, "SequenceNumber": "1"}}]}
ROWS_WORK, ARRIVED = event('{"scope": "", "key": "1"}'), event(arrival("r", b'{"id": "1"}'))
RECORD = {
    "eventID": "shardId-0:1",
    "kinesis": {
        "data": base64.b64encode(b'{"id":"1","received_ms":1,"principal":"","request_id":"r","traceparent":""}\n'
                                 b'{"id": "1"}').decode(),
        "sequenceNumber": "1", "partitionKey": "1", "approximateArrivalTimestamp": 1.0,
    },
}  # fmt: skip
CLAIM = {"headgate": {"what": "claim", "execution": "x", "message": {"scope": "", "key": "1"}}}


class Case(NamedTuple):
    """`ours` are the modules of headgate's engine and gate, beside ROOMS; `sdk` is whether the first event needs it."""

    entry: str
    channel: str
    event: dict[str, Any]
    ours: set[str]
    sdk: bool = False


CASES = [
    Case("forwarder", "queued", CHANGE, FORWARDER, sdk=True),
    Case("worker", "queued", ROWS_WORK, WORKER, sdk=True),
    Case("worker", "unread", ARRIVED, WORKER, sdk=True),
    Case("buried", "queued", ROWS_WORK, {*WORK, "aws.buried"}),
    Case("buried", "unread", ARRIVED, {*WORK, "aws.buried"}),
    Case("sweep", "queued", {}, SWEEP, sdk=True),
    Case("sweep", "kept", {}, {*SWEEP, "aws.archive"}),
    Case("sweep", "visits", {}, {*SWEEP, "aws.once", "aws.stream"}),
    Case(
        "consumer",
        "events",
        {"Records": [RECORD]},
        {*WORKER, "aws.consumer", "aws.stream", "aws.trials", "gate.consume"},
    ),
    Case("sweep", "orders", {}, {*SWEEP, *STARTS}),
    Case("ended", "orders", CLAIM, {*ROWS, "aws.ended", "gate.given", "gate.note", "gate.start"}),
    Case("task", "", {"id": "1"}, TASK),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.entry}-{case.channel}")
def test_a_function_behind_the_gate_loads_what_it_needs_and_no_more(tmp_path: Path, shipped: str, case: Case) -> None:
    modules = loaded(tmp_path, case, shipped)
    assert others(modules) - OURS - SIGNER - (SDK if case.sdk else set()) == set()
    assert modules & COSTLY - (OF_THE_SDK if case.sdk else set()) == set()
    ours = {name.removeprefix("headgate.") for name in modules if name.startswith("headgate.")}
    engine = {name for name in ours if name.startswith(("aws.", "gate."))}
    assert engine - ROOMS - case.ours - {f"aws.lambdas.{case.entry}"} == set()
    assert not any(name.startswith(("local", "cdk", "cli", "testing", "describe", "issuers")) for name in ours)
    if case.channel != "orders":
        assert "declare.compile" not in ours


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the signer of the default runtime can be imported from, if it cannot be anyway."""
    return "" if signer.IS_SHIPPED_HERE else str(signer.fetch(tmp_path_factory.mktemp("signer")))


def loaded(folder: Path, case: Case, shipped: str) -> set[str]:
    """The modules that are there after the first event."""
    has_flows = case.entry == "task" or case.channel == "orders"
    first, last = ("from headgate import workflow as w", FLOWS) if has_flows else ("", "")
    (folder / "app.py").write_text(APP.format(first=first, last=last))
    (folder / "event").write_text(json.dumps(case.event))
    with answering() as endpoint:
        endpoint.answer = answer
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(entry=case.entry)],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": shipped,
                **endpoint.environment(),
                "HEADGATE_APP": "app:app",
                "HEADGATE_CHANNEL": case.channel,
                "HEADGATE_TABLE": "a-table",
                "HEADGATE_BODIES": "a-bucket",
                "HEADGATE_QUEUE": f"{endpoint.url}/1/queue",
                "HEADGATE_ARCHIVE": "a-bucket",
                "HEADGATE_STREAM": "a-stream",
                "HEADGATE_CONSUMER": "handle",
                "HEADGATE_TASK": "settle" if case.entry == "task" else "",
                "HEADGATE_WORKFLOWS": '{"settling": "arn:aws:states:eu-west-1:1:stateMachine:x"}',
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            },
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    _, modules = json.loads((folder / "loaded").read_text())
    return set(modules)


def answer(asked: dict[str, Any]) -> tuple[int, Any]:
    """As DynamoDB and SQS would, where there is nothing but one row."""
    match asked:
        case {"UpdateExpression": _}:
            return 200, {"Attributes": {**ROW, "status": {"S": "processing"}}}
        case {"KeyConditionExpression": _}:
            return 200, {"Items": [], "Count": 0}
        case {"AttributeNames": _}:
            return 200, {"Attributes": {"ApproximateNumberOfMessages": "0"}}
        case {"Entries": entries}:
            return 200, {"Successful": [{"Id": entry["Id"]} for entry in entries]}
    return 200, {}
