"""Runs one task for the workflows that call it. What it raises is the error of the state, by the name of its class.

It calls secretsmanager:GetSecretValue for a task with secrets.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from headgate.aws.tasks import TaskRun
from headgate.clock import SystemClock


def handler(event: Any, context: Any) -> Any:
    """Called by Lambda."""
    return _task().run(event, context.get_remaining_time_in_millis() / 1000)


@cache
def _task() -> TaskRun:
    return TaskRun(os.environ, SystemClock())


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _task()  # before the first call, while Lambda gives a whole processor
