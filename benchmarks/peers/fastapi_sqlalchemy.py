"""FastAPI + SQLAlchemy + SQLite, as a careful user would write it: WAL, FULL, one transaction a request.

Endpoints are plain functions, which FastAPI runs in its thread pool. SQLite takes one writer at a time, so a
lock stands before it: the threads wait for each other there, instead of sleeping in SQLite's busy handler.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from order import Order
from sqlalchemy import Column, LargeBinary, MetaData, Table, Text, create_engine, event, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

metadata = MetaData()
message = Table(
    "message",
    metadata,
    Column("key", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=True,
)
engine = create_engine(f"sqlite:///{os.environ['BENCHMARK_STORE']}")


@event.listens_for(engine, "connect")
def _durable(connection: Any, _record: object) -> None:
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")


metadata.create_all(engine)
writing = threading.Lock()
app = FastAPI()


@app.post("/single")
def single(order: Order) -> JSONResponse:
    row = {"key": order.record_id, "body": order.model_dump_json().encode()}
    with writing, engine.begin() as connection:
        stored = connection.execute(insert(message).on_conflict_do_nothing(), row).rowcount == 1
        same = stored or _body(connection, order.record_id) == row["body"]
    return JSONResponse({"key": order.record_id}, 201 if same else 409)


@app.post("/batch")
def batch(orders: list[Order]) -> JSONResponse:
    keys = [order.record_id for order in orders]
    rows = [{"key": order.record_id, "body": order.model_dump_json().encode()} for order in orders]
    with writing, engine.begin() as connection:
        new = insert(message).on_conflict_do_nothing().returning(message.c.key)
        stored = set(connection.scalars(new, rows))
        verdicts = [key in stored or _body(connection, key) == row["body"] for key, row in zip(keys, rows, strict=True)]
    items = [
        {"index": index, "key": key, "status": "stored" if same else "conflict"}
        for index, (key, same) in enumerate(zip(keys, verdicts, strict=True))
    ]
    return JSONResponse({"items": items}, 201 if any(verdicts) else 409)


def _body(connection: Connection, key: str) -> bytes | None:
    return connection.scalar(select(message.c.body).where(message.c.key == key))
