"""The OpenAPI document: what it says of a declaration, and that programs can read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any

import pytest
import schemathesis
from jsonschema_rs import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from headgate import (
    ApiKey,
    App,
    Header,
    Jwt,
    Problem,
    Public,
    Queued,
    Receipt,
    Reply,
    Request,
    Secret,
    Signed,
    Throttle,
)
from headgate.describe.openapi import openapi

Doc = dict[str, Any]
SERVERS_OWN = {"408", "414", "431"}


class Meta(BaseModel):
    message_id: str
    company_id: str


class Order(BaseModel):
    """What a customer wants."""

    record_id: str
    amount: float = Field(gt=0)


class Letter(BaseModel):
    metadata: Meta
    children: list[Letter] = []


JWT = Jwt(secret=Secret("ORDERS"), issuer="shop", audience="orders", scopes=("orders:write",))


def described(path: str = "/orders", model: Any = None, **options: Any) -> Doc:
    app = App("shop")
    app.channel(path, model, **{"auth": Public(), **options})
    return document(app)


def document(app: App) -> Doc:
    app.check()
    return json.loads(json.dumps(openapi(app)))  # type: ignore[no-any-return]


def post(doc: Doc, path: str = "/orders") -> Doc:
    return doc["paths"][path]["post"]  # type: ignore[no-any-return]


def replies(operation: Doc) -> set[str]:
    return set(operation["responses"])


def accepts(doc: Doc, body: object, path: str = "/orders") -> bool:
    schema = post(doc, path)["requestBody"]["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": doc["components"]}).is_valid(body)


def whole_shop() -> App:
    app = App("shop", title="The shop", description="Everything.")
    app.channel("/orders", Order, key="record_id", many=True, auth=JWT, indexes=["amount"])
    app.channel("/letters", Letter, key="metadata.message_id", auth=ApiKey(), indexes=["metadata.company_id"])
    app.channel("/all", many="all", auth=ApiKey(), throttle=Throttle(5, 10))
    app.channel("/hook", auth=Signed(Secret("S"), style="github"), key=Header("x-github-delivery"))
    app.channel("/own", auth=someone, problem=lambda problem: {"error": problem.message})
    app.channel("/", auth=Public(), accepted=lambda receipt: Reply(200, {"request_id": receipt.key}))
    return app


def someone(request: Request) -> str:
    return "someone"


def refs(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from refs(value)


# ----------------------------------------------------------------------------------------------- the document


def test_the_document_is_valid_and_loads_into_schemathesis() -> None:
    schema = schemathesis.openapi.from_dict(document(whole_shop()))

    schema.validate()
    operations = {operation.ok().label for operation in schema.get_all_operations()}  # type: ignore[union-attr]
    assert {"POST /", "POST /orders", "GET /orders", "GET /orders/{key}", "GET /own/{key}"} <= operations


def test_every_reference_leads_somewhere() -> None:
    doc = document(whole_shop())

    found = set(refs(doc))
    assert len(found) > 5
    for ref in found:
        node = doc
        for name in ref.removeprefix("#/").split("/"):
            node = node[name]


def test_no_component_is_there_for_nothing() -> None:
    doc = described(model=Order, read=False)

    wanted = set(refs(doc))
    for kind in ("schemas", "headers"):
        assert {f"#/components/{kind}/{name}" for name in doc["components"][kind]} <= wanted


def test_the_same_declaration_gives_the_same_bytes_and_a_tree_of_its_own() -> None:
    before = json.dumps(openapi(whole_shop()))
    changed = openapi(whole_shop())
    for schema in changed["components"]["schemas"].values():  # type: ignore[index]
        schema.clear()

    assert json.dumps(openapi(whole_shop())) == before


def test_title_description_and_server_are_the_apps_own() -> None:
    doc = openapi(whole_shop(), server_url="..")

    assert doc["info"] == {"title": "The shop", "description": "Everything.", "version": "1"}
    assert doc["servers"] == [{"url": ".."}]


def test_operations_are_named_after_their_channel_and_no_two_alike() -> None:
    app = App("shop")
    app.channel("/a/b", auth=Public())
    app.channel("/a_b", auth=Public())
    app.channel("/company-messages", model=Letter, auth=ApiKey(), indexes=["metadata.company_id"])
    doc = document(app)

    ids = [operation["operationId"] for path in doc["paths"].values() for operation in path.values()]
    assert ids[:2] == ["post_a-b", "post_a_b"]
    verbs = [f"{verb}_company_messages" for verb in ("post", "find", "get")]
    assert ids[2:] == [*verbs, "get_company_messages_timeline"]


# ----------------------------------------------------------------------------------------------------- bodies


def test_a_body_is_what_the_model_says() -> None:
    doc = described(model=Order)

    assert accepts(doc, {"record_id": "a", "amount": 1})
    assert not accepts(doc, {"record_id": "a", "amount": 0})
    assert not accepts(doc, {"amount": 1})
    assert post(doc)["requestBody"]["required"] is True


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "a\x85b"])
def test_a_key_that_would_be_refused_is_refused_by_the_schema(key: str) -> None:
    doc = described(model=Letter, key="metadata.message_id")

    assert accepts(doc, {"metadata": {"message_id": "k-1 ü", "company_id": ""}})
    assert not accepts(doc, {"metadata": {"message_id": key, "company_id": ""}})


def test_any_json_is_anything_but_for_its_key() -> None:
    anything, keyed = described(), described(key="meta.id")

    for body in ("null", "true", "1.5", '"a"', "[]", '{"a": {}}'):
        assert accepts(anything, json.loads(body))
    for body in ('{"meta": {"id": 7}}', '{"meta": {"id": "a"}, "more": []}'):
        assert accepts(keyed, json.loads(body))
    for body in ("{}", "[]", '{"meta": {}}', '{"meta": {"id": null}}', '{"meta": {"id": ""}}'):
        assert not accepts(keyed, json.loads(body))


@pytest.mark.parametrize(("many", "most"), [("each", 5_000), ("all", 100)])
def test_a_batch_is_an_array_of_one_to_as_many_as_are_taken(many: str, most: int) -> None:
    doc = described(many=many)

    assert accepts(doc, [1] * most)
    assert not accepts(doc, [])
    assert not accepts(doc, [1] * (most + 1))
    assert not accepts(doc, 1)


def test_two_models_of_one_name_stay_two() -> None:
    def other() -> type[BaseModel]:
        class Order(BaseModel):
            weight: int

        return Order

    app = App("shop")
    app.channel("/orders", Order, auth=Public())
    app.channel("/parcels", list[other()], auth=Public())  # type: ignore[misc]
    doc = document(app)

    assert accepts(doc, {"record_id": "a", "amount": 1})
    assert accepts(doc, [{"weight": 1}], "/parcels")
    assert not accepts(doc, [{"record_id": "a", "amount": 1}], "/parcels")


def test_a_users_model_may_be_called_like_one_of_ours() -> None:
    class Problem(BaseModel):
        model_config = ConfigDict(extra="forbid")
        question: str

    doc = described(model=Problem)

    assert accepts(doc, {"question": "why?"})
    assert not accepts(doc, {"title": "Conflict"})
    (ours,) = post(doc)["responses"]["409"]["content"].values()
    assert "title" in doc["components"]["schemas"][ours["schema"]["$ref"].split("/")[-1]]["properties"]


def test_a_type_that_json_schema_cannot_tell_is_any_json_instead_of_an_error() -> None:
    class Odd(BaseModel):
        price: Annotated[Decimal, PlainValidator(Decimal)]
        callback: Callable[[], int] = lambda: 1

    doc = described(model=Odd)

    assert accepts(doc, {"price": "anything"})


def test_the_channel_speaks_for_itself_and_otherwise_its_model_does() -> None:
    spoken = post(described(model=Order, description="For partners."))["description"]
    unspoken = post(described(model=Order))["description"]

    assert spoken.startswith("For partners.\n")
    assert unspoken.startswith("What a customer wants.\n")


# ---------------------------------------------------------------------------------------------------- replies


def test_a_message_is_answered_201_with_its_id_and_every_way_it_can_fail() -> None:
    operation = post(described(model=Order, key="record_id"))

    assert replies(operation) == {"201", "400", "409", "413", "415", "500", "503"} | SERVERS_OWN
    assert set(operation["responses"]["201"]["headers"]) == {"Idempotency-Replayed", "X-Request-Id"}
    assert set(operation["responses"]["400"]["content"]) == {"application/problem+json"}
    assert set(operation["responses"]["409"]["content"]["application/problem+json"]["examples"]) == {
        "conflict",
        "in_progress",
    }


@pytest.mark.parametrize("auth", [ApiKey(), JWT, Signed(Secret("S")), someone])
def test_only_a_channel_that_asks_who_you_are_answers_401_and_403(auth: Any) -> None:
    assert {"401", "403"} <= replies(post(described(auth=auth)))
    assert not {"401", "403"} & replies(post(described(auth=Public())))


def test_only_a_throttled_channel_answers_429_and_says_when_to_come_back() -> None:
    throttled = post(described(throttle=Throttle(1, 1)))

    assert "Retry-After" in throttled["responses"]["429"]["headers"]
    assert "429" not in replies(post(described()))


def test_a_batch_is_answered_item_by_item_unless_it_is_all_or_none() -> None:
    def with_items(many: str) -> list[str]:
        told = post(described(many=many))["responses"]
        return [status for status, reply in told.items() if "application/json" in reply["content"]]

    assert with_items("each") == ["201", "400", "409", "503"]
    assert with_items("all") == ["201"]


def test_a_channel_that_shapes_its_answer_is_described_by_what_it_answers() -> None:
    operation = post(described(accepted=lambda receipt: Reply(200, {"message": "ok", "id": receipt.key})))

    assert "201" not in replies(operation)
    ((media, content),) = operation["responses"]["200"]["content"].items()
    assert media == "application/json"
    assert content["schema"] == {}
    assert content["examples"]["stored"]["value"]["message"] == "ok"


def test_an_answer_that_cannot_be_known_beforehand_is_some_success() -> None:
    def picky(receipt: Receipt) -> Reply:
        return Reply(200, {"number": int(receipt.key)})

    assert "2XX" in replies(post(described(accepted=picky)))
    assert "2XX" in replies(post(described(accepted=lambda receipt: Reply(999, {}))))


def test_an_answer_without_a_body_has_no_content() -> None:
    operation = post(described(accepted=lambda receipt: Reply(204)))

    assert "content" not in operation["responses"]["204"]


def test_a_channel_that_shapes_its_problems_is_described_by_them() -> None:
    def shape(problem: Problem) -> Reply | dict[str, Any]:
        if problem.reason == "invalid":
            return Reply(422, {"error": problem.message})
        return {"error": problem.message}

    operation = post(described(model=Order, problem=shape))

    ((media, content),) = operation["responses"]["422"]["content"].items()
    assert media == "application/json"
    assert content["schema"] == {}
    assert content["examples"]["invalid"]["value"].keys() == {"error"}
    by_the_gate = [operation["responses"][status] for status in replies(operation) - SERVERS_OWN]
    assert "application/problem+json" not in json.dumps(by_the_gate)


def test_where_a_shape_fails_the_plain_problem_is_described_as_it_is_sent() -> None:
    operation = post(described(problem=lambda problem: {"error": problem.errors[0].detail}))

    assert set(operation["responses"]["400"]["content"]) == {"application/json", "application/problem+json"}
    assert set(operation["responses"]["503"]["content"]) == {"application/problem+json"}


# ------------------------------------------------------------------------------------------------------- keys


def key_parameter(**options: Any) -> Doc | None:
    (parameter,) = post(described(**options)).get("parameters", [None])
    return parameter  # type: ignore[no-any-return]


def test_the_idempotency_key_may_be_sent_where_the_body_brings_no_key() -> None:
    parameter = key_parameter()

    assert parameter is not None
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("Idempotency-Key", "header", False)
    assert key_parameter(model=Order, key="record_id") is None


def test_a_header_that_is_the_key_must_be_sent() -> None:
    parameter = key_parameter(key=Header("webhook-id"))

    assert parameter is not None
    assert (parameter["name"], parameter["required"]) == ("webhook-id", True)


def test_a_batchs_key_leaves_room_for_the_place_of_its_last_message() -> None:
    parameter = key_parameter(many=True)

    assert parameter is not None
    assert parameter["schema"]["maxLength"] + len(".4999") <= 255


# ---------------------------------------------------------------------------------------------------- reading


def test_what_may_be_read_is_described_and_nothing_else() -> None:
    open_, shut = described(auth=ApiKey()), described(auth=Public())

    assert set(open_["paths"]) == {"/orders", "/orders/{key}", "/orders/{key}/timeline"}
    assert set(open_["paths"]["/orders"]) == {"post"}
    assert set(shut["paths"]) == {"/orders"}
    read = replies(open_["paths"]["/orders/{key}"]["get"])
    assert read == {"200", "401", "403", "404", "500", "503"} | SERVERS_OWN


def test_messages_are_found_by_their_indexes() -> None:
    one = described(model=Letter, indexes=["metadata.company_id"], read=True)["paths"]["/orders"]["get"]
    two = described(indexes=["a.kind", "colour"], read=True)["paths"]["/orders"]["get"]

    def asked(operation: Doc) -> dict[str, bool]:
        return {parameter["name"]: parameter.get("required", False) for parameter in operation["parameters"]}

    assert asked(one) == {"company_id": True, "limit": False, "cursor": False}
    assert asked(two) == {"kind": False, "colour": False, "limit": False, "cursor": False}
    assert "exactly one of `kind`, `colour`" in two["description"]
    assert "400" in replies(two)


def test_a_channel_at_the_root_is_read_without_a_double_slash() -> None:
    doc = described("/", indexes=["kind"], read=True)

    assert set(doc["paths"]) == {"/", "/{key}", "/{key}/timeline"}
    assert set(doc["paths"]["/"]) == {"post", "get"}


def test_a_message_read_back_holds_the_body_that_was_sent() -> None:
    doc = described(model=Order, auth=ApiKey())
    (content,) = doc["paths"]["/orders/{key}"]["get"]["responses"]["200"]["content"].values()
    validator = Draft202012Validator({**content["schema"], "components": doc["components"]})
    message = {
        "key": "a",
        "status": "processed",
        "received_at": "2026-01-01T00:00:00.000Z",
        "body": {"record_id": "a", "amount": 1},
        "error": None,
    }

    assert validator.is_valid(message)
    assert not validator.is_valid({**message, "body": {}})


# ------------------------------------------------------------------------------------------------------- auth


@pytest.mark.parametrize(
    ("auth", "ways"),
    [
        (JWT, [("http", "bearer", "JWT")]),
        (ApiKey(), [("http", "bearer", None), ("apiKey", "X-Api-Key", "header")]),
        (Signed(Secret("S")), [("apiKey", "webhook-signature", "header")]),
        (Signed(Secret("S"), style="stripe"), [("apiKey", "Stripe-Signature", "header")]),
        (Signed(Secret("S"), style="github"), [("apiKey", "X-Hub-Signature-256", "header")]),
        (someone, []),
        (Public(), []),
    ],
)
def test_each_way_to_authenticate_is_enough_alone(auth: Any, ways: list[tuple[str, str, str | None]]) -> None:
    doc = described(auth=auth)

    schemes = doc["components"].get("securitySchemes", {})
    found = [
        (way["type"], way.get("scheme") or way["name"], way.get("bearerFormat") or way.get("in"))
        for way in schemes.values()
    ]
    assert found == ways
    assert [list(way) for way in post(doc).get("security", [])] == [[name] for name in schemes]


def test_the_scopes_a_token_needs_are_told_but_not_who_makes_it() -> None:
    auth = replace(JWT, issuer="issuer.internal", audience="audience.internal")
    doc = described(auth=auth)

    assert list(post(doc)["security"][0].values()) == [["orders:write"]]
    assert ".internal" not in json.dumps(doc)
    assert "ORDERS" not in json.dumps(doc)


def test_a_channel_that_lets_in_unread_tells_its_senders_nothing_about_bodies() -> None:
    doc = described(model=Order, delivery=Queued(validate="worker"))
    assert set(post(doc)["responses"]) & {"202", "400", "409"} == {"202"}
