"""The ends of the executions that messages started, written to their rows. A row that is settled stays as it is, so
that it does no harm to be told twice, late, or in another order."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from headgate.aws.pages import pause
from headgate.aws.rooms import Rooms
from headgate.engine import Execution
from headgate.gate.note import Notes

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
        self._notes = Notes(rooms.channel, rooms.queue, rooms.clock, pause)

    def hear(self, event: Event, remaining_s: float) -> dict[str, bool]:
        """Raises Unavailable where the row cannot be read or written; whoever called tries again."""
        self._rooms.clients.within(remaining_s)
        match event:
            case {"headgate": {"what": str(), "execution": str(), "message": {"scope": str(), "key": str()}} as told}:
                return self._told(told["what"], self._notes.hear(told))
            case {"source": "aws.states", "detail": {"status": status} as detail} if status in ENDS:
                execution = self._notes.told(detail["executionArn"], status, detail, detail.get("stopDate"))
                return self._told(status, {"written": self._heard(execution, self._members(detail))})
        log.warning("the event is no end of an execution kind=%s", event.get("detail-type", "-"))
        return {"written": False}

    def _told(self, status: str, answer: dict[str, bool]) -> dict[str, bool]:
        """Tell of a dead letter at once. How many there are the sweep counts."""
        if status != "SUCCEEDED" and answer.get("written"):
            self._rooms.metrics.tell_dead(self._channel.name, 1)
        return answer

    def _heard(self, execution: Execution, members: int) -> bool:
        """Find the rows. Where they are not there yet, whoever started the execution has died before noting it, and the
        sweep finds out; or it is no message's at all."""
        found: list[tuple[str, str]] = []
        for attempt in range(_TRIES):
            found = self._rooms.queue.started(self._channel.name, execution.id)
            if len(found) >= members:
                break
            pause(attempt)
        written = self._rooms.index.threads.in_parallel(lambda where: self._notes.write(execution, *where), found)
        return any(written)

    def _members(self, detail: Mapping[str, Any]) -> int:
        """How many messages an execution has, if that is told."""
        start, given = self._channel.start, detail.get("input")
        if start is None or not start.per_batch or not isinstance(given, str):
            return 1
        return len(json.loads(given))
