"""Definitions with something wrong in them are refused in sentences, or run as the others do."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.declare.asl import refusals
from headgate.local.executions import Workflow
from tests.cases import cases_folder
from tests.local.executions.killed import EVERY_KIND
from tests.local.executions.site import Site

MUTANTS = int(os.environ.get("HEADGATE_MUTANTS", "1500"))
_ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "$",
    "$.a[",
    "$$",
    "$a",
    "{% 1 + %}",
    "{% $x %}",
    "States.Format('{}')",
    [],
    {},
    [None],
    {"a": 1},
    {"a.$": "b"},
    ["States.ALL"],
    [["x"]],
    "JSONata",
    "DISTRIBUTED",
    "2024-01-01T00:00:00Z",
]


def seeds() -> list[Any]:
    found = {}
    with (cases_folder() / "asl" / "executions.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            case = json.loads(line)
            found["-".join(sorted(case["features"]))] = (case["definition"], case["input"])
    return [*found.values(), (EVERY_KIND, {"n": 1, "items": [1]})]


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in the document but the whole."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield (*way, key)
        yield from places(member, (*way, key))


def mutant(dice: random.Random, document: Any) -> Any:
    document = copy.deepcopy(document)
    for _ in range(dice.choice((1, 1, 2))):
        *way, last = dice.choice(list(places(document)))
        holder = document
        for key in way:
            holder = holder[key]
        match dice.randrange(4):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, dict):
                holder[dice.choice(("Next", "End", "Parameters", "Output", "Retry", "Catch", "ResultPath", "Odd"))] = (
                    dice.choice(_ODD)
                )
            case _:
                holder[last] = copy.deepcopy(dice.choice(_ODD))
        if not document:
            return document
    return document


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, {})
    yield site
    site.close()


def test_a_mutant_is_refused_in_sentences_or_runs_without_a_mistake_of_ours(site: Site) -> None:
    dice = random.Random(MUTANTS)
    known = seeds()
    refused = 0
    for _ in range(MUTANTS):
        document, input = dice.choice(known)
        changed = mutant(dice, document)
        faults = refusals(changed)
        assert all(isinstance(fault, str) and fault.endswith(".") for fault in faults), changed
        if faults:
            refused += 1
            continue
        site.executions.workflows["mutant"] = Workflow(changed)
        id = site.executions.start("mutant", None, json.dumps(input)).id
        with contextlib.suppress(TimeoutError):  # it goes round and round
            site.executions.settle(1)
        found = site.executions.describe(id)
        assert found is not None
        assert "headgate could not" not in (found.cause or ""), json.dumps(changed)
        site.executions.stop(id)
    assert MUTANTS / 5 < refused < MUTANTS
