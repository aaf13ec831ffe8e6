"""Requests that wait together on one loop: one commit, everyone told, and nobody who waits for ever."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headgate import limits
from headgate.clock import ManualClock
from headgate.engine import Outcome
from headgate.local.groups import Groups
from headgate.message import Message
from headgate.testing.contract.index import kinds, message
from tests.local.store import Held, Store, opened
from tests.local.wire import Clockwork
from tests.serving import PATIENCE_S


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path, ManualClock()) as store:
        yield store


class Wait(NamedTuple):
    """A limit in seconds."""

    value: float


@pytest.fixture(autouse=True)
def twins_are_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk is a matter of the tests that say so."""
    monkeypatch.setattr(limits, "TWIN_WAIT", Wait(PATIENCE_S))


class Senders:
    """Whoever sends on the running loop."""

    ahead = False

    def __init__(self, store: Store) -> None:
        self._loop = asyncio.get_running_loop()
        self.groups = Groups(store.index, self._loop, ahead=self.ahead)

    def send(self, messages: list[Message], *, whole: bool = False) -> asyncio.Future[list[Outcome]]:
        """The outcomes, when they are known; a sender may stop waiting for them."""
        answer: asyncio.Future[list[Outcome]] = self._loop.create_future()

        def landed(outcomes: list[Outcome]) -> None:
            if not answer.done():
                answer.set_result(outcomes)

        self.groups.submit(messages, whole, landed)
        return answer


@pytest.fixture(params=[False, True], ids=["one-by-one", "ahead"], autouse=True)
def ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(Senders, "ahead", request.param)
    return bool(request.param)


def test_twins_that_wait_together_are_stored_once(store: Store) -> None:
    async def post() -> list[list[Outcome]]:
        senders = Senders(store)
        return await asyncio.gather(*(senders.send([message("1", str(n // 60))]) for n in range(64)))

    outcomes = [outcome for (outcome,) in asyncio.run(post())]
    assert kinds(outcomes) == ["stored"] + ["replayed"] * 59 + ["conflict"] * 4
    assert store.rows("message") == 1


def test_one_that_cannot_be_written_takes_no_other_of_its_group_along(store: Store) -> None:
    sent = [message(str(n)) for n in range(600)]
    sent[590] = message("590", fields=[("n", "half a pair: \ud83d")])
    sent[300] = message("300")._replace(request_id="half a pair: \ud83d")

    async def post() -> list[list[Outcome]]:
        senders = Senders(store)
        return await asyncio.gather(*(senders.send([one]) for one in sent))

    outcomes = [outcome for (outcome,) in asyncio.run(post())]
    assert [n for n, outcome in enumerate(outcomes) if outcome.kind != "stored"] == [300, 590]
    assert {outcomes[300].kind, outcomes[590].kind} == {"unavailable"}
    assert store.rows("message") == 598
    assert set(kinds(store.index.commit([one for n, one in enumerate(sent) if n not in (300, 590)]))) == {"replayed"}
    assert kinds(store.index.commit([message("300", "3"), message("590", "5")])) == ["stored"] * 2


def test_a_sender_that_hangs_up_cancels_nothing(store: Store) -> None:
    async def post() -> list[Outcome]:
        senders = Senders(store)
        held = Held(store.writer)
        gone = senders.send([message("1")])
        stays = senders.send([message("2")])
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        held.release()
        return await stays

    assert kinds(asyncio.run(post())) == ["stored"]
    assert kinds(store.index.commit([message("1"), message("2")])) == ["replayed", "replayed"]


def test_a_twin_waits_for_a_slow_disk_only_so_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TWIN_WAIT", Wait(0.05))

    async def post() -> tuple[list[Outcome], list[Outcome], list[Outcome]]:
        senders = Senders(store)
        held = Held(store.writer)
        first = senders.send([message("1")])
        twin = senders.send([message("1")])
        await asyncio.sleep(0)
        other = senders.send([message("2")])
        answered = await twin
        assert not first.done()
        held.release()
        return await first, answered, await other

    first, twin, other = asyncio.run(post())
    assert kinds([*first, *twin, *other]) == ["stored", "in_progress", "stored"]


def test_after_a_slow_commit_twins_are_patient_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_s = 100.0
    monkeypatch.setattr(limits, "TWIN_WAIT", Wait(wait_s))
    clock = Clockwork()

    async def pass_by(seconds: float) -> None:
        await turns()
        clock.at_s += seconds
        await turns()

    async def turns() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def post() -> list[Outcome]:
        senders = Senders(store)
        slow = Held(store.writer)
        first = senders.send([message("1")])
        twin = senders.send([message("1")])
        await pass_by(wait_s)
        assert kinds(await twin) == ["in_progress"]
        await pass_by(wait_s / 2)
        slow.release()
        await first
        quicker = Held(store.writer)
        other = senders.send([message("2")])
        await turns()
        twins = [senders.send([message("3")]) for _ in range(2)]
        await pass_by(wait_s * 0.6)  # the first commit's watch would strike now, were it not called off
        quicker.release()
        return [*await other, *await twins[0], *await twins[1]]

    with asyncio.Runner(loop_factory=lambda: clock) as runner:
        assert kinds(runner.run(post())) == ["stored", "stored", "replayed"]


def test_one_whose_answer_fails_keeps_neither_its_group_nor_the_next_waiting(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: list[Outcome]) -> None:
        raise ValueError("the secret is 4711")

    async def post() -> list[list[Outcome]]:
        senders = Senders(store)
        held = Held(store.writer)
        senders.groups.submit([message("1")], False, fails)
        beside = senders.send([message("2")])
        await asyncio.sleep(0.01)
        behind = senders.send([message("3")])
        held.release()
        return [await beside, await behind, await senders.send([message("4")])]

    assert [kinds(outcomes) for outcomes in asyncio.run(asyncio.wait_for(post(), PATIENCE_S))] == [["stored"]] * 3
    assert kinds(store.index.commit([message("1")])) == ["replayed"]
    assert "test_groups.py" in caplog.text
    assert "4711" not in caplog.text


def test_what_arrives_during_a_commit_makes_up_the_next_one(store: Store, ahead: bool) -> None:
    """However many they are: not one commit each. Ahead, what waits at the writer takes in what comes meanwhile."""
    commits = 0
    before_commit = store.index.before_commit

    def counted(connection: sqlite3.Connection) -> None:
        nonlocal commits
        commits += 1
        before_commit(connection)

    store.writer._before_commit = counted

    async def post() -> None:
        senders = Senders(store)
        held = Held(store.writer)
        waiting = [senders.send([message("0")])]
        await asyncio.sleep(0.01)
        for n in range(1, 200):
            waiting.append(senders.send([message(str(n))]))
            await asyncio.sleep(0)
        held.release()
        await asyncio.gather(*waiting)

    asyncio.run(post())
    assert commits == (2 if ahead else 3), "what held the disk up, the first, and all others"
    assert store.rows("message") == 200


def test_a_loop_that_closes_while_a_group_is_in_flight_loses_nothing_of_it(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[list[Outcome]] = []
    held = Held(store.writer)

    async def post() -> None:
        groups = Groups(store.index, asyncio.get_running_loop())
        groups.submit([message("1")], False, told.append)
        await asyncio.sleep(0.01)
        groups.submit([message("2")], False, told.append)

    asyncio.run(post())
    held.release()
    assert kinds(store.index.commit([message("1"), message("2")])) == ["replayed", "stored"]
    assert (told, caplog.text) == ([], "")


def test_when_the_store_fails_everyone_is_told(store: Store) -> None:
    pages = store.writer.change(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    store.connection.execute(f"PRAGMA max_page_count = {pages}")

    async def post() -> list[list[Outcome]]:
        senders = Senders(store)
        return await asyncio.gather(*(senders.send([message(str(n), '"' + "x" * 9_000 + '"')]) for n in range(50)))

    assert [kinds(outcomes) for outcomes in asyncio.run(post())] == [["unavailable"]] * 50
    store.connection.execute("PRAGMA max_page_count = 1000000")
    assert [kinds(outcomes) for outcomes in asyncio.run(post())] == [["stored"]] * 50


def test_a_whole_commit_lands_as_one_beside_single_ones(store: Store) -> None:
    async def post() -> tuple[list[Outcome], list[Outcome], list[Outcome]]:
        senders = Senders(store)
        return await asyncio.gather(
            senders.send([message("1", "1")]),
            senders.send([message("2"), message("1", "2")], whole=True),
            senders.send([message("2"), message("3")], whole=True),
        )

    first, clash, fits = asyncio.run(post())
    assert [kinds(outcomes) for outcomes in (first, clash, fits)] == [
        ["stored"],
        ["untouched", "conflict"],
        ["stored", "stored"],
    ]
