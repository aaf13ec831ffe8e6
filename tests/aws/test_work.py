"""Behind the gate of a deployed app: calls of the zips go wrong on the wire, and nothing is lost or done twice."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from headgate.aws.envelope import MARKED, Where
from headgate.aws.layout import line_of
from headgate.cdk.outputs import archive_name, channel_table
from headgate.testing.scenarios import Site, new_key
from headgate.testing.work_scenarios import job, moments, settled, spans
from tests.aws.emulator.deployment import Deployed
from tests.aws.emulator.wire import Kind

pytestmark = pytest.mark.xdist_group("jobs")

_PATIENCE_S = 300


@pytest.fixture
def app(deployed: Callable[[str], Deployed]) -> Deployed:
    return deployed("jobs")


@pytest.fixture
def site(app: Deployed) -> Site:
    return Site(app.url, {}, {"alice": ""})


def objects(app: Deployed, channel: str, company: str) -> list[str]:
    """The names of what is archived of one company."""
    bucket = app.outputs[archive_name(channel)]
    told = app.emulator.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{company}/")
    return [one["Key"] for one in told.get("Contents", ())]


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("channel", ["jobs", "unread"])
def test_whichever_answer_the_worker_does_not_hear_a_message_is_done_once(
    app: Deployed, site: Site, channel: str, step: int
) -> None:
    sent = job(company=new_key())
    worker = app.functions()[f"{channel.capitalize()}Worker"]
    with app.emulator.fault(worker, "cut", after=step, times=1):
        site.post(channel, sent)
        assert settled(site, channel, sent["id"])["status"] == "processed"
    assert moments(site, channel, sent["id"]).count("processed") == 1
    assert objects(app, channel, str(sent["company"])) == [f"{sent['company']}/{sent['id']}.json"]


@pytest.mark.parametrize("kind", ["refuse", "cut", "throttle", "fail"])
def test_a_queue_that_cannot_be_told_is_told_later(app: Deployed, site: Site, kind: Kind) -> None:
    sent = job(company=new_key())
    with app.emulator.fault(app.functions()["JobsForwarder"], kind, times=12):
        assert site.post("jobs", sent).status == 202
        assert settled(site, "jobs", sent["id"])["status"] == "processed"
    assert moments(site, "jobs", sent["id"]).count("processed") == 1
    assert objects(app, "jobs", str(sent["company"])) == [f"{sent['company']}/{sent['id']}.json"]


def test_a_message_that_came_through_too_early_is_done_after_the_one_before_it(app: Deployed, site: Site) -> None:
    sqs, company = app.emulator.client("sqs"), new_key()
    first, second = job(company=company, fails=1), job(company=company)
    with app.emulator.fault(app.functions()["OrderedForwarder"], "refuse", service="sqs"):
        for one in (first, second):
            assert site.post("ordered", one).status == 202
        row = app.emulator.client("dynamodb").get_item(
            TableName=app.outputs[channel_table("ordered")], Key={"id": {"S": str(second["id"])}}
        )["Item"]
        told = Where("", str(second["id"]), row["received_at"]["S"]).written()
        sqs.send_message(
            QueueUrl=app.outputs["OrderedQueueUrl"], MessageBody=told, MessageGroupId=line_of(company),
            MessageDeduplicationId=new_key(), MessageAttributes=MARKED,
        )  # fmt: skip
        assert settled(site, "ordered", second["id"])["status"] == "processed"
    assert settled(site, "ordered", first["id"])["status"] == "processed"
    assert max(end for _, end in spans(site, first["id"])) <= spans(site, second["id"])[0][1]
    assert moments(site, "ordered", first["id"]) == ["accepted", "retried", "processed"]


def test_an_event_that_its_consumer_cannot_take_is_a_row(app: Deployed, site: Site) -> None:
    good = site.post("events", job()).json()["id"]
    key = site.post("events", job(hopeless=True)).json()["id"]
    table = app.emulator.client("dynamodb")
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        rows = table.scan(TableName=app.outputs[channel_table("events")])["Items"]
        found = [row for row in rows if key in str(row)]
        if found or time.monotonic() > until_s:
            break
        time.sleep(0.1)
    assert [row["status"]["S"] for row in found] == ["failed"]
    assert found[0]["error"] == {"S": "hopeless"}
    assert not [row for row in rows if good in str(row)]
