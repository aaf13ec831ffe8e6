"""What Step Functions did with 393 definitions, as it was recorded: the local interpreter does the same.

Five cases cannot agree, and say so here with the reason. The comparison is the recorded cases' own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.cases import case_tool, cases_folder
from tests.local.executions.recorded import run
from tests.local.executions.recorded_states import run as run_state

# A part of the case's id: why its record differs from what Step Functions does.
DISAGREE = {
    "test-query-runtime-memory": "the time of a state's entry was replaced by a text that matches no time",
    "test-base-task-lambda-BASE-TASK-LAMBDA": "the function's name was replaced in the output, but not in the input",
    "BASE-SCOPE-PARALLEL": "event 12, ParallelStateSucceeded, was left out of the record: its numbers leave a gap",
    "PARALLEL-STATE-get": "event 18, ParallelStateSucceeded, was left out of the record",
    "PARALLEL-STATE-PARAMETERS": "event 8, ParallelStateSucceeded, was left out of the record",
}


def cases(file: str = "executions.jsonl") -> list[dict[str, Any]]:
    with (cases_folder() / "asl" / file).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("part", range(8))
def test_recorded_executions_agree_in_result_and_history(part: int) -> None:
    judge = case_tool("aslmatch").judge
    for case in cases()[part::8]:
        verdict = judge(case, run(case), "history")
        known = any(each in str(case["id"]) for each in DISAGREE)
        assert (verdict is not None) == known, f"{case['id']}: {verdict}"


def unsupported(case: dict[str, Any]) -> str | None:
    """Why a TestState call is not compared."""
    if "Error" in case["expected"]:
        return "the call itself was refused: a made-up result was checked against the service's schema"
    if "context" in case["request"]:
        return "a made-up context object was handed in"
    if "ItemReader" in json.dumps(case["request"]["definition"]):
        return "ItemReader is refused at load"
    return None


def test_recorded_states_by_themselves_agree(told: Callable[[str], None]) -> None:
    match = case_tool("aslmatch").match
    compared, left_out = 0, Counter[str]()
    for case in cases("teststate.jsonl"):
        if why := unsupported(case):
            left_out[why] += 1
            continue
        expected, came = case["expected"], run_state(case)
        for key in ("status", "output", "error", "cause", "nextState"):
            found = came.get(key)
            written = json.dumps(found) if isinstance(expected.get(key), str) and not isinstance(found, str) else found
            assert key not in expected or match(expected[key], written), f"{case['id']}: {key}"
        compared += 1
    told(f"{compared} TestState calls agree; not compared: " + "; ".join(f"{n} × {why}" for why, n in left_out.items()))
    assert compared == 65
