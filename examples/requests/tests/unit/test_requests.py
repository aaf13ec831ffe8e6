"""`requests`: any JSON, signed; an object, a row and an Express execution for each."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from headgate.testing.inprocess import AppUnderTest


def test_a_request_is_kept_started_and_answered_as_published(headgate_app: AppUnderTest) -> None:
    reply = headgate_app.send("/", body='{"amount": 2.10}')

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    told = reply.json()
    assert list(told) == ["message", "request_id", "execution_arn"]
    assert told["message"] == "Request processed successfully"
    assert UUID(told["request_id"])
    assert headgate_app.archived("requests", f"requests/{told['request_id']}.json") == b'{"amount": 2.10}'
    (run,) = headgate_app.runs("statemachine")
    assert run.id == told["execution_arn"]
    assert run.name == f"execution-{told['request_id']}"


def test_the_execution_is_handed_the_request_and_its_end_is_written_back(headgate_app: AppUnderTest) -> None:
    id_ = headgate_app.send("/", {"amount": 2}).json()["request_id"]
    headgate_app.drain()

    (run,) = headgate_app.runs("statemachine")
    assert json.loads(run.input) == {"request_id": id_, "payload": {"amount": 2}}
    assert (run.status, json.loads(run.output or "")) == ("SUCCEEDED", {"status": "processed"})
    assert headgate_app.send(f"/{id_}", method="GET").json()["status"] == "processed"


def test_an_idempotency_key_is_the_request_id_and_the_same_again_starts_nothing(headgate_app: AppUnderTest) -> None:
    key = {"Idempotency-Key": "R-1"}
    first, second = (headgate_app.send("/", {"amount": 2}, headers=key) for _ in range(2))
    other = headgate_app.send("/", {"amount": 3}, headers=key)

    assert first.json()["request_id"] == "R-1"
    assert (second.status, second.body) == (200, first.body)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (other.status, list(other.json())) == (409, ["error", "message"])
    assert len(headgate_app.runs("statemachine")) == 1


@pytest.mark.parametrize("body", ["{}", "[]", "null", "7", '"text"', '{"a": [1, {"b": 20000000000000000001}]}'])
def test_any_json_comes_back_as_it_went_in(headgate_app: AppUnderTest, body: str) -> None:
    id_ = headgate_app.send("/", body=body).json()["request_id"]

    assert headgate_app.archived("requests", f"requests/{id_}.json") == body.encode()
    assert headgate_app.runs("statemachine")[0].input == f'{{"request_id":"{id_}","payload":{body}}}'


def test_what_is_no_json_is_400_and_leaves_nothing(headgate_app: AppUnderTest) -> None:
    reply = headgate_app.send("/", body='{"amount": ')

    assert (reply.status, list(reply.json())) == (400, ["error", "message"])
    assert headgate_app.messages("requests") == []
    assert headgate_app.runs("statemachine") == []


def test_nobody_posts_or_reads_unsigned(headgate_app: AppUnderTest) -> None:
    id_ = headgate_app.send("/", {}).json()["request_id"]

    assert headgate_app.send("/", {}, auth=False).status == 403
    assert headgate_app.send("/", {}, token="not.a.signature").status == 403
    assert headgate_app.send(f"/{id_}", method="GET", auth=False).status == 403


def test_nobody_reads_what_another_one_sent(headgate_app: AppUnderTest) -> None:
    id_ = headgate_app.send("/", {}, as_="alice").json()["request_id"]

    assert headgate_app.send(f"/{id_}", method="GET", as_="alice").status == 200
    assert headgate_app.send(f"/{id_}", method="GET", as_="bob").status == 404


def test_web_pages_may_sign_and_post(headgate_app: AppUnderTest) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    reply = headgate_app.send("/", method="OPTIONS", headers=asked, auth=False)

    assert reply.status == 204
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "X-Amz-Date" in reply.headers["Access-Control-Allow-Headers"]


def test_the_workflow_passes_within_five_minutes(headgate_app: AppUnderTest) -> None:
    (workflow,) = headgate_app.app.workflows

    assert workflow.express
    assert workflow.document["TimeoutSeconds"] == 300
    assert [state["Type"] for state in workflow.document["States"].values()] == ["Pass"]
