"""What API Gateway itself answers, in the words and the shape of our problems: no text of AWS reaches a sender."""

from __future__ import annotations

import json
from typing import NamedTuple

from aws_cdk import aws_apigateway as apigateway

from headgate.declare.app import App
from headgate.declare.auth import Iam
from headgate.errors import (
    Answerable,
    Broken,
    Forbidden,
    Malformed,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)
from headgate.gate.answer import EXPOSED
from headgate.http import PROBLEM_JSON, RETRY_AFTER_S, Problem

_REQUEST_ID = "$context.requestId"
_RETRY = (("Retry-After", str(RETRY_AFTER_S)),)


class GatewayAnswer(NamedTuple):
    """`kind` is API Gateway's word for the case."""

    kind: str
    error: Answerable


def gateway_answers(*, unsigned_is_403: bool) -> list[GatewayAnswer]:
    """An answer for every case that API Gateway knows.

    Of an address that it does not know it says the same as of a request that IAM finds no signature in; with
    `unsigned_is_403` unknown addresses have to be answered in another way.
    """
    challenge = (("WWW-Authenticate", "Bearer"),)
    return [
        GatewayAnswer("UNAUTHORIZED", Unauthorized(headers=challenge)),
        GatewayAnswer("ACCESS_DENIED", Forbidden()),
        GatewayAnswer("EXPIRED_TOKEN", Forbidden()),
        GatewayAnswer("INVALID_API_KEY", Forbidden()),
        GatewayAnswer("INVALID_SIGNATURE", Forbidden()),
        GatewayAnswer("WAF_FILTERED", Forbidden()),
        GatewayAnswer("MISSING_AUTHENTICATION_TOKEN", Forbidden() if unsigned_is_403 else NotFound()),
        GatewayAnswer("RESOURCE_NOT_FOUND", NotFound()),
        GatewayAnswer("BAD_REQUEST_BODY", Malformed()),
        GatewayAnswer("BAD_REQUEST_PARAMETERS", Malformed("The request is not valid.", reason="bad_request")),
        GatewayAnswer("REQUEST_TOO_LARGE", TooLarge()),
        GatewayAnswer("UNSUPPORTED_MEDIA_TYPE", UnsupportedMedia()),
        GatewayAnswer("THROTTLED", TooManyRequests(headers=_RETRY)),
        GatewayAnswer("QUOTA_EXCEEDED", TooManyRequests(headers=_RETRY)),
        GatewayAnswer("API_CONFIGURATION_ERROR", Broken()),
        GatewayAnswer("AUTHORIZER_CONFIGURATION_ERROR", Broken()),
        # Keys or secrets that cannot be read now; a verifier of the user's that failed looks the same from here.
        GatewayAnswer("AUTHORIZER_FAILURE", Unavailable(headers=_RETRY)),
        # A function that died, was slow or was throttled: what it was sent may or may not be stored, so send it again.
        GatewayAnswer("INTEGRATION_FAILURE", Unavailable(headers=_RETRY)),
        GatewayAnswer("INTEGRATION_TIMEOUT", Unavailable(headers=_RETRY)),
        GatewayAnswer("DEFAULT_5XX", Unavailable(headers=_RETRY)),
        # Of what IAM refuses some cases have no kind of their own, such as an access key that does not exist.
        GatewayAnswer(
            "DEFAULT_4XX",
            Forbidden() if unsigned_is_403 else Malformed("The request is not valid.", reason="bad_request"),
        ),
    ]


def add_gateway_answers(api: apigateway.RestApi, app: App) -> None:
    """Give an API these answers, and deploy it anew when they change."""
    shared = _cors_headers(app)
    signed = any(isinstance(channel.auth, Iam) for channel in app.channels)
    deployment = api.latest_deployment
    for kind, error in gateway_answers(unsigned_is_403=signed):
        problem = Problem.of(error, _REQUEST_ID)
        headers = (("Content-Type", PROBLEM_JSON), *problem.headers, *shared)
        answer = apigateway.CfnGatewayResponse(
            api,
            f"Answer{kind}",
            rest_api_id=api.rest_api_id,
            response_type=kind,
            status_code=str(problem.status),
            response_parameters={
                **{f"gatewayresponse.header.{name}": f"'{value}'" for name, value in headers},
                "gatewayresponse.header.X-Request-Id": "context.requestId",
            },
            # API Gateway puts values in, but it knows no other template language here.
            response_templates={"application/json": json.dumps(problem.body(), separators=(",", ":"))},
        )
        if deployment is not None:
            deployment.node.add_dependency(answer)
            deployment.add_to_logical_id(
                [kind, answer.status_code, answer.response_parameters, answer.response_templates]
            )


def _cors_headers(app: App) -> tuple[tuple[str, str], ...]:
    """What lets a web page read these answers. They are one for all channels, so where the channels declare several
    origins it is `*`: there is nothing in them but the kind of the fault and the request id."""
    origins = {origin for channel in app.channels if channel.cors is not None for origin in channel.cors.origins}
    if not origins:
        return ()
    allowed = next(iter(origins)) if len(origins) == 1 else "*"
    return (("Access-Control-Allow-Origin", allowed), ("Access-Control-Expose-Headers", EXPOSED), ("Vary", "Origin"))
