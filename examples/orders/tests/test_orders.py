"""`orders`: batches, with a token, for a day; and the workflow that collects and settles."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest

from headgate.testing.inprocess import AppUnderTest

ORDERS = [
    {"record_id": "A-1", "parameter_1": "oak", "parameter_2": 4},
    {"record_id": "A-2", "parameter_1": "ash", "parameter_2": 2.1},
]
DAY_S = 24 * 60 * 60
FIVE_MINUTES_S = 5 * 60
FOLDER = Path(__file__).parent.parent


def statuses(reply: Any) -> list[str]:
    """What became of each order."""
    return [item["status"] for item in reply.json()["items"]]


def test_the_published_request_is_201_with_a_verdict_for_each_order(headgate_app: AppUnderTest) -> None:
    reply = headgate_app.send("/orders", json=ORDERS)

    assert reply.status == 201
    assert reply.json() == {
        "items": [
            {"index": 0, "key": "A-1", "status": "stored", "errors": []},
            {"index": 1, "key": "A-2", "status": "stored", "errors": []},
        ]
    }


def test_good_orders_are_stored_beside_bad_ones(headgate_app: AppUnderTest) -> None:
    bad = {"record_id": "A-3", "parameter_1": "fir", "parameter_2": True}

    reply = headgate_app.send("/orders", json=[ORDERS[0], bad, ORDERS[1]])

    assert (reply.status, statuses(reply)) == (201, ["stored", "invalid", "stored"])
    assert [fault["pointer"] for fault in reply.json()["items"][1]["errors"]] == ["/1/parameter_2"]
    assert {message.key for message in headgate_app.messages("orders")} == {"A-1", "A-2"}


def test_a_batch_that_is_sent_again_is_replayed(headgate_app: AppUnderTest) -> None:
    headgate_app.send("/orders", json=ORDERS)

    again = headgate_app.send("/orders", json=ORDERS)

    assert (again.status, statuses(again)) == (201, ["replayed", "replayed"])
    assert len(headgate_app.messages("orders")) == 2


def test_another_order_under_a_taken_id_does_not_touch_the_first(headgate_app: AppUnderTest) -> None:
    headgate_app.send("/orders", json=ORDERS)

    reply = headgate_app.send("/orders", json=[{**ORDERS[0], "parameter_2": 400}])

    assert (reply.status, statuses(reply)) == (409, ["conflict"])
    assert headgate_app.send("/orders/A-1", method="GET").json()["body"] == ORDERS[0]


def test_numbers_come_back_as_they_were_written(headgate_app: AppUnderTest) -> None:
    order = '{"record_id": "A-4", "parameter_1": "yew", "parameter_2": 2.10}'
    headgate_app.send("/orders", body=f"[{order}]")

    assert order.encode() in headgate_app.send("/orders/A-4", method="GET").body


def test_nobody_posts_or_reads_without_a_token(headgate_app: AppUnderTest) -> None:
    headgate_app.send("/orders", json=ORDERS)

    for reply in (
        headgate_app.send("/orders", json=ORDERS, auth=False),
        headgate_app.send("/orders", json=ORDERS, token="not.a.token"),
        headgate_app.send("/orders/A-1", method="GET", auth=False),
    ):
        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", "[", '{"record_id": "A-1"}'])
def test_what_is_no_array_of_orders_is_400(headgate_app: AppUnderTest, body: str) -> None:
    assert headgate_app.send("/orders", body=body).status == 400
    assert headgate_app.messages("orders") == []


def test_an_order_is_gone_after_a_day_and_its_id_is_free(headgate_app: AppUnderTest) -> None:
    headgate_app.send("/orders", json=ORDERS)

    headgate_app.clock.advance(DAY_S - 1)
    assert headgate_app.send("/orders/A-1", method="GET").status == 200
    headgate_app.clock.advance(1)

    assert headgate_app.send("/orders/A-1", method="GET").status == 404
    assert statuses(headgate_app.send("/orders", json=[{**ORDERS[0], "parameter_2": 5}])) == ["stored"]


def run_once(headgate_app: AppUnderTest, luck: int) -> Any:
    """The execution that the schedule starts, after so many draws of luck, as it is four minutes later."""
    random.seed(luck)
    headgate_app.drain()
    headgate_app.clock.advance(FIVE_MINUTES_S)
    headgate_app.drain()
    for _ in range(120):
        headgate_app.clock.advance(2)
        headgate_app.drain()
    (run,) = headgate_app.runs("orders")
    return run


def test_every_five_minutes_accepted_orders_are_kept_and_rejected_ones_are_told(headgate_app: AppUnderTest) -> None:
    run = run_once(headgate_app, luck=1)

    assert run.status == "SUCCEEDED"
    kept = headgate_app.archived("order-results", f"{run.name}-0.json")
    assert json.loads(kept or b"") == {"id": f"{run.name}-0", "status": "accepted", "power": 1}
    assert headgate_app.archived("order-results", f"{run.name}-1.json") is None
    assert [notice.text for notice in headgate_app.notices("alerts")] == [
        f"Order status is rejected! It is {run.name}-1."
    ]


@pytest.mark.parametrize("luck", range(10))
def test_it_collects_until_there_are_results(headgate_app: AppUnderTest, luck: int) -> None:
    random.seed(luck)
    draws = [random.choice([True, False]) for _ in range(100)]  # noqa: S311

    run = run_once(headgate_app, luck)

    assert run.status == "SUCCEEDED"
    assert (run.stopped_ms - run.started_ms) / 1000 == pytest.approx(2 * draws.index(True), abs=1)


def test_a_task_that_takes_for_ever_does_not_hold_an_execution_for_more_than_five_minutes(
    headgate_app: AppUnderTest,
) -> None:
    (workflow,) = headgate_app.app.workflows

    assert workflow.document["TimeoutSeconds"] == FIVE_MINUTES_S


def test_a_token_of_the_tool_is_for_test_user_and_good_for_twelve_hours(tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("headgate"))
    tool = [command, "token", "orders", "--app", str(FOLDER), "--state", str(tmp_path)]
    secret = {**os.environ, "ORDERS_JWT_SECRET": "a secret of at least thirty-two characters"}
    made = subprocess.run(tool, env=secret, check=True, capture_output=True, text=True)  # noqa: S603 - our own command

    claims = jwt.decode(made.stdout.strip(), options={"verify_signature": False})

    assert claims["sub"] == "test-user"
    assert claims["exp"] - claims["iat"] == 12 * 60 * 60


@pytest.mark.parametrize("name", ["push", "pull-request"])
def test_github_tests_and_builds_and_never_deploys(name: str) -> None:
    told = (FOLDER / ".github" / "workflows" / f"{name}.yml").read_text()

    assert f"on: {name.replace('-', '_')}\n" in told
    assert "pytest" in told
    assert "headgate synth" in told
    assert "deploy" not in told
    assert "secrets." not in told
