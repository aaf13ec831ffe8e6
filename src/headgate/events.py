"""What happened at the gate and behind it, as values: counted and logged in one place, `gate/observe.py`."""

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


class Worked(NamedTuple):
    """An attempt at a message behind the gate, and how it ended: `what` is `processed`, `retried`, `failed` or
    `rejected`; or `put_off`, where an outage of ours kept it from being made. `where` is code only, as above; `late`
    where somebody else had begun meanwhile: it does not count."""

    channel: str
    what: str
    request_id: str
    attempt: int
    kind: str = ""
    where: str = ""
    late: bool = False


Event = Accepted | Refused | Faulted | Worked
