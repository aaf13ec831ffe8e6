"""The functions behind the gate, called as Lambda calls them, over rooms of their own in the emulator."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from headgate.aws.buried import Buried
from headgate.aws.clients import Clients
from headgate.aws.consumer import Consumer
from headgate.aws.envelope import MARKED
from headgate.aws.forwarder import Forwarder
from headgate.aws.layout import layout_of
from headgate.aws.rooms import Rooms
from headgate.aws.serving import Serving
from headgate.aws.settings import Settings
from headgate.aws.sweep import Sweep
from headgate.aws.worker import Worker
from headgate.clock import ManualClock
from headgate.engine import Outcome
from headgate.errors import Unavailable
from headgate.message import Message
from headgate.testing.contract.index import message
from tests.aws.emulator.process import Emulator
from tests.aws.tables import make_bucket, make_queue, make_stream, make_table

LAMBDA_S = 60.0


class Faulty(Clients):
    """Every call is one step; at one of them something happens. `asked` are the steps, as `dynamodb update_item`."""

    def __init__(self, clients: Clients) -> None:
        self._through = clients
        self.asked: list[str] = []
        self.before: Callable[[int], None] = lambda _: None
        self.after: Callable[[int], None] = lambda _: None

    def within(self, seconds: float) -> None:
        """Time that a test moves by hand is no reason for a call not to be made."""

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        at = len(self.asked)
        self.asked.append(f"{service} {operation}")
        self.before(at)
        answer = self._through.call(service, operation, **parameters)
        self.after(at)
        return answer

    def fail_at(self, step: int, *, answered: bool) -> None:
        """That step fails: before anything has happened, or when its answer is lost. Only the one."""
        begun = len(self.asked)

        def fail(at: int) -> None:
            if at == begun + step:
                raise Unavailable

        self.before, self.after = (lambda _: None, fail) if answered else (fail, lambda _: None)

    def mend(self) -> None:
        self.before = self.after = lambda _: None


def written(folder: Path, app: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that holds an app, and can be imported where a function would run."""
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    module = f"behind_{uuid4().hex}"
    (folder / f"{module}.py").write_text(app)
    monkeypatch.syspath_prepend(str(folder))
    log = logging.getLogger("headgate")
    for attribute in ("handlers", "propagate", "level"):
        monkeypatch.setattr(log, attribute, getattr(log, attribute))
    return module


class Site:
    """One channel of an app, with a table, a bucket, a queue, an archive and a stream."""

    def __init__(
        self, emulator: Emulator, module: str, channel: str, *, fifo: bool = False, consumer: str = ""
    ) -> None:
        self.emulator = emulator
        self.sqs, self.dynamodb = emulator.client("sqs"), emulator.client("dynamodb")
        self.s3 = emulator.client("s3")
        # What was taken does not come back by itself before a test is over, however long it takes.
        self.queue_url = make_queue(self.sqs, VisibilityTimeout="3600", **({"FifoQueue": "true"} if fifo else {}))
        self.archive = make_bucket(self.s3)
        settings = Settings(f"{module}:app", "test", (channel,), queue=self.queue_url, archive=self.archive)
        self.clock = ManualClock()
        probe = Rooms({**emulator.env, **settings.written()}, self.clock)
        self.channel = probe.channel
        self.stream_name = make_stream(emulator.client("kinesis"), 1) if self.channel.stream else ""
        self.table = make_table(self.dynamodb, layout_of(self.channel))
        self.environment = {
            **emulator.env,
            **Settings(
                f"{module}:app", "test", (channel,), table=self.table.name, bodies=make_bucket(self.s3),
                queue=self.queue_url, archive=self.archive, stream=self.stream_name, consumer=consumer,
            ).written(),
        }  # fmt: skip
        self.rooms = Rooms(self.environment, self.clock)
        self.faults = Faulty(self.rooms.clients)
        self.rooms.clients = self.faults

    def close(self) -> None:
        if "index" in vars(self.rooms):
            self.rooms.index.close()

    # --------------------------------------------------------------------------------------------------- the functions

    def worker(self) -> Worker:
        return Worker.of(self.rooms)

    def forwarder(self) -> Forwarder:
        return Forwarder(self.channel, self.rooms.postbox)

    def sweep(self) -> int:
        return int(Sweep(self.rooms).sweep(LAMBDA_S)["swept"])

    def bury(self, *bodies: str) -> list[str]:
        return failed(Buried(self.rooms).bury(event(*bodies), LAMBDA_S))

    def consumer(self) -> Consumer:
        return Consumer(self.rooms)

    def serving(self) -> Serving:
        return Serving(self.environment, self.clock)

    # ---------------------------------------------------------------------------------------------------- what there is

    def accept(self, *keys: str, body: str = '{"n":1}', **more: Any) -> list[Outcome]:
        return self.rooms.index.commit(
            [message(key, body, channel=self.channel.name)._replace(status="accepted", **more) for key in keys]
        )

    def row(self, key: str, scope: str = "") -> Message:
        found = self.rooms.index.get(self.channel.name, scope, key)
        assert found is not None
        return found

    def image(self, key: str) -> dict[str, Any]:
        """A row as a stream tells it."""
        at = {self.table.layout.partition.name: {"S": key}}
        if self.table.layout.sort is not None:
            at[self.table.layout.sort.name] = {"S": "\0"}
        return plain(self.dynamodb.get_item(TableName=self.table.name, Key=at)["Item"])

    def taken(self) -> dict[str, Any]:
        """An event of what lies in the queue, as it is handed to the worker."""
        records: list[dict[str, Any]] = []
        while True:
            found = self.sqs.receive_message(
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", ())
            if not found:
                return {"Records": records}
            records += [
                {
                    "messageId": one["MessageId"],
                    "receiptHandle": one["ReceiptHandle"],
                    "body": one["Body"],
                    "attributes": one["Attributes"],
                    "messageAttributes": told_of(one.get("MessageAttributes", {})),
                }
                for one in found
            ]

    def post(self, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body, MessageAttributes=MARKED)

    def objects(self) -> dict[str, bytes]:
        found = self.s3.list_objects_v2(Bucket=self.archive).get("Contents", ())
        return {each["Key"]: self.s3.get_object(Bucket=self.archive, Key=each["Key"])["Body"].read() for each in found}


def arrival(id: str, body: bytes, principal: str = "") -> str:
    """What API Gateway puts into the queue."""
    return json.dumps(
        {
            "id": id, "received_ms": "1767225600000", "principal": base64.b64encode(principal.encode()).decode(),
            "traceparent": "", "body": base64.b64encode(body).decode(),
        }
    )  # fmt: skip


def told_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a message of SQS, as they stand in an event."""
    return {name: {part[0].lower() + part[1:]: text for part, text in it.items()} for name, it in attributes.items()}


def event(*bodies: str, receives: int = 1, ours: bool = True) -> dict[str, Any]:
    """An event of SQS whose messages nobody has to delete; headgate has written them, or a workflow has."""
    marks = told_of(MARKED) if ours else {}
    return {
        "Records": [
            {
                "messageId": f"m-{at}", "receiptHandle": uuid4().hex, "body": body,
                "attributes": {"ApproximateReceiveCount": str(receives)}, "messageAttributes": marks,
            }
            for at, body in enumerate(bodies)
        ]
    }  # fmt: skip


def failed(answer: dict[str, Any]) -> list[str]:
    """The ids that Lambda is told to bring again; what else an answer may hold is refused, as Lambda does."""
    assert list(answer) == ["batchItemFailures"]
    assert all(list(each) == ["itemIdentifier"] for each in answer["batchItemFailures"])
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Attributes as they stand in JSON."""
    return {
        name: {"B": base64.b64encode(value["B"]).decode()} if "B" in value else value for name, value in values.items()
    }
