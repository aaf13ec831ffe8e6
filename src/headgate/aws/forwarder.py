"""From the stream of a channel's table into its queue: what is new there, and what was redriven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headgate.aws.envelope import Where
from headgate.aws.layout import ORDER, RECEIVED_AT, STATUS, UNREAD, Layout, layout_of, value_of
from headgate.aws.postbox import Letter, Postbox
from headgate.declare.channel import Channel
from headgate.engine import DEAD

Event = Mapping[str, Any]


class Forwarder:
    """Rows are forwarded at least once, and in the order in which the stream hands them over."""

    def __init__(self, channel: Channel, postbox: Postbox) -> None:
        self._channel = channel
        self._layout = layout_of(channel)
        self._postbox = postbox

    def forward(self, event: Event) -> dict[str, Any]:
        """The answer to one call: the first change that could not be forwarded, from which on it is called again."""
        changes = [record for record in event["Records"] if self._is_work(record)]
        left = self._postbox.post([_letter(self._layout, change) for change in changes])
        return failures([] if left is None else [str(changes[left]["dynamodb"]["SequenceNumber"])])

    def _is_work(self, record: Event) -> bool:
        new: Event = record["dynamodb"].get("NewImage") or {}
        old: Event = record["dynamodb"].get("OldImage") or {}
        if new.get(STATUS) != {"S": "accepted"}:
            return False
        is_new = old.get(RECEIVED_AT) != new.get(RECEIVED_AT)  # where an expired row was there, that one is replaced
        if is_new:
            return UNREAD in new or not self._channel.unread  # a worker that has just stored it goes on with it
        return old.get(STATUS, {}).get("S") in DEAD


def failures(ids: Sequence[str]) -> dict[str, Any]:
    """What tells Lambda which items of a batch are to come again; all others are done."""
    return {"batchItemFailures": [{"itemIdentifier": each} for each in ids]}


def _letter(layout: Layout, change: Event) -> Letter:
    new = change["dynamodb"]["NewImage"]
    scope = "" if layout.sort is None else value_of(new[layout.sort.name]["S"])
    order = new[ORDER]["S"] if ORDER in new else ""
    where = Where(scope, value_of(new[layout.partition.name]["S"]), new[RECEIVED_AT]["S"] if order else "")
    return Letter(where, order, str(change["dynamodb"]["SequenceNumber"]))
