"""Runs one task for the workflows that call it; what it raises becomes the error of the state, by its class.

It calls secretsmanager:GetSecretValue for a task with secrets.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from functools import cache
from typing import Any

from headgate.aws.clients import Clients
from headgate.aws.deployed import app_of
from headgate.aws.keys import Secrets
from headgate.aws.settings import Settings
from headgate.aws.telemetry import log_as_json
from headgate.clock import SystemClock
from headgate.declare.task import Task
from headgate.errors import Misuse


def handler(event: Any, context: Any) -> Any:
    """Called by Lambda."""
    clients, secrets, task = _task()
    clients.within(context.get_remaining_time_in_millis() / 1000)
    os.environ.update(secrets.values())
    result = task.function(event)
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


@cache
def _task() -> tuple[Clients, Secrets, Task]:
    settings = Settings.read(os.environ)
    app = app_of(settings)
    log_as_json({"app": app.name, "stage": settings.stage})
    found = next((task for task in app.tasks if task.name == settings.task), None)
    if found is None:
        raise Misuse(f"The app has no task {settings.task}.")
    clock = SystemClock()
    clients = Clients(clock)
    return clients, Secrets(settings.secrets, clients, clock), found


async def _awaited(result: Any) -> Any:
    return await result


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _task()  # before the first call, while Lambda gives a whole processor
