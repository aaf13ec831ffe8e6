"""The app that is killed while consumers read its stream: what they do is written down."""

from __future__ import annotations

import os
from typing import Any

from headgate import App, Permanent, Public, RetryPolicy, Stream

app = App("consumed")
ATTEMPTS = 5
QUICK = RetryPolicy(first_s=0.01, most_s=0.05)

events = app.channel(
    "/events", key="id", many=True, auth=Public(), batch=10,
    delivery=Stream(shards=4, partition_key="line", attempts=ATTEMPTS, backoff=QUICK),
)  # fmt: skip


@events
def numbers(some: list[dict[str, Any]]) -> list[Any]:
    for event in some:
        if event["number"] % 50:
            note(f"{event['line']} {event['number']}\n")
    return [None if event["number"] % 50 else Permanent("poison") for event in some]


@events
def others(some: list[dict[str, Any]]) -> None:
    if any(event["number"] % 30 == 0 for event in some) and os.urandom(1)[0] < 128:
        raise OSError("now and then")
    for event in some:
        note(f"other-{event['line']} {event['number']}\n")


def note(line: str) -> None:
    with open(os.environ["EFFECTS"], "ab", buffering=0) as effects:  # noqa: PTH123 - one write, which no kill cuts
        effects.write(line.encode())
