"""Marks the rows of what SQS or Lambda gave up, so that nothing stays in work for ever."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from headgate.aws.envelope import Sent, Where, opened
from headgate.aws.forwarder import failures
from headgate.aws.rooms import Rooms
from headgate.engine import Lease, Settlement
from headgate.errors import Unavailable
from headgate.gate.observe import site
from headgate.gate.work import Effect, Promote, Settle, take
from headgate.message import Message, Moment

log = logging.getLogger("headgate.aws")

Event = Mapping[str, Any]

_GIVEN_UP = "It was handed over again and again, and nobody knows why no attempt came to an end."
_KIND = "Buried"


class Buried:
    """Drains the dead letter queue of one channel, or of one of its consumers."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def bury(self, event: Event, remaining_s: float) -> dict[str, Any]:
        """The answer to one call: what could not be marked, and is to come again."""
        self._rooms.clients.within(remaining_s)
        left = [record["messageId"] for record in event["Records"] if not self._is_marked(record)]
        self._rooms.metrics.write()
        return failures(left)

    def _is_marked(self, record: Event) -> bool:
        body = record["body"]
        try:
            if self._rooms.channel.stream is not None:
                return self._mark_records(body)
            match opened(self._rooms.channel, body, Sent.of(record)):
                case Message() as arrived:
                    return self._mark_arrived(arrived)
                case Where() as where:
                    return self._mark(where)
        except Unavailable:
            return False
        except Exception as error:  # noqa: BLE001 - the others are none the worse for it
            log.error("what was given up could not be marked where=%s", site(error))
            return False
        log.error("what is no message of ours lies in the dead letter queue")
        return False  # it stays for as long as the queue keeps it, for people to see

    def _mark(self, where: Where) -> bool:
        """A row that waits, or is in work, is left to the sweep, which finds it when its time has come."""
        lease = self._rooms.queue.begin(self._rooms.channel.name, where.scope, where.key, self._rooms.work.lease_ms)
        if not isinstance(lease, Lease):
            return True
        failed = self._moment(lease.message.attempts - 1)
        settlement = Settlement(
            "failed", (failed,), error=_GIVEN_UP, keep_ms=self._rooms.channel.keep_dead_ms, uncounted=True
        )
        self._rooms.queue.settle(lease, settlement)
        return True

    def _mark_arrived(self, arrived: Message) -> bool:
        """What has no row yet, for all that is known, becomes a dead letter: under its own key where it has one."""

        def carry_out(effect: Effect) -> Any:
            match effect:
                case Promote(_, message):
                    kind = self._commit(message)
                    if kind == "replayed":
                        self._mark(Where(message.scope, message.key))
                    return "conflict" if kind == "conflict" else "late"
                case Settle(_, settlement):
                    bad = arrived
                    if settlement.status != "accepted":
                        bad = arrived._replace(
                            status=settlement.status, error=settlement.error, timeline=settlement.moments
                        )
                    self._commit(bad)
                    return True

        take(self._rooms.work.look(Lease(arrived, "", 0)), carry_out)
        return True

    def _mark_records(self, body: str) -> bool:
        """Records at which a consumer's function itself died: each is a dead letter of that consumer."""
        batch = json.loads(body)["KinesisBatchInfo"]
        records = self._rooms.stream.between(
            self._rooms.channel.name, batch["shardId"], batch["startSequenceNumber"], batch["endSequenceNumber"]
        )
        for record in records:
            self._rooms.keep_letter(self._failed(record.message._replace(scope=self._rooms.settings.consumer)))
        return True

    def _commit(self, message: Message) -> str:
        """Store a dead letter. Raises Unavailable where that could not be done."""
        keep_ms = self._rooms.channel.keep_dead_ms
        if message.status == "accepted":
            message = self._failed(message)
        expires_ms = None if keep_ms is None else self._rooms.clock.now_ms() + keep_ms
        (outcome,) = self._rooms.index.commit([message._replace(expires_ms=expires_ms)])
        if outcome.kind in ("unavailable", "in_progress"):
            raise Unavailable
        return outcome.kind

    def _failed(self, message: Message) -> Message:
        return message._replace(status="failed", error=_GIVEN_UP, timeline=(self._moment(0),))

    def _moment(self, attempt: int) -> Moment:
        return Moment(self._rooms.clock.now_ms(), "failed", attempt, detail=_GIVEN_UP, kind=_KIND)
