"""What each kind of state does, beyond what was recorded: data flow, errors, variables, both query languages."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.declare.asl import refusals
from headgate.errors import NotRun
from headgate.local.executions import Workflow
from headgate.local.executions.services import TaskFailed
from tests.local.executions.site import Site, end, machine

TASK = {"Type": "Task", "Resource": "arn:aws:lambda:local:000000000000:function:f"}
END = {"Type": "Pass", "End": True}
RUNTIME = "An error occurred while executing the state 'A' (entered at the event id #2). "

Run = Callable[..., tuple[str, Any, str | None]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, {})
    yield site
    site.close()


@pytest.fixture
def run(site: Site) -> Run:
    """Runs a definition to its end: status, output or error, cause."""

    def run(document: dict[str, Any], input: Any = None, *, wait_s: int = 0) -> tuple[str, Any, str | None]:
        assert refusals(document) == []
        site.executions.workflows["it"] = Workflow(document)
        return end(site, document, input, wait_s=wait_s)

    return run


def types(site: Site) -> list[str]:
    (last, *_) = site.executions.find(limit=1).executions
    return [event.type for event in site.executions.history(last.id)]


@pytest.mark.parametrize(
    ("state", "input", "output"),
    [
        ({"InputPath": "$.a"}, {"a": 1}, 1),
        ({"InputPath": None}, {"a": 1}, {}),
        ({"OutputPath": "$.a"}, {"a": [1]}, [1]),
        ({"OutputPath": None}, {"a": 1}, {}),
        ({"Result": {"x.$": "$.a"}, "ResultPath": "$.r"}, {"a": 1}, {"a": 1, "r": {"x.$": "$.a"}}),
        ({"Result": 2, "ResultPath": "$.a.b.c"}, {"a": {"z": 0}}, {"a": {"z": 0, "b": {"c": 2}}}),
        ({"Result": 2, "ResultPath": None}, {"a": 1}, {"a": 1}),
        ({"Result": 2, "ResultPath": "$.a[1]"}, {"a": [0, 0]}, {"a": [0, 2]}),
        ({"Parameters": {"x.$": "$$.Execution.Input.a", "y": [{"z.$": "$.a"}]}}, {"a": 1}, {"x": 1, "y": [{"z": 1}]}),
        ({"Parameters": {"x.$": "$.a[?(@.n > 1)].n"}}, {"a": [{"n": 1}, {"n": 2}, {"n": 3}]}, {"x": [2, 3]}),
        ({"Parameters": {"x.$": "$..n"}}, {"a": [{"n": 1}, {"n": 2}]}, {"x": [1, 2]}),
        ({"Parameters": {"x.$": "$.nothing[*]"}}, {}, {"x": []}),
        ({"Parameters": {"x.$": "$['a b'].c"}}, {"a b": {"c": 1}}, {"x": 1}),
    ],
)
def test_a_pass_state_selects_and_places(run: Run, state: dict[str, Any], input: Any, output: Any) -> None:
    assert run(machine(A={"Type": "Pass", **state, "End": True}), input) == ("SUCCEEDED", output, None)


def test_numbers_and_texts_survive(run: Run) -> None:
    input = {"big": 12345678901234567890, "true": True, "float": 2.5, "text": "ä\u2028😀\ud83d", "null": None}
    document = machine(A={**END, "Parameters": {"all.$": "$"}})
    assert run(document, {**input, "text": "ä\u2028😀"}) == ("SUCCEEDED", {"all": {**input, "text": "ä\u2028😀"}}, None)


@pytest.mark.parametrize(
    ("state", "error", "cause"),
    [
        (
            {"Parameters": {"x.$": "$.b"}},
            "States.Runtime",
            RUNTIME + "The JSONPath '$.b' specified for the field 'x.$' could not be found in the input '{\"a\":1}'",
        ),
        ({"InputPath": "$.b"}, "States.Runtime", RUNTIME + "Invalid path '$.b': it leads nowhere in InputPath"),
        (
            {"Parameters": {"x.$": "States.ArrayLength($.a)"}},
            "States.IntrinsicFailure",
            RUNTIME + "The function 'States.ArrayLength($.a)' had the following error: an argument has to be an array",
        ),
        (
            {"Result": 1, "ResultPath": "$.a.b"},
            "States.ResultPathMatchFailure",
            RUNTIME + 'Unable to apply step "$.a.b" to input {"a":1}',
        ),
        (
            {"Parameters": {"x.$": "$nobody"}},
            "States.Runtime",
            RUNTIME
            + "The JSONPath '$nobody' specified for the field 'x.$' could not be found in the input '{\"a\":1}'",
        ),
    ],
)
def test_what_cannot_be_found_fails_with_the_name_and_cause_of_aws(
    run: Run, state: dict[str, Any], error: str, cause: str
) -> None:
    assert run(machine(A={"Type": "Pass", **state, "End": True}), {"a": 1}) == ("FAILED", error, cause)


@pytest.mark.parametrize(
    ("rule", "input", "holds"),
    [
        ({"Variable": "$.a", "StringMatches": "*.txt"}, "x.txt", True),
        ({"Variable": "$.a", "StringMatches": "a\\*b"}, "a*b", True),
        ({"Variable": "$.a", "StringMatches": "a\\*b"}, "axb", False),
        ({"Variable": "$.a", "TimestampLessThan": "2024-01-01T00:00:00.002Z"}, "2024-01-01T01:00:00.001+01:00", True),
        ({"Variable": "$.a", "TimestampEquals": "2024-01-01T00:00:00Z"}, "2024-01-01", False),
        ({"Variable": "$.a", "NumericEquals": 1}, True, False),
        ({"Variable": "$.a", "BooleanEquals": True}, 1, False),
        ({"Variable": "$.a", "StringEquals": "1"}, 1, False),
        ({"Variable": "$.b", "IsPresent": False}, 1, True),
        ({"Variable": "$.a", "IsNull": True}, None, True),
        ({"Not": {"Variable": "$.a", "IsString": True}}, 1, True),
        ({"Variable": "$$.Execution.Input.a", "NumericGreaterThanPath": "$.a"}, 1, False),
    ],
)
def test_a_choice_compares_values_of_one_type(run: Run, rule: dict[str, Any], input: Any, holds: bool) -> None:
    document = machine(
        A={"Type": "Choice", "Choices": [{**rule, "Next": "Yes"}], "Default": "No"},
        Yes={**END, "Result": True},
        No={**END, "Result": False},
    )
    assert run(document, {"a": input}) == ("SUCCEEDED", holds, None)


def test_a_choice_over_what_is_not_there_or_without_a_way_on_fails(run: Run) -> None:
    document = machine(A={"Type": "Choice", "Choices": [{"Variable": "$.a", "NumericEquals": 1, "Next": "B"}]}, B=END)
    status, error, cause = run(document, {})
    assert (status, error) == ("FAILED", "States.Runtime")
    assert "Invalid path '$.a'" in str(cause)
    assert run(document, {"a": 2})[1] == "States.NoChoiceMatched"


@pytest.mark.parametrize(
    ("wait", "input", "seconds"),
    [
        ({"Seconds": 3}, {}, 3),
        ({"SecondsPath": "$.s"}, {"s": 2}, 2),
        ({"TimestampPath": "$.t"}, {"t": "2026-01-01T00:00:04Z"}, 4),
        ({"Seconds": "{% $states.input.s + 1 %}", "QueryLanguage": "JSONata"}, {"s": 1}, 2),
    ],
)
def test_a_wait_state_waits(run: Run, site: Site, wait: dict[str, Any], input: Any, seconds: int) -> None:
    document = machine(A={"Type": "Wait", **wait, "End": True})
    assert run(document, input, wait_s=seconds - 1)[0] == "RUNNING"
    site.clock.advance(1)
    site.settle()
    assert [each.status for each in site.executions.find().executions] == ["SUCCEEDED"]


def test_a_wait_of_a_duration_survives_a_jump_of_the_wall_clock_and_a_moment_follows_it(run: Run, site: Site) -> None:
    for document in (machine(A={"Type": "Wait", "Seconds": 100, "End": True}),):
        run(document)
        site.clock.jump(-10_000)
        site.clock.advance(100)
        site.settle()
        assert site.executions.find().executions[0].status == "SUCCEEDED"
    run(machine(A={"Type": "Wait", "Timestamp": "2026-06-01T00:00:00Z", "End": True}))
    site.clock.jump(200 * 86_400)
    site.settle()
    assert site.executions.find().executions[0].status == "SUCCEEDED"


def test_retries_back_off_up_to_their_longest_delay_each_retrier_for_itself(run: Run, site: Site) -> None:
    asked: list[float] = []

    def fail(name: str, event: Any, token: str) -> Any:
        asked.append(site.clock.elapsed_s())
        raise TaskFailed("Busy" if len(asked) != 3 else "Lost", "now")

    site.function.answer = fail
    retry = [
        {"ErrorEquals": ["Busy"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxDelaySeconds": 10, "MaxAttempts": 3},
        {"ErrorEquals": ["Lost"], "IntervalSeconds": 1, "MaxAttempts": 1},
    ]
    status, error, _ = run(machine(A={**TASK, "Retry": retry, "End": True}), wait_s=40)
    assert (status, error) == ("FAILED", "Busy")
    assert asked == [0, 2, 8, 9, 19]


def test_full_jitter_stays_below_the_delay(run: Run, site: Site) -> None:
    asked: list[float] = []

    def fail(name: str, event: Any, token: str) -> Any:
        asked.append(site.clock.elapsed_s())
        raise TaskFailed("Busy", "now")

    site.function.answer = fail
    retry = [
        {"ErrorEquals": ["Busy"], "IntervalSeconds": 20, "BackoffRate": 1, "JitterStrategy": "FULL", "MaxAttempts": 9}
    ]
    run(machine(A={**TASK, "Retry": retry, "End": True}), wait_s=190)
    between = [second - first for first, second in itertools.pairwise(asked)]
    assert len(between) == 9
    assert max(between) <= 21
    assert len(set(between)) > 1


def test_a_task_that_takes_too_long_times_out_and_what_comes_later_is_ignored(run: Run, site: Site) -> None:
    let_go = threading.Event()

    def slow(name: str, event: Any, token: str) -> Any:
        let_go.wait(10)
        return "late"

    site.function.answer = slow
    document = machine(
        A={**TASK, "TimeoutSeconds": 5, "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "B"}], "End": True}, B=END
    )
    site.executions.workflows["it"] = Workflow(document)
    id = site.executions.start("it", None, "{}").id
    site.executions.start("it", None, "{}")  # both wait
    for _ in range(6):
        site.clock.advance(1)
        until(lambda: site.executions.describe(id) is not None)
    until(lambda: (found := site.executions.describe(id)) is not None and found.status == "SUCCEEDED")
    let_go.set()
    site.settle()
    found = site.executions.describe(id)
    assert found is not None
    assert (found.status, found.output) == ("SUCCEEDED", '{"Error":"States.Timeout","Cause":""}')
    assert "LambdaFunctionTimedOut" in [event.type for event in site.executions.history(id)]


def until(holds: Callable[[], bool]) -> None:
    """Wait for the room's own thread, which looks at the clock when something comes in."""
    for _ in range(500):
        if holds():
            return
        threading.Event().wait(0.01)
    raise TimeoutError


@pytest.mark.parametrize(
    ("names", "error", "caught"),
    [
        (["Boom"], "Boom", True),
        (["States.ALL"], "Boom", True),
        (["States.TaskFailed"], "Boom", True),
        (["Other"], "Boom", False),
        (["States.ALL"], "States.Runtime", False),
        (["States.TaskFailed"], "States.Timeout", False),
    ],
)
def test_a_catch_matches_by_name(run: Run, site: Site, names: list[str], error: str, caught: bool) -> None:
    def fail(name: str, event: Any, token: str) -> Any:
        raise TaskFailed(error, "why")

    site.function.answer = fail
    document = machine(
        A={**TASK, "Catch": [{"ErrorEquals": names, "ResultPath": "$.e", "Next": "B"}], "End": True}, B=END
    )
    ended = run(document, {"a": 1})
    assert ended[:2] == (
        ("SUCCEEDED", {"a": 1, "e": {"Error": error, "Cause": "why"}}) if caught else ("FAILED", error)
    )


def test_a_catch_assigns_variables_and_a_failed_try_leaves_none_behind(run: Run, site: Site) -> None:
    document = machine(
        A={
            **TASK,
            "Assign": {"done": True},
            "ResultPath": "$.a.b",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Assign": {"why.$": "$.Error"}, "Next": "B"}],
            "Next": "B",
        },
        B={**END, "Parameters": {"why.$": "$why"}},
    )
    assert run(document, {"a": 1}) == ("SUCCEEDED", {"why": "States.ResultPathMatchFailure"}, None)


def test_variables_are_seen_within_but_set_only_where_they_are(run: Run) -> None:
    inner = machine(C={**END, "Assign": {"own": 1}, "Parameters": {"n.$": "$n", "i.$": "$$.Map.Item.Index"}})
    document = machine(
        A={"Type": "Pass", "Assign": {"n": 5}, "Next": "B"},
        B={"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": inner, "Next": "D"},
        D={**END, "Parameters": {"own.$": "$own"}},
    )
    status, error, cause = run(document, {"items": [0, 0]})
    assert (status, error) == ("FAILED", "States.Runtime")
    assert "The JSONPath '$own' specified" in str(cause)
    assert '[{"n":5,"i":0},{"n":5,"i":1}]' in str(cause)


def test_a_variable_set_by_a_state_is_seen_from_the_next_one_on(run: Run) -> None:
    document = machine(
        A={"Type": "Pass", "Assign": {"n": 1}, "Next": "B"},
        B={"Type": "Pass", "Assign": {"n": 2, "old.$": "$n"}, "Next": "C"},
        C={**END, "Parameters": {"n.$": "$n", "old.$": "$old"}},
    )
    assert run(document) == ("SUCCEEDED", {"n": 2, "old": 1}, None)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("{% $states.input.a + 1 %}", 2),
        ({"x": ["{% $states.context.Execution.Input.a %}", "{ no }"]}, {"x": [1, "{ no }"]}),
        ("{% $partition([1..4], 3) %}", [[1, 2, 3], [4]]),
        ("{% $range(0, 4, 2) %}", [0, 2, 4]),
        ("{% $hash('a', 'MD5') %}", "0cc175b9c0f1b6a831c399e269772661"),
        ("{% $parse('{\"b\": null}') %}", {"b": None}),
        ("{% $states.input.nothing = null %}", False),
        ("{% $replace('a.b.a', 'a', '<$0>') %}", "<a>.b.<a>"),
        ("{% $replace('John Smith', /(\\w+)\\s(\\w+)/, '$2, $1') %}", "Smith, John"),
        ("{% $replace('265USD', /([0-9]+)USD/, '$$$1') %}", "$265"),
        ("{% $replace('ab', /(a)/, '$18\\\\d') %}", "a8\\db"),
        ("{% $replace('AbA', /a/i, function($m){$m.match & '!'}) %}", "A!bA!"),
        ("{% $split('a1b22c', /[0-9]+/) %}", ["a", "b", "c"]),
        ("{% $match('abab', /b/).index %}", [1, 3]),
        ("{% $contains('abc', /^b/) %}", False),
        ("{% $join(['a', 'b'], ', ') %}", "a, b"),
        ("{% $join($map([1, 2], $string)) %}", "12"),
        ("{% $distinct(['b', 'a', 'b', {'x': 1}, {'x': 1}, [1], [1]]) %}", ["b", "a", {"x": 1}, [1]]),
    ],
)
def test_jsonata_is_evaluated_wherever_it_stands(run: Run, output: Any, expected: Any) -> None:
    document = {**machine(A={"Type": "Pass", "Output": output, "End": True}), "QueryLanguage": "JSONata"}
    assert run(document, {"a": 1}) == ("SUCCEEDED", expected, None)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("$states.input.nothing", "specified for the field 'Output/x[0]' returned nothing (undefined)."),
        ("function($x){$x}", "specified for the field 'Output/x[0]' returned an unsupported result type."),
        ("$sum('a')", "specified for the field 'Output/x[0]' threw an error during evaluation. T0412: "),
        ("($f := function($n){1 + $f($n + 1)}; $f(1))", "Stack overflow error"),
        ("($d := function($s, $n){$n = 0 ? $s : $d($s & $s, $n - 1)}; $d('xx', 60))", "memory limit exceeded"),
        ("$pad('x', 2000000000)", "memory limit exceeded"),
        ("$range(0, 9000000, 1)", "memory limit exceeded"),
        ("$parseInteger('nonsense', 'w')", "threw an error during evaluation."),
    ],
)
def test_jsonata_that_fails_is_told_with_its_field_and_bounded(run: Run, site: Site, expression: str, why: str) -> None:
    output = {"x": [f"{{% {expression} %}}"]}
    document = {**machine(A={"Type": "Pass", "Output": output, "End": True}), "QueryLanguage": "JSONata"}
    status, error, cause = run(document, {"a": 1})
    assert (status, error) == ("FAILED", "States.QueryEvaluationError")
    assert why in str(cause)
    assert types(site)[-2:] == ["EvaluationFailed", "ExecutionFailed"]


def test_jsonata_without_an_end_is_stopped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.local.executions.jsonata_functions._MOST_S", 0.2)
    output = "{% ($f := function($n){$f($n + 1)}; $f(1)) %}"
    document = {**machine(A={"Type": "Pass", "Output": output, "End": True}), "QueryLanguage": "JSONata"}
    assert "Expression evaluation timeout" in str(run(document)[2])


@pytest.mark.parametrize(
    "expression",
    [
        "$replace(text, 'a', text)",
        "$replace(text, 'a', '$0$0$0$0$0$0$0$0$0' & text)",
        "$replace(text, /a/, text)",
        "$replace(text, /.+/, $join($map(parts, function($part){'$0'})))",
        "$join(parts, text)",
        "$map(parts, function($part){{'part': $part, 'all': $states.input}})",
    ],
)
def test_a_message_cannot_make_an_expression_fill_the_memory(
    run: Run, expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.local.executions.jsonata_functions._MOST_S", 300)
    document = {**machine(A={"Type": "Pass", "Output": f"{{% $states.input.({expression}) %}}", "End": True})}
    input = {"text": "a" * 60_000, "parts": ["p"] * 1_000}
    status, error, cause = run({**document, "QueryLanguage": "JSONata"}, input)
    assert (status, error) == ("FAILED", "States.QueryEvaluationError")
    assert "memory limit exceeded" in str(cause)


def test_a_message_cannot_keep_an_expression_busy_within_one_of_its_parts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.local.executions.jsonata_functions._MOST_S", 0.2)
    for expression in ("text ~> /a+b/", "$match(text, /a+b/)", "$replace(text, /a+b/, '')", "$split(text, /a+b/)"):
        output = f"{{% $states.input.({expression}) %}}"
        document = {**machine(A={"Type": "Pass", "Output": output, "End": True}), "QueryLanguage": "JSONata"}
        assert run(document, {"text": "a" * 250_000})[:2] == ("FAILED", "States.QueryEvaluationError")


def test_what_appears_once_is_found_among_many(run: Run) -> None:
    output = "{% $count($distinct($states.input)) %}"
    document = {**machine(A={"Type": "Pass", "Output": output, "End": True}), "QueryLanguage": "JSONata"}
    assert run(document, [*range(36_000)]) == ("SUCCEEDED", 36_000, None)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["", "a", "a\nb"], []),
        ("a", ["a"], ["", "ab", "ba"]),
        ("a*", ["a", "ab", "a*"], ["", "ba"]),
        ("*a", ["a", "ba"], ["ab"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("a*b*a", ["aba", "abba", "a-b-a"], ["aa", "ab", "bba"]),
        ("*ab*ab*", ["abab", "-ab-ab-"], ["ab", "aab"]),
        ("a**b", ["ab", "a-b"], ["a", "b"]),
        ("a\\*b*", ["a*b", "a*bc"], ["ab", "aab"]),
        ("a\\\\b", ["a\\b"], ["ab"]),
        ("[a]*", ["[a]", "[a]."], ["a"]),
    ],
)
def test_a_star_in_string_matches_stands_for_anything(run: Run, pattern: str, yes: list[str], no: list[str]) -> None:
    rule = {"Variable": "$", "StringMatches": pattern, "Next": "Yes"}
    document = machine(A={"Type": "Choice", "Choices": [rule], "Default": "No"}, Yes=END, No={"Type": "Fail"})
    assert [text for text in [*yes, *no] if run(document, text)[0] == "SUCCEEDED"] == yes


def test_a_long_text_is_compared_with_stars_at_once(run: Run) -> None:
    rule = {"Variable": "$", "StringMatches": "*.log*.log*.txt", "Next": "Yes"}
    document = machine(A={"Type": "Choice", "Choices": [rule], "Default": "No"}, Yes=END, No=END)
    assert run(document, ".log" * 50_000)[0] == "SUCCEEDED"


@pytest.mark.parametrize("number", [10**30, 1.5e308])
def test_a_number_that_no_machine_counts_to_fails_the_function_alone(run: Run, number: float) -> None:
    caught = {"ErrorEquals": ["States.IntrinsicFailure"], "ResultPath": "$.error", "Next": "B"}
    state = {**TASK, "Parameters": {"x.$": "States.ArrayRange(1, $.n, 1)"}, "Catch": [caught], "End": True}
    status, output, _ = run(machine(A=state, B=END), {"n": number})
    assert (status, output["error"]["Error"]) == ("SUCCEEDED", "States.IntrinsicFailure")


@pytest.mark.parametrize("input", ['{"n": 1e999}', "[-1e999]"])
def test_an_input_with_a_number_beyond_all_fails_alone_and_for_good(site: Site, input: str) -> None:
    site.executions.workflows["it"] = Workflow(machine(A=END))
    begun = site.executions.start("it", "poison", input)
    assert (begun.status, begun.error, begun.input) == ("FAILED", "States.Runtime", input)
    site.reopen()
    site.executions.workflows["it"] = Workflow(machine(A=END))
    with pytest.raises(NotRun, match="never began"):
        site.executions.redrive(begun.id)
    assert [event.type for event in site.executions.history(begun.id)] == ["ExecutionStarted", "ExecutionFailed"]
    assert site.executions.start("it", "good", "1").status == "RUNNING"


def test_the_inputs_that_a_map_makes_of_its_items_have_a_limit_together(run: Run) -> None:
    each = {"StartAt": "P", "States": {"P": END}}
    state = {"Type": "Map", "ItemSelector": {"all.$": "$"}, "ItemProcessor": each, "End": True}
    status, error, cause = run(machine(A=state), ["12345678"] * 20_000)
    assert (status, error) == ("FAILED", "States.DataLimitExceeded")
    assert "iterations of 'A'" in str(cause)


def test_an_evaluation_that_fails_in_a_task_can_be_caught(run: Run) -> None:
    state = {
        **TASK,
        "Arguments": "{% $states.input.nothing %}",
        "Catch": [
            {"ErrorEquals": ["States.QueryEvaluationError"], "Output": "{% $states.errorOutput.Error %}", "Next": "B"}
        ],
        "End": True,
    }
    document = {**machine(A=state, B=END), "QueryLanguage": "JSONata"}
    assert run(document) == ("SUCCEEDED", "States.QueryEvaluationError", None)


def test_a_failing_branch_stops_the_others_and_its_error_is_the_state_s(run: Run, site: Site) -> None:
    slow = machine(C={"Type": "Wait", "Seconds": 100, "End": True})
    bad = machine(D={"Type": "Fail", "Error": "Boom", "Cause": "why"})
    document = machine(A={"Type": "Parallel", "Branches": [slow, bad], "End": True})
    assert run(document) == ("FAILED", "Boom", "why")
    assert types(site)[-3:] == ["WaitStateAborted", "ParallelStateFailed", "ExecutionFailed"]


def test_a_map_has_no_more_under_way_than_it_may(run: Run, site: Site) -> None:
    under_way, most = [], []

    def count(name: str, event: Any, token: str) -> Any:
        under_way.append(event)
        most.append(len(under_way))
        threading.Event().wait(0.002)
        under_way.remove(event)
        return event

    site.function.answer = count
    items = list(range(20))
    document = machine(
        A={"Type": "Map", "MaxConcurrency": 2, "ItemProcessor": machine(B={**TASK, "End": True}), "End": True}
    )
    assert run(document, items) == ("SUCCEEDED", items, None)
    assert max(most) <= 2


@pytest.mark.parametrize(
    ("tolerated", "ended"),
    [({"ToleratedFailureCount": 1}, True), ({"ToleratedFailurePercentage": 34}, True), ({}, False)],
)
def test_a_distributed_map_tolerates_failures_and_keeps_its_items_out_of_the_history(
    run: Run, site: Site, tolerated: dict[str, Any], ended: bool
) -> None:
    processor = {
        **machine(
            B={"Type": "Choice", "Choices": [{"Variable": "$", "NumericEquals": 2, "Next": "C"}], "Default": "D"},
            C={"Type": "Fail", "Error": "Boom"},
            D=END,
        ),
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
    }
    document = machine(A={"Type": "Map", "ItemProcessor": processor, **tolerated, "End": True})
    result = run(document, [1, 2, 3])
    if ended:
        assert result == ("SUCCEEDED", [1, 3], None)
    else:
        assert result[:2] == ("FAILED", "States.ExceedToleratedFailureThreshold")
        assert "MapRunFailed" in types(site)
    assert "ChoiceStateEntered" not in types(site)


def test_data_that_is_too_large_fails_the_state(run: Run, site: Site) -> None:
    site.function.answer = lambda name, event, token: "x" * 300_000
    document = machine(
        A={**TASK, "Catch": [{"ErrorEquals": ["States.DataLimitExceeded"], "Next": "B"}], "End": True}, B=END
    )
    status, told, _ = run(document)
    assert (status, told["Error"]) == ("SUCCEEDED", "States.DataLimitExceeded")
    big = machine(A={**END, "Parameters": {"x.$": "$", "y.$": "$"}})
    assert run(big, {"a": "x" * 200_000})[1] == "States.DataLimitExceeded"


def test_an_endless_machine_ends_where_step_functions_ends_it(run: Run, site: Site) -> None:
    choice = {"Type": "Choice", "Choices": [{"Variable": "$.a", "IsPresent": True, "Next": "B"}], "Default": "A"}
    status, error, cause = run(machine(A=choice, B={"Type": "Succeed"}))
    assert (status, error, cause) == (
        "FAILED",
        "States.Runtime",
        "The execution reached the maximum number of history events (25000).",
    )


def test_a_function_that_is_not_there_is_an_error_of_lambda(run: Run, site: Site) -> None:
    def missing(name: str, event: Any, token: str) -> Any:
        raise KeyError(name)

    site.function.answer = missing
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "f"},
        "End": True,
    }
    status, error, cause = run(machine(A=state))
    assert (status, error) == ("FAILED", "Lambda.ResourceNotFoundException")
    assert str(cause).startswith(
        "Function not found: arn:aws:lambda:local:000000000000:function:f:$LATEST (Service: AWSLambda;"
    )


def test_a_task_that_sends_no_heartbeat_fails_by_the_time_of_the_next_one(run: Run, site: Site) -> None:
    let_go = threading.Event()
    site.function.answer = lambda name, event, token: let_go.wait(10)
    retry = [{"ErrorEquals": ["States.HeartbeatTimeout"], "MaxAttempts": 0}]
    document = machine(A={**TASK, "HeartbeatSeconds": 2, "TimeoutSeconds": 60, "Retry": retry, "End": True})
    site.executions.workflows["it"] = Workflow(document)
    id = site.executions.start("it", None, "{}").id
    site.clock.advance(3)
    until(lambda: (found := site.executions.describe(id)) is not None and found.status == "FAILED")
    let_go.set()
    found = site.executions.describe(id)
    assert found is not None
    assert (found.error, found.cause) == ("States.HeartbeatTimeout", None)
