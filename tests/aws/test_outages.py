"""Behind the gate of a deployed app: services are gone for longer than anybody asks again, and functions die for good.

What waits is done once when it is over, with its first attempt; what no function survives is a row that says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headgate.cdk.outputs import channel_table
from headgate.testing.jobs import ATTEMPTS
from headgate.testing.scenarios import Site, is_problem, is_replay, new_key
from headgate.testing.work_scenarios import job, moments, settled, told_of
from tests.aws.desk import Desk
from tests.aws.emulator.deployment import Deployed
from tests.aws.emulator.wire import Kind

pytestmark = pytest.mark.xdist_group("jobs")

_PATIENCE_S = 300
STAGE = ("--stage", "dev")


@pytest.fixture
def app(deployed: Callable[[str], Deployed]) -> Deployed:
    return deployed("jobs")


@pytest.fixture
def site(app: Deployed) -> Site:
    return Site(app.url, {}, {"alice": ""})


@pytest.fixture
def desk(app: Deployed) -> Desk:
    return Desk(app.project, app.emulator)


def until(look: Callable[[], Any], what: str) -> Any:
    """What `look` sees, as soon as it sees something."""
    until_s = time.monotonic() + _PATIENCE_S
    while not (seen := look()):
        assert time.monotonic() < until_s, f"waited in vain until {what}"
        time.sleep(0.1)
    return seen


@contextmanager
def queue_with(app: Deployed, url: str, **attributes: str) -> Iterator[None]:
    """For the length of a `with`, a queue has other attributes, so that nobody waits for minutes."""
    sqs = app.emulator.client("sqs")
    before = sqs.get_queue_attributes(QueueUrl=app.outputs[url], AttributeNames=[*attributes])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=app.outputs[url], Attributes=attributes)
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=app.outputs[url], Attributes=before)


@contextmanager
def dying(app: Deployed, name: str) -> Iterator[None]:
    """For the length of a `with`, a function dies whenever it is called, before any code of ours."""
    functions, function = app.emulator.client("lambda"), app.functions()[name]
    handler = functions.get_function_configuration(FunctionName=function)["Handler"]
    functions.update_function_configuration(FunctionName=function, Handler="gone.handler")
    try:
        yield
    finally:
        functions.update_function_configuration(FunctionName=function, Handler=handler)


# ------------------------------------------------------------------------------------------------------------ outages


def test_an_outage_of_the_table_that_sqs_would_not_outlast_uses_up_no_attempt(app: Deployed, site: Site) -> None:
    channel, worker, sent = "unread", app.functions()["UnreadWorker"], job(company=new_key())
    renewed = app.emulator.calls(worker).count(("sqs", "SendMessage"))
    with app.emulator.fault(worker, "refuse", service="dynamodb"):
        assert site.post(channel, sent).status == 202
        until(lambda: app.emulator.calls(worker).count(("sqs", "SendMessage")) > renewed, "it is put in anew")
    assert settled(site, channel, sent["id"])["status"] == "processed"
    assert moments(site, channel, sent["id"]).count("processed") == 1
    assert {item["attempt"] for item in told_of(site, channel, sent["id"])} <= {None, 0, 1}


def test_an_outage_of_the_archive_uses_up_no_attempt(app: Deployed, site: Site) -> None:
    worker, sent = app.functions()["JobsWorker"], job(company=new_key())
    with app.emulator.fault(worker, "fail", service="s3"):
        tried = app.emulator.calls(worker).count(("s3", "PutObject"))
        site.post("jobs", sent)
        more = 3 * (ATTEMPTS + 1)  # a call is made three times, and a message has so many attempts
        until(lambda: app.emulator.calls(worker).count(("s3", "PutObject")) >= tried + more, "it is tried again")
        assert site.read("jobs", f"/{sent['id']}").json()["status"] in ("accepted", "processing")
    assert settled(site, "jobs", sent["id"])["status"] == "processed"
    assert moments(site, "jobs", sent["id"]) == ["accepted", "archived", "processed"]


@pytest.mark.parametrize("kind", ["refuse", "throttle"])
def test_a_queue_that_the_worker_cannot_speak_to_brings_the_message_in_its_own_time(
    app: Deployed, site: Site, kind: Kind
) -> None:
    sent = job(company=new_key(), fails=1)
    patient = {"maxReceiveCount": 1000, "deadLetterTargetArn": app.outputs["JobsDeadLettersArn"]}
    with (  # while a function starts slowly SQS may well give it what is there several times
        queue_with(app, "JobsQueueUrl", VisibilityTimeout="2", RedrivePolicy=json.dumps(patient)),
        app.emulator.fault(app.functions()["JobsWorker"], kind, service="sqs"),
    ):
        site.post("jobs", sent)
        assert settled(site, "jobs", sent["id"])["status"] == "processed"
    assert moments(site, "jobs", sent["id"]).count("retried") == 1


# ------------------------------------------------------------------------------------------- what no function survives


def test_what_sqs_gave_up_is_a_dead_letter_with_its_reason_and_is_redriven(
    app: Deployed, site: Site, desk: Desk
) -> None:
    sent = {"jobs": job(company=new_key()), "unread": job(company=new_key())}
    with dying(app, "JobsWorker"), dying(app, "UnreadWorker"):
        for channel, one in sent.items():
            policy = {"maxReceiveCount": 1, "deadLetterTargetArn": app.outputs[f"{channel.capitalize()}DeadLettersArn"]}
            with queue_with(
                app, f"{channel.capitalize()}QueueUrl", VisibilityTimeout="1", RedrivePolicy=json.dumps(policy)
            ):
                assert site.post(channel, one).status == 202
                told = settled(site, channel, one["id"])
            assert (told["status"], told["body"]) == ("failed", one)
            assert told["error"].startswith("It was handed over again and again")
    for channel, one in sent.items():
        (group,) = [it for it in desk.told("dead", "list", channel, *STAGE)["groups"] if it["kind"] == "Buried"]
        assert group["count"] == 1
        assert desk.type("dead", "redrive", channel, str(one["id"]), *STAGE).err == "1 redriven.\n"
        assert settled(site, channel, one["id"])["status"] == "processed"
        assert moments(site, channel, one["id"]).count("processed") == 1


def test_records_at_which_a_consumer_dies_are_dead_letters_and_are_redriven(
    app: Deployed, site: Site, desk: Desk
) -> None:
    with dying(app, "EventsConsumedConsumer"):
        keys = [site.post("events", job()).json()["id"] for _ in range(2)]
        until(lambda: all(status(app, "events", key) == "failed" for key in keys), "they are dead letters")
    shown = desk.type("dead", "show", "events", keys[0], "--scope", "consumed", *STAGE)
    assert "It was handed over again and again" in shown.err
    assert desk.type("dead", "redrive", "events", "--kind", "Buried", "--yes", *STAGE).err == "2 redriven.\n"
    consumer = app.functions()["EventsConsumedConsumer"]
    app.emulator.client("lambda").invoke(FunctionName=consumer, Payload=b"{}")  # as happens each minute
    until(lambda: all(status(app, "events", key) == "processed" for key in keys), "they are worked off")
    later = site.post("events", job()).json()["id"]
    until(lambda: f'"{later}"' in desk.type("stream", "read", "events", "--json", *STAGE).out, "it is read")
    assert status(app, "events", later) is None


def status(app: Deployed, channel: str, key: str) -> str | None:
    """What a row says, if there is one."""
    table = app.emulator.client("dynamodb")
    pages = table.get_paginator("scan").paginate(TableName=app.outputs[channel_table(channel)])
    found = [row["status"]["S"] for page in pages for row in page["Items"] if row["id"]["S"] == key]
    return str(found[0]) if found else None


# ------------------------------------------------------------------------------------- between the claim and the record


@pytest.mark.parametrize(("kind", "records"), [("refuse", 1), ("cut", 2)])
def test_what_is_claimed_and_has_no_record_is_completed_by_the_senders_repetition(
    app: Deployed, site: Site, desk: Desk, kind: Kind, records: int
) -> None:
    sent = job()
    times = 3 if kind == "refuse" else 1
    with app.emulator.fault(app.functions()["OnceIngest"], kind, service="kinesis", times=times):
        answer = site.post("once", sent)
    if kind == "refuse":
        is_problem(answer, 503, "unavailable")
        assert status(app, "once", str(sent["id"])) == "accepted"
        answer = site.post("once", sent)
    assert answer.status == 202
    again = site.post("once", sent)
    assert (again.status, again.body, is_replay(again)) == (202, answer.body, True)
    is_problem(site.post("once", {**sent, "company": "another"}), 409, "conflict")
    lines = desk.type("stream", "read", "once", "--json", "--limit", "10000", *STAGE).out.splitlines()
    mine = [one for one in map(json.loads, lines) if one["id"] == sent["id"]]
    assert len(mine) == records  # of one whose answer was lost there are two, under one id
    assert {"id": sent["id"], "shard": mine[-1]["shard"], "sequence": mine[-1]["sequence"]} == answer.json()
