"""The app that is killed while it works messages off: what its handlers do is written down."""

from __future__ import annotations

import os

from pydantic import BaseModel

from headgate import App, Message, Permanent, Public, Queued, RetryPolicy


class Job(BaseModel):
    id: str
    line: str
    number: int


app = App("handled")
QUICK = RetryPolicy(first_s=0.01, most_s=0.05)
# So many, since a kill takes an attempt of what is in work.
MANY = 100


@app.channel(
    "/jobs", Job, key="id", many=True, auth=Public(), read=True, delivery=Queued(attempts=MANY, backoff=QUICK),
    concurrency=2,
)  # fmt: skip
def work(job: Job, message: Message) -> None:
    if job.number % 50 == 0:
        raise Permanent("poison")
    if job.number % 10 == 0 and message.attempt == 1:
        raise OSError("the first attempt fails")
    note(f"{job.id} {message.attempt}\n")


@app.channel(
    "/lines", Job, key="id", many=True, auth=Public(), read=True,
    delivery=Queued(attempts=MANY, backoff=QUICK, order_by="line"), concurrency=2,
)  # fmt: skip
def in_line(job: Job, message: Message) -> None:
    if job.number % 20 == 0 and message.attempt == 1:
        raise OSError("the first attempt fails")
    note(f"{job.line} {job.number}\n")


def note(line: str) -> None:
    with open(os.environ["EFFECTS"], "ab", buffering=0) as effects:  # noqa: PTH123 - one write, which no kill cuts
        effects.write(line.encode())
