"""How channels lie in DynamoDB, and what our functions are told by their environment."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headgate import App, Archive, Header, Public, Queued, Stream, limits
from headgate.aws import layout
from headgate.aws.layout import Attribute, layout_of
from headgate.aws.rows import row_of
from headgate.aws.settings import Settings
from headgate.clock import isoformat
from headgate.declare.stores import OWN_NAMES
from headgate.errors import Misuse
from headgate.testing.contract.index import message


def laid_out(**options: Any) -> layout.Layout:
    return layout_of(App("shop").channel("/orders", auth=Public(), **options))


@pytest.mark.parametrize(
    ("options", "partition", "sort"),
    [
        ({"key": "record_id"}, "record_id", None),
        ({"key": "metadata.message_id"}, "message_id", None),
        ({"key": "record_id", "scope": "principal"}, "record_id", Attribute("scope")),
        ({"key": Header("Idempotency-Key")}, "idempotency_key", Attribute("scope")),
        ({}, "id", Attribute("scope")),
    ],
)
def test_the_partition_key_has_the_name_of_the_declared_key(
    options: dict[str, Any], partition: str, sort: Attribute | None
) -> None:
    found = laid_out(**options)
    assert (found.partition, found.sort) == (Attribute(partition), sort)


def test_each_declared_index_is_one_of_the_table_by_its_last_name_and_the_time_received() -> None:
    found = laid_out(indexes=["meta.company_id"]).index_of("company_id")
    assert found == ("company_id", Attribute("company_id"), Attribute("received_at"))
    assert laid_out(indexes=["meta.company_id"]).index_of("shard") is None
    assert laid_out().index_of("company_id") is None


def test_what_can_fail_has_an_index_of_dead_letters() -> None:
    names = [index.name for index in laid_out(delivery=Queued()).indexes]
    assert names == [layout.NEWEST, layout.DUE, layout.DEAD_LETTERS]
    assert layout.DEAD_LETTERS in [index.name for index in laid_out(workflow="settle").indexes]
    assert [index.name for index in laid_out().indexes] == [layout.NEWEST, layout.DUE]


@pytest.mark.parametrize(
    "options", [{"delivery": Queued(order_by="n")}, {"delivery": Stream()}, {"workflow": "settle"}]
)
def test_the_most_indexes_that_can_be_declared_fit_into_a_table(options: dict[str, Any]) -> None:
    indexes = [f"n{number}" for number in range(limits.INDEXES.value)]
    assert len(laid_out(indexes=indexes, **options).indexes) <= 20


def test_a_dead_letter_of_a_stream_is_in_the_scope_of_its_consumer() -> None:
    assert laid_out(key="record_id", delivery=Stream()).sort == Attribute("scope")


def test_every_index_has_a_name_that_dynamodb_takes() -> None:
    names = [index.name for index in laid_out(indexes=["n", "it", "é", "a b", "-", "x" * 300]).indexes]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", name) for name in names)
    assert len(set(names)) == len(names) == 8


def test_attributes_tell_fields_and_facts_under_names_of_their_own() -> None:
    told = laid_out(
        key="id",
        archive=Archive("{id}.json"),
        attributes={"customer": "meta.id", "timestamp": "{received_at}", "s3_key": "{object}", "who": "{principal}"},
    )
    moment = isoformat(1_767_225_600_000)
    made = message("a/1", '{"meta":{"id":7}}', channel="orders")._replace(received_ms=1_767_225_600_000, principal="")
    values = row_of(made, told, 10_000, 0).values
    assert {name: values.get(name) for name in ("customer", "timestamp", "s3_key", "who")} == {
        "customer": {"S": "7"},
        "timestamp": {"S": moment},
        "s3_key": {"S": "a%2F1.json"},
        "who": None,
    }


def test_no_declared_field_can_take_the_name_of_what_is_ours() -> None:
    constants = {value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)}
    constants -= {layout.SHARDS, *(name for name in constants if "." in name)}  # as no field can be called
    assert constants == OWN_NAMES


@pytest.mark.parametrize("value", ["", "\0", "\0\0", "a", "a\0", " ", "\0a"])
def test_what_dynamodb_takes_for_no_key_is_stored_so_that_nothing_else_is_stored_alike(value: str) -> None:
    assert layout.key_text(value)
    assert layout.value_of(layout.key_text(value)) == value
    others = {other for other in ("", "\0", "\0\0", "a", "a\0", " ", "\0a") if other != value}
    assert layout.key_text(value) not in {layout.key_text(other) for other in others}


@pytest.mark.parametrize(
    "settings",
    [
        Settings("app:app", "prod", ("orders",), "a-table", "a-bucket"),
        Settings("app:app", "prod", ("orders",), queue="a-url", archive="a-bucket", topics={"alerts": "arn:alerts"}),
        Settings("app:app", "prod", ("events",), stream="a-stream", consumer="count"),
        Settings("app:app", "prod", ("orders",), workflows={"settle": "arn:settle"}, ended="arn:ended"),
        Settings("app:app", "prod", task="collect"),
        Settings("shop.main:shop", "dev", ("orders", "events"), keys="a-table", secrets={"A": "arn:a", "B": "arn:b"}),
    ],
)
def test_what_the_stacks_write_is_what_the_functions_read(settings: Settings) -> None:
    assert Settings.read(settings.written()) == settings


@pytest.mark.parametrize("environment", [{}, {"HEADGATE_APP": "app:app", "HEADGATE_SECRETS": "[]"}])
def test_an_environment_that_is_not_ours_is_refused_in_one_sentence(environment: dict[str, str]) -> None:
    with pytest.raises(Misuse, match="HEADGATE_"):
        Settings.read(environment)
