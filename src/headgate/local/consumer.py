"""A consumer of a stream: a crew that reads the channel's shards, each in order, several at a time.

What is handed over is written down before, together with what is done: an attempt is counted before it is made. A dead
letter is kept before its checkpoint moves, by the same write.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headgate.errors import Unavailable
from headgate.gate.consume import Consuming, Follow, Reading
from headgate.gate.handle import Report
from headgate.local.crew import PAUSE_S, Crew
from headgate.local.hand import Orders
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
            ready = [way for way in self._ways.values() if self._is_ready(way.lane)]
            if ready:
                is_pressed = all(hand.groups for hand in self._hands)
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
        if self._moved and self._drain_s:
            self._stream.move(*self._name_and_consumer, self._moved)

    @property
    def _name_and_consumer(self) -> tuple[str, str]:
        return self._consuming.channel.name, self._consuming.consumer

    def _patience_s(self) -> float | None:
        now_s = self._clock.elapsed_s()
        until = self._hands_patience_s()
        until += [at_s - now_s for lane, at_s in self._not_before_s.items() if lane not in self._busy]
        if self._start_at_s > now_s:
            until.append(self._start_at_s - now_s)
        if any(self._is_ready(lane) for lane in self._ways) and self._has_idle_hand():
            return 0.0
        return max(0.0, min(until)) if until else None

    def _has_idle_hand(self) -> bool:
        return any(hand.is_ready and not hand.groups for hand in self._hands)

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
        """Give each idle hand the next records of a lane; of the lanes in turn."""
        idle = [hand for hand in self._hands if hand.is_ready and not hand.groups]
        begun: list[tuple[Way, list[Message]]] = []
        for way in ready:
            if len(begun) == len(idle):
                break
            if messages := self._begin(way):
                begun.append((way, messages))
        if not begun:
            return
        self._write({way.lane: Mark(way.reading.after, way.reading.begun) for way, _ in begun})
        for hand, (way, messages) in zip(idle, begun, strict=False):
            self._busy.add(way.lane)
            hand.give([Portion(way, len(messages))], [messages], self._clock.elapsed_s())
            self._ways[way.lane] = self._ways.pop(way.lane)  # the others first, next time

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
            self._moved.pop(way.lane, None)
            self._unsaved.pop(way.lane, None)

    def _told(self, group: Portion, reports: list[Report]) -> None:
        self._busy.discard(group.way.lane)
        self._follow(group.way, group.way.reading.told(reports))

    def _failed(self, group: Portion, report: Report) -> None:
        self._told(group, [report] * group.records)

    def _returned(self, group: Portion) -> None:
        self._busy.discard(group.way.lane)

    def _forget(self) -> None:
        for lanes in (self._ways, self._busy, self._dry, self._not_before_s):
            lanes.clear()
        self._has_more.set()

    def _follow(self, way: Way, follow: Follow) -> None:
        """Dead letters are kept first. Where they cannot be, everything is as before, and these records come again."""
        mark, before = Mark(follow.after, follow.trial), way.reading.after
        wait_s = follow.wait_s
        try:
            if follow.letters or (follow.trial and wait_s):  # without a wait the next `begun` says the same
                self._write({way.lane: mark}, follow.letters)
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

    def _write(self, marks: Mapping[Lane, Mark], letters: Sequence[Message] = ()) -> None:
        """Now, and in the place of what was to be written of these lanes. Raises Unavailable."""
        self._stream.move(*self._name_and_consumer, marks, letters)
        for lane in marks:
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
