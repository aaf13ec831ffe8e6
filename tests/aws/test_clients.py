"""Calls of AWS: where they go, and what becomes of them when nobody answers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.session import Session

from headgate.aws import wire
from headgate.aws.clients import Clients, Declined
from headgate.aws.wire import Wire, dns_suffix
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


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["as the command line calls", "as functions call"])
def clients(request: pytest.FixtureRequest, endpoint: Endpoint, clock: ManualClock) -> Clients:
    wire = Wire(endpoint.environment(), clock) if request.param == "as functions call" else None
    return Clients(clock, wire=wire)


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


@pytest.mark.parametrize(
    ("region", "default", "asked"),
    [("eu-west-3", None, "eu-west-3"), ("eu-west-3", "eu-west-1", "eu-west-3"), ("", "eu-west-1", "eu-west-1")],
)
def test_the_region_is_the_one_that_the_cdk_and_the_aws_command_line_take(
    monkeypatch: pytest.MonkeyPatch, clock: ManualClock, region: str, default: str | None, asked: str
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_REGION", region)
    if default is None:
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    else:
        monkeypatch.setenv("AWS_DEFAULT_REGION", default)
    assert Clients(clock).client("sqs").meta.region_name == asked


def test_a_throttled_call_is_tried_three_times_and_then_unavailable(endpoint: Endpoint, clients: Clients) -> None:
    with pytest.raises(Unavailable) as raised:
        clients.call("dynamodb", "get_item", **READ)
    assert len(endpoint.asked) == 3
    assert raised.value.retry_after_s == 1
    assert "a-secret" not in str(raised.value)


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_what_our_own_deployment_got_wrong_is_unavailable_too(endpoint: Endpoint, clients: Clients, code: str) -> None:
    endpoint.answer = lambda _: error(code)
    with pytest.raises(Unavailable):
        clients.call("dynamodb", "get_item", **READ)
    assert len(endpoint.asked) == 1


def test_a_condition_that_does_not_hold_is_an_answer(endpoint: Endpoint, clients: Clients) -> None:
    endpoint.answer = lambda _: error("ConditionalCheckFailedException")
    with pytest.raises(Declined) as declined:
        clients.call("dynamodb", "put_item", TableName="a-table", Item={"id": {"S": "1"}})
    assert declined.value.code == "ConditionalCheckFailedException"


def test_no_try_begins_that_could_not_end_in_time(endpoint: Endpoint, clients: Clients, clock: ManualClock) -> None:

    def slowly(_: dict[str, Any]) -> Answer:
        clock.advance(0.2)
        return error("ThrottlingException")

    endpoint.answer = slowly
    clients.within(wire.CONNECT_S + wire.READ_S + 0.6)  # for one try, and for the answer
    for _ in range(2):
        with pytest.raises(Unavailable):
            clients.call("dynamodb", "get_item", **READ)
        assert len(endpoint.asked) == 1


def test_an_endpoint_that_is_gone_is_unavailable(endpoint: Endpoint, clock: ManualClock) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = {**endpoint.environment(), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free.getsockname()[1]}"}
        with pytest.raises(Unavailable):
            Clients(clock, wire=Wire(nowhere, clock)).call("dynamodb", "get_item", **READ)


def test_a_connection_that_was_closed_meanwhile_is_no_fault(endpoint: Endpoint, clients: Clients) -> None:
    endpoint.answer = lambda _: (200, {})
    assert clients.call("dynamodb", "get_item", **READ).get("Item") is None
    endpoint.hang_up()
    assert clients.call("dynamodb", "get_item", **READ).get("Item") is None
    assert len(endpoint.asked) == 2


def test_an_answer_that_nobody_understands_is_unavailable(endpoint: Endpoint, clients: Clients) -> None:
    endpoint.answer = lambda _: (502, b"<html>bad gateway</html>")
    with pytest.raises(Unavailable):
        clients.call("dynamodb", "get_item", **READ)
    assert len(endpoint.asked) == 3


@pytest.mark.parametrize("region", REGIONS)
def test_the_hosts_of_a_region_are_called_as_botocore_calls_them(region: str) -> None:
    stock = Session().create_client("dynamodb", region_name=region)
    assert stock.meta.endpoint_url == f"https://dynamodb.{region}.{dns_suffix(region)}"


def test_bytes_go_and_come_as_base64(endpoint: Endpoint, clients: Clients) -> None:
    endpoint.answer = lambda _: (200, {"Item": {"digest": {"B": "AAH/"}, "B": {"S": "b"}}})
    item = {"id": {"S": "1"}, "digest": {"B": b"\x00\x01\xff"}}
    clients.call("dynamodb", "put_item", TableName="a-table", Item=item)
    assert endpoint.asked[0]["Item"]["digest"] == {"B": "AAH/"}
    assert clients.call("dynamodb", "get_item", **READ)["Item"] == {"digest": {"B": b"\x00\x01\xff"}, "B": {"S": "b"}}
