"""A task in its function. Its time and memory are the function's, and Lambda tells how it ended."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from headgate.aws.clients import Clients
from headgate.aws.deployed import app_of
from headgate.aws.keys import Secrets
from headgate.aws.settings import Settings
from headgate.aws.telemetry import log_as_json
from headgate.clock import Clock
from headgate.errors import Misuse


class TaskRun:
    """Made once for each environment of a function. Secrets are in the process's environment before the app is loaded,
    and as they are by now before each call, as under the local engine."""

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        settings = Settings.read(environment)
        self._clients = Clients(clock)
        self._secrets = Secrets(settings.secrets, self._clients, clock)
        self._tell_secrets()
        app = app_of(settings)
        log_as_json({"app": app.name, "stage": settings.stage, "task": settings.task})
        found = next((task for task in app.tasks if task.name == settings.task), None)
        if found is None:
            raise Misuse(f"The app has no task {settings.task}.")
        self._task = found

    def run(self, given: Any, remaining_s: float) -> Any:
        """What the task returns for what it is handed. Raises what it raises."""
        self._clients.within(remaining_s)
        self._tell_secrets()
        result = self._task.function(given)
        return _awaited(result) if inspect.isawaitable(result) else result

    def _tell_secrets(self) -> None:
        os.environ.update(self._secrets.values())


def _awaited(result: Any) -> Any:
    import asyncio  # few tasks need it, and it takes a while

    async def wait() -> Any:
        return await result

    return asyncio.run(wait())
