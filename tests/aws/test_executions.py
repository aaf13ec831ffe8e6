"""Executions in Step Functions pass the cases of every engine, as far as they need neither time nor functions, which
the emulator has of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from headgate.aws.clients import Clients
from headgate.aws.executions import Machine, StepFunctions
from headgate.aws.pages import Threads
from headgate.clock import ManualClock, SystemClock
from headgate.errors import NotRun
from headgate.testing.contract.executions import WORKFLOWS, ExecutionsCases, described, run
from tests.aws.emulator.process import Emulator
from tests.aws.endpoint import answering, error
from tests.aws.tables import make_machine

pytestmark = pytest.mark.xdist_group("emulator")

_STILL = ("nap", "short")
_UNFIT = {
    "test_a_start_may_be_repeated_while_it_runs": "the emulator refuses what Step Functions answers with the same",
    "test_an_express_execution_shares_its_name": "Step Functions tells nothing of an Express execution",
    "test_a_stopped_execution_is_redriven_too": "the emulator redrives nothing",
    "test_a_redrive_goes_on_where_it_failed": "the emulator redrives nothing",
}
_OTHERS = (
    "task_is_asked", "error_nothing_catches", "error_is_caught", "retry_waits", "retries_come", "wait_lasts",
    "map_gives", "failing_item", "parallel_branches", "takes_too_long", "stopped_execution_does_no_more",
    "long_gone_is_not_redriven", "found_by_workflow_and_status",
)  # fmt: skip


class Engine:
    """Machines of its own."""

    def __init__(self, emulator: Emulator) -> None:
        self.clock = ManualClock()
        machines = {
            name: Machine(make_machine(emulator, document, kind), kind == "EXPRESS")
            for name, (kind, document) in WORKFLOWS.items()
        }
        self.clients = Clients(SystemClock())
        self.threads = Threads()
        self.executions = StepFunctions(machines, self.clients, self.threads)

    def settle(self) -> None:
        until_s = time.monotonic() + 10
        while time.monotonic() < until_s:
            running = self.executions.find(status="RUNNING").executions
            if all(one.workflow in _STILL for one in running):
                return
            time.sleep(0.02)
        raise TimeoutError


@pytest.fixture
def engine(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Engine]:
    name = request.node.originalname
    why = _UNFIT.get(name) or next(("it takes time, or functions" for part in _OTHERS if part in name), None)
    if why:
        pytest.skip(why)
    for variable, value in emulator.env.items():
        monkeypatch.setenv(variable, value)
    engine = Engine(emulator)
    yield engine
    engine.threads.close()


class TestExecutions(ExecutionsCases):
    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine


def test_executions_of_all_workflows_are_listed_page_by_page(engine: Engine) -> None:
    ids = []
    for at in range(5):
        ids.append(run(engine, "nap" if at == 2 else "echo", {}).id)
        time.sleep(0.01)
    found: list[str] = []
    after = None
    for _ in range(6):
        page = engine.executions.find(limit=2, after=after)
        found += [one.id for one in page.executions]
        after = page.next
        if after is None:
            break
    assert sorted(found) == sorted(ids)
    assert after is None
    assert {one.id for one in engine.executions.find("nap").executions} == {ids[2]}


@pytest.mark.parametrize("cursor", ["", "1", "[]", '{"gone": [null, 0]}', '{"echo": 1}', '{"echo": ["x", 0]}'])
def test_a_cursor_that_no_page_gave_is_refused(engine: Engine, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        engine.executions.find(after=cursor)


def test_an_execution_is_found_by_its_name(engine: Engine) -> None:
    name = uuid4().hex
    started = run(engine, "echo", {"a": 1}, name)
    found = engine.executions.named("echo", name)
    assert found is not None
    assert (found.id, json.loads(found.input)) == (started.id, {"a": 1})
    assert engine.executions.named("echo", "other") is None
    assert engine.executions.named("express", name) is None


def test_the_document_of_an_execution_is_that_it_was_started_with(engine: Engine) -> None:
    assert engine.executions.document(run(engine, "echo", {}).id) == WORKFLOWS["echo"][1]


def test_a_stop_ends_it_and_says_why(engine: Engine) -> None:
    waiting = run(engine, "nap", {})
    ended = engine.executions.stop(waiting.id, "Enough", "said so")
    assert (ended.status, ended.error, ended.cause) == ("ABORTED", "Enough", "said so")
    assert described(engine, waiting.id).status == "ABORTED"


ARN = "arn:aws:states:eu-west-1:111122223333:stateMachine:one"
ID = "arn:aws:states:eu-west-1:111122223333:execution:one:x"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StepFunctions, Any]]:
    with answering() as endpoint:
        for variable, value in endpoint.environment().items():
            monkeypatch.setenv(variable, value)
        threads = Threads()
        machines = {"one": Machine(ARN), "quick": Machine(ARN.replace("one", "quick"), express=True)}
        yield StepFunctions(machines, Clients(SystemClock()), threads), endpoint
        threads.close()


@pytest.mark.parametrize("code", ["ExecutionAlreadyExists", "InvalidName", "StateMachineDoesNotExist"])
def test_why_nothing_was_started_is_told_by_its_name(told: tuple[StepFunctions, Any], code: str) -> None:
    executions, endpoint = told
    endpoint.answer = lambda _: error(code)
    with pytest.raises(NotRun) as refused:
        executions.start("one", "x", "{}")
    assert refused.value.code == code


def test_a_failed_execution_is_redriven(told: tuple[StepFunctions, Any]) -> None:
    executions, endpoint = told
    statuses = ["FAILED", "RUNNING"]

    def answer(asked: dict[str, Any]) -> tuple[int, Any]:
        if "clientToken" in asked:
            return 200, {"redriveDate": 1767225700.5}
        status = statuses.pop(0)
        facts = {"executionArn": ID, "stateMachineArn": ARN, "name": "x", "status": status, "input": "{}"}
        return 200, {**facts, "startDate": 1767225600.25, "redriveCount": 1 - len(statuses)}

    endpoint.answer = answer
    redriven = executions.redrive(ID)
    assert (redriven.status, redriven.redrives, redriven.started_ms) == ("RUNNING", 1, 1_767_225_600_250)


def test_nothing_is_asked_of_express_executions(told: tuple[StepFunctions, Any]) -> None:
    executions, endpoint = told
    id_ = "arn:aws:states:eu-west-1:111122223333:express:quick:x:1"
    assert (executions.describe(id_), executions.history(id_)) == (None, [])
    assert executions.find("quick").executions == []
    with pytest.raises(NotRun, match="start it anew"):
        executions.redrive(id_)
    assert endpoint.asked == []
