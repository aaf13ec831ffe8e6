"""Made-up definitions on our interpreter and on moto's: where they differ, AWS's documentation says who is right.

moto's interpreter is LocalStack's, which was compared with AWS. CI compares a hundred; HEADGATE_DIFFERENTIAL=2000 more.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings

from headgate.local.executions import Workflow
from tests.local.executions.generated import DEFINITIONS, INPUTS
from tests.local.executions.reasons import reason
from tests.local.executions.site import Site
from tests.serving import PATIENCE_S

COMPARED = int(os.environ.get("HEADGATE_DIFFERENTIAL", "100"))


class Result(NamedTuple):
    status: str
    output: Any
    error: str | None
    cause: str | None


class Moto:
    """moto's interpreter, without its HTTP."""

    def __init__(self) -> None:
        from moto.stepfunctions.parser.models import StepFunctionsParserBackend

        self._backend = StepFunctionsParserBackend("us-east-1", "111111111111")
        self._count = 0

    def run(self, definition: Any, input: Any) -> Result:
        self._count += 1
        role = "arn:aws:iam::111111111111:role/moto"
        machine = self._backend.create_state_machine(f"m{self._count}", json.dumps(definition), role)
        execution = self._backend.start_execution(machine.arn, "run", json.dumps(input), "")
        until = time.monotonic() + PATIENCE_S
        while execution.exec_status in (None, "RUNNING"):
            time.sleep(0.0005)
            if time.monotonic() > until:
                return Result("HUNG", None, None, None)
        self._backend.state_machines.remove(machine)
        return Result(str(execution.exec_status.value), execution.output, execution.error, execution.cause)


@pytest.fixture(scope="module")
def moto() -> Moto:
    return Moto()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


def run_ours(site: Site, definition: Any, input: Any) -> Result:
    site.executions.workflows["generated"] = Workflow(definition)
    id = site.executions.start("generated", None, json.dumps(input)).id
    site.settle()
    found = site.executions.describe(id)
    assert found is not None
    output = None if found.output is None else json.loads(found.output)
    return Result(found.status, output, found.error, found.cause)


def alike(ours: Result, theirs: Result) -> bool:
    """The same status and output, or the same error."""
    if ours.status != theirs.status:
        return False
    if ours.status == "SUCCEEDED":
        return same(ours.output, theirs.output)
    return ours.error == theirs.error


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are the same number (moto reads a negative integer as the latter), true is none."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


@pytest.mark.filterwarnings("ignore")
def test_ours_and_moto_differ_only_for_reasons_that_are_documented(
    moto: Moto, site: Site, told: Callable[[str], None]
) -> None:
    counted: Counter[str] = Counter()

    @settings(
        max_examples=COMPARED, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(DEFINITIONS, INPUTS)
    def compare(definition: Any, input: Any) -> None:
        ours, theirs = run_ours(site, definition, input), moto.run(definition, input)
        if alike(ours, theirs):
            counted["alike"] += 1
            return
        why = reason(definition, ours, theirs)
        assert why is not None, f"\n{json.dumps(definition)}\n{json.dumps(input)}\nours   {ours}\ntheirs {theirs}"
        counted[why] += 1

    compare()
    told("; ".join(f"{count} × {what}" for what, count in counted.most_common()))
    assert counted["alike"] > COMPARED / 2
