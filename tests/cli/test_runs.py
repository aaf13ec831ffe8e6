"""headgate runs and headgate schedule, beside a server that runs workflows"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.cli.shell import run, running, until
from tests.serving import PATIENCE_S

APP = """
from pathlib import Path
from headgate import App, Public, workflow as w

app = App("shop")
app.channel("/orders", auth=Public())
alerts = app.topic("alerts")

class Rejected(Exception): ...

@app.task
def settle(order):
    if order.get("reject") and not Path("fixed").exists():
        raise Rejected("no")
    return {"id": order["id"]}

app.workflow("orders", w.for_each("$.orders", w.chain(w.task(settle), w.save("results", "{$.id}.json"))))
app.workflow("caught", w.task(settle, catch=[w.catch("Rejected", then=w.notify(alerts, "{$.error.Cause}"))]))
app.workflow("waits", w.wait(1000))
app.channel("/started", key="id", auth=Public(), workflow="started")
app.workflow("started", w.task(settle))
app.schedule("good", "cron(0 2 * * ? 2198-2199)", "orders", input={"orders": [{"id": "a"}, {"id": "../b"}]})
app.schedule("bad", "at(2199-01-01T00:00:00)", "orders", input={"orders": [{"id": "a", "reject": True}]})
app.schedule("told", "at(2199-01-01T00:00:00)", "caught", input={"id": "a", "reject": True})
app.schedule("long", "rate(30 days)", "waits")
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def shown(shop: Path, name: str, when: Callable[[Any], bool]) -> Any:
    """What `runs show` says of an execution, once it is so."""
    until = time.monotonic() + PATIENCE_S
    while True:
        found = json.loads(run(shop, "runs", "show", name, "--json").out)
        if when(found) or time.monotonic() > until:
            return found


def ended(found: Any) -> bool:
    return bool(found["status"] != "RUNNING")


def test_an_execution_is_started_listed_and_shown_with_its_states(shop: Path) -> None:
    with running(shop, "dev"):
        name = run(shop, "schedule", "run", "good").out.strip()
        found = shown(shop, name, ended)
        assert (found["status"], found["output"]) == ("SUCCEEDED", [{"id": "a"}, {"id": "../b"}])
        assert sorted(state["name"] for state in found["states"]) == ["for each", "save", "save", "settle", "settle"]
        assert all(state["ended_at"] and state["retries"] == 0 for state in found["states"])
        assert (shop / ".headgate" / "archive" / "results" / "a.json").read_text() == '{"id":"a"}'
        assert (shop / ".headgate" / "archive" / "results" / "%2E%2E" / "b.json").exists()
        assert "class s1,s2,s3 succeeded" in run(shop, "runs", "show", name, "--mermaid").out
        listed = json.loads(run(shop, "runs", "list", "orders", "--status", "succeeded", "--json").out)
        assert [one["name"] for one in listed["items"]] == [name]
        assert run(shop, "runs", "list", "--status", "failed").err == "There is no such execution.\n"
        mistyped = run(shop, "runs", "list", "order")
        assert mistyped.err == "There is no workflow order; the app has orders, caught, waits, started.\n"
        assert mistyped.code == 2
    assert name in run(shop, "runs", "list").out


def test_one_that_failed_is_redriven_and_one_that_runs_is_stopped(shop: Path) -> None:
    with running(shop, "dev"):
        bad = run(shop, "schedule", "run", "bad").out.strip()
        found = shown(shop, bad, ended)
        assert (found["status"], found["error"]) == ("FAILED", "Rejected")
        assert [(state["name"], state["error"]) for state in found["states"]][-1] == ("settle", "Rejected")
        (shop / "fixed").touch()
        assert run(shop, "runs", "redrive", bad).err == f"{bad} is RUNNING.\n"
        assert shown(shop, bad, ended)["status"] == "SUCCEEDED"
        again = run(shop, "runs", "redrive", bad)
        assert (again.code, "nothing to redrive" in again.err) == (2, True)
        long = run(shop, "schedule", "run", "long").out.strip()
        assert run(shop, "runs", "stop", long).err == f"{long} is ABORTED.\n"
        assert run(shop, "runs", "show", "absent").code == 1
    stopped = run(shop, "runs", "stop", long)
    assert (stopped.code, "workflows run where the app is served" in stopped.err) == (2, True)


def test_why_a_task_failed_is_laid_out_as_a_traceback(shop: Path) -> None:
    with running(shop, "dev") as server:
        assert server.post("/started", '{"id": "a", "reject": true}').status == 201
        shown(shop, "started-a", ended)
        told = run(shop, "runs", "show", "started-a").out.splitlines()
        until(lambda: json.loads(run(shop, "dead", "list", "--json").out)["groups"], "the message is a dead letter")
        letter = run(shop, "dead", "show", "started", "a").err.splitlines()
    trace = [f'  File "{shop / "app.py"}", line 14, in settle', '    raise Rejected("no")', "Rejected: no"]
    first = told.index(f"cause     {trace[0]}")
    assert told[first + 1 : first + 3] == [" " * 10 + line for line in trace[1:]]
    assert letter[-3:] == [" " * 6 + line for line in trace]
    (line,) = [line for line in told if line.startswith("settle")]
    name, kind, _, took, unit, retries, error = line.split()
    assert (name, kind, unit, retries, error) == ("settle", "Task", "s", "0", "Rejected")
    assert 0 <= float(took) < PATIENCE_S


def test_numbers_are_shown_as_they_came(shop: Path) -> None:
    with running(shop, "dev") as server:
        assert server.post("/started", '{"id": "n", "of": [1e999, 2.10, 12345678901234567890, "1.5"]}').status == 201
        shown(shop, "started-n", lambda found: found["status"] == "FAILED")
        told = run(shop, "runs", "show", "started-n", "--json").out
    assert told.split('"of": [')[1].split("]")[0].split() == [
        "1e999,", "2.10,", "12345678901234567890,", '"1.5"',
    ]  # fmt: skip


def test_an_error_that_is_caught_is_told_to_the_topic(shop: Path) -> None:
    with running(shop, "dev") as server:
        name = run(shop, "schedule", "run", "told").out.strip()
        found = shown(shop, name, ended)
        assert found["status"] == "SUCCEEDED"
        assert [(state["name"], state["error"]) for state in found["states"]] == [
            ("settle", "Rejected"),
            ("notify", None),
        ]
    del server


def test_schedules_are_listed_with_the_times_they_fire_next(shop: Path) -> None:
    listed = {one["name"]: one for one in json.loads(run(shop, "schedule", "list", "--json", "--next", "2").out)}
    assert [at[11:] for at in listed["good"]["next"]] == ["02:00:00.000Z"] * 2
    assert listed["bad"]["next"] == ["2199-01-01T00:00:00.000Z"]
    assert len(listed["long"]["next"]) == 2
    assert "cron(0 2 * * ? 2198-2199)" in run(shop, "schedule", "list").out
    assert (
        run(shop, "schedule", "run", "absent").err
        == "There is no schedule absent; the app has good, bad, told, long.\n"
    )


def test_before_anything_ran_there_is_nothing_to_list(shop: Path) -> None:
    done = run(shop, "runs", "list")
    assert (done.code, "No workflow has run yet" in done.err) == (2, True)


def test_a_backup_holds_the_executions_too_and_brings_them_back(shop: Path) -> None:
    with running(shop, "serve"):
        assert run(shop, "schedule", "run", "long").code == 0
        assert run(shop, "backup", "copy.sqlite3").code == 0
        assert "copy.sqlite3.executions exists already" in run(shop, "backup", "copy.sqlite3").err
    before = json.loads(run(shop, "runs", "list", "--json").out)["items"]
    assert [one["status"] for one in before] == ["RUNNING"]
    for left in (shop / ".headgate").glob("executions.sqlite3*"):
        left.unlink()
    assert run(shop, "restore", "copy.sqlite3", "--force").code == 0
    assert json.loads(run(shop, "runs", "list", "--json").out)["items"] == before


def test_an_express_execution_is_shown_without_states_and_the_reason_is_said(shop: Path) -> None:
    quick = 'app.workflow("quick", w.give({"a": 1}), express=True)\n'
    channel = 'app.channel("/fast", key="id", auth=Public(), workflow="quick")\n'
    (shop / "app.py").write_text(APP + quick + channel)
    with running(shop, "serve") as served:
        body = json.dumps({"id": "1"}).encode()
        with urlopen(
            Request(f"http://127.0.0.1:{served.port}/fast", body, {"Content-Type": "application/json"})
        ) as reply:
            assert reply.status == 201
        found = shown(shop, "fast-1", ended)
        assert (found["status"], found["input"], found["output"]) == ("SUCCEEDED", {"id": "1"}, {"a": 1})
        assert (found["states"], found["note"]) == ([], "An Express execution keeps no history of its states.")
        told = run(shop, "runs", "show", "fast-1")
        assert "An Express execution keeps no history of its states." in told.err
        assert "headgate: claim" in run(shop, "export", "asl", "quick").out


def test_a_queue_that_is_not_the_apps_is_refused_by_check(shop: Path) -> None:
    state = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "End": True}
    asked = {**state, "Parameters": {"QueueUrl": "q", "MessageBody": "m"}}
    (shop / "app.py").write_text(APP + f'app.workflow("sends", {{"StartAt": "a", "States": {{"a": {asked!r}}}}})\n')
    checked = run(shop, "check")
    assert checked.code == 2
    assert "workflow sends: State 'a': say QueueUrl as ${queue:NAME}" in checked.err


def test_check_tells_of_workflows_and_schedules(shop: Path) -> None:
    said = json.loads(run(shop, "check", "--json").out)
    assert said["workflows"][0] == {"name": "orders", "kind": "STANDARD", "states": 3}
    assert [one["name"] for one in said["schedules"]] == ["good", "bad", "told", "long"]
    assert "WORKFLOW" in run(shop, "check").out
