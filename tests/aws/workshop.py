"""The app of tests/aws/works, deployed: its functions are called by hand, and its rooms looked into and filled."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from headgate.aws.clients import Clients
from headgate.aws.envelope import MARKED
from headgate.aws.index import DynamoIndex
from headgate.aws.layout import DUE_AT, layout_of
from headgate.aws.pages import Table
from headgate.aws.queue import DynamoQueue
from headgate.aws.wire import Wire
from headgate.cdk import outputs
from headgate.clock import ManualClock, SystemClock
from headgate.declare.channel import Channel
from headgate.declare.load import load_app
from headgate.engine import Edited, Lease, Redriven, Settlement
from headgate.gate.finish import FOLLOWED_MS
from headgate.message import STARTED, Message, Moment
from headgate.testing.answer import Answer, Headers
from headgate.testing.contract.index import message
from tests.aws.behind import told_of
from tests.aws.emulator.deployment import Deployed

_TIMEOUT_S = 300
_PATIENCE_S = 300.0
_QUIET_S, _QUIET_LOOKS = 1.0, 20
"""Longer than it takes from where something is read to where a function is called with it; and how often is looked."""
LONG_AGO_S = 2 * 24 * 3600
"""Longer than the visibility timeout of any queue, and than any lease."""


class Works:
    """The app, deployed; its rooms are looked into, and filled, as the root user."""

    def __init__(self, deployed: Deployed) -> None:
        self.deployed = deployed
        self.functions = deployed.functions()
        self.app = load_app(str(deployed.project))
        client = deployed.emulator.client
        self.lambda_, self.sqs, self.s3 = client("lambda"), client("sqs"), client("s3")
        self.kinesis, self.machines, self.events = client("kinesis"), client("stepfunctions"), client("events")
        self.metrics, self.scheduler, self.logs = client("cloudwatch"), client("scheduler"), client("logs")
        self._clock = SystemClock()
        self._clients = Clients(self._clock, wire=Wire(deployed.emulator.env, self._clock))
        self._indexes: dict[tuple[str, int], DynamoIndex] = {}
        self._longest_s = 0.0
        self._soon_s: float | None = None

    # ------------------------------------------------------------------------------------------------- from outside

    def call(self, function: str, event: Any) -> Any:
        """What a function answers. AssertionError where it raises."""
        told = self.lambda_.invoke(FunctionName=self.functions[function], Payload=json.dumps(event))
        answer = json.loads(told["Payload"].read())
        assert "FunctionError" not in told, answer
        return answer

    def post(self, channel: str, body: bytes) -> Answer:
        """Post to the app's own address."""
        return self._ask("POST", f"/{channel}", body)

    def get(self, path: str) -> Answer:
        """Read from it."""
        return self._ask("GET", path, None)

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        place = urlsplit(self.deployed.url)
        connection = http.client.HTTPConnection(place.netloc, timeout=_TIMEOUT_S)
        try:
            connection.request(method, place.path + path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return Answer(reply.status, Headers(reply.getheaders()), reply.read())
        finally:
            connection.close()

    # ------------------------------------------------------------------------------------------------------- its rooms

    def channel(self, name: str) -> Channel:
        return next(channel for channel in self.app.channels if channel.name == name)

    def told(self, output: str) -> str:
        return self.deployed.outputs[output]

    def index(self, channel: str, ago_s: int = 0) -> DynamoIndex:
        """The channel's table, on a clock that is slow."""
        if (channel, ago_s) not in self._indexes:
            clock = ManualClock(self._clock.now_ms() - 1000 * ago_s) if ago_s else self._clock
            table = Table(self.told(outputs.channel_table(channel)), layout_of(self.channel(channel)))
            bodies = self.told(outputs.BODIES_BUCKET)
            self._indexes[channel, ago_s] = DynamoIndex([table], bodies, self._clients, clock)
        return self._indexes[channel, ago_s]

    def queue(self, channel: str) -> DynamoQueue:
        return DynamoQueue(self.index(channel), self._clients, self._clock)

    def close(self) -> None:
        for index in self._indexes.values():
            index.close()

    def accept(
        self, channel: str, body: bytes, *, ago_s: int = 0, order: str = "", fields: tuple[tuple[str, str], ...] = ()
    ) -> Message:
        """A row, accepted so long ago."""
        key = str(json.loads(body)["id"])
        made = message(key, body.decode(), channel=channel, fields=fields)._replace(
            status="accepted", request_id=uuid4().hex, order=order or self._order(channel, key)
        )
        (outcome,) = self.index(channel, ago_s).commit([made])
        assert outcome.kind == "stored"
        return made

    def _order(self, channel: str, key: str) -> str:
        queue = self.channel(channel).queue
        return "" if queue is not None and queue.order_by is None else key

    def row(self, channel: str, key: str, scope: str = "") -> Message | None:
        return self.index(channel).get(channel, scope, key)

    def status(self, channel: str, key: str, scope: str = "") -> str:
        """What has become of a message; empty where there is none."""
        row = self.row(channel, key, scope)
        return "" if row is None else row.status

    def put_back(self, channel: str, key: str, scope: str = "") -> None:
        """As `headgate dead redrive` does it."""
        assert self.queue(channel).alter(channel, scope, key, Redriven(Moment(self._clock.now_ms(), "redriven")))

    def edit(self, channel: str, key: str, body: bytes, scope: str = "") -> None:
        """As `headgate dead edit` does it."""
        assert self.queue(channel).alter(channel, scope, key, Edited(Moment(self._clock.now_ms(), "edited"), body))

    def end(self, channel: str, key: str, status: str) -> None:
        """Settle a message that is in work."""
        lease = self.queue(channel).leased(channel, "", key)
        assert lease is not None
        assert self.queue(channel).settle(lease, Settlement(status, (Moment(self._clock.now_ms(), status),)))

    def begin(self, channel: str, key: str) -> Lease:
        lease = self.queue(channel).begin(channel, "", key, 60_000)
        assert isinstance(lease, Lease)
        return lease

    def note_start(self, lease: Lease, execution: str) -> None:
        """Write down that a message started an execution."""
        began = Moment(self._clock.now_ms(), STARTED, detail=execution)
        settlement = Settlement("processing", (began,), delay_ms=FOLLOWED_MS)
        assert self.queue(lease.message.channel).settle(lease, settlement)

    def make_due(self, channel: str, key: str) -> None:
        """Move the time that a row waits for into the past."""
        index = self.index(channel)
        found = index.at(channel, "", key)
        assert found is not None
        self._clients.call(
            "dynamodb", "update_item", TableName=found[0].name, Key=found[1], UpdateExpression="SET #due = :due",
            ExpressionAttributeNames={"#due": DUE_AT},
            ExpressionAttributeValues={":due": {"N": str(self._clock.now_ms() - 1000 * LONG_AGO_S)}},
        )  # fmt: skip

    def object(self, archive: str, name: str) -> bytes | None:
        """What an archive holds under a name."""
        bucket = self.told(outputs.archive_name(archive))
        try:
            body: bytes = self.s3.get_object(Bucket=bucket, Key=name)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None
        return body

    def put_object(self, archive: str, name: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.told(outputs.archive_name(archive)), Key=name, Body=body)

    def remove_object(self, archive: str, name: str) -> None:
        self.s3.delete_object(Bucket=self.told(outputs.archive_name(archive)), Key=name)

    def send(self, channel: str, body: str) -> dict[str, Any]:
        """Put something into a queue and take it out again, as Lambda does: a record of an event."""
        self.put(self.told(outputs.queue_url(channel)), body)
        taken = self.receive(channel, body)
        assert taken is not None
        return {
            "messageId": taken["MessageId"], "receiptHandle": taken["ReceiptHandle"], "body": taken["Body"],
            "attributes": taken["Attributes"], "messageAttributes": told_of(taken["MessageAttributes"]),
        }  # fmt: skip

    def put(self, url: str, body: str) -> None:
        """Put something into a queue."""
        ordered = {"MessageGroupId": uuid4().hex, "MessageDeduplicationId": uuid4().hex} if url.endswith("fifo") else {}
        self.sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=MARKED, **ordered)

    def take_out(self, channel: str, record: dict[str, Any]) -> None:
        """What Lambda does with a message that is done."""
        self.sqs.delete_message(QueueUrl=self.told(outputs.queue_url(channel)), ReceiptHandle=record["receiptHandle"])

    def receive(self, channel: str, wanted: str) -> dict[str, Any] | None:
        """Take a message out of a queue, that with this in it. What else is there is thrown away."""
        url = self.told(outputs.queue_url(channel))
        while True:
            found = self.sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            for one in found:
                if wanted in one["Body"]:
                    return dict(one)
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
            if not found:
                return None

    def age(self, channel: str) -> None:
        """Have a message wait in a queue, and CloudWatch tell since when."""
        url = self.told(outputs.queue_url(channel))
        self.put(url, "old")
        queue = [{"Name": "QueueName", "Value": url.rpartition("/")[2]}]
        self.metrics.put_metric_data(
            Namespace="AWS/SQS",
            MetricData=[{"MetricName": "ApproximateAgeOfOldestMessage", "Value": 60.0, "Dimensions": queue}],
        )

    def started(self, workflow: str, name: str, text: str = "{}") -> str:
        """Start an execution, and wait until it is over."""
        machine = self.told(outputs.workflow_arn(workflow))
        id_ = self.machines.start_execution(stateMachineArn=machine, name=name, input=text)["executionArn"]
        self.over(id_)
        return str(id_)

    def schedules(self) -> list[dict[str, Any]]:
        """Those of EventBridge's Scheduler, as they were deployed."""
        names = [name.rpartition("/")[2] for _, name in self.deployed.resources("AWS::Scheduler::Schedule")]
        return [self.scheduler.get_schedule(Name=name) for name in names]

    def over(self, execution: str) -> str:
        """How an execution ended."""
        until_s = time.monotonic() + _PATIENCE_S
        while (status := self.machines.describe_execution(executionArn=execution)["status"]) == "RUNNING":
            assert time.monotonic() < until_s
            time.sleep(0.03)
        return str(status)

    def execution(self, workflow: str, name: str) -> str:
        """The id of an execution of a Standard workflow."""
        return f"{self.told(outputs.workflow_arn(workflow)).replace(':stateMachine:', ':execution:')}:{name}"

    # --------------------------------------------------------------------------------------------------- what drives it

    @cached_property
    def mappings(self) -> list[dict[str, str]]:
        """What feeds functions: UUID, EventSourceArn and FunctionArn of each mapping."""
        ids = [name for _, name in self.deployed.resources("AWS::Lambda::EventSourceMapping")]
        return [self.lambda_.get_event_source_mapping(UUID=id_) for id_ in ids]

    def rest(self) -> None:
        """From here on nothing is called by a mapping or a rule."""
        self._switch_mappings(on=False)
        for _, rule in self.deployed.resources("AWS::Events::Rule"):
            self.events.disable_rule(Name=rule.rpartition("|")[2])
        self.settle()

    def settle(self, *names: str) -> None:
        """Wait until none of these functions is at work; of all, if none is named."""
        own = {self.functions[name] for name in names or self.functions}
        until_s = time.monotonic() + _PATIENCE_S
        quiet = 0
        while quiet < _QUIET_LOOKS:
            assert time.monotonic() < until_s, "functions do not come to rest"
            time.sleep(_QUIET_S / _QUIET_LOOKS)
            self.events.list_rules(Limit=1)  # while the emulator stands still nothing is seen to be quiet
            quiet = 0 if own & self.deployed.emulator.at_work() else quiet + 1

    def learn(self) -> None:
        """From here on `comes_soon` waits some times as long as it has ever had to."""
        self._soon_s = _QUIET_S + 3 * self._longest_s

    def comes_soon(self, is_so: Callable[[], bool]) -> bool:
        """Whether something comes to be so that follows by itself from what was done."""
        began_s = time.monotonic()
        found = self.comes_to_be(is_so, _PATIENCE_S if self._soon_s is None else self._soon_s)
        if found:
            self._longest_s = max(self._longest_s, time.monotonic() - began_s)
        return found

    @contextmanager
    def fed(self) -> Iterator[None]:
        """For the length of a `with`, mappings call functions."""
        self._switch_mappings(on=True)
        try:
            yield
        finally:
            self._switch_mappings(on=False)

    def comes_to_be(self, is_so: Callable[[], bool], patience_s: float = _PATIENCE_S) -> bool:
        """Whether something is so before the time is up."""
        until_s = time.monotonic() + patience_s
        while not (found := is_so()) and time.monotonic() < until_s:
            time.sleep(0.1)
        return found

    def is_refused(self, role: str, action: str) -> bool:
        """Whether a service that acts with this role was ever refused an action."""
        return any(action == it for it, _ in self.deployed.emulator.refused(role))

    def calls(self, function: str) -> int:
        """How often a function has done its work."""
        return len(self.logs.filter_log_events(logGroupName=self._group(function), filterPattern="START")["events"])

    @cache  # noqa: B019 - one of these is made in a run
    def _group(self, function: str) -> str:
        return str(self.lambda_.get_function_configuration(FunctionName=function)["LoggingConfig"]["LogGroup"])

    def _switch_mappings(self, *, on: bool) -> None:
        for mapping in self.mappings:
            self.lambda_.update_event_source_mapping(UUID=mapping["UUID"], Enabled=on)
