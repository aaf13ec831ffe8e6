"""A channel's queue in SQS: what is put into it, and how long what was taken out stays away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from headgate import limits
from headgate.aws.clients import Clients, Declined
from headgate.aws.envelope import MARKED, Where
from headgate.aws.layout import line_of
from headgate.aws.pages import pause
from headgate.clock import Clock
from headgate.errors import Unavailable
from headgate.http import RETRY_AFTER_S

_AT_ONCE = 10
_TRIES = 4
_LOOK_BACK = timedelta(minutes=10)
_MINUTE_S = 60


class Letter(NamedTuple):
    """A row that is to be worked off. `once` stands for the reason: what has the same one is taken once in five
    minutes, where the queue keeps an order. `order` is the value that messages are ordered by."""

    where: Where
    order: str
    once: str


class Postbox:
    """`url` of a queue; one whose name ends with `.fifo` keeps the order of each group."""

    def __init__(self, url: str, clients: Clients) -> None:
        self._url = url
        self._clients = clients
        self._is_ordered = url.endswith(".fifo")

    def post(self, letters: Sequence[Letter]) -> int | None:
        """Put letters in, in order. The place of the first that was not taken, None where all were."""
        for first in range(0, len(letters), _AT_ONCE):
            left = self._post(letters[first : first + _AT_ONCE])
            if left is not None:
                return first + left
        return None

    def delay(self, delays_s: Sequence[tuple[str, float]]) -> None:
        """Let messages, by their receipt handles, come back after so many seconds and no earlier. Where that cannot be
        said, they come back when the queue's own time is up."""
        for first in range(0, len(delays_s), _AT_ONCE):
            entries = [
                {
                    "Id": str(at),
                    "ReceiptHandle": handle,
                    "VisibilityTimeout": min(max(math.ceil(delay_s), 0), limits.RETRY_DELAY.value),
                }
                for at, (handle, delay_s) in enumerate(delays_s[first : first + _AT_ONCE])
            ]
            try:
                self._call("change_message_visibility_batch", Entries=entries)
            except Unavailable:
                return

    def renew(self, body: str, group: str) -> bool:
        """Put a message in once more, behind all others, as one that was never taken out. Whether that was done."""
        ordered = {"MessageGroupId": group, "MessageDeduplicationId": uuid4().hex} if self._is_ordered else {}
        try:
            self._call("send_message", MessageBody=body, MessageAttributes=MARKED, **ordered)
        except Unavailable:
            return False
        return True

    def waiting(self) -> int:
        """How many messages nobody has taken out, roughly."""
        answer = self._call("get_queue_attributes", AttributeNames=["ApproximateNumberOfMessages"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def age_s(self, clock: Clock) -> float | None:
        """How long the oldest message has been there, as CloudWatch saw it in its last minutes; None where it tells
        nothing."""
        now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
        answer = self._clients.call(
            "cloudwatch",
            "get_metric_statistics",
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": self._url.rpartition("/")[2]}],
            StartTime=now - _LOOK_BACK,
            EndTime=now,
            Period=_MINUTE_S,
            Statistics=["Maximum"],
        )
        return max((float(point["Maximum"]) for point in answer.get("Datapoints", ())), default=None)

    def _post(self, letters: Sequence[Letter]) -> int | None:
        waiting = dict(enumerate(letters))
        for attempt in range(_TRIES):
            entries = [{"Id": str(at), **self._entry(letter)} for at, letter in waiting.items()]
            try:
                answer = self._call("send_message_batch", Entries=entries)
            except Unavailable:
                break
            for taken in answer.get("Successful", ()):
                del waiting[int(taken["Id"])]
            if not waiting:
                return None
            pause(attempt)
        return min(waiting)

    def _entry(self, letter: Letter) -> Mapping[str, Any]:
        entry: dict[str, Any] = {"MessageBody": letter.where.written(), "MessageAttributes": MARKED}
        if self._is_ordered:
            group = letter.order or letter.where.written()
            entry |= {"MessageGroupId": line_of(group), "MessageDeduplicationId": line_of(letter.once)}
        return entry

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._clients.call("sqs", operation, QueueUrl=self._url, **parameters)
        except Declined:
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None
