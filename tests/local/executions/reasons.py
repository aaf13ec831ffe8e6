"""Why our interpreter and moto's may differ: each with what Step Functions is documented to do.

The pages are those of the AWS Step Functions Developer Guide: "Handling errors in workflows" (error names, and which of
them States.ALL matches), "Parallel workflow state", and of the Amazon States Language specification.
"""

from __future__ import annotations

import json
from typing import Any

# Names that are documented where moto says States.Runtime.
_NAMES = {
    "States.IntrinsicFailure": "an intrinsic function fails with States.IntrinsicFailure",
    "States.ResultPathMatchFailure": "a ResultPath that cannot be applied is States.ResultPathMatchFailure",
    "States.NoChoiceMatched": "no rule that holds and no Default is States.NoChoiceMatched",
}
_CATCHABLE = tuple(_NAMES)


def reason(definition: Any, ours: Any, theirs: Any) -> str | None:
    """The reason of a difference; None for one that is not known."""
    whole = json.dumps(definition)
    if theirs.error == "States.Runtime" and ours.error in _NAMES:
        return f"{_NAMES[ours.error]}; moto says States.Runtime"
    if ours.error == "States.Runtime" and theirs.error == "States.QueryEvaluationError":
        return "States.QueryEvaluationError is of JSONata; moto gives it to a JSONPath Map without an array"
    if ours.error == "States.Runtime" and ("States.ALL" in whole or "States.TaskFailed" in whole):
        return "neither States.ALL nor States.TaskFailed matches States.Runtime; moto catches it"
    if ours.error == "States.Runtime" and "condition path references" in (ours.cause or ""):
        return "a Choice over what is not there fails with States.Runtime; moto takes the rule for false"
    if ours.error == "States.ResultPathMatchFailure":
        return "a ResultPath leads into objects only; moto makes one in the place of null"
    if ours.error == "States.IntrinsicFailure" and "there is no element" in (ours.cause or ""):
        return "States.ArrayGetItem fails outside the array; moto counts a negative index from its end"
    if ours.status == "SUCCEEDED" and "not supported between instances" in (theirs.cause or ""):
        return "values of another type than the comparison's do not match; moto compares them in Python, and fails"
    if ours.status == "SUCCEEDED" and "unhashable type" in (theirs.cause or ""):
        return "States.ArrayUnique takes elements of any type; moto fails over arrays and objects"
    if "Catch" in whole and any(name in str(ours.output) for name in _NAMES):
        return "the documented errors of paths and intrinsic functions can be caught; moto says States.Runtime"
    if ours.status == "SUCCEEDED" and "Catch" in whole and "States.Runtime" in f"{theirs.error}{theirs.output}":
        return "the documented errors of paths and intrinsic functions can be caught; moto says States.Runtime"
    if "$..b" in whole:
        return (
            "`..` selects a list, however many it finds; moto gives a single one without the list, and fails for none"
        )
    if ours.status == theirs.status == "FAILED" and '"Parallel"' in whole:
        return "branches run at a time, and which of them fails first is not said; moto took another one"
    return None
