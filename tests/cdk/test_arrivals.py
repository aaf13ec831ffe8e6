"""What is let in unread: the API in front of the queue, without a function."""

from __future__ import annotations

import json

from headgate.aws.envelope import ARRIVAL_REPLY, arrival_template
from tests.cdk.stacks import Node, Synthesized, spelled
from tests.cdk.works import app


def post(works: Synthesized, path: str) -> Node:
    """The method POST of a path."""
    resources = {
        name: it["Properties"]["PathPart"] for name, it in works.service.all("AWS::ApiGateway::Resource").items()
    }
    (found,) = [
        it
        for it in works.service.properties("AWS::ApiGateway::Method")
        if it["HttpMethod"] == "POST" and resources[it["ResourceId"]["Ref"]] == path
    ]
    return found


def test_the_api_sends_to_the_queue_what_came_in_base64(works: Synthesized) -> None:
    (channel,) = [it for it in app.channels if it.name == "raw"]
    method = post(works, "raw")
    made = method["Integration"]
    assert made["Type"] == "AWS"
    assert made["ContentHandling"] == "CONVERT_TO_TEXT"
    assert made["RequestTemplates"] == {"application/json": arrival_template(channel)}
    assert made["RequestParameters"] == {
        "integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"
    }
    assert made["PassthroughBehavior"] == "NEVER"
    assert method["AuthorizationType"] == "AWS_IAM"


def test_the_api_may_send_to_that_queue_and_do_nothing_else(works: Synthesized) -> None:
    role = post(works, "raw")["Integration"]["Credentials"]["Fn::GetAtt"][0]
    (policy,) = [it for it in works.service.properties("AWS::IAM::Policy") if {"Ref": role} in it["Roles"]]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Action"], spelled(statement["Resource"])) == ("sqs:SendMessage", "works-prod-data-RawQueueArn")


def test_the_sender_is_told_the_id_of_the_request_or_a_problem(works: Synthesized) -> None:
    replies = {it["StatusCode"]: it for it in post(works, "raw")["Integration"]["IntegrationResponses"]}
    assert replies["202"]["ResponseTemplates"] == {"application/json": ARRIVAL_REPLY}
    assert "SelectionPattern" not in replies["202"]
    for status in ("413", "503"):
        problem = json.loads(replies[status]["ResponseTemplates"]["application/json"])
        assert problem["status"] == int(status)
        assert problem["request_id"] == "$context.requestId"
        assert replies[status]["ResponseParameters"]["method.response.header.Content-Type"] == (
            "'application/problem+json'"
        )
    assert {it["StatusCode"] for it in post(works, "raw")["MethodResponses"]} == set(replies)


def test_every_header_of_a_reply_is_one_that_the_method_declares(works: Synthesized) -> None:
    for path in ("raw", "drop"):
        method = post(works, path)
        declared = {it["StatusCode"]: set(it["ResponseParameters"]) for it in method["MethodResponses"]}
        for reply in method["Integration"]["IntegrationResponses"]:
            assert set(reply["ResponseParameters"]) <= declared[reply["StatusCode"]]


def test_where_there_is_no_function_at_all_other_methods_are_405_and_browsers_are_answered(works: Synthesized) -> None:
    kinds = {}
    for method in works.service.properties("AWS::ApiGateway::Method"):
        if method["Integration"]["Type"] == "MOCK":
            (reply,) = method["Integration"]["IntegrationResponses"]
            kinds[method["HttpMethod"]] = reply
    assert kinds.keys() == {"ANY", "OPTIONS"}
    assert kinds["ANY"]["StatusCode"] == "405"
    assert kinds["ANY"]["ResponseParameters"]["method.response.header.Allow"] == "'POST'"
    origin = "method.response.header.Access-Control-Allow-Origin"
    assert kinds["OPTIONS"]["ResponseParameters"][origin] == "'https://shop.example'"
    (_, reply, *_) = post(works, "drop")["Integration"]["IntegrationResponses"]
    assert reply["ResponseParameters"][origin] == "'https://shop.example'"
