"""What a role may do, asked by a service that acts with it; written down, as what functions ask for is."""

from __future__ import annotations

import os
from pathlib import Path

from tests.aws.emulator import ledger


def may(role: str, action: str, resource: str, account: str, region: str) -> bool:
    """Whether the role with this ARN may do this with that resource."""
    from ministack.core import iam_evaluator

    name = role.rpartition("/")[2]
    folder = Path(os.environ["EMULATOR_LEDGER"])
    ledger.note(folder, name, action, resource)
    asked = iam_evaluator.EvalContext(
        principal_arn=role,
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=region,
    )
    policies = iam_evaluator._gather_role_policies(name, account)
    allowed = bool(iam_evaluator.evaluate(asked, policies).decision == "Allow")
    if not allowed:
        ledger.note_refusal(folder, name, action, resource)
    return allowed
