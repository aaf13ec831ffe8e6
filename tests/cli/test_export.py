"""headgate export"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.shell import run

APP = """
from headgate import App, Public, workflow as w

app = App("shop")
app.channel("/orders", auth=Public())

@app.task
def collect(given): ...

app.workflow("orders", w.task(collect))
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_a_workflow_is_printed_in_amazon_states_language_and_as_a_diagram(shop: Path) -> None:
    document = json.loads(run(shop, "export", "asl", "orders").out)
    resource = "arn:aws:lambda:us-east-1:000000000000:function:collect"
    assert document == {
        "StartAt": "collect",
        "States": {"collect": {"Type": "Task", "Resource": resource, "End": True}},
    }
    assert run(shop, "export", "mermaid").out.startswith("stateDiagram-v2\n")


def test_which_workflow_has_to_be_clear(shop: Path) -> None:
    (shop / "app.py").write_text(APP + 'app.workflow("more", w.succeed())\n')
    assert run(shop, "export", "asl").err == "Say which workflow: orders, more.\n"
    assert run(shop, "export", "asl", "x").err == "There is no workflow x; the app has orders, more.\n"
    (shop / "app.py").write_text(APP.replace('app.workflow("orders", w.task(collect))', ""))
    assert "The app has no workflow" in run(shop, "export", "mermaid").err
