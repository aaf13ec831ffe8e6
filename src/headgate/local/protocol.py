"""HTTP/1.1 as the embedded server speaks it: uvicorn's httptools protocol, with limits and problem bodies.

A connection is always in one stage, and each stage has its time, which stands still while the app works:

    FRESH   nothing has come                  header time, then closed
    HEAD    a request has begun               header time, then 408
    BODY    its head is there                 body time, then 408, or cut where the reply has begun
    IDLE    all of it is there                keep-alive, counted from the reply, then closed
    ENDING  no more will be read or said      body time, then reset

ENDING still takes what comes and throws it away: a connection that is closed while bytes are on their way is
reset, and the reset may overtake the reply. Replies leave in the order of the requests, refusals too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, ClassVar
from urllib.parse import unquote

import httptools
from uuid_utils import uuid7
from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from headgate import limits
from headgate.errors import (
    Answerable,
    Broken,
    HeadersTooLarge,
    MalformedHttp,
    RequestTimeout,
    TooManyRequests,
    Unavailable,
    UriTooLong,
)
from headgate.gate.observe import site
from headgate.http import Problem
from headgate.local.drive import Driver
from headgate.local.exchange import Exchange

Refused = Callable[[str, int, str], None]
Headers = list[tuple[bytes, bytes]]

log = logging.getLogger("headgate.local")

_NOTED = frozenset({b"expect", b"host", b"transfer-encoding"})
# The loop, or the whole machine, may have been held up: what has come meanwhile is read before anybody is too late.
_LAST_LOOK_S = 0.25


class Stage(Enum):
    """What a connection waits for."""

    FRESH = "its first byte"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    IDLE = "the next request, or the app"
    ENDING = "the sender to hang up"


FRESH, HEAD, BODY, IDLE, ENDING = Stage


class Cycle(RequestResponseCycle):
    """One request and its reply."""

    gate: GateProtocol

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Let the app answer, else a problem. An escaped error's text is not logged: it may quote a body."""
        failure: Answerable = Broken()
        where = "the app gave no reply"
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            failure, where = Unavailable(), "stopped while draining"
        except Exception as error:  # noqa: BLE001 - the last border
            where = site(error)
        if not (self.response_complete or self.disconnected):
            await self._fail(failure, where)
        self.on_response = _nothing

    async def _fail(self, failure: Answerable, where: str) -> None:
        request_id = str(uuid7())
        log.error("failed reason=%s request_id=%s where=%s", failure.reason, request_id, where)
        if self.response_started or self.flow.write_paused:
            self.gate.cut()
            return
        headers, body = self.gate.problem(failure, request_id)
        await self.send({"type": "http.response.start", "status": failure.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def send(self, message: ASGISendEvent) -> Coroutine[Any, Any, None]:
        if self.waiting_for_100_continue and self.more_body:
            # Answered without asking for the body: whether it comes, or the next request, nobody can tell.
            self.keep_alive = False
        self.gate.holds = message["type"] == "http.response.start" and self.scope["method"] != "HEAD"
        return super().send(message)


class GateProtocol(HttpToolsProtocol):
    """One connection. `Config(http=protocol_for(...))` makes uvicorn use it.

    It takes no WebSockets, no HTTP/2 and no root path. Its limits are class attributes, so that a subclass
    can narrow them; they take the place of uvicorn's `limit_concurrency` and `timeout_keep_alive`.
    """

    header_time_s: ClassVar[float] = limits.HEADER_TIME.value
    body_time_s: ClassVar[float] = limits.BODY_TIME.value
    keep_alive_s: ClassVar[float] = limits.KEEP_ALIVE.value
    url_bytes: ClassVar[int] = limits.URL.value
    header_bytes: ClassVar[int] = limits.HEADERS.value
    most_connections: ClassVar[int] = limits.CONNECTIONS.value
    most_waiting: ClassVar[int] = limits.PIPELINE.value
    discard_bytes: ClassVar[int] = limits.DISCARD.value

    # Beside uvicorn's own attributes these would outgrow the 30 that a dictionary of an instance shares.
    __slots__ = (
        "coded",
        "drained",
        "due",
        "ended",
        "fed",
        "head",
        "holds",
        "hosts",
        "is_closing",
        "now",
        "refusal",
        "running",
        "since",
        "stage",
        "timer",
        "transmit",
        "unseen",
        "warned",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stage = FRESH
        self.since = 0.0  # when the stage began, on the loop's clock
        self.warned = -1.0  # the stage that began then has taken its time, and is given a last look
        self.now = 0.0  # when the last bytes came
        self.unseen = 0  # bytes that came since the parser last had something whole to show
        self.url = b""
        self.drained: Callable[[], None] | None = None
        self.fed = 0  # bytes that came last
        self.head = b""  # of a reply, until the first of its body comes
        self.holds = False  # what is written next is such a head
        self.hosts = 0
        self.coded = False
        self.ended = False  # the sender has closed its half
        self.running: RequestResponseCycle | None = None
        self.due: Exchange | None = None  # to be begun when the parser is done with what came
        self.refusal: Answerable | None = None  # to be sent after the replies that are still due

    driver: ClassVar[Driver | None] = None  # where requests to channels are carried out; without, all go to the app

    @staticmethod
    def on_refused(reason: str, status: int, request_id: str) -> None:
        """Told of each reply that this class makes itself, before it is written. `protocol_for` binds it."""

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transmit, self.is_closing = transport.write, transport.is_closing
        self.since = self.loop.time()
        self.timer = self.loop.call_at(self.since + self._pulse_s(), self._tick)
        if len(self.connections) > 2 * self.most_connections:
            transport.abort()
        elif len(self.connections) > self.most_connections:
            self._refuse(
                Unavailable(
                    "There are too many connections. Try again in a moment.",
                    reason="too_many_connections",
                    retry_after_s=1,
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        self.pipeline.clear()
        if self.running is not None:
            _abandon(self.running)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.fed = len(data)
        self.unseen += self.fed
        if self.stage is ENDING:
            if self.unseen > self.discard_bytes:
                self.transport.abort()
            return
        self.now = self.loop.time()
        self._parse(data)
        # Not from within the parser, which may have its body at hand.
        if (due := self.due) is not None:
            self.due = None
            due.begin()

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                # What a callback raised is the context of the parser's own error.
                cause = error.__context__
                self._refuse(cause if isinstance(cause, Answerable) else MalformedHttp())
                return
        if self.unseen > self.url_bytes + self.header_bytes:
            self._overflow()

    def eof_received(self) -> bool:  # type: ignore[override]
        """True keeps the connection for replies still due: a sender may close its half when all is sent."""
        self.ended = True
        if self.stage in (HEAD, BODY):
            self._refuse(MalformedHttp("The request ended before it was complete."))
        elif self.stage is IDLE and self.running is not None:
            self.cycle.keep_alive = False
        return self.running is not None

    def shutdown(self) -> None:
        """The server stops: close when the last reply is out."""
        if self.running is None:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def write(self, data: bytes) -> None:
        """For the cycle: a reply's head and body leave together, in one call of the system."""
        if self.holds:
            self.head = data
            return
        self.transmit(self.head + data)
        self.head = b""

    def when_drained(self, then: Callable[[], None]) -> None:
        """Call `then` once the sender has read what was written to it."""
        self.drained = then

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.drained is not None:
            then, self.drained = self.drained, None
            then()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.stage is IDLE:
            self.since = self.loop.time()

    # The parser

    def on_message_begin(self) -> None:
        # Not uvicorn's, which makes a scope for every request, whether it goes the way of ASGI or not.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.stage, self.since = HEAD, self.now
        self.hosts = 0
        self.coded = False

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.url_bytes:
            raise UriTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers.append((name, value))
        if name in _NOTED:
            self._note(name, value)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self.hosts += 1
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif value.lower() != b"chunked":
            raise MalformedHttp("The only Transfer-Encoding taken is chunked.")
        else:
            self.coded = True

    def on_headers_complete(self) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        self._check_head(method, version, self.headers)
        if self.parser.should_upgrade():
            return  # httptools stops here; `data_received` feeds the request again without the upgrade
        path, query = _target(self.url)
        self.stage, self.since, self.unseen = BODY, self.now, 0
        self.cycle = cycle = self._cycle(method.decode(), version, path, query)
        self.headers = []  # what follows are trailers, which nobody asked for
        if self.running is not None:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
            return
        self.running = cycle
        if isinstance(cycle, Exchange):
            self.due = cycle
        else:
            self._start_asgi_task(cycle, self.app)

    def _cycle(self, method: str, version: str, path: bytes, query: bytes) -> Any:
        """An Exchange for the requests to channels, uvicorn's own for ASGI."""
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        plain = unquote(path.decode()) if b"%" in path else path.decode()
        if self.driver is not None and not plain.startswith("/-/"):
            return Exchange(
                self, self.driver, method, path, query, self.headers,
                keep_alive=keep_alive, expect_100_continue=self.expect_100_continue,
            )  # fmt: skip
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method,
            "root_path": self.root_path,
            "path": plain,
            "raw_path": path,
            "query_string": query,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }
        cycle = Cycle(
            scope=scope,
            transport=self,  # type: ignore[arg-type] # of which it takes `write`, `is_closing` and `close`
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.gate = self
        return cycle

    def _check_head(self, method: bytes, version: str, headers: Headers) -> None:
        # No head is longer than what has come: mostly there is nothing to count.
        if self.unseen + self.fed > self.header_bytes < sum(len(name) + len(value) + 4 for name, value in headers):
            raise HeadersTooLarge
        if version not in ("1.1", "1.0") or (self.coded and version == "1.0"):
            raise MalformedHttp("This server speaks HTTP/1.1.")
        if self.hosts > 1 or (self.hosts == 0 and version == "1.1"):
            raise MalformedHttp("Send one Host header.")
        if method == b"CONNECT":
            raise MalformedHttp("This server is not a proxy.")
        if len(self.pipeline) >= self.most_waiting:
            raise TooManyRequests("Too many requests wait on this connection.", reason="pipeline_full")

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            return  # thrown away, and left in `unseen` to be counted
        self.unseen = 0
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self.stage is HEAD:
            return  # cut short by an upgrade
        self.stage, self.since, self.unseen = IDLE, self.now, 0
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def _without_upgrade(self) -> bytes:
        """The head once more, for a new parser: after an upgrade httptools takes no body, declined or not."""
        first = b"%b %b HTTP/%b\r\n" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        self.parser = httptools.HttpRequestParser(self)
        kept = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"".join((first, *kept, b"\r\n"))

    # Replies

    def on_response_complete(self) -> None:
        cycle, self.running = self.running, None
        self.server_state.total_requests += 1
        if cycle is None or not cycle.keep_alive or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._next()
        elif self.refusal is not None:
            self._answer(self.refusal)
        elif self.stage is not HEAD:
            self.since = self.loop.time()

    def _next(self) -> None:
        cycle, app = self.pipeline.pop()
        self.running = cycle
        if isinstance(cycle, Exchange):
            self.loop.call_soon(cycle.begin)  # however many wait, they are not begun within one another
        else:
            self._start_asgi_task(cycle, app)

    def close(self) -> None:
        """The last reply of the connection is out."""
        if self.stage is IDLE and not self.flow.read_paused:
            self.transport.close()
        else:
            self._end()

    def cut(self) -> None:
        """Close without another word; what is written still goes out."""
        self.holds = False
        self.write(b"")
        if self.running is not None:
            _abandon(self.running)
        self.stage, self.since, self.running = ENDING, self.loop.time(), None
        self.transport.close()

    def problem(self, error: Answerable, request_id: str) -> tuple[Headers, bytes]:
        """Headers and body of a reply that tells of `error` and ends the connection."""
        self.on_refused(error.reason, error.status, request_id)
        reply = Problem.of(error, request_id).reply()
        body = reply.encoded()
        own = (
            ("content-type", reply.content_type),
            ("content-length", str(len(body))),
            ("connection", "close"),
            ("x-request-id", request_id),
        )
        return [(name.lower().encode(), value.encode()) for name, value in (*own, *reply.headers)], body

    def _refuse(self, error: Answerable) -> None:
        """Answer the request that is being read with `error`, after all before it, and read no more."""
        in_body = self.stage is BODY
        self.stage, self.since, self.unseen = ENDING, self.loop.time(), 0
        if in_body and self.cycle.response_started:
            _abandon(self.cycle)
            self.cut()
            return
        if in_body and self.cycle is self.running:
            _abandon(self.cycle)
            self.running = None
        elif in_body:
            self.pipeline.popleft()
        if self.running is None:
            self._answer(error)
        else:
            self.refusal = error

    def _answer(self, error: Answerable) -> None:
        headers, body = self.problem(error, str(uuid7()))
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        if self.url and self.parser.get_method() == b"HEAD":
            body = b""
        self.transport.write(b"".join((STATUS_LINE[error.status], *lines, b"\r\n", body)))
        self._end()

    def _end(self) -> None:
        self.stage, self.since, self.unseen = ENDING, self.loop.time(), 0
        self.pipeline.clear()
        self.flow.resume_reading()
        if self.ended:
            self.transport.close()
        elif self.transport.can_write_eof():
            self.transport.write_eof()

    def _overflow(self) -> None:
        if self.stage is not BODY or not self.cycle.response_complete:
            self._refuse(HeadersTooLarge())
        elif self.unseen > self.discard_bytes:
            self.transport.abort()

    # Time

    def _tick(self) -> None:
        """The connection's one timer. It runs at least once in the shortest time allowed, so never late."""
        now = self.loop.time()
        if self._waits_for_us():
            self.since = now
        elif now >= self.since + self._allowed_s():
            if self.warned != self.since:
                self.warned = self.since
                self.timer = self.loop.call_at(now + _LAST_LOOK_S, self._tick)
                return
            self._overdue()
        due = self.since + self._allowed_s()
        self.timer = self.loop.call_at(min(due, now + self._pulse_s()), self._tick)

    def _waits_for_us(self) -> bool:
        if self.flow.write_paused:
            return False
        working = self.running is not None and self.stage in (IDLE, ENDING)
        return working or self.flow.read_paused

    def _overdue(self) -> None:
        match self.stage:
            case Stage.HEAD | Stage.BODY:
                self._refuse(RequestTimeout())
            case Stage.ENDING:
                self.transport.abort()
            case Stage.FRESH | Stage.IDLE:
                self.cut()

    def _allowed_s(self) -> float:
        match self.stage:
            case Stage.FRESH | Stage.HEAD:
                return self.header_time_s
            case Stage.BODY | Stage.ENDING:
                return self.body_time_s
            case Stage.IDLE:
                return self.keep_alive_s

    def _pulse_s(self) -> float:
        return min(self.header_time_s, self.body_time_s, self.keep_alive_s)


def protocol_for(refused: Refused, to: Driver | None = None) -> type[GateProtocol]:
    """The protocol of one server: `refused` is told reason, status and request id of each reply of its own.

    Requests to channels go straight `to` the gate's driver, others to uvicorn's app; without driver, all do.

    That happens on the event loop, before the reply is written; `refused` must neither block nor raise.
    """

    class Bound(GateProtocol):
        __slots__ = ()
        on_refused = staticmethod(refused)  # type: ignore[assignment]
        driver = to

    return Bound


def _target(url: bytes) -> tuple[bytes, bytes]:
    """Path and query as they were sent. Raises MalformedHttp."""
    if b"#" in url:
        raise MalformedHttp("The request target has a fragment.")
    if url.startswith(b"/") or url == b"*":
        path, _, query = url.partition(b"?")
        return path, query
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise MalformedHttp("The request target is not a path.") from None
    return parsed.path or b"/", parsed.query or b""


def _abandon(cycle: RequestResponseCycle) -> None:
    """The app is told that the sender has gone; what it sends from now on goes nowhere."""
    cycle.disconnected = True
    cycle.message_event.set()


def _nothing() -> None:
    pass
