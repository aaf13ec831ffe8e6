"""The function of a task, called as Lambda calls it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.aws.settings import Settings
from headgate.aws.tasks import TaskRun
from headgate.clock import ManualClock
from headgate.errors import Misuse
from tests.aws.endpoint import Endpoint, answering

APP = """
import os
from headgate import App, Secret

app = App("shop")
AT_LOAD = os.environ.get("PARTNER_TOKEN")


class Rejected(Exception):
    pass


@app.task
def double(given):
    return {"twice": [given, given]}


@app.task
async def later(given):
    return given


@app.task
def settle(given):
    raise Rejected("Order status is rejected!")


@app.task(secrets=[Secret("PARTNER_TOKEN")])
def ask(given):
    return [AT_LOAD, os.environ["PARTNER_TOKEN"]]
"""


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    (tmp_path / "app_with_tasks.py").write_text(APP)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "app_with_tasks", raising=False)
    monkeypatch.setenv("PARTNER_TOKEN", "")  # so that it is put back
    monkeypatch.delenv("PARTNER_TOKEN")
    with answering() as endpoint:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        yield endpoint
    sys.modules.pop("app_with_tasks", None)


def made(task: str, clock: ManualClock | None = None, **secrets: str) -> TaskRun:
    settings = Settings("app_with_tasks:app", "test", task=task, secrets=secrets)
    return TaskRun(settings.written(), clock or ManualClock())


@pytest.mark.parametrize("given", [{"a": [1, None]}, "text", 1.5, None, []])
def test_a_task_is_handed_json_and_returns_json(endpoint: Endpoint, given: Any) -> None:
    assert made("double").run(given, 30) == {"twice": [given, given]}
    assert made("later").run(given, 30) == given
    assert endpoint.asked == []


def test_what_a_task_raises_is_an_error_by_the_name_of_its_class(endpoint: Endpoint) -> None:
    with pytest.raises(Exception, match="Order status is rejected!") as raised:
        made("settle").run({}, 30)
    assert type(raised.value).__name__ == "Rejected"


def test_secrets_are_there_when_the_app_loads_and_new_ones_are_used_in_time(endpoint: Endpoint) -> None:
    clock = ManualClock()
    endpoint.answer = lambda _: (200, {"SecretString": "first"})
    run = made("ask", clock, PARTNER_TOKEN="arn:the-token")
    assert run.run(None, 30) == ["first", "first"]
    endpoint.answer = lambda _: (200, {"SecretString": "second"})
    clock.advance(3600)
    assert run.run(None, 30) == ["first", "second"]
    assert {asked["SecretId"] for asked in endpoint.asked} == {"arn:the-token"}


def test_a_function_of_a_task_that_is_not_there_does_not_start(endpoint: Endpoint) -> None:
    with pytest.raises(Misuse, match="has no task gone"):
        made("gone")
