"""Which actions a running function has asked for, as IAM judged them: (action, resource), by the function's name."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

_asked: dict[str, set[tuple[str, str]]] = defaultdict(set)


def install() -> None:
    """Write down every judgement about a call that is signed by the role of a function."""
    from ministack.core import iam_evaluator

    enforce = iam_evaluator.enforce

    def written(access_key_id: str, iam_action: str, service: str, region: str, resource_arn: str = "*",
                service_context: dict[str, Any] | None = None) -> Any:  # fmt: skip
        if function := function_of(access_key_id):
            _asked[function].add((iam_action, resource_arn))
        return enforce(access_key_id, iam_action, service, region, resource_arn, service_context)

    iam_evaluator.enforce = written


def function_of(access_key_id: str) -> str:
    """The name of the function that was given this key; none for a key of anyone else."""
    from ministack.services import sts

    session = sts._sessions.get(access_key_id) or {}
    _, _, name = str(session.get("Arn", "")).rpartition("/")
    return name if ":assumed-role/" in str(session.get("Arn", "")) else ""


def asked_by(function: str) -> list[tuple[str, str]]:
    """What a function has asked for since it is there."""
    return sorted(_asked.get(function, ()))
