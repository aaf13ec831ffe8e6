"""Works off what SQS hands over: rows, and what came in unread. A verdict goes to the row first, then to the queue.

SQS counts how often it has handed a message over, and gives it up in the end. That is meant for those that no function
survives: where we ourselves put one off, it is put in anew before that count is at its end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.aws.duties import working
from headgate.aws.envelope import Sent, Where, opened, sealed
from headgate.aws.forwarder import failures
from headgate.aws.hand import Hand
from headgate.aws.postbox import Letter
from headgate.aws.queue import AHEAD
from headgate.aws.rooms import Rooms
from headgate.engine import Lease, NotYet, Settlement
from headgate.errors import Unavailable
from headgate.events import Accepted
from headgate.gate.handle import DONE, Report
from headgate.gate.observe import site
from headgate.gate.work import Archived, Attempt, Effect, Handle, Promote, Settle, in_groups, take
from headgate.message import Message

log = logging.getLogger("headgate.aws")

Event = Mapping[str, Any]

SETTLING_S = 5.0
"""What a function needs beside its handler's time to write down what came of an attempt."""

_OWN = Sent("", 0, is_ours=True)


@dataclass
class Item:
    """A message of SQS on its way. `delay_s` is when it is to come again, None where the queue's own time will do."""

    id: str
    handle: str
    body: str
    group: str
    receives: int
    sent: Sent = _OWN
    is_done: bool = False
    delay_s: float | None = None

    @classmethod
    def of(cls, record: Event) -> Item:
        """An item of an event."""
        attributes = record.get("attributes") or {}
        return cls(
            record["messageId"],
            record["receiptHandle"],
            record["body"],
            str(attributes.get("MessageGroupId") or record["messageId"]),
            int(attributes.get("ApproximateReceiveCount") or 1),
            Sent.of(record),
        )


class Worker:
    """One channel's. Of messages with one order, one is worked off at a time, and none while one before it waits."""

    def __init__(self, rooms: Rooms, hand: Hand | None) -> None:
        self._rooms = rooms
        self._hand = hand
        self._until_s = 0.0

    @classmethod
    def of(cls, rooms: Rooms) -> Worker:
        """The worker of a Queued channel."""
        handler = rooms.channel.handler
        return cls(rooms, None if handler is None else Hand(rooms.channel, handler, rooms.clock))

    def work_off(self, event: Event, remaining_s: float) -> dict[str, Any]:
        """The answer to one call: which messages are to come again."""
        self._rooms.clients.within(remaining_s)
        self._until_s = self._rooms.clock.elapsed_s() + remaining_s
        items = [Item.of(record) for record in event["Records"]]
        stopped: set[str] = set()
        for wave in _waves(items):
            going = [item for item in wave if item.group not in stopped]
            for together in _together(going):
                self._work_off(together)
            stopped |= {item.group for item in going if not item.is_done}
        again = [item for item in items if not item.is_done and not self._is_renewed(item)]
        self._rooms.postbox.delay([(item.handle, item.delay_s) for item in again if item.delay_s is not None])
        self._rooms.metrics.write()
        return failures([item.id for item in again])

    def redriven(self, leases: Sequence[Lease], remaining_s: float) -> None:
        """Work off rows that nobody hands over."""
        self._rooms.clients.within(remaining_s)
        self._until_s = self._rooms.clock.elapsed_s() + remaining_s
        items = [Item("", "", "", str(at), 1) for at in range(len(leases))]
        self._attempt(dict(enumerate(leases)), items)
        self._rooms.metrics.write()

    def _is_renewed(self, item: Item) -> bool:
        """Whether SQS has a new message for one that we put off, and that it would soon have handed over too often."""
        channel, delivery = self._rooms.channel, self._rooms.channel.queue
        if delivery is None or item.delay_s is None or item.receives < working(channel, delivery).receives - 1:
            return False
        found = opened(channel, item.body, item.sent)
        return self._rooms.postbox.renew(sealed(found) if isinstance(found, Message) else item.body, item.group)

    # ------------------------------------------------------------------------------------------------------- one wave

    def _work_off(self, items: Sequence[Item]) -> None:
        leases: dict[int, Lease] = {}
        for at, item in enumerate(items):
            try:
                lease = self._begun(item)
            except Unavailable:
                item.delay_s = self._soon(item)
                continue
            except Exception as error:  # noqa: BLE001 - the others are none the worse for it
                log.error("a message could not be begun where=%s", site(error))
                continue
            if lease is not None:
                leases[at] = lease
        self._attempt(leases, items)

    def _begun(self, item: Item) -> Lease | None:
        """The lease of what is to be handled; None where `item` knows already how it goes on."""
        found = opened(self._rooms.channel, item.body, item.sent)
        if found is None:
            log.error("what is no message of ours lies in the queue id=%s", item.id)
            return None
        where = self._looked_at(found, item) if isinstance(found, Message) else found
        if where is None or not self._is_next(where, item):
            return None
        if not self._has_time(1):
            item.delay_s = 0
            return None
        lease = self._rooms.queue.begin(self._rooms.channel.name, where.scope, where.key, self._rooms.work.lease_ms)
        match lease:
            case None:
                item.is_done = True
            case NotYet(due_ms):
                item.delay_s = None if due_ms is None else self._until(due_ms)
            case Lease() if self._rooms.queue.is_unread(lease):
                self._look(lease, item)
            case Lease():
                return lease
        return None

    def _is_next(self, where: Where, item: Item) -> bool:
        """Whether nothing before a message in its line is unfinished. What is, is worked off here and now: its own
        message of SQS may have been put in behind this one, which would hold it up."""
        while where.place and (ahead := self._rooms.queue.ahead(self._rooms.channel.name, item.group, where.place)):
            for each in ahead:
                first = Item(item.id, "", Where(*each).written(), item.group, 1)
                self._work_off([first])
                if not first.is_done:
                    item.delay_s = first.delay_s
                    return False
            if len(ahead) < AHEAD:
                break
        return True

    def _soon(self, item: Item) -> float:
        return self._rooms.work.delivery.backoff.delay_s(item.receives, self._rooms.work.dice)

    def _until(self, due_ms: int) -> float:
        return (due_ms - self._rooms.clock.now_ms()) / 1000

    def _has_time(self, groups: int) -> bool:
        timeout_s = self._rooms.channel.needs.timeout_s if self._hand is not None else 0.0
        return self._rooms.clock.elapsed_s() + groups * timeout_s + SETTLING_S <= self._until_s

    def _attempt(self, leases: Mapping[int, Lease], items: Sequence[Item]) -> None:
        places = {lease.token: at for at, lease in leases.items()}
        attempts = [Attempt(lease, self._rooms.work.attempt(lease)) for lease in leases.values()]
        to_handle = []
        for attempt in attempts:
            if isinstance(self._stepped(attempt, None, items[places[attempt.lease.token]]), Handle):
                to_handle.append(attempt)
        for group in in_groups(to_handle, self._rooms.channel.needs.batch):
            reports = self._handled(group)
            for at, attempt in enumerate(group):
                item = items[places[attempt.lease.token]]
                if reports is None:
                    attempt.steps.close()
                    self._give_back(attempt.lease, item)
                else:
                    self._stepped(attempt, reports[at], item)

    def _handled(self, group: Sequence[Attempt]) -> list[Report] | None:
        """None where there is not enough time left."""
        if self._hand is None:
            return [DONE] * len(group)
        if not self._has_time(1):
            return None
        return self._hand.handle([attempt.lease.message._replace(timeline=()) for attempt in group])

    def _give_back(self, lease: Lease, item: Item) -> None:
        item.delay_s = 0
        try:
            self._rooms.queue.settle(lease, Settlement("accepted", uncounted=True))
        except Unavailable:
            item.delay_s = None

    def _stepped(self, attempt: Attempt, answer: Any, item: Item) -> Effect | None:
        """Let the gate go on, up to where the handler is next; what it wants written down is written."""
        try:
            while True:
                effect: Effect = attempt.steps.send(answer)
                match effect:
                    case Handle():
                        return effect
                    case Archived(kept):
                        (name,) = self._rooms.archive.put([kept])
                        answer = name or ""
                    case Settle(lease, settlement):
                        answer = self._rooms.queue.settle(lease, settlement)
                        if answer and settlement.status == "accepted":
                            item.delay_s = settlement.delay_ms / 1000
                        else:
                            item.is_done = answer
                    case Promote():
                        raise TypeError("an attempt promotes nothing")
        except StopIteration:
            return None
        except Unavailable:
            item.delay_s = self._until(attempt.lease.until_ms)
            return None  # nobody knows what was written: the row does, when the message comes again
        except Exception as error:  # noqa: BLE001 - the others are none the worse for it
            log.error("an attempt broke off where=%s", site(error))
            return None

    # -------------------------------------------------------------------------------------------- what came in unread

    def _look(self, lease: Lease, item: Item) -> None:
        """The first look at a row that was let in unread. It goes on as a message of its own."""
        queue = self._rooms.queue

        def carry_out(effect: Effect) -> Any:
            match effect:
                case Promote(_, message):
                    kind = queue.promote(lease, message)
                    if message.key == lease.message.key and message.scope == lease.message.scope:
                        item.delay_s = 0
                    elif kind in ("stored", "replayed"):
                        where = Where(message.scope, message.key)
                        if self._rooms.postbox.post([Letter(where, message.order, lease.token)]) is None:
                            queue.leave(lease, message)
                            item.is_done = True
                    return kind
                case Settle(_, settlement):
                    is_written = queue.settle(lease, settlement)
                    item.is_done = is_written and settlement.status != "accepted"
                    item.delay_s = settlement.delay_ms / 1000
                    return is_written

        take(self._rooms.work.look(lease), carry_out)

    def _looked_at(self, arrived: Message, item: Item) -> Where | None:
        """Where what API Gateway put into the queue goes on; None where it does not, or not yet."""
        where: Where | None = None

        def carry_out(effect: Effect) -> Any:
            nonlocal where
            match effect:
                case Promote(_, message):
                    kind = self._rooms.index.commit([message._replace(status="accepted")])[0].kind
                    if kind == "stored":
                        self._rooms.observer.told(Accepted(message.channel, 1, 0))
                    if kind in ("stored", "replayed"):
                        where = Where(message.scope, message.key)
                    return kind
                case Settle(_, settlement) if settlement.status == "accepted":
                    item.delay_s = max(settlement.delay_ms / 1000, self._soon(item))
                    return True
                case Settle(_, settlement):
                    keep_ms = settlement.keep_ms
                    bad = arrived._replace(
                        status=settlement.status,
                        error=settlement.error,
                        timeline=settlement.moments,
                        expires_ms=None if keep_ms is None else self._rooms.clock.now_ms() + keep_ms,
                    )
                    item.is_done = self._rooms.index.commit([bad])[0].kind in ("stored", "replayed")
                    return item.is_done

        take(self._rooms.work.look(Lease(arrived._replace(attempts=item.receives), "", 0)), carry_out)
        return where


def _together(items: Sequence[Item]) -> Iterator[list[Item]]:
    """What comes for the first time is begun in one go. What came before may be what a function died of: it is begun
    when its turn has come, so that one at which everything dies costs the others no attempt."""
    fresh = [item for item in items if item.receives == 1]
    if fresh:
        yield fresh
    yield from ([item] for item in items if item.receives > 1)


def _waves(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items in their order, so that no two of a group are in one list."""
    waves: list[list[Item]] = []
    seen: dict[str, int] = {}
    for item in items:
        at = seen.get(item.group, 0)
        seen[item.group] = at + 1
        if at == len(waves):
            waves.append([])
        waves[at].append(item)
    yield from waves
