"""An app with workflows, deployed: what messages and schedules start, how it ends, and the commands that look at it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import Request, urlopen

import pytest

from headgate.cdk.outputs import API_URL
from tests.aws.desk import Desk, project
from tests.aws.emulator import deployment
from tests.aws.emulator.process import Emulator
from tests.cli.shell import Done
from tests.once import once

pytestmark = [pytest.mark.xdist_group("workflows"), pytest.mark.slow]

APP = """\
from headgate import App, Public, Start
from headgate import workflow as w

app = App("runs")


class Unlucky(Exception):
    pass


@app.task
def settle(given):
    if given["n"] == 13:
        raise Unlucky("it is 13")
    return {"settled": given["n"]}


app.workflow("settling", w.task(settle))
app.workflow("quick", w.task(settle, input={"n": "$.payload.n"}), express=True)
app.workflow("waits", w.wait(100_000))
app.schedule("rarely", "cron(0 2 1 1 ? *)", "waits", timezone="Europe/Vienna")
app.schedule("often", "rate(1 hour)", "settling", input={"n": 1})
app.channel("/orders", key="id", auth=Public(), workflow="settling", read=True)
app.channel(
    "/requests", key="id", auth=Public(), read=True,
    workflow=Start("quick", name="execution-{id}", input={"request_id": "{id}", "payload": "{body}"}),
)


def sender(request):
    return request.header(b"x-sender")


app.channel(
    "/own", key="id", scope="principal", auth=sender,
    workflow=Start("quick", name="own-{id}", input={"payload": "{body}"}),
)
"""

Found = TypeVar("Found")


@pytest.fixture(scope="module", autouse=True)
def _bootstrapped(emulator: Emulator, run_folder: Path) -> None:
    def bootstrap() -> dict[str, Any]:
        deployment.bootstrap(emulator, run_folder / "aws" / "bootstrap")
        return {}

    once(run_folder / "aws", "bootstrapped", bootstrap)


@pytest.fixture(scope="module")
def desk(emulator: Emulator, run_folder: Path) -> Desk:
    folder = run_folder / "aws" / "runs"

    def deploy() -> dict[str, Any]:
        return asdict(project(folder, emulator, APP).type("deploy", "--log-role"))

    done = Done(**once(run_folder / "aws", "runs-deployed", deploy))
    assert done.code == 0, done.err
    return Desk(folder, emulator)


def posted(desk: Desk, channel: str, body: dict[str, Any], sender: str = "") -> int:
    outputs = desk.told("outputs")
    url = f"{desk.emulator.plain_url(outputs[API_URL]).rstrip('/')}/{channel}"
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", "X-Sender": sender})
    with urlopen(request) as reply:
        return int(reply.status)


def eventually(look: Callable[[], Found], good: Callable[[Found], bool]) -> Found:
    until_s = time.monotonic() + 300
    while not good(found := look()):
        assert time.monotonic() < until_s, found
        time.sleep(0.3)
    return found


def message(desk: Desk, channel: str, key: str) -> Any:
    return eventually(
        lambda: desk.told("messages", "show", channel, key, "--stage", "dev"), lambda it: it["status"] != "processing"
    )


@pytest.mark.parametrize("channel", ["orders", "requests"])
def test_a_message_is_processed_when_its_workflow_has_succeeded(desk: Desk, channel: str) -> None:
    assert posted(desk, channel, {"id": "1", "n": 1}) == 201
    assert message(desk, channel, "1")["status"] == "processed"


@pytest.mark.parametrize("channel", ["orders", "requests"])
def test_a_message_has_failed_when_its_workflow_has(desk: Desk, channel: str) -> None:
    posted(desk, channel, {"id": "13", "n": 13})
    found = message(desk, channel, "13")
    assert found["status"] == "failed"
    assert "Unlucky" in found["error"]


def test_runs_of_a_deployed_app_are_listed_and_shown(desk: Desk) -> None:
    posted(desk, "orders", {"id": "list", "n": 13})
    message(desk, "orders", "list")
    listed = desk.told("runs", "list", "settling", "--status", "failed", "--stage", "dev")["items"]
    assert "orders-list" in {one["name"] for one in listed}
    shown = desk.told("runs", "show", "orders-list", "--stage", "dev")
    assert (shown["status"], shown["error"]) == ("FAILED", "Unlucky")
    assert [state["name"] for state in shown["states"]] == ["settle"]
    assert "settle" in desk.type("runs", "show", "orders-list", "--mermaid", "--stage", "dev").out


def test_a_schedule_of_a_deployed_app_is_fired_by_hand(desk: Desk) -> None:
    done = desk.type("schedule", "run", "often", "--stage", "dev")
    assert done.code == 0, done.err
    name = done.out.strip()
    shown = eventually(lambda: desk.told("runs", "show", name, "--stage", "dev"), lambda it: it["status"] != "RUNNING")
    assert (shown["workflow"], shown["output"]) == ("settling", {"settled": 1})


def test_an_express_execution_is_shown_as_its_message_tells(desk: Desk) -> None:
    posted(desk, "requests", {"id": "shown", "n": 13})
    message(desk, "requests", "shown")
    told = desk.told("runs", "show", "execution-shown", "--stage", "dev")
    assert (told["status"], told["error"], told["workflow"], told["states"]) == ("FAILED", "Unlucky", "quick", [])
    assert told["message"] == {"channel": "requests", "key": "shown", "status": "failed"}
    assert told["note"].startswith("An Express execution keeps no history of its states.")
    assert desk.told("runs", "show", told["id"], "--stage", "dev") == told
    said = desk.type("runs", "show", "execution-shown", "--stage", "dev")
    assert "headgate messages show requests shown" in said.err


def test_an_express_execution_is_found_by_its_name_also_where_keys_count_per_sender(desk: Desk) -> None:
    def status(name: str) -> str:
        return str(desk.told("runs", "show", name, "--stage", "dev")["status"])

    for sender, id_ in (("alice", "mine"), ("alice", "ours"), ("bob", "ours")):
        posted(desk, "own", {"id": id_, "n": 1}, sender)
    assert eventually(lambda: status("own-mine"), lambda it: it != "RUNNING") == "SUCCEEDED"
    both = desk.type("runs", "show", "own-ours", "--stage", "dev")
    assert both.code == 2
    assert both.err.startswith("Several executions are called own-ours; say one by its ARN: arn:aws:states:")
    arns = both.err.partition(" ARN: ")[2].strip(".\n").split(", ")
    assert len(arns) == 2
    for arn in arns:
        assert eventually(partial(status, arn), lambda it: it != "RUNNING") == "SUCCEEDED"


def test_a_schedule_is_listed_with_its_next_fires_also_where_it_counts_from_its_deployment(desk: Desk) -> None:
    rarely, often = desk.told("schedule", "list", "--stage", "dev")
    assert [at[5:] for at in rarely["next"]] == ["01-01T01:00:00.000Z"] * 3
    assert (often["expression"], often["timezone"], often["about"]) == ("rate(1 hour)", "UTC", True)
    assert len(often["next"]) == 3


def test_a_run_that_failed_is_redriven(desk: Desk) -> None:
    posted(desk, "orders", {"id": "again", "n": 13})
    message(desk, "orders", "again")
    done = desk.type("runs", "redrive", "orders-again", "--stage", "dev")
    assert done.code == 0
    assert done.err in ("orders-again is RUNNING.\n", "orders-again is FAILED.\n")  # again, if that was quicker
    shown = eventually(
        lambda: desk.told("runs", "show", "orders-again", "--stage", "dev"), lambda it: it["status"] != "RUNNING"
    )
    assert (shown["status"], shown["redrives"]) == ("FAILED", 1)
    assert [state["name"] for state in shown["states"]] == ["settle", "settle"]
    refused = desk.type("runs", "redrive", "orders-1", "--stage", "dev")
    assert refused.code != 0
    assert refused.err.count("\n") == 1


def test_a_run_that_goes_on_is_stopped(desk: Desk) -> None:
    name = desk.type("schedule", "run", "rarely", "--stage", "dev").out.strip()
    done = desk.type("runs", "stop", name, "--stage", "dev")
    assert (done.code, done.err) == (0, f"{name} is ABORTED.\n")
    assert desk.told("runs", "show", name, "--stage", "dev")["status"] == "ABORTED"


def test_what_is_not_there_is_said_in_one_sentence(desk: Desk) -> None:
    done = desk.type("runs", "show", "nothing", "--stage", "dev")
    assert done.code != 0
    assert done.err.count("\n") == 1
    assert "There is no execution nothing" in done.err
