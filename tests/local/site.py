"""A small app on a real store, as both ways in are tested with it: by ASGI, and straight from the protocol."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from headgate import ApiKey, App, Public, Receipt, Reply, Request, Unauthorized
from headgate.clock import ManualClock
from headgate.declare.channel import Cors, Throttle
from headgate.gate.verify import new_api_key
from headgate.local.engine import LocalEngine
from headgate.local.protocol import GateProtocol, protocol_for
from headgate.local.schema import FILE_NAME
from headgate.local.server import Server
from headgate.local.stream import logs_of
from headgate.message import Message
from tests.local.store import Held
from tests.local.wire import HOST, KIB, Clockwork, Pipe, replies

SECRET = "the secret is 4711"


class Site:
    """The app, its store, and what a test does to them."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self._held: list[Held] = []
        self.open = threading.Event()  # lets /door, whose verifier waits, go on
        self.at_the_door = threading.Event()
        app = self._app()
        self.engine = LocalEngine(
            folder / FILE_NAME, (channel.name for channel in app.channels), self.clock, logs=logs_of(app)
        )
        self.key, row = new_api_key("keyed", "tester", self.clock.now_ms())
        self.engine.keys.add_api_key(row)
        self.server = Server(app, self.engine, {}, self.clock)

    def _app(self) -> App:
        app = App("site")
        app.channel("/any", key="id", auth=Public(), read=True, body_limit_bytes=3_000_000)
        app.channel("/small", key="id", auth=Public(), body_limit_bytes=100 * KIB)
        app.channel("/tiny", key="id", auth=Public(), body_limit_bytes=100)
        app.channel("/keyed", key="id", auth=ApiKey(), indexes=["n"])
        app.channel("/batch", key="id", auth=Public(), many=True)
        app.channel("/made", auth=Public())
        app.channel("/door", key="id", auth=self._waits, read=True)
        app.channel("/shut", key="id", auth=refuses)
        app.channel("/trap", key="id", auth=breaks)
        app.channel("/shaped", key="id", auth=Public(), accepted=shaped)
        app.channel("/misshapen", key="id", auth=Public(), accepted=breaks, problem=breaks)
        app.channel("/empty", key="id", auth=Public(), accepted=lambda _: Reply(204))
        app.channel("/browser", key="id", auth=Public(), cors=Cors(("https://shop.example",)))
        app.channel("/throttled", key="id", auth=Public(), throttle=Throttle(rate_per_s=1, burst=1))
        return app

    def _waits(self, _: Request) -> str:
        self.at_the_door.set()
        self.open.wait()
        return "someone"

    def hold_the_disk(self) -> Held:
        """Nothing is committed until `release`."""
        self._held.append(Held(self.engine._writer))
        return self._held[-1]

    def after_the_writer(self) -> None:
        """Return when the writer has done all that it was given."""
        self.engine._writer.change(lambda _: None)

    def stored(self, key: str, channel: str = "any") -> Message | None:
        return self.engine.index.get(channel, "", key)

    def close(self) -> None:
        self.open.set()
        for held in self._held:
            held.release()
        self.server.driver.close()
        self.engine.close()


@contextlib.contextmanager
def opened_site(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    try:
        yield site
    finally:
        site.close()


def refuses(_: Request) -> str:
    raise Unauthorized


def breaks(_: Any) -> Any:
    raise ValueError(SECRET)


def shaped(receipt: Receipt) -> Reply:
    return Reply(202, {"taken": receipt.key, "at": receipt.received_at}, (("X-Own", "é"),))


def chunked(path: str, chunks: list[bytes], *headers: bytes) -> bytes:
    """A request whose body comes in chunks."""
    lines = b"".join(line + b"\r\n" for line in (*headers, b"Transfer-Encoding: chunked"))
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"POST " + path.encode() + b" HTTP/1.1\r\n" + HOST + lines + b"\r\n" + body


class Line:
    """A connection to a site, on a clock and a pipe; requests to channels go straight to the gate."""

    LIMITS = {"header_time_s": 10, "body_time_s": 29, "keep_alive_s": 60, "__slots__": ()}  # noqa: RUF012

    def __init__(self, loop: Clockwork, site: Site, state: ServerState | None = None) -> None:
        self.loop = loop
        self.told: list[tuple[str, int, str]] = []
        self.pipe = Pipe()
        config = uvicorn.Config(site.server, lifespan="off", log_config=None, access_log=False, interface="asgi3")
        config.load()
        made = protocol_for(lambda *what: self.told.append(what), site.server.driver)
        self.protocol: GateProtocol = type("Clocked", (made,), self.LIMITS)(config, state or ServerState(), {}, loop)
        self.protocol.connection_made(self.pipe)

    def feed(self, data: bytes) -> None:
        if not self.pipe.end:  # a transport that closes reads no more
            self.loop.call_soon(self.protocol.data_received, data)
        self.loop.settle()

    def statuses(self, *expected: int) -> list[int]:
        """The statuses of the replies so far; waits, for as long as threads may take, until there are as many as
        are `expected`."""
        self.loop.until(lambda: len(replies(self.pipe.out)) >= len(expected))
        return [reply.status for reply in replies(self.pipe.out)]
