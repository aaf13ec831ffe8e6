"""The index on DynamoDB: one table a channel, one conditional write a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from headgate.aws.bodies import Bodies
from headgate.aws.clients import Clients, Declined
from headgate.aws.layout import DIGEST, EXPIRES_MS, NEWEST, RECEIVED_AT, SCOPE, SHARD, SHARDS, key_text, value_of
from headgate.aws.pages import TRIES, Pages, Partition, Table, Threads, pause
from headgate.aws.rows import Mark, Row, Values, is_expired, key_of, message_of, record_at, row_of
from headgate.clock import Clock
from headgate.engine import Index, Outcome, OutcomeKind, Page, Place
from headgate.errors import Unavailable
from headgate.message import Message

INLINE_BYTES = 32 * 1024
"""Larger bodies lie in the bucket."""

_WHOLE_BYTES = 1536 * 1024  # of the bodies inside one transaction, which may have 4 MB with everything beside them
_IF_FREE = "attribute_not_exists(#key) OR #expires <= :now"
_NEVER = f"({_IF_FREE}) AND attribute_exists(#key) AND attribute_not_exists(#key)"


class Decision(NamedTuple):
    """What became of a row, and the message that holds its key, with that one's digest and the place of its record."""

    kind: OutcomeKind
    holder: Message
    digest: bytes
    place: Place | None = None


class DynamoIndex(Index):
    """See `Index`. It differs from what SQLite can do in two things:

    - `find` may miss what was stored in the last second or so, since an index of DynamoDB follows its table; what was
      deleted, or expired, it never shows. Of messages that came in one millisecond through different functions,
      either may be first.
    - a page may be shorter than asked for, or empty, and yet name a `next`, where very many rows had to be passed over.
    """

    def __init__(self, tables: Iterable[Table], bodies: str, clients: Clients, clock: Clock) -> None:
        self._tables = {table.layout.channel: table for table in tables}
        self._clients = clients
        self._clock = clock
        self.threads = Threads()
        self.bodies = Bodies(bodies, clients)
        self.pages = Pages(self.bodies, clients, clock, self.threads)

    def close(self) -> None:
        """Let go of the threads."""
        self.threads.close()

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
        found = self.held(channel, scope, key)
        if found is None:
            return None
        table, values = found
        return self.bodies.whole(table.layout, values)

    def find(
        self, channel: str, scope: str | None, field: str | None, value: str | None, limit: int, after: str | None
    ) -> Page:
        table = self._tables.get(channel)
        if table is None or (scope and table.layout.sort is None):
            return Page([], None)
        partitions = _all_of(table)
        if field is not None:
            index = table.layout.index_of(field)
            if index is None or value is None:
                return Page([], None)
            partitions = [Partition(table, index.name, index.partition.name, key_text(value))]
        return self.pages.page(partitions, scope if table.layout.sort is not None else None, limit, after)

    def delete(self, channel: str, scope: str, key: str) -> bool:
        found = self.held(channel, scope, key)
        if found is None:
            return False
        table, values = found
        self.bodies.remove(values)  # before the row, which is what a repeat finds it by if this ends in between
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
        return self.pages.page([part for table in self._tables.values() for part in _all_of(table)], None, limit, after)

    def scopes(self, channel: str, key: str) -> list[str]:
        """The scopes under which a channel holds a key."""
        table = self._tables[channel]
        if table.layout.sort is None:
            return [""] if self.held(channel, "", key) else []
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
            return row_of(message, self._tables[message.channel].layout, inline_bytes, self._clock.now_ms())
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

        return self.threads.in_parallel(put, rows)

    def _put(self, row: Row) -> Decision:
        self._put_body(row)
        for attempt in range(TRIES):
            try:
                self._clients.call("dynamodb", "put_item", **self._writing(row, _IF_FREE))
            except Declined as declined:
                if declined.code != "ConditionalCheckFailedException":
                    pause(attempt)  # a transaction is writing this very row
                elif decision := self._against(row, declined.answer.get("Item")):
                    return decision
            else:
                return Decision("stored", row.message, row.digest)
        return Decision("in_progress", row.message, row.digest)

    def _put_together(self, rows: Sequence[Row], condition: str) -> list[Decision]:
        """Nothing is written under the condition _NEVER; the answer tells what holds the keys all the same."""
        self.threads.in_parallel(self._put_body, rows)
        decided: dict[Mark, Decision] = {}
        for attempt in range(TRIES):
            new = [row for row in rows if row.mark not in decided]
            if not new:
                break
            try:
                writes = [{"Put": self._writing(row, condition)} for row in new]
                self._clients.call("dynamodb", "transact_write_items", TransactItems=writes)
            except Declined as declined:
                known = len(decided)
                for row, reason in zip(new, declined.answer.get("CancellationReasons", ()), strict=False):
                    failed = reason.get("Code") == "ConditionalCheckFailed"
                    if failed and (decision := self._against(row, reason.get("Item"))):
                        decided[row.mark] = decision
                if condition == _NEVER or any(decision.kind == "conflict" for decision in decided.values()):
                    return [decided.get(row.mark, Decision("untouched", row.message, row.digest)) for row in rows]
                if len(decided) == known:
                    pause(attempt)
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

    def _against(self, row: Row, held: Values | None) -> Decision | None:
        """What became of a row whose key another one holds; None where that one has expired just now."""
        if held is None or is_expired(held, self._clock.now_ms()):
            return None
        if held[RECEIVED_AT]["S"] == row.place:
            return Decision("stored", row.message, row.digest)  # by a try whose answer was lost
        message = message_of(self._tables[row.message.channel].layout, held)
        kind: OutcomeKind = "replayed" if held[DIGEST]["B"] == row.digest else "conflict"
        return Decision(kind, message, held[DIGEST]["B"], record_at(held))

    def _put_body(self, row: Row) -> None:
        if row.body_at is not None:
            self.bodies.put(row.body_at, row.message.body)

    # ------------------------------------------------------------------------------------------------------- reading

    def table(self, channel: str) -> Table | None:
        """The table of a channel."""
        return self._tables.get(channel)

    def at(self, channel: str, scope: str, key: str) -> tuple[Table, dict[str, Any]] | None:
        """The table that has a message, if any, and its key there; None where there can be none."""
        table = self._tables.get(channel)
        key_ = None if table is None else key_of(table.layout, scope, key)
        return None if table is None or key_ is None else (table, key_)

    def held(self, channel: str, scope: str, key: str) -> tuple[Table, Values] | None:
        """The row of a message as it is now, with its table."""
        found = self.at(channel, scope, key)
        if found is None:
            return None
        table, at = found
        answer = self._clients.call("dynamodb", "get_item", TableName=table.name, Key=at, ConsistentRead=True)
        values = answer.get("Item")
        return None if values is None or is_expired(values, self._clock.now_ms()) else (table, values)


def _all_of(table: Table) -> list[Partition]:
    return [Partition(table, NEWEST, SHARD, shard) for shard in SHARDS]


def _outcome(row: Row, firsts: Mapping[Mark, Row], decided: Mapping[Mark, Decision]) -> Outcome:
    """What became of a row; of several with one mark in a call, the first was decided."""
    kind, holder, digest, place = decided[row.mark]
    if kind in ("unavailable", "in_progress"):
        return Outcome(kind)
    if firsts[row.mark] is not row:
        kind = "conflict" if row.digest != digest else "untouched" if kind == "untouched" else "replayed"
    if kind not in ("replayed", "conflict"):
        return Outcome(kind)
    return Outcome(kind, holder, place if kind == "replayed" else None)
