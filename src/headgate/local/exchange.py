"""A request to a channel and its reply, straight between the protocol and the gate: no ASGI, no task, no future.

Measured: ASGI takes two thirds of what this reaches; see docs/adr/0003-no-asgi-on-the-hot-path.md. Everything under
/-/ goes the way of ASGI, and so does any other server that the app is mounted in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from headgate.errors import Broken
from headgate.gate.observe import site
from headgate.http import Problem, Reply, Request, new_id, request_id
from headgate.local.drive import LATER, Drive, Driver

if TYPE_CHECKING:
    from headgate.local.protocol import GateProtocol

log = logging.getLogger("headgate.local")

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _default_lines(state: ServerState) -> bytes:
    """The lines that every head has. uvicorn makes their list anew each second, for the date."""
    global _default
    if _default[0] is not state.default_headers:
        _default = state.default_headers, b"".join([b"%b: %b\r\n" % header for header in state.default_headers])
    return _default[1]


_default: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")


class Exchange:
    """Begun by the protocol when its turn comes. The attributes without underscore are what the protocol asks of it,
    and what it asks of uvicorn's own request-response cycle."""

    __slots__ = (
        "_drive",
        "_driver",
        "_limit_bytes",
        "_protocol",
        "_request",
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "waiting_for_100_continue",
    )

    def __init__(
        self,
        protocol: GateProtocol,
        driver: Driver,
        method: str,
        path: bytes,
        query: bytes,
        fields: list[tuple[bytes, bytes]],
        *,
        keep_alive: bool,
        expect_100_continue: bool,
    ) -> None:
        headers = dict(fields)
        self._protocol = protocol
        self._driver = driver
        self._request = Request(
            method,
            path.decode("latin-1"),
            query.decode("latin-1"),
            headers,
            request_id(headers, new_id()),
            driver.clock.now_ms(),
            driver.client(protocol.client, headers),
            fields,
        )
        self._drive: Drive | None = None
        self._limit_bytes: int | None = None  # of the body, while the gate waits for it
        self.body = bytearray()
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expect_100_continue

    @property
    def response_started(self) -> bool:
        """A reply is written in one piece."""
        return self.response_complete

    @property
    def message_event(self) -> Exchange:
        """uvicorn's name for who is told that more of the body has come, or that the sender has gone."""
        return self

    def begin(self) -> None:
        """It is its turn."""
        if self.disconnected:
            return
        self._drive = self._driver.drive(self._request, self._read, self._answer)
        self._guarded(self._drive.resume)

    def set(self) -> None:
        """More has come, or nothing will any more."""
        if self._limit_bytes is None:
            return
        if self.disconnected:
            self._limit_bytes = self._drive = None  # never complete, and nobody to tell
            self.body = bytearray()
        elif not self.more_body or len(self.body) > self._limit_bytes:
            # Not from within the parser, which would take what follows for the next request before the reply to this
            # one has ended the connection.
            self._protocol.loop.call_soon(self._take, self._limit_bytes)
            self._limit_bytes = None
        else:
            self._protocol.flow.resume_reading()

    def _read(self, limit_bytes: int) -> object:
        if self.disconnected:  # while somebody looked at who it is: nothing of it is kept
            self._drive = None
            return LATER
        declared = self._request.headers.get(b"content-length")
        if declared is not None and int(declared) > limit_bytes:
            self._drive = None
            return None
        if self.waiting_for_100_continue and self.more_body:
            self._protocol.transmit(_CONTINUE)
        self.waiting_for_100_continue = False
        if not self.more_body:
            self._drive = None
            return self._taken(limit_bytes)
        self._limit_bytes = limit_bytes
        self.set()
        return LATER

    def _taken(self, limit_bytes: int) -> bytes | None:
        body, self.body = self.body, bytearray()
        return None if len(body) > limit_bytes else bytes(body)

    def _take(self, limit_bytes: int) -> None:
        # It is asked for once. Who still held the drive would make a cycle, for the collector to find.
        drive, self._drive = self._drive, None
        if drive is not None and not self.disconnected:
            self._guarded(drive.resume, self._taken(limit_bytes))

    def _guarded(self, step: Callable[..., None], *answer: bytes | None) -> None:
        """The last border: what goes wrong outside of the gate is told, and not what with."""
        try:
            step(*answer)
        except Exception as error:  # noqa: BLE001
            self._answer(self._broken(error))

    def _broken(self, error: Exception) -> Reply:
        log.error("failed reason=broken request_id=%s where=%s", self._request.id, site(error))
        self._protocol.on_refused(Broken.reason, Broken.status, self._request.id)
        return Problem.of(Broken(), self._request.id).reply()

    def _answer(self, reply: Reply) -> None:
        self._drive = None
        if self.disconnected or self.response_complete:
            return
        if self._protocol.flow.write_paused:
            self._protocol.when_drained(lambda: self._answer(reply))
            return
        if self.waiting_for_100_continue and self.more_body:
            # Answered without asking for the body: whether it comes, or the next request, nobody can tell.
            self.keep_alive = False
        self._protocol.transmit(self._wire(reply))
        self.response_complete = True
        self.body = bytearray()  # of which an idle connection would hold on to what came
        if not self.keep_alive:
            self._protocol.close()
        self._protocol.on_response_complete()

    def _wire(self, reply: Reply) -> bytes:
        try:
            return self._encoded(reply)
        except Exception as error:  # noqa: BLE001 - whoever waits must be answered
            return self._encoded(self._broken(error))

    def _encoded(self, reply: Reply) -> bytes:
        body = reply.encoded()
        lines = [STATUS_LINE[reply.status], _default_lines(self._protocol.server_state), reply.head(len(body))]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        if self._request.method != "HEAD":
            lines.append(body)
        return b"".join(lines)
