"""Changes that the command line makes beside a running server, under /-/control.

Whoever can read the state folder has the token; it is made anew at each start and sent as a bearer token.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headgate.clock import Clock
from headgate.errors import Invalid, NotFound, Unauthorized
from headgate.gate.verify import new_api_key
from headgate.local.engine import LocalEngine


def control_routes(engine: LocalEngine, clock: Clock, token: str) -> list[Route]:
    """The routes; with an empty token nobody gets in."""
    secret = token or secrets.token_urlsafe(32)

    def check(request: Request) -> None:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(sent.encode(), secret.encode()):
            raise Unauthorized(
                "Control is for whoever can read the state folder.", headers=(("WWW-Authenticate", "Bearer"),)
            )

    async def create_key(request: Request) -> Response:
        check(request)
        asked = await _asked(request)
        key, row = new_api_key(asked["channel"], asked["name"], clock.now_ms())
        await asyncio.to_thread(engine.keys.add_api_key, row)
        return JSONResponse({"id": row.id, "key": key}, 201)

    async def revoke_key(request: Request) -> Response:
        check(request)
        if not await asyncio.to_thread(engine.keys.remove_api_key, request.path_params["id"]):
            raise NotFound
        return Response(status_code=204)

    async def delete_message(request: Request) -> Response:
        check(request)
        asked = await _asked(request)
        if not await asyncio.to_thread(engine.index.delete, asked["channel"], asked["scope"], asked["key"]):
            raise NotFound
        return Response(status_code=204)

    return [
        Route("/-/control/keys", create_key, methods=["POST"]),
        Route("/-/control/keys/{id}", revoke_key, methods=["DELETE"]),
        Route("/-/control/messages/delete", delete_message, methods=["POST"]),
    ]


async def _asked(request: Request) -> dict[str, str]:
    try:
        asked = json.loads(await request.body())
    except ValueError:
        raise Invalid from None
    if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
        raise Invalid
    return asked
