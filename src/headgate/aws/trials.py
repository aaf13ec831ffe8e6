"""What a consumer is at in a shard, for whoever goes on after its process: a row beside dead letters, in no index."""

from __future__ import annotations

import json

from headgate.aws.clients import Clients
from headgate.aws.layout import EXPIRES_AT, TIMELINE, TRIAL
from headgate.aws.pages import Table
from headgate.aws.rows import Values, key_of, timeline_text
from headgate.clock import Clock
from headgate.engine import lengthened
from headgate.errors import Unavailable
from headgate.gate.consume import Trial, Turn
from headgate.message import Moment

_KEY = "\x01{}"
"""No message has a key with such a character."""


class Trials:
    """Those of one consumer. A row stays no longer than records do. Where the table cannot be reached nothing is known
    and nothing is kept: attempts are counted anew then, but no record waits for it."""

    def __init__(self, table: Table, consumer: str, retention_s: float, clients: Clients, clock: Clock) -> None:
        self._table = table
        self._consumer = consumer
        self._retention_s = retention_s
        self._clients = clients
        self._clock = clock

    def taken_up(self, shard: str) -> Trial | None:
        """What the process before this one was at."""
        values = self._changed(shard, "SET #expires = :expires", {})
        if not values.get(TRIAL, {}).get("S"):
            return None
        size, tries, first, is_begun = json.loads(values[TRIAL]["S"])
        moments = json.loads(values[TIMELINE]["S"]) if TIMELINE in values else []
        return Trial(Turn(size, tries), first, tuple(Moment(*each) for each in moments), is_begun)

    def keep(self, shard: str, trial: Trial | None) -> None:
        """Write down what this process is at; None where there is no trouble."""
        if trial is None:
            self._changed(shard, "SET #expires = :expires, #trial = :none REMOVE #moments", {":none": {"S": ""}})
            return
        text = json.dumps([trial.turn.size, trial.turn.tries, trial.first, trial.is_begun])
        moments = timeline_text(lengthened(trial.moments, ()))
        told = {":trial": {"S": text}, ":moments": {"S": moments}}
        self._changed(shard, "SET #expires = :expires, #trial = :trial, #moments = :moments", told)

    def _changed(self, shard: str, change: str, told: Values) -> Values:
        """The row as it was, empty where there was none."""
        expires_s = round(self._clock.now_ms() / 1000 + self._retention_s)
        names = {"#expires": EXPIRES_AT, "#trial": TRIAL, "#moments": TIMELINE}
        try:
            answer = self._clients.call(
                "dynamodb",
                "update_item",
                TableName=self._table.name,
                Key=key_of(self._table.layout, self._consumer, _KEY.format(shard)),
                UpdateExpression=change,
                ExpressionAttributeNames={name: it for name, it in names.items() if name in change},
                ExpressionAttributeValues={":expires": {"N": str(expires_s)}, **told},
                ReturnValues="ALL_OLD",
            )
        except Unavailable:
            return {}
        found: Values = answer.get("Attributes") or {}
        return found
