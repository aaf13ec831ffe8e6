"""Items that workflows keep: in the store, with what DynamoDB says to putItem, updateItem and getItem.

A change and the answer to it are one write, under the token of who asked: asked again after a crash it is not made
again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from headgate.clock import Clock
from headgate.declare.item_expressions import condition, update
from headgate.declare.table import Table
from headgate.local.item_expressions import Refused, holds, keyed, updated, whole

SCHEMA = """CREATE TABLE item (
    place TEXT NOT NULL,
    key TEXT NOT NULL,
    sort TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (place, key, sort)
) WITHOUT ROWID;
CREATE TABLE item_answer (token TEXT PRIMARY KEY, answer TEXT NOT NULL, at_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX item_answer_at ON item_answer (at_ms)"""

_ANSWERED_MS = 90 * 86_400_000  # as long as executions are kept
_FORGOTTEN_AT_ONCE = 100

Change = Callable[[Callable[[sqlite3.Connection], Any]], Any]
Item = dict[str, Any]


class LocalItems:
    """The tables of an app. `change` makes a change durable, or raises Unavailable; `read_with` reads."""

    def __init__(self, tables: Iterable[Table], change: Change, read_with: Change, clock: Clock) -> None:
        self._tables = {table.name: table for table in tables}
        self._change = change
        self._read_with = read_with
        self._clock = clock

    def carry_out(self, verb: str, asked: Mapping[str, Any], token: str) -> Item:
        """The answer to `putItem`, `updateItem` or `getItem` with these parameters. Raises Refused."""
        table = self._tables.get(str(asked["TableName"]))
        if table is None:
            raise Refused("ResourceNotFoundException", "Requested resource not found")
        match verb:
            case "putItem":
                return self._put(table, asked, token)
            case "updateItem":
                return self._update(table, asked, token)
        return self._get(table, asked)

    def find(self, table: str) -> list[Item]:
        """All items of a table, in the order of their keys."""
        rows = self._read_with(
            lambda reader: reader.execute(
                "SELECT attributes FROM item WHERE place = ? ORDER BY key, sort", (table,)
            ).fetchall()
        )
        return [json.loads(attributes) for (attributes,) in rows]

    def _put(self, table: Table, asked: Mapping[str, Any], token: str) -> Item:
        item = whole(asked["Item"], "Item")
        key = keyed(table, item, "Item")
        return self._written(table, key, asked, token, lambda _: item)

    def _update(self, table: Table, asked: Mapping[str, Any], token: str) -> Item:
        named = whole(asked["Key"], "Key")
        key = keyed(table, named, "Key")
        values = whole(asked.get("ExpressionAttributeValues", {}), "ExpressionAttributeValues")
        text = asked.get("UpdateExpression")
        read = None if text is None else update(text, asked.get("ExpressionAttributeNames", {}))

        def changed(held: Item | None) -> Item:
            before = named if held is None else held
            return before if read is None else updated(before, read, values)

        return self._written(table, key, asked, token, changed)

    def _get(self, table: Table, asked: Mapping[str, Any]) -> Item:
        key = keyed(table, whole(asked["Key"], "Key"), "Key")
        held = self._read_with(lambda reader: _held(reader, table, key))
        return {} if held is None else {"Item": held}

    def _written(
        self,
        table: Table,
        key: tuple[str, str],
        asked: Mapping[str, Any],
        token: str,
        changed: Callable[[Item | None], Item],
    ) -> Item:
        """Put what `changed` makes of an item into its place, if the condition holds for it; the answer."""
        values = whole(asked.get("ExpressionAttributeValues", {}), "ExpressionAttributeValues")
        text = asked.get("ConditionExpression")
        needed = None if text is None else condition(text, asked.get("ExpressionAttributeNames", {}))
        now_ms = self._clock.now_ms()

        def write(connection: sqlite3.Connection) -> Item | Refused:
            told = connection.execute("SELECT answer FROM item_answer WHERE token = ?", (token,)).fetchone()
            if told is not None:
                return json.loads(told[0])  # type: ignore[no-any-return]
            held = _held(connection, table, key)
            try:
                if needed is not None and not holds(needed, held or {}, values):
                    return Refused("ConditionalCheckFailedException", "The conditional request failed")
                item = changed(held)
                keyed(table, item, "Item")
            except Refused as refused:
                return refused
            answer = _answer(asked.get("ReturnValues", "NONE"), held, item)
            connection.execute("INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?)", (table.name, *key, json.dumps(item)))
            connection.execute("INSERT INTO item_answer VALUES (?, ?, ?)", (token, json.dumps(answer), now_ms))
            connection.execute(
                "DELETE FROM item_answer WHERE token IN (SELECT token FROM item_answer WHERE at_ms < ? LIMIT ?)",
                (now_ms - _ANSWERED_MS, _FORGOTTEN_AT_ONCE),
            )
            return answer

        done: Item | Refused = self._change(write)
        if isinstance(done, Refused):
            raise done
        return done


def _held(connection: sqlite3.Connection, table: Table, key: tuple[str, str]) -> Item | None:
    row = connection.execute(
        "SELECT attributes FROM item WHERE place = ? AND key = ? AND sort = ?", (table.name, *key)
    ).fetchone()
    return None if row is None else json.loads(row[0])


def _answer(returned: str, before: Item | None, after: Item) -> Item:
    match returned:
        case "ALL_OLD" if before is not None:
            return {"Attributes": before}
        case "ALL_NEW":
            return {"Attributes": after}
    return {}
