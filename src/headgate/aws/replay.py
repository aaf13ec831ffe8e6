"""A range of a stream once more to one of its consumers, whose function is called as Lambda's own mapping calls it.

The mapping does not notice: how far it is in a shard Lambda keeps to itself, and nothing of it is changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from typing import Any, NamedTuple

from headgate.aws.clients import Clients
from headgate.aws.stream import REPLAYED, KinesisStream, Told, pushing
from headgate.engine import Record

_MOST_BYTES = 5 * 1024 * 1024
"""Of an event; Lambda takes 6 MB from a caller that waits."""


class Range(NamedTuple):
    """Records of a shard, from the first one received at `since_ms` or later that is behind the sequence `after`, up to
    the one with the sequence `until`, and none that was received at `before_ms` or later. None is no such limit."""

    shard: str
    after: str | None = None
    since_ms: int | None = None
    until: str | None = None
    before_ms: int | None = None


class Handed(NamedTuple):
    """The consumer is done with so many records more, up to this sequence."""

    records: int
    sequence: str


class StuckError(Exception):
    """The consumer's function does not get any further; `sequence` is that of the record it is at."""

    def __init__(self, sequence: str, why: str) -> None:
        super().__init__(why)
        self.sequence = sequence
        self.why = why


@dataclass(frozen=True)
class Replaying:
    """`function` is the consumer's, `stream_arn` that of its stream, `batch` what it takes at a time, and `retries` how
    often it is called again where it got nowhere."""

    stream: KinesisStream
    clients: Clients
    channel: str
    stream_arn: str
    function: str
    batch: int
    retries: int

    def read(self, range_: Range) -> Iterator[Told]:
        """The records of a range, page by page."""
        told = self.stream.told(self.channel, range_.shard, range_.after, range_.since_ms)
        begun = dropwhile(lambda each: _received_ms(each) < (range_.since_ms or 0), told)
        return takewhile(lambda each: _is_before_end(each, range_), begun)

    def hand_over(self, range_: Range) -> Iterator[Handed]:
        """Hand the records of a range over, in order, as many at a time as the consumer takes. Raises StuckError."""
        batch: list[Told] = []
        for told in self.read(range_):
            batch.append(told)
            if len(batch) >= self.batch:
                yield from self._hand_over(batch)
                batch = []
        if batch:
            yield from self._hand_over(batch)

    def _hand_over(self, batch: Sequence[Told]) -> Iterator[Handed]:
        """Go on from the first record that was not done with; where the function dies, with half of them."""
        size, tries = len(batch), 0
        while batch:
            part = _fitting(batch[:size])
            done, why = self._called(part)
            if done:
                size, tries = len(batch), 0
                yield Handed(done, part[done - 1].record.place.sequence)
                batch = batch[done:]
            elif why and len(part) > 1:
                size = len(part) // 2
            elif tries == self.retries:
                raise StuckError(part[0].record.place.sequence, why or "it puts the record off again and again")
            else:
                tries += 1

    def _called(self, part: Sequence[Told]) -> tuple[int, str]:
        """How many records the consumer is done with, and why the function died, if it did."""
        event = {"Records": [pushing(told, self.stream_arn) for told in part], REPLAYED: True}
        answer = self.clients.call("lambda", "invoke", FunctionName=self.function, Payload=json.dumps(event).encode())
        told = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            return 0, f"its function ended with {_error_of(told)}"
        sequences = [each.record.place.sequence for each in part]
        left = [each["itemIdentifier"] for each in told["batchItemFailures"]]
        return min(map(sequences.index, left), default=len(part)), ""


def _is_before_end(told: Told, range_: Range) -> bool:
    if range_.until is not None and int(told.record.place.sequence) > int(range_.until):
        return False
    return range_.before_ms is None or _received_ms(told) < range_.before_ms


def _received_ms(told: Told) -> int:
    record: Record = told.record
    return record.message.received_ms


def _fitting(batch: Sequence[Told]) -> Sequence[Told]:
    """As many as one call can take, one at least."""
    bytes_ = 0
    for at, told in enumerate(batch):
        bytes_ += len(told.data) * 4 // 3 + 1024
        if bytes_ > _MOST_BYTES and at:
            return batch[:at]
    return batch


def _error_of(told: Any) -> str:
    return str(told.get("errorType") or "an error") if isinstance(told, Mapping) else "an error"
