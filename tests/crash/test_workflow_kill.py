"""Executions that messages start, against kill -9: one for each message, each to its end."""

from __future__ import annotations

import http.client
import json
import os
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash.outside import rows, statuses, until
from tests.serving import ask, free_port, kill, start

APP = Path(__file__).with_name("workflow_app.py")
KILLS = int(os.environ.get("HEADGATE_KILLS", "4"))


def test_each_message_has_one_execution_which_comes_to_its_end(tmp_path: Path, told: Callable[[str], None]) -> None:
    notes, state, port, dice = tmp_path / "notes", tmp_path / "state", free_port(), random.Random(3)
    env = {"NOTES": str(notes)}
    served = start(APP, state, port, env=env)
    acknowledged: set[str] = set()
    quick: set[str] = set()
    lots: set[str] = set()
    try:
        for turn in range(KILLS):
            end_s = time.monotonic() + dice.uniform(0.3, 2.5)
            at = 0
            while time.monotonic() < end_s:
                key = f"{turn}-{at}"
                acknowledged |= _sent(port, key)
                quick |= _posted(port, "/quick", [f"quick-{key}"])
                lots |= _posted(port, "/lots", [f"lots-{key}-{n}" for n in range(3)])
                at += 1
            kill(served)
            served = start(APP, state, port, env=env)
        for key in sorted(acknowledged):  # what was sent again is told the same
            assert _sent(port, key) == {key}
        ends = _ends(state, len(acknowledged | quick | lots))
    finally:
        kill(served)
    counted = notes.read_text().split()
    told(f"{KILLS} kills: {len(acknowledged)} executions, {len(counted)} calls of their tasks")
    assert ends == {"processed"}
    with sqlite3.connect(state / "executions.sqlite3") as store:
        names = [name for (name,) in store.execute("SELECT name FROM execution WHERE arn LIKE '%:orders:%'")]
        statuses = {status for (status,) in store.execute("SELECT status FROM execution")}
    store.close()
    assert len(names) == len(set(names)) >= len(acknowledged)
    assert {f"orders-{key}" for key in acknowledged} <= set(names)
    assert statuses == {"SUCCEEDED"}
    assert set(counted) >= acknowledged
    runs = _runs(state)
    assert (acknowledged | quick | lots) - runs.keys() == set()
    assert {key: n for key, n in runs.items() if n != 1} == {}  # what a table was asked for was done once


def _sent(port: int, key: str) -> set[str]:
    return _posted(port, "/orders", [key])


def _posted(port: int, path: str, keys: list[str]) -> set[str]:
    """The keys, where the answer was yes."""
    items = [{"id": key} for key in keys]
    body = json.dumps(items if path == "/lots" else items[0]).encode()
    try:
        answer = ask(port, "POST", path, body, {"Content-Type": "application/json"})
    except (OSError, http.client.HTTPException):
        return set()
    assert answer.status == 201, answer
    return set(keys)


def _runs(state: Path) -> dict[str, int]:
    """How often the workflow of each message has counted it."""
    found = rows(state, "SELECT key, attributes FROM item WHERE place = 'ledger'")
    return {key: int(json.loads(attributes)["runs"]["N"]) for key, attributes in found}


def _ends(state: Path, least: int) -> set[str]:
    """The statuses of all messages, once none is open."""

    def are_over() -> bool:
        found = statuses(state)
        return found.total() >= least and not {"accepted", "processing"} & found.keys()

    until(are_over, lambda: statuses(state))
    return set(statuses(state))
