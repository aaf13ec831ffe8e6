"""Takes in what is posted to one channel.

It calls dynamodb:PutItem, s3:PutObject for large bodies, and secretsmanager:GetSecretValue for a Signed channel. For a
Stream it calls kinesis:PutRecords instead; for one that dedupes as well, and dynamodb:UpdateItem.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from headgate.aws.serving import Serving
from headgate.clock import SystemClock


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Called by Lambda."""
    return _serving().answer(event, context.get_remaining_time_in_millis() / 1000)


@cache
def _serving() -> Serving:
    return Serving(os.environ, SystemClock())


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _serving()  # before the first call, while Lambda gives a whole processor
