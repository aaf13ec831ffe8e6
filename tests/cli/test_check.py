"""headgate check"""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.shell import run


def test_it_lists_what_is_declared(desk: Path) -> None:
    done = run(desk, "check")
    assert done.code == 0
    assert done.out.splitlines() == [
        "METHOD    PATH     MODEL     KEY                     AUTH     KEEP",
        "POST      /notes   Note      id                      anyone   for ever",
        "POST GET  /keyed   any JSON  header Idempotency-Key  API key  for ever",
        "POST GET  /orders  any JSON  made here               JWT      for ever",
    ]


def test_a_script_reads_the_same_as_json(desk: Path) -> None:
    said = json.loads(run(desk, "check", "--json").out)
    assert said["app"] == "desk"
    assert said["faults"] == said["warnings"] == []
    assert said["channels"][0] == {
        "name": "notes",
        "methods": ["POST"],
        "path": "/notes",
        "model": "Note",
        "many": None,
        "key": "id",
        "auth": "anyone",
        "delivery": "direct",
        "indexes": ["topic"],
        "keep_s": None,
    }


def test_every_fault_is_a_line_with_its_place(desk: Path) -> None:
    (desk / "app.py").write_text(
        "from headgate import App, Public\n"
        "app = App('desk')\n"
        "app.channel('/-/mine', auth=Public(), name='mine')\n"
        "app.channel('/notes')\n"
    )
    done = run(desk, "check")
    assert done.code == 2
    assert done.out == ""
    first, second = done.err.splitlines()
    assert first.startswith("app.py:3: channel /-/mine: ")
    assert second.startswith("app.py:4: channel /notes: say who may post")
    faults = json.loads(run(desk, "check", "--json").out)["faults"]
    assert [fault["where"] for fault in faults] == ["app.py:3", "app.py:4"]


def test_a_syntax_error_is_a_fault_like_any_other(desk: Path) -> None:
    (desk / "app.py").write_text("app = (\n")
    done = run(desk, "check")
    assert (done.code, done.err) == (2, "app.py:1: this is not valid Python: '(' was never closed.\n")


def test_what_is_probably_not_meant_is_a_warning(desk: Path) -> None:
    (desk / "app.py").write_text(
        "from headgate import App, Public\napp = App('desk')\napp.channel('/a', auth=Public(), stamp={'at': 1})\n"
    )
    done = run(desk, "check")
    assert done.code == 0
    assert done.err.startswith("warning: app.py:3: channel /a: ")
