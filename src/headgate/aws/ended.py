"""The ends of the executions that messages started, written to their rows. A row that is settled stays as it is, so
that it does no harm to be told twice, late, or in another order."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from headgate.aws.pages import pause
from headgate.aws.rooms import Rooms
from headgate.engine import Execution, Settlement
from headgate.errors import Unavailable
from headgate.gate.finish import FOLLOWED_MS, ended
from headgate.gate.start import claimed_by
from headgate.http import RETRY_AFTER_S
from headgate.message import STARTED, Moment

log = logging.getLogger("headgate.aws")

CHANGED = "Step Functions Execution Status Change"
"""What EventBridge calls it."""
ENDS = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")

_TRIES = 6

Event = Mapping[str, Any]


def ended_pattern(machine: str) -> dict[str, Any]:
    """The pattern of the rule for a channel whose messages start the Standard state machine with this ARN."""
    return {
        "source": ["aws.states"],
        "detail-type": [CHANGED],
        "detail": {"stateMachineArn": [machine], "status": [*ENDS]},
    }


class Ended:
    """One channel's. Called by EventBridge, and by the machine of an Express workflow; see `declare/express.py`."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._channel = rooms.channel
        self._clock = rooms.clock

    def hear(self, event: Event, remaining_s: float) -> dict[str, bool]:
        """Raises Unavailable where the row cannot be read or written; whoever called tries again."""
        self._rooms.clients.within(remaining_s)
        match event:
            case {"headgate": {"what": "claim", "execution": str(id_), "message": message}}:
                return {"claimed": self._claim(id_, message)}
            case {"headgate": {"execution": str(), "message": message} as told}:
                return {"written": self._write(self._express(told), message["scope"], message["key"])}
            case {"source": "aws.states", "detail": {"status": status} as detail} if status in ENDS:
                return {"written": self._heard(self._standard(detail), self._members(detail))}
        log.warning("the event is no end of an execution kind=%s", event.get("detail-type", "-"))
        return {"written": False}

    def _claim(self, id: str, message: Mapping[str, str]) -> bool:
        """Whether the execution is the message's, which no other one has claimed."""
        where = self._channel.name, message["scope"], message["key"]
        for attempt in range(_TRIES):
            lease = self._rooms.queue.leased(*where)
            if lease is None:
                return False
            if (first := claimed_by(lease.message)) is not None:
                return first.detail == id
            begun = Moment(self._clock.now_ms(), STARTED, detail=id)
            if self._rooms.queue.settle(lease, Settlement("processing", (begun,), delay_ms=FOLLOWED_MS)):
                return True
            pause(attempt)  # whoever started it has noted it meanwhile
        raise Unavailable(retry_after_s=RETRY_AFTER_S)

    def _heard(self, execution: Execution, members: int) -> bool:
        """Find the rows. Where they are not there yet, whoever started the execution has died before noting it, and the
        sweep finds out; or it is no message's at all."""
        found: list[tuple[str, str]] = []
        for attempt in range(_TRIES):
            found = self._rooms.queue.started(self._channel.name, execution.id)
            if len(found) >= members:
                break
            pause(attempt)
        written = self._rooms.index.threads.in_parallel(lambda where: self._write(execution, *where), found)
        return any(written)

    def _members(self, detail: Mapping[str, Any]) -> int:
        """How many messages an execution has, if that is told."""
        start, given = self._channel.start, detail.get("input")
        if start is None or not start.per_batch or not isinstance(given, str):
            return 1
        return len(json.loads(given))

    def _write(self, execution: Execution, scope: str, key: str) -> bool:
        """Whether this was the end of the message."""
        for attempt in range(_TRIES):
            lease = self._rooms.queue.leased(self._channel.name, scope, key)
            if lease is None or not _is_end_of(execution, lease.message.timeline):
                return False
            if self._rooms.queue.settle(lease, ended(self._channel, execution, self._clock.now_ms())):
                return True
            pause(attempt)
        raise Unavailable(retry_after_s=RETRY_AFTER_S)

    def _standard(self, detail: Mapping[str, Any]) -> Execution:
        return self._execution(detail["executionArn"], detail["status"], detail, detail.get("stopDate"))

    def _express(self, told: Mapping[str, Any]) -> Execution:
        return self._execution(told["execution"], told["what"], told, None)

    def _execution(self, id: str, status: Any, told: Mapping[str, Any], stopped_ms: int | None) -> Execution:
        start, error, cause = self._channel.start, told.get("error"), told.get("cause")
        workflow = "" if start is None else start.workflow_name
        return Execution(id, workflow, id.split(":")[7], status, "", None, error, cause, 0, stopped_ms, 0)


def _is_end_of(execution: Execution, timeline: tuple[Moment, ...]) -> bool:
    """Whether a message waits for this end: not for that of an earlier execution, nor for one that the same execution
    came to before a person had it go on."""
    started = [moment.detail for moment in timeline if moment.what == STARTED]
    redriven_ms = max((moment.at_ms for moment in timeline if moment.what == "redriven"), default=0)
    return started[-1:] == [execution.id] and (execution.stopped_ms is None or execution.stopped_ms >= redriven_ms)
