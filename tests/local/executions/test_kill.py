"""SIGKILL at every kind of state: each execution ends as it would have, and only tasks are asked for twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headgate.declare.asl_fields import KINDS
from tests.cases import ROOT
from tests.serving import PATIENCE_S

# CI kills once in each kind of state; HEADGATE_KILLS=200 kills so often besides, at points that are drawn.
KILLS = int(os.environ.get("HEADGATE_KILLS", "0"))


class Ended(NamedTuple):
    """How the executions ended: status, output, error and the types of the events; and what was asked for."""

    told: list[Any]
    effects: Counter[str]
    written: list[list[str]]


def run(folder: Path, point: str = "") -> int:
    command = [sys.executable, "-m", "tests.local.executions.killed", str(folder), point]
    with (folder / "told").open("w") as told:
        return subprocess.run(command, cwd=ROOT, stdout=told, timeout=PATIENCE_S, check=False).returncode


def ended(folder: Path) -> Ended:
    told = json.loads((folder / "told").read_text())
    for execution in told:
        execution[1] = without_id(execution[1])
    effects = Counter(line for line in (folder / "effects").read_text().splitlines())
    return Ended(told, effects, [json.loads(line) for line in (folder / "written").read_text().splitlines()])


def without_id(output: str | None) -> Any:
    """The output, with the UUID that every run makes of its own left out."""
    if output is None:
        return None
    found = json.loads(output)
    assert len(found["asked"].pop("id")) == 36
    return found


def in_a_new(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """How it goes when nothing is killed."""
    folder = tmp_path_factory.mktemp("unharmed")
    assert run(folder) == 0
    return ended(folder)


def check(folder: Path, point: str, unharmed: Ended) -> None:
    """Kill at the point, run on to the end, and compare."""
    assert run(folder, point) == -signal.SIGKILL, point
    assert run(folder) == 0, point
    found = ended(folder)
    assert found.told == unharmed.told, point
    assert len(found.effects) == len(unharmed.effects), f"{point}: a task was asked for under another token"
    again = sum(found.effects.values()) - len(found.effects)
    assert again <= 4, f"{point}: {again} tasks were asked for again, more than were under way"


@pytest.mark.parametrize("kind", KINDS)
def test_an_execution_survives_a_kill_in_each_kind_of_state(kind: str, tmp_path: Path, unharmed: Ended) -> None:
    number = next(n for n, types in enumerate(unharmed.written, 1) if any(each.startswith(kind) for each in types))
    for moment in ("before", "after"):
        check(in_a_new(tmp_path / moment), f"{moment}:{number}", unharmed)


def test_a_task_that_was_under_way_is_asked_for_again_under_its_token(tmp_path: Path, unharmed: Ended) -> None:
    check(tmp_path, "during:3", unharmed)
    assert max(ended(tmp_path).effects.values()) == 2


@pytest.mark.slow
@pytest.mark.skipif(not KILLS, reason="HEADGATE_KILLS says how often to kill besides")
def test_no_kill_does_harm(tmp_path: Path, unharmed: Ended, told: Callable[[str], None]) -> None:
    dice = random.Random(KILLS)
    asked_again = 0
    for cycle in range(KILLS):
        folder = in_a_new(tmp_path / str(cycle))
        moment = dice.choice(("before", "after", "during"))
        most = len(unharmed.effects) if moment == "during" else len(unharmed.written) - 2
        check(folder, f"{moment}:{dice.randint(1, most)}", unharmed)
        found = ended(folder)
        asked_again += sum(found.effects.values()) - len(found.effects)
    told(f"{KILLS} kills: every execution ended as without; {asked_again} tasks were asked for again")
