"""The embedded HTTP server: uvicorn, with the gate behind it, and Starlette for everything under /-/."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from headgate import limits
from headgate.clock import Clock
from headgate.declare.app import App
from headgate.declare.auth import Iam
from headgate.events import Faulted, Refused
from headgate.gate.answer import Gate
from headgate.gate.observe import Observer
from headgate.http import Reply, Request, new_id, request_id
from headgate.local.drive import LATER, Driver
from headgate.local.driver import LocalDriver
from headgate.local.engine import LocalEngine
from headgate.local.protocol import GateProtocol, protocol_for
from headgate.local.protocol import Refused as RefusedByProtocol
from headgate.local.service import Service
from headgate.local.signals import enders

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("headgate.local")

_GRACE_S = 0.1
_LOOK_S = 1.0
LEAVE_S = 5.0
"""Beyond the drain: whoever has not come to an end by then never will."""


class Server:
    """An app that is ready to be served. It is an ASGI app, which any server can run; on headgate's own (`Running`)
    the requests to channels take a shorter way, see exchange.py."""

    def __init__(
        self, app: App, engine: LocalEngine, settings: dict[str, str], clock: Clock, control_token: str = ""
    ) -> None:
        if any(isinstance(channel.auth, Iam) for channel in app.channels):
            import headgate.local.sigv4  # noqa: F401 - takes a while, which the first sender need not wait
        self.observer = Observer()
        self.driver = LocalDriver(Gate(app, settings, clock, self.observer, new_id), engine, clock)
        self.service = Service(app, engine, self.observer, clock, control_token).asgi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/-/"):
            await self.service(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request = Request(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            headers,
            request_id(headers, new_id()),
            self.driver.clock.now_ms(),
            self.driver.client(scope.get("client"), headers),
            [*scope["headers"]],
        )
        reply = await self._answer(request, receive)
        if reply is not None:
            body = reply.encoded()
            head = {"type": "http.response.start", "status": reply.status, "headers": reply.wire_headers(len(body))}
            await send(head)
            await send({"type": "http.response.body", "body": body})

    async def _answer(self, request: Request, receive: Receive) -> Reply | None:
        """None where the sender hung up before its body was complete."""
        loop = asyncio.get_running_loop()
        wanted: asyncio.Future[int] = loop.create_future()
        done: asyncio.Future[Reply] = loop.create_future()

        def read(limit_bytes: int) -> object:
            wanted.set_result(limit_bytes)
            return LATER

        drive = self.driver.drive(request, read, done.set_result)
        drive.resume()
        await asyncio.wait((wanted, done), return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            try:
                declared = int(request.headers.get(b"content-length", b"0"))
                body = await body_of(receive, wanted.result(), declared)
            except ClientGoneError:
                return None
            drive.resume(body)
        return await asyncio.shield(done)  # a commit that lands later still finds whom to tell


class ClientGoneError(Exception):
    """The sender hung up before its body was complete; there is nobody to answer."""


async def body_of(receive: Receive, limit_bytes: int, declared_bytes: int = 0) -> bytes | None:
    """The whole body, or None where it is longer. Raises ClientGoneError."""
    if declared_bytes > limit_bytes:
        return None
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGoneError
        body += event.get("body", b"")
        if len(body) > limit_bytes:
            return None
        if not event.get("more_body"):
            return bytes(body)


def suit_the_process() -> None:
    """Room for every connection; and, measured on batches, a fifth more by collecting cycles less often (messages make
    none) and by not letting the writer's thread wait 5 ms, the default, for the loop's to let go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * limits.CONNECTIONS.value + 100
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    sys.setswitchinterval(0.001)


def url_of(sock: socket.socket) -> str:
    """The address a browser or curl takes; a socket that listens everywhere is reached on this machine."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Uvicorn(uvicorn.Server):
    """uvicorn, but a sender that has just connected may still say what it wants, instead of being cut off; and who
    waits longer than the drain is told that it is over."""

    def __init__(self, config: uvicorn.Config, driver: Driver) -> None:
        super().__init__(config)
        self._driver = driver

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(_GRACE_S)
        await super().shutdown(sockets)
        await self._driver.end()


def configured(app: Any, protocol: type[GateProtocol]) -> uvicorn.Config:
    """uvicorn as headgate runs it."""
    return uvicorn.Config(
        app,
        interface="asgi3",
        http=protocol,
        ws="none",
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the driver sees to that
        timeout_graceful_shutdown=limits.DRAIN.value,
    )


def told_to(observer: Observer) -> RefusedByProtocol:
    """Tells of the replies that the protocol makes itself."""

    def refused(reason: str, status: int, request_id: str) -> None:
        if status < 500:
            observer.told(Refused("", reason, status, request_id))
        else:
            observer.told(Faulted("", reason, status, request_id, "http"))

    return refused


def obey_signals(stop: Callable[[], None]) -> None:
    """From here on, SIGTERM, SIGHUP and SIGINT mean `stop`. uvicorn takes over the first and the last, and raises them
    again at its end, when there is nothing to stop."""
    for number in (*enders(), signal.SIGINT):
        signal.signal(number, lambda *_: stop())


class Running:
    """A server on a socket. `run` serves until a signal or `stop` ends it; requests in flight are finished."""

    def __init__(self, server: Server, sock: socket.socket, *, proxy_headers: bool = False) -> None:
        self._sock = sock
        server.driver.proxied = proxy_headers
        self._uvicorn = Uvicorn(
            configured(server, protocol_for(told_to(server.observer), server.driver)), server.driver
        )

    def run(self) -> None:
        """Serve, on the main thread."""
        obey_signals(self.stop)
        suit_the_process()
        over = threading.Event()
        threading.Thread(target=self._watch, args=(over,), name="headgate-watch", daemon=True).start()
        try:
            self._uvicorn.run(sockets=[self._sock])
        finally:
            over.set()

    def _watch(self, over: threading.Event) -> None:
        """On a thread of its own: an `async` verifier that blocks holds up the loop, and with it the end."""
        while not over.wait(_LOOK_S):
            if self._uvicorn.should_exit and not over.wait(limits.DRAIN.value + LEAVE_S):
                log.critical("a request holds up the whole server, which ends at once: a verifier may hang")
                os._exit(1)

    def stop(self) -> None:
        """End `run` as a signal would; may be called from any thread."""
        self._uvicorn.should_exit = True
