"""The app with messages that take the whole server down with them, each time that they are handled."""

from __future__ import annotations

import os
import signal
from typing import Any

from headgate import App, Message, Public, Queued, RetryPolicy, Stream

app = App("poisoned")
QUICK = RetryPolicy(first_s=0.01, most_s=0.01)
ATTEMPTS = 3


@app.channel("/jobs", key="id", many=True, auth=Public(), delivery=Queued(attempts=ATTEMPTS, backoff=QUICK))
def work(job: dict[str, Any], message: Message) -> None:
    handle("jobs", job, message)


events = app.channel(
    "/events", key="id", many=True, auth=Public(), batch=8, delivery=Stream(attempts=ATTEMPTS, backoff=QUICK)
)
singles = app.channel(
    "/singles", key="id", many=True, auth=Public(), batch=1, delivery=Stream(attempts=ATTEMPTS, backoff=QUICK)
)


@events
def lists(some: list[dict[str, Any]], messages: list[Message]) -> None:
    for event, message in zip(some, messages, strict=True):
        handle("events", event, message)


@singles
def one(event: dict[str, Any], message: Message) -> None:
    handle("singles", event, message)


def handle(channel: str, content: dict[str, Any], message: Message) -> None:
    with open(os.environ["EFFECTS"], "ab", buffering=0) as effects:  # noqa: PTH123 - one write, which no kill cuts
        effects.write(f"{channel} {message.id} {message.attempt}\n".encode())
    if content["poison"]:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
