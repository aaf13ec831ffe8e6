"""examples/orders, deployed: its machine runs on its schedule, polls, settles each order, keeps what is accepted, and
tells a topic of what is rejected, which a queue hears."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from tests.aws.emulator import deployment
from tests.aws.emulator.deployment import Deployed
from tests.aws.emulator.process import ACCOUNT, REGION, Emulator
from tests.cases import ROOT
from tests.once import once

pytestmark = [pytest.mark.xdist_group("orders"), pytest.mark.slow]

_PATIENCE_S = 300
Found = TypeVar("Found")


@pytest.fixture(scope="module")
def orders(emulator: Emulator, bootstrapped: None, run_folder: Path) -> Deployed:
    """As stage `prod`: as `dev` its readme is tried."""
    folder = run_folder / "aws" / "orders"

    def make() -> dict[str, Any]:
        made = deployment.deploy(emulator, deployment.project_of(ROOT / "examples" / "orders", folder), stage="prod")
        return {"stacks": made.stacks, "outputs": made.outputs}

    found = once(run_folder / "aws", "orders-deployed", make)
    return Deployed(emulator, folder, tuple(found["stacks"]), found["outputs"])


@pytest.fixture(scope="module")
def heard(orders: Deployed) -> Iterator[list[str]]:
    """What a queue that has subscribed to the topic is told, as it comes."""
    queues, topic = orders.emulator.client("sqs"), orders.outputs["AlertsTopicArn"]
    url = queues.create_queue(QueueName=f"alerts-{uuid4().hex}")["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {
        "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
        "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    queues.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    orders.emulator.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    yield _Heard(queues, url)
    queues.delete_queue(QueueUrl=url)


class _Heard(list[str]):
    """All that has come so far."""

    def __init__(self, queues: Any, url: str) -> None:
        super().__init__()
        self._queues, self._url = queues, url

    def now(self) -> list[str]:
        while found := self._queues.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for one in found:
                self.append(json.loads(one["Body"])["Message"])
                self._queues.delete_message(QueueUrl=self._url, ReceiptHandle=one["ReceiptHandle"])
        return list(self)


def eventually(look: Callable[[], Found], good: Callable[[Found], object]) -> Found:
    until_s = time.monotonic() + _PATIENCE_S
    while not good(found := look()):
        assert time.monotonic() < until_s, found
        time.sleep(0.5)
    return found


def executions(orders: Deployed) -> list[dict[str, Any]]:
    steps = orders.emulator.client("stepfunctions")
    listed = steps.list_executions(stateMachineArn=orders.outputs["OrdersWorkflowArn"])["executions"]
    return [described(orders, one["executionArn"]) for one in listed]


def described(orders: Deployed, execution: str) -> dict[str, Any]:
    found: dict[str, Any] = orders.emulator.client("stepfunctions").describe_execution(executionArn=execution)
    return found


def ended(orders: Deployed, execution: str) -> dict[str, Any]:
    return eventually(lambda: described(orders, execution), lambda it: it["status"] != "RUNNING")


def test_the_machine_runs_when_the_rule_says_so_and_does_what_is_declared(orders: Deployed, heard: _Heard) -> None:
    events, name = orders.emulator.client("events"), orders.outputs["EveryFiveMinutesScheduleName"]
    assert events.describe_rule(Name=name)["ScheduleExpression"] == "rate(5 minutes)"
    events.put_rule(Name=name, ScheduleExpression="rate(1 minute)", State="ENABLED")  # nobody waits for five

    (run, *_) = eventually(lambda: executions(orders), lambda them: them and them[0]["status"] != "RUNNING")

    events.disable_rule(Name=name)
    assert run["status"] == "SUCCEEDED", (run.get("error"), run.get("cause"))
    assert kept(orders, f"{run['name']}-0.json") == {"id": f"{run['name']}-0", "status": "accepted", "power": 1}
    assert kept(orders, f"{run['name']}-1.json") is None
    told = f"Order status is rejected! It is {run['name']}-1."
    eventually(heard.now, lambda texts: told in texts)


def test_it_polls_until_there_are_results(orders: Deployed) -> None:
    steps, machine = orders.emulator.client("stepfunctions"), orders.outputs["OrdersWorkflowArn"]
    asked = 0
    for _ in range(30):  # by chance there are results at once, every second time
        run = steps.start_execution(stateMachineArn=machine)["executionArn"]
        end = ended(orders, run)
        assert end["status"] == "SUCCEEDED", (end.get("error"), end.get("cause"))
        entered = [
            event["stateEnteredEventDetails"]["name"]
            for event in steps.get_execution_history(executionArn=run)["events"]
            if "stateEnteredEventDetails" in event
        ]
        asked = entered.count("collect")
        if asked > 1:
            break
    assert asked > 1


def test_a_machine_is_as_declared(orders: Deployed) -> None:
    steps = orders.emulator.client("stepfunctions")
    told = steps.describe_state_machine(stateMachineArn=orders.outputs["OrdersWorkflowArn"])
    assert json.loads(told["definition"])["TimeoutSeconds"] == 300
    assert told["stateMachineArn"].startswith(f"arn:aws:states:{REGION}:{ACCOUNT}:")
    expiry = orders.emulator.client("dynamodb").describe_time_to_live(TableName=orders.outputs["OrdersTableName"])
    assert expiry["TimeToLiveDescription"]["AttributeName"] == "expires_at"


def kept(orders: Deployed, name: str) -> Any:
    """An object of the archive `order-results`; None where there is none."""
    objects = orders.emulator.client("s3")
    try:
        found = objects.get_object(Bucket=orders.outputs["OrderResultsArchiveName"], Key=name)
    except objects.exceptions.NoSuchKey:
        return None
    return json.loads(found["Body"].read())
