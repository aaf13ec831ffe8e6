"""The published interface of `events`, reply by reply, and what its worker sees."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.testing.inprocess import AppUnderTest

SIX = (
    "session_started, session_completed, ib_call_logged, tutor_availability_updated, customer_health_update, "
    "supply_demand_update"
)
GOOD: dict[str, Any] = {"event_type": "session_started", "payload": {"session_id": "S-1042"}}


@pytest.mark.parametrize("event_type", SIX.split(", "))
def test_each_of_the_six_types_is_accepted_and_told_its_place(headgate_app: AppUnderTest, event_type: str) -> None:
    reply = headgate_app.send("/ingest", json={**GOOD, "event_type": event_type})

    assert (reply.status, reply.headers["content-type"]) == (202, "application/json")
    told = reply.json()
    assert list(told) == ["message", "eventType", "sequenceNumber", "shardId"]
    assert (told["message"], told["eventType"], told["sequenceNumber"]) == ("Event accepted", event_type, "1")
    assert told["shardId"] in ("shardId-000000000000", "shardId-000000000001")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "Request body is required"),
        ('{"event_type": ', "Invalid JSON in request body"),
        ("event_type=session_started", "Invalid JSON in request body"),
        ("{}", "event_type is required"),
        ('{"payload": {}}', "event_type is required"),
        ('{"event_type": "session_ended", "payload": {}}', f"Invalid event_type. Must be one of: {SIX}"),
        ('{"event_type": "session_ended"}', f"Invalid event_type. Must be one of: {SIX}"),
        *((f'{{"event_type": {value}, "payload": {{}}}}', "event_type is required") for value in ("null", '""')),
        *(
            (f'{{"event_type": {value}, "payload": {{}}}}', f"Invalid event_type. Must be one of: {SIX}")
            for value in ("7", "false", "[]", "{}", '" session_started"', '"Session_started"')
        ),
        ('{"event_type": "session_started"}', "payload is required"),
        ('{"event_type": "session_started", "payload": null}', "payload is required"),
        ('{"event_type": "session_started", "payload": ""}', "payload is required"),
        (" \n", "Request body is required"),
        *((body, "event_type is required") for body in ("[]", f"[{json.dumps(GOOD)}]", '"text"', "7", "null", "true")),
        ('{"event_type": "session_started", "payload": {}, "payload": {}}', "Invalid JSON in request body"),
        ('{"event_type": "session_started", "payload": {"n": NaN}}', "Invalid JSON in request body"),
        (f'{{"event_type": "session_started", "payload": {"[" * 70}{"]" * 70}}}', "Invalid JSON in request body"),
    ],
)
def test_what_is_refused_is_told_as_published(headgate_app: AppUnderTest, body: str, error: str) -> None:
    reply = headgate_app.send("/ingest", body=body)

    assert (reply.status, reply.headers["content-type"]) == (400, "application/json")
    assert reply.json() == {"error": error}


@pytest.mark.parametrize("payload", ["7", "true", '"text"', "[]"])
def test_what_the_published_interface_says_nothing_about_is_400_too(headgate_app: AppUnderTest, payload: str) -> None:
    reply = headgate_app.send("/ingest", body=f'{{"event_type": "session_started", "payload": {payload}}}')

    assert reply.status == 400
    assert "/payload: Input should be an object" in reply.json()["error"]


def test_an_empty_payload_is_a_payload(headgate_app: AppUnderTest) -> None:
    assert headgate_app.send("/ingest", json={**GOOD, "payload": {}}).status == 202


def test_events_are_spread_over_both_shards_whatever_their_type(headgate_app: AppUnderTest) -> None:
    shards = {headgate_app.send("/ingest", json=GOOD).json()["shardId"] for _ in range(40)}

    assert len(shards) == 2


def test_the_throttle_lets_a_burst_of_1000_through_and_then_500_a_second(headgate_app: AppUnderTest) -> None:
    statuses = [headgate_app.send("/ingest", json=GOOD).status for _ in range(1001)]
    assert statuses[:1000] == [202] * 1000
    refused = headgate_app.send("/ingest", json=GOOD)
    assert (statuses[1000], refused.status, list(refused.json())) == (429, 429, ["error"])
    headgate_app.clock.advance(1)
    assert [headgate_app.send("/ingest", json=GOOD).status for _ in range(501)] == [202] * 500 + [429]


def test_the_worker_sees_each_event_with_its_times(
    headgate_app: AppUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    headgate_app.send("/ingest", json=GOOD)
    headgate_app.send("/ingest", json={**GOOD, "timestamp": "2025-06-01T12:00:00Z", "ingested_at": "never"})
    headgate_app.clock.advance(60)
    headgate_app.drain()

    seen = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    received = "2026-01-01T00:00:00+00:00"
    assert sorted((event["timestamp"], event["ingested_at"]) for event in seen) == [
        ("2025-06-01T12:00:00Z", received),
        (received, received),
    ]
    assert {event["payload"]["session_id"] for event in seen} == {"S-1042"}


def test_made_up_events_are_of_all_six_types(headgate_app: AppUnderTest) -> None:
    from headgate.testing.synthetic import Synthetic

    (channel,) = headgate_app.app.channels
    made = Synthetic(channel, seed=7)
    good = [made.good() for _ in range(100)]
    assert {json.loads(body)["event_type"] for body in good} == set(SIX.split(", "))
    assert {headgate_app.send("/ingest", body=body).status for body in good} == {202}
    assert {headgate_app.send("/ingest", body=made.bad()).status for _ in range(50)} == {400}
