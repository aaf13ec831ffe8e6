"""Tells API Gateway who may come in to the channels that declare one and the same auth.

It calls dynamodb:GetItem on the table of API keys for `ApiKey`, and secretsmanager:GetSecretValue for a Secret.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from headgate.aws.admission import Admission
from headgate.clock import SystemClock


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Called by Lambda."""
    return _admission().decide(event, context.get_remaining_time_in_millis() / 1000)


@cache
def _admission() -> Admission:
    return Admission(os.environ, SystemClock())


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _admission()  # before the first call, while Lambda gives a whole processor
