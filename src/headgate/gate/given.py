"""What an execution is given, its name and its input, looked at as Step Functions would."""

from __future__ import annotations

import json
import re
from typing import Any

from headgate import limits
from headgate.errors import NotRun

_TAKEN = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")  # as a name


def given_of(name: str, input: str) -> Any:
    """The input of an execution, as JSON. Raises NotRun for a name or an input that Step Functions would not take."""
    if not is_name(name):
        raise NotRun("InvalidName", f"Invalid Name: '{name}'")
    try:
        if len(input.encode()) > limits.WORKFLOW_DATA.value:
            raise NotRun("InvalidExecutionInput", f"The input is larger than {limits.WORKFLOW_DATA.value} bytes.")
        return json.loads(input, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotRun("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'") from None


def is_name(name: str) -> bool:
    """Whether Step Functions takes it for the name of an execution."""
    return _TAKEN.fullmatch(name) is not None


def is_same(one: Any, other: Any) -> bool:
    """Whether two inputs are the same JSON."""
    return spelled(one) == spelled(other)


def spelled(value: Any) -> str:
    """The same text for the same JSON."""
    return json.dumps(value, sort_keys=True)  # `==` takes true for 1


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
