"""What headgate itself answers, under /-/: health, readiness, metrics, the API's description, and control."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import cache

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from uuid_utils import uuid7

from headgate import http
from headgate.clock import Clock
from headgate.declare.app import App
from headgate.describe.openapi import openapi
from headgate.errors import Answerable, Broken, MethodNotAllowed, NotFound
from headgate.gate.observe import Observer
from headgate.local.control import control_routes
from headgate.local.docs import CSP, asset, docs_page
from headgate.local.engine import LocalEngine

Answer = Callable[[Request], Awaitable[Response]]


def service(app: App, engine: LocalEngine, observer: Observer, clock: Clock, control_token: str) -> Starlette:
    """The ASGI app for everything under /-/."""
    registry = CollectorRegistry()
    registry.register(_Counts(observer))
    ProcessCollector(registry=registry)

    document = cache(lambda: openapi(app))

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(_: Request) -> Response:
        if engine.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "unavailable"}, 503, {"Retry-After": "1"})

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def description(_: Request) -> Response:
        return JSONResponse(document())

    async def docs(_: Request) -> Response:
        return HTMLResponse(docs_page(app.title), headers={"Content-Security-Policy": CSP})

    async def file(request: Request) -> Response:
        found = asset(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        content, media_type = found
        return Response(content, media_type=media_type, headers={"Cache-Control": "max-age=3600"})

    async def home(_: Request) -> Response:
        return RedirectResponse("/-/docs")

    return Starlette(
        routes=[
            Route("/-/", home),
            Route("/-/health", health),
            Route("/-/ready", ready),
            Route("/-/metrics", metrics),
            Route("/-/openapi.json", description),
            Route("/-/docs", docs),
            Route("/-/assets/{name:path}", file),
            *control_routes(engine, clock, control_token),
        ],
        exception_handlers={HTTPException: _not_there, Answerable: _told, Exception: _broken},
    )


class _Counts(Collector):
    """The observer's counts as Prometheus reads them."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def collect(self) -> Iterator[Metric]:
        accepted = CounterMetricFamily(
            "headgate_messages", "Messages accepted, by channel and result", labels=["channel", "result"]
        )
        for accepted_labels, count in dict(self._observer.accepted).items():
            accepted.add_metric(accepted_labels, count)
        refused = CounterMetricFamily(
            "headgate_refused", "Requests and batch items refused", labels=["channel", "reason", "status"]
        )
        for (channel, reason, status), count in dict(self._observer.refused).items():
            refused.add_metric((channel, reason, str(status)), count)
        faults = CounterMetricFamily(
            "headgate_faults", "Requests that failed on our side", labels=["channel", "reason", "status"]
        )
        for (channel, reason, status), count in dict(self._observer.faulted).items():
            faults.add_metric((channel, reason, str(status)), count)
        return iter((accepted, refused, faults))


def _reply(request: Request, error: Answerable) -> Response:
    id_ = http.request_id(dict(request.headers.raw), str(uuid7()))
    reply = http.Problem.of(error, id_).reply()
    headers = {**dict(reply.headers), "X-Request-Id": id_}
    return Response(reply.encoded(), reply.status, {**headers, "Content-Type": reply.content_type})


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, Answerable)  # noqa: S101 - starlette dispatches by type
    return _reply(request, error)


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - starlette dispatches by type
    if error.status_code == 405:
        return _reply(request, MethodNotAllowed(headers=tuple((error.headers or {}).items())))
    return _reply(request, NotFound())


async def _broken(request: Request, _: Exception) -> Response:
    return _reply(request, Broken())
