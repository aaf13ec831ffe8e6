"""The headgate command against an emulator: what a user types from the first deployment to the last."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headgate.cli.deployed import find
from headgate.declare.load import load_app
from headgate.message import Moment
from headgate.testing.contract.index import message
from tests.aws.desk import Desk, project
from tests.aws.emulator.process import Emulator
from tests.cli.shell import Done, until
from tests.once import once

pytestmark = [pytest.mark.xdist_group("commands"), pytest.mark.slow, pytest.mark.usefixtures("prepared")]

APP = """\
from pydantic import BaseModel

from headgate import ApiKey, App, Jwt, Permanent, Public, Queued, Secret, Stream
from headgate import workflow as w


class Note(BaseModel):
    id: str
    topic: str = ""


class Job(BaseModel):
    id: str
    amount: int


app = App("commands")
app.channel("/notes", Note, key="id", indexes=["topic"], auth=ApiKey())
app.channel("/orders", auth=Jwt(secret=Secret("ORDERS_JWT_SECRET"), issuer="desk", audience="orders"))


@app.channel("/jobs", Job, key="id", auth=Public(), delivery=Queued(attempts=1))
def work(job):
    if job.amount < 0:
        raise Permanent("negative amount")
    if job.amount == 13:
        raise OSError("the secret is 4711")


@app.channel("/events", auth=Public(), delivery=Stream(shards=2, attempts=1))
def seen(events):
    for event in events:
        print("saw", event["n"])
    return [Permanent("negative n") if event["n"] < 0 else None for event in events]


app.topic("people")
app.workflow("waits", w.wait(100_000))
app.schedule("nightly", "cron(0 2 * * ? *)", "waits")
app.schedule("once", "at(2199-01-01T00:00:00)", "waits", timezone="Europe/Vienna")
app.schedule("often", "rate(30 days)", "waits")
"""
LATER = APP + 'app.channel("/later", auth=ApiKey())\n'


@pytest.fixture(scope="module")
def first(emulator: Emulator, run_folder: Path) -> tuple[Desk, Done]:
    """A project, and what was said when it was deployed, by whichever worker came first."""
    folder = run_folder / "aws" / "commands"

    def deploy() -> dict[str, Any]:
        return asdict(project(folder, emulator, APP).type("deploy"))

    return Desk(folder, emulator), Done(**once(run_folder / "aws", "commands-deployed", deploy))


@pytest.fixture(scope="module")
def desk(first: tuple[Desk, Done]) -> Desk:
    assert first[1].code == 0, first[1].err
    return first[0]


def test_a_deployment_is_a_line_for_each_resource_and_the_outputs_are_printed_and_kept(
    first: tuple[Desk, Done],
) -> None:
    desk, done = first

    assert done.code == 0, done.err
    lines = done.err.splitlines()
    assert any(line.endswith("created  DynamoDB Table NotesIndex/Table") for line in lines)
    assert len(lines) == len(set(lines))
    kept = json.loads((desk.folder / "outputs.json").read_text())
    outputs = {name: value for stack in kept.values() for name, value in stack.items()}
    assert outputs == desk.told("outputs")
    assert [line.split()[0] for line in done.out.splitlines()] == ["OUTPUT", *sorted(outputs)]


@pytest.mark.usefixtures("desk")
def test_after_a_deployment_there_is_no_difference_and_with_another_channel_there_is(
    emulator: Emulator, tmp_path: Path
) -> None:
    copy = project(tmp_path / "copy", emulator, APP)
    assert copy.type("diff", "--fail").code == 0

    (copy.folder / "app.py").write_text(LATER)
    done = copy.type("diff", "--fail")
    assert done.code == 1
    assert "[+] AWS::DynamoDB::Table" in done.out


def test_an_api_key_opens_the_deployed_channel_until_it_is_revoked(desk: Desk) -> None:
    url = desk.at(desk.told("outputs"))
    key = desk.type("keys", "create", "notes", "--stage", "dev", "--name", "Acme").out.strip()
    shown = ("-H", f"X-Api-Key: {key}", "--stage", "dev", *url)

    assert desk.type("send", "notes", '{"id": "n-1", "topic": "tea"}', *shown).err == "201 Created\n"
    (listed,) = desk.told("keys", "list", "--stage", "dev")
    assert (listed["channel"], listed["name"]) == ("notes", "Acme")

    assert desk.type("keys", "revoke", listed["id"], "--stage", "dev").code == 0
    assert desk.type("send", "notes", '{"id": "n-2"}', *shown).err.startswith("401 ")


def test_a_token_is_signed_with_the_secret_of_the_deployed_app(desk: Desk) -> None:
    url = desk.at(desk.told("outputs"))

    sent = desk.type("send", "orders", '{"a": 2.10}', "-H", "Idempotency-Key: o-1", "--stage", "dev", *url)
    assert sent.err == "201 Created\n", sent.out
    token = desk.type("token", "orders", "--stage", "dev", "--sub", "Acme").out.strip()
    shown = ("-H", f"Authorization: Bearer {token}", "-H", "Idempotency-Key: o-2")
    assert desk.type("send", "orders", "{}", *shown, "--stage", "dev", *url).err == "201 Created\n"

    assert list(desk.told("keys", "--stage", "dev")["secrets"]) == ["ORDERS_JWT_SECRET"]


def test_messages_of_the_deployed_app_are_listed_shown_to_the_byte_and_deleted(desk: Desk) -> None:
    url = desk.at(desk.told("outputs"))
    for key in ("m-1", "m-2"):
        sent = desk.type("send", "orders", '{"n":  2.10}', "-H", f"Idempotency-Key: {key}", "--stage", "dev", *url)
        assert sent.err == "201 Created\n", sent.out

    listed = {item["key"] for item in desk.told("messages", "list", "orders", "--stage", "dev")["items"]}
    assert {"m-1", "m-2"} <= listed
    assert desk.type("messages", "show", "orders", "m-1", "--stage", "dev").out == '{"n":  2.10}'
    assert desk.type("messages", "delete", "orders", "m-1", "--yes", "--stage", "dev").code == 0
    gone = desk.type("messages", "show", "orders", "m-1", "--stage", "dev")
    assert (gone.code, gone.err) == (1, "There is no message m-1 in /orders.\n")


# ------------------------------------------------------------------------------------------------------ behind the gate


def bury(desk: Desk, **amounts: int) -> None:
    """Dead letters of jobs, as the deployed app's worker leaves them in the table."""
    failed = Moment(1_767_225_600_100, "failed", 1, 5, "The handler failed.", "OSError", told="OSError: 4711 is secret")
    letters = [
        message(key, json.dumps({"id": key, "amount": amount}), channel="jobs")._replace(
            status="failed", error=failed.detail, attempts=1, timeline=(failed,)
        )
        for key, amount in amounts.items()
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in desk.emulator.env.items():
            patch.setenv(name, value)
        with find(load_app(str(desk.folder)), "dev").index() as index:
            assert {outcome.kind for outcome in index.commit(letters)} == {"stored"}


def whats(desk: Desk, key: str) -> list[str]:
    """What happened to a job."""
    timeline = desk.told("messages", "show", "jobs", key, "--stage", "dev")["timeline"]
    return [moment["what"] for moment in timeline]


def test_dead_letters_of_the_deployed_app_are_grouped_shown_edited_and_redriven(desk: Desk) -> None:
    bury(desk, shown=13)

    groups = desk.told("dead", "list", "--stage", "dev")["groups"]
    assert ("jobs", "OSError") in {(group["channel"], group["kind"]) for group in groups}
    shown = desk.type("dead", "show", "jobs", "shown", "--stage", "dev")
    assert shown.out == '{"id": "shown", "amount": 13}'
    assert "OSError: 4711 is secret" in shown.err

    bad = desk.type("dead", "edit", "jobs", "shown", "--body", "-", "--stage", "dev", typed='{"id": "shown"}')
    assert (bad.code, bad.err.splitlines()[-1]) == (2, "/amount: Field required")
    good = '{"id": "shown", "amount": 1}'
    edited = desk.type("dead", "edit", "jobs", "shown", "--body", "-", "--stage", "dev", typed=good)
    assert (edited.code, edited.err) == (0, "1 edited.\n")
    assert desk.type("dead", "redrive", "jobs", "shown", "--stage", "dev").err == "1 redriven.\n"
    until(lambda: statuses(desk, ["shown"]) == ["processed"], "it is worked off")
    assert whats(desk, "shown") == ["accepted", "failed", "edited", "redriven", "processed"]
    told = desk.told("messages", "show", "jobs", "shown", "--stage", "dev")
    assert (told["body"], told["error"]) == ({"id": "shown", "amount": 1}, None)

    again = desk.type("dead", "redrive", "jobs", "shown", "--stage", "dev")
    assert again.code == 2
    assert again.err.startswith("shown is no dead letter: it is ")


def test_a_redrive_of_the_deployed_app_is_tried_first_and_goes_at_a_rate(desk: Desk) -> None:
    keys = [f"r{n}" for n in range(5)]
    bury(desk, **dict.fromkeys(keys, 2))
    some = ("jobs", "--kind", "OSError", "--stage", "dev")

    dry = desk.type("dead", "redrive", *some, "--dry-run")
    assert dry.out == "5 of 5 dead letters would pass the gate as they are.\n"
    assert desk.type("dead", "redrive", *some).err == "There is nobody to ask; say --yes.\n"
    began_s = time.monotonic()
    assert desk.type("dead", "redrive", *some, "--yes", "--rate", "5").err == "5 redriven.\n"
    assert time.monotonic() - began_s > 0.8
    assert [whats(desk, key)[:3] for key in keys] == [["accepted", "failed", "redriven"]] * 5
    until(lambda: set(statuses(desk, keys)) == {"processed"}, "all are worked off")


def test_a_redrive_of_the_deployed_app_that_is_killed_is_gone_on_with_and_each_is_processed_once(desk: Desk) -> None:
    keys = [f"k{n}" for n in range(12)]
    bury(desk, **dict.fromkeys(keys, 2))
    words = ("dead", "redrive", "jobs", "--kind", "OSError", "--yes", "--stage", "dev")
    with desk.typing(*words, "--rate", "0.2"):
        until(lambda: statuses(desk, keys).count("failed") < len(keys), "it has begun")
    left = statuses(desk, keys).count("failed")
    assert 0 < left < len(keys)

    assert desk.type(*words).err == f"{left} redriven.\n"
    until(lambda: set(statuses(desk, keys)) == {"processed"}, "all are worked off")
    for key in (keys[0], keys[-1]):  # the last and the first that were put back
        assert whats(desk, key) == ["accepted", "failed", "redriven", "processed"]
    assert desk.type(*words).err == "There is no such dead letter.\n"


def statuses(desk: Desk, keys: Sequence[str]) -> list[str]:
    """What the rows of jobs say."""
    (told,) = [it for it in json.loads((desk.folder / "outputs.json").read_text()).values() if "JobsTableName" in it]
    table = told["JobsTableName"]
    rows = desk.emulator.client("dynamodb").scan(TableName=table, ConsistentRead=True)["Items"]
    return [row["status"]["S"] for row in rows if row["id"]["S"] in keys]


def test_a_dead_letter_of_the_deployed_app_is_given_up_with_a_reason_that_stays(desk: Desk) -> None:
    bury(desk, given_up=-1)

    done = desk.type("dead", "--stage", "dev", "discard", "jobs", "given_up", "--reason", "a test order", "--yes")
    assert (done.code, done.err) == (0, "1 discarded.\n")

    shown = desk.type("messages", "show", "jobs", "given_up", "--stage", "dev")
    assert "status: discarded" in shown.err
    assert shown.err.splitlines()[-1].endswith("discarded  a test order")


def test_records_of_the_deployed_app_are_read_and_its_consumers_are_told(desk: Desk) -> None:
    url = desk.at(desk.told("outputs"))
    for n in (1, 2, -3):
        sent = desk.type("send", "events", json.dumps({"n": n}), "--stage", "dev", *url)
        assert sent.err == "202 Accepted\n", sent.out

    lines = [
        json.loads(line) for line in desk.type("stream", "read", "events", "--stage", "dev", "--json").out.splitlines()
    ]
    assert sorted(line["body"]["n"] for line in lines) == [-3, 1, 2]
    assert desk.type("stream", "read", "events", "--stage", "dev", "--from", "latest").out == ""
    last = next(line for line in lines if line["body"]["n"] == -3)
    place = ("--shard", last["shard"], "--from", last["sequence"])
    behind = desk.type("stream", "read", "events", "--stage", "dev", *place, "--json").out.splitlines()
    assert all(json.loads(line)["shard"] == last["shard"] for line in behind)

    (consumer,) = desk.told("stream", "status", "--stage", "dev")["consumers"]
    assert (consumer["channel"], consumer["consumer"], consumer["shard"]) == ("events", "seen", None)

    def buried() -> Any:
        return desk.told("dead", "list", "events", "--stage", "dev")["groups"]

    (group,) = until(buried, "the bad record is a dead letter")
    assert (group["kind"], group["error"]) == ("Permanent", "negative n")
    shown = desk.type("dead", "show", "events", group["sample"], "--scope", "seen", "--stage", "dev")
    assert shown.out == '{"n": -3}'


def test_how_far_a_consumer_of_the_deployed_app_is_behind_is_what_cloudwatch_knows(desk: Desk) -> None:
    name = function(desk, "SeenConsumer")
    told = {"MetricName": "IteratorAge", "Dimensions": [{"Name": "FunctionName", "Value": name}], "Value": 4200}
    desk.emulator.client("cloudwatch").put_metric_data(Namespace="AWS/Lambda", MetricData=[told])

    status = desk.type("stream", "status", "events", "--stage", "dev").out.splitlines()
    assert status[1].split() == ["events", "seen", "-", "-", "-", "-", "4.2"]


def test_a_replay_of_the_deployed_app_goes_to_one_consumer_and_tells_how_far_it_came(desk: Desk) -> None:
    url = desk.at(desk.told("outputs"))
    for n in (101, 102, 103):
        assert desk.type("send", "events", json.dumps({"n": n}), "--stage", "dev", *url).code == 0
    name = function(desk, "SeenConsumer")
    until(lambda: "saw 103" in log_of(desk, name), "it is consumed")
    records = [
        json.loads(line) for line in desk.type("stream", "read", "events", "--json", "--stage", "dev").out.splitlines()
    ]
    (last,) = (record for record in records if record["body"]["n"] == 103)
    stage = ("--from", "start", "--stage", "dev")

    dry = desk.type("replay", "events", "seen", *stage, "--dry-run")
    assert dry.out == f"{len(records)} records would go to seen.\n"
    assert log_of(desk, name).count("saw 103") == 1
    one_shard = ("--shard", last["shard"], "--to", last["sequence"])
    shorter = desk.type("replay", "events", "seen", *stage, *one_shard)
    mine = [one for one in records if one["shard"] == last["shard"] and int(one["sequence"]) <= int(last["sequence"])]
    assert shorter.out == f"{len(mine)} record{'s' * (len(mine) > 1)} went to seen.\n"
    assert log_of(desk, name).count("saw 103") == 2
    assert desk.type("replay", "events", "seen", *stage).out == f"{len(records)} records went to seen.\n"
    assert log_of(desk, name).count("saw 103") == 3

    none = desk.type("replay", "events", "seen", "--from", "latest", "--stage", "dev")
    assert (none.code, none.err) == (1, "There is no record in that range.\n")
    unknown = desk.type("replay", "events", "seen", *stage, "--shard", "shard-7")
    assert (unknown.code, unknown.err.split(";")[0]) == (2, "shard-7 is not a shard of /events")
    assert desk.type("replay", "events", "seen", *stage, "--no-wait").code == 2


def test_a_replay_of_the_deployed_app_that_is_stuck_says_how_to_go_on_and_can_be_gone_on_with(desk: Desk) -> None:
    url = desk.at(desk.told("outputs"))
    assert desk.type("send", "events", json.dumps({"n": 200}), "--stage", "dev", *url).code == 0
    name = function(desk, "SeenConsumer")
    until(lambda: "saw 200" in log_of(desk, name), "it is consumed")
    functions = desk.emulator.client("lambda")
    whole = functions.get_function_configuration(FunctionName=name)["Handler"]
    functions.update_function_configuration(FunctionName=name, Handler="gone.handler")
    try:
        stuck = desk.type("replay", "events", "seen", "--from", "start", "--stage", "dev")
    finally:
        functions.update_function_configuration(FunctionName=name, Handler=whole)
    assert (stuck.code, stuck.out) == (1, "")
    why, how, *lines = stuck.err.splitlines()
    assert why.startswith("seen does not get past the record ")
    assert ": its function ended with Runtime." in why
    assert how == "To go on from here:"

    before = log_of(desk, name).count("saw 200")
    for line in lines:
        desk.type(*line.split()[1:])
    assert log_of(desk, name).count("saw 200") == before + 1


def function(desk: Desk, duty: str) -> str:
    """The name of the one function that has such a name in the app."""
    pages = desk.emulator.client("lambda").get_paginator("list_functions").paginate()
    names = [it["FunctionName"] for page in pages for it in page["Functions"]]
    (name,) = [name for name in names if duty in name and name.startswith("commands-")]
    return str(name)


def log_of(desk: Desk, function: str) -> str:
    """All that a function has written."""
    config = desk.emulator.client("lambda").get_function_configuration(FunctionName=function)
    pages = desk.emulator.client("logs").get_paginator("filter_log_events")
    found = pages.paginate(logGroupName=config["LoggingConfig"]["LogGroup"])
    return "\n".join(event["message"] for page in found for event in page["events"])


def test_alarms_of_the_deployed_app_are_listed_with_the_state_that_cloudwatch_has(desk: Desk) -> None:
    found = {alarm["name"]: alarm["state"] for alarm in desk.told("alarms", "--stage", "dev")["alarms"]}

    assert found.keys() >= {"jobs-dead-letters", "events-seen-lag"}
    assert set(found.values()) <= {"OK", "ALARM", "INSUFFICIENT_DATA"}


def test_schedules_of_the_deployed_app_are_listed_with_the_times_that_are_known(desk: Desk) -> None:
    told = desk.told("schedule", "list", "--next", "2", "--stage", "dev")
    listed = {one["name"]: one["next"] for one in told}

    assert [at[11:] for at in listed["nightly"]] == ["02:00:00.000Z"] * 2
    assert listed["once"] == ["2198-12-31T23:00:00.000Z"]
    assert {one["name"]: (one["about"], one["timezone"]) for one in told} == {
        "nightly": (False, "UTC"), "once": (False, "Europe/Vienna"), "often": (True, "UTC"),
    }  # fmt: skip
    first, second = (datetime.fromisoformat(at) for at in listed["often"])
    assert second - first == timedelta(days=30)
    assert abs(first - timedelta(days=30) - datetime.now(UTC)) < timedelta(minutes=30)
    assert f"~{listed['often'][0]}" in desk.type("schedule", "list", "--stage", "dev").out


def test_a_stage_that_was_never_deployed_is_told(desk: Desk) -> None:
    done = desk.type("messages", "list", "--stage", "prod")

    assert done.code == 2
    assert done.err == "commands (stage prod) is not deployed here: `headgate deploy --stage prod`.\n"


def test_the_doctor_knows_the_account(desk: Desk) -> None:
    found = {finding["what"]: finding["state"] for finding in json.loads(desk.type("doctor", "--aws", "--json").out)}

    assert (found["credentials"], found["bootstrap"]) == ("ok", "ok")
