"""What of Amazon States Language is refused when the app loads, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.declare.asl import refusals
from tests.cases import cases_folder


def machine(**states: Any) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


def definitions(file: str) -> Iterator[Any]:
    with (cases_folder() / "asl" / file).open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["definition"]


END = {"Type": "Pass", "End": True}


def test_every_recorded_definition_is_accepted() -> None:
    assert [refusals(definition) for definition in definitions("executions.jsonl") if refusals(definition)] == []


@pytest.mark.parametrize("file", ["invalid-definitions.jsonl", "validate-api.jsonl"])
def test_every_definition_that_aws_refused_is_refused(file: str) -> None:
    assert all(refusals(definition) for definition in definitions(file))


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ([], "The definition is no JSON object."),
        ({"StartAt": "A"}, "The definition: these fields are required: States."),
        ({"StartAt": "B", "States": {"A": END}}, "The definition: StartAt names 'B', which is no state of it."),
        (machine(A={"Type": "Pass", "Next": "B"}), "State 'A': Next names 'B', which is no state beside it."),
        (machine(A=END, B=END), "State 'B': no other state leads to it."),
        (machine(A={"Type": "Pass"}), "State 'A': it needs either Next or End: true."),
        (machine(A={"Type": "Pass", "Next": "A"}), "The definition: no state ends it."),
        (
            machine(A={"Type": "Nap", "End": True}),
            "State 'A': the type 'Nap' is not known; there are Task, Choice, Wait, Pass, Map, Parallel, Succeed, Fail.",
        ),
        (machine(A={**END, "Colour": 1}), "State 'A': the field Colour is not known for the type Pass."),
        (
            machine(A={**END, "Output": 1}),
            "State 'A': Output belongs to the other query language; this state's is JSONPath.",
        ),
        (
            machine(A={"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "End": True}),
            "State 'A': arn:aws:states:::sqs:sendMessage.waitForTaskToken waits for a callback or a job, which "
            "headgate does not; use request and response.",
        ),
        (
            machine(A={"Type": "Task", "Resource": "arn:aws:states:::sns:publish", "Parameters": {}, "End": True}),
            "State 'A': arn:aws:states:::sns:publish needs Message.",
        ),
        (
            machine(A={"Type": "Map", "ItemReader": {}, "ItemProcessor": machine(B=END), "End": True}),
            "State 'A': ItemReader (reading items from S3) is nothing that headgate does.",
        ),
        (
            machine(A={"Type": "Map", "ToleratedFailureCount": 1, "ItemProcessor": machine(B=END), "End": True}),
            "State 'A': ToleratedFailureCount needs ProcessorConfig.Mode: DISTRIBUTED.",
        ),
        (
            machine(A={"Type": "Parallel", "Branches": [machine(B={"Type": "Pass", "Next": "A"})], "End": True}),
            "State 'B': Next names 'A', which is no state beside it.",
        ),
        (machine(A={**END, "Parameters": {"a.$": "b"}}), "is neither a path nor a call of an intrinsic function"),
        (machine(A={**END, "Parameters": {"a.$": "States.Shout($)"}}), "there is no intrinsic function States.Shout"),
        (machine(A={**END, "InputPath": "$.a.length()"}), "'$.a.length()' is no path"),
        (machine(A={**END, "ResultPath": "$.a[*]"}), "may only name members and elements"),
        (machine(A={**END, "QueryLanguage": "JSONata", "Output": "{% 1 + %}"}), "'1 +' is no JSONata"),
        *(
            (machine(A={**END, "QueryLanguage": "JSONata", "Output": {"x": f"{{% {expression} %}}"}}), reason)
            for expression, reason in (
                ("phone", "Output/x: 'phone' is read from nothing; what a state is handed is $states.input.phone"),
                ("$map($states.input.a, function($x){ b })", "'b' is read from nothing"),
                ("$exists(a.b) ? 1 : 2", "'a' is read from nothing"),
                ("[1, {'x': c}]", "'c' is read from nothing"),
                ("$$.a", "$$ is nothing here"),
                ("$eval('1')", "Step Functions has no $eval; $parse reads JSON"),
            )
        ),
        (machine(A={**END, "Assign": {"states": 1}}), "State 'A': Assign: 'states' is no name of a variable."),
        (machine(A={"Type": "Wait", "End": True}), "it needs exactly one of Seconds"),
        (
            machine(A={"Type": "Choice", "Choices": [{"Variable": "$.a", "NumericEquals": "1", "Next": "B"}]}, B=END),
            "State 'A': Choices[0]: NumericEquals cannot compare with '1'.",
        ),
        (
            machine(
                A={
                    "Type": "Task",
                    "Resource": "arn:aws:lambda:eu-west-1:1:function:f",
                    "Retry": [{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["E"]}],
                    "End": True,
                }
            ),
            "State 'A': Retry[0]: States.ALL has to stand alone, and in the last place.",
        ),
    ],
)
def test_what_cannot_run_is_refused_with_the_state_and_the_reason(definition: Any, reason: str) -> None:
    faults = refusals(definition)
    assert any(reason in fault for fault in faults), faults


@pytest.mark.parametrize(
    "expression",
    [
        "$states.input.items[value > 3].(name & ' ' & other)",
        "$sort($states.input.a, function($l, $r){ $l.n > $r.n })",
        "$states.input.a^(>n).{ 'x': n }",
        "($total := $sum($states.input.a.n); { 'total': $total, 'all': $count($states.input.a) })",
        "$states.input ~> |a|{'b': c}|",
        "$mine.a[b = 'c']",
    ],
)
def test_names_within_a_path_are_read_from_what_it_leads_to(expression: str) -> None:
    assert refusals(machine(A={**END, "QueryLanguage": "JSONata", "Output": f"{{% {expression} %}}"})) == []


def test_all_faults_are_told_at_once() -> None:
    assert len(refusals(machine(A={"Type": "Wait"}, B={"Type": "Pass", "Colour": 1}))) == 4
