"""POST /ingest: events of six types into a stream of two shards, and a worker that reads it; as it was published."""

import json
from collections import Counter
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from headgate import App, Message, Problem, Public, Receipt, Reply, Stream, Throttle

EventType = Literal[
    "session_started",
    "session_completed",
    "ib_call_logged",
    "tutor_availability_updated",
    "customer_health_update",
    "supply_demand_update",
]

PAYLOADS: list[dict[str, Any]] = [
    {"session_id": "S-1042", "tutor_id": "T-7", "customer_id": "C-311", "subject": "algebra"},
    {"session_id": "S-1042", "duration_minutes": 55, "rating": 4.5},
    {"call_id": "IB-9", "customer_id": "C-311", "reason": "reschedule", "duration_seconds": 240},
    {"tutor_id": "T-7", "available_hours": 12, "timezone": "Europe/Madrid"},
    {"customer_id": "C-311", "health_score": 0.82, "trend": "up"},
    {"subject": "algebra", "supply": 31, "demand": 44, "region": "eu"},
]


def _given(value: object) -> object:
    """What is null, or an empty text, was not sent, as far as the published interface goes."""
    if value is None or value == "":
        raise PydanticCustomError("missing", "Field required")
    return value


class Event(BaseModel):
    """What is posted. `ingested_at` is stamped on for the worker; `timestamp` is the same, if none was sent."""

    event_type: Annotated[EventType, BeforeValidator(_given)]
    payload: Annotated[dict[str, Any], BeforeValidator(_given)] = Field(examples=PAYLOADS)
    timestamp: str | None = Field(default=None, examples=["2026-11-21T09:00:00Z"])
    ingested_at: str | None = Field(default=None, examples=[None])

    @model_validator(mode="after")
    def has_a_time(self) -> Self:
        """Every event that the worker sees has one."""
        self.timestamp = self.timestamp or self.ingested_at
        return self


def accepted(receipt: Receipt) -> Reply:
    """The published success."""
    told = {
        "message": "Event accepted",
        "eventType": json.loads(receipt.body)["event_type"],
        "sequenceNumber": receipt.sequence,
        "shardId": receipt.shard,
    }
    return Reply(202, told)


def told(problem: Problem) -> Reply:
    """The published errors; everything else in headgate's words, in the same shape."""
    if problem.status == 500:
        return Reply(500, {"error": "Internal server error", "message": problem.message})
    if problem.status == 400:
        return Reply(400, {"error": _first(problem)})
    return Reply(problem.status, {"error": problem.message})


def _first(problem: Problem) -> str:
    """The first fault, in the published order."""
    if problem.reason == "empty_body":
        return "Request body is required"
    if problem.reason != "invalid":  # malformed, of two names alike, nested too deep, not UTF-8
        return "Invalid JSON in request body"
    kinds = {fault.pointer: fault.type for fault in problem.errors}
    if "" in kinds:  # JSON, but no object: there is no event_type in it
        return "event_type is required"
    for name in ("event_type", "payload"):
        if kinds.get(f"/{name}") == "missing":
            return f"{name} is required"
        if f"/{name}" in kinds and name == "event_type":
            return f"Invalid event_type. Must be one of: {', '.join(get_args(EventType))}"
    return problem.message


app = App("IOpsDashboard")
for name in ("dev", "prod"):  # each in an account or a region of its own, since names are fixed
    app.stage(
        name,
        memory_mb=256,
        timeout_s=30,
        names={"stream:ingest": "iops-dashboard-events", "api": "IOpsDashboard-IngestApi"},
        outputs={"EventStreamName": "IngestStreamName", "IngestApiUrl": "ApiUrl"},
        exports="IOpsDashboard-{output}",
    )

ingest = app.channel(
    "/ingest",
    Event,
    # By its id, and not by its type as published: six values would make hot shards.
    delivery=Stream(shards=2, retention=timedelta(hours=24)),
    auth=Public(),
    throttle=Throttle(500, 1000),
    stamp={"ingested_at": lambda message: message.received_at.isoformat()},
    accepted=accepted,
    problem=told,
    memory_mb=256,
    timeout_s=30,
)


@ingest
def worker(events: list[Event], messages: list[Message]) -> None:
    """Reads the stream, up to 100 events at a time."""
    for event, message in zip(events, messages, strict=True):
        print(json.dumps({"id": message.id, **event.model_dump()}))
    print("batch:", dict(Counter(event.event_type for event in events)))
