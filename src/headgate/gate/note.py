"""What the machine of an Express workflow has written down, see `declare/express.py`: that an execution has a message,
and how it ended. A row that is settled stays as it is, so that it does no harm to be told twice, late, or in another
order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from headgate.clock import Clock
from headgate.declare.channel import Channel
from headgate.engine import Execution, ExecutionStatus, Lease, Settlement
from headgate.errors import Unavailable
from headgate.gate.finish import FOLLOWED_MS, ended
from headgate.gate.start import claimed_by
from headgate.http import RETRY_AFTER_S
from headgate.message import STARTED, Message, Moment

_TRIES = 6
_POLITE = 4  # tries that are left to whoever started it


class Rows(Protocol):
    """The rows of messages that executions work at."""

    def leased(self, channel: str, scope: str, key: str) -> Lease | None:
        """The lease that a message in work has now, whoever took it. None where it is not in work."""

    def unheld(self, channel: str, scope: str, key: str) -> Message | None:
        """A message that is neither settled nor in work: whoever was at it has died, or tries again later."""

    def take_over(self, lease: Lease, settlement: Settlement) -> bool:
        """`Queue.settle`, after which the lease is nobody's that had it."""

    def settle(self, lease: Lease, settlement: Settlement) -> bool:
        """See `Queue.settle`."""


class Notes(NamedTuple):
    """Those of one channel. `pause` waits a while before another try."""

    channel: Channel
    rows: Rows
    clock: Clock
    pause: Callable[[int], None]

    def claim(self, id: str, scope: str, key: str) -> bool:
        """Whether the execution is the message's, which no other one has claimed. Raises Unavailable."""
        for attempt in range(_TRIES):
            lease = self.rows.leased(self.channel.name, scope, key)
            row = self.rows.unheld(self.channel.name, scope, key) if lease is None else lease.message
            if row is not None and (first := claimed_by(row)) is not None:
                return first.detail == id
            if lease is None:
                return False
            if attempt < _POLITE and self._is_still_noted(lease):
                self.pause(attempt)
                continue
            begun = Moment(self.clock.now_ms(), STARTED, detail=id)
            if self.rows.take_over(lease, Settlement("processing", (begun,), delay_ms=FOLLOWED_MS)):
                return True
            self.pause(attempt)  # whoever started it has noted it meanwhile
        raise Unavailable(retry_after_s=RETRY_AFTER_S)

    def _is_still_noted(self, lease: Lease) -> bool:
        """Whether whoever started it has more to tell of the message than that it is started."""
        return self.channel.archive is not None and all(moment.what != "archived" for moment in lease.message.timeline)

    def write(self, execution: Execution, scope: str, key: str) -> bool:
        """Whether this was the end of the message. Raises Unavailable."""
        for attempt in range(_TRIES):
            lease = self.rows.leased(self.channel.name, scope, key)
            if lease is None or not _is_end_of(execution, lease.message.timeline):
                return False
            if self.rows.settle(lease, ended(self.channel, execution, self.clock.now_ms())):
                return True
            self.pause(attempt)
        raise Unavailable(retry_after_s=RETRY_AFTER_S)

    def told(self, id: str, status: ExecutionStatus, told: Mapping[str, Any], stopped_ms: int | None) -> Execution:
        """The execution of which this is told: its ARN, its end, and the `error` and `cause` of it."""
        workflow = "" if self.channel.start is None else self.channel.start.workflow_name
        error, cause = told.get("error"), told.get("cause")
        return Execution(id, workflow, id.split(":")[7], status, "", None, error, cause, 0, stopped_ms, 0)

    def hear(self, told: Mapping[str, Any]) -> dict[str, bool]:
        """What the machine itself asks, and the answer. Raises Unavailable; the machine asks again."""
        message, id_ = told["message"], told["execution"]
        if told["what"] == "claim":
            return {"claimed": self.claim(id_, message["scope"], message["key"])}
        return {"written": self.write(self.told(id_, told["what"], told, None), message["scope"], message["key"])}


def _is_end_of(execution: Execution, timeline: tuple[Moment, ...]) -> bool:
    """Whether a message waits for this end: not for that of an earlier execution, nor for one that the same execution
    came to before a person had it go on."""
    started = [moment.detail for moment in timeline if moment.what == STARTED]
    redriven_ms = max((moment.at_ms for moment in timeline if moment.what == "redriven"), default=0)
    return started[-1:] == [execution.id] and (execution.stopped_ms is None or execution.stopped_ms >= redriven_ms)
