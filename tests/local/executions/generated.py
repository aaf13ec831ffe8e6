"""Definitions and inputs that are made up: any that the checker lets through, of every kind of state but Task.

Task states ask for something outside, and retries take their time; the recorded cases have them.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from headgate.declare.asl import refusals

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from([0.5, -1.25, "", "a", "b c", "2024-01-02T03:04:05Z"])
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
INPUTS = st.fixed_dictionaries(
    {"a": st.lists(_VALUES, max_size=4), "b": _VALUES, "n": st.integers(-3, 12)}, optional={"c": _VALUES}
)
_THERE = ["$", "$.a", "$.b", "$.n"]
_SOMEWHERE = st.sampled_from(
    [*_THERE * 6, "$.c", "$.a[0]", "$.a[1].b", "$.b.a", "$.b.c", "$.nowhere", "$.a[*]", "$.a[*].b", "$.a[0:2]", "$..b"]
)
_CONTEXT = st.sampled_from(["$$.Execution.Input", "$$.Execution.Input.n", "$$.State.Name", "$$.Execution.Input.b"])
_NUMBER = st.sampled_from(["$.n", "2", "1", "3", "$.n", "-1", "$.b"])
_LIST = st.sampled_from(["$.a", "$.a", "States.Array($.a, $.n)", "States.ArrayRange(0, 4, 2)", "$.b"])


@st.composite
def calls(draw: st.DrawFn) -> str:
    """A call of an intrinsic function."""
    some, array, number = draw(_SOMEWHERE), draw(_LIST), draw(_NUMBER)
    return draw(
        st.sampled_from(
            [
                f"States.Format('<{{}}>', {some})",
                f"States.JsonToString({some})",
                f"States.StringToJson(States.JsonToString({some}))",
                f"States.Array({some}, {number})",
                f"States.ArrayPartition({array}, {number})",
                f"States.ArrayContains({array}, {some})",
                f"States.ArrayRange({number}, 9, 3)",
                f"States.ArrayGetItem({array}, {number})",
                f"States.ArrayLength({array})",
                f"States.ArrayUnique({array})",
                f"States.Base64Encode(States.JsonToString({some}))",
                f"States.Hash(States.JsonToString({some}), 'SHA-256')",
                "States.JsonMerge($.b, $, false)",
                f"States.MathAdd({number}, {number})",
                "States.StringSplit('a,b;c', ',;')",
            ]
        )
    )


@st.composite
def templates(draw: st.DrawFn) -> dict[str, Any]:
    """A payload template."""
    found: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from("abnxy"), unique=True, min_size=1, max_size=3)):
        how = draw(st.integers(0, 9))
        if how < 4:
            found[f"{name}.$"] = draw(_SOMEWHERE | _CONTEXT)
        elif how < 7:
            found[f"{name}.$"] = draw(calls())
        else:
            found[name] = draw(_VALUES)
    return found


@st.composite
def comparisons(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """A rule of a Choice state, without its Next."""
    how = draw(st.integers(0, 9))
    if depth and how == 0:
        return {"Not": draw(comparisons(depth - 1))}
    if depth and how in (1, 2):
        return {"And" if how == 1 else "Or": draw(st.lists(comparisons(depth - 1), min_size=1, max_size=2))}
    variable = draw(st.sampled_from(["$.n", "$.a", "$.b", "$.n", "$.b", "$.c", "$.a[0]", "$.b.a"]))
    order = draw(st.sampled_from(["Equals", "LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals"]))
    operator, value = draw(
        st.sampled_from(
            [
                (f"Numeric{order}", 1),
                (f"String{order}", "a"),
                (f"Timestamp{order}", "2024-01-02T03:04:05Z"),
                ("BooleanEquals", True),
                (f"Numeric{order}Path", "$.b"),
                (f"String{order}Path", "$.b"),
                ("StringMatches", "*a*"),
                ("IsNull", True),
                ("IsPresent", draw(st.booleans())),
                ("IsNumeric", True),
                ("IsString", False),
                ("IsBoolean", True),
                ("IsTimestamp", True),
            ]
        )
    )
    return {"Variable": variable, operator: value}


@st.composite
def states(draw: st.DrawFn, name: str, following: str | None, depth: int) -> dict[str, Any]:
    """A state; `following` is the one behind it, None for the last."""
    kinds = (
        ["Pass"] * 4
        + ["Wait"]
        + (["Map", "Parallel"] if depth else [])
        + (["Choice"] if following else ["Succeed", "Fail"])
    )
    kind = draw(st.sampled_from(kinds))
    state: dict[str, Any] = {"Type": kind}
    if kind == "Fail":
        return {**state, "Error": draw(st.sampled_from(["Boom", "Bang"])), "Cause": "because"}
    if draw(st.integers(0, 9)) == 0:
        state["InputPath"] = draw(st.sampled_from(["$", "$", "$.b", "$.nowhere", None]))
    if draw(st.integers(0, 11)) == 0:
        state["OutputPath"] = draw(st.sampled_from(["$", "$.b", "$.a", None]))
    if kind == "Choice":
        rules = draw(st.lists(comparisons(), min_size=1, max_size=2))
        state["Choices"] = [{**rule, "Next": following} for rule in rules]
        if draw(st.integers(0, 4)):
            state["Default"] = following
        return state
    if kind != "Succeed":
        state |= {"Next": following} if following else {"End": True}
    if kind == "Wait":
        state |= draw(st.sampled_from([{"Seconds": 0}, {"Timestamp": "2020-01-01T00:00:00Z"}]))
    if kind in ("Pass", "Map", "Parallel") and draw(st.integers(0, 9)):
        state["ResultPath"] = draw(st.sampled_from(["$.x", "$.x", "$.y", "$.y", "$.b.c", "$", "$.n", None]))
    if kind == "Pass":
        if draw(st.integers(0, 3)):
            state["Parameters"] = draw(templates())
        else:
            state["Result"] = draw(_VALUES)
    if kind in ("Map", "Parallel"):
        _nest(draw, state, kind, name, depth)
        if draw(st.booleans()):
            catcher: dict[str, Any] = {
                "ErrorEquals": draw(st.sampled_from([["Boom"], ["States.ALL"], ["States.TaskFailed"]]))
            }
            if draw(st.booleans()):
                catcher["ResultPath"] = draw(st.sampled_from(["$.caught", None]))
            state["Catch"] = [{**catcher, "Next": "Caught"}]
    return state


def _nest(draw: st.DrawFn, state: dict[str, Any], kind: str, name: str, depth: int) -> None:
    if kind == "Parallel":
        count = draw(st.integers(1, 2))
        state["Branches"] = [draw(machines(f"{name}B{index}", depth - 1)) for index in range(count)]
        return
    state["ItemsPath"] = draw(st.sampled_from(["$.a", "$.a", "$.a", "$.b", "$.nowhere"]))
    state["MaxConcurrency"] = 1
    state["ItemProcessor"] = draw(machines(f"{name}I", depth - 1))
    if draw(st.booleans()):
        state["ItemSelector"] = {"a.$": "$.a", "b.$": "$$.Map.Item.Value", "n.$": "$$.Map.Item.Index"}


@st.composite
def machines(draw: st.DrawFn, prefix: str = "S", depth: int = 2) -> dict[str, Any]:
    """A machine, or the part of one within a state."""
    count = draw(st.integers(1, 4 if depth == 2 else 2))
    names = [f"{prefix}{index}" for index in range(count)]
    found = {
        name: draw(states(name, following, depth)) for name, following in zip(names, [*names[1:], None], strict=True)
    }
    if any("Catch" in state for state in found.values()):
        caught = f"{prefix}Caught"
        for state in found.values():
            for catcher in state.get("Catch", ()):
                catcher["Next"] = caught
        found[caught] = {"Type": "Pass", "End": True}
    return {"StartAt": names[0], "States": found}


DEFINITIONS = machines().filter(lambda definition: not refusals(definition))
