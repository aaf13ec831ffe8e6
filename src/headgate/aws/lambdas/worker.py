"""Works off one channel's queue, with its handler. Called by the queue.

It calls dynamodb:UpdateItem, s3:GetObject for large bodies, s3:GetObject and s3:PutObject on the channel's archive, and
sqs:ChangeMessageVisibility; in outages sqs:SendMessage. Where messages are let in unread also dynamodb:PutItem,
s3:PutObject for large bodies, and sqs:SendMessage; where they keep an order dynamodb:Query on the
index of lines.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from headgate.aws.rooms import Rooms
from headgate.aws.worker import Worker
from headgate.clock import SystemClock


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Called by Lambda."""
    return _worker().work_off(event, context.get_remaining_time_in_millis() / 1000)


@cache
def _worker() -> Worker:
    rooms = Rooms(os.environ, SystemClock()).opened("queue", "work", "postbox")
    return Worker.of(rooms)


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _worker()  # before the first call, while Lambda gives a whole processor
