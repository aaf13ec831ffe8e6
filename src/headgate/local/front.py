"""A front: a process that speaks HTTP and runs the gate, and asks the main process for what needs the engine.

The state folder, the writer, the buckets of throttles, the queues and the metrics are the main process's alone. See
line.py for what the two say to each other, fronts.py for the other side, and docs/adr/0011-fronts.md for why.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from math import ceil
from typing import Any

from headgate import limits
from headgate.clock import Clock
from headgate.declare.app import App
from headgate.errors import TooLarge, Unavailable
from headgate.events import Event
from headgate.gate.answer import Gate
from headgate.gate.effects import Call, Effect
from headgate.gate.observe import Counts, Observer
from headgate.http import Problem, new_id, request_id
from headgate.local.drive import LATER, Asker, Driver
from headgate.local.line import (
    Answered,
    Beat,
    Brought,
    Failed,
    Line,
    Saying,
    Tally,
    Visit,
    Visited,
    Wanted,
    answer_in,
    asked,
    heard_of_main,
)
from headgate.local.protocol import GateProtocol, protocol_for
from headgate.local.server import (
    ClientGoneError,
    Receive,
    Scope,
    Send,
    Uvicorn,
    body_of,
    configured,
    suit_the_process,
    told_to,
)

_DOOR_FDS = 250  # that one message may bring; Linux takes 253
_VISIT_BYTES = 64 * 1024 * 1024


class Front:
    """What a front is made of. `link` and `door` lead to the main process; `share` is one in how many fronts it is."""

    def __init__(
        self,
        app: App,
        settings: Mapping[str, str],
        clock: Clock,
        link: socket.socket,
        door: socket.socket,
        *,
        share: int,
        proxied: bool,
    ) -> None:
        self._link = link
        self._door = door
        self._line = Line(heard_of_main, self._heard, _end_at_once, self._tally)
        self._observer = _Telling(self._line)
        self._driver = FrontDriver(Gate(app, settings, clock, self._observer, new_id), clock, self._line)
        self._driver.proxied = proxied
        self._is_ready = self._is_asked = False
        self._arrived = self._ended = 0  # connections, since they were last told of
        self._arriving: set[asyncio.Task[Any]] = set()
        config = configured(self._visit, self._protocol(share))
        self._uvicorn = _FrontUvicorn(config, self._driver, self._begin)

    def run(self) -> None:
        """Serve, until the door is closed and the requests in flight are finished."""
        suit_the_process()
        self._uvicorn.run(sockets=[])

    def _protocol(self, share: int) -> type[GateProtocol]:
        front = self

        class Bound(protocol_for(told_to(self._observer), self._driver)):  # type: ignore[misc]
            __slots__ = ()
            most_connections = ceil(limits.CONNECTIONS.value / share)

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                front.ended()

        return Bound

    def ended(self) -> None:
        """A connection has ended."""
        self._ended += 1
        self._line.remind()

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self._line, sock=self._link)
        self._door.setblocking(False)
        loop.add_reader(self._door, self._let_in)

    def _let_in(self) -> None:
        """Take the connections that were handed over; the end of file says that there will be no more."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                word, handed, _, _ = socket.recv_fds(self._door, 1, _DOOR_FDS)
            except BlockingIOError:
                return
            if not word:
                loop.remove_reader(self._door)
                self._uvicorn.should_exit = True
                return
            self._arrived += len(handed)
            self._line.remind()
            for descriptor in handed:
                sock = socket.socket(fileno=descriptor)
                sock.set_inheritable(False)
                sock.setblocking(False)
                task = loop.create_task(self._connect(sock))
                self._arriving.add(task)
                task.add_done_callback(self._arriving.discard)

    async def _connect(self, sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._uvicorn.protocol, sock)
        except OSError:  # whoever it was has gone already
            sock.close()
            self.ended()

    def _tally(self) -> Saying | None:
        """The first one says that we are ready."""
        counts = self._observer.taken()
        if counts is None and not (self._arrived or self._ended or self._is_asked) and self._is_ready:
            return None
        tally = Tally(counts or Counts(), self._arrived, self._ended, self._is_asked)
        self._arrived, self._ended, self._is_asked, self._is_ready = 0, 0, False, True
        return tally

    def _heard(self, said: Any) -> None:
        if type(said) is Beat:
            self._is_asked = True
            self._line.remind()
        else:
            self._driver.heard(said)

    # --------------------------------------------------------------------------------------------------- under /-/

    async def _visit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request over to the main process, and its reply back."""
        headers, client = [*scope["headers"]], scope.get("client")
        visit = Visit(
            0, scope["method"], scope["path"], scope["raw_path"], scope["query_string"], headers,
            None if client is None else (client[0], client[1]),
        )  # fmt: skip
        try:
            visited = await self._driver.visited(visit, lambda: body_of(receive, _VISIT_BYTES))
        except ClientGoneError:
            return
        except TooLarge as error:
            id_ = request_id(dict(headers), new_id())
            told_to(self._observer)(error.reason, error.status, id_)
            reply = Problem.of(error, id_).reply().with_headers(("X-Request-Id", id_))
            body = reply.encoded()
            visited = Visited(0, reply.status, reply.wire_headers(len(body)), body)
        await send({"type": "http.response.start", "status": visited.status, "headers": visited.headers})
        await send({"type": "http.response.body", "body": visited.body})


class FrontDriver(Driver):
    """Asks the main process. A user's verifier is run here."""

    def __init__(self, gate: Gate, clock: Clock, line: Line) -> None:
        super().__init__(gate, clock)
        self._line = line
        self._numbers = count(1)
        self._waiting: dict[int, Asker] = {}

    def carry_out(self, effect: Effect, asker: Asker) -> Any:
        if type(effect) is Call:
            return self.later(asker, self.call(effect))
        number = next(self._numbers)
        self._line.say(asked(number, effect))
        self._waiting[number] = asker
        return LATER

    async def visited(self, visit: Visit, read: Callable[[], Awaitable[bytes | None]]) -> Visited:
        """The reply to a request under /-/, whose body is read if it is wanted. Raises TooLarge, and what `read`
        raises."""
        loop = asyncio.get_running_loop()
        visit.number = number = next(self._numbers)
        body: bytes | None = None
        waiting = self._waiting[number] = _Waiting(loop.create_future())
        self._line.say(visit)
        try:
            said = await waiting.reply
            if isinstance(said, Visited):
                return said
            waiting = self._waiting[number] = _Waiting(loop.create_future())
            try:
                body = await read()
            finally:
                self._line.say(Brought(number, body))
            if body is None:
                raise TooLarge(f"Send at most {_VISIT_BYTES} bytes.")
            said = await waiting.reply
            assert isinstance(said, Visited)  # noqa: S101 - it is wanted once
            return said
        finally:
            self._waiting.pop(number, None)

    def heard(self, said: Answered | Wanted | Visited | Failed) -> None:
        """What the main process says to what was asked."""
        asker = self._waiting.pop(said.number, None)
        if asker is None:
            return  # a visit whose sender has gone
        match said:
            case Answered():
                asker.resume(answer_in(said))
            case Wanted() | Visited():
                asker.resume(said)
            case Failed(reason="value"):
                asker.fail(ValueError(said.detail))
            case Failed(reason="unavailable"):
                asker.fail(Unavailable(said.detail, retry_after_s=said.retry_after_s))
            case Failed():
                asker.fail(RuntimeError(said.detail))


class _Waiting:
    """An asker for a task."""

    def __init__(self, reply: asyncio.Future[Wanted | Visited]) -> None:
        self.reply = reply

    def resume(self, answer: Wanted | Visited) -> None:
        if not self.reply.done():
            self.reply.set_result(answer)

    def fail(self, error: BaseException) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class _Telling(Observer):
    """Logs here; what it counts is told to the main process."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def told(self, event: Event) -> None:
        super().told(event)
        self._line.remind()


class _FrontUvicorn(Uvicorn):
    """uvicorn without a socket of its own: connections are handed to it. The main process says when it is to stop;
    signals that are for every process of a group are for that one to obey."""

    def __init__(self, config: Any, driver: Driver, begin: Any) -> None:
        super().__init__(config, driver)
        self._begin = begin

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._begin()

    def handle_exit(self, sig: int, frame: Any) -> None:
        pass

    def protocol(self) -> asyncio.Protocol:
        """Of a new connection."""
        made: type[GateProtocol] = self.config.http_protocol_class  # type: ignore[assignment]
        return made(self.config, self.server_state, self.lifespan.state, asyncio.get_running_loop())


def _end_at_once() -> None:
    """The main process is gone, however it went: nothing can be acknowledged any more."""
    os._exit(0)
