"""A header of a function's reply that API Gateway keeps to itself is renamed.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html: of the headers that it
remaps, the one that a reply of ours may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ministack.services import apigateway_v1 as gateway

_RENAMED = {"www-authenticate": "x-amzn-Remapped-WWW-Authenticate"}


def install() -> None:
    """Amend what functions reply."""
    shape = gateway._lambda_proxy_response

    def shaped(result: Any) -> Any:
        reply, error = shape(result)
        if isinstance(reply, dict):
            named = {name: _amended(reply[name]) for name in ("headers", "multiValueHeaders") if reply.get(name)}
            reply = {**reply, **named}
        return reply, error

    gateway._lambda_proxy_response = shaped


def _amended(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(name.lower(), name): value for name, value in headers.items()}
