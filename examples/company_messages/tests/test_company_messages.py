"""The published interface of `company_messages`, and what becomes of a message behind the queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headgate.describe.alarms import alarms
from headgate.testing.inprocess import AppUnderTest

HERE = Path(__file__).parent.parent


def message(id_: str = "M-1", company: str = "C-7", **data: Any) -> dict[str, Any]:
    """A good one."""
    return {
        "metadata": {"message_time": "2026-11-21T09:00:00Z", "company_id": company, "message_id": id_},
        "data": {"order_id": "O-1", "order_time": "2026-11-21T08:59:30Z", "order_amount": 99.5, **data},
    }


def read(app: AppUnderTest, key: str) -> dict[str, Any]:
    """The message under a key."""
    found: dict[str, Any] = app.send(f"/messages/{key}", method="GET").json()
    return found


def test_whatever_comes_is_202_with_an_id(headgate_app: AppUnderTest) -> None:
    for body in (json.dumps(message()), "{}", "no json"):
        reply = headgate_app.send("/messages", body=body)
        assert (reply.status, list(reply.json())) == (202, ["id"])


def test_a_good_message_is_processed_and_kept_as_an_object_under_its_company(headgate_app: AppUnderTest) -> None:
    body = json.dumps(message()).encode()
    headgate_app.send("/messages", body=body)
    headgate_app.drain()

    assert headgate_app.archived("messages", "C-7/M-1.json") == body
    found = read(headgate_app, "M-1")
    assert (found["status"], found["body"], found["error"]) == ("processed", message(), None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (json.dumps(message(order_amount=-1)), "/data/order_amount: Input should be greater than or equal to 0"),
        (json.dumps({"data": message()["data"]}), "/metadata: Field required"),
        ("no json", "not valid JSON"),
    ],
)
def test_a_bad_message_is_rejected_with_the_error_under_the_id_that_its_sender_was_told(
    headgate_app: AppUnderTest, body: str, error: str
) -> None:
    id_ = headgate_app.send("/messages", body=body).json()["id"]
    headgate_app.drain()

    found = read(headgate_app, id_)
    assert found["status"] == "rejected"
    assert error in found["error"]


def test_a_corrected_message_is_taken_under_its_own_id(headgate_app: AppUnderTest) -> None:
    headgate_app.send("/messages", json=message(order_amount=-1))
    headgate_app.send("/messages", json=message(order_amount=1))
    headgate_app.drain()

    assert read(headgate_app, "M-1")["body"] == message(order_amount=1)


def test_a_company_is_read_in_pages_of_10(headgate_app: AppUnderTest) -> None:
    for n in range(25):
        headgate_app.send("/messages", json=message(f"M-{n}", "C-7" if n % 5 else "C-8"))
    headgate_app.drain()

    keys: list[list[str]] = []
    query = "/messages?company_id=C-7"
    cursor: str | None = ""
    while cursor is not None:
        page = headgate_app.send(f"{query}&cursor={cursor}" if cursor else query, method="GET").json()
        keys.append([item["key"] for item in page["items"]])
        cursor = page["cursor"]
    assert [len(page) for page in keys] == [10, 10]
    assert len({key for page in keys for key in page}) == 20


def test_what_cannot_be_kept_for_an_hour_is_tried_three_times_more_and_then_a_dead_letter(
    headgate_app: AppUnderTest, tmp_path: Path
) -> None:
    app = AppUnderTest(headgate_app.app, tmp_path / "full")
    (tmp_path / "full" / "archive" / "messages").mkdir(parents=True)
    (tmp_path / "full" / "archive" / "messages" / "C-13").write_text("where the folder of C-13 should be")
    app.send("/messages", json=message(company="C-13"))
    app.send("/messages", json=message("M-2"))
    app.drain()
    app.clock.advance(1_800)
    app.drain()
    assert read(app, "M-1")["status"] == "accepted"  # an outage uses up no attempts
    for _ in range(4):
        app.clock.advance(3_600)
        app.drain()
    found = read(app, "M-1")
    assert (found["status"], found["error"]) == ("failed", "The archive could not be written.")
    assert [one.attempts for one in app.messages("messages") if one.key == "M-1"] == [3]
    assert read(app, "M-2")["status"] == "processed"
    app.close()


def test_alarms_are_told_of_dead_letters_and_failed_attempts(headgate_app: AppUnderTest) -> None:
    names = [alarm.name for alarm in alarms(headgate_app.app)]
    assert {"messages-dead-letters", "messages-handler-errors", "messages-rejected"} <= set(names)
    assert [topic.name for topic in headgate_app.app.topics if topic.alarms] == ["alerts"]


def test_the_postman_collection_sends_what_is_taken(headgate_app: AppUnderTest) -> None:
    collection = json.loads((HERE / "postman_collection.json").read_text())
    assert [one["key"] for one in collection["variable"]] == ["backendURL"]
    for item in collection["item"]:
        request = item["request"]
        path = request["url"].removeprefix("{{backendURL}}")
        body = request.get("body", {}).get("raw")
        reply = headgate_app.send(path, body=body, method=request["method"])
        headgate_app.drain()
        assert reply.status in (200, 202)


def test_an_order_of_more_than_a_million_is_a_dead_letter_at_once(headgate_app: AppUnderTest) -> None:
    headgate_app.send("/messages", json=message(order_amount=1_000_001))
    headgate_app.drain()

    assert read(headgate_app, "M-1")["status"] == "failed"
