"""A consumer of a stream, as Lambda hands it records: what has to be tried again is tried here, while there is time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from headgate.aws.forwarder import failures
from headgate.aws.hand import Hand
from headgate.aws.rooms import Rooms
from headgate.aws.stream import REPLAYED, pushed
from headgate.aws.trials import Trials
from headgate.aws.worker import SETTLING_S, Worker
from headgate.engine import Lease, Record
from headgate.errors import Misuse, Unavailable
from headgate.gate.consume import Consuming, Reading, Trial

Event = Mapping[str, Any]

_REDRIVEN_MOST = 100


class Consumer:
    """One handler of a channel. How often a record was tried, and at which one a process died, the next process finds
    in the channel's table. That costs two writes when a process begins with a shard, and as many for each attempt that
    fails; as long as all goes well, none."""

    def __init__(self, rooms: Rooms) -> None:
        named = {handler.name: handler for handler in rooms.channel.handlers}
        handler = named.get(rooms.settings.consumer)
        if handler is None:
            raise Misuse(f"channel {rooms.channel.name} has no consumer {rooms.settings.consumer}")
        self._rooms = rooms
        self._hand = Hand(rooms.channel, handler, rooms.clock)
        self._consuming = Consuming(rooms.channel, handler.name, rooms.clock, rooms.observer)
        self._readings: dict[str, Reading] = {}
        self._taken_up: set[str] = set()
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
        left = [self._read(shard, records, REPLAYED in event) for shard, records in shards.items()]
        self._rooms.metrics.write()
        return failures([sequence for sequence in left if sequence is not None])

    def _read(self, shard: str, records: Sequence[Record], is_replay: bool) -> str | None:
        """The sequence of the first record that is not done with."""
        reading = self._reading(shard, records[0])
        is_watched = not is_replay and shard not in self._taken_up  # nobody knows what the last process died of
        trial = self._trials.taken_up(shard) if is_watched else None
        if is_watched:
            self._taken_up.add(shard)
        at = 0
        while at < len(records):
            if not self._has_time(self._rooms.channel.needs.timeout_s):
                return records[at].place.sequence
            if trial is not None and trial.first == records[at].place.sequence:
                reading = Reading(self._consuming, reading.after, _in_hand(trial, len(records) - at))
                self._readings[shard], trial = reading, None
            messages = reading.begin(records[at : at + reading.size])
            if is_watched and messages:
                self._trials.keep(shard, reading.begun)
            follow = reading.told(self._hand.handle(messages) if messages else ())
            try:
                for letter in follow.letters:  # kept before it goes on
                    self._rooms.keep_letter(letter)
            except Unavailable:
                return records[at].place.sequence
            reading.go(follow)
            if not is_replay and (is_watched or follow.trial is not None):
                self._trials.keep(shard, follow.trial)
                is_watched = follow.trial is not None
            done = (n for n in range(at, len(records)) if records[n].place.sequence == follow.after)
            at = next(done, at - 1) + 1
            if at < len(records) and follow.wait_s:
                if not self._has_time(follow.wait_s + self._rooms.channel.needs.timeout_s):
                    return records[at].place.sequence
                time.sleep(follow.wait_s)
        return None

    @cached_property
    def _trials(self) -> Trials:
        retention_s = self._consuming.stream.retention.total_seconds()
        return Trials(self._rooms.table, self._consuming.consumer, retention_s, self._rooms.clients, self._rooms.clock)

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


def _in_hand(trial: Trial, records: int) -> Trial:
    """A trial as it goes on with so many records. Where a turn of several was lost, and fewer of them come now, Lambda
    has halved it already: of the first one nobody knows that it was tried."""
    if trial.is_begun and trial.turn.size > records:
        return trial._replace(turn=trial.turn._replace(size=records), is_begun=False)
    return trial
