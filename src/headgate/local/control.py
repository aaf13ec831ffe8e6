"""Changes that the command line makes beside a running server, under /-/control.

Whoever can read the state folder has the token; it is made anew at each start and sent as a bearer token.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headgate.clock import Clock
from headgate.declare.app import App
from headgate.engine import Alteration, Discarded, Edited, Redriven
from headgate.errors import Conflict, Invalid, NotFound, NotRun, Unauthorized
from headgate.gate.verify import new_api_key
from headgate.local.engine import LocalEngine
from headgate.local.keys import new_iam_key


class Orders(msgspec.Struct):
    """How dead letters are to be altered: by one of three."""

    channel: str
    places: list[tuple[str, str]]
    redriven: Redriven | None = None
    edited: Edited | None = None
    discarded: Discarded | None = None

    def alteration(self) -> Alteration:
        """The one."""
        for one in (self.redriven, self.edited, self.discarded):
            if one is not None:
                return one
        raise Invalid("Say how.")


class Replay(msgspec.Struct):
    """What a consumer is to read once more; see `LocalStream.replay`."""

    channel: str
    consumer: str
    ranges: dict[str, tuple[str | None, str]]


replay_of = msgspec.json.Decoder(Replay).decode
orders_of = msgspec.json.Decoder(Orders).decode


def orders_text(channel: str, places: Sequence[tuple[str, str]], alteration: Alteration) -> bytes:
    """What `orders_of` reads."""
    orders = Orders(channel, list(places))
    match alteration:
        case Redriven():
            orders.redriven = alteration
        case Edited():
            orders.edited = alteration
        case Discarded():
            orders.discarded = alteration
    return msgspec.json.encode(orders)


class Control:
    """The routes; with an empty token nobody gets in."""

    def __init__(self, app: App, engine: LocalEngine, clock: Clock, token: str) -> None:
        self._channels = {channel.name for channel in app.channels}
        self._engine = engine
        self._clock = clock
        self._token = (token or secrets.token_urlsafe(32)).encode()

    def routes(self) -> list[Route]:
        """For Starlette."""
        return [
            Route("/-/control/keys", self._create_key, methods=["POST"]),
            Route("/-/control/iam-keys", self._create_iam_key, methods=["POST"]),
            Route("/-/control/keys/{id}", self._revoke_key, methods=["DELETE"]),
            Route("/-/control/runs", self._run, methods=["POST"]),
            Route("/-/control/messages/delete", self._delete_message, methods=["POST"]),
            Route("/-/control/messages/alter", self._alter_messages, methods=["POST"]),
            Route("/-/control/streams/replay", self._replay, methods=["POST"]),
        ]

    async def _create_key(self, request: Request) -> Response:
        channel, name = await self._asked(request, "channel", "name")
        if channel not in self._channels:
            raise NotFound("There is no such channel.")
        key, row = new_api_key(channel, name, self._clock.now_ms())
        await asyncio.to_thread(self._engine.keys.add_api_key, row)
        return JSONResponse({"id": row.id, "key": key}, 201)

    async def _create_iam_key(self, request: Request) -> Response:
        channel, name, session_s = await self._asked(request, "channel", "name", "session_s")
        if channel not in self._channels:
            raise NotFound("There is no such channel.")
        if not (session_s.isascii() and session_s.isdigit() and len(session_s) < 10):
            raise Invalid("Send session_s as a number of seconds.")
        row = new_iam_key(channel, name, self._clock.now_ms(), int(session_s))
        await asyncio.to_thread(self._engine.keys.add_iam_key, row)
        return JSONResponse(row._asdict(), 201)

    async def _revoke_key(self, request: Request) -> Response:
        self._check(request)
        keys, id_ = self._engine.keys, request.path_params["id"]
        if not await asyncio.to_thread(lambda: keys.remove_api_key(id_) or keys.remove_iam_key(id_)):
            raise NotFound
        return Response(status_code=204)

    async def _run(self, request: Request) -> Response:
        """`verb` is redrive or stop, of the execution with the id `what`; or fire, of the schedule `what`."""
        verb, what = await self._asked(request, "verb", "what")
        workflows = self._engine.workflows
        if workflows is None:
            raise NotFound("The app that is served has no workflows.")
        try:
            match verb:
                case "redrive":
                    execution = await asyncio.to_thread(workflows.executions.redrive, what)
                case "stop":
                    execution = await asyncio.to_thread(workflows.executions.stop, what)
                case "fire":
                    execution = await asyncio.to_thread(workflows.scheduler.run, what)
                case _:
                    raise Invalid("The verb is redrive, stop or fire.")
        except KeyError:
            raise NotFound("There is no such schedule.") from None
        except NotRun as refused:
            raise Conflict(str(refused), reason=refused.code) from None
        return JSONResponse(execution._asdict())

    async def _delete_message(self, request: Request) -> Response:
        channel, scope, key = await self._asked(request, "channel", "scope", "key")
        if not await asyncio.to_thread(self._engine.index.delete, channel, scope, key):
            raise NotFound
        return Response(status_code=204)

    async def _alter_messages(self, request: Request) -> Response:
        self._check(request)
        try:
            asked = orders_of(await request.body())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Invalid("Send what is to be altered, and how.") from None
        queue = self._engine.queue
        changed = await asyncio.to_thread(queue.alter_all, asked.channel, asked.places, asked.alteration())
        return JSONResponse({"changed": changed})

    async def _replay(self, request: Request) -> Response:
        self._check(request)
        try:
            asked = replay_of(await request.body())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Invalid("Send a channel, a consumer, and ranges by shard.") from None
        if asked.channel not in self._channels:
            raise NotFound("There is no such channel.")
        replays = await asyncio.to_thread(self._engine.stream.replay, asked.channel, asked.consumer, asked.ranges)
        return JSONResponse({"replays": replays})

    def _check(self, request: Request) -> None:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(sent.encode(), self._token):
            challenge = (("WWW-Authenticate", "Bearer"),)
            raise Unauthorized("Control is for whoever can read the state folder.", headers=challenge)

    async def _asked(self, request: Request, *names: str) -> list[str]:
        """The text fields of the body, by name; only the token's bearer gets so far."""
        self._check(request)
        try:
            asked = json.loads(await request.body())
            values = [asked[name] for name in names]
        except (ValueError, TypeError, KeyError):
            raise Invalid(f"Send a JSON object with {', '.join(names)}.") from None
        if not all(isinstance(value, str) for value in values):
            raise Invalid(f"Send {', '.join(names)} as text.")
        return values
