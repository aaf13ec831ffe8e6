"""Executions in Step Functions pass the cases of every engine, but for those that LEFT_OUT names."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from headgate.aws.clients import Clients
from headgate.aws.executions import Machine, StepFunctions
from headgate.aws.pages import Threads
from headgate.clock import ManualClock, SystemClock
from headgate.errors import NotRun
from headgate.testing.contract.executions import FUNCTION, WORKFLOWS, ExecutionsCases, described, run
from tests.aws.emulator import process
from tests.aws.emulator.hand import Hand
from tests.aws.emulator.process import Emulator
from tests.aws.emulator.versions import RUNTIME
from tests.aws.endpoint import answering, error
from tests.aws.tables import make_machine

pytestmark = [pytest.mark.xdist_group("executions"), pytest.mark.slow]

LEFT_OUT = {
    "test_a_task_is_asked_and_its_result_goes_on": "the emulator's history of functions has other events",
    "test_what_runs_succeeded_or_is_long_gone_is_not_redriven": "the emulator redrives what is older than 14 days, too",
}
"""The cases of every engine that the emulator cannot show, each with the reason."""

_CODE = """
import hashlib, os

def is_first(event):  # whichever environment of the function is asked: Lambda may start several
    try:
        open(os.path.join(os.environ["MARKS"], hashlib.sha256(repr(event).encode()).hexdigest()), "x").close()
    except FileExistsError:
        return False
    return True

def handler(event, context):
    if isinstance(event, dict):
        name = event.get("raise") or ("flaky" in event and is_first(event) and event["flaky"])
        if name:
            raise type(name, (Exception,), {})("as asked")
    return event
"""


class HandsClock(ManualClock):
    """The time of the emulator's workflows, too."""

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self._hand = hand

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._hand.move(seconds)


@cache
def contract_function(emulator: Emulator) -> str:
    """The ARN of the function that the workflows of the contract invoke."""
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    name = f"contract-{uuid4().hex}"
    role = emulator.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("contract.py", _CODE)
    made = emulator.client("lambda").create_function(
        FunctionName=name,
        Runtime=RUNTIME,
        Role=role,
        Handler="contract.handler",
        Code={"ZipFile": packed.getvalue()},
        Environment={"Variables": {"MARKS": tempfile.mkdtemp(prefix="headgate-contract-")}},
    )
    return str(made["FunctionArn"])


def placed(document: dict[str, Any], function: str) -> dict[str, Any]:
    """A workflow of the contract, with the function that there is."""
    text = json.dumps(document).replace(f"arn:aws:lambda:local:000000000000:function:{FUNCTION}", function)
    return json.loads(text)  # type: ignore[no-any-return]


class Engine:
    """Machines of its own."""

    def __init__(self, emulator: Emulator) -> None:
        self.hand = emulator.hand
        self.clock = HandsClock(self.hand)
        function = contract_function(emulator)
        machines = {
            name: Machine(make_machine(emulator, placed(document, function), kind, invokes=function), kind == "EXPRESS")
            for name, (kind, document) in WORKFLOWS.items()
        }
        self.clients = Clients(SystemClock())
        self.threads = Threads()
        self.executions = StepFunctions(machines, self.clients, self.threads)

    def settle(self) -> None:
        until_s = time.monotonic() + 300
        while time.monotonic() < until_s:
            running = self.executions.find(status="RUNNING").executions
            if all(self.hand.is_at_rest(one.id) for one in running):
                return
            time.sleep(0.02)
        raise TimeoutError


@pytest.fixture(scope="module")
def emulator(run_folder: Path, patience: None) -> Emulator:
    """One of its own, where time passes when it is told to."""
    return process.start(run_folder / "aws" / f"executions-{os.getpid()}", os.getpid(), by_hand=True)


@pytest.fixture
def engine(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Engine]:
    if why := LEFT_OUT.get(request.node.originalname):
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


def test_what_is_left_out_is_a_case_of_the_contract() -> None:
    assert set(dir(ExecutionsCases)) >= LEFT_OUT.keys()
