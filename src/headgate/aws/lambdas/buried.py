"""Marks the rows of what SQS or Lambda gave up. Called by a dead letter queue.

It calls dynamodb:UpdateItem, and s3:GetObject for large bodies. Where messages are let in unread also dynamodb:PutItem,
and s3:PutObject for large bodies. For a stream it calls kinesis:GetShardIterator, kinesis:GetRecords, dynamodb:PutItem,
and s3:PutObject.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from headgate.aws.buried import Buried
from headgate.aws.rooms import Rooms
from headgate.clock import SystemClock


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Called by Lambda."""
    return _buried().bury(event, context.get_remaining_time_in_millis() / 1000)


@cache
def _buried() -> Buried:
    rooms = Rooms(os.environ, SystemClock()).opened("queue", "work")
    return Buried(rooms)


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _buried()  # before the first call, while Lambda gives a whole processor
