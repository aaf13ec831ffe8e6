"""The app that the scenarios of what is worked off are sent to: a queue behind the gate, one before it, and one that
keeps an order; a stream, and one that takes each message once.

headgate serve --app headgate.testing.jobs:app
"""

from __future__ import annotations

import time
from typing import Annotated

from pydantic import BaseModel, Field

from headgate.declare.app import App
from headgate.declare.auth import Public
from headgate.declare.delivery import Queued, RetryPolicy, Stream
from headgate.declare.stores import Archive
from headgate.declare.verdict import Permanent
from headgate.http import Receipt, Reply
from headgate.message import Message


class Job(BaseModel):
    """A message that says how its handling ends: the first `fails` attempts fail, all of them if it is `hopeless`. Each
    takes `takes_s`."""

    id: str
    company: str | None = None
    fails: Annotated[int, Field(ge=0)] = 0
    hopeless: bool = False
    takes_s: Annotated[float, Field(ge=0)] = 0


HIDDEN = "text of an exception"
"""What nobody outside may read."""

ATTEMPTS = 3
"""How often a job is tried."""


app = App("jobs")
app.topic("people")


def worked_off(job: Job, message: Message) -> None:
    """Does as the job says."""
    time.sleep(job.takes_s)
    if job.hopeless:
        raise Permanent("hopeless")
    if message.attempt <= job.fails:
        raise RuntimeError(HIDDEN)


_SOON = RetryPolicy(first_s=0.1, most_s=0.2)
for path, delivery in {
    "/jobs": Queued(attempts=ATTEMPTS, backoff=_SOON),
    "/unread": Queued(attempts=ATTEMPTS, backoff=_SOON, validate="worker"),
}.items():
    app.channel(
        path, Job, key="id", indexes=["company"], archive=Archive("{company}/{id}.json"), delivery=delivery,
        auth=Public(), read=True,
    )(worked_off)  # fmt: skip


app.channel(
    "/ordered", Job, key="id", delivery=Queued(attempts=ATTEMPTS, backoff=_SOON, order_by="company"),
    auth=Public(), read=True,
)(worked_off)  # fmt: skip


def appended(receipt: Receipt) -> Reply:
    """Where the record is."""
    return Reply(202, {"id": receipt.key, "shard": receipt.shard, "sequence": receipt.sequence})


@app.channel(
    "/events", Job, delivery=Stream(partition_key="id", attempts=ATTEMPTS, backoff=_SOON),
    auth=Public(), accepted=appended, batch=1,
)  # fmt: skip
def consumed(job: Job, message: Message) -> None:
    """Does as the job says."""
    worked_off(job, message)


@app.channel(
    "/once", Job, key="id", delivery=Stream(partition_key="id", dedupe=True, attempts=ATTEMPTS, backoff=_SOON),
    auth=Public(), read=True, accepted=appended, batch=1,
)  # fmt: skip
def once(job: Job, message: Message) -> None:
    """Does as the job says."""
    worked_off(job, message)
