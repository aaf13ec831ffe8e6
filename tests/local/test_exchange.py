"""Requests to channels and their replies, by both ways in: straight from the protocol, and by way of ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headgate.local.drive import Drive
from headgate.local.exchange import Exchange
from headgate.local.protocol import GateProtocol
from tests.local.site import SECRET, Line, Site, chunked, opened_site
from tests.local.wire import (
    HOST,
    KIB,
    MIB,
    Clockwork,
    Reply,
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
from tests.serving import PATIENCE_S


def item(key: str, size: int = 0) -> bytes:
    """A message of at least `size` bytes."""
    return json.dumps({"id": key, "text": "x" * size}).encode()


# --------------------------------------------------------------------------------------- by the clock, straight


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened_site(tmp_path) as site:
        yield site


@pytest.fixture
def loop() -> Iterator[Clockwork]:
    loop = Clockwork()
    yield loop
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.settle()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture
def line(loop: Clockwork, site: Site) -> Iterator[Line]:
    yield Line(loop, site)
    site.open.set()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing may be logged as an error."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_body_that_does_not_come_in_time_gets_408_and_is_not_stored(line: Line, loop: Clockwork, site: Site) -> None:
    line.feed(post("/any", item("1"))[:-2])
    loop.advance(15)
    line.feed(b"x")
    loop.advance(13.8)
    assert line.pipe.out == b""
    loop.advance(0.8)
    assert line.statuses() == [408]
    assert [(reason, status) for reason, status, _ in line.told] == [("request_timeout", 408)]
    loop.advance(30)
    assert (line.statuses(), line.pipe.end) == ([408], "reset")
    assert site.stored("1") is None


def test_a_slow_body_that_was_refused_unread_is_cut_off(line: Line, loop: Clockwork) -> None:
    line.feed(post("/nowhere", b"abc")[:-2])
    assert line.statuses() == [404]
    loop.advance(28.8)
    assert line.pipe.end == ""
    loop.advance(0.8)
    assert (line.pipe.end, line.statuses()) == ("closed", [404])


def test_an_idle_connection_is_closed_after_its_time_counted_from_the_commit(
    line: Line, loop: Clockwork, site: Site
) -> None:
    disk = site.hold_the_disk()
    line.feed(post("/any", item("1")))
    loop.advance(305)
    assert (line.pipe.end, line.pipe.out) == ("", b""), "the disk may take its time"
    disk.release()
    assert line.statuses(201) == [201]
    loop.advance(59.8)
    assert line.pipe.end == ""
    loop.advance(0.8)
    assert line.pipe.end == "closed"


def test_a_body_behind_a_request_that_waits_is_held_back_not_late(line: Line, loop: Clockwork, site: Site) -> None:
    disk = site.hold_the_disk()
    line.feed(post("/any", item("1")) + post("/any", item("2"))[:-2])
    assert line.pipe.paused
    loop.advance(100)
    disk.release()
    line.statuses(201)
    assert not line.pipe.paused
    line.feed(item("2")[-2:])
    assert line.statuses(201, 201) == [201, 201]


def test_a_large_body_is_held_back_while_its_sender_is_looked_at(line: Line, loop: Clockwork, site: Site) -> None:
    data = post("/door", item("1", 200 * KIB))
    line.feed(data[: 100 * KIB])
    assert line.pipe.paused
    loop.advance(100)
    site.open.set()
    loop.until(lambda: not line.pipe.paused)
    for at in range(100 * KIB, len(data), 10 * KIB):
        line.feed(data[at : at + 10 * KIB])
        assert not line.pipe.paused
    assert line.statuses(201) == [201]


def test_a_refusal_waits_for_the_commit_of_the_request_before_it(line: Line, site: Site) -> None:
    disk = site.hold_the_disk()
    line.feed(post("/any", item("1")) + get("/nowhere") + post("/tiny", item("x" * 200)) + b"nonsense\r\n\r\n")
    assert line.pipe.out == b""
    disk.release()
    assert line.statuses(201, 404, 413, 400) == [201, 404, 413, 400]


def test_a_reply_waits_for_a_sender_that_does_not_read(line: Line, loop: Clockwork, site: Site) -> None:
    line.protocol.pause_writing()
    line.feed(get("/nowhere/1") + post("/any", item("1")) + get("/nowhere/2"))
    loop.advance(1)
    assert line.pipe.out == b""
    assert site.stored("1") is None, "nothing is begun before the reply in front of it is out"
    line.protocol.resume_writing()
    assert line.statuses(404, 201, 404) == [404, 201, 404]


def test_a_sender_that_does_not_read_is_reset_in_the_end_and_gets_no_more(line: Line, loop: Clockwork) -> None:
    line.protocol.pause_writing()
    line.feed(get("/nowhere"))
    loop.advance(60.6)
    assert line.pipe.end == "closed"
    line.protocol.resume_writing()  # what was written before goes out; a transport that closes takes no more
    loop.settle()
    assert line.pipe.out == b""
    loop.advance(29.6)
    assert line.pipe.end == "reset"


def test_a_sender_that_hangs_up_while_its_reply_waits_gets_none(line: Line, loop: Clockwork) -> None:
    line.protocol.pause_writing()
    line.feed(get("/nowhere"))
    line.pipe.abort()
    line.protocol.connection_lost(None)
    line.protocol.resume_writing()
    loop.settle()
    assert line.pipe.out == b""


@pytest.mark.usefixtures("quiet")
def test_a_message_is_stored_although_its_sender_hangs_up_before_the_commit(
    line: Line, loop: Clockwork, site: Site
) -> None:
    disk = site.hold_the_disk()
    line.feed(post("/any", item("1")) + post("/any", item("2")))
    line.pipe.abort()
    line.protocol.connection_lost(None)
    timers = loop.timers
    disk.release()
    loop.until(lambda: site.stored("1"))
    loop.advance(100)
    assert (line.pipe.out, loop.timers) == (b"", timers)
    assert site.stored("2") is None, "its turn had not come"


@pytest.mark.usefixtures("quiet")
def test_a_sender_that_hangs_up_halfway_leaves_nothing(line: Line, loop: Clockwork, site: Site) -> None:
    line.feed(post("/any", item("1"))[:-2])
    line.protocol.connection_lost(ConnectionResetError())
    loop.advance(100)
    assert site.stored("1") is None
    assert line.pipe.out == b""


@pytest.mark.usefixtures("quiet")
def test_a_sender_that_hangs_up_while_it_is_looked_at_leaves_nothing(line: Line, loop: Clockwork, site: Site) -> None:
    line.feed(post("/door", item("1"))[:-2])
    loop.until(site.at_the_door.is_set)
    line.protocol.connection_lost(None)
    site.open.set()
    loop.until(lambda: not site.server.driver._tasks)
    assert site.stored("1", "door") is None


ENDING = {
    "asked to close": post("/any", b"{", b"Connection: close"),
    "HTTP/1.0": post("/any", b"{", b"Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "the server stops": post("/any", b"{"),
    "a body past the limit": chunked("/tiny", [b"x" * 80] * 3),
}


@pytest.mark.parametrize("cut_at", [0, 1, 10])
@pytest.mark.parametrize("why", ENDING)
def test_nothing_behind_the_last_request_of_a_connection_is_taken(
    line: Line, loop: Clockwork, site: Site, why: str, cut_at: int
) -> None:
    """In whatever pieces it comes."""
    data = ENDING[why] + post("/any", item("smuggled")) + get("/nowhere")
    at = ENDING[why].index(b"\r\n\r\n") + 4 + cut_at
    line.feed(data[:at])
    if why in ("the server stops", "a body past the limit"):
        line.protocol.shutdown()
    line.feed(data[at:])
    loop.settle()
    site.after_the_writer()
    loop.settle()
    assert line.statuses(0) == [413 if "past" in why else 400]
    assert line.pipe.end or line.pipe.ended
    assert site.stored("smuggled") is None


def test_a_body_past_the_limit_is_refused_when_it_is_past_and_the_rest_is_thrown_away(line: Line) -> None:
    request = chunked("/small", [b"x" * 10 * KIB] * 30) + get("/nowhere")
    for at in range(0, len(request), 5 * KIB):
        line.feed(request[at : at + 5 * KIB])
    assert line.statuses(413, 404) == [413, 404]
    assert len(line.protocol.cycle.body) < 200 * KIB


def test_an_idle_connection_holds_no_body(line: Line) -> None:
    for status, data in (
        (201, post("/any", item("1", MIB))),
        (400, post("/any", b"x" * MIB)),
        (401, post("/shut", b"x" * MIB)),
        (413, chunked("/small", [b"x" * 10 * KIB] * 30)),
    ):
        before = len(replies(line.pipe.out))
        for at in range(0, len(data), 32 * KIB):
            line.feed(data[at : at + 32 * KIB])
        assert line.statuses(*[0] * (before + 1))[-1] == status
        assert len(line.protocol.cycle.body) == 0


def test_a_message_that_waits_for_the_disk_is_held_once(line: Line, loop: Clockwork, site: Site) -> None:
    disk = site.hold_the_disk()
    data = post("/any", item("1", MIB))
    for at in range(0, len(data), 32 * KIB):
        line.feed(data[at : at + 32 * KIB])
    assert len(line.protocol.cycle.body) == 0
    disk.release()
    assert line.statuses(201) == [201]


def test_refusals_cost_no_timer(line: Line, loop: Clockwork) -> None:
    before = loop.timers
    for _ in range(100):
        line.feed(post("/nowhere", b"abc"))
    assert line.statuses() == [404] * 100
    assert loop.timers == before


def test_a_server_that_stops_closes_the_idle_and_lets_the_busy_finish(line: Line, loop: Clockwork, site: Site) -> None:
    idle = Line(loop, site)
    idle.feed(get("/nowhere"))
    idle.protocol.shutdown()
    assert idle.pipe.end == "closed"
    disk = site.hold_the_disk()
    line.feed(post("/any", item("1")) + post("/any", item("2")))
    line.protocol.shutdown()
    assert line.pipe.end == ""
    disk.release()
    assert line.statuses(201, 201) == [201, 201]
    assert line.pipe.end == "closed"


@pytest.mark.parametrize("request_", [post("/door", item("1")), get("/door/1")], ids=["post", "get"])
def test_a_request_that_is_stopped_while_draining_says_503(
    line: Line, loop: Clockwork, site: Site, request_: bytes
) -> None:
    line.feed(request_)
    loop.until(site.at_the_door.is_set)
    line.protocol.shutdown()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    assert line.statuses(503) == [503]
    assert line.pipe.end == "closed"


def test_a_reader_that_is_stopped_while_draining_is_told_503_too(line: Line, loop: Clockwork) -> None:
    loop.call_soon(line.protocol.data_received, get("/any/1"))
    for _ in range(2):  # its turn, and its first step, which leaves for a thread
        loop.call_soon(loop.stop)
        loop.run_forever()
    (reading,) = asyncio.all_tasks(loop)
    reading.cancel()
    assert line.statuses(503) == [503]


def alive(*kinds: type) -> list[str]:
    """The exchanges and drives that there are, and what else is of these kinds."""
    return [type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, (Exchange, Drive, *kinds))]


def test_two_thousand_requests_leave_nothing_that_has_to_be_collected(line: Line, loop: Clockwork, site: Site) -> None:
    """Serving collects cycles seldom: what a request leaves behind must go by itself."""
    line.feed(post("/any", item("warm")) + get("/nowhere"))
    line.statuses(201, 404)
    gc.collect()
    gc.disable()
    try:
        for n in range(500):
            line.pipe.out = b""
            line.feed(post("/any", item(str(n))) + get("/nowhere") + post("/any", b"{") + get(f"/any/{n}"))
            assert line.statuses(201, 404, 400, 200) == [201, 404, 400, 200]
        # A thread that has just told the loop may not have let go yet.
        loop.until(lambda: alive() in ([], ["Exchange"]))  # at most the connection's last
    finally:
        gc.enable()


def test_a_hundred_connections_that_are_lost_at_any_point_leave_nothing(loop: Clockwork, site: Site) -> None:
    for n in range(100):
        line = Line(loop, site)
        disk = site.hold_the_disk()
        line.feed((post("/any", item(str(n), 100)) + post("/any", item("next"))[:-2])[: 1 + 3 * n])
        line.protocol.connection_lost(None)
        disk.release()
        loop.settle()
    groups = site.server.driver._groups
    loop.until(lambda: groups is not None and not groups._in_flight and groups._open is None)
    del line
    gc.collect()
    loop.until(lambda: not alive(GateProtocol))


# ------------------------------------------------------------------------------------------- on the wire, both ways


@dataclass
class Served:
    """A site that is served, by one of the two ways."""

    site: Site
    wire: Wire

    def buffered(self) -> int:
        """Bytes of replies that wait in the server for their readers."""
        return sum(connection.transport.get_write_buffer_size() for connection in list(self.wire.state.connections))


@pytest.fixture(scope="module", params=["straight", "ASGI"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with opened_site(tmp_path_factory.mktemp("site")) as site:
        driver = site.server.driver if request.param == "straight" else None
        with serving(site.server, driver) as wire:
            yield Served(site, wire)


@pytest.fixture
def wire(served: Served) -> Wire:
    return served.wire.afresh()


def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    kinds = (
        lambda n: post("/any", item(f"pipelined-{n}"), b"X-Request-Id: %d" % n),
        lambda n: get("/nowhere", b"X-Request-Id: %d" % n),
        lambda n: post("/any", b"{", b"X-Request-Id: %d" % n),
        lambda n: get(f"/any/pipelined-{n - 3}", b"X-Request-Id: %d" % n),
        lambda n: post("/shut", item("x", 100), b"X-Request-Id: %d" % n),
        lambda n: chunked("/tiny", [b"x" * 90] * 2, b"X-Request-Id: %d" % n),
    )
    found = wire.ask(b"".join(kinds[n % 6](n) for n in range(120)))
    assert [reply.headers["x-request-id"] for reply in found] == [str(n) for n in range(120)]
    assert [reply.status for reply in found] == [201, 404, 400, 200, 401, 413] * 20


def test_a_thousand_requests_that_need_nothing_come_back_in_order(wire: Wire) -> None:
    """In packets of ten, so that no more than 128 wait."""
    with wire.connect() as sock:
        for tens in range(100):
            sock.sendall(b"".join(get("/nowhere", b"X-Request-Id: %d" % (10 * tens + n)) for n in range(10)))
            for n in range(10):
                assert one_reply(sock).headers["x-request-id"] == str(10 * tens + n)


def test_a_second_refusal_does_not_overtake_a_first_commit(served: Served, wire: Wire) -> None:
    disk = served.site.hold_the_disk()
    with wire.connect() as sock:
        sock.sendall(post("/any", item("waits")) + get("/nowhere", b"Connection: close"))
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        disk.release()
        sock.settimeout(PATIENCE_S)
        assert [reply.status for reply in replies(rest(sock))] == [201, 404]


@pytest.mark.parametrize("size", [70 * KIB, 900 * KIB])
@pytest.mark.parametrize("chunk", [100, 5_000, 100_000])
def test_a_large_body_in_many_chunks_comes_through(wire: Wire, size: int, chunk: int) -> None:
    body = item(f"chunked-{size}-{chunk}", size)
    request = chunked("/any", [body[at : at + chunk] for at in range(0, len(body), chunk)])
    with wire.connect() as sock:
        for at in range(0, len(request), 8_000):
            sock.sendall(request[at : at + 8_000])
        assert one_reply(sock).status == 201
        sock.sendall(get(f"/any/chunked-{size}-{chunk}"))
        assert one_reply(sock).json()["body"] == json.loads(body)


EARLY = {"/nowhere": 404, "/shut": 401, "/tiny": 413, "/keyed": 401, "/trap": 500}


@pytest.mark.parametrize("size", [200, 100 * KIB, 8 * MIB])
@pytest.mark.parametrize(("path", "status"), EARLY.items())
def test_a_reply_that_did_not_wait_for_the_body_arrives_and_the_connection_goes_on(
    wire: Wire, path: str, status: int, size: int
) -> None:
    with wire.connect() as sock:
        sock.sendall(post(path, b"x" * size) + get("/nowhere/next"))
        assert one_reply(sock).status == status
        assert one_reply(sock).status == 404
        sock.sendall(chunked(path, [b"x" * 50 * KIB] * (size // (50 * KIB) + 3)) + post("/any", item("after")))
        assert one_reply(sock).status == status
        assert one_reply(sock).status == 201


@pytest.mark.parametrize("path", EARLY)
def test_a_reply_before_the_body_that_ends_the_connection_is_not_overtaken_by_a_reset(wire: Wire, path: str) -> None:
    head, body = post(path, b"x" * MIB, b"Connection: close").split(b"\r\n\r\n")
    with wire.connect() as sock:
        sock.sendall(head + b"\r\n\r\n")
        found = one_reply(sock)
        assert (found.status, found.headers["connection"]) == (EARLY[path], "close")
        sock.sendall(body + post("/any", item("smuggled")))
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b""


def asks(path: str, body: bytes) -> bytes:
    """A request that waits to be told to continue, without its body."""
    return post(path, body, b"Expect: 100-continue")[: -len(body)]


def test_a_sender_that_asks_is_told_to_continue_and_may_go_on(wire: Wire) -> None:
    with wire.connect() as sock:
        for n in range(2):
            sock.sendall(asks("/any", item(f"asks-{n}")))
            assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(item(f"asks-{n}"))
            assert one_reply(sock).status == 201


@pytest.mark.parametrize(("path", "status"), EARLY.items())
def test_a_sender_that_asks_and_is_turned_away_starts_afresh(wire: Wire, path: str, status: int) -> None:
    with wire.connect() as sock:
        sock.sendall(asks(path, b"x" * 200))
        found = one_reply(sock)
        assert (found.status, found.headers["connection"]) == (status, "close")
        sock.sendall(post("/any", item("smuggled-by-asking")))
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b""


def test_who_asks_behind_another_is_told_after_the_other_s_reply(served: Served, wire: Wire) -> None:
    disk = served.site.hold_the_disk()
    with wire.connect() as sock:
        sock.sendall(post("/any", item("in-front")) + asks("/any", item("asks-behind")))
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(PATIENCE_S)
        disk.release()
        assert one_reply(sock).status == 201
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(item("asks-behind"))
        assert one_reply(sock).status == 201


def test_a_sender_may_close_its_half_when_all_is_sent(wire: Wire) -> None:
    data = post("/any", item("half-1")) + get("/nowhere") + post("/any", item("half-2"))
    assert [reply.status for reply in replies(wire.send(data, hang_up=True))] == [201, 404, 201]


@pytest.mark.parametrize("part", [post("/any", item("cut"))[:-2], chunked("/any", [b"{"])[:-3]])
def test_a_body_that_ends_halfway_is_400_and_not_stored(served: Served, wire: Wire, part: bytes) -> None:
    found = replies(wire.send(post("/any", item("whole")) + part, hang_up=True))
    assert found[0].status == 201
    assert_problem(found[1], 400, "malformed_http")
    assert served.site.stored("cut") is None


def reset(sock: socket.socket) -> None:
    """Hang up without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.usefixtures("quiet")
def test_senders_that_reset_at_any_point_leave_nothing_behind(served: Served, wire: Wire) -> None:
    data = post("/any", item("resets", 100 * KIB)) + get("/any/resets") + post("/any", item("resets-too"))[:-3]
    for at in (1, 30, 100, 200, 50 * KIB, len(data) - 20, len(data)):
        sock = wire.connect()
        sock.sendall(data[:at])
        time.sleep(0.005)
        reset(sock)
    assert seen(lambda: not wire.state.connections and not wire.state.tasks)
    assert seen(lambda: not served.site.server.driver._tasks)
    assert wire.ask(get("/any/resets"))[0].status == 200
    assert served.site.stored("resets-too") is None


@pytest.mark.usefixtures("quiet")
def test_a_message_whose_sender_has_gone_is_stored_all_the_same(served: Served, wire: Wire) -> None:
    disk = served.site.hold_the_disk()
    sock = wire.connect()
    sock.sendall(post("/any", item("gone")))
    assert seen(lambda: (groups := served.site.server.driver._groups) and (groups._in_flight or groups._open))
    reset(sock)
    assert seen(lambda: not wire.state.connections)
    disk.release()
    assert seen(lambda: served.site.stored("gone"))
    assert wire.ask(post("/any", item("gone")))[0].headers["idempotency-replayed"] == "true"


@pytest.mark.usefixtures("quiet")
def test_a_sender_that_goes_while_it_is_looked_at_leaves_nothing(served: Served, wire: Wire) -> None:
    served.site.open.clear()
    served.site.at_the_door.clear()
    sock = wire.connect()
    sock.sendall(post("/door", item("impatient")))
    assert served.site.at_the_door.wait(PATIENCE_S)
    assert wire.ask(post("/any", item("beside")))[0].status == 201, "others go on"
    reset(sock)
    assert seen(lambda: not wire.state.connections)
    served.site.open.set()
    assert seen(lambda: not served.site.server.driver._tasks)
    assert served.site.stored("impatient", "door") is None


def test_a_verifier_that_breaks_while_its_sender_goes_is_told_in_the_log_alone(
    wire: Wire, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        sock = wire.connect()
        sock.sendall(post("/trap", item("1")))
        reset(sock)
    assert seen(lambda: not wire.state.connections and not served.site.server.driver._tasks)
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text
    assert wire.ask(post("/trap", item("1")))[0].status == 500


def test_a_shaping_function_that_breaks_leaves_the_plain_answer(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    found = wire.ask(post("/misshapen", item("1")) + post("/misshapen", item("1")) + post("/misshapen", b"{"))
    assert [reply.status for reply in found] == [201, 201, 400]
    assert found[0].body == found[1].body
    assert SECRET not in caplog.text


def test_replies_to_a_reader_that_does_not_read_do_not_pile_up(served: Served, wire: Wire) -> None:
    size = MIB
    assert wire.ask(post("/any", item("large", size)))[0].status == 201
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
        sock.settimeout(PATIENCE_S)
        sock.connect(("127.0.0.1", wire.port))
        sock.sendall((get("/any/large") + get("/nowhere")) * 30 + get("/nowhere", b"Connection: close"))
        assert seen(served.buffered)
        for _ in range(100):
            assert served.buffered() < 3 * size, "one reply waits, and what was let out with it"
            time.sleep(0.005)
        found = replies(rest(sock))
    assert [reply.status for reply in found] == [200, 404] * 30 + [404]
    assert {len(reply.body) for reply in found[0:60:2]} == {len(found[0].body)}


def test_many_readers_that_are_slow_keep_nobody_waiting(served: Served, wire: Wire) -> None:
    assert wire.ask(post("/any", item("large-too", MIB)))[0].status == 201
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(wire.connect()).sendall(get("/any/large-too") * 20)
        for n in range(20):
            assert wire.ask(post("/any", item(f"quick-{n}")))[0].status == 201
        assert served.buffered() < 20 * 3 * MIB
    assert seen(lambda: not wire.state.connections)


@pytest.mark.parametrize("size", [10, 300 * KIB])
def test_two_thousand_requests_on_one_connection(served: Served, wire: Wire, size: int) -> None:
    with wire.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(2_000 if size == 10 else 50):
            sock.sendall(post("/any", item(f"many-{size}-{n}", size)))
            assert one_reply(sock).status == 201
        gc.collect()
        assert seen(lambda: len(alive()) <= 3), "the connection's last, and a group that the writer has at hand"
        assert all(len(thing.body) == 0 for thing in gc.get_objects() if isinstance(thing, Exchange))


# --------------------------------------------------------------------------------------------- one way as the other

ID = b"X-Request-Id: the-request"
KEYED = b"X-Api-Key: the-key"

REQUESTS = {
    "a message": post("/any", item("1"), ID),
    "its twin": post("/any", item("1"), ID),
    "another body under its key": post("/any", item("1", 5), ID),
    "chunked": chunked("/any", [b'{"id":', b'"2"}'], ID),
    "no body": post("/any", b"", ID),
    "neither length nor chunks": b"POST /any HTTP/1.1\r\n" + HOST + ID + b"\r\n\r\n",
    "no JSON": post("/any", b"{", ID),
    "not an object": post("/any", b"[1]", ID),
    "no key": post("/any", b'{"a":1}', ID),
    "a lone surrogate": post("/any", b'{"id":"\\ud800"}', ID),
    "another media type": post("/any", item("3"), ID, b"Content-Type: text/plain"),
    "an encoded body": post("/any", item("3"), ID, b"Content-Encoding: gzip"),
    "a body past the limit": post("/tiny", item("x" * 200), ID),
    "a chunked body past the limit": chunked("/tiny", [b"x" * 60] * 3, ID),
    "a body just within": post("/tiny", item("4", 100 - len(item("4"))), ID),
    "nowhere": get("/nowhere", ID),
    "a message that is not there": get("/any/none", ID),
    "the message": get("/any/1", ID),
    "its headers alone": get("/any/1", ID).replace(b"GET", b"HEAD", 1),
    "headers of nothing": get("/nowhere", ID).replace(b"GET", b"HEAD", 1),
    "an escaped path": get("/any/%31?x=%20", ID),
    "an absolute target": get("http://here/any/1", ID),
    "a path that is encoded": get("/%61ny/1", ID),
    "another method": get("/any", ID).replace(b"GET", b"DELETE", 1),
    "OPTIONS": get("/any", ID).replace(b"GET", b"OPTIONS", 1),
    "OPTIONS of all": b"OPTIONS * HTTP/1.1\r\n" + HOST + ID + b"\r\n\r\n",
    "a preflight": get("/browser", ID, b"Origin: https://shop.example", b"Access-Control-Request-Method: POST").replace(
        b"GET", b"OPTIONS", 1
    ),
    "from a browser": post("/browser", item("5"), ID, b"Origin: https://shop.example"),
    "from another page": post("/browser", item("6"), ID, b"Origin: https://else.example"),
    "without a key": post("/keyed", item("1"), ID),
    "with a bad key": post("/keyed", item("1"), ID, b"X-Api-Key: hg_none"),
    "with a key": post("/keyed", b'{"id":"1","n":1}', ID, KEYED),
    "by an index": get("/keyed?n=1", ID, KEYED),
    "by no index": get("/keyed?m=1", ID, KEYED),
    "a batch": post("/batch", b'[{"id":"1"},{"id":"1"},{"id":"1","n":2},{}]', ID),
    "a batch of nothing good": post("/batch", b"[{}]", ID),
    "shaped": post("/shaped", item("1"), ID),
    "shaped to nothing": post("/empty", item("1"), ID),
    "shaped by what breaks": post("/misshapen", item("1"), ID),
    "a problem shaped by what breaks": post("/misshapen", b"{", ID),
    "refused by a function": post("/shut", item("1"), ID),
    "a function that breaks": post("/trap", item("1"), ID),
    "throttled": post("/throttled", item("1"), ID) + post("/throttled", item("2"), ID),
    "HTTP/1.0": post("/any", item("7"), ID, b"Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "the last": post("/any", item("8"), ID, b"Connection: close") + get("/any/8", ID),
    "an id that is none": get("/nowhere", b"X-Request-Id: \xc3\xa9"),
    "two ids": get("/nowhere", ID, b"X-Request-Id: another"),
    "health": get("/-/health", ID),
    "what is none of ours": get("/-/none", ID),
    "an encoded way to ours": get("/%2D/health", ID),
    "a dash alone": get("/-", ID),
    "an upgrade": post("/any", item("9"), ID, b"Connection: upgrade", b"Upgrade: h2c"),
    "smuggled framing": chunked("/any", [b"{}"], ID, b"Content-Length: 3"),
    "asked and told": post("/any", item("10"), ID, b"Expect: 100-continue"),
    "asked and turned away": post("/nowhere", item("10"), ID, b"Expect: 100-continue"),
}


def answers(folder: Path, straight: bool) -> dict[str, list[tuple[int, dict[str, str], bytes]]]:
    with opened_site(folder) as site, serving(site.server, site.server.driver if straight else None) as wire:
        return {name: _answers(wire, data.replace(b"the-key", site.key.encode())) for name, data in REQUESTS.items()}


def _answers(wire: Wire, data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    made = wire.send(data + get("/nowhere", ID, b"Connection: close"))
    # What answers a HEAD is told from the rest by its length alone: nothing follows but the next reply.
    found = []
    head = data.startswith(b"HEAD")
    while made:
        first, _, behind = made.partition(b"\r\n\r\n")
        reply = replies(first + b"\r\n\r\n", head=True)[0]
        size = 0 if head else int(reply.headers.get("content-length", "0"))
        found.append(_told(Reply(reply.status, reply.headers, behind[:size])))
        made, head = behind[size:], False
    return [told for told in found if told[0] != 100]


def _told(reply: Reply) -> tuple[int, dict[str, str], bytes]:
    """A reply but for its date and the ids that the server makes up."""
    headers = {name: value for name, value in reply.headers.items() if name != "date"}
    made_up = headers.get("x-request-id", "")
    if made_up not in ("", "the-request", "another"):
        headers["x-request-id"] = "made up"
        return reply.status, headers, reply.body.replace(made_up.encode(), b"made up")
    return reply.status, headers, reply.body


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return answers(tmp_path_factory.mktemp("straight"), True), answers(tmp_path_factory.mktemp("asgi"), False)


@pytest.mark.parametrize("name", REQUESTS)
def test_both_ways_give_the_same_answer(both: tuple[Any, Any], name: str) -> None:
    straight, asgi = (way[name] for way in both)
    assert straight == asgi
    assert straight
