"""What a rule of EventBridge tells the function `ended` of a channel: pure data, for the stacks."""

from __future__ import annotations

from typing import Any

CHANGED = "Step Functions Execution Status Change"
"""What EventBridge calls it."""
ENDS = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")


def ended_pattern(machine: str) -> dict[str, Any]:
    """The pattern of the rule for a channel whose messages start the state machine with this ARN."""
    return {
        "source": ["aws.states"],
        "detail-type": [CHANGED],
        "detail": {"stateMachineArn": [machine], "status": [*ENDS]},
    }
