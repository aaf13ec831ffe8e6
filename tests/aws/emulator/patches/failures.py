"""What a function raises is not shown to the caller.

https://docs.aws.amazon.com/apigateway/latest/developerguide/handle-errors-in-lambda-integration.html
"""

from __future__ import annotations

from typing import Any

from ministack.services import apigateway_v1 as gateway

_UNSAID, _BAD_GATEWAY = 500, 502


class _FunctionFailed(Exception):
    pass


def install() -> None:
    """Answer through the gateway response for 5xx, with the status 502."""
    execute, respond = gateway._execute_in_scope, gateway._gateway_error_response
    shape = gateway._lambda_proxy_response

    def shaped(result: Any) -> Any:
        reply, error = shape(result)
        if error or not isinstance(reply, dict) or "statusCode" not in reply:
            raise _FunctionFailed
        return reply, None

    async def executed(*arguments: Any) -> Any:
        try:
            return await execute(*arguments)
        except _FunctionFailed:
            return gateway._gw_error("DEFAULT_5XX", "Internal server error")

    def responded(error: Any, request: Any) -> Any:
        status, headers, body = respond(error, request)
        unsaid = error.response_type == "DEFAULT_5XX" and status == _UNSAID
        return (_BAD_GATEWAY if unsaid else status), headers, body

    gateway._lambda_proxy_response = shaped
    gateway._execute_in_scope = executed
    gateway._gateway_error_response = responded
