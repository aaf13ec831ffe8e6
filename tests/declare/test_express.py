"""An Express workflow around which a message is claimed and its end written, run by our own interpreter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from headgate.declare import asl
from headgate.declare.compile import Machine
from headgate.declare.express import addressed, noted
from headgate.engine import Execution
from headgate.local.executions.ledger import Workflow
from headgate.local.executions.services import TaskFailed
from tests.local.executions.site import Site, machine

DOUBLE = machine(Double={"Type": "Pass", "Parameters": {"twice.$": "States.Array($.n, $.n)"}, "End": True})
BOOM = machine(Boom={"Type": "Fail", "Error": "Boom", "Cause": "said so"})
SPOKEN: Machine = {
    "QueryLanguage": "JSONata",
    "TimeoutSeconds": 100,
    **machine(
        Each={
            "Type": "Map",
            "Items": "{% [$states.input.n, 2] %}",
            "ItemProcessor": machine(Add={"Type": "Pass", "Output": "{% $states.input + 1 %}", "End": True}),
            "End": True,
        }
    ),
}
LOOK = machine(Look={"Type": "Pass", "Parameters": {"given.$": "$"}, "End": True})


class Row:
    """The function that such a machine asks, and what it was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.claimed = True
        self.failures = 0

    def __call__(self, name: str, event: Any, _: str) -> Any:
        if self.failures:
            self.failures -= 1
            raise TaskFailed("Lambda.TooManyRequestsException", "busy")
        assert name == "the-function"
        self.told.append(event["headgate"])
        return {"claimed": self.claimed}


@pytest.fixture
def row() -> Row:
    return Row()


@pytest.fixture
def site(tmp_path: Path, row: Row) -> Iterator[Site]:
    documents = {"double": DOUBLE, "boom": BOOM, "spoken": SPOKEN, "look": LOOK}
    known = {name: Workflow(noted(document), "EXPRESS") for name, document in documents.items()}
    site = Site(tmp_path, known, row)
    yield site
    site.close()


def ended(site: Site, workflow: str, input: str) -> Execution:
    started = site.executions.start(workflow, "one", input)
    site.settle()
    site.clock.advance(10)
    site.settle()
    found = site.executions.describe(started.id)
    assert found is not None
    return found


def of_message(given: Mapping[str, Any]) -> str:
    return addressed(json.dumps(given), "the-function", "requests", "me", "key ä")


@pytest.mark.parametrize("document", [DOUBLE, BOOM, SPOKEN, LOOK])
def test_a_machine_around_a_good_one_is_good(document: Machine) -> None:
    assert asl.refusals(noted(document)) == []


def test_a_message_is_claimed_first_and_its_end_written_last(site: Site, row: Row) -> None:
    execution = ended(site, "double", of_message({"n": 1}))
    assert json.loads(execution.output or "") == {"twice": [1, 1]}
    address = {"ended": "the-function", "channel": "requests", "scope": "me", "key": "key ä"}
    assert row.told == [
        {"what": "claim", "execution": execution.id, "message": address},
        {"what": "SUCCEEDED", "execution": execution.id, "message": address},
    ]


def test_an_error_is_written_and_is_the_error_of_the_execution(site: Site, row: Row) -> None:
    execution = ended(site, "boom", of_message({}))
    assert (execution.status, execution.error, execution.cause) == ("FAILED", "Boom", "said so")
    assert {"what": "FAILED", "error": "Boom", "cause": "said so"}.items() <= row.told[-1].items()


def test_what_another_execution_has_claimed_is_left_alone(site: Site, row: Row) -> None:
    row.claimed = False
    assert ended(site, "boom", of_message({})).status == "SUCCEEDED"
    assert [told["what"] for told in row.told] == ["claim"]


def test_a_workflow_in_jsonata_stays_one(site: Site) -> None:
    execution = ended(site, "spoken", of_message({"n": 1}))
    assert json.loads(execution.output or "") == [2, 3]


def test_the_workflow_is_handed_what_it_would_be_handed_without(site: Site, row: Row) -> None:
    assert json.loads(ended(site, "look", of_message({"n": 1})).output or "") == {"given": {"n": 1}}
    row.told.clear()
    assert json.loads(ended(site, "look", '{"n": 1}').output or "") == {"given": {"n": 1}}
    assert row.told == []


def test_without_a_message_an_error_is_the_error_too(site: Site, row: Row) -> None:
    assert (ended(site, "boom", "[]").error, row.told) == ("Boom", [])


def test_a_function_that_is_busy_is_asked_again(site: Site, row: Row) -> None:
    row.failures = 1
    assert ended(site, "double", of_message({"n": 1})).status == "SUCCEEDED"
