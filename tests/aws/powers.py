"""What roles are granted, beside what is asked for with them."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from tests.aws.emulator.deployment import Deployed, Grant

_OWN_LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}
"""What Lambda does with the role of a function."""


def granted(deployed: Deployed, role: str) -> set[Grant]:
    """What a role is granted beside its own log."""
    return {grant for grant in deployed.granted(role) if grant[0] not in _OWN_LOG}


def unused(grants: Collection[Grant], asked: Collection[Grant]) -> set[Grant]:
    """Of these grants, those that nobody has asked for."""
    return {grant for grant in grants if not any(_is_of(one, grant) for one in asked)}


def denied(grants: Collection[Grant], asked: Collection[Grant]) -> set[Grant]:
    """What was asked for and is not granted."""
    return {one for one in asked if not any(_is_of(one, grant) for grant in grants)}


def _is_of(asked: Grant, grant: Grant) -> bool:
    return asked[0] == grant[0] and fnmatchcase(asked[1], grant[1])
