"""HTTP as bytes: what a sender puts on the wire, what comes back, and a server or a clock behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from headgate.local.drive import Driver
from headgate.local.protocol import GateProtocol, protocol_for
from tests.serving import PATIENCE_S

HOST = b"Host: here\r\n"
KIB = 1024
MIB = 1024 * KIB


def get(path: str, *headers: bytes) -> bytes:
    return b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in headers) + b"\r\n"


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in (*headers, b"Content-Length: %d" % len(body)))
    return b"POST " + path.encode() + b" HTTP/1.1\r\n" + HOST + lines + b"\r\n" + body


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def replies(data: bytes, *, head: bool = False) -> list[Reply]:
    """The replies in what a server sent, interim ones too. Fails on anything else between them."""
    found = []
    while data:
        first, _, data = data.partition(b"\r\n\r\n")
        start, *lines = first.decode("latin-1").split("\r\n")
        assert start.startswith("HTTP/1.1 "), start
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = 0 if head else int(headers.get("content-length", "0"))
        found.append(Reply(int(start.split()[1]), headers, data[:size]))
        data = data[size:]
    return found


def assert_problem(reply: Reply, status: int, reason: str) -> None:
    """A problem that ends the connection and can be found again by its request id."""
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["connection"] == "close"
    assert "date" in reply.headers
    problem = reply.json()
    assert (problem["status"], problem["type"]) == (status, f"urn:headgate:problem:{reason}")
    assert problem["request_id"] == reply.headers["x-request-id"]
    assert problem["message"].endswith(".")


@dataclass
class Wire:
    """A uvicorn server in a thread."""

    port: int
    told: list[tuple[str, int, str]]
    state: ServerState

    def afresh(self) -> Wire:
        """Itself, once it has done with all connections there were, and nothing is told of them any more."""
        assert seen(lambda: not self.state.connections)
        self.told.clear()
        return self

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def send(self, data: bytes, *, hang_up: bool = False) -> bytes:
        """Send all, then read until the server closes."""
        with self.connect() as sock:
            sock.sendall(data)
            if hang_up:
                sock.shutdown(socket.SHUT_WR)
            return rest(sock)

    def ask(self, data: bytes) -> list[Reply]:
        """Send all, and a last request that asks the server to close."""
        return replies(self.send(data + get("/last", b"Connection: close")))[:-1]


def seen(there: Callable[[], object]) -> bool:
    """Whether `there` becomes true before patience is lost."""
    until = time.monotonic() + PATIENCE_S
    while not there() and time.monotonic() < until:
        time.sleep(0.002)
    return bool(there())


def rest(sock: socket.socket) -> bytes:
    """Everything until the server closes. Raises ConnectionResetError where it resets."""
    parts = []
    while part := sock.recv(64 * KIB):
        parts.append(part)
    return b"".join(parts)


def one_reply(sock: socket.socket) -> Reply:
    """One reply with a content-length, byte for byte, so that none of the next is read."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, f"closed after {head!r}"
        head += byte
    (found,) = replies(head, head=True)
    body = b""
    while len(body) < int(found.headers["content-length"]):
        body += sock.recv(int(found.headers["content-length"]) - len(body))
    return Reply(found.status, found.headers, body)


# A sender that stalls in the middle of a test is none that is slow. What the limits do is seen by the clock.
PATIENT = {"header_time_s": PATIENCE_S, "body_time_s": PATIENCE_S, "keep_alive_s": PATIENCE_S, "__slots__": ()}


@contextlib.contextmanager
def serving(
    app: Any,
    driver: Driver | None = None,
    protocol: Callable[[type[GateProtocol]], type[GateProtocol]] = lambda made: made,
) -> Iterator[Wire]:
    """Serve `app`, channels straight from `driver`; `protocol` may narrow the limits of the class that is used."""
    told: list[tuple[str, int, str]] = []
    made = type("Patient", (protocol_for(lambda *what: told.append(what), driver),), PATIENT)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=protocol(made),
            host="127.0.0.1",
            port=0,
            loop="uvloop",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + PATIENCE_S
        while not server.started and time.monotonic() < until:
            time.sleep(0.005)
        yield Wire(server.servers[0].sockets[0].getsockname()[1], told, server.server_state)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the server does not stop"


class Clockwork(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until it is moved."""

    def __init__(self) -> None:
        self.at_s = 1_000.0
        self.timers = 0
        super().__init__()

    def time(self) -> float:
        return self.at_s

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        self.timers += 1
        return super().call_at(*args, **kwargs)

    def settle(self) -> None:
        """Run what is due until nothing is."""
        for _ in range(10):
            self.call_soon(self.stop)
            self.run_forever()

    def until(self, there: Callable[[], object]) -> None:
        """Run what is due until `there` is true; other threads may be at it. No time passes on this loop's clock."""
        until = time.monotonic() + PATIENCE_S
        while not there() and time.monotonic() < until:
            self.settle()
            time.sleep(0.0005)
        assert there(), "it never came"

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.at_s += 0.1
            self.settle()


@dataclass
class Pipe(asyncio.Transport):
    """The server's end of a connection: keeps what is written, and how it ended."""

    out: bytes = b""
    ended: bool = False
    paused: bool = False
    end: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.extra.get(name, default)

    def write(self, data: Any) -> None:
        assert not self.end, "written after the end"
        self.out += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return bool(self.end)

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = "reset"
