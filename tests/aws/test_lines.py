"""Messages that wait for each other, and outages in which all wait: order and attempts are what was declared."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.engine import Redriven
from headgate.errors import Unavailable
from headgate.message import Moment
from tests.aws.behind import LAMBDA_S, Site, arrival, failed
from tests.aws.shop import Open, accepted, change, forwarded, made_module, made_sites, seen_app  # noqa: F401

pytestmark = pytest.mark.xdist_group("emulator")


# -------------------------------------------------------------------------------------------------------------- lines


def in_the_wrong_order(site: Site, *keys: str) -> dict[str, Any]:
    """What the worker is handed of one line when the stream of the table told of the last one first."""
    for key in keys:
        site.accept(key, order="one")
        site.clock.advance(1)
    assert forwarded(site, *(change(site.image(key), number=key) for key in reversed(keys))) == []
    return site.taken()


def test_a_line_keeps_the_order_in_which_it_was_stored_whatever_came_through_first(open_site: Open, app: Any) -> None:
    site = open_site("ordered", fifo=True)
    taken = in_the_wrong_order(site, "1", "2", "3")
    assert [json.loads(record["body"])["headgate_row"]["key"] for record in taken["Records"]] == ["3", "2", "1"]
    assert failed(site.worker().work_off(taken, LAMBDA_S)) == []
    assert app.seen == [("1", 1), ("2", 1), ("3", 1)]


def test_one_that_fails_and_came_through_late_holds_up_those_behind_it(open_site: Open, app: Any) -> None:
    site = open_site("ordered", fifo=True)
    app.to_do["1"] = "fail"
    taken = in_the_wrong_order(site, "1", "2")
    for _ in range(3):
        site.clock.advance(61)
        left = failed(site.worker().work_off(taken, LAMBDA_S))
    assert left == []
    assert app.seen == [("1", 1), ("1", 2), ("1", 3), ("2", 1)]
    assert (site.row("1").status, site.row("2").status) == ("failed", "processed")


def test_one_that_is_redriven_has_its_old_place_in_the_line(open_site: Open, app: Any) -> None:
    site = open_site("ordered", fifo=True)
    app.to_do["1"] = "permanent"
    site.worker().work_off(accepted(site, "1", order="one"), LAMBDA_S)
    site.sqs.purge_queue(QueueUrl=site.queue_url)
    site.clock.advance(1)
    later = accepted(site, "2", order="one")
    del app.to_do["1"]
    assert site.rooms.queue.alter("ordered", "", "1", Redriven(Moment(2, "redriven")))
    assert failed(site.worker().work_off(later, LAMBDA_S)) == []
    assert app.seen == [("1", 1), ("1", 1), ("2", 1)]


def test_a_line_is_not_held_up_by_another(open_site: Open, app: Any) -> None:
    site = open_site("ordered", fifo=True)
    app.to_do["1"] = "fail"
    site.accept("1", order="one")
    site.clock.advance(1)
    assert failed(site.worker().work_off(accepted(site, "2", order="two"), LAMBDA_S)) == []
    assert app.seen == [("2", 1)]


def test_a_long_line_is_worked_off_from_its_last_message(open_site: Open, app: Any) -> None:
    site = open_site("ordered", fifo=True)
    keys = [f"{n:02}" for n in range(45)]
    for key in keys:
        site.accept(key, order="one")
        site.clock.advance(1)
    assert failed(site.worker().work_off(accepted(site, "last", order="one"), LAMBDA_S)) == []
    assert [key for key, _ in app.seen] == [*keys, "last"]


# ------------------------------------------------------------------------------------------------------------ outages


@pytest.mark.parametrize("channel", ["plain", "ordered", "unread"])
def test_an_outage_uses_up_no_attempt_and_sqs_never_gives_up_because_of_it(
    open_site: Open, app: Any, channel: str
) -> None:
    site = open_site(channel, fifo=channel == "ordered")
    if channel == "unread":
        site.post(arrival("r-1", b'{"id":"1"}'))
        taken = site.taken()
    else:
        taken = accepted(site, "1", **({"order": "one"} if channel == "ordered" else {}))
    worker, (record,) = site.worker(), taken["Records"]
    site.faults.before = lambda at: down(site.faults.asked[at])
    for receives in range(1, 20):
        record["attributes"]["ApproximateReceiveCount"] = str(receives)
        if failed(worker.work_off(taken, LAMBDA_S)) == []:
            break
    assert receives == 5  # one before it would be given up
    site.faults.mend()
    site.sqs.delete_message(QueueUrl=site.queue_url, ReceiptHandle=record["receiptHandle"])
    renewed = site.taken()
    assert [one["attributes"]["ApproximateReceiveCount"] for one in renewed["Records"]] == ["1"]
    assert failed(worker.work_off(renewed, LAMBDA_S)) == []
    assert app.seen == [("1", 1)]
    assert (site.row("1").status, site.row("1").attempts) == ("processed", 1)


def down(asked: str) -> None:
    """An outage of DynamoDB."""
    if asked.startswith("dynamodb "):
        raise Unavailable


def test_an_archive_that_cannot_be_written_uses_up_no_attempt(open_site: Open, app: Any) -> None:
    site = open_site("kept")
    taken = accepted(site, "1")
    site.faults.before = lambda at: unwritable(site.faults.asked[at])
    for _ in range(9):
        assert failed(site.worker().work_off(taken, LAMBDA_S)) == [taken["Records"][0]["messageId"]]
        site.clock.advance(61)
    assert (site.row("1").status, site.row("1").attempts, app.seen) == ("accepted", 0, [])
    site.faults.mend()
    assert failed(site.worker().work_off(taken, LAMBDA_S)) == []
    assert (app.seen, site.row("1").status) == ([("1", 1)], "processed")


def unwritable(asked: str) -> None:
    """An outage of S3."""
    if asked.startswith("s3 "):
        raise Unavailable
