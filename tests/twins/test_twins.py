"""P2: many at once with one key are one message, also on a disk that is slow, or fails."""

from __future__ import annotations

import asyncio
import json
import random
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cases import command
from tests.local.wire import one_reply
from tests.serving import PATIENCE_S, Answer, Served, log_of, serving

APP = Path(__file__).with_name("app.py")
TWINS = 64
ROUNDS = 200


@pytest.fixture(scope="module", params=[1, 2], ids=["one-process", "two-fronts"])
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(APP, tmp_path_factory.mktemp("twins") / "state", processes=request.param) as served:
        yield served


def order(key: str, amount: int = 0) -> bytes:
    return json.dumps({"record_id": key, "round": key, "amount": amount}).encode()


def post(body: bytes) -> bytes:
    return b"POST /orders HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Crowd:
    """Sixty-four senders, each on a connection that stays open, who all speak in the same moment."""

    def __init__(self, connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        self._connections = connections

    @classmethod
    async def at(cls, port: int) -> Crowd:
        return cls([await asyncio.open_connection("127.0.0.1", port) for _ in range(TWINS)])

    async def say(self, bodies: list[bytes]) -> list[Answer]:
        """Each sends its body, and again where it is told to because the disk is slow; the last answers, in the same
        order."""
        for (_, writer), body in zip(self._connections, bodies, strict=True):
            writer.write(post(body))
        said = zip(self._connections, bodies, strict=True)
        return await asyncio.gather(*(_last_answer(reader, writer, body) for (reader, writer), body in said))

    def leave(self) -> None:
        for _, writer in self._connections:
            writer.close()


async def _last_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> Answer:
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await _answer(reader)).status == 409 and answer.json()["type"].endswith(":in_progress"):
            assert int(answer.headers["retry-after"]) >= 1
            writer.write(post(body))
    return answer


async def _answer(reader: asyncio.StreamReader) -> Answer:
    async with asyncio.timeout(PATIENCE_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = {name.lower(): value for name, value in re.findall(r"([^\r\n:]+): ([^\r\n]*)\r\n", head)}
        body = await reader.readexactly(int(headers["content-length"]))
    return Answer(int(head.split()[1]), headers, body)


def replayed(answers: list[Answer]) -> int:
    return sum(answer.headers.get("idempotency-replayed") == "true" for answer in answers)


def assert_one_row(served: Served, key: str, amount: int) -> None:
    (found,) = served.ask("GET", f"/orders?round={key}").json()["items"]
    assert (found["key"], found["body"]["amount"]) == (key, amount)


def test_of_sixty_four_equal_requests_one_is_stored_and_all_get_its_answer(
    served: Served, told: Callable[[str], None]
) -> None:
    async def rounds() -> None:
        crowd = await Crowd.at(served.port)
        for number in range(ROUNDS):
            answers = await crowd.say([order(f"equal-{number}")] * TWINS)
            assert {(answer.status, answer.body) for answer in answers} == {(201, b'{"id":"equal-%d"}' % number)}
            assert replayed(answers) == TWINS - 1
        crowd.leave()

    asyncio.run(rounds())
    for number in range(ROUNDS):
        assert_one_row(served, f"equal-{number}", 0)
    told(f"{ROUNDS} rounds of {TWINS} equal requests: one row and one answer in each")


def test_with_one_other_among_them_there_is_one_winner_and_the_others_are_in_conflict(
    served: Served, told: Callable[[str], None]
) -> None:
    dice = random.Random(64)
    odd_won = 0
    amounts = []

    async def rounds() -> None:
        nonlocal odd_won
        crowd = await Crowd.at(served.port)
        for number in range(ROUNDS):
            key, odd = f"odd-{number}", dice.choice((0, 0, dice.randrange(TWINS)))
            bodies = [order(key)] * TWINS
            bodies[odd] = order(key, amount=1)
            answers = await crowd.say(bodies)
            other = answers.pop(odd)
            if other.status == 201:
                odd_won += 1
                assert "idempotency-replayed" not in other.headers
                assert {answer.status for answer in answers} == {409}
            else:
                assert other.status == 409
                assert {(answer.status, answer.body) for answer in answers} == {(201, b'{"id":"%b"}' % key.encode())}
                assert replayed(answers) == TWINS - 2
            amounts.append(int(other.status == 201))
        crowd.leave()

    asyncio.run(rounds())
    for number, amount in enumerate(amounts):
        assert_one_row(served, f"odd-{number}", amount)
    told(f"of {TWINS} requests the one that was different won {odd_won} of {ROUNDS} rounds")
    assert 0 < odd_won < ROUNDS, "the race is not one"


def test_of_sixty_four_different_bodies_one_is_stored_and_the_others_are_in_conflict(served: Served) -> None:
    async def one_round() -> list[Answer]:
        crowd = await Crowd.at(served.port)
        answers = await crowd.say([order("all-different", amount) for amount in range(TWINS)])
        crowd.leave()
        return answers

    answers = asyncio.run(one_round())
    assert Counter(answer.status for answer in answers) == {201: 1, 409: TWINS - 1}
    assert_one_row(served, "all-different", [answer.status for answer in answers].index(201))


# ------------------------------------------------------------------------------------------------------- the bad disk

# Which sync of each thread is tampered with. Starting, twice, takes fewer; the writer gets there by quick posts.
AT_SYNC = 40


@contextmanager
def on_a_bad_disk(folder: Path, tampering: str) -> Iterator[Served]:
    """A server whose AT_SYNCth sync is tampered with; strace stays with it over an exec."""
    strace = [command("strace"), "-f", "-q", "-e", "trace=fdatasync", "-e", "signal=none"]
    inject = ["-e", f"inject=fdatasync:{tampering}", "-o", str(folder / "trace")]
    with serving(APP, folder / "state", before=[*strace, *inject]) as served:
        yield served


def server_of(served: Served) -> tuple[int, str]:
    """The serving process: its pid, and when the kernel says that it came to be."""
    pid = json.loads((served.state / "holder.json").read_text())["pid"]
    return pid, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


SLOW_S = 8
# Where this machine takes as long for a few requests, nothing can be seen; so often it is tried.
TRIES = 10


def until_slow(served: Served) -> None:
    """Post until the disk has become slow."""
    for number in range(2 * AT_SYNC):
        begun_s = time.monotonic()
        assert served.ask("POST", "/orders", order(f"warm-{number}")).status == 201
        if time.monotonic() - begun_s > SLOW_S:
            return
    raise AssertionError("the disk is not slow")


def test_on_a_slow_disk_a_twin_is_told_to_come_again_and_a_sender_that_left_is_stored(tmp_path: Path) -> None:
    tampering = f"delay_enter={SLOW_S * 1_000_000}:when={AT_SYNC}+"
    with on_a_bad_disk(tmp_path, tampering) as served, ThreadPoolExecutor(8) as pool:
        until_slow(served)
        assert any(twins_are_told(served, pool, f"slow-{number}") for number in range(TRIES)), "twins wait for the disk"


def twins_are_told(served: Served, pool: ThreadPoolExecutor, key: str) -> bool:
    """False where the first of them may have been stored before its twins were answered."""
    with talking_to(served) as first, talking_to(served) as left:
        begun_s = time.monotonic()
        first.sendall(post(order(key)))  # these two are there before any other one can be
        left.sendall(post(order(f"{key}-left")))
        asked = [pool.submit(served.ask, "POST", "/orders", order(key, amount)) for amount in (0, 0, 1)]
        stranger = pool.submit(served.ask, "POST", "/orders", order(f"{key}-stranger"))
        twins = [twin.result() for twin in asked]
        are_in_time = time.monotonic() - begun_s < SLOW_S and not select.select([first], [], [], 0)[0]
        left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        left.close()
        answer = one_reply(first)
    assert (answer.status, answer.json()) == (201, {"id": key})
    assert "idempotency-replayed" not in answer.headers
    assert stranger.result().status == 201
    again = served.ask("POST", "/orders", order(key))
    assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
    assert_one_row(served, key, 0)
    assert_one_row(served, f"{key}-left", 0)
    for twin in twins if are_in_time else ():
        assert twin.status == 409
        assert twin.json()["type"] == "urn:headgate:problem:in_progress"
        assert int(twin.headers["retry-after"]) >= 1
    return are_in_time


def talking_to(served: Served) -> socket.socket:
    """A connection."""
    return socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S)


def test_after_a_failed_sync_nothing_is_acknowledged_until_the_server_has_started_over(tmp_path: Path) -> None:
    with on_a_bad_disk(tmp_path, f"error=EIO:when={AT_SYNC}") as served:
        before = server_of(served)
        acknowledged, refused = [], None
        for number in range(2 * AT_SYNC):
            answer = served.ask("POST", "/orders", order(f"io-{number}"))
            if answer.status != 201:
                refused = f"io-{number}"
                break
            acknowledged.append(f"io-{number}")
        assert acknowledged
        assert refused is not None, "no sync has failed"
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["type"] == "urn:headgate:problem:unavailable"

        assert until_stored(served, order(refused)).status == 201
        assert server_of(served) == before, "it is another process"
        for key in [*acknowledged, refused]:
            assert_one_row(served, key, 0)
        assert served.ask("GET", "/-/ready").status == 200
        assert served.process.poll() is None
    said = log_of(served.state)
    assert said.count("starting over in a new process") == 1
    assert "Traceback" not in said


def test_all_who_wait_for_a_failed_sync_are_told_and_may_send_again(tmp_path: Path) -> None:
    with on_a_bad_disk(tmp_path, f"error=EIO:delay_enter=500000:when={AT_SYNC}") as served:
        answers: list[Answer] = []

        async def burst(number: int) -> list[Answer]:
            crowd = await Crowd.at(served.port)
            said = await crowd.say([order(f"burst-{number}-{sender}") for sender in range(TWINS)])
            crowd.leave()
            return said

        for number in range(2 * AT_SYNC):
            answers = asyncio.run(burst(number))
            if {answer.status for answer in answers} != {201}:
                break
        assert 503 in {answer.status for answer in answers} <= {201, 503}
        for sender, answer in enumerate(answers):
            again = until_stored(served, order(f"burst-{number}-{sender}"))
            assert again.status == 201
            if answer.status == 201:
                assert again.headers["idempotency-replayed"] == "true"
        for earlier in range(number + 1):
            for sender in range(TWINS):
                assert served.ask("GET", f"/orders/burst-{earlier}-{sender}").status == 200


def until_stored(served: Served, body: bytes) -> Answer:
    """As a sender does: post again while the server says that it cannot now, or hangs up while it starts over."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = served.ask("POST", "/orders", body)
        except OSError:
            answer = None
        if (answer is not None and answer.status != 503) or time.monotonic() > until_s:
            assert answer is not None, "the server does not come back"
            return answer
        time.sleep(0.05)
