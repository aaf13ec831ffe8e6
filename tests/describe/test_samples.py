"""Sample bodies, and what a reply made of one looks like in the description."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel, Field

from headgate import App, Public, Receipt, Reply, Stream
from headgate.describe.openapi import openapi
from headgate.describe.samples import sample_body


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Line(BaseModel):
    article: str = Field(examples=["oak"])
    size: Size
    count: int


class Order(BaseModel):
    kind: Literal["a", "b"]
    line: Line
    note: str | None = None
    tags: list[str]


def test_every_field_has_a_value() -> None:
    channel = App("shop").channel("/orders", Order, auth=Public())
    assert json.loads(sample_body(channel)) == {
        "kind": "a", "line": {"article": "oak", "size": "s", "count": 1}, "note": None, "tags": [],
    }  # fmt: skip


def test_any_json_is_an_object() -> None:
    assert sample_body(App("shop").channel("/orders", auth=Public())) == b"{}"


def test_a_reply_that_is_made_of_the_body_is_shown() -> None:
    def told(receipt: Receipt) -> Reply:
        return Reply(202, {"kind": json.loads(receipt.body)["kind"], "shard": receipt.shard})

    app = App("shop")
    app.channel("/orders", Order, auth=Public(), delivery=Stream(), accepted=told)
    document: Any = openapi(app)
    example = document["paths"]["/orders"]["post"]["responses"]["202"]["content"]["application/json"]["examples"][
        "stored"
    ]["value"]
    assert example == {"kind": "a", "shard": "shardId-000000000000"}
