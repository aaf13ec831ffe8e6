"""A task as a function: handed JSON, it hands back what the user's function returns, or raises what that raises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headgate import App
from headgate.aws.lambdas import task
from headgate.errors import Misuse

app = App("tasks")


@app.task
def double(given: Any) -> Any:
    return {"twice": given["n"] * 2}


@app.task
async def later(given: Any) -> Any:
    return given


@app.task
def refuse(_: Any) -> Any:
    raise LookupError("no such order")


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 30_000


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    task._task.cache_clear()


def called(monkeypatch: pytest.MonkeyPatch, name: str, event: Any) -> Any:
    monkeypatch.setenv("HEADGATE_APP", f"{__name__}:app")
    monkeypatch.setenv("HEADGATE_TASK", name)
    return task.handler(event, Context())


def test_a_task_hands_back_what_its_function_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, "double", {"n": 2}) == {"twice": 4}


def test_a_task_may_be_async(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, "later", [1]) == [1]


def test_what_a_task_raises_is_the_error_that_a_workflow_catches(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LookupError, match="no such order"):
        called(monkeypatch, "refuse", {})


def test_a_function_without_its_task_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misuse, match="no task nothing"):
        called(monkeypatch, "nothing", {})
