"""Requests to channels and their replies, by both ways in: straight from the protocol, and by way of ASGI."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.local.exchange import Exchange
from headgate.local.protocol import GateProtocol
from headgate.local.walk import Walk
from tests.local.site import Line, Site, chunked, opened_site
from tests.local.wire import (
    KIB,
    MIB,
    Clockwork,
    get,
    post,
    replies,
)


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
    loop.advance(0.4)
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
    loop.advance(0.4)
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
    loop.advance(0.4)
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
    loop.advance(60.2)
    assert line.pipe.end == "closed"
    line.protocol.resume_writing()  # what was written before goes out; a transport that closes takes no more
    loop.settle()
    assert line.pipe.out == b""
    loop.advance(29.2)
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
    loop.until(lambda: not site.server.rooms._tasks)
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
        alive = [type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, Exchange | Walk)]
    finally:
        gc.enable()
    assert alive in ([], ["Exchange"]), "at most the connection's last"


def test_a_hundred_connections_that_are_lost_at_any_point_leave_nothing(loop: Clockwork, site: Site) -> None:
    for n in range(100):
        line = Line(loop, site)
        disk = site.hold_the_disk()
        line.feed((post("/any", item(str(n), 100)) + post("/any", item("next"))[:-2])[: 1 + 3 * n])
        line.protocol.connection_lost(None)
        disk.release()
        loop.settle()
    landing = site.server.rooms._landing
    loop.until(lambda: landing is not None and landing._flying is None and landing._open is None)
    del line
    gc.collect()
    assert [thing for thing in gc.get_objects() if isinstance(thing, Exchange | Walk | GateProtocol)] == []
