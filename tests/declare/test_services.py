"""What workflows ask of queues and tables: the steps, and what is refused when the app loads."""

from __future__ import annotations

from typing import Any

import pytest

from headgate import App, DeclarationError, Public, Queued
from headgate import workflow as w
from headgate.declare.asl_services import Ask, asks
from headgate.declare.item_expressions import condition, update


def an_app() -> App:
    app = App("shop")
    app.channel("/jobs", key="id", auth=Public(), delivery=Queued(validate="worker"))
    app.channel("/orders", key="id", auth=Public(), delivery=Queued())
    app.table("settled", key="id")
    return app


def only(step: w.Step) -> Any:
    app = an_app()
    made = app.workflow("one", step)
    app.check()
    (state,) = made.document["States"].values()
    return state


def refused(app: App) -> str:
    with pytest.raises(DeclarationError) as caught:
        app.check()
    return str(caught.value)


def with_state(resource: str, given: object, field: str = "Parameters", **machine: str) -> App:
    app = an_app()
    state = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", field: given, "End": True}
    app.workflow("one", {**machine, "StartAt": "ask", "States": {"ask": state}})
    return app


def test_a_message_is_sent_to_a_channel_by_its_name() -> None:
    app = an_app()
    state = only(w.send(app.channels[0], {"id": "$.id", "kind": "{$.kind} job"}))
    assert state["Resource"] == "arn:aws:states:::sqs:sendMessage"
    assert state["Parameters"] == {
        "QueueUrl": "${queue:jobs}",
        "MessageBody": {"id.$": "$.id", "kind.$": "States.Format('{} job', $.kind)"},
    }
    assert state["ResultPath"] is None
    assert only(w.send("jobs"))["Parameters"]["MessageBody.$"] == "$"


def test_an_item_says_of_what_type_it_is() -> None:
    item: Any = {"id": "$.id", "note": "of {$.id}", "n": w.number("$.n"), "all": w.json("$"), "one": 1.5, "ok": True}
    assert only(w.put("settled", item))["Parameters"] == {
        "TableName": "${table:settled}",
        "Item": {
            "id": {"S.$": "$.id"},
            "note": {"S.$": "States.Format('of {}', $.id)"},
            "n": {"N.$": "States.Format('{}', $.n)"},
            "all": {"S.$": "States.JsonToString($)"},
            "one": {"N": "1.5"},
            "ok": {"BOOL": True},
        },
    }


def test_an_item_is_looked_up_and_changed() -> None:
    assert only(w.get("settled", {"id": "$.id"}, result="$.found"))["ResultPath"] == "$.found"
    asked = only(w.update("settled", {"id": "$.id"}, set={"state": "done"}, add={"count": 1}))["Parameters"]
    assert asked["UpdateExpression"] == "SET #n0 = :v0 ADD #n1 :v1"
    assert asked["ExpressionAttributeNames"] == {"#n0": "state", "#n1": "count"}
    assert asked["ExpressionAttributeValues"] == {":v0": {"S": "done"}, ":v1": {"N": "1"}}


@pytest.mark.parametrize("value", ["$.count", "1", True, w.json("$.count")])
def test_only_numbers_are_added_also_those_at_paths(value: Any) -> None:
    with pytest.raises(DeclarationError, match=r"for count say one, or the path to one as w\.number\(path\)"):
        w.update("settled", {"id": "1"}, add={"count": value})
    asked = only(w.update("settled", {"id": "1"}, add={"count": w.number("$.count")}))["Parameters"]
    assert asked["ExpressionAttributeValues"] == {":v0": {"N.$": "States.Format('{}', $.count)"}}


def test_what_fails_is_caught() -> None:
    app = an_app()
    app.workflow("one", w.put("settled", {"id": "1"}, catch=[w.catch("DynamoDB", then=w.fail("x"))]))
    app.check()


def test_what_a_document_asks_is_told_by_name_also_within_maps() -> None:
    app = an_app()
    made = app.workflow("one", w.for_each("$", w.chain(w.put("settled", {"id": "$.id"}), w.send("jobs"))))
    assert [*asks(made.document)] == [
        Ask("dynamodb:putItem", "table", "settled"),
        Ask("sqs:sendMessage", "queue", "jobs"),
    ]


KEY = {"id": {"S": "1"}}
NAMED = {"TableName": "${table:settled}", "Key": KEY}


@pytest.mark.parametrize(
    ("resource", "given", "sentence"),
    [
        ("sqs:sendMessage", {"QueueUrl": "https://x", "MessageBody": ""}, "say QueueUrl as ${queue:NAME}"),
        ("sqs:sendMessage", {"QueueUrl": "${table:settled}", "MessageBody": ""}, "say QueueUrl as ${queue:NAME}"),
        ("sqs:sendMessage", {"QueueUrl": "${queue:jobs}", "MessageBody": "", "DelaySeconds": 5},
         "State 'ask': headgate does not carry out DelaySeconds of sqs:sendMessage; it knows MessageBody, QueueUrl"),
        ("sqs:sendMessage", {"QueueUrl": "${queue:orders}", "MessageBody": ""},
         "there is no channel 'orders' that a workflow can send to"),
        ("dynamodb:getItem", {"TableName": "orders", "Key": KEY}, "say TableName as ${table:NAME}"),
        ("dynamodb:getItem", {"TableName": "${table:gone}", "Key": KEY}, "there is no table 'gone'; the app has"),
        ("dynamodb:getItem", {**NAMED, "ProjectionExpression": "id"}, "does not carry out ProjectionExpression"),
        ("dynamodb:getItem", {**NAMED, "Key": {"n": {"S": "1"}}}, "Key needs id, the key of the table settled"),
        ("dynamodb:getItem", {**NAMED, "Key": {**KEY, "n": {"S": "1"}}}, "Key has n, which is not of the key"),
        ("dynamodb:putItem", {"TableName": "${table:settled}", "Item": {"id": "1"}}, "id has to say its type"),
        ("dynamodb:putItem", {"TableName": "${table:settled}", "Item": KEY, "ReturnValues": "ALL_NEW"},
         "ReturnValues has to be one of NONE, ALL_OLD"),
        ("dynamodb:updateItem", {**NAMED, "UpdateExpression.$": "$.how"}, "has to be a text that is known"),
        ("dynamodb:updateItem", {**NAMED, "UpdateExpression": "SET status = :s"}, "has to be written as #name"),
        ("dynamodb:updateItem", {**NAMED, "UpdateExpression": "SET #s = :s"}, "#s is not in ExpressionAttributeNames"),
        ("dynamodb:updateItem",
         {**NAMED, "UpdateExpression": "SET #s = :s", "ExpressionAttributeNames": {"#s": "s"}},
         "the value :s is not in ExpressionAttributeValues"),
        ("dynamodb:updateItem",
         {**NAMED, "UpdateExpression": "REMOVE #s", "ExpressionAttributeNames": {"#s": "s", "#t": "t"}},
         "#t stands in no expression"),
        ("dynamodb:updateItem",
         {**NAMED, "UpdateExpression": "REMOVE #s", "ExpressionAttributeNames": {"#s": "id"}},
         "changes the key of the table settled"),
        ("dynamodb:updateItem",
         {**NAMED, "UpdateExpression": "REMOVE #s, #s.#s", "ExpressionAttributeNames": {"#s": "s"}},
         "UpdateExpression: two of its places overlap"),
    ],
)  # fmt: skip
def test_what_is_asked_in_a_way_that_cannot_be_kept_is_refused_with_the_state(
    resource: str, given: dict[str, Any], sentence: str
) -> None:
    told = refused(with_state(resource, given))
    assert sentence in told
    assert "test_services.py:" in told


def test_arguments_in_jsonata_are_looked_at_too() -> None:
    asked = {"TableName": "${table:settled}", "Key": {"id": {"S": "{% $states.input.id %}"}}}
    with_state("dynamodb:getItem", asked, "Arguments", QueryLanguage="JSONata").check()
    told = refused(with_state("dynamodb:getItem", "{% $states.input %}", "Arguments", QueryLanguage="JSONata"))
    assert "the parameters of dynamodb:getItem have to be an object" in told


def test_a_table_has_a_name_of_its_own() -> None:
    app = an_app()
    app.table("jobs", key="id")
    app.table("settled", key="id")
    app.table("1", key="id", sort="id")
    told = refused(app)
    assert "table jobs: the name is taken by a channel" in told
    assert "table settled: the name is taken by another" in told
    assert "`key=` and `sort=` are two attributes." in told
    with pytest.raises(DeclarationError, match="an item holds texts, numbers"):
        w.put("settled", {"id": [1]}) and app.workflow("x", w.put("settled", {"id": [1]})).document  # type: ignore[dict-item]
    with pytest.raises(DeclarationError, match="say set="):
        w.update("settled", {"id": "1"})


@pytest.mark.parametrize(
    "text",
    ["", "#a", "#a = ", "#a = :v extra", "#a ~ :v", "contains(#a)", "size(#a)", "#a BETWEEN :v OR :v", "#a IN ()",
     "(#a = :v", "attribute_type(#a, #a)", "NOT", "a = :v", "#a[x] = :v", "#a. = :v"],
)  # fmt: skip
def test_conditions_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        condition(text, {"#a": "a"})


@pytest.mark.parametrize(
    "text",
    ["", "SET", "SET #a", "SET #a = size(#a)", "SET #a = :v SET #b = :v", "ADD #a #b", "PUT #a", "REMOVE :v",
     "SET #a = :v + :v + :v", "SET #a = if_not_exists(:v, :v)"],
)  # fmt: skip
def test_updates_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        update(text, {"#a": "a", "#b": "b"})
