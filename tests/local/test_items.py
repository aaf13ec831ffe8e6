"""Items of workflows: what DynamoDB says to each verb, beside moto's, and once however often it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from headgate.clock import ManualClock
from headgate.declare.table import Table
from headgate.http import new_id
from headgate.local.engine import LocalEngine
from headgate.local.item_expressions import Refused
from headgate.local.items import LocalItems

TABLE = Table("here", "settled", key="id")


@pytest.fixture
def items(tmp_path: Path) -> Iterator[LocalItems]:
    engine = LocalEngine(tmp_path / "messages.sqlite3", [], ManualClock())
    yield engine.items([TABLE])
    engine.close()


def put(items: LocalItems, token: str = "", **asked: Any) -> Any:
    return items.carry_out("putItem", {"TableName": "settled", **asked}, token or new_id())


def get(items: LocalItems, id: str) -> Any:
    return items.carry_out("getItem", {"TableName": "settled", "Key": {"id": {"S": id}}}, "").get("Item")


def test_an_item_is_found_as_it_was_put(items: LocalItems) -> None:
    item = {"id": {"S": "1"}, "n": {"N": "1.50"}, "m": {"M": {"l": {"L": [{"NULL": True}, {"BOOL": False}]}}}}
    assert put(items, Item=item) == {}
    assert get(items, "1") == {**item, "n": {"N": "1.5"}}
    assert get(items, "2") is None


def test_what_is_asked_again_after_a_crash_is_not_done_again(items: LocalItems) -> None:
    asked = {
        "TableName": "settled",
        "Key": {"id": {"S": "1"}},
        "UpdateExpression": "ADD #n :one",
        "ExpressionAttributeNames": {"#n": "n"},
        "ExpressionAttributeValues": {":one": {"N": "1"}},
        "ReturnValues": "ALL_NEW",
    }
    first = items.carry_out("updateItem", asked, "token")
    assert items.carry_out("updateItem", asked, "token") == first
    assert get(items, "1")["n"] == {"N": "1"}
    items.carry_out("updateItem", asked, "another")
    assert get(items, "1")["n"] == {"N": "2"}


def test_a_condition_that_does_not_hold_changes_nothing(items: LocalItems) -> None:
    new = {"ConditionExpression": "attribute_not_exists(#id)", "ExpressionAttributeNames": {"#id": "id"}}
    put(items, "1", Item={"id": {"S": "1"}, "a": {"S": "x"}}, **new)
    with pytest.raises(Refused) as refused:
        put(items, "2", Item={"id": {"S": "1"}}, **new)
    assert refused.value.code == "ConditionalCheckFailedException"
    assert get(items, "1") == {"id": {"S": "1"}, "a": {"S": "x"}}


@pytest.mark.parametrize(
    ("item", "code", "sentence"),
    [
        ({"id": {"S": ""}}, "ValidationException", "cannot contain an empty string"),
        ({"id": {"N": "1"}}, "ValidationException", "Type mismatch for key id"),
        ({"a": {"S": "1"}}, "ValidationException", "Missing the key id"),
        ({"id": {"S": 1}}, "States.Runtime", "Item.id.S' must be a STRING"),
        ({"id": {"S": "1"}, "n": {"N": 1}}, "States.Runtime", "Item.n.N' must be a STRING"),
        ({"id": {"S": "1"}, "n": {"N": "one"}}, "ValidationException", "cannot be converted to a numeric value"),
        ({"id": {"S": "1"}, "n": {"N": "1_000"}}, "ValidationException", "cannot be converted to a numeric value"),
        ({"id": {"S": "1"}, "n": {"N": "١"}}, "ValidationException", "cannot be converted to a numeric value"),
        ({"id": {"S": "1"}, "n": {"N": " 1"}}, "ValidationException", "cannot be converted to a numeric value"),
        ({"id": {"S": "1"}, "n": {"N": "1\n"}}, "ValidationException", "cannot be converted to a numeric value"),
        ({"id": {"S": "1"}, "n": {"N": "NaN"}}, "ValidationException", "cannot be converted to a numeric value"),
        (
            {"id": {"S": "1"}, "n": {"N": f"1e{10**19}"}},
            "ValidationException",
            "cannot be converted to a numeric value",
        ),
        ({"id": {"S": "1"}, "n": {"N": "1e126"}}, "ValidationException", "Number overflow"),
        ({"id": {"S": "1"}, "n": {"N": "-1e999999999"}}, "ValidationException", "Number overflow"),
        ({"id": {"S": "1"}, "n": {"N": "1e-999999999"}}, "ValidationException", "Number underflow"),
        ({"id": {"S": "1"}, "n": {"N": "1" * 39}}, "ValidationException", "38 significant digits"),
        ({"id": {"S": "1"}, "s": {"SS": []}}, "ValidationException", "may not be empty"),
        ({"id": {"S": "1"}, "s": {"SS": ["a", "a"]}}, "ValidationException", "duplicates"),
        ({"id": {"S": "1"}, "b": {"B": "!"}}, "ValidationException", "base64"),
        ({"id": {"S": "1"}, "x": {"X": "1"}}, "States.Runtime", "one of the types"),
        ({"id": {"S": "1"}, "x": {"S": "x" * 409_600}}, "ValidationException", "Item size has exceeded"),
        ("text", "States.Runtime", "must be a MAP"),
    ],
)
def test_what_is_no_item_is_refused_as_dynamodb_refuses_it(
    items: LocalItems, item: object, code: str, sentence: str
) -> None:
    with pytest.raises(Refused) as refused:
        put(items, Item=item)
    assert refused.value.code == code
    assert sentence in refused.value.sentence


def test_a_table_that_there_is_not_is_not_found(items: LocalItems) -> None:
    with pytest.raises(Refused) as refused:
        items.carry_out("getItem", {"TableName": "gone", "Key": {}}, "")
    assert refused.value.code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("REMOVE #l[0], #l[2]", {"l": {"L": [{"N": "2"}]}, "m": {"M": {"x": {"S": "y"}}}, "s": {"SS": ["a", "b"]}}),
        ("SET #l[9] = :v", {"l": {"L": [{"N": "1"}, {"N": "2"}, {"N": "3"}, {"S": "v"}]}}),
        ("SET #l[1] = #m.#x", {"l": {"L": [{"N": "1"}, {"S": "y"}, {"N": "3"}]}}),
        ("SET #m.#s = :v REMOVE #m.#x", {"m": {"M": {"s": {"S": "v"}}}}),
        ("SET #m.#x = :v, #new = #m.#x", {"m": {"M": {"x": {"S": "v"}}}, "new": {"S": "y"}}),
        ("DELETE #s :set", {"s": {"SS": ["b"]}}),
        ("ADD #s :more", {"s": {"SS": ["a", "b", "c"]}}),
    ],
)
def test_places_within_an_item_are_changed(items: LocalItems, change: str, left: dict[str, Any]) -> None:
    held = {
        "l": {"L": [{"N": "1"}, {"N": "2"}, {"N": "3"}]},
        "m": {"M": {"x": {"S": "y"}}},
        "s": {"SS": ["a", "b"]},
    }
    put(items, Item={"id": {"S": "1"}, **held})
    changed(items, change)
    assert get(items, "1") == {"id": {"S": "1"}, **held, **left}


@pytest.mark.parametrize(
    "change", ["SET #gone.#x = :v", "SET #s.#x = :v", "REMOVE #s[0]", "SET #s = #gone", "ADD #m :set"]
)
def test_places_that_lead_nowhere_are_refused(items: LocalItems, change: str) -> None:
    put(items, Item={"id": {"S": "1"}, "s": {"S": "text"}, "m": {"M": {}}})
    with pytest.raises(Refused) as refused:
        changed(items, change)
    assert refused.value.code == "ValidationException"
    assert get(items, "1") == {"id": {"S": "1"}, "s": {"S": "text"}, "m": {"M": {}}}


@pytest.mark.parametrize(
    ("condition", "is_true"),
    [
        ("attribute_exists(#m.#x)", True),
        ("attribute_exists(#l[3])", False),
        ("attribute_not_exists(#gone)", True),
        ("attribute_type(#l, :list)", True),
        ("begins_with(#m.#x, :y)", True),
        ("contains(#m.#x, :z)", False),
        ("contains(#s, :y)", True),
        ("contains(#l, :two)", True),
        ("#l[0] < :two AND #l[1] >= :two", True),
        ("#l[0] = :y", False),
        ("#l[0] <> :y", True),
        ("#gone <> :y AND NOT #gone = :y", True),
        ("#l[0] BETWEEN :two AND :ten", False),
        ("#l[2] BETWEEN :two AND :ten", True),
        ("#m.#x IN (:two, :z) OR size(#s) >= :two", True),
        ("size(#gone) > :two", False),
    ],
)
def test_conditions_hold_as_in_dynamodb(items: LocalItems, condition: str, is_true: bool) -> None:
    item = {
        "id": {"S": "1"},
        "l": {"L": [{"N": "1"}, {"N": "2"}, {"N": "3"}]},
        "m": {"M": {"x": {"S": "y"}}},
        "s": {"SS": ["x", "y"]},
    }
    put(items, Item=item)
    names = {"#l": "l", "#m": "m", "#s": "s", "#x": "x", "#gone": "gone"}
    values = {":two": {"N": "2"}, ":ten": {"N": "10"}, ":y": {"S": "y"}, ":z": {"S": "z"}, ":list": {"S": "L"}}
    asked: Any = {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
    try:
        put(items, Item=item, **asked)
        held = True
    except Refused:
        held = False
    assert held == is_true


def changed(items: LocalItems, change: str) -> None:
    names = {"#l": "l", "#m": "m", "#s": "s", "#x": "x", "#new": "new", "#gone": "gone"}
    values = {":v": {"S": "v"}, ":set": {"SS": ["a"]}, ":more": {"SS": ["b", "c"]}}
    asked = {"Key": {"id": {"S": "1"}}, "UpdateExpression": change}
    named = {"ExpressionAttributeNames": names, "ExpressionAttributeValues": values}
    items.carry_out("updateItem", {"TableName": "settled", **asked, **named}, new_id())


# ------------------------------------------------------------------------------------------------------ beside moto's

_VALUES = st.sampled_from(
    [
        {"S": ""}, {"S": "a"}, {"S": "ab"}, {"N": "1"}, {"N": "-2.5"}, {"N": "10"}, {"BOOL": False}, {"NULL": True},
        {"SS": ["a", "b"]}, {"NS": ["1", "2"]}, {"L": [{"S": "a"}, {"N": "1"}]}, {"M": {"b": {"N": "3"}}},
    ]
)  # fmt: skip
_PLACES = st.sampled_from(["#a", "#b", "#c"])  # moto stumbles over paths that lead nowhere
_OPERANDS = st.one_of(_PLACES, st.sampled_from([":v", ":w"]))
_CHANGES = st.one_of(
    st.builds("SET {} = {}".format, _PLACES, _OPERANDS),
    st.builds("SET {} = if_not_exists({}, :v)".format, _PLACES, _PLACES),
    st.builds("SET {} = {} {} :n".format, _PLACES, _PLACES, st.sampled_from("+-")),
    st.builds("SET #c = list_append(#c, :l)".format),
    st.builds("REMOVE {}".format, _PLACES),
    st.builds("ADD {} :n".format, st.sampled_from(["#a", "#b", "#new"])),
)
_NAMES = {"#a": "a", "#b": "b", "#c": "c", "#new": "new"}


def needed(text: str, values: dict[str, Any]) -> dict[str, Any]:
    asked = {}
    if names := {name: one for name, one in _NAMES.items() if name in text}:
        asked["ExpressionAttributeNames"] = names
    if own := {name: one for name, one in values.items() if name in text}:
        asked["ExpressionAttributeValues"] = own
    return asked


@pytest.fixture(scope="module")
def motos() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("dynamodb", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        client.create_table(
            TableName="settled",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
        yield client


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    item=st.dictionaries(st.sampled_from("abc"), _VALUES),
    change=_CHANGES,
    v=_VALUES,
    w=_VALUES,
)
def test_updates_end_as_motos_do(items: LocalItems, motos: Any, item: Any, change: str, v: Any, w: Any) -> None:
    values = {":v": v, ":w": w, ":n": {"N": "2"}, ":l": {"L": [{"S": "z"}]}}
    key = {"id": {"S": "1"}}
    asked = {"TableName": "settled", "Key": key, "UpdateExpression": change, **needed(change, values)}
    motos.put_item(TableName="settled", Item={**key, **item})
    put(items, Item={**key, **item})
    ours = theirs = ""
    try:
        motos.update_item(**asked)
    except ClientError as error:
        theirs = error.response["Error"]["Code"]
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        assume(False)  # a mistake of moto's
    try:
        items.carry_out("updateItem", asked, new_id())
    except Refused as refused:
        ours = refused.code
    assert ours == theirs, (item, asked)
    assert get(items, "1") == motos.get_item(TableName="settled", Key=key)["Item"], (item, asked)
