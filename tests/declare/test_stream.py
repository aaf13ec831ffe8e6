"""Streams as they are declared: what `check` warns of."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import create_model

from headgate import App, Public, Stream


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("kind", "values"),
    [(Literal["a", "b", "c"], 3), (bool, 2), (bool | None, 3), (Colour, 2), (str, None), (Literal["a"] | str, None)],
)
def test_check_warns_of_a_partition_key_with_few_values(kind: Any, values: int | None) -> None:
    app = App("shop")
    delivery = Stream(shards=2, partition_key="kind")
    app.channel("/events", create_model("Event", kind=(kind, ...)), auth=Public(), delivery=delivery)
    app.check()
    expected = (
        f"channel /events: `partition_key=` 'kind' has {values} values at most, and all messages of one are in one "
        "shard; leave it out, and they are spread by their ids."
    )
    assert [fault.sentence for fault in app.warnings()] == ([] if values is None else [expected])


def test_one_shard_is_one_shard_whatever_the_key() -> None:
    app = App("shop")
    delivery = Stream(shards=1, partition_key="kind")
    app.channel("/events", create_model("Event", kind=(bool, ...)), auth=Public(), delivery=delivery)
    assert list(app.warnings()) == []
