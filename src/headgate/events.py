"""What happened at the gate, as values: counted and logged in one place, `gate/observe.py`."""

from __future__ import annotations

from typing import NamedTuple


class Accepted(NamedTuple):
    """Messages of one request that were stored, and those that were already there."""

    channel: str
    stored: int
    replayed: int


class Refused(NamedTuple):
    """A request, or items of one, turned away. `channel` and `client` are empty where they are not known."""

    channel: str
    reason: str
    status: int
    request_id: str
    times: int = 1
    client: str = ""


class Faulted(NamedTuple):
    """A request that failed on our side. `where` is code only (`module:line Error`), never a value."""

    channel: str
    reason: str
    status: int
    request_id: str
    where: str


Event = Accepted | Refused | Faulted
