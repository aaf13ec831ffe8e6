"""Writes the ends of executions to the rows of the messages of one channel that started them. Called by EventBridge,
and by the state machine of an Express workflow.

It calls dynamodb:GetItem and dynamodb:UpdateItem; for a Standard workflow also dynamodb:Query on the index
`headgate.execution`.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from headgate.aws.ended import Ended
from headgate.aws.rooms import Rooms
from headgate.clock import SystemClock


def handler(event: dict[str, Any], context: Any) -> dict[str, bool]:
    """Called by Lambda."""
    return _ended().hear(event, context.get_remaining_time_in_millis() / 1000)


@cache
def _ended() -> Ended:
    return Ended(Rooms(os.environ, SystemClock()).opened("queue"))


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _ended()  # before the first call, while Lambda gives a whole processor
