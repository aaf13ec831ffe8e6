"""The driver by way of ASGI, as any server may call it: verifiers that are slow or odd, senders and servers that go."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate import App, Request
from headgate.clock import ManualClock
from headgate.local.engine import LocalEngine
from headgate.local.schema import FILE_NAME
from headgate.local.server import Server
from tests.local.site import SECRET, Site, opened_site
from tests.serving import PATIENCE_S


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened_site(tmp_path) as site:
        yield site


async def ask(
    server: Server, path: str, body: bytes, *, hang_up: bool = False, method: str = "POST"
) -> list[dict[str, Any]]:
    """What the app sends to one request; with `hang_up` the sender is gone before its body is complete."""
    events: list[dict[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": hang_up},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-length", b"%d" % len(body))] if not hang_up else [],
    }
    await server(scope, receive, send)
    return sent


async def status(server: Server, path: str, body: bytes = b'{"id":"1"}', method: str = "POST") -> int:
    start, _ = await ask(server, path, body, method=method)
    return int(start["status"])


def test_a_server_that_gives_up_on_a_request_does_not_take_the_commit_back(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers that cancel the app when the sender has gone; those who share the commit must not suffer."""

    async def post() -> list[int]:
        disk = site.hold_the_disk()
        gone = asyncio.create_task(status(site.server, "/any", b'{"id":"gone"}'))
        stays = asyncio.create_task(status(site.server, "/any", b'{"id":"stays"}'))
        await asyncio.sleep(0.01)
        behind = asyncio.create_task(status(site.server, "/any", b'{"id":"behind"}'))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        disk.release()
        return [await stays, await behind]

    assert asyncio.run(post()) == [201, 201]
    assert site.stored("gone") is not None
    assert caplog.text == ""


def test_a_sender_that_goes_before_its_body_is_complete_gets_nothing_and_stores_nothing(site: Site) -> None:
    assert asyncio.run(ask(site.server, "/any", b'{"id":"1"}', hang_up=True)) == []
    assert site.stored("1") is None


def test_one_server_serves_on_whatever_comes_of_a_verifier(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async def post() -> list[int]:
        waiting = asyncio.create_task(status(site.server, "/door"))
        others = [await status(site.server, path) for path in ("/trap", "/shut", "/any")]
        site.open.set()
        return [*others, await waiting]

    assert asyncio.run(post()) == [500, 401, 201, 201]
    assert SECRET not in caplog.text


def test_a_request_that_waits_when_its_loop_ends_is_not_left_hanging(site: Site) -> None:
    async def post() -> asyncio.Task[int]:
        waiting = asyncio.create_task(status(site.server, "/door"))
        assert await asyncio.to_thread(site.at_the_door.wait, PATIENCE_S)
        return waiting

    assert asyncio.run(post()).cancelled()
    assert not site.open.is_set(), "its verifier was not waited for, which may never return"
    assert not site.server.driver._tasks
    assert site.stored("1", "door") is None


def test_verifiers_that_never_return_hold_up_no_other_channel_and_nobody_who_reads(site: Site) -> None:
    async def post() -> list[int]:
        waiting = [asyncio.create_task(status(site.server, "/door")) for _ in range(50)]
        assert await asyncio.to_thread(site.at_the_door.wait, PATIENCE_S)
        others = [await status(site.server, "/any"), await status(site.server, "/any/1", method="GET")]
        site.open.set()
        return others + [await one for one in waiting]

    assert asyncio.run(post()) == [201, 200] + 50 * [201]


Verifier = Callable[[Request], str | Awaitable[str]]


async def lets_in(_: Request) -> str:
    await asyncio.sleep(0)
    return "someone"


async def raises(_: Request) -> str:
    await asyncio.sleep(0)
    raise ValueError(SECRET)


async def cancels_itself(_: Request) -> str:
    raise asyncio.CancelledError


def stops_an_iteration(_: Request) -> str:
    return str(next(iter(())))


def exits(_: Request) -> str:
    sys.exit(SECRET)


async def exits_later(_: Request) -> str:
    await asyncio.sleep(0)
    sys.exit(SECRET)


def forgets_to_return(_: Request) -> str:
    return None  # type: ignore[return-value]


@asynccontextmanager
async def guarded(folder: Path, verifier: Verifier) -> AsyncIterator[Server]:
    clock = ManualClock()
    app = App("guarded")
    app.channel("/guarded", key="id", auth=verifier)
    engine = LocalEngine(folder / FILE_NAME, ["guarded"], clock)
    try:
        yield Server(app, engine, {}, clock)
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("verifier", "expected"),
    [
        (lets_in, 201),
        (raises, 500),
        (cancels_itself, 500),
        (stops_an_iteration, 500),
        (exits, 500),
        (exits_later, 500),
        (forgets_to_return, 500),
    ],
)
def test_whatever_a_verifier_does_its_sender_is_answered_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, verifier: Verifier, expected: int
) -> None:
    async def post() -> list[int]:
        async with guarded(tmp_path, verifier) as server:
            answers = asyncio.gather(*(status(server, "/guarded") for _ in range(3)))
            return await asyncio.wait_for(answers, PATIENCE_S)

    assert asyncio.run(post()) == [expected] * 3
    assert SECRET not in caplog.text
