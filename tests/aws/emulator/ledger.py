"""What is written down of running functions, and of roles that services act with: who they are, when they are at work,
which actions they ask for, and which they are refused. Files, so that the wire and the tests, which are other
processes, can read them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

_PEOPLE, _ASKED, _REFUSED, _AT_WORK, _HURRIED = "functions", "asked", "refused", "at-work", "hurried"
_noted: set[tuple[Path, str, str]] = set()


def install(folder: Path) -> None:
    """Write down whom keys are given to, every judgement of IAM about a call that is signed with one of those, and
    which functions are at work."""
    from ministack.core import iam_evaluator
    from ministack.services import lambda_svc, sts

    for part in (_PEOPLE, _ASKED, _REFUSED, _AT_WORK, _HURRIED):
        (folder / part).mkdir()
    register, enforce, execute = sts.register_session, iam_evaluator.enforce, lambda_svc._execute_function

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

    def executed(function: dict[str, Any], event: Any) -> Any:
        name = (function.get("config") or function)["FunctionName"]
        mark = folder / _AT_WORK / f"{name} {uuid4()}"
        mark.touch()
        try:
            return execute(function, event)
        finally:
            mark.unlink()

    sts.register_session = registered
    iam_evaluator.enforce = enforced
    lambda_svc._execute_function = executed


def note(folder: Path, who: str, action: str, resource: str) -> None:
    """Write down, once, that a function or a service with this role asks for an action."""
    _note(folder / _ASKED / who, action, resource)


def note_refusal(folder: Path, who: str, action: str, resource: str) -> None:
    """Write down, once, that it was refused to a service with this role."""
    _note(folder / _REFUSED / who, action, resource)


def _note(place: Path, action: str, resource: str) -> None:
    if (place, action, resource) not in _noted:
        _noted.add((place, action, resource))
        with place.open("a") as told:
            told.write(json.dumps([action, resource]) + "\n")


def function_of(folder: Path, access_key: str) -> str:
    """The name of the function that was given this key; none for a key of anyone else."""
    try:
        return (folder / _PEOPLE / access_key).read_text() if access_key else ""
    except OSError:
        return ""


def asked_by(folder: Path, who: str) -> set[tuple[str, str]]:
    """(action, resource) of all that a function, or a role, has asked for since it is there."""
    return _noted_in(folder / _ASKED / who)


def refused_to(folder: Path, who: str) -> set[tuple[str, str]]:
    """(action, resource) of all that a service with this role was ever refused."""
    return _noted_in(folder / _REFUSED / who)


def at_work(folder: Path) -> set[str]:
    """The names of the functions that have begun and are not done."""
    return {mark.name.partition(" ")[0] for mark in (folder / _AT_WORK).iterdir()}


def hurry(folder: Path, function: str, *, on: bool) -> None:
    """Whether a function that is started from here on waits for answers no longer than it would in production."""
    mark = folder / _HURRIED / function
    mark.touch() if on else mark.unlink(missing_ok=True)


def is_in_a_hurry(folder: Path, function: str) -> bool:
    return (folder / _HURRIED / function).exists()


def _noted_in(place: Path) -> set[tuple[str, str]]:
    lines = place.read_text().splitlines() if place.exists() else []
    return {(action, resource) for action, resource in map(json.loads, lines)}
