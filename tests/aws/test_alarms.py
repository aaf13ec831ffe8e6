"""Alarms of a deployed app: each goes off, is told to whoever subscribed to the topic, and is over.

Minutes pass when a test says so: alarms have a time of their own in the emulator. What takes minutes to come about, the
age of a message and the lag of a consumer, is put into CloudWatch by hand, as the metric of the very queue and function
that the alarm looks at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import pytest

from headgate.cdk.outputs import pascal, workflow_arn
from headgate.testing.flow_scenarios import parcel
from headgate.testing.jobs import ATTEMPTS
from headgate.testing.scenarios import Site
from headgate.testing.work_scenarios import job, moments, settled
from tests.aws.desk import Desk
from tests.aws.emulator.deployment import Deployed

_PATIENCE_S = 300
DEAD = "/jobs has dead letters."
OLD = "A message of /jobs has been waiting for 5 minutes or more."
FAILED = "5 attempts or more at /jobs failed within 5 minutes."
ERRORS = "5% or more of the requests to /ordered failed within 5 minutes."
REJECTED = "10% or more of what /unread let in within 5 minutes is bad."
BEHIND = "Consumer consumed of /events is 5 minutes or more behind."
UNLUCKY = "/parcels has dead letters."
BROKEN = "An execution of the workflow doomed failed within 5 minutes."


class Heard:
    """What a subscriber to the topic of a deployed app is told."""

    def __init__(self, app: Deployed) -> None:
        self._sqs, sns = app.emulator.client("sqs"), app.emulator.client("sns")
        self._alarms = app.emulator.client("cloudwatch")
        self._url = self._sqs.create_queue(QueueName=f"subscriber-{uuid4().hex}")["QueueUrl"]
        asked = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        topic, queue = app.outputs["PeopleTopicArn"], asked["Attributes"]["QueueArn"]
        self._topic = topic
        may = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {**may, "Resource": queue, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}
        attributes = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [policy]})}
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes=attributes)
        self._sns = sns
        self.minutes = app.emulator.minutes(topic)
        self._subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, ReturnSubscriptionArn=True)[
            "SubscriptionArn"
        ]
        self.notices: list[tuple[str, str]] = []

    def close(self) -> None:
        self._sns.unsubscribe(SubscriptionArn=self._subscription)
        self._sqs.delete_queue(QueueUrl=self._url)

    def listen(self) -> list[tuple[str, str]]:
        """What has been told so far: sentences and states."""
        for letter in self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages", ()):
            told = json.loads(json.loads(letter["Body"])["Message"])
            self.notices.append((told["AlarmDescription"], told["NewStateValue"]))
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=letter["ReceiptHandle"])
        return self.notices

    def forget(self) -> None:
        """What was told until now is nobody's affair any more."""
        told = -1
        while told < len(self.notices):
            told = len(self.notices)
            self.listen()
        self.notices.clear()

    def hears(self, *sentences: str, state: str, meanwhile: Callable[[], object] = int) -> None:
        """Wait until of each of these alarms that state was told; something goes on meanwhile."""
        until_s = time.monotonic() + _PATIENCE_S
        while left := {(sentence, state) for sentence in sentences} - set(self.listen()):
            assert time.monotonic() < until_s, f"{left} was not told, but {self.notices}"
            meanwhile()
            time.sleep(0.2)

    def hears_no_more(self, *sentences: str, minutes: int) -> None:
        """Wait until it was told that these alarms are over, and they are; so many minutes pass each time between."""
        self.hears(*sentences, state="OK", meanwhile=partial(self.wait, minutes))
        self.come_to_rest(*sentences)

    def wait(self, minutes: int) -> None:
        """Let minutes pass, and all alarms look at what there is then."""
        self.minutes.go_by(minutes, _PATIENCE_S)

    def come_to_rest(self, *sentences: str) -> None:
        """Let minutes pass until none of these alarms is off."""
        until_s = time.monotonic() + _PATIENCE_S
        while self.states(*sentences) != dict.fromkeys(sentences, "OK"):
            assert time.monotonic() < until_s, self.states(*sentences)
            self.wait(5)

    def states(self, *sentences: str) -> dict[str, str]:
        """How the app's alarms are now; another one may have some that say the same."""
        pages = self._alarms.get_paginator("describe_alarms").paginate()
        return {
            alarm["AlarmDescription"]: alarm["StateValue"]
            for page in pages
            for alarm in page["MetricAlarms"]
            if alarm["AlarmDescription"] in sentences and self._topic in alarm["AlarmActions"]
        }


@pytest.fixture
def app(deployed: Callable[[str], Deployed]) -> Deployed:
    return deployed("jobs")


@pytest.fixture
def site(app: Deployed) -> Site:
    return Site(app.url, {}, {"alice": ""})


@pytest.fixture
def desk(app: Deployed) -> Desk:
    return Desk(app.project, app.emulator)


@contextmanager
def subscribed(app: Deployed, channel: str, *sentences: str) -> Iterator[Heard]:
    """A subscriber, from a time on at which none of these alarms is off."""
    clear = ("dead", "discard", channel, "--all", "--reason", "of another test", "--yes", "--stage", "dev")
    Desk(app.project, app.emulator).type(*clear)
    subscriber = Heard(app)
    subscriber.minutes.take()
    try:
        subscriber.wait(60)  # for what other tests have left behind
        subscriber.come_to_rest(*sentences)
        subscriber.forget()
        yield subscriber
    finally:
        subscriber.minutes.leave()
        subscriber.close()


@pytest.fixture
def heard(app: Deployed) -> Iterator[Heard]:
    with subscribed(app, "jobs", DEAD, OLD, FAILED, ERRORS, REJECTED, BEHIND) as subscriber:
        yield subscriber


def swept(app: Deployed, channel: str) -> None:
    """Wait until no sweep is at work that began before what was just done, and sweep."""
    name, until_s = app.functions()[f"{pascal(channel)}Sweep"], time.monotonic() + _PATIENCE_S
    while name in app.emulator.at_work():
        assert time.monotonic() < until_s
        time.sleep(0.1)
    sweep(app, channel)


def sweep(app: Deployed, channel: str) -> None:
    """What happens each minute."""
    name = app.functions()[f"{pascal(channel)}Sweep"]
    told = app.emulator.client("lambda").invoke(FunctionName=name, Payload=b"{}")
    assert "FunctionError" not in told, told["Payload"].read()


def tell(app: Deployed, namespace: str, metric: str, value: float, **dimensions: str) -> None:
    """Put a value into CloudWatch."""
    named = [{"Name": name, "Value": of} for name, of in dimensions.items()]
    data = [{"MetricName": metric, "Value": value, "Dimensions": named}]
    app.emulator.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)


@pytest.mark.xdist_group("jobs")
def test_dead_letters_are_told_for_as_long_as_there_are_any_and_then_that_it_is_over(
    app: Deployed, site: Site, desk: Desk, heard: Heard
) -> None:
    poison, given_up = job(hopeless=True), job(hopeless=True)
    for one in (poison, given_up):
        site.post("jobs", one)
        assert settled(site, "jobs", one["id"])["status"] == "failed"
    heard.hears(DEAD, state="ALARM")

    for _ in range(11):  # more of its minutes than it looks at, in which nothing more fails
        sweep(app, "jobs")
        heard.wait(1)
    assert heard.states(DEAD) == {DEAD: "ALARM"}
    assert (DEAD, "OK") not in heard.listen()

    stage = ("--stage", "dev")
    mended = json.dumps({**poison, "hopeless": False})
    assert desk.type("dead", "edit", "jobs", str(poison["id"]), "--body", "-", *stage, typed=mended).code == 0
    assert desk.type("dead", "redrive", "jobs", str(poison["id"]), *stage).err == "1 redriven.\n"
    done = desk.type("dead", "discard", "jobs", str(given_up["id"]), "--reason", "a test order", "--yes", *stage)
    assert done.err == "1 discarded.\n"
    assert settled(site, "jobs", poison["id"])["status"] == "processed"
    happened = [what for what in moments(site, "jobs", poison["id"]) if what != "archived"]
    assert happened == ["accepted", "failed", "edited", "redriven", "processed"]
    swept(app, "jobs")
    heard.hears_no_more(DEAD, minutes=1)
    assert [state for sentence, state in heard.notices if sentence == DEAD] == ["ALARM", "OK"]


@pytest.mark.xdist_group("jobs")
def test_every_other_alarm_goes_off_and_is_over(app: Deployed, site: Site, heard: Heard) -> None:
    functions, stream = app.functions(), {"FunctionName": app.functions()["EventsConsumedConsumer"]}
    with ThreadPoolExecutor() as threads:  # more than it takes
        list(threads.map(lambda _: site.post("jobs", job(fails=ATTEMPTS - 1)), range(12)))
    for _ in range(2):
        site.post("unread", job(fails=-1))
    with app.emulator.fault(functions["OrderedIngest"], "refuse"):
        assert site.post("ordered", job(company="any")).status == 503
    tell(app, "AWS/SQS", "ApproximateAgeOfOldestMessage", 301, QueueName=app.outputs["JobsQueueName"])
    tell(app, "AWS/Lambda", "IteratorAge", 300_001, **stream)
    heard.hears(FAILED, ERRORS, REJECTED, OLD, BEHIND, state="ALARM")

    for company in ("a", "b", "c"):
        assert site.post("ordered", job(company=company)).status == 202
    every = (FAILED, ERRORS, REJECTED, OLD, BEHIND)
    heard.hears_no_more(*every, minutes=5)


@pytest.mark.xdist_group("deployed-flows")
def test_failures_of_workflows_are_told_and_that_they_are_over(deployed: Callable[[str], Deployed]) -> None:
    """One that a message started is a dead letter; of one that is for the clock to start no sender hears."""
    flows = deployed("flows")
    sent, machines = parcel(fails=True), flows.emulator.client("stepfunctions")
    with subscribed(flows, "parcels", UNLUCKY, BROKEN) as heard:
        site = Site(flows.url, {}, {"alice": ""})
        site.post("parcels", sent)
        assert settled(site, "parcels", sent["id"])["status"] == "failed"
        heard.hears(UNLUCKY, state="ALARM", meanwhile=lambda: sweep(flows, "parcels"))

        begun = partial(machines.start_execution, stateMachineArn=flows.outputs[workflow_arn("doomed")])
        heard.hears(BROKEN, state="ALARM", meanwhile=begun)

        desk = Desk(flows.project, flows.emulator)
        done = desk.type("dead", "discard", "parcels", "--all", "--reason", "a test parcel", "--yes", "--stage", "dev")
        assert done.err == "1 discarded.\n"
        swept(flows, "parcels")
        heard.hears_no_more(UNLUCKY, BROKEN, minutes=5)
