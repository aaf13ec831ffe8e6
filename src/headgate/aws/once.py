"""Streams that take each message once: its row claims the key, then comes the record, then the row tells where that is.

    row: accepted, due ──▶ record in Kinesis ──▶ row: processed, at its record

Whoever finds a row that is at no record goes on from there: the sender's repetition, or the sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headgate.aws.clients import Clients, Declined
from headgate.aws.index import DynamoIndex
from headgate.aws.layout import DUE_AT, RECORD_AT, REQUEST_ID, STATUS
from headgate.aws.pages import TRIES, pause
from headgate.aws.rows import Mark, record_at, text_of
from headgate.aws.stream import KinesisStream, Log
from headgate.clock import Clock
from headgate.engine import DedupedStream, Outcome, Place
from headgate.errors import Unavailable
from headgate.message import Message

_CLAIMED, _DONE = "accepted", "processed"


class OnceStream(KinesisStream, DedupedStream):
    """The streams of channels whose messages have rows in `index`."""

    def __init__(self, logs: Mapping[str, Log], index: DynamoIndex, clients: Clients, clock: Clock) -> None:
        super().__init__(logs, clients, clock)
        self._index = index

    def append_once(self, messages: Sequence[Message]) -> list[Outcome]:
        claimed = self._index.commit([message._replace(status=_CLAIMED) for message in messages])
        open_: dict[Mark, Message] = {}
        for message, outcome in zip(messages, claimed, strict=True):
            if outcome.kind in ("stored", "replayed") and outcome.place is None:
                open_.setdefault(message[:3], _of_row(message, outcome.message))
        places = dict(zip(open_, self.place(list(open_.values())), strict=True))
        return [
            _told(outcome, outcome.place or places.get(message[:3]))
            for message, outcome in zip(messages, claimed, strict=True)
        ]

    def place(self, messages: Sequence[Message]) -> list[Place | None]:
        """Append messages whose rows are at no record, and write it down; where each is. None where that could not be
        done, and has to be done again."""

        def settle(each: tuple[Message, Outcome]) -> Place | None:
            message, appended = each
            try:
                return None if appended.place is None else self._settle(message, appended.place)
            except Unavailable:
                return None

        appended = self.append(messages)
        return self._index.threads.in_parallel(settle, list(zip(messages, appended, strict=True)))

    def _settle(self, message: Message, place: Place) -> Place:
        """The place that the row tells from now on. Of two who appended one message at once, the first to come here is
        right; consumers see both records."""
        found = self._index.at(*message[:3])
        if found is None:
            return place
        table, at = found
        for attempt in range(TRIES):
            try:
                self._clients.call(
                    "dynamodb",
                    "update_item",
                    TableName=table.name,
                    Key=at,
                    UpdateExpression="SET #status = :done, #record = :record REMOVE #due",
                    ConditionExpression="#request = :request AND attribute_not_exists(#record)",
                    ExpressionAttributeNames={
                        "#status": STATUS, "#record": RECORD_AT, "#due": DUE_AT, "#request": REQUEST_ID,
                    },
                    ExpressionAttributeValues={
                        ":done": {"S": _DONE}, ":record": {"S": text_of(place)},
                        ":request": {"S": message.request_id},
                    },
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )  # fmt: skip
            except Declined as declined:
                if declined.code == "ConditionalCheckFailedException":
                    held = declined.answer.get("Item") or {}
                    return (record_at(held) if held.get(REQUEST_ID) == {"S": message.request_id} else None) or place
                pause(attempt)  # a transaction is writing this very row
            else:
                return place
        raise Unavailable


def _of_row(message: Message, held: Message | None) -> Message:
    """What is in the row. A body that lies in the bucket is taken from the repetition, which says the same."""
    if held is None:
        return message
    return held if held.body else held._replace(body=message.body)


def _told(outcome: Outcome, place: Place | None) -> Outcome:
    if outcome.kind not in ("stored", "replayed"):
        return outcome
    if place is None:
        return Outcome("unavailable")
    held = outcome.message
    return Outcome(outcome.kind, None if held is None else held._replace(status=_DONE), place)
