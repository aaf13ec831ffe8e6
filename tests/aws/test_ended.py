"""Messages that start executions in Step Functions: started before the reply, ended by what EventBridge or the machine
itself tells, and taken up again by the sweep after a crash at any step."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from headgate import limits
from headgate.aws.ended import CHANGED, Ended, ended_pattern
from headgate.aws.settings import Settings
from headgate.aws.sweep import Sweep
from headgate.clock import ManualClock
from headgate.engine import Discarded, Redriven
from headgate.message import Moment
from tests.aws.behind import LAMBDA_S, Site
from tests.aws.emulator.process import Emulator
from tests.aws.tables import make_machine
from tests.cases import cases_folder

pytestmark = pytest.mark.xdist_group("emulator")

APP = """
from headgate import App, Public, Start
from headgate import workflow as w

app = App("shop")
app.workflow("settle", w.choice(w.when(w.value("$.n") == 13, w.fail("Unlucky", "it is 13")), otherwise=w.succeed()))
app.workflow("quick", w.give({"status": "processed"}), express=True)
app.channel("/orders", name="orders", key="id", auth=Public(), workflow="settle", read=True)
app.channel("/lists", name="lists", key="id", auth=Public(), workflow="settle", many=True)
app.workflow("together", w.wait(1))
app.channel(
    "/batches", name="batches", key="id", auth=Public(), many=True, workflow=Start("together", per="batch"),
)
app.channel(
    "/requests", name="requests", key="id", auth=Public(), read=True,
    workflow=Start("quick", name="execution-{id}", input={"request_id": "{id}", "payload": "{body}"}),
    accepted=lambda receipt: {"execution_arn": receipt.execution},
)
"""

_FUNCTION = "arn:aws:lambda:eu-west-1:111122223333:function:ended"


class Shop(Site):
    """A channel of the app, with the state machine that it starts."""

    def __init__(self, emulator: Emulator, module: str, channel: str) -> None:
        super().__init__(emulator, module, channel)
        assert self.channel.start is not None
        self.workflow = next(it for it in self.rooms.app.workflows if it.name == self.channel.start.workflow_name)
        # Without what is put around an Express one: the emulator cannot call the function of this test.
        self.machine = make_machine(emulator, self.workflow.placed())
        more = Settings(
            f"{module}:app", "test", workflows={self.workflow.name: self.machine},
            ended=_FUNCTION if self.workflow.express else "",
        ).written()  # fmt: skip
        self.environment |= more
        self.rooms = type(self.rooms)(self.environment, self.clock)

    def post(self, body: Any) -> dict[str, Any]:  # type: ignore[override]
        event = {
            "resource": self.channel.path, "path": self.channel.path, "httpMethod": "POST",
            "headers": {"Content-Type": "application/json"}, "requestContext": {}, "body": json.dumps(body),
        }  # fmt: skip
        return self.serving().answer(event, LAMBDA_S)

    def ended(self) -> Ended:
        return Ended(self.rooms)

    def started(self, key: str) -> str:
        return next(moment.detail for moment in reversed(self.row(key).timeline) if moment.what == "started")

    def change(self, key: str, status: str, **more: Any) -> dict[str, Any]:
        """What EventBridge tells of the execution of a message."""
        return change_of(self.started(key), self.machine, status, self.clock, **more)

    def whats(self, key: str) -> list[str]:
        return [moment.what for moment in self.row(key).timeline]


def change_of(execution: str, machine: str, status: str, clock: ManualClock, **more: Any) -> dict[str, Any]:
    """An event as EventBridge shapes them, with the detail of a change of an execution's status."""
    recorded = json.loads((cases_folder() / "lambda_events" / "eventBridgeEvent.json").read_text())
    return {
        **recorded, "source": "aws.states", "detail-type": CHANGED, "resources": [execution],
        "detail": {
            "executionArn": execution, "stateMachineArn": machine, "name": execution.split(":")[7], "status": status,
            "startDate": clock.now_ms(), "stopDate": None if status == "RUNNING" else clock.now_ms(), "input": "{}",
            "output": None, "inputDetails": {"included": True}, "error": None, "cause": None, **more,
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = f"app_{uuid4().hex}"
    folder = tmp_path_factory.mktemp("app")
    (folder / f"{name}.py").write_text(APP)
    sys.path.insert(0, str(folder))
    yield name
    sys.path.remove(str(folder))
    sys.modules.pop(name, None)


@pytest.fixture
def shop(emulator: Emulator, module: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Shop]]:
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    made: list[Shop] = []

    def of(channel: str) -> Shop:
        made.append(Shop(emulator, module, channel))
        made[-1].clock.advance(time.time() - made[-1].clock.now_ms() / 1000)  # Step Functions goes by its own
        return made[-1]

    yield of
    for each in made:
        each.close()


Of = Callable[[str], Shop]


def test_an_execution_is_started_before_the_sender_is_answered(shop: Of) -> None:
    orders = shop("orders")
    assert orders.post({"id": "1", "n": 1})["statusCode"] == 201
    row = orders.row("1")
    assert (row.status, orders.whats("1")) == ("processing", ["started"])
    assert orders.started("1").endswith(":orders-1")
    told = orders.emulator.client("stepfunctions").describe_execution(executionArn=orders.started("1"))
    assert json.loads(told["input"]) == {"id": "1", "n": 1}


def test_its_end_is_the_end_of_the_message(shop: Of) -> None:
    orders = shop("orders")
    orders.post({"id": "1", "n": 1})
    assert orders.ended().hear(orders.change("1", "SUCCEEDED"), LAMBDA_S) == {"written": True}
    assert (orders.row("1").status, orders.whats("1")) == ("processed", ["started", "processed"])
    assert orders.ended().hear(orders.change("1", "FAILED"), LAMBDA_S) == {"written": False}
    assert orders.row("1").status == "processed"


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_a_bad_end_makes_it_a_dead_letter(shop: Of, status: str) -> None:
    orders = shop("orders")
    orders.post({"id": "1", "n": 1})
    orders.ended().hear(orders.change("1", status, error="Unlucky", cause="it is 13"), LAMBDA_S)
    row = orders.row("1")
    assert (row.status, row.error) == ("failed", f"The workflow settle ended as {status}: Unlucky.")
    assert row.timeline[-1].told == "it is 13"


@pytest.mark.parametrize("channel", ["orders", "requests"])
def test_a_dead_letter_is_listed_and_told_at_once_and_each_minute_until_it_is_gone(
    shop: Of, capsys: pytest.CaptureFixture[str], channel: str
) -> None:
    def letters() -> list[int]:
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return [line["dead_letters"] for line in lines if "dead_letters" in line]

    site = shop(channel)
    site.post({"id": "1", "n": 1})
    site.sweep()
    assert letters() == []
    failed = site.change("1", "FAILED") if channel == "orders" else told(site, "FAILED", "1", site.started("1"))
    site.ended().hear(failed, LAMBDA_S)
    assert letters() == [1]
    assert [message.key for message in site.rooms.queue.dead(channel, 10, None).messages] == ["1"]
    site.sweep()
    assert letters() == [1]
    assert site.rooms.queue.alter(channel, "", "1", Discarded(Moment(2, "discarded"), None))
    site.ended().hear(failed, LAMBDA_S)
    site.sweep()
    assert letters() == []


def test_what_is_no_end_of_ours_changes_nothing(shop: Of) -> None:
    orders = shop("orders")
    orders.post({"id": "1", "n": 1})
    other = orders.started("1") + "-other"
    events: list[dict[str, Any]] = [
        orders.change("1", "RUNNING"),
        change_of(other, orders.machine, "FAILED", orders.clock),
        json.loads((cases_folder() / "lambda_events" / "eventBridgeEvent.json").read_text()),
        {},
    ]
    for event in events:
        assert orders.ended().hear(copy.deepcopy(event), LAMBDA_S) == {"written": False}
    assert orders.row("1").status == "processing"


def test_a_repetition_starts_nothing_and_is_answered_the_same(shop: Of) -> None:
    requests = shop("requests")
    first = requests.post({"id": "1"})
    again = requests.post({"id": "1"})
    assert (first["statusCode"], first["body"]) == (again["statusCode"], again["body"])
    assert json.loads(first["body"]) == {"execution_arn": requests.started("1")}


def test_each_message_of_an_array_has_its_execution(shop: Of) -> None:
    lists = shop("lists")
    assert lists.post([{"id": str(n), "n": n} for n in range(5)])["statusCode"] == 201
    assert len({lists.started(str(n)) for n in range(5)}) == 5


def test_the_sweep_settles_an_end_that_nobody_told(shop: Of) -> None:
    orders = shop("orders")
    orders.post({"id": "13", "n": 13})
    settled(orders, "13")
    orders.clock.advance(3600 + 31)
    assert Sweep(orders.rooms).sweep(LAMBDA_S) == {"swept": 1}
    row = orders.row("13")
    assert (row.status, row.timeline[-1].kind) == ("failed", "Unlucky")


@pytest.mark.parametrize("answered", [True, False])
def test_whichever_step_fails_the_sweep_starts_what_was_stored_once(shop: Of, answered: bool) -> None:
    for step in range(10):
        orders = shop("orders")
        serving = orders.serving()
        orders.faults._through = orders.rooms.clients
        driver = serving._driver
        assert driver._finishing is not None
        assert driver._finishing.starts is not None
        for holder in (driver._index, driver._finishing._queue, driver._finishing.starts._executions):
            holder._clients = orders.faults  # type: ignore[union-attr]
        orders.faults.fail_at(step, answered=answered)
        event = {
            "resource": "/orders", "path": "/orders", "httpMethod": "POST", "requestContext": {},
            "headers": {"Content-Type": "application/json"}, "body": json.dumps({"id": "1", "n": 1}),
        }  # fmt: skip
        status = serving.answer(event, LAMBDA_S)["statusCode"]
        orders.faults.mend()
        if len(orders.faults.asked) <= step:
            assert status == 201
            break
        if orders.rooms.index.get("orders", "", "1") is None:
            assert status == 503
            continue
        orders.clock.advance(61)
        Sweep(orders.rooms).sweep(LAMBDA_S)
        started = [moment.detail for moment in orders.row("1").timeline if moment.what == "started"]
        listed = orders.emulator.client("stepfunctions").list_executions(stateMachineArn=orders.machine)["executions"]
        assert [one["executionArn"] for one in listed] == started[:1], step
    else:
        raise AssertionError("there are more steps than were tried")


def settled(orders: Shop, key: str) -> None:
    """Wait for the emulator to end the execution of a message."""
    client = orders.emulator.client("stepfunctions")
    until_s = time.monotonic() + 300
    while client.describe_execution(executionArn=orders.started(key))["status"] == "RUNNING":
        assert time.monotonic() < until_s
        time.sleep(0.02)


# ------------------------------------------------------------------------------------------------------------ Express


def told(requests: Shop, what: str, key: str, execution: str, **more: str) -> dict[str, Any]:
    """What the machine asks of the function."""
    message = {"ended": _FUNCTION, "channel": "requests", "scope": "", "key": key}
    return {"headgate": {"what": what, "execution": execution, "message": message, **more}}


def test_an_express_execution_is_handed_the_address_of_its_message(shop: Of) -> None:
    requests = shop("requests")
    requests.post({"id": "1"})
    given = requests.emulator.client("stepfunctions").describe_execution(executionArn=requests.started("1"))["input"]
    assert json.loads(given) == {
        "headgate": {"ended": _FUNCTION, "channel": "requests", "scope": "", "key": "1"},
        "input": {"request_id": "1", "payload": {"id": "1"}},
    }


def test_the_first_execution_has_the_message_and_its_end_is_written(shop: Of) -> None:
    requests = shop("requests")
    requests.post({"id": "1"})
    ours, other = requests.started("1"), requests.started("1") + "-other"
    hear = requests.ended().hear
    assert hear(told(requests, "claim", "1", ours), LAMBDA_S) == {"claimed": True}
    assert hear(told(requests, "claim", "1", other), LAMBDA_S) == {"claimed": False}
    assert hear(told(requests, "FAILED", "1", other), LAMBDA_S) == {"written": False}
    assert hear(told(requests, "SUCCEEDED", "1", ours), LAMBDA_S) == {"written": True}
    assert requests.row("1").status == "processed"
    assert hear(told(requests, "claim", "1", other), LAMBDA_S) == {"claimed": False}


def test_one_that_claims_before_it_was_noted_is_noted_so(shop: Of) -> None:
    requests = shop("requests")
    requests.accept("1")
    requests.rooms.queue.begin("requests", "", "1", 30_000)
    arn = f"{requests.machine.replace('stateMachine', 'express')}:execution-1:u"
    assert requests.ended().hear(told(requests, "claim", "1", arn), LAMBDA_S) == {"claimed": True}
    assert requests.started("1") == arn
    assert requests.ended().hear(told(requests, "FAILED", "1", arn, error="Boom", cause="so"), LAMBDA_S)["written"]
    assert (requests.row("1").status, requests.row("1").timeline[-1].told) == ("failed", "so")


def test_an_express_execution_of_which_nothing_is_heard_has_timed_out(shop: Of) -> None:
    requests = shop("requests")
    requests.post({"id": "1"})
    requests.clock.advance(3600 + 31)
    assert limits.EXPRESS_SECONDS.value < 3600
    assert Sweep(requests.rooms).sweep(LAMBDA_S) == {"swept": 1}
    assert (requests.row("1").status, requests.row("1").timeline[-1].kind) == ("failed", "States.Timeout")


def test_an_execution_from_before_a_message_was_put_back_has_it_no_more(shop: Of) -> None:
    requests = shop("requests")
    requests.post({"id": "1"})
    first = requests.started("1")
    requests.ended().hear(told(requests, "FAILED", "1", first, error="Boom", cause=""), LAMBDA_S)
    requests.clock.advance(1)
    requests.rooms.queue.alter("requests", "", "1", Redriven(Moment(requests.clock.now_ms(), "redriven")))
    assert requests.ended().hear(told(requests, "claim", "1", first), LAMBDA_S) == {"claimed": False}


def test_the_rule_lets_ends_of_the_machine_through_and_nothing_else() -> None:
    pattern = ended_pattern("arn:machine")
    assert pattern["detail"]["stateMachineArn"] == ["arn:machine"]
    assert "RUNNING" not in pattern["detail"]["status"]


def test_an_end_is_written_without_the_body_being_read(shop: Of) -> None:
    orders = shop("orders")
    orders.post({"id": "1", "text": "x" * 50_000})
    asked = orders.faults
    asked._through = orders.rooms.clients
    orders.rooms.clients = asked
    change = orders.change("1", "SUCCEEDED")
    asked.asked.clear()
    assert orders.ended().hear(change, LAMBDA_S) == {"written": True}
    assert {step.partition(" ")[0] for step in asked.asked} == {"dynamodb"}
    assert len(orders.row("1").body) > 50_000


# ---------------------------------------------------------------------------------------------------------- batches


def test_the_messages_of_a_request_start_one_together_and_hear_of_its_end(shop: Of) -> None:
    batches = shop("batches")
    answer = batches.post([{"id": "1"}, {"id": "2"}, {"id": "3"}])
    assert [item["status"] for item in json.loads(answer["body"])["items"]] == ["stored"] * 3
    (execution,) = {batches.started(key) for key in "123"}
    told = batches.rooms.clients.call("stepfunctions", "describe_execution", executionArn=execution)
    assert json.loads(told["input"]) == [{"id": "1"}, {"id": "2"}, {"id": "3"}]
    event = batches.change("1", "SUCCEEDED", input=told["input"])
    assert batches.ended().hear(event, LAMBDA_S) == {"written": True}
    assert [batches.row(key).status for key in "123"] == ["processed"] * 3
    assert batches.ended().hear(event, LAMBDA_S) == {"written": False}


def test_what_a_crash_left_of_a_batch_is_in_the_execution_that_was_started(shop: Of) -> None:
    batches = shop("batches")
    batches.post([{"id": "1"}, {"id": "2"}])
    event = batches.change("1", "FAILED", error="Unlucky", input='[{"id":"1"},{"id":"2"}]')
    assert batches.ended().hear(event, LAMBDA_S) == {"written": True}
    assert [batches.row(key).error for key in "12"] == ["The workflow together ended as FAILED: Unlucky."] * 2
    again = json.loads(batches.post([{"id": "1"}, {"id": "2"}])["body"])
    assert [item["status"] for item in again["items"]] == ["replayed"] * 2
