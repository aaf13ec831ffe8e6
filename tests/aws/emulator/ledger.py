"""What is written down of running functions, and of roles that services act with: who they are, and which actions they
ask for. Files, so that the wire and the tests, which are other processes, can read them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PEOPLE, _ASKED = "functions", "asked"
_noted: set[tuple[str, str, str]] = set()


def install(folder: Path) -> None:
    """Write down whom keys are given to, and every judgement of IAM about a call that is signed with one of those."""
    from ministack.core import iam_evaluator
    from ministack.services import sts

    (folder / _PEOPLE).mkdir()
    (folder / _ASKED).mkdir()
    register, enforce = sts.register_session, iam_evaluator.enforce

    def registered(access_key: str, session: dict[str, Any]) -> None:
        role, _, name = str(session.get("Arn", "")).rpartition("/")
        if ":assumed-role/" in role:
            (folder / _PEOPLE / access_key).write_text(name)
        register(access_key, session)

    def enforced(access_key_id: str, iam_action: str, service: str, region: str, resource_arn: str = "*",
                 service_context: dict[str, Any] | None = None) -> Any:  # fmt: skip
        if function := function_of(folder, access_key_id):
            note(folder, function, iam_action, resource_arn)
        return enforce(access_key_id, iam_action, service, region, resource_arn, service_context)

    sts.register_session = registered
    iam_evaluator.enforce = enforced


def note(folder: Path, who: str, action: str, resource: str) -> None:
    """Write down, once, that a function or a service with this role asks for an action."""
    if (who, action, resource) not in _noted:
        _noted.add((who, action, resource))
        with (folder / _ASKED / who).open("a") as told:
            told.write(json.dumps([action, resource]) + "\n")


def function_of(folder: Path, access_key: str) -> str:
    """The name of the function that was given this key; none for a key of anyone else."""
    try:
        return (folder / _PEOPLE / access_key).read_text() if access_key else ""
    except OSError:
        return ""


def asked_by(folder: Path, who: str) -> set[tuple[str, str]]:
    """(action, resource) of all that a function, or a role, has asked for since it is there."""
    told = folder / _ASKED / who
    lines = told.read_text().splitlines() if told.exists() else []
    return {(action, resource) for action, resource in map(json.loads, lines)}
