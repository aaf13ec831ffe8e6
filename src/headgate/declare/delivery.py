"""How a message goes on after the gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Literal

from headgate import limits
from headgate.declare.shape import FLAG, NUMBER, TEXT, WHOLE, Shape, given, misfits
from headgate.declare.stores import Field

_QUEUED = {
    "attempts": WHOLE,
    "order_by": Shape('a field name such as "customer"', lambda value: value is None or TEXT.fits(value)),
    "at_most": WHOLE,
}
_STREAM = {
    "shards": WHOLE,
    "partition_key": Shape('a field name such as "customer"', lambda value: value is None or TEXT.fits(value)),
    "retention": Shape("a timedelta", lambda value: isinstance(value, timedelta)),
    "attempts": WHOLE,
    "dedupe": FLAG,
    "most_age": Shape("a timedelta", lambda value: value is None or isinstance(value, timedelta)),
}
RECORDS_AT_ONCE = 100
"""How many records a consumer takes at a time, if nothing else is said."""
_POLICY = {"first_s": NUMBER, "factor": NUMBER, "most_s": NUMBER, "jitter": NUMBER}


@dataclass(frozen=True, slots=True)
class Direct:
    """Stored before the reply; nothing follows."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a message waits after a failed attempt: `first_s` at first, `factor` times as long after each further
    one, at most `most_s`; of that a random part, at most the fraction `jitter`, is left out, so that messages that
    failed together do not come back together."""

    first_s: float = 1.0
    factor: float = 2.0
    most_s: float = 600.0
    jitter: float = 0.5

    def delay_s(self, attempt: int, dice: Random) -> float:
        """The wait after attempt 1, 2, ..."""
        wait_s = min(self.most_s, self.first_s * self.factor ** min(attempt - 1, 64))
        return wait_s * (1 - self.jitter * dice.random())

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("RetryPolicy ", given(self, _POLICY), _POLICY)):
            yield from wrong
            return
        most = limits.RETRY_DELAY.value
        if not 0 <= self.first_s <= self.most_s <= most:
            yield f"RetryPolicy: say 0 <= first_s <= most_s <= {most} (seconds; docs/limits.md)."
        if not 1 <= self.factor <= 100:
            yield "RetryPolicy `factor=` must be 1 to 100."
        if not 0 <= self.jitter <= 1:
            yield "RetryPolicy `jitter=` must be 0 to 1."


@dataclass(frozen=True)
class Queued:
    """Stored before the 202, then worked off by the channel's handler, at least once each.

    - `attempts`: how often a message is tried before it is a dead letter
    - `backoff`: how long it waits in between
    - `order_by`: a field of the body; messages with the same value are worked off one at a time, in the order they
      were stored, while others go on
    - `validate`: `"gate"`, or `"worker"` to let everything in unread and look at it later: a bad message becomes a
      row with the status `rejected`, and its sender does not hear of it
    - `at_most`: with so many messages waiting or in work, further ones are 503 until some are done
    """

    attempts: int = 5
    backoff: RetryPolicy = field(default_factory=RetryPolicy)
    order_by: str | None = None
    validate: Literal["gate", "worker"] = "gate"
    at_most: int = limits.QUEUE.value

    @property
    def unread(self) -> bool:
        """Whether messages are let in unread."""
        return self.validate == "worker"

    @property
    def order(self) -> Field | None:
        """The place in the body that `order_by=` names."""
        return None if self.order_by is None else Field(self.order_by)

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured, whatever the channel."""
        if wrong := list(misfits("Queued ", given(self, _QUEUED), _QUEUED)):
            yield from wrong
            return
        if not 1 <= self.attempts <= limits.ATTEMPTS.value:
            yield f"Queued `attempts=` must be 1 to {limits.ATTEMPTS.value}."
        if not 1 <= self.at_most <= limits.QUEUE.value:
            yield f"Queued `at_most=` must be 1 to {limits.QUEUE.value}."
        if self.validate not in ("gate", "worker"):
            yield f'Queued `validate=` is {self.validate!r}; say "gate" or "worker".'
        if isinstance(self.backoff, RetryPolicy):
            yield from self.backoff.sentences()
        else:
            yield "Queued `backoff=` must be a RetryPolicy(...)."


@dataclass(frozen=True)
class Stream:
    """Validated, then appended to an ordered log, before the 202; the record is the journal, and no row is written.
    A sender that repeats itself appends twice: consumers are told the message's id. With `dedupe` a row is written too.

    - `shards`: how many parts the log has; messages are ordered within one
    - `partition_key`: a field of the body; messages with the same value are in one shard, in order. The message's id
    - `retention`: how long records stay, a day at least
    - `attempts`: how often a consumer is given a record, alone, before it is a dead letter; lists that fail are halved
    - `backoff`: how long its shard waits in between
    - `most_age`: a record that is older than this when its turn comes is a dead letter; no limit
    - `dedupe`: whether the same message sent again is answered the same and appended once, as on other channels; it
      takes a row for each message, which can be read; False
    """

    shards: int = 1
    partition_key: str | None = None
    retention: timedelta = timedelta(days=1)
    attempts: int = 5
    backoff: RetryPolicy = field(default_factory=RetryPolicy)
    most_age: timedelta | None = None
    dedupe: bool = False

    @property
    def partition(self) -> Field | None:
        """The place in the body that `partition_key=` names."""
        return None if self.partition_key is None else Field(self.partition_key)

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured, whatever the channel."""
        if wrong := list(misfits("Stream ", given(self, _STREAM), _STREAM)):
            yield from wrong
            return
        if not 1 <= self.shards <= limits.SHARDS.value:
            yield f"Stream `shards=` must be 1 to {limits.SHARDS.value}."
        if not timedelta(days=1) <= self.retention <= timedelta(days=limits.RETENTION.value):
            yield f"Stream `retention=` must be 1 to {limits.RETENTION.value} days."
        if self.most_age is not None and self.most_age < timedelta(minutes=1):
            yield "Stream `most_age=` must be a minute at least, as in timedelta(hours=1)."
        if not 1 <= self.attempts <= limits.ATTEMPTS.value:
            yield f"Stream `attempts=` must be 1 to {limits.ATTEMPTS.value}."
        if isinstance(self.backoff, RetryPolicy):
            yield from self.backoff.sentences()
        else:
            yield "Stream `backoff=` must be a RetryPolicy(...)."


Delivery = Direct | Queued | Stream
