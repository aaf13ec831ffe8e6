"""What one sender can make headgate do for all the others: no more than what it sends is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, field_validator

from headgate import ApiKey, App, Public, Throttle, limits
from headgate.clock import ManualClock
from headgate.local import index
from headgate.message import digest
from headgate.testing import AppUnderTest
from headgate.testing.contract.index import kinds, message
from tests.local.store import opened


class Numbers(BaseModel):
    id: str
    xs: list[int] = []

    @field_validator("id")
    @classmethod
    def trips_over_its_own_feet(cls, text: str) -> str:
        if text == "trip":
            raise KeyError(text)
        return text


@pytest.fixture
def app(tmp_path: Path) -> Iterator[AppUnderTest]:
    app = App("abuse")
    app.channel("/throttled", auth=ApiKey(), throttle=Throttle(rate_per_s=0.001, burst=2))
    app.channel("/numbers", Numbers, key="id", auth=Public())
    app.channel("/each", Numbers, key="id", many=True, auth=Public())
    app.channel("/all", Numbers, key="id", many="all", auth=Public())
    under_test = AppUnderTest(app, tmp_path)
    try:
        yield under_test
    finally:
        under_test.close()


def test_who_has_no_credentials_uses_up_nothing_of_the_throttle(app: AppUnderTest) -> None:
    assert {app.send("/throttled", {}, auth=False).status for _ in range(5)} == {401}
    assert [app.send("/throttled", {}).status for _ in range(3)] == [201, 201, 429]


def test_a_body_of_a_thousand_faults_is_told_their_number(app: AppUnderTest) -> None:
    told = app.send("/numbers", {"id": "1", "xs": [""] * 5_000}).json()["errors"]
    assert [fault["type"] for fault in told] == ["too_many_faults"]
    assert len(app.send("/numbers", {"id": "1", "xs": [""] * 900}).json()["errors"]) == limits.FAULTS.value


def test_a_batch_tells_so_many_faults_and_no_more(app: AppUnderTest) -> None:
    items = app.send("/each", [{"id": str(n), "xs": [""] * 90} for n in range(50)]).json()["items"]
    assert {item["status"] for item in items} == {"invalid"}
    assert sum(len(item["errors"]) for item in items) == limits.BATCH_FAULTS.value


def test_an_item_that_breaks_the_model_fails_alone(app: AppUnderTest) -> None:
    answer = app.send("/each", [{"id": "1"}, {"id": "trip"}, {"id": "2"}])
    assert answer.status == 201
    assert [item["status"] for item in answer.json()["items"]] == ["stored", "unavailable", "stored"]
    assert app.send("/each", [{"id": "trip"}]).status == 503
    assert app.send("/all", [{"id": "1"}, {"id": "trip"}]).status == 500
    assert app.messages("all") == []


@pytest.mark.parametrize(("headers", "status"), [({"Origin": "https://example.com"}, 415), ({}, 201)])
def test_a_foreign_page_cannot_post_without_a_type(app: AppUnderTest, headers: dict[str, str], status: int) -> None:
    assert app.send("/numbers", body=b'{"id": "1"}', headers={"Content-Type": "", **headers}).status == status
    assert app.send("/numbers", {"id": "2"}, headers=headers).status == 201


def test_a_large_body_is_digested_once_however_often_its_key_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digested: list[int] = []

    def counting(body: bytes) -> bytes:
        digested.append(len(body))
        return digest(body)

    monkeypatch.setattr(index, "digest", counting)
    large = json.dumps("x" * 10_000)
    with opened(tmp_path, ManualClock()) as store:
        store.index.commit([message("1", large)])
        for _ in range(3):
            assert set(kinds(store.index.commit([message("1", str(n)) for n in range(50)]))) == {"conflict"}
        both_new = [message("2", large), *(message("2", str(n)) for n in range(50))]
        assert kinds(store.index.commit(both_new)).count("conflict") == 50
    assert sum(size > 1_000 for size in digested) == 2


def test_a_sweep_takes_no_more_than_so_many_bytes_at_a_time(tmp_path: Path) -> None:
    clock = ManualClock()
    with opened(tmp_path, clock) as store:
        body = json.dumps("x" * 5_000_000)
        for n in range(6):
            store.index.commit([message(str(n), body, expires_ms=clock.now_ms() + 1)])
        clock.advance(1)
        assert [store.index.sweep() for _ in range(3)] == [4, 2, 0]
