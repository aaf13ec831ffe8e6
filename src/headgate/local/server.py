"""The embedded HTTP server: a plain ASGI callable for messages, Starlette for everything under /-/."""

from __future__ import annotations

import asyncio
import gc
import inspect
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from uuid_utils import uuid7

from headgate import limits
from headgate.clock import Clock
from headgate.declare.app import App
from headgate.events import Faulted, Refused
from headgate.gate.answer import Gate
from headgate.gate.effects import Admit, Call, Commit, Effect, Find, Get, LookUpJwks, LookUpKey, ReadBody
from headgate.gate.observe import Observer
from headgate.http import Reply, Request, request_id
from headgate.local.engine import LocalEngine
from headgate.local.protocol import protocol_for
from headgate.local.service import service
from headgate.local.throttle import Buckets

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_GRACE_S = 0.1


class ClientGoneError(Exception):
    """The sender hung up before its body was complete; there is nobody to answer."""


def new_id() -> str:
    """A UUIDv7: unique, and in the order of time."""
    return str(uuid7())


class Server:
    """The ASGI app: carries out what the gate asks for, with the rooms of the local engine."""

    def __init__(
        self, app: App, engine: LocalEngine, settings: dict[str, str], clock: Clock, control_token: str = ""
    ) -> None:
        self.observer = Observer()
        self._engine = engine
        self._clock = clock
        self._buckets = Buckets(clock)
        self._gate = Gate(app, settings, clock, self.observer, new_id)
        self._service = service(app, engine, self.observer, clock, control_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/-/"):
            await self._service(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request = Request(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            headers,
            request_id(headers, new_id()),
            self._clock.now_ms(),
        )
        try:
            reply = await self._answer(request, receive)
        except ClientGoneError:
            return
        await _send(reply, send)

    async def _answer(self, request: Request, receive: Receive) -> Reply:
        steps = self._gate.answer(request)
        try:
            effect = next(steps)
            while True:
                try:
                    answer = await self._carry_out(effect, request, receive)
                except (ClientGoneError, asyncio.CancelledError):
                    steps.close()
                    raise
                except Exception as error:  # noqa: BLE001 - the gate decides what it means
                    effect = steps.throw(error)
                else:
                    effect = steps.send(answer)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    async def _carry_out(self, effect: Effect, request: Request, receive: Receive) -> Any:
        match effect:
            case ReadBody(limit_bytes):
                return await _body(request, receive, limit_bytes)
            case Commit(messages, whole):
                return await self._engine.index.land(messages, whole=whole)
            case Admit(channel, throttle):
                return self._buckets.take(channel, throttle)
            case LookUpKey(id_):
                return self._engine.keys.api_key(id_)
            case LookUpJwks(url, missing):
                return await asyncio.to_thread(self._engine.keys.jwks, url, missing=missing)
            case Call(verifier, about):
                principal = await asyncio.to_thread(verifier, about)
                return await principal if inspect.isawaitable(principal) else principal
            case Get(channel, scope, key):
                return await asyncio.to_thread(self._engine.index.get, channel, scope, key)
            case Find():
                return await asyncio.to_thread(self._engine.index.find, *effect)


async def _body(request: Request, receive: Receive, limit_bytes: int) -> bytes | None:
    declared = request.headers.get(b"content-length")
    if declared is not None and int(declared) > limit_bytes:
        return None
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = event.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            return None
        if not event.get("more_body"):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


async def _send(reply: Reply, send: Send) -> None:
    body = reply.encoded()
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in reply.headers
    ]
    if reply.status != 204:
        headers.append((b"content-type", reply.content_type.encode("latin-1")))
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _suit_the_process() -> None:
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


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(limits.CONNECTIONS.value)
    except OSError:
        sock.close()
        raise
    return sock


def url_of(sock: socket.socket) -> str:
    """The address a browser or curl takes; a socket that listens everywhere is reached on this machine."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Uvicorn(uvicorn.Server):
    """uvicorn, but a sender that has just connected may still say what it wants, instead of being cut off."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(_GRACE_S)
        await super().shutdown(sockets)


class Running:
    """A server on a socket. `run` serves until SIGTERM, SIGINT or `stop`; requests in flight are finished."""

    def __init__(self, server: Server, sock: socket.socket, *, proxy_headers: bool = False) -> None:
        self._sock = sock
        observer = server.observer

        def refused(reason: str, status: int, request_id: str) -> None:
            if status < 500:
                observer.told(Refused("", reason, status, request_id))
            else:
                observer.told(Faulted("", reason, status, request_id, "http"))

        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                server,
                http=protocol_for(refused),
                ws="none",
                loop="uvloop",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=proxy_headers,
                timeout_graceful_shutdown=limits.DRAIN.value,
            )
        )

    def run(self) -> None:
        """Serve, on the main thread."""
        # Obeyed from here on. uvicorn takes them over, and raises them again at its end, when there is nothing to stop.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        _suit_the_process()
        self._uvicorn.run(sockets=[self._sock])

    def stop(self) -> None:
        """End `run` as a signal would; may be called from any thread."""
        self._uvicorn.should_exit = True
