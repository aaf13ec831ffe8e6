"""The gate's decisions from a request to a reply, over a real store, with no server and no event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from headgate import App, Cors, Problem, Public, Receipt, Reply, Request, Secret, Throttle, Unauthorized, limits
from headgate.clock import ManualClock
from headgate.declare.auth import Jwt
from headgate.errors import Misuse
from headgate.gate.effects import Admit, Call, Commit, ReadBody
from tests.gate.desk import Desk, header, told
from tests.local.store import Store, opened

MakeDesk = Callable[..., Desk]


class Order(BaseModel):
    id: str
    city: str = ""
    amount: int = 0


class Card(BaseModel):
    kind: Literal["card"]
    number: str


class Cash(BaseModel):
    kind: Literal["cash"]
    coins: list[int]


class Line(BaseModel):
    sku: str
    size: int | Literal["all"] = "all"


class Basket(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str
    lines: list[Line] = []
    paid: Card | Cash | None = Field(None, discriminator="kind")
    buyer: str = Field("", alias="the/buyer", max_length=3)
    tags: dict[str, Annotated[int, Field(ge=0)]] = {}


def by_name(request: Request) -> str:
    """Whoever says a name."""
    name = request.header(b"who")
    if not name:
        raise Unauthorized
    return name


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path, ManualClock()) as store:
        yield store


@pytest.fixture
def desk(store: Store) -> MakeDesk:
    """A desk with one channel, /orders."""

    def desk(model: Any = Order, **options: Any) -> Desk:
        app = App("desk")
        app.channel("/orders", model, **{"key": "id", "auth": Public(), "read": True, **options})
        return Desk(app, store)

    return desk


# ---------------------------------------------------------------------------------------------------------- one message


def test_the_first_is_stored_its_twin_gets_the_same_answer_and_another_body_is_in_conflict(desk: MakeDesk) -> None:
    it = desk()
    first, twin = it.post("/orders", {"id": "a", "amount": 1}), it.ask("POST", "/orders", b'{"amount":1, "id": "a"}')
    assert (first.status, told(first)) == (twin.status, told(twin)) == (201, {"id": "a"})
    assert (header(first, "Idempotency-Replayed"), header(twin, "Idempotency-Replayed")) == (None, "true")
    other = it.post("/orders", {"id": "a", "amount": 2})
    assert (other.status, told(other)["type"]) == (409, "urn:headgate:problem:conflict")
    assert told(it.ask("GET", "/orders/a"))["body"] == {"id": "a", "amount": 1}
    assert it.observer.accepted == {("orders", "stored"): 1, ("orders", "replayed"): 1}
    assert it.observer.refused == {("orders", "conflict", 409): 1}


def test_whoever_is_refused_or_too_early_is_not_read(desk: MakeDesk) -> None:
    it = desk(auth=by_name, throttle=Throttle(0.5, 1))
    assert it.post("/orders", {"id": "a"}).status == 401
    assert it.asked == [Call]
    assert it.post("/orders", {"id": "a"}, who="ann").status == 201
    assert it.asked == [Call, Admit, ReadBody, Commit]
    early = it.post("/orders", {"id": "b"}, who="ann")
    assert (early.status, header(early, "Retry-After"), it.asked) == (429, "2", [Call, Admit])
    it.store.clock.advance(2)
    assert it.post("/orders", {"id": "b"}, who="ann").status == 201


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"", {}, 400, "empty_body"),
        (b"{", {}, 400, "malformed"),
        (b'{"id": "a", "id": "a"}', {}, 400, "duplicate_key"),
        (b'{"id": "%b"}' % (b"x" * 256), {}, 400, "invalid"),
        (b'{"id": "%b"}' % (b"x" * 2_000), {}, 413, "too_large"),
        (b'{"id": "a"}', {"content_type": "text/plain"}, 415, "unsupported_media"),
        (b'{"id": "a"}', {"content_encoding": "gzip"}, 415, "content_encoding"),
    ],
)
def test_what_cannot_be_a_message_is_refused_and_counted(
    desk: MakeDesk, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    it = desk(body_limit_bytes=1_000)
    refused = it.ask("POST", "/orders", body, **headers)
    assert (refused.status, told(refused)["type"]) == (status, f"urn:headgate:problem:{reason}")
    assert it.observer.refused == {("orders", reason, status): 1}
    assert Commit not in it.asked


def test_while_nothing_can_be_written_the_sender_is_asked_to_come_again(desk: MakeDesk) -> None:
    it = desk()
    it.store.writer.close()
    away = it.post("/orders", {"id": "a"})
    assert (away.status, header(away, "Retry-After")) == (503, "1")
    assert it.observer.faulted == {("orders", "unavailable", 503): 1}


def test_a_key_of_a_header_counts_per_sender_and_one_is_made_where_none_is_sent(desk: MakeDesk) -> None:
    it = desk(key=None, auth=by_name)
    for who in ("ann", "bob"):
        stored = it.post("/orders", {"id": who}, who=who, idempotency_key="k")
        assert (stored.status, told(stored), header(stored, "Idempotency-Replayed")) == (201, {"id": "k"}, None)
    assert told(it.ask("GET", "/orders/k", who="bob"))["body"] == {"id": "bob"}
    made = {told(it.post("/orders", {"id": "x"}, who="ann"))["id"] for _ in range(3)}
    assert len(made) == 3


def test_a_reply_of_the_users_own_is_made_of_the_facts_and_gives_way_when_it_fails(desk: MakeDesk) -> None:
    def accepted(receipt: Receipt) -> Reply:
        if receipt.key == "bad":
            raise KeyError("secret")
        return Reply(202, {"at": receipt.received_at})

    it = desk(accepted=accepted)
    first = it.post("/orders", {"id": "a"})
    it.store.clock.advance(60)
    again = it.post("/orders", {"id": "a"})
    assert (first.status, told(first)) == (again.status, told(again)) == (202, {"at": "2026-01-01T00:00:00.000Z"})
    failed = it.post("/orders", {"id": "bad"})
    assert (failed.status, told(failed)) == (201, {"id": "bad"})


# ------------------------------------------------------------------------------------------------------------- batches


def statuses(reply: Reply) -> list[str]:
    return [item["status"] for item in told(reply)["items"]]


def test_each_item_is_answered_for_itself_in_its_place(desk: MakeDesk) -> None:
    it = desk(many=True)
    it.post("/orders", [{"id": "old"}])
    reply = it.post(
        "/orders", [{"id": "new"}, {"amount": "x"}, {"id": "old"}, {"id": "old", "amount": 1}, {"id": "new"}]
    )
    assert (reply.status, statuses(reply)) == (201, ["stored", "invalid", "replayed", "conflict", "replayed"])
    items = told(reply)["items"]
    assert [item["index"] for item in items] == [0, 1, 2, 3, 4]
    assert {fault["pointer"] for fault in items[1]["errors"]} == {"/1/id", "/1/amount"}
    assert it.observer.refused == {("orders", "invalid", 400): 1, ("orders", "conflict", 409): 1}


def test_of_a_batch_of_which_nothing_is_stored_what_may_still_succeed_decides_the_status(desk: MakeDesk) -> None:
    it = desk(many=True)
    it.post("/orders", [{"id": "a"}])
    assert it.post("/orders", [{}]).status == 400
    assert it.post("/orders", [{}, {"id": "a", "amount": 1}]).status == 409
    it.store.writer.close()
    away = it.post("/orders", [{}, {"id": "b"}])
    assert (away.status, statuses(away), header(away, "Retry-After")) == (503, ["invalid", "unavailable"], "1")


def test_all_or_none_are_stored(desk: MakeDesk) -> None:
    it = desk(many="all")
    invalid = it.post("/orders", [{"id": "a"}, {"id": 1}])
    assert (invalid.status, [fault["pointer"] for fault in told(invalid)["errors"]]) == (400, ["/1/id"])
    assert it.post("/orders", [{"id": "old"}]).status == 201
    conflict = it.post("/orders", [{"id": "a"}, {"id": "old", "amount": 1}])
    assert (conflict.status, [fault["pointer"] for fault in told(conflict)["errors"]]) == (409, ["/1"])
    assert it.ask("GET", "/orders/a").status == 404
    assert statuses(it.post("/orders", [{"id": "a"}, {"id": "old"}])) == ["stored", "replayed"]
    it.store.writer.close()
    assert it.post("/orders", [{"id": "b"}, {"id": "c"}]).status == 503


@pytest.mark.parametrize(
    ("body", "status"), [({"id": "a"}, 400), ([], 400), ([1] * (limits.BATCH_EACH.value + 1), 413)]
)
def test_what_is_no_batch_is_refused_as_a_whole(desk: MakeDesk, body: object, status: int) -> None:
    refused = desk(many=True).post("/orders", body)
    assert refused.status == status
    assert "items" not in told(refused)


# ------------------------------------------------------------------------------------------------------------ pointers


@pytest.mark.parametrize(
    ("wrong", "pointers"),
    [
        ({"lines": [{"sku": "a"}, {"sku": 1}]}, {"/lines/1/sku"}),
        ({"lines": [{}]}, {"/lines/0/sku"}),
        ({"lines": {"sku": "a"}}, {"/lines"}),
        ({"lines": [{"sku": "a", "size": "some"}]}, {"/lines/0/size"}),
        ({"paid": {"kind": "card"}}, {"/paid/number"}),
        ({"paid": {"kind": "cash", "coins": [1, "2"]}}, {"/paid/coins/1"}),
        ({"paid": {"kind": "shells"}}, {"/paid"}),
        ({"paid": {}}, {"/paid"}),
        ({"the/buyer": "anna"}, {"/the~1buyer"}),
        ({"buyer": "ann"}, {"/buyer"}),
        ({"tags": {"a~b": -1, "ok": 1}}, {"/tags/a~0b"}),
        ({"more": 1, "lines": [1]}, {"/more", "/lines/0"}),
        ({"id": None}, {"/id"}),
    ],
)
def test_a_pointer_leads_to_what_is_wrong_in_the_body(
    desk: MakeDesk, wrong: dict[str, Any], pointers: set[str]
) -> None:
    refused = desk(Basket).post("/orders", {"id": "a", **wrong})
    assert refused.status == 400
    assert {fault["pointer"] for fault in told(refused)["errors"]} == pointers


def test_a_key_that_lies_deeper_is_found_and_missed_in_its_place(desk: MakeDesk) -> None:
    it = desk(None, key="meta.id", indexes=["meta.city"])
    assert told(it.post("/orders", {"meta": {"id": 20**15, "city": "Bern"}})) == {"id": str(20**15)}
    wrong: list[dict[str, Any]] = [
        {},
        {"meta": {}},
        {"meta": {"id": True}},
        {"meta": {"id": ""}},
        {"meta": {"id": "a\n"}},
    ]
    for body in wrong:
        assert [fault["pointer"] for fault in told(it.post("/orders", body))["errors"]] == ["/meta/id"]
    assert [item["key"] for item in told(it.ask("GET", "/orders?city=Bern"))["items"]] == [str(20**15)]


# ------------------------------------------------------------------------------------------------------------- reading


def test_pages_follow_one_another_and_a_cursor_is_good_for_its_query_alone(desk: MakeDesk) -> None:
    it = desk(indexes=["city"])
    for number in range(5):
        it.post("/orders", {"id": f"o-{number}", "city": "Bern"})
    seen, cursor = [], ""
    for _ in range(3):
        page = told(it.ask("GET", f"/orders?city=Bern&limit=2{cursor}"))
        seen += [item["key"] for item in page["items"]]
        last, cursor = page["cursor"], f"&cursor={page['cursor']}"
    assert seen == ["o-4", "o-3", "o-2", "o-1", "o-0"]
    assert last is None
    good = told(it.ask("GET", "/orders?city=Bern&limit=2"))["cursor"]
    for query in (
        f"city=Rome&cursor={good}",
        "city=Bern&cursor=x",
        f"city=Bern&cursor={good[:-3]}",
        "city=Bern&cursor=",
    ):
        refused = it.ask("GET", f"/orders?{query}")
        assert (refused.status, told(refused)["type"]) == (400, "urn:headgate:problem:invalid_cursor")


@pytest.mark.parametrize(
    "query", ["", "amount=1", "city=a&city=b", "city=a&id=b", "city=%ff"]
    + [f"city=a&limit={limit}" for limit in ("0", "-1", "1.5", "101", "x", "", "９", "1" * 5_000)],
)  # fmt: skip
def test_a_query_that_cannot_be_meant_is_refused(desk: MakeDesk, query: str) -> None:
    refused = desk(indexes=["city"]).ask("GET", f"/orders?{query}")
    assert (refused.status, told(refused)["type"]) == (400, "urn:headgate:problem:invalid_query")


def test_a_limit_out_of_bounds_is_told_in_one_sentence(desk: MakeDesk) -> None:
    refused = desk(indexes=["city"]).ask("GET", "/orders?city=a&limit=0")
    assert told(refused)["message"] == "`limit` must be a number from 1 to 100."


def test_a_reader_sees_what_is_his_and_not_expired(desk: MakeDesk) -> None:
    it = desk(auth=by_name, scope="principal", indexes=["city"], keep=timedelta(hours=1))
    for who in ("ann", "bob"):
        assert it.post("/orders", {"id": "same", "city": who}, who=who).status == 201
    assert told(it.ask("GET", "/orders/same", who="ann"))["body"]["city"] == "ann"
    assert told(it.ask("GET", "/orders?city=bob", who="ann"))["items"] == []
    assert it.ask("GET", "/orders/same", who="eve").status == 404
    assert it.ask("GET", "/orders/%ff", who="ann").status == 404
    assert it.ask("GET", "/orders/same").status == 401
    it.store.clock.advance(3_600)
    assert it.ask("GET", "/orders/same", who="ann").status == 404
    assert told(it.ask("GET", "/orders?city=ann", who="ann"))["items"] == []


# ------------------------------------------------------------------------------------------------------------- answers


def test_another_method_is_told_which_ones_there_are(desk: MakeDesk) -> None:
    it = desk(indexes=["city"], cors=Cors(("https://shop.example",)))
    for target, allowed in (("/orders", "GET, HEAD, POST, OPTIONS"), ("/orders/a", "GET, HEAD, OPTIONS")):
        refused = it.ask("DELETE", target)
        assert (refused.status, header(refused, "Allow")) == (405, allowed)
    blind = desk(read=False)
    assert header(blind.ask("GET", "/orders"), "Allow") == "POST"
    assert blind.ask("GET", "/orders/a").status == blind.ask("GET", "/nothing").status == 404


def test_a_page_of_a_declared_origin_may_post_and_read_the_reply(desk: MakeDesk) -> None:
    it, ours = desk(cors=Cors(("https://shop.example",), headers=("X-One", "X-Two"))), "https://shop.example"
    asked = it.ask("OPTIONS", "/orders", origin=ours, access_control_request_method="POST")
    assert (asked.status, header(asked, "Access-Control-Allow-Headers")) == (204, "X-One, X-Two")
    assert header(asked, "Access-Control-Allow-Origin") == ours
    for reply in (it.post("/orders", {"id": "a"}, origin=ours), it.post("/orders", {}, origin=ours)):
        assert header(reply, "Access-Control-Allow-Origin") == ours
        assert "Idempotency-Replayed" in str(header(reply, "Access-Control-Expose-Headers"))
    other = it.post("/orders", {"id": "a"}, origin="https://other.example")
    assert (header(other, "Access-Control-Allow-Origin"), header(other, "Vary")) == (None, "Origin")


def test_a_problem_of_the_users_own_shape_keeps_its_headers_and_gives_way_when_it_fails(desk: MakeDesk) -> None:
    def shaped(problem: Problem) -> dict[str, str]:
        if problem.reason == "conflict":
            raise KeyError("secret")
        return {"error": problem.message}

    it = desk(problem=shaped)
    refused = it.post("/orders", {})
    assert (refused.status, list(told(refused))) == (400, ["error"])
    it.post("/orders", {"id": "a"})
    plain = it.post("/orders", {"id": "a", "amount": 1})
    assert (plain.status, told(plain)["type"]) == (409, "urn:headgate:problem:conflict")
    it.store.writer.close()
    away = it.post("/orders", {"id": "b"})
    assert (away.status, list(told(away)), header(away, "Retry-After")) == (503, ["error"], "1")


def test_what_goes_wrong_inside_is_a_500_that_says_nothing_of_it(
    desk: MakeDesk, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: Request) -> str:
        raise KeyError("the secret")

    it = desk(auth=broken)
    reply = it.post("/orders", {"id": "a"})
    assert (reply.status, header(reply, "X-Request-Id")) == (500, "request-1")
    assert "request-1" in told(reply)["detail"]
    assert "secret" not in reply.encoded().decode() + caplog.text
    assert it.observer.faulted == {("orders", "broken", 500): 1}


def test_a_gate_is_not_made_without_the_settings_it_needs(store: Store) -> None:
    app = App("desk")
    app.channel("/orders", Order, key="id", auth=Jwt(secret=Secret("KEY"), issuer="shop", audience="orders"))
    with pytest.raises(Misuse, match="KEY"):
        Desk(app, store)
    assert Desk(app, store, {"KEY": "k" * 32}).post("/orders", {"id": "a"}).status == 401
