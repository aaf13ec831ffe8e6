"""headgate stream"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.shell import run, running, until
from tests.serving import ask

APP = """
from pathlib import Path

from headgate import App, Permanent, Public, Stream

app = App("shop")
app.channel("/events", name="events", delivery=Stream(shards=2), auth=Public())
app.channel("/notes", auth=Public())
counted = app.channel("/counted", delivery=Stream(shards=2, attempts=100), auth=Public(), batch=10)


@counted
def totals(events):
    if any(event.get("block") for event in events):
        raise OSError


failed = app.channel("/failed", key="id", delivery=Stream(shards=2), auth=Public(), batch=1)


@failed
def one(event):
    attempt("one", event)


@failed
def two(event):
    attempt("two", event)


def attempt(who, event):
    if not Path("mended").exists():
        raise Permanent("not yet")
    print("mended", who, event["id"])


@counted
def note(events):
    for event in events:
        print("note", event["n"])
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def bodies(out: str) -> list[object]:
    return [json.loads(line)["body"] for line in out.splitlines()]


def test_records_are_read_beside_a_running_server(desk: Path) -> None:
    with running(desk, "serve") as server:
        for n in range(5):
            assert server.post("/events", json.dumps({"n": n})).status == 202

        lines = run(desk, "stream", "read", "events", "--json").out
        assert bodies(lines) == [{"n": n} for n in range(5)]
        assert bodies(run(desk, "stream", "read", "events", "--json", "--limit", "2").out) == [{"n": 0}, {"n": 1}]
        third = json.loads(lines.splitlines()[2])
        assert bodies(run(desk, "stream", "read", "events", "--json", "--from", third["received_at"]).out)[-1] == {
            "n": 4
        }
        assert bodies(run(desk, "stream", "read", "events", "--json", "--from", third["sequence"]).out) == [
            {"n": 3},
            {"n": 4},
        ]
        assert run(desk, "stream", "read", "events", "--from", "latest").out == ""
        shards = {json.loads(line)["shard"] for line in lines.splitlines()}
        of_each = [run(desk, "stream", "read", "events", "--shard", shard).out for shard in sorted(shards)]
        assert sum(len(out.splitlines()) for out in of_each) == 5
        assert all(shard in out for shard, out in zip(sorted(shards), of_each, strict=True))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("notes",), "/notes has no stream"),
        (("events", "--from", "yesterday"), "say start, latest, a time"),
        (("events", "--shard", "x"), "x is not a shard of /events; it has shardId-000000000000, "),
    ],
)
def test_what_cannot_be_read_is_told(desk: Path, arguments: tuple[str, ...], told: str) -> None:
    with running(desk, "serve"):
        refused = run(desk, "stream", "read", *arguments)
    assert refused.code == 2
    assert told in refused.err
    assert "Traceback" not in refused.err


def test_status_and_metrics_tell_how_far_consumers_are(desk: Path) -> None:
    with running(desk, "serve") as server:
        assert server.post("/counted", '{"n": 0, "block": true}').status == 202
        for n in range(1, 3):
            server.post("/counted", json.dumps({"n": n}))
        server.says("note 2")

        def behind() -> dict[str, int]:
            told = json.loads(run(desk, "stream", "status", "counted", "--json").out)["consumers"]
            return {name: sum(one["behind"] for one in told if one["consumer"] == name) for name in ("totals", "note")}

        until(lambda: behind()["note"] == 0, "it is written down")
        assert behind()["totals"] >= 1
        table = run(desk, "stream", "status").out
        assert table.splitlines()[0].split()[:4] == ["CHANNEL", "CONSUMER", "SHARD", "REPLAY"]
        metrics = ask(server.port, "GET", "/-/metrics").body.decode()
        lags = [line for line in metrics.splitlines() if line.startswith('headgate_stream_lag_ms{channel="counted"')]
        assert len(lags) == 4
        assert any('consumer="totals"' in line and not line.endswith(" 0.0") for line in lags)


def test_a_replay_goes_to_one_consumer_alone_and_is_waited_for(desk: Path) -> None:
    with running(desk, "serve") as server:
        for n in range(5):
            server.post("/counted", json.dumps({"n": n}))
        server.says("note 4")
        first = json.loads(run(desk, "stream", "read", "counted", "--json", "--limit", "1").out)
        range_ = ("counted", "note", "--from", first["sequence"])
        assert run(desk, "replay", *range_, "--dry-run").out == "4 records would go to note.\n"
        assert run(desk, "replay", *range_).out == "4 records went to note.\n"
        said = [line.split("note ")[1] for line in server.err.splitlines() if "note " in line]
        assert sorted(said) == ["0", "1", "1", "2", "2", "3", "3", "4", "4"]
        assert run(desk, "replay", "counted", "note", "--from", "latest").code == 1


def test_a_replay_is_begun_when_the_app_is_served_again(desk: Path) -> None:
    with running(desk, "serve") as server:
        server.post("/counted", '{"n": 7}')
        server.says("note 7")
    assert run(desk, "replay", "counted", "note", "--from", "start").out == (
        "1 record will go to note when the app is served.\n"
    )
    with running(desk, "serve") as server:
        server.says("note 7")


def test_a_dead_letter_of_a_consumer_is_shown_and_redriven_to_it_alone(desk: Path) -> None:
    with running(desk, "serve") as server:
        server.post("/failed", '{"id": "a"}')
        until(lambda: "2" in run(desk, "dead", "list", "failed").out.split(), "both gave it up")
        shown = run(desk, "dead", "show", "failed", "a")
        assert (shown.code, "Several consumers have the key a: one, two." in shown.err) == (2, True)
        assert run(desk, "dead", "show", "failed", "a", "--scope", "one").out == '{"id": "a"}'
        (desk / "mended").touch()
        assert run(desk, "dead", "redrive", "failed", "a", "--scope", "one").code == 0
        server.says("mended one a")
        assert "mended two" not in server.err
        until(lambda: "1" in run(desk, "dead", "list", "failed").out.split(), "the other one stays")
        assert run(desk, "dead", "show", "failed", "a", "--scope", "two").code == 0


def test_dead_letters_of_a_consumer_that_is_gone_stay_and_it_is_said(desk: Path) -> None:
    with running(desk, "serve") as server:
        server.post("/failed", '{"id": "a"}')
        until(lambda: "2" in run(desk, "dead", "list", "failed").out.split(), "both gave it up")
    (desk / "app.py").write_text(APP.replace("def two(event)", "def three(event)"))
    stays = "1 dead letter will stay: the app has no consumer two of /failed any more.\n"
    told = run(desk, "dead", "redrive", "failed", "--all", "--dry-run").out.splitlines()
    assert told[1] == "1 would not: the app has no consumer two of /failed any more"
    alone = run(desk, "dead", "redrive", "failed", "a", "--scope", "two")
    assert (alone.code, alone.err) == (2, f"{stays}Nothing was redriven.\n")
    done = run(desk, "dead", "redrive", "failed", "--all", "--yes")
    assert (done.code, done.err) == (0, f"{stays}1 redriven.\n")
    assert "1" in run(desk, "dead", "list", "failed").out.split()


def test_only_a_consumer_is_replayed_to(desk: Path) -> None:
    refused = run(desk, "replay", "counted", "nobody", "--from", "start")
    assert (refused.code, refused.err) == (2, "/counted has no consumer nobody; it has totals, note.\n")
