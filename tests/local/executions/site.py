"""A room of executions with a clock that stands still, and the function that the contract's workflows invoke."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.clock import ManualClock
from headgate.local.executions import LocalExecutions, Workflow
from headgate.local.executions.services import Invoke, Service, Services, TaskFailed
from headgate.testing.contract.executions import WORKFLOWS

KNOWN = {name: Workflow(document, kind) for name, (kind, document) in WORKFLOWS.items()}  # type: ignore[arg-type]


class Function:
    """The contract's function, or another `answer`; `calls` are the tokens and events it was asked with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answer: Invoke | None = None
        self._lock = threading.Lock()

    def __call__(self, name: str, event: Any, token: str) -> Any:
        with self._lock:
            raised = any(earlier == event for _, earlier in self.calls)
            self.calls.append((token, event))
        if self.answer is not None:
            return self.answer(name, event, token)
        match event:
            case {"raise": error}:
                raise TaskFailed(error, "asked for")
            case {"flaky": error} if not raised:
                raise TaskFailed(error, "the first time")
        return event


class Site:
    """Opens the room in `folder`; `reopen` closes it and opens it again."""

    def __init__(
        self,
        folder: Path,
        workflows: Mapping[str, Workflow] = KNOWN,
        invoke: Invoke | None = None,
        services: Mapping[str, Service] | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.function = Function()
        self.file = folder / "executions.sqlite3"
        self._workflows = workflows
        self._invoke = invoke or self.function
        self._services = services or {}
        self.executions = self._opened()

    def _opened(self) -> LocalExecutions:
        return LocalExecutions(
            self.file, self._workflows, Services(self._invoke, self._services, threads=4), self.clock
        )

    def settle(self) -> None:
        self.executions.settle()

    def reopen(self) -> None:
        self.close()
        self.executions = self._opened()

    def close(self) -> None:
        self.executions.close()


def machine(**states: Any) -> dict[str, Any]:
    """A definition of these states, which begins with the first."""
    return {"StartAt": next(iter(states)), "States": states}


def end(site: Site, document: Mapping[str, Any], input: Any = None, *, wait_s: int = 0) -> tuple[str, Any, str | None]:
    """Run a definition of a site of its own to its end: status, output or error, cause."""
    started = site.executions.start("it", None, json.dumps({} if input is None else input))
    site.settle()
    for _ in range(wait_s):
        site.clock.advance(1)
        site.settle()
    found = site.executions.describe(started.id)
    assert found is not None
    told = json.loads(found.output) if found.output is not None else found.error
    return found.status, told, found.cause
