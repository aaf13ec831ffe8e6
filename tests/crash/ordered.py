"""The app whose lines are to stay in order, whatever fails."""

from __future__ import annotations

import os

from pydantic import BaseModel

from headgate import App, Message, Permanent, Public, Queued, RetryPolicy


class Step(BaseModel):
    id: str
    line: str
    number: int


app = App("ordered")


@app.channel(
    "/steps", Step, key="id", many=True, auth=Public(), concurrency=4,
    # So many attempts, since a kill takes one of what is in work.
    delivery=Queued(attempts=100, backoff=RetryPolicy(first_s=0.01, most_s=0.05), order_by="line"),
)  # fmt: skip
def take(step: Step, message: Message) -> None:
    if step.number % 50 == 0:
        raise Permanent("poison")
    if step.number % 20 == 0 and message.attempt == 1:
        raise OSError("the first attempt fails")
    with open(os.environ["EFFECTS"], "ab", buffering=0) as effects:  # noqa: PTH123 - one write, which no kill cuts
        effects.write(f"{step.line} {step.number}\n".encode())
