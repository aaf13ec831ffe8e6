"""A consumer of a stream: a crew that reads the channel's shards, each in order, several at a time.

What is handed over is written down before, together with what is done: an attempt is counted before it is made. A dead
letter is kept before its checkpoint moves, by the same write.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from headgate.errors import Unavailable
from headgate.gate.consume import Consuming, Follow, Reading
from headgate.gate.handle import Report
from headgate.local.crew import PAUSE_S, Crew
from headgate.local.hand import Orders
from headgate.local.hands import Hand
from headgate.local.stream import Lane, LocalStream, Mark
from headgate.message import Message


class Way(NamedTuple):
    """A lane, and how far the consumer is in memory."""

    lane: Lane
    reading: Reading


class Portion(NamedTuple):
    """What a hand was given of a lane."""

    way: Way
    records: int


class Consumer(Crew[Portion]):
    """Reads until it is stopped."""

    def __init__(
        self, consuming: Consuming, stream: LocalStream, orders: Orders | None, environ: Mapping[str, str]
    ) -> None:
        super().__init__(consuming.channel.name, consuming.channel.needs, orders, environ)
        self._consuming = consuming
        self._stream = stream
        self._ways: dict[Lane, Way] = {}
        self._busy: set[Lane] = set()
        self._not_before_s: dict[Lane, float] = {}
        self._dry: set[Lane] = set()
        self._begun: dict[Lane, list[Message]] = {}  # being written down, and not handed over yet
        self._landed: deque[tuple[dict[Lane, list[Message]], bool]] = deque()
        self._moved: dict[Lane, Mark] = {}
        self._unsaved: dict[Lane, Mark] = {}
        self._is_saving = threading.Event()
        self._has_more = threading.Event()
        self._has_more.set()

    def wake(self) -> None:
        """There may be more to read; from any thread."""
        self._has_more.set()
        super().wake()

    def _round(self) -> None:
        try:
            self._look()
            self._hand_over()
            ready = [way for way in self._ways.values() if self._is_ready(way.lane)]
            if ready:
                is_pressed = len(self._idle()) <= len(self._begun)
                self._staff(is_pressed=is_pressed, most=min(self._needs.concurrency, len(self._ways)))
            self._feed(ready)
            self._save()
        except Unavailable:
            self._wait(PAUSE_S)
        else:
            self._wait(self._patience_s())
        self._listen()

    def _drain(self) -> None:
        until_s = self._clock.elapsed_s() + self._drain_s
        while any(hand.groups for hand in self._hands) and self._clock.elapsed_s() < until_s:
            self._wait(PAUSE_S)
            self._listen()
        for hand in self._hands:
            hand.groups.clear()
        untouched = {lane: self._ways[lane].reading for lane in self._begun}
        marks = self._moved | {lane: Mark(reading.after, reading.rest) for lane, reading in untouched.items()}
        if marks and self._drain_s:
            self._stream.move(*self._name_and_consumer, marks)

    @property
    def _name_and_consumer(self) -> tuple[str, str]:
        return self._consuming.channel.name, self._consuming.consumer

    def _patience_s(self) -> float | None:
        now_s = self._clock.elapsed_s()
        until = self._hands_patience_s()
        until += [at_s - now_s for lane, at_s in self._not_before_s.items() if lane not in self._busy and at_s > now_s]
        if self._start_at_s > now_s:
            until.append(self._start_at_s - now_s)
        if any(self._is_ready(lane) for lane in self._ways) and len(self._idle()) > len(self._begun):
            return 0.0
        return max(0.0, min(until)) if until else None

    def _idle(self) -> list[Hand[Portion]]:
        return [hand for hand in self._hands if hand.is_ready and not hand.is_spent and not hand.groups]

    # ----------------------------------------------------------------------------------------------------- the records

    def _look(self) -> None:
        """Take up what is new, replays too."""
        if self._has_more.is_set():
            self._has_more.clear()  # before reading: what is committed from here on sets it again
            self._dry.clear()
            for lane, mark in self._stream.lanes(*self._name_and_consumer).items():
                if lane not in self._ways:
                    self._ways[lane] = Way(lane, Reading(self._consuming, mark.after, mark.trial))

    def _is_ready(self, lane: Lane) -> bool:
        if lane in self._busy or lane in self._dry:
            return False
        return self._not_before_s.get(lane, 0.0) <= self._clock.elapsed_s()

    def _feed(self, ready: list[Way]) -> None:
        """Write down what each idle hand is given next, lanes in turn. Others go on meanwhile, so that several lanes
        share a sync."""
        room = len(self._idle()) - len(self._begun)
        begun: dict[Lane, list[Message]] = {}
        for way in ready:
            if len(begun) >= room:
                break
            if messages := self._begin(way):
                begun[way.lane] = messages
        if not begun:
            return
        for lane in begun:
            self._ways[lane] = self._ways.pop(lane)  # the others first, next time
            self._supersede(lane)
        self._busy |= begun.keys()
        self._begun |= begun
        readings = {lane: self._ways[lane].reading for lane in begun}

        def landed(done: bool) -> None:
            self._landed.append((begun, done))
            Crew.wake(self)

        marks = {lane: Mark(reading.after, reading.begun) for lane, reading in readings.items()}
        self._stream.move_soon(*self._name_and_consumer, marks, landed)

    def _hand_over(self) -> None:
        """What is written down."""
        while self._landed:
            begun, done = self._landed.popleft()
            for lane, messages in begun.items():
                if self._begun.get(lane) is not messages:
                    continue  # forgotten meanwhile
                del self._begun[lane]
                hand = next(iter(self._idle()), None)
                if hand is None or not done:
                    self._busy.discard(lane)
                    if not done:
                        self._not_before_s[lane] = self._clock.elapsed_s() + PAUSE_S
                else:
                    hand.give([Portion(self._ways[lane], len(messages))], [messages], self._clock.elapsed_s())

    def _begin(self, way: Way) -> list[Message]:
        """What comes next of a lane; nothing where there is no more, or where it goes on without the handler."""
        records = self._stream.read(self._consuming.channel.name, way.lane.shard, way.reading.after, way.reading.size)
        if way.lane.until is not None:
            records = [record for record in records if int(record.place.sequence) <= int(way.lane.until)]
        if not records:
            self._ended(way)
            return []
        messages = way.reading.begin(records)
        if not messages:
            self._follow(way, way.reading.told(()))
        return messages

    def _ended(self, way: Way) -> None:
        """There is no more, for now, or, of a replay, ever."""
        self._dry.add(way.lane)
        if way.lane.replay is not None:
            self._stream.finish(way.lane)
            del self._ways[way.lane]
            self._supersede(way.lane)

    def _told(self, group: Portion, reports: list[Report]) -> None:
        self._busy.discard(group.way.lane)
        self._follow(group.way, group.way.reading.told(reports))

    def _failed(self, group: Portion, report: Report) -> None:
        self._told(group, [report] * group.records)

    def _returned(self, group: Portion) -> None:
        self._busy.discard(group.way.lane)

    def _forget(self) -> None:
        for lanes in (self._ways, self._busy, self._begun, self._dry, self._not_before_s):
            lanes.clear()
        self._has_more.set()

    def _follow(self, way: Way, follow: Follow) -> None:
        """Dead letters are kept first. Where they cannot be, everything is as before, and these records come again."""
        mark, before = Mark(follow.after, follow.trial), way.reading.after
        wait_s = follow.wait_s
        try:
            if follow.letters or (follow.trial and wait_s):  # without a wait the next `begun` says the same
                self._stream.move(*self._name_and_consumer, {way.lane: mark}, follow.letters)
                self._supersede(way.lane)
            elif follow.after != before:
                self._moved[way.lane] = mark
        except Unavailable:
            wait_s = PAUSE_S
        else:
            way.reading.go(follow)
        self._not_before_s[way.lane] = self._clock.elapsed_s() + wait_s if wait_s else 0.0
        if not wait_s:
            del self._not_before_s[way.lane]

    # ------------------------------------------------------------------------------------------------- the checkpoints

    def _supersede(self, lane: Lane) -> None:
        """What was to be written of a lane is said by another write."""
        self._moved.pop(lane, None)
        self._unsaved.pop(lane, None)

    def _save(self) -> None:
        """Write down what is done, where nothing comes next; one write at a time, so that each has all that was done
        meanwhile."""
        if self._is_saving.is_set():
            return
        self._moved, self._unsaved = {**self._unsaved, **self._moved}, {}
        if not self._moved:
            return
        moved, self._moved = self._moved, {}
        self._is_saving.set()

        def landed(done: bool) -> None:
            if not done:  # what was moved since says more
                self._unsaved = moved
            self._is_saving.clear()
            Crew.wake(self)

        self._stream.move_soon(*self._name_and_consumer, moved, landed)
