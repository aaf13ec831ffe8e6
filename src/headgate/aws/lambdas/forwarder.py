"""Puts what is new in one channel's table, and what was redriven, into its queue. Called by the table's stream.

It calls sqs:SendMessage.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from headgate.aws.forwarder import Forwarder
from headgate.aws.rooms import Rooms
from headgate.clock import SystemClock


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Called by Lambda."""
    return _forwarder().forward(event)


@cache
def _forwarder() -> Forwarder:
    rooms = Rooms(os.environ, SystemClock()).opened("postbox")
    return Forwarder(rooms.channel, rooms.postbox)


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _forwarder()  # before the first call, while Lambda gives a whole processor
