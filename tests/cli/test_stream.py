"""headgate stream"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.shell import run, running

APP = """
from headgate import App, Public, Stream

app = App("shop")
app.channel("/events", name="events", delivery=Stream(shards=2), auth=Public())
app.channel("/notes", auth=Public())
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
