"""Lists, newest first: pages over the parts of the indexes of tables, merged, each row read where it lies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from headgate import limits
from headgate.aws.bodies import Bodies
from headgate.aws.clients import Clients
from headgate.aws.layout import RECEIVED_AT, SCOPE, Layout, key_text
from headgate.aws.rows import PLACE, Values, is_expired
from headgate.clock import Clock
from headgate.engine import Page
from headgate.errors import Unavailable
from headgate.http import RETRY_AFTER_S
from headgate.message import Message

_THREADS = 16
TRIES = 8  # while another transaction holds a row: about two seconds in all
_PAUSE_S, _LONGEST_PAUSE_S = 0.025, 0.4
_ROWS_AT_ONCE = 100
_ROUNDS = 10

One = TypeVar("One")
Other = TypeVar("Other")


class Table(NamedTuple):
    """The table that holds a channel's messages."""

    name: str
    layout: Layout


class Entry(NamedTuple):
    """What an index of a table tells of a row: where it is, and at which place of a list."""

    place: str
    table: Table
    key: Values


class Partition(NamedTuple):
    """A part of an index, in the order of time."""

    table: Table
    index_name: str
    attribute: str
    value: str


class Threads:
    """What calls AWS several times at once."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "headgate-aws")

    def close(self) -> None:
        """Let go of them."""
        self._pool.shutdown()

    def in_parallel(self, call: Callable[[One], Other], values: Sequence[One]) -> list[Other]:
        """What `call` makes of each value."""
        if len(values) < 2:
            return [call(value) for value in values]
        return list(self._pool.map(call, values))


class Pages:
    """See `Index.find` for what a page is."""

    def __init__(self, bodies: Bodies, clients: Clients, clock: Clock, threads: Threads) -> None:
        self._bodies = bodies
        self._clients = clients
        self._clock = clock
        self._threads = threads

    def page(
        self,
        partitions: Sequence[Partition],
        scope: str | None,
        limit: int,
        after: str | None,
        wanted: Callable[[Values], bool] = lambda _: True,
    ) -> Page:
        """Messages of some parts of indexes, of one scope or of all, whose rows are `wanted`. Raises ValueError for an
        `after` that no page gave."""
        if after is not None and not PLACE.fullmatch(after):
            raise ValueError(f"{after!r} is not a place in a list")
        rows: list[tuple[Entry, Values]] = []
        for _ in range(_ROUNDS):
            entries, after = self._entries(partitions, scope, limit + 1 - len(rows), after)
            rows += [(entry, values) for entry, values in self._rows(entries) if wanted(values)]
            if after is None or len(rows) > limit:
                break
        messages: list[Message] = []
        size = 0
        for entry, values in rows[:limit]:
            messages.append(self._bodies.whole(entry.table.layout, values))
            size += len(messages[-1].body)
            if size >= limits.PAGE_BYTES.value:
                break
        if len(messages) < len(rows):
            after = rows[len(messages) - 1][0].place
        return Page(messages, after)

    def _entries(
        self, partitions: Sequence[Partition], scope: str | None, most: int, after: str | None
    ) -> tuple[list[Entry], str | None]:
        """Some entries of all partitions, newest first, with none missing in between; and where to go on, None where
        there is nothing more."""
        answers = self._threads.in_parallel(lambda part: self._entries_of(part, scope, most, after), partitions)
        ends = [end for _, end in answers if end is not None]
        horizon = max(ends, default="")
        entries = [entry for found, _ in answers for entry in found if entry.place >= horizon]
        return sorted(entries, reverse=True, key=lambda entry: entry.place), horizon or None

    def _entries_of(
        self, part: Partition, scope: str | None, most: int, after: str | None
    ) -> tuple[list[Entry], str | None]:
        names = {"#part": part.attribute}
        values = {":part": {"S": part.value}}
        asked: dict[str, Any] = {"KeyConditionExpression": "#part = :part"}
        if after is not None:
            asked["KeyConditionExpression"] += " AND #received < :after"
            names["#received"] = RECEIVED_AT
            values[":after"] = {"S": after}
        if scope is not None:
            asked["FilterExpression"] = "#scope = :scope"
            names["#scope"] = SCOPE
            values[":scope"] = {"S": key_text(scope)}
        answer = self._clients.call(
            "dynamodb",
            "query",
            TableName=part.table.name,
            IndexName=part.index_name,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            ScanIndexForward=False,
            Limit=most,
            **asked,
        )
        layout = part.table.layout
        keys = [key.name for key in (layout.partition, layout.sort) if key is not None]
        entries = [
            Entry(item[RECEIVED_AT]["S"], part.table, {name: item[name] for name in keys}) for item in answer["Items"]
        ]
        end = answer.get("LastEvaluatedKey")
        return entries, None if end is None else end[RECEIVED_AT]["S"]

    def _rows(self, entries: Sequence[Entry]) -> list[tuple[Entry, Values]]:
        """The live rows behind entries, in their order. An entry whose row is gone, or is another one by now, is left
        out: indexes lag behind."""
        found: dict[str, Values] = {}
        for at in range(0, len(entries), _ROWS_AT_ONCE):
            for values in self._batch(entries[at : at + _ROWS_AT_ONCE]):
                found[values[RECEIVED_AT]["S"]] = values
        now_ms = self._clock.now_ms()
        live = ((entry, found.get(entry.place)) for entry in entries)
        return [(entry, values) for entry, values in live if values is not None and not is_expired(values, now_ms)]

    def _batch(self, entries: Sequence[Entry]) -> list[Values]:
        asked: dict[str, Any] = {}
        for entry in entries:
            asked.setdefault(entry.table.name, {"Keys": [], "ConsistentRead": True})["Keys"].append(entry.key)
        found: list[Values] = []
        for attempt in range(TRIES):
            answer = self._clients.call("dynamodb", "batch_get_item", RequestItems=asked)
            found += [values for rows in answer["Responses"].values() for values in rows]
            asked = answer.get("UnprocessedKeys") or {}
            if not asked:
                return found
            pause(attempt)
        raise Unavailable(retry_after_s=RETRY_AFTER_S)


def pause(attempt: int) -> None:
    """Wait a random time, longer after each attempt (0, 1, ...)."""
    time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, _PAUSE_S * 2**attempt)))  # noqa: S311 - no secret
