"""The index on DynamoDB: one table a channel, one conditional write a message."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from headgate import limits
from headgate.aws.clients import Clients, Declined
from headgate.aws.layout import (
    BODY_AT,
    DIGEST,
    EXPIRES_MS,
    NEWEST,
    RECEIVED_AT,
    SCOPE,
    SHARD,
    SHARDS,
    Layout,
    key_text,
    value_of,
)
from headgate.aws.rows import PLACE, Mark, Row, Values, is_expired, key_of, message_of, row_of
from headgate.clock import Clock
from headgate.engine import Index, Outcome, OutcomeKind, Page
from headgate.errors import Unavailable
from headgate.http import RETRY_AFTER_S
from headgate.message import Message

INLINE_BYTES = 32 * 1024
"""Larger bodies lie in the bucket."""

_WHOLE_BYTES = 1536 * 1024  # of the bodies inside one transaction, which may have 4 MB with everything beside them
_THREADS = 16
_TRIES = 8  # while another transaction holds a row: about two seconds in all
_PAUSE_S, _LONGEST_PAUSE_S = 0.025, 0.4
_ROWS_AT_ONCE = 100
_ROUNDS = 10

_IF_FREE = "attribute_not_exists(#key) OR #expires <= :now"
_NEVER = f"({_IF_FREE}) AND attribute_exists(#key) AND attribute_not_exists(#key)"

One = TypeVar("One")
Other = TypeVar("Other")


class Table(NamedTuple):
    """The table that holds a channel's messages."""

    name: str
    layout: Layout


class Decision(NamedTuple):
    """What became of a row, and the message that holds its key, with that one's digest."""

    kind: OutcomeKind
    holder: Message
    digest: bytes


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


class DynamoIndex(Index):
    """See `Index`. It differs from what SQLite can do in two things:

    - `find` may miss what was stored in the last second or so, since an index of DynamoDB follows its table; what was
      deleted, or expired, it never shows. Of messages that came in one millisecond through different functions,
      either may be first.
    - a page may be shorter than asked for, or empty, and yet name a `next`, where very many rows had to be passed over.
    """

    def __init__(self, tables: Iterable[Table], bodies: str, clients: Clients, clock: Clock) -> None:
        self._tables = {table.layout.channel: table for table in tables}
        self._bodies = bodies
        self._clients = clients
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, "headgate-aws")

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown()

    # ------------------------------------------------------------------------------------------------ the contract

    def commit(self, messages: Sequence[Message], *, whole: bool = False) -> list[Outcome]:
        inline_bytes = min(INLINE_BYTES, _WHOLE_BYTES // max(len(messages), 1)) if whole else INLINE_BYTES
        rows = [self._row(message, inline_bytes) for message in messages]
        if whole and None in rows:
            return [Outcome("unavailable" if row is None else "untouched") for row in rows]
        firsts: dict[Mark, Row] = {}
        for row in rows:
            if row is not None:
                firsts.setdefault(row.mark, row)
        decided = self._decided(firsts, [row for row in rows if row is not None], whole)
        return [Outcome("unavailable") if row is None else _outcome(row, firsts, decided) for row in rows]

    def get(self, channel: str, scope: str, key: str) -> Message | None:
        found = self._held(channel, scope, key)
        if found is None:
            return None
        table, values = found
        return self._whole_message(table, values)

    def find(
        self, channel: str, scope: str | None, field: str | None, value: str | None, limit: int, after: str | None
    ) -> Page:
        table = self._tables.get(channel)
        if after is not None and not PLACE.fullmatch(after):
            raise ValueError(f"{after!r} is not a place in a list")
        if table is None or (scope and table.layout.sort is None):
            return Page([], None)
        partitions = _all_of(table)
        if field is not None:
            index = table.layout.index_of(field)
            if index is None or value is None:
                return Page([], None)
            partitions = [Partition(table, index.name, index.partition.name, key_text(value))]
        return self._page(partitions, scope if table.layout.sort is not None else None, limit, after)

    def delete(self, channel: str, scope: str, key: str) -> bool:
        found = self._held(channel, scope, key)
        if found is None:
            return False
        table, values = found
        if BODY_AT in values:
            # Before the row, which is what a repeat finds it by if this ends in between.
            self._clients.call("s3", "delete_object", Bucket=self._bodies, Key=values[BODY_AT]["S"])
        try:
            self._clients.call(
                "dynamodb",
                "delete_item",
                TableName=table.name,
                Key=key_of(table.layout, scope, key),
                ConditionExpression="#received = :received",
                ExpressionAttributeNames={"#received": RECEIVED_AT},
                ExpressionAttributeValues={":received": values[RECEIVED_AT]},
            )
        except Declined:
            return False  # somebody else was faster
        return True

    # ------------------------------------------------------------------------------------------ for the command line

    def newest(self, limit: int, after: str | None) -> Page:
        """`find` over every channel."""
        if after is not None and not PLACE.fullmatch(after):
            raise ValueError(f"{after!r} is not a place in a list")
        return self._page([part for table in self._tables.values() for part in _all_of(table)], None, limit, after)

    def scopes(self, channel: str, key: str) -> list[str]:
        """The scopes under which a channel holds a key."""
        table = self._tables[channel]
        if table.layout.sort is None:
            return [""] if self._held(channel, "", key) else []
        scopes: list[str] = []
        start: dict[str, Any] = {}
        while True:
            answer = self._clients.call(
                "dynamodb",
                "query",
                TableName=table.name,
                KeyConditionExpression="#key = :key",
                ExpressionAttributeNames={"#key": table.layout.partition.name},
                ExpressionAttributeValues={":key": {"S": key_text(key)}},
                ConsistentRead=True,
                **start,
            )
            live = (values for values in answer["Items"] if not is_expired(values, self._clock.now_ms()))
            scopes += [value_of(values[SCOPE]["S"]) for values in live]
            if "LastEvaluatedKey" not in answer:
                return sorted(scopes)
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    # ------------------------------------------------------------------------------------------------------- writing

    def _row(self, message: Message, inline_bytes: int) -> Row | None:
        try:
            return row_of(message, self._tables[message.channel].layout, inline_bytes)
        except Exception:  # noqa: BLE001 - whatever a message may be that cannot be written, no other suffers from it
            return None

    def _decided(self, firsts: Mapping[Mark, Row], rows: Sequence[Row], whole: bool) -> dict[Mark, Decision]:
        distinct = list(firsts.values())
        try:
            if whole:
                contradictory = any(row.digest != firsts[row.mark].digest for row in rows)
                decisions = self._put_together(distinct, _NEVER if contradictory else _IF_FREE)
            else:
                decisions = self._put_each(distinct)
        except Unavailable:
            decisions = [Decision("unavailable", row.message, row.digest) for row in distinct]
        return dict(zip(firsts, decisions, strict=True))

    def _put_each(self, rows: Sequence[Row]) -> list[Decision]:
        down = False

        def put(row: Row) -> Decision:
            nonlocal down
            if not down:
                try:
                    return self._put(row)
                except Unavailable:
                    down = True  # what failed after several tries fails again, and time is short
            return Decision("unavailable", row.message, row.digest)

        return self._in_parallel(put, rows)

    def _put(self, row: Row) -> Decision:
        self._put_body(row)
        for attempt in range(_TRIES):
            try:
                self._clients.call("dynamodb", "put_item", **self._writing(row, _IF_FREE))
            except Declined as declined:
                if declined.code == "ConditionalCheckFailedException":
                    return self._against(row, declined.answer.get("Item"))
                _pause(attempt)  # a transaction is writing this very row
            else:
                return Decision("stored", row.message, row.digest)
        return Decision("in_progress", row.message, row.digest)

    def _put_together(self, rows: Sequence[Row], condition: str) -> list[Decision]:
        """Nothing is written under the condition _NEVER; the answer tells what holds the keys all the same."""
        self._in_parallel(self._put_body, rows)
        decided: dict[Mark, Decision] = {}
        for attempt in range(_TRIES):
            new = [row for row in rows if row.mark not in decided]
            if not new:
                break
            try:
                writes = [{"Put": self._writing(row, condition)} for row in new]
                self._clients.call("dynamodb", "transact_write_items", TransactItems=writes)
            except Declined as declined:
                known = len(decided)
                for row, reason in zip(new, declined.answer.get("CancellationReasons", ()), strict=False):
                    if reason.get("Code") == "ConditionalCheckFailed":
                        decided[row.mark] = self._against(row, reason.get("Item"))
                if condition == _NEVER or any(decision.kind == "conflict" for decision in decided.values()):
                    return [decided.get(row.mark, Decision("untouched", row.message, row.digest)) for row in rows]
                if len(decided) == known:
                    _pause(attempt)
            else:
                decided.update({row.mark: Decision("stored", row.message, row.digest) for row in new})
        return [decided.get(row.mark, Decision("unavailable", row.message, row.digest)) for row in rows]

    def _writing(self, row: Row, condition: str) -> dict[str, Any]:
        table = self._tables[row.message.channel]
        return {
            "TableName": table.name,
            "Item": row.values,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#key": table.layout.partition.name, "#expires": EXPIRES_MS},
            "ExpressionAttributeValues": {":now": {"N": str(self._clock.now_ms())}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _against(self, row: Row, held: Values | None) -> Decision:
        """What became of a row whose key another one holds."""
        if held is None or is_expired(held, self._clock.now_ms()):
            return Decision("untouched", row.message, row.digest)
        if held[RECEIVED_AT]["S"] == row.place:
            return Decision("stored", row.message, row.digest)  # by a try whose answer was lost
        message = message_of(self._tables[row.message.channel].layout, held)
        return Decision("replayed" if held[DIGEST]["B"] == row.digest else "conflict", message, held[DIGEST]["B"])

    def _put_body(self, row: Row) -> None:
        if row.body_at is not None:
            self._clients.call(
                "s3",
                "put_object",
                Bucket=self._bodies,
                Key=row.body_at,
                Body=row.message.body,
                ContentType="application/json",
            )

    # ------------------------------------------------------------------------------------------------------- reading

    def _held(self, channel: str, scope: str, key: str) -> tuple[Table, Values] | None:
        table = self._tables.get(channel)
        at = None if table is None else key_of(table.layout, scope, key)
        if table is None or at is None:
            return None
        answer = self._clients.call("dynamodb", "get_item", TableName=table.name, Key=at, ConsistentRead=True)
        values = answer.get("Item")
        return None if values is None or is_expired(values, self._clock.now_ms()) else (table, values)

    def _whole_message(self, table: Table, values: Values) -> Message:
        if BODY_AT not in values:
            return message_of(table.layout, values)
        answer = self._clients.call("s3", "get_object", Bucket=self._bodies, Key=values[BODY_AT]["S"])
        try:
            body = answer["Body"].read()
        except Exception:  # noqa: BLE001 - the connection broke off
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None
        return message_of(table.layout, values, body)

    def _page(self, partitions: Sequence[Partition], scope: str | None, limit: int, after: str | None) -> Page:
        rows: list[tuple[Entry, Values]] = []
        for _ in range(_ROUNDS):
            entries, after = self._entries(partitions, scope, limit + 1 - len(rows), after)
            rows += self._rows(entries)
            if after is None or len(rows) > limit:
                break
        messages: list[Message] = []
        size = 0
        for entry, values in rows[:limit]:
            messages.append(self._whole_message(entry.table, values))
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
        answers = self._in_parallel(lambda part: self._entries_of(part, scope, most, after), partitions)
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
        for attempt in range(_TRIES):
            answer = self._clients.call("dynamodb", "batch_get_item", RequestItems=asked)
            found += [values for rows in answer["Responses"].values() for values in rows]
            asked = answer.get("UnprocessedKeys") or {}
            if not asked:
                return found
            _pause(attempt)
        raise Unavailable(retry_after_s=RETRY_AFTER_S)

    def _in_parallel(self, call: Callable[[One], Other], values: Sequence[One]) -> list[Other]:
        if len(values) < 2:
            return [call(value) for value in values]
        return list(self._threads.map(call, values))


def _all_of(table: Table) -> list[Partition]:
    return [Partition(table, NEWEST, SHARD, shard) for shard in SHARDS]


def _outcome(row: Row, firsts: Mapping[Mark, Row], decided: Mapping[Mark, Decision]) -> Outcome:
    """What became of a row; of several with one mark in a call, the first was decided."""
    kind, holder, digest = decided[row.mark]
    if kind in ("unavailable", "in_progress"):
        return Outcome(kind)
    if firsts[row.mark] is not row:
        kind = "conflict" if row.digest != digest else "untouched" if kind == "untouched" else "replayed"
    return Outcome(kind, holder if kind in ("replayed", "conflict") else None)


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, _PAUSE_S * 2**attempt)))  # noqa: S311 - no secret
