"""Reads back what was posted to one channel.

It calls dynamodb:GetItem; for lists dynamodb:Query on the declared indexes and dynamodb:BatchGetItem on the table; and
s3:GetObject for large bodies. For a Signed channel also secretsmanager:GetSecretValue.
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
    return Serving(os.environ, SystemClock(), only_reads=True)


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _serving()  # before the first call, while Lambda gives a whole processor
