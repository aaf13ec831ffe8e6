"""FastAPI + asyncpg + PostgreSQL, as a careful user would write it: one statement, one transaction a request.

PostgreSQL runs with the settings it is delivered with: fsync and synchronous_commit are on. Concurrent commits
share a flush of its log.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from order import Order

ONE = "insert into message (key, body) values ($1, $2) on conflict do nothing returning key"
MANY = (
    "insert into message (key, body) select * from unnest($1::text[], $2::bytea[]) on conflict do nothing returning key"
)
BODY = "select body from message where key = $1"

pool: asyncpg.Pool


@asynccontextmanager
async def _pooled(_app: FastAPI) -> AsyncIterator[None]:
    global pool
    size = int(os.environ["BENCHMARK_POOL"])
    async with asyncpg.create_pool(os.environ["BENCHMARK_STORE"], min_size=size, max_size=size) as pool:
        with suppress(asyncpg.UniqueViolationError):  # another worker makes it in the same moment
            await pool.execute("create table if not exists message (key text primary key, body bytea not null)")
        yield


app = FastAPI(lifespan=_pooled)


@app.post("/single")
async def single(order: Order) -> JSONResponse:
    body = order.model_dump_json().encode()
    stored = await pool.fetchval(ONE, order.record_id, body)
    same = stored is not None or await pool.fetchval(BODY, order.record_id) == body
    return JSONResponse({"key": order.record_id}, 201 if same else 409)


@app.post("/batch")
async def batch(orders: list[Order]) -> JSONResponse:
    keys = [order.record_id for order in orders]
    bodies = [order.model_dump_json().encode() for order in orders]
    stored = {row["key"] for row in await pool.fetch(MANY, keys, bodies)}
    verdicts = [key in stored or await pool.fetchval(BODY, key) == body for key, body in zip(keys, bodies, strict=True)]
    items = [
        {"index": index, "key": key, "status": "stored" if same else "conflict"}
        for index, (key, same) in enumerate(zip(keys, verdicts, strict=True))
    ]
    return JSONResponse({"items": items}, 201 if any(verdicts) else 409)
