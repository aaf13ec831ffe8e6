"""What headgate itself answers, under /-/: health, readiness, metrics, the API's description, and control."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from headgate import http
from headgate.clock import Clock
from headgate.declare.app import App
from headgate.describe.openapi import openapi
from headgate.errors import Answerable, Broken, Fault, MethodNotAllowed, NotFound
from headgate.events import Faulted, Refused
from headgate.gate.observe import Observer, site
from headgate.local.control import Control
from headgate.local.docs import CSP, asset, docs_page
from headgate.local.engine import LocalEngine
from headgate.local.metrics import CONTENT_TYPE, Gauge, Metrics

_NOSNIFF = (b"x-content-type-options", b"nosniff")


class Service:
    """`asgi` is the ASGI app for everything under /-/."""

    def __init__(self, app: App, engine: LocalEngine, observer: Observer, clock: Clock, control_token: str) -> None:
        self._app = app
        self._engine = engine
        self._observer = observer
        self._metrics = Metrics(observer, self._gauges)
        self._routes = Starlette(
            routes=[
                Route("/-/", self._home),
                Route("/-/health", self._health),
                Route("/-/ready", self._ready),
                Route("/-/metrics", self._counts),
                Route("/-/openapi.json", self._description),
                Route("/-/docs", self._docs),
                Route("/-/assets/{name:path}", self._asset),
                *Control(app, engine, clock, control_token).routes(),
            ],
            exception_handlers={HTTPException: self._not_there, Answerable: self._told, Exception: self._broken},
        )
        self._routes.router.redirect_slashes = False  # it would send people to whatever the Host header names

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a browser takes nothing of it for another type than we say."""

        async def send_plainly(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], _NOSNIFF]
            await send(message)

        await self._routes(scope, receive, send_plainly)

    @cached_property
    def _document(self) -> dict[str, Any]:
        return openapi(self._app)

    async def _home(self, _: Request) -> Response:
        return RedirectResponse("/-/docs")

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        if self._engine.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "unavailable"}, 503, {"Retry-After": str(http.RETRY_AFTER_S)})

    async def _counts(self, _: Request) -> Response:
        text = await asyncio.to_thread(self._metrics.text)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    def _gauges(self) -> Iterator[Gauge]:
        """How far what happens behind the gate is."""
        for channel in self._app.channels:
            if channel.queue or channel.stream:
                waiting, late_s, dead = self._engine.queue.backlog(channel.name)
                of_channel = (("channel", channel.name),)
                yield Gauge("headgate_waiting", "Messages that wait or are in work", of_channel, waiting)
                yield Gauge(
                    "headgate_late_seconds", "How long the one due for longest has been due", of_channel, late_s
                )
                yield Gauge("headgate_dead_letters", "Messages that failed or were rejected", of_channel, dead)
            for handler in channel.handlers if channel.stream else ():
                for lane, _, behind, lag_ms in self._engine.stream.progress(channel.name, handler.name):
                    if lane.replay is None:
                        where = (("channel", channel.name), ("consumer", handler.name), ("shard", lane.shard))
                        yield Gauge("headgate_stream_behind", "Records that wait for a consumer", where, behind)
                        yield Gauge("headgate_stream_lag_ms", "Age of the oldest of them", where, lag_ms)

    async def _description(self, _: Request) -> Response:
        return JSONResponse(self._document)

    async def _docs(self, _: Request) -> Response:
        return HTMLResponse(docs_page(self._app.title), headers={"Content-Security-Policy": CSP})

    async def _asset(self, request: Request) -> Response:
        found = asset(request.path_params["name"])
        if found is None:
            raise NotFound
        content, media_type = found
        return Response(content, media_type=media_type, headers={"Cache-Control": "max-age=3600"})

    # Errors, counted and logged like those of the channels

    async def _told(self, request: Request, error: Exception) -> Response:
        return self._refuse(request, error if isinstance(error, Answerable) else Broken(), error)

    async def _not_there(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == MethodNotAllowed.status:
            return self._refuse(request, MethodNotAllowed(headers=tuple((error.headers or {}).items())), error)
        return self._refuse(request, NotFound(), error)

    async def _broken(self, request: Request, error: Exception) -> Response:
        return self._refuse(request, Broken(), error)

    def _refuse(self, request: Request, error: Answerable, cause: Exception) -> Response:
        id_ = http.request_id(dict(request.headers.raw), http.new_id())
        if isinstance(error, Fault):
            self._observer.told(Faulted("-/", error.reason, error.status, id_, site(cause)))
        else:
            self._observer.told(Refused("-/", error.reason, error.status, id_))
        reply = http.Problem.of(error, id_).reply()
        headers = {**dict(reply.headers), "X-Request-Id": id_, "Content-Type": reply.content_type}
        return Response(reply.encoded(), reply.status, headers)
