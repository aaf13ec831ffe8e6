"""A consumer of a stream, as Lambda hands it records: what has to be tried again is tried here, while there is time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from headgate.aws.forwarder import failures
from headgate.aws.hand import Hand
from headgate.aws.rooms import Rooms
from headgate.aws.stream import pushed
from headgate.aws.worker import SETTLING_S, Worker
from headgate.engine import Lease, Record
from headgate.errors import Misuse, Unavailable
from headgate.gate.consume import Consuming, Reading

Event = Mapping[str, Any]

_REDRIVEN_MOST = 100


class Consumer:
    """One handler of a channel. How often a record was tried is remembered by this process: when Lambda goes on with
    another one, attempts are counted anew, and its own limit of retries holds."""

    def __init__(self, rooms: Rooms) -> None:
        named = {handler.name: handler for handler in rooms.channel.handlers}
        handler = named.get(rooms.settings.consumer)
        if handler is None:
            raise Misuse(f"channel {rooms.channel.name} has no consumer {rooms.settings.consumer}")
        self._rooms = rooms
        self._hand = Hand(rooms.channel, handler, rooms.clock)
        self._consuming = Consuming(rooms.channel, handler.name, rooms.clock, rooms.observer)
        self._readings: dict[str, Reading] = {}
        self._redriver = Worker(rooms, self._hand)
        self._until_s = 0.0

    def consume(self, event: Event, remaining_s: float) -> dict[str, Any]:
        """The answer to one call: the first record of a shard that is not done with, from which on it is called again.
        Called by a schedule, it works off dead letters of its own that were redriven, and tells how many there are."""
        self._rooms.clients.within(remaining_s)
        self._until_s = self._rooms.clock.elapsed_s() + remaining_s
        if "Records" not in event:
            self._redrive()
            name = self._rooms.channel.name
            self._rooms.metrics.tell_dead(name, self._rooms.queue.dead_letters(name))
            return failures([])
        shards: dict[str, list[Record]] = defaultdict(list)
        for told in event["Records"]:
            record = pushed(self._rooms.channel.name, told)
            shards[record.place.shard].append(record)
        left = [self._read(shard, records) for shard, records in shards.items()]
        self._rooms.metrics.write()
        return failures([sequence for sequence in left if sequence is not None])

    def _read(self, shard: str, records: Sequence[Record]) -> str | None:
        """The sequence of the first record that is not done with."""
        reading = self._reading(shard, records[0])
        at = 0
        while at < len(records):
            if not self._has_time(self._rooms.channel.needs.timeout_s):
                return records[at].place.sequence
            messages = reading.begin(records[at : at + reading.size])
            follow = reading.told(self._hand.handle(messages) if messages else ())
            try:
                for letter in follow.letters:  # kept before it goes on
                    self._rooms.keep_letter(letter)
            except Unavailable:
                return records[at].place.sequence
            reading.go(follow)
            done = (n for n in range(at, len(records)) if records[n].place.sequence == follow.after)
            at = next(done, at - 1) + 1
            if at < len(records) and follow.wait_s:
                if not self._has_time(follow.wait_s + self._rooms.channel.needs.timeout_s):
                    return records[at].place.sequence
                time.sleep(follow.wait_s)
        return None

    def _reading(self, shard: str, first: Record) -> Reading:
        """Goes on where the last call of this process ended, if that is where this one begins."""
        reading = self._readings.get(shard)
        if reading is None or int(reading.after or 0) >= int(first.place.sequence):
            reading = self._readings[shard] = Reading(self._consuming, None)
        return reading

    def _has_time(self, for_s: float) -> bool:
        return self._rooms.clock.elapsed_s() + for_s + SETTLING_S <= self._until_s

    def _redrive(self) -> None:
        name = self._rooms.channel.name
        mine = [
            where
            for where in self._rooms.queue.overdue(name, 0, _REDRIVEN_MOST)
            if where[0] == self._consuming.consumer
        ]
        for where in mine:
            if not self._has_time(self._rooms.channel.needs.timeout_s):
                return
            lease = self._rooms.queue.begin(name, *where, self._rooms.work.lease_ms)
            if isinstance(lease, Lease):
                self._redriver.redriven([lease], self._until_s - self._rooms.clock.elapsed_s())
