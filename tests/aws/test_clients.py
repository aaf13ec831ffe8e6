"""Calls of AWS: where they go, and what becomes of them when nobody answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.session import Session

from headgate.aws.clients import Clients, Declined
from headgate.clock import ManualClock, SystemClock
from headgate.errors import Unavailable
from tests.aws.endpoint import Answer, Endpoint, answering, error

REGIONS = ("eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1", "eu-isoe-west-1", "ap-southeast-7", "mx-central-1")
READ = {"TableName": "a-table", "Key": {"id": {"S": "1"}}}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with answering() as endpoint:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        yield endpoint


@pytest.mark.parametrize("service", ["dynamodb", "s3", "secretsmanager"])
def test_calls_go_where_botocore_would_send_them_and_are_signed_alike(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    for region in REGIONS:
        ours = Clients(SystemClock(), region=region).client(service)
        stock = Session().create_client(service, region_name=region)
        told = [
            (each.meta.endpoint_url, each.meta.region_name, each.meta.partition, each._request_signer._region_name)
            for each in (ours, stock)
        ]
        assert told[0] == told[1]


def test_a_throttled_call_is_tried_three_times_and_then_unavailable(endpoint: Endpoint) -> None:
    with pytest.raises(Unavailable) as raised:
        Clients(SystemClock()).call("dynamodb", "get_item", **READ)
    assert len(endpoint.asked) == 3
    assert raised.value.retry_after_s == 1
    assert "a-secret" not in str(raised.value)


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_what_our_own_deployment_got_wrong_is_unavailable_too(endpoint: Endpoint, code: str) -> None:
    endpoint.answer = lambda _: error(code)
    with pytest.raises(Unavailable):
        Clients(SystemClock()).call("dynamodb", "get_item", **READ)
    assert len(endpoint.asked) == 1


def test_a_condition_that_does_not_hold_is_an_answer(endpoint: Endpoint) -> None:
    endpoint.answer = lambda _: error("ConditionalCheckFailedException")
    with pytest.raises(Declined) as declined:
        Clients(SystemClock()).call("dynamodb", "put_item", TableName="a-table", Item={"id": {"S": "1"}})
    assert declined.value.code == "ConditionalCheckFailedException"


def test_no_try_begins_that_could_not_end_in_time(endpoint: Endpoint) -> None:
    clock = ManualClock()
    clients = Clients(clock)

    def slowly(_: dict[str, Any]) -> Answer:
        clock.advance(0.2)
        return error("ThrottlingException")

    endpoint.answer = slowly
    clients.within(4.6)  # a try takes at most 4 s, and the answer needs half a second
    for _ in range(2):
        with pytest.raises(Unavailable):
            clients.call("dynamodb", "get_item", **READ)
        assert len(endpoint.asked) == 1


def test_an_endpoint_that_is_gone_is_unavailable(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(Unavailable):
            Clients(SystemClock()).call("dynamodb", "get_item", **READ)
