"""Gateway responses show the request's context, and what an authorizer that denied had to say.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html#context-variable-reference
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gatewayResponse-definition.html
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Any

from ministack.services import apigateway_v1 as gateway

_said: ContextVar[dict[str, str]] = ContextVar("what the authorizer said")
_VARIABLE = re.compile(r"\$(?:\{context\.authorizer\.(\w+)\}|context\.authorizer\.(\w+))")


def install() -> None:
    """Remember the authorizer's context, and put it into templates and headers."""
    stringify, value_of = gateway._stringify_context, gateway._gateway_request_value
    respond = gateway._gateway_error_response
    authorize, evaluate = gateway._authorize_request_v1, gateway._evaluate_policy

    async def authorized(*arguments: Any) -> Any:
        _said.set({})
        return await authorize(*arguments)

    def stringified(context: Any) -> dict[str, str]:
        said: dict[str, str] = stringify(context)
        _said.set(said)
        return said

    def evaluated(policy: Any, method_arn: str) -> str:
        for _, cached_policy, said in gateway._authorizer_cache.values():
            if cached_policy is policy:
                _said.set(said)
        verdict: str = evaluate(policy, method_arn)
        return verdict

    def value(source: str, request: Any) -> Any:
        if source.startswith("context.authorizer."):
            return _said.get({}).get(source.removeprefix("context.authorizer."))
        return value_of(source, request)

    def responded(error: Any, request: Any) -> Any:
        status, headers, body = respond(error, request)
        said = _said.get({})
        shown = _VARIABLE.sub(lambda found: said.get(found[1] or found[2], ""), body.decode())
        return status, headers, shown.encode()

    gateway._authorize_request_v1 = authorized
    gateway._evaluate_policy = evaluated
    gateway._stringify_context = stringified
    gateway._gateway_request_value = value
    gateway._gateway_error_response = responded
