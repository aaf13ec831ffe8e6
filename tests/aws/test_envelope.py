"""What travels through SQS."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from headgate import ApiKey, App, Iam, Queued
from headgate.aws.envelope import Sent, Where, arrival_template, opened, sealed
from headgate.declare.channel import Channel
from headgate.message import Message

OURS, SENT = Sent("m-2", 1, is_ours=True), Sent("sqs-1", 17, is_ours=False)
UNREAD = Queued(validate="worker")
AWKWARD = [
    b"",
    b"{}",
    b"a=1&b=%20+2",
    '{"\U0001f6b0": "\u00e9"}'.encode(),
    b"\xff\xfe\x00",
    b"'\"\\$util.x #set",
    b"x" * 200_000,
]


def channel(auth: Any = None, **options: Any) -> Channel:
    return App("shop").channel("/orders", key="id", auth=auth or ApiKey(), delivery=UNREAD, **options)


def sent(template: str, facts: dict[str, str], body: bytes) -> str:
    """The message that SQS gets, with the template carried out as API Gateway does."""

    def encoded(found: re.Match[str]) -> str:
        return base64.b64encode(facts.get(found[1], "").encode()).decode()

    text = re.sub(r'\$util\.base64Encode\("(\$![^"]*)"\)', encoded, template)
    text = text.replace("$input.body", base64.b64encode(body).decode())
    text = re.sub(r"\$util\.urlEncode\(([^)]*)\)", lambda found: quote(found[1], safe=""), text)
    for name, value in facts.items():
        text = text.replace(name, value)
    request = {name: value for name, (value,) in parse_qs(text, strict_parsing=True).items()}
    assert request.pop("Action") == "SendMessage"
    message = request.pop("MessageBody")
    marks = {request.pop("MessageAttribute.1.Name"): {"dataType": "String", "stringValue": "1"}}
    assert request == {"MessageAttribute.1.Value.DataType": "String", "MessageAttribute.1.Value.StringValue": "1"}
    assert Sent.of({"messageId": "m", "messageAttributes": marks}).is_ours
    return message


@pytest.mark.parametrize("body", AWKWARD, ids=range(len(AWKWARD)))
def test_a_body_arrives_as_it_was_sent_with_who_sent_it_and_when(body: bytes) -> None:
    facts = {
        "$context.requestId": "r-1",
        "$context.requestTimeEpoch": "1700000000123",
        "$!context.authorizer.principalId": 'ann "\u00e9" & co',
        "$!input.params('traceparent')": "00-1-2-01",
    }
    found = opened(channel(), sent(arrival_template(channel()), facts, body), OURS)
    assert isinstance(found, Message)
    assert (found.key, found.body, found.request_id) == ("r-1", body, "r-1")
    assert (found.principal, found.scope, found.traceparent) == ('ann "\u00e9" & co', "", "00-1-2-01")
    assert found.received_ms == 1_700_000_000_123


def test_what_counts_per_principal_is_in_the_principals_scope() -> None:
    own = channel(auth=Iam(), scope="principal")
    facts = {"$context.requestId": "r", "$context.requestTimeEpoch": "1", "$!context.identity.userArn": "arn:ann"}
    found = opened(own, sent(arrival_template(own), facts, b"{}"), OURS)
    assert isinstance(found, Message)
    assert (found.scope, found.principal) == ("arn:ann", "arn:ann")


def test_what_a_workflow_sent_keeps_its_id_in_whatever_message_it_is() -> None:
    sent = opened(channel(), '{"é": "&+%"}', Sent("m-1", 1_767_225_600_000, is_ours=False))
    assert isinstance(sent, Message)
    assert opened(channel(), sealed(sent), OURS) == sent


@pytest.mark.parametrize("where", [Where("", "1"), Where("ann", "\u043a\u043b\u044e\u0447 \"'\n")])
def test_where_a_row_is_is_told_exactly(where: Where) -> None:
    assert opened(channel(), where.written(), OURS) == where


@pytest.mark.parametrize(
    "body",
    ["", "hello world", "[]", "null", "1", '{"key": "1"}', '{"scope": "", "key": 1}', '{"body": "x", "id": "r"}',
     json.dumps({"body": "!", "id": "r", "received_ms": "1", "principal": "", "traceparent": ""})],
)  # fmt: skip
def test_what_is_neither_is_nothing(body: str) -> None:
    assert opened(channel(), body, OURS) is None
    gated = App("shop").channel("/orders", key="id", auth=ApiKey(), delivery=Queued())
    assert opened(gated, body, SENT) is None


@pytest.mark.parametrize(
    "body",
    ['{"id": "1"}', '{"scope": "", "key": "1"}', "hello", "[1]", '{"body": "x", "id": "r"}',
     Where("", "another's").written(),
     sealed(Message("orders", "", "another's", b"{}", 1, "somebody", "r", "", "accepted", None))],
)  # fmt: skip
def test_what_a_workflow_has_sent_is_let_in_unread_under_the_id_that_sqs_gave_it(body: str) -> None:
    found = opened(channel(), body, SENT)
    assert isinstance(found, Message)
    assert (found.key, found.body.decode(), found.received_ms, found.principal) == ("sqs-1", body, 17, "")
