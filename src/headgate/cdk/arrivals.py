"""The way in without a function, for what is let in unread: the API sends to the queue, and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypedDict

from aws_cdk import Aws
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from headgate.aws.envelope import ARRIVAL_REPLY, arrival_template
from headgate.declare.channel import Channel
from headgate.errors import Answerable, MethodNotAllowed, TooLarge, Unavailable
from headgate.http import PROBLEM_JSON, RETRY_AFTER_S, Problem

_JSON = "application/json"
_REQUEST_ID = "method.response.header.X-Request-Id"
_TYPE = "method.response.header.Content-Type"
_ORIGIN = "method.response.header.Access-Control-Allow-Origin"
_ALLOW = "method.response.header.Allow"
_RETRY_AFTER = "method.response.header.Retry-After"

_REFUSED: dict[str, Answerable] = {
    # All that SQS has against a message of this template is its size; but it may keep the API itself out.
    r"4(?!03)\d{2}": TooLarge(),
    r"403|5\d{2}": Unavailable(headers=(("Retry-After", str(RETRY_AFTER_S)),)),
}


class Arrivals(Construct):
    """What POST to a channel does where nobody reads the body before it is in the queue: 202 with the request's id."""

    def __init__(self, scope: Construct, id: str, *, channel: Channel, queue: sqs.IQueue) -> None:
        super().__init__(scope, id)
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("apigateway.amazonaws.com"))
        sending = iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[queue.queue_arn])
        iam.Policy(self, "Policy", statements=[sending], roles=[role])
        shared = _cors(channel)
        self.integration = apigateway.AwsIntegration(
            service="sqs",
            path=f"{Aws.ACCOUNT_ID}/{queue.queue_name}",
            integration_http_method="POST",
            options=apigateway.IntegrationOptions(
                credentials_role=role.without_policy_updates(),
                content_handling=apigateway.ContentHandling.CONVERT_TO_TEXT,
                # What is sent as anything else but JSON is answered 415.
                passthrough_behavior=apigateway.PassthroughBehavior.NEVER,
                request_parameters={"integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"},
                request_templates={_JSON: arrival_template(channel)},
                integration_responses=[
                    apigateway.IntegrationResponse(
                        status_code=str(channel.taken),
                        response_templates={_JSON: ARRIVAL_REPLY},
                        response_parameters={_REQUEST_ID: "context.requestId", _TYPE: f"'{_JSON}'", **shared},
                    ),
                    *(
                        apigateway.IntegrationResponse(
                            status_code=str(error.status), selection_pattern=pattern, **_problem(error, shared)
                        )
                        for pattern, error in _REFUSED.items()
                    ),
                ],
            ),
        )
        statuses = [channel.taken, *(error.status for error in _REFUSED.values())]
        self.responses = [_response(status, shared) for status in statuses]


def other_methods(channel: Channel) -> tuple[apigateway.MockIntegration, list[apigateway.MethodResponse]]:
    """What is answered to every method that such a channel does not have, where it has no function at all."""
    shared = {**_cors(channel), _ALLOW: "'POST'"}
    error = MethodNotAllowed()
    integration = apigateway.MockIntegration(
        content_handling=apigateway.ContentHandling.CONVERT_TO_TEXT,
        passthrough_behavior=apigateway.PassthroughBehavior.NEVER,
        request_templates={_JSON: json.dumps({"statusCode": error.status})},
        integration_responses=[
            apigateway.IntegrationResponse(status_code=str(error.status), **_problem(error, shared))
        ],
    )
    return integration, [_response(error.status, shared)]


class _Templates(TypedDict):
    response_templates: dict[str, str]
    response_parameters: dict[str, str]


def _problem(error: Answerable, shared: Mapping[str, str]) -> _Templates:
    problem = Problem.of(error, "$context.requestId")
    headers = {f"method.response.header.{name}": f"'{value}'" for name, value in problem.headers}
    return {
        "response_templates": {_JSON: json.dumps(problem.body(), separators=(",", ":"))},
        "response_parameters": {_REQUEST_ID: "context.requestId", _TYPE: f"'{PROBLEM_JSON}'", **headers, **shared},
    }


def _response(status: int, shared: Mapping[str, str]) -> apigateway.MethodResponse:
    names = [_REQUEST_ID, _TYPE, *shared, *([_RETRY_AFTER] if status == Unavailable.status else [])]
    return apigateway.MethodResponse(status_code=str(status), response_parameters=dict.fromkeys(names, True))


def _cors(channel: Channel) -> dict[str, str]:
    if channel.cors is None:
        return {}
    (origin,) = channel.cors.origins  # of several nothing here could tell which one asks
    return {_ORIGIN: f"'{origin}'"}
