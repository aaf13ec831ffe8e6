"""The wire between the zips and the endpoint: it writes down the calls, and does to them what a test tells it.

A fault counts for one function, and of its calls for one service or one action. `refuse` breaks the connection before
the call gets through, `cut` after it was carried out, so that the answer is lost. `throttle` and `fail` answer as the
service itself does, `delay` lets the call through late.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
import uuid
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from tests.aws.emulator.ledger import function_of

Kind = Literal["refuse", "cut", "throttle", "fail", "delay"]

_CALLS_KEPT = 10_000
_HEAD_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
_BODILESS = (b"204", b"304")
_VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete", "HEAD": "Head", "POST": "Post"}
_THROTTLED = {
    "dynamodb": ("com.amazonaws.dynamodb.v20120810#ThrottlingException", "Throughput exceeds the current capacity."),
    "": ("ThrottlingException", "Rate exceeded"),
}


@dataclass
class Fault:
    """What is to happen to the calls of a function: the first `after` of those that match pass, `times` are hit."""

    function: str
    kind: Kind
    service: str = ""
    action: str = ""
    after: int = 0
    times: int | None = None
    delay_s: float = 0.0
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def hits(self, call: Call) -> bool:
        """Whether it hits this call; counts it."""
        if self.function != call.function or self.service not in ("", call.service):
            return False
        if self.action not in ("", call.action) or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(frozen=True)
class Call:
    """One request to a service."""

    function: str
    service: str
    action: str


class Wire:
    """Listens on a port of loopback, over TLS, and passes on to the endpoint."""

    def __init__(self, endpoint_port: int, certificate: str, key: str, ledger: Path) -> None:
        self._endpoint_port = endpoint_port
        self._ledger = ledger
        self._faults: list[Fault] = []
        self._calls: deque[Call] = deque(maxlen=_CALLS_KEPT)
        self._server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server_tls.load_cert_chain(certificate, key)
        self._client_tls = ssl.create_default_context(cafile=certificate)

    async def serve(self, port: int) -> None:
        """Serve until the process ends."""
        server = await asyncio.start_server(
            self._met, "127.0.0.1", port, ssl=self._server_tls, limit=_HEAD_BYTES, backlog=256
        )
        async with server:
            await server.serve_forever()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, and one to the endpoint for as long as it lasts."""
        up: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while request := await _read_request(reader, writer):
                if request.path.startswith("/_wire/"):
                    writer.write(_reply(200, "application/json", self._told(request)))
                    continue
                call = self._call(request)
                self._calls.append(call)
                fault = next((fault for fault in self._faults if fault.hits(call)), None)
                match fault.kind if fault else None:
                    case "refuse":
                        return _reset(writer)
                    case "throttle":
                        writer.write(_throttled(call.service))
                        continue
                    case "fail":
                        writer.write(_failed(call.service))
                        continue
                    case "delay" if fault:
                        await asyncio.sleep(fault.delay_s)
                if up is None:
                    up = await asyncio.open_connection(
                        "127.0.0.1", self._endpoint_port, ssl=self._client_tls, limit=_HEAD_BYTES
                    )
                up[1].write(request.raw)
                answer = await _read_answer(up[0], request.method)
                if fault and fault.kind == "cut":
                    return _reset(writer)
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            for one in (writer, *(up[1:] if up else ())):
                one.close()

    def _call(self, request: _Request) -> Call:
        credential = request.header("authorization").partition("Credential=")[2].partition(",")[0].split("/")
        key, service = credential[0], credential[3] if len(credential) > 3 else ""
        _, _, action = request.header("x-amz-target").rpartition(".")
        return Call(
            function_of(self._ledger, key), service, action or f"{_VERBS.get(request.method, request.method)}Object"
        )

    def _told(self, request: _Request) -> bytes:
        """The wire's own addresses, for tests."""
        what, _, rest = request.path.removeprefix("/_wire/").partition("/")
        match request.method, what:
            case "POST", "faults":
                fault = Fault(**json.loads(request.body))
                self._faults.append(fault)
                return json.dumps({"id": fault.id}).encode()
            case "DELETE", "faults":
                self._faults = [fault for fault in self._faults if fault.id != rest]
                return b"{}"
            case "GET", "calls":
                return json.dumps([asdict(call) for call in self._calls if call.function == rest]).encode()
        return b"{}"


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    raw: bytes
    body: bytes
    headers: dict[str, str]

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Request | None:
    """The next request; None where the client has hung up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, headers = _parsed(head)
    method, path, _ = line.split(" ", 2)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = b"".join(part for part in head.splitlines(keepends=True) if not part.lower().startswith(b"expect:"))
    body = await _read_body(reader, headers)
    return _Request(method, path, head + body, body, headers)


async def _read_answer(reader: asyncio.StreamReader, method: str) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    line, headers = _parsed(head)
    status = line.encode().split(b" ")[1]
    if method == "HEAD" or status in _BODILESS:
        return head
    return head + await _read_body(reader, headers)


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    line, *rest = head.decode("latin-1").split("\r\n")
    pairs = (one.partition(":") for one in rest if one)
    return line, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The body as it is on the wire, chunks and all."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", 0)))
    raw = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        raw += size + await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        if int(size.split(b";")[0], 16) == 0:
            return raw


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _throttled(service: str) -> bytes:
    if service == "s3":
        return _reply(503, "application/xml", _xml("SlowDown", "Please reduce your request rate."))
    kind, message = _THROTTLED.get(service, _THROTTLED[""])
    return _reply(400, "application/x-amz-json-1.0", json.dumps({"__type": kind, "message": message}).encode())


def _failed(service: str) -> bytes:
    if service == "s3":
        return _reply(500, "application/xml", _xml("InternalError", "We encountered an internal error."))
    body = {"__type": "InternalServerError", "message": "The request could not be processed: the secret is 4711"}
    return _reply(500, "application/x-amz-json-1.0", json.dumps(body).encode())


def _xml(code: str, message: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def _reply(status: int, media: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} .\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}x-amzn-RequestId: {uuid.uuid4()}\r\n\r\n".encode() + body


if __name__ == "__main__":
    _, own_port, endpoint_port, certificate, key, ledger = sys.argv
    asyncio.run(Wire(int(endpoint_port), certificate, key, Path(ledger)).serve(int(own_port)))
