"""What queues, streams and the functions behind the gate are given: pure data, for the stacks and for the functions.

A message is tried as often as its row says; what SQS and Lambda count is a backstop, and never comes first.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from headgate import limits
from headgate.declare.channel import Channel
from headgate.declare.delivery import Queued, Stream

SLACK_S = 30
"""What a function has beside the time of its handler: to load, to read, to write down what came of it."""
STORING_S = 60
"""For functions that run no code of the user's."""
STORED_BATCH = 10
"""How many messages are worked off in one go where there is no handler."""
FORWARDED_BATCH = 100
"""How many changes of a table are forwarded in one go."""
SWEEP_MINUTES = 1
"""How often a sweep looks for what was left behind."""
LONGEST_DAYS = 14
"""How long queues and their dead letter queues keep what nobody takes: the most that SQS does."""
BURIED_S = 300
"""The visibility timeout of a dead letter queue."""

_LEAST_CONCURRENCY = 2
_HALVINGS = 10  # of the largest batch, until a record is alone

FORWARDED: tuple[dict[str, Any], ...] = (
    {"eventName": ["INSERT"], "dynamodb": {"NewImage": {"status": {"S": ["accepted"]}}}},
    {
        "eventName": ["MODIFY"],
        "dynamodb": {
            "NewImage": {"status": {"S": ["accepted"]}},
            # What is processed or discarded is so for good: a new message replaces it when it has expired.
            "OldImage": {"status": {"S": ["failed", "rejected", "processed", "discarded"]}},
        },
    },
)
"""Which changes of a table its forwarder is called for: filter patterns of the event source mapping. The table's
stream holds new and old images."""


class Working(NamedTuple):
    """A channel's queue and its worker. Times are seconds.

    - `batch`: of the event source mapping, which reports the failures of single items
    - `concurrency`: most functions at a time; SQS takes no less than two
    - `timeout_s`: of the function
    - `visibility_s`: of the queue
    - `receives`: after so many of a message, SQS puts it into the dead letter queue
    - `fifo`: messages with the same value of `order_by=` are handed over one after the other
    """

    batch: int
    concurrency: int
    timeout_s: int
    visibility_s: int
    receives: int
    fifo: bool


def working(channel: Channel, delivery: Queued) -> Working:
    """How a Queued channel is worked off."""
    batch = channel.needs.batch if channel.handler else STORED_BATCH
    timeout_s = _handling_s(channel)
    fifo = delivery.order_by is not None
    return Working(
        batch=batch,
        concurrency=max(_LEAST_CONCURRENCY, channel.needs.concurrency),
        timeout_s=timeout_s,
        visibility_s=6 * timeout_s,
        receives=max(delivery.attempts + 3, 5),
        fifo=fifo,
    )


class Consuming(NamedTuple):
    """The event source mapping of one consumer of a stream, which reports the failures of single items and bisects.

    - `timeout_s`: of the function
    - `retries`: of what the function did not get done with; the function counts its attempts, and gives up first
    - `most_age_s`: None for as long as records stay
    """

    batch: int
    timeout_s: int
    retries: int
    most_age_s: int | None


def consuming(channel: Channel, delivery: Stream) -> Consuming:
    """How each consumer of a Stream channel is handed its records."""
    age_s = None if delivery.most_age is None else round(delivery.most_age.total_seconds())
    return Consuming(channel.needs.batch, _handling_s(channel), delivery.attempts + _HALVINGS, age_s)


def _handling_s(channel: Channel) -> int:
    """Messages that failed before are each handled alone, so a batch may take as long as all of them."""
    if channel.handler is None:
        return STORING_S
    return min(limits.HANDLER_TIME.value, math.ceil(channel.needs.timeout_s * channel.needs.batch) + SLACK_S)
