"""The app whose functions behind the gate, machines and schedules have their permissions taken away."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel

from headgate import App, Archive, Message, Permanent, Public, Queued, RetryPolicy, Secret, Start, Stream
from headgate import workflow as w

TOKEN = Secret("WORKS_TOKEN")
AT_ONCE = RetryPolicy(first_s=0, most_s=0)


class Job(BaseModel):
    """Says how its handling ends. With a long text its body is kept in the bucket."""

    id: str
    company: str = "none"
    fails: int = 0
    hopeless: bool = False
    text: str = ""


class NoToken(Exception):
    """The function was not given its secret."""


def done(job: Job, message: Message) -> None:
    """Does as the job says."""
    if job.hopeless:
        raise Permanent("hopeless")
    if message.attempt <= job.fails:
        raise RuntimeError("not yet")


app = App("works")
alerts = app.topic("alerts")


@app.channel(
    "/jobs", Job, key="id", indexes=["company"], auth=Public(), read=True, archive=Archive("{company}/{id}.json"),
    delivery=Queued(attempts=2, order_by="company", backoff=AT_ONCE), secrets=[TOKEN],
)  # fmt: skip
def worked(job: Job, message: Message) -> None:
    """Needs its secret, too."""
    if not os.environ.get(TOKEN.name):
        raise NoToken
    done(job, message)


app.channel(
    "/unread", Job, key="id", auth=Public(), archive=Archive("{company}/{id}.json"),
    delivery=Queued(attempts=2, validate="worker", backoff=AT_ONCE),
)(done)  # fmt: skip
app.channel("/bare", auth=Public(), body_limit_bytes=1_000, delivery=Queued(validate="worker"))
app.channel("/small", Job, key="id", auth=Public(), body_limit_bytes=1_000, delivery=Queued(backoff=AT_ONCE))(done)


@app.channel("/events", Job, auth=Public(), delivery=Stream(attempts=2, backoff=AT_ONCE), batch=1)
def consumed(job: Job, message: Message) -> None:
    """A consumer."""
    done(job, message)


@app.channel(
    "/visits", Job, key="id", auth=Public(), delivery=Stream(dedupe=True, attempts=2, backoff=AT_ONCE), batch=1
)
def greeted(job: Job, message: Message) -> None:
    """A consumer of what is appended once."""
    done(job, message)


app.channel("/kept", Job, key="id", auth=Public(), archive=Archive("{company}/{id}.json"))


@app.task(secrets=[TOKEN])
def settle(given: dict[str, Any]) -> dict[str, Any]:
    """Needs its secret."""
    if not os.environ.get(TOKEN.name):
        raise NoToken
    if given.get("fails"):
        raise RuntimeError
    return {"id": given["id"], "settled": True}


ledger = app.table("ledger", key="id")
settling = app.workflow(
    "settling",
    w.chain(
        w.task(settle),
        w.notify(alerts, "{$.id} is settled."),
        w.put(ledger, {"id": "$.id"}),
        w.update(ledger, {"id": "$.id"}, add={"times": 1}),
        w.get(ledger, {"id": "$.id"}, result="$.found"),
        w.send("unread", {"id": "$.id"}),
        w.save("results", "{$.id}.json"),
    ),
)
app.workflow("quick", w.give({"quick": True}), express=True)
app.schedule("hourly", "rate(1 hour)", "settling", input={"id": "hourly"})
app.schedule("mornings", "cron(0 8 * * ? *)", "settling", timezone="Europe/Berlin", input={"id": "mornings"})
app.channel("/orders", key="id", auth=Public(), workflow=settling)
app.channel(
    "/requests", key="id", auth=Public(), workflow=Start("quick", name="request-{id}", input={"body": "{body}"})
)
