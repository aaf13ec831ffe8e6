"""Every machine that the examples and the tests deploy is one for asl-validator too, which is none of ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate import App
from headgate.cdk.toolkit import environment, node
from headgate.declare.compile import placed
from headgate.declare.express import document_of
from headgate.declare.load import load_app
from headgate.declare.task import local_name
from headgate.testing import flows
from tests.aws.emulator import node as packages
from tests.cases import ROOT, absent
from tests.cdk import test_items, test_starts, works

HERE = Path(__file__).parent
SHIPPED = {"flows": flows.app, "works": works.app, "keeps": test_items.app, "starts": test_starts.app}
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/app.py"))


def apps() -> Iterator[tuple[str, App]]:
    yield from SHIPPED.items()
    for name in EXAMPLES:
        yield name, load_app(f"{ROOT / 'examples' / name / 'app.py'}:app")


def told(machines: dict[str, Any]) -> dict[str, str]:
    """What asl-validator has against each; nothing is an empty text."""
    try:
        packages.install(HERE / "validator")
    except (OSError, subprocess.CalledProcessError) as error:
        absent(f"asl-validator cannot be installed ({error})")
    done = subprocess.run(
        [node(), HERE / "validate.js"], input=json.dumps(machines), capture_output=True, check=True, text=True,
        env={**environment(), "NODE_PATH": str(packages.packages(HERE / "validator"))},
    )  # fmt: skip
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_every_machine_that_is_deployed_is_valid() -> None:
    machines = {
        f"{name}: {workflow.name}": placed(document_of(app, workflow), local_name)
        for name, app in apps()
        for workflow in app.workflows
    }
    assert {"orders", "requests"} <= {*EXAMPLES}
    assert len(machines) > 10
    assert told(machines) == dict.fromkeys(machines, "")


@pytest.mark.parametrize(
    "states", [{"b": {"Type": "Pass", "End": True}}, {"a": {"Type": "Nap", "End": True}}, {"a": {"Type": "Pass"}}]
)
def test_the_validator_refuses_what_is_none(states: dict[str, Any]) -> None:
    assert told({"one": {"StartAt": "a", "States": states}})["one"]
