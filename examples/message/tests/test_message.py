"""The published interface of `message`, reply by reply."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.testing.inprocess import AppUnderTest

GOOD = {
    "messageUUID": "0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b",
    "messageText": "The gate is open.",
    "messageDatetime": "2025-01-24 18:04:01",
}
NO_JSON = "Invalid input: Missing or invalid JSON body."
NO_OBJECT = "Invalid input: Must be a JSON object."
NO_UUID = "Invalid input: Missing 'messageUUID'."
NO_TEXT = "Invalid input: Missing 'messageText'."
NO_TIME = "Invalid input: Missing 'messageDatetime'."
BAD_TIME = "Invalid input: 'messageDatetime' must be in 'YYYY-MM-DD HH:MM:SS' format."
BAD_TEXT = "Invalid input: 'messageText' must be a string between 10 and 100 characters."
BAD_UUID = "Invalid input: 'messageUUID' must be a UUID."


def without(*names: str, **changed: Any) -> dict[str, Any]:
    """A good message, less some fields, with others changed."""
    return {name: value for name, value in {**GOOD, **changed}.items() if name not in names}


def test_a_good_message_is_stored_and_answered_as_published(headgate_app: AppUnderTest) -> None:
    reply = headgate_app.send("/message", json=GOOD)

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json() == {"message": "Message processed successfully."}
    assert [message.key for message in headgate_app.messages("message")] == [GOOD["messageUUID"]]


def test_a_twin_gets_the_same_answer_and_is_not_stored_again(headgate_app: AppUnderTest) -> None:
    first, second = (headgate_app.send("/message", json=GOOD) for _ in range(2))

    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(headgate_app.messages("message")) == 1


def test_another_message_under_the_same_uuid_is_409_and_the_first_one_stands(headgate_app: AppUnderTest) -> None:
    headgate_app.send("/message", json=GOOD)

    reply = headgate_app.send("/message", json=without(messageText="The gate is shut."))

    assert reply.status == 409
    assert list(reply.json()) == ["message"]
    assert headgate_app.send(f"/message/{GOOD['messageUUID']}", method="GET").json()["body"] == GOOD


@pytest.mark.parametrize("text", ["a" * 10, "ä" * 100, "\U0001f30a" * 10, "& + % \" \\ '", " " * 10])
def test_a_text_of_10_to_100_characters_comes_back_as_it_went_in(headgate_app: AppUnderTest, text: str) -> None:
    sent = without(messageText=text)

    assert headgate_app.send("/message", json=sent).status == 200
    assert headgate_app.send(f"/message/{GOOD['messageUUID']}", method="GET").json()["body"] == sent


@pytest.mark.parametrize("body", ["", " ", "{", "{'a': 1}", "NaN", '{"a": 1, "a": 1}', '"\\ud800"', b"\xff", "[" * 999])
def test_what_is_no_json_is_told_so(headgate_app: AppUnderTest, body: str | bytes) -> None:
    reply = headgate_app.send("/message", body=body)

    assert (reply.status, reply.json()["message"]) == (400, NO_JSON)


@pytest.mark.parametrize("body", ["null", "[]", '["a"]', '"text"', "7", "2.5", "true"])
def test_what_is_no_object_is_told_so(headgate_app: AppUnderTest, body: str) -> None:
    reply = headgate_app.send("/message", body=body)

    assert (reply.status, reply.json()["message"]) == (400, NO_OBJECT)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({}, NO_UUID),
        (without("messageUUID"), NO_UUID),
        (without("messageText"), NO_TEXT),
        (without("messageDatetime"), NO_TIME),
        (without("messageUUID", "messageText"), NO_UUID),
        (without("messageText", "messageDatetime"), NO_TEXT),
        (without("messageDatetime", messageText="short", messageUUID="1"), NO_TIME),
        (without(messageDatetime="2025-01-24T18:04:01"), BAD_TIME),
        (without(messageDatetime="2025-01-24 18:04:01Z"), BAD_TIME),
        (without(messageDatetime="2025-01-24 18:04"), BAD_TIME),
        (without(messageDatetime="2025-02-30 18:04:01"), BAD_TIME),
        (without(messageDatetime="2025-01-24 24:04:01"), BAD_TIME),
        (without(messageDatetime="2025-01-24 18:04:01\n"), BAD_TIME),
        (without(messageDatetime="٢٠٢٥-01-24 18:04:01"), BAD_TIME),
        (without(messageDatetime=20250124), BAD_TIME),
        (without(messageDatetime=None), BAD_TIME),
        (without(messageDatetime="now", messageText="short"), BAD_TIME),
        (without(messageText="a" * 9), BAD_TEXT),
        (without(messageText="a" * 101), BAD_TEXT),
        (without(messageText=1234567890), BAD_TEXT),
        (without(messageText=True), BAD_TEXT),
        (without(messageText=None), BAD_TEXT),
        (without(messageText=["a" * 10]), BAD_TEXT),
        (without(messageText="short", messageUUID="1"), BAD_TEXT),
        (without(messageUUID="1234"), BAD_UUID),
        (without(messageUUID=7), BAD_UUID),
        (without(messageUUID=None), BAD_UUID),
        (without(messageUUID=""), BAD_UUID),
    ],
)
def test_the_first_fault_in_the_published_order_is_told(
    headgate_app: AppUnderTest, message: dict[str, Any], told: str
) -> None:
    reply = headgate_app.send("/message", json=message)

    assert (reply.status, reply.json()["message"]) == (400, told)
    assert headgate_app.messages("message") == []


def test_all_faults_are_told_at_once_with_their_pointers(headgate_app: AppUnderTest) -> None:
    reply = headgate_app.send("/message", json={"messageText": "short", "messageDatetime": "now"})

    assert reply.json()["message"] == NO_UUID
    assert {fault["pointer"] for fault in reply.json()["errors"]} == {
        "/messageUUID", "/messageText", "/messageDatetime"
    }  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_told_in_the_same_shape(headgate_app: AppUnderTest, method: str) -> None:
    reply = headgate_app.send("/message", method=method)

    assert (reply.status, list(reply.json())) == (405, ["message"])


def test_a_message_that_is_not_there_is_404_in_the_same_shape(headgate_app: AppUnderTest) -> None:
    reply = headgate_app.send("/message/nobody", method="GET")

    assert (reply.status, list(reply.json())) == (404, ["message"])
