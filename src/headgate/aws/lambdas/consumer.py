"""Hands the records of one channel's stream to one of its handlers. Called by the stream, and by a schedule for dead
letters that were redriven.

It calls dynamodb:PutItem and s3:PutObject for dead letters, and dynamodb:Query on their index; for those redriven
dynamodb:Query on the index of what is due, dynamodb:UpdateItem, and s3:GetObject for large bodies.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from headgate.aws.consumer import Consumer
from headgate.aws.rooms import Rooms
from headgate.clock import SystemClock


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Called by Lambda."""
    return _consumer().consume(event, context.get_remaining_time_in_millis() / 1000)


@cache
def _consumer() -> Consumer:
    rooms = Rooms(os.environ, SystemClock()).opened("queue", "work")
    return Consumer(rooms)


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _consumer()  # before the first call, while Lambda gives a whole processor
