"""The event of a request: headers in the case they were sent, of repeated ones and of repeated parameters the last.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-input-format
"""

from __future__ import annotations

from typing import Any

from ministack.services import apigateway_v1 as gateway

from tests.aws.emulator.sent import headers_as_sent


def install() -> None:
    """Amend the events of integrations and of authorizers."""
    build, ask = gateway._build_lambda_event_v1, gateway._invoke_authorizer_lambda

    def built(*arguments: Any, **options: Any) -> Any:
        return _amended(build(*arguments, **options))

    async def asked(authorizer: Any, event: dict[str, Any], *where: Any) -> Any:
        return await ask(authorizer, _amended(event) if event["type"] == "REQUEST" else event, *where)

    gateway._build_lambda_event_v1 = built
    gateway._invoke_authorizer_lambda = asked


def _amended(event: dict[str, Any]) -> dict[str, Any]:
    headers: dict[str, list[str]] = {}
    for name, value in headers_as_sent():
        headers.setdefault(name, []).append(value)
    parameters = event["multiValueQueryStringParameters"]
    last = {name: values[-1] for name, values in parameters.items()} if parameters else None
    return {
        **event,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": last,
    }
