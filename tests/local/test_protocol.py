"""What the server says by itself, in HTTP, to senders that are wrong, slow, greedy or gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import uvicorn
from uvicorn.server import ServerState

from headgate import limits
from headgate.local.protocol import GateProtocol, protocol_for
from tests.local.wire import (
    HOST,
    KIB,
    MIB,
    Clockwork,
    Pipe,
    Wire,
    assert_problem,
    get,
    one_reply,
    post,
    replies,
    rest,
    seen,
    serving,
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says what it saw; each path has its own manners."""
    path = scope["path"]
    body = b""
    match path:
        case "/boom":
            raise ValueError("the secret is 4711")
        case "/mute":
            return
        case "/slow":
            await asyncio.sleep(0.1)
        case "/half":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
            raise ValueError("the secret is 4711")
        case "/greet":
            pass  # answers without asking for the body
        case "/turn-away":
            await reply(send, 401, b"no", (b"connection", b"close"))
            return
        case _:
            more = True
            while more:
                event = await receive()
                if event["type"] == "http.disconnect":
                    return
                body += event.get("body", b"")
                more = event.get("more_body", False)
    saw = {
        "method": scope["method"],
        "path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "headers": [name.decode() for name, _ in scope["headers"]],
        "size": len(body),
        "body": body[:100].decode("latin-1"),
    }
    await reply(send, 200, json.dumps(saw).encode())


async def reply(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    own = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [own, *headers]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def shared() -> Iterator[Wire]:
    with serving(app) as wire:
        yield wire


@pytest.fixture
def wire(shared: Wire) -> Wire:
    return shared.afresh()


CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n"

MALFORMED = {
    "garbage": b"\x00\x01\x02\x03",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown method": b"FETCH / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT here:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": get("/", b"Host: there"),
    "a fragment": get("/a#b"),
    "a target without a slash": get("a"),
    "an address that is none": get("http://[::1/"),
    "a target that is not ASCII": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: here\n\n",
    "bare LF after a header": b"GET / HTTP/1.1\r\nHost: here\nX: y\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: here\rX: y\r\n\r\n",
    "NUL in a value": get("/", b"X: a\0b"),
    "NUL in a name": get("/", b"X\0: a"),
    "a space before the colon": post("/", b"abc", b"X : y"),
    "a folded header": get("/", b"X: a", b" b"),
    "a header without a colon": get("/", b"abc"),
    "a header without a name": get("/", b": abc"),
    "both framings": CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "both framings, the other way round": post("/", b"", b"Transfer-Encoding: chunked"),
    "both framings, behind an upgrade": CHUNKED
    + b"Content-Length: 3\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n0\r\n\r\n",
    "two lengths that agree": post("/", b"abc", b"Content-Length: 3"),
    "two lengths that differ": post("/", b"abc", b"Content-Length: 4"),
    "a list of lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a negative length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc",
    "a length past all bounds": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "xchunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked, identity": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "gzip, chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "gzip and chunked in two headers": CHUNKED.replace(HOST, HOST + b"Transfer-Encoding: gzip\r\n") + b"\r\n0\r\n\r\n",
    "chunked twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"\r\n0\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\nzz\r\n",
    "a chunk past all bounds": CHUNKED + b"\r\nfffffffffffffffff\r\n",
    "a chunk longer than it says": CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n",
    "chunks with bare LF": CHUNKED + b"\r\n3\nabc\n0\n\n",
    "a length among the trailers": CHUNKED + b"\r\n0\r\nContent-Length: 5\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_not_clean_http_is_answered_400_once_and_closed(wire: Wire, data: bytes) -> None:
    (found,) = replies(wire.send(data + get("/smuggled")))
    assert_problem(found, 400, "malformed_http")
    assert wire.told == [("malformed_http", 400, found.headers["x-request-id"])]


def test_each_refusal_has_its_own_request_id(wire: Wire) -> None:
    for _ in range(3):
        wire.send(b"nonsense\r\n\r\n")
    assert len({request_id for _, _, request_id in wire.told}) == 3


def test_the_longest_target_is_taken_and_a_longer_one_is_414(wire: Wire) -> None:
    longest = "/" + "a" * (limits.URL.value - 1)
    (found,) = wire.ask(get(longest))
    assert found.json()["path"] == longest
    (found,) = replies(wire.send(get(longest + "a")))
    assert_problem(found, 414, "uri_too_long")


def test_a_target_without_an_end_is_414(wire: Wire) -> None:
    (found,) = replies(wire.send(b"GET /" + b"a" * 64 * KIB))
    assert_problem(found, 414, "uri_too_long")


def header_of(size: int) -> bytes:
    """A header that, with HOST, makes headers of `size` bytes."""
    return b"X: " + b"y" * (size - len(HOST) - 5)


def test_headers_up_to_the_limit_are_taken_and_more_are_431(wire: Wire) -> None:
    (found,) = wire.ask(get("/", header_of(limits.HEADERS.value)))
    assert found.status == 200
    (found,) = replies(wire.send(get("/", header_of(limits.HEADERS.value + 1))))
    assert_problem(found, 431, "headers_too_large")


def test_many_small_headers_count_as_one_large_one(wire: Wire) -> None:
    (found,) = replies(wire.send(get("/", *[b"X: y"] * (limits.HEADERS.value // 6))))
    assert_problem(found, 431, "headers_too_large")


def test_the_headers_of_a_pipelined_request_are_counted_too(wire: Wire) -> None:
    found = replies(wire.send(get("/1") + get("/2", header_of(limits.HEADERS.value + 1))))
    assert [reply.status for reply in found] == [200, 431]


def test_a_body_in_the_packet_of_its_headers_does_not_count_as_headers(wire: Wire) -> None:
    (found,) = wire.ask(post("/", b"x" * 60 * KIB))
    assert found.json()["size"] == 60 * KIB


ENDLESS = {
    "headers": (b"GET / HTTP/1.1\r\n" + HOST, b"X: y\r\n" * 100),
    "one header's value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: ", b"y" * KIB),
    "one header's name": (b"GET / HTTP/1.1\r\n" + HOST, b"X" * KIB),
    "empty lines": (b"", b"\r\n" * 500),
    "trailers": (CHUNKED + b"\r\n1\r\na\r\n0\r\n", b"X: y\r\n" * 100),
    "one trailer": (CHUNKED + b"\r\n1\r\na\r\n0\r\nX: ", b"y" * KIB),
    "a chunk's extension": (CHUNKED + b"\r\n1;x=", b"y" * KIB),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_431_after_a_few_kilobytes(wire: Wire, start: bytes, more: bytes) -> None:
    with wire.connect() as sock:
        sock.sendall(start + more * (MIB // 2 // len(more)))
        assert_problem(one_reply(sock), 431, "headers_too_large")
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b""


def test_one_connection_serves_many_requests(wire: Wire) -> None:
    with wire.connect() as sock:
        for number in range(50):
            sock.sendall(post(f"/{number}?q={number}", b"x" * number))
            saw = one_reply(sock).json()
            assert (saw["path"], saw["query"], saw["size"]) == (f"/{number}", f"q={number}", number)


def test_a_request_may_come_byte_by_byte(wire: Wire) -> None:
    with wire.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post("/drip", b"drop", b"Connection: close"):
            sock.sendall(bytes([byte]))
        (found,) = replies(rest(sock))
    assert (found.json()["path"], found.json()["body"]) == ("/drip", "drop")


def test_targets_reach_the_app_as_paths(wire: Wire) -> None:
    found = wire.ask(
        get("http://here/p%2Fq?r=s") + get("http://here") + get("//p") + b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n"
    )
    assert [reply.json()["path"] for reply in found] == ["/p%2Fq", "/", "//p", "*"]


def test_http_1_0_is_answered_and_closed_without_a_host(wire: Wire) -> None:
    (found,) = replies(wire.send(b"GET / HTTP/1.0\r\n\r\n"))
    assert (found.status, found.headers["connection"]) == (200, "close")


def test_a_head_request_gets_no_body_neither_from_the_app_nor_from_us(wire: Wire) -> None:
    head = get("/").replace(b"GET", b"HEAD", 1)
    found = replies(wire.send(head + head.replace(b"Host: here", b"X: y")), head=True)
    assert [reply.status for reply in found] == [200, 400]
    assert found[1].headers["content-length"] != "0"


UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
)


def test_an_upgrade_is_declined_and_the_request_answered_with_its_body(wire: Wire) -> None:
    chunked = CHUNKED + b"".join(line + b"\r\n" for line in UPGRADE) + b"\r\n3\r\nabc\r\n0\r\n\r\n"
    websocket = get("/ws", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
    found = wire.ask(post("/", b"abc", *UPGRADE) + chunked + websocket + get("/after"))
    assert [(reply.status, reply.json()["body"]) for reply in found] == [
        (200, "abc"),
        (200, "abc"),
        (200, ""),
        (200, ""),
    ]
    assert "upgrade" not in found[0].json()["headers"]


def test_an_upgrade_may_come_in_pieces(wire: Wire) -> None:
    data = post("/", b"abc", *UPGRADE, b"Expect: 100-continue")
    with wire.connect() as sock:
        for at in range(0, len(data), 40):
            sock.sendall(data[at : at + 40])
            time.sleep(0.002)
        sock.sendall(get("/last", b"Connection: close"))
        found = replies(rest(sock))
    assert [reply.status for reply in found] == [100, 200, 200]
    assert found[1].json()["body"] == "abc"


def test_trailers_do_not_become_headers(wire: Wire) -> None:
    trailers = b"\r\n3\r\nabc\r\n0\r\nAuthorization: Bearer x\r\nHost: there\r\n\r\n"
    slow, plain = CHUNKED.replace(b"/ ", b"/slow "), CHUNKED
    found = wire.ask(slow + trailers + plain + trailers)
    assert [reply.json()["headers"] for reply in found] == [["host", "transfer-encoding"]] * 2


def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    found = wire.ask(get("/slow?1") + post("/2", b"two") + get("/slow?3") + get("/4"))
    assert [reply.json()["path"] + reply.json()["query"] for reply in found] == [
        "/slow1",
        "/2",
        "/slow3",
        "/4",
    ]
    assert found[1].json()["body"] == "two"


@pytest.mark.parametrize("bad", [b"nonsense\r\n\r\n", CHUNKED + b"\r\nzz\r\n", get("/", b"Host: there")])
def test_a_refusal_waits_for_the_replies_before_it(wire: Wire, bad: bytes) -> None:
    found = replies(wire.send(get("/slow") + post("/2", b"two") + bad + get("/never")))
    assert [reply.status for reply in found] == [200, 200, 400]
    assert found[1].json()["body"] == "two"
    assert_problem(found[2], 400, "malformed_http")


def test_a_refusal_is_sent_to_a_sender_that_has_closed_its_half(wire: Wire) -> None:
    found = replies(wire.send(get("/slow") + b"nonsense\r\n\r\n", hang_up=True))
    assert [reply.status for reply in found] == [200, 400]


def test_too_many_pipelined_requests_are_429_after_those_that_wait(wire: Wire) -> None:
    found = replies(wire.send(get("/slow") + get("/") * 1_000))
    assert [reply.status for reply in found] == [200] * (1 + GateProtocol.most_waiting) + [429]
    assert_problem(found[-1], 429, "pipeline_full")


def test_a_sender_that_asks_is_told_to_continue(wire: Wire) -> None:
    with wire.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert one_reply(sock).json()["body"] == "abc"
        sock.sendall(get("/again"))
        assert one_reply(sock).status == 200


def test_a_sender_that_asks_and_is_turned_away_starts_afresh(wire: Wire) -> None:
    """Whether its body or its next request follows, nobody can tell."""
    with wire.connect() as sock:
        sock.sendall(b"POST /greet HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert one_reply(sock).headers["connection"] == "close"
        sock.sendall(get("/smuggled"))
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b""


@pytest.mark.parametrize("size", [100, 100 * KIB, 8 * MIB])
def test_a_reply_that_did_not_wait_for_the_body_arrives_and_the_connection_goes_on(wire: Wire, size: int) -> None:
    with wire.connect() as sock:
        sock.sendall(post("/greet", b"x" * size))
        assert one_reply(sock).status == 200
        sock.sendall(get("/next"))
        assert one_reply(sock).json()["path"] == "/next"


@pytest.mark.parametrize("size", [100, 100 * KIB, 8 * MIB])
def test_a_reply_that_ends_the_connection_is_not_overtaken_by_a_reset(wire: Wire, size: int) -> None:
    head, body = post("/turn-away", b"x" * size).split(b"\r\n\r\n")
    with wire.connect() as sock:
        sock.sendall(head + b"\r\n\r\n")
        time.sleep(0.02)  # the reply is out before the body is
        sock.sendall(body)
        sock.sendall(get("/smuggled"))
        sock.shutdown(socket.SHUT_WR)
        (found,) = replies(rest(sock))
    assert found.status == 401


def test_a_refusal_is_not_overtaken_by_a_reset_either(wire: Wire) -> None:
    with wire.connect() as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        for _ in range(64):
            sock.sendall(b"x" * 64 * KIB)
        sock.shutdown(socket.SHUT_WR)
        (found,) = replies(rest(sock))
    assert_problem(found, 400, "malformed_http")


@pytest.mark.parametrize("path", ["/greet", "/turn-away"])
def test_a_body_nobody_wants_is_thrown_away_only_so_far(path: str) -> None:
    def narrow(made: type[GateProtocol]) -> type[GateProtocol]:
        return type("Narrow", (made,), {"discard_bytes": 4 * MIB, "__slots__": ()})

    with serving(app, protocol=narrow) as wire, wire.connect() as sock:
        sock.sendall(b"POST " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        assert one_reply(sock).status in (200, 401)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * MIB:
                sock.sendall(b"10000\r\n" + b"x" * 64 * KIB + b"\r\n")
                sent += 64 * KIB
        assert 4 * MIB <= sent < 64 * MIB


def test_a_sender_may_close_its_half_after_its_last_request(wire: Wire) -> None:
    found = replies(wire.send(get("/slow") + post("/2", b"two"), hang_up=True))
    assert [(reply.status, reply.json()["path"]) for reply in found] == [(200, "/slow"), (200, "/2")]


@pytest.mark.parametrize("part", [b"GET / HT", post("/", b"abc")[:-1], CHUNKED + b"\r\n3\r\nabc\r\n"])
def test_a_request_that_ends_halfway_is_400(wire: Wire, part: bytes) -> None:
    found = replies(wire.send(get("/slow") + part, hang_up=True))
    assert found[0].status == 200
    assert_problem(found[1], 400, "malformed_http")


def test_a_sender_that_connects_and_leaves_gets_nothing(wire: Wire) -> None:
    assert wire.send(b"", hang_up=True) == b""
    assert wire.told == []


def test_a_sender_that_resets_leaves_nothing_behind(wire: Wire) -> None:
    for data in (get("/slow") * 3, post("/", b"abc")[:-1], b"GET / HT", b"nonsense\r\n\r\n", b""):
        sock = wire.connect()
        sock.sendall(data)
        time.sleep(0.01)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert wire.ask(get("/fine"))[0].status == 200
    assert seen(lambda: not wire.state.connections and not wire.state.tasks)


@pytest.mark.parametrize(("path", "where"), [("/boom", "test_protocol.py"), ("/mute", "no reply")])
def test_an_app_that_fails_is_a_500_that_says_nothing(
    wire: Wire, caplog: pytest.LogCaptureFixture, path: str, where: str
) -> None:
    found = replies(wire.send(get("/slow") + get(path) + get("/never")))
    assert [reply.status for reply in found] == [200, 500]
    assert_problem(found[1], 500, "broken")
    assert wire.told == [("broken", 500, found[1].headers["x-request-id"])]
    assert b"4711" not in found[1].body
    assert "4711" not in caplog.text
    assert where in caplog.text
    assert found[1].headers["x-request-id"] in caplog.text


def test_an_app_that_fails_halfway_is_cut_off(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    data = wire.send(get("/half") + get("/never"))
    assert data.endswith(b"\r\n\r\nsome")
    assert "4711" not in caplog.text


def test_beyond_the_most_connections_503_and_far_beyond_nothing() -> None:
    def narrow(made: type[GateProtocol]) -> type[GateProtocol]:
        return type("Narrow", (made,), {"most_connections": 3, "__slots__": ()})

    with serving(app, protocol=narrow) as wire, contextlib.ExitStack() as stack:
        inside = [stack.enter_context(wire.connect()) for _ in range(3)]
        for sock in inside:
            sock.sendall(get("/"))
            assert one_reply(sock).status == 200
        outside = [stack.enter_context(wire.connect()) for _ in range(3)]
        for sock in outside:
            found = one_reply(sock)
            assert_problem(found, 503, "too_many_connections")
            assert found.headers["retry-after"] == "1"
        with wire.connect() as dropped, contextlib.suppress(ConnectionResetError):
            assert dropped.recv(1) == b""
        for sock in (*outside, *inside[1:]):
            sock.close()
        inside[0].sendall(get("/"))
        assert one_reply(inside[0]).status == 200
        assert seen(lambda: len(wire.state.connections) <= 1)
        assert wire.ask(get("/"))[0].status == 200
        assert [reason for reason, _, _ in wire.told] == ["too_many_connections"] * 3


def test_many_connections_at_once_are_all_answered(wire: Wire) -> None:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(wire.connect()) for _ in range(200)]
        for number, sock in enumerate(socks):
            sock.sendall(post(f"/{number}", b"x" * 100))
        assert [one_reply(sock).json()["path"] for sock in socks] == [f"/{number}" for number in range(200)]


def test_a_slow_body_is_408_on_a_real_connection_too() -> None:
    def narrow(made: type[GateProtocol]) -> type[GateProtocol]:
        return type("Narrow", (made,), {"body_time_s": 0.2, "__slots__": ()})

    with serving(app, protocol=narrow) as wire, wire.connect() as sock:
        sock.sendall(post("/", b"abc")[:-1])
        assert_problem(one_reply(sock), 408, "request_timeout")


# --------------------------------------------------------------------------------------------- by the clock


class Line:
    """A GateProtocol on a clock and a pipe, with an app that answers when it is told to."""

    LIMITS: ClassVar[dict[str, float]] = {"header_time_s": 10, "body_time_s": 29, "keep_alive_s": 60}

    def __init__(self, loop: Clockwork) -> None:
        self.loop = loop
        self.told: list[tuple[str, int, str]] = []
        self.events: list[str] = []
        self.go = asyncio.Event()
        self.pipe = Pipe()
        config = uvicorn.Config(self._app, lifespan="off", log_config=None, access_log=False, interface="asgi3")
        config.load()
        made = protocol_for(lambda *what: self.told.append(what))
        protocol = type("Clocked", (made,), {**self.LIMITS, "__slots__": ()})
        self.protocol: GateProtocol = protocol(config, ServerState(), {}, loop)
        self.protocol.connection_made(self.pipe)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/read":
            while (event := await receive()).get("more_body"):
                pass
            self.events.append(event["type"])
        if scope["path"] == "/begin":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        elif scope["path"] != "/greet":
            await self.go.wait()
            await reply(send, 200, b"ok")
        else:
            await reply(send, 200, b"ok")
        if scope["path"] == "/begin":
            await receive()
            self.events.append((await receive())["type"])

    def feed(self, data: bytes) -> None:
        self.protocol.data_received(data)
        self.loop.settle()

    def statuses(self) -> list[int]:
        return [reply.status for reply in replies(self.pipe.out)]


@pytest.fixture
def loop() -> Iterator[Clockwork]:
    loop = Clockwork()
    yield loop
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.settle()
    loop.close()


@pytest.fixture
def line(loop: Clockwork) -> Line:
    return Line(loop)


def test_a_silent_sender_is_hung_up_on_without_a_word(line: Line, loop: Clockwork) -> None:
    loop.advance(9.9)
    assert line.pipe.end == ""
    loop.advance(0.5)
    assert (line.pipe.end, line.pipe.out, line.told) == ("closed", b"", [])


def test_a_loop_that_was_held_up_reads_what_has_come_before_anybody_is_too_late(line: Line, loop: Clockwork) -> None:
    for served in (1, 2, 3):
        loop.at_s += 100  # at once; and timers come before what a socket has
        loop.settle()
        line.feed(get("/greet"))
        assert line.statuses() == [200] * served
    loop.at_s += 100
    loop.settle()
    assert line.pipe.end == ""
    loop.advance(0.5)
    assert line.pipe.end == "closed"


def test_a_sender_that_drips_its_headers_gets_408_in_time(line: Line, loop: Clockwork) -> None:
    line.feed(b"GET / HTTP/1.1\r\n" + HOST)
    for _ in range(9):
        loop.advance(1)
        line.feed(b"X: y\r\n")
    assert line.pipe.out == b""
    loop.advance(1.5)
    assert line.statuses() == [408]
    assert line.pipe.ended
    assert [(reason, status) for reason, status, _ in line.told] == [("request_timeout", 408)]


def test_header_time_counts_from_the_first_byte_of_each_request(line: Line, loop: Clockwork) -> None:
    line.feed(get("/greet"))
    loop.advance(55)
    line.feed(b"GET /greet")
    loop.advance(9.8)
    assert line.statuses() == [200]
    loop.advance(0.8)
    assert line.statuses() == [200, 408]


def test_a_body_that_does_not_come_in_time_gets_408_and_the_app_is_told(line: Line, loop: Clockwork) -> None:
    line.feed(post("/read", b"abc")[:-2])
    loop.advance(15)
    line.feed(b"b")
    loop.advance(13.8)
    assert line.statuses() == []
    loop.advance(0.8)
    assert line.statuses() == [408]
    assert line.events == ["http.disconnect"]
    line.go.set()
    loop.settle()
    assert line.statuses() == [408], "what the app sends later goes nowhere"


def test_a_slow_body_whose_reply_has_begun_is_cut_off(line: Line, loop: Clockwork) -> None:
    line.feed(post("/begin", b"abc")[:-2])
    loop.advance(29.6)
    assert line.pipe.end == "closed"
    assert line.pipe.out.count(b"HTTP/1.1") == 1
    assert line.told == []


def test_a_slow_body_that_nobody_waits_for_is_cut_off(line: Line, loop: Clockwork) -> None:
    line.feed(post("/greet", b"abc")[:-2])
    assert line.statuses() == [200]
    loop.advance(28.8)
    assert line.pipe.end == ""
    loop.advance(0.8)
    assert (line.pipe.end, line.statuses()) == ("closed", [200])


def test_a_body_that_waits_for_us_is_not_late(line: Line, loop: Clockwork) -> None:
    line.feed(get("/slow") + post("/read", b"abc")[:-2])
    assert line.pipe.paused
    loop.advance(100)
    line.go.set()
    loop.settle()
    assert not line.pipe.paused
    line.feed(b"bc")
    assert line.statuses() == [200, 200]
    assert line.events == ["http.request"]


def test_a_large_body_that_the_app_does_not_read_yet_is_held_back_not_late(line: Line, loop: Clockwork) -> None:
    line.feed(post("/slow", b"x" * 200 * KIB)[: 100 * KIB])
    assert line.pipe.paused
    loop.advance(100)
    line.go.set()
    loop.settle()
    assert line.statuses() == [200]
    assert not line.pipe.paused, "the rest is taken and thrown away"


def test_a_late_pipelined_request_gets_its_408_after_the_reply_before_it(line: Line, loop: Clockwork) -> None:
    line.feed(get("/slow") + b"GET / HT")
    loop.advance(11)
    assert line.pipe.out == b""
    line.go.set()
    loop.settle()
    assert line.statuses() == [200, 408]


def test_an_idle_connection_is_closed_after_its_time_counted_from_the_reply(line: Line, loop: Clockwork) -> None:
    line.feed(get("/slow"))
    loop.advance(305)
    assert line.pipe.end == "", "the app may take its time"
    line.go.set()
    loop.settle()
    loop.advance(59.8)
    assert line.pipe.end == ""
    loop.advance(0.8)
    assert (line.pipe.end, line.statuses()) == ("closed", [200])


def test_a_sender_that_stays_after_its_refusal_is_reset_in_time(line: Line, loop: Clockwork) -> None:
    line.feed(b"nonsense\r\n\r\n")
    assert (line.statuses(), line.pipe.ended, line.pipe.end) == ([400], True, "")
    for _ in range(28):
        loop.advance(1)
        line.feed(b"more")
    assert line.pipe.end == ""
    loop.advance(1.5)
    assert line.pipe.end == "reset"


def test_a_sender_that_does_not_read_its_reply_is_reset_in_the_end(line: Line, loop: Clockwork) -> None:
    line.feed(get("/slow"))
    line.protocol.pause_writing()
    line.go.set()
    loop.settle()
    assert line.statuses() == []
    loop.advance(60.6)
    assert line.pipe.end == "closed"
    loop.advance(29.6)
    assert line.pipe.end == "reset"


def test_a_connection_that_is_lost_leaves_no_timer_and_no_app_that_waits(line: Line, loop: Clockwork) -> None:
    line.feed(post("/begin", b"abc") + get("/slow"))
    line.protocol.connection_lost(None)
    timers = loop.timers
    loop.advance(100)
    assert loop.timers == timers
    assert line.events == ["http.disconnect"]
    assert not line.protocol.tasks


def test_a_hundred_requests_cost_no_timer(line: Line, loop: Clockwork) -> None:
    before = loop.timers
    for _ in range(100):
        line.feed(post("/greet", b"abc"))
    assert line.statuses() == [200] * 100
    assert loop.timers == before


def test_a_server_that_stops_closes_the_idle_and_lets_the_busy_finish(line: Line, loop: Clockwork) -> None:
    idle = Line(loop)
    idle.feed(get("/greet"))
    idle.protocol.shutdown()
    assert idle.pipe.end == "closed"
    line.feed(get("/slow"))
    line.protocol.shutdown()
    assert line.pipe.end == ""
    line.go.set()
    loop.settle()
    assert (line.statuses(), line.pipe.end) == ([200], "closed")


def test_an_app_that_is_stopped_while_draining_says_503(line: Line, loop: Clockwork) -> None:
    line.feed(get("/slow"))
    line.protocol.shutdown()
    for task in line.protocol.tasks:
        task.cancel()
    loop.settle()
    assert line.statuses() == [503]


def test_the_limits_are_those_that_are_documented() -> None:
    assert (GateProtocol.header_time_s, GateProtocol.body_time_s) == (
        limits.HEADER_TIME.value,
        limits.BODY_TIME.value,
    )
    assert (GateProtocol.keep_alive_s, GateProtocol.most_connections) == (
        limits.KEEP_ALIVE.value,
        limits.CONNECTIONS.value,
    )
