"""What is special about the index on SQLite: claims that are merged, groups that share a commit, files that reopen."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headgate.clock import ManualClock
from headgate.errors import Misuse
from headgate.local.engine import LocalEngine, open_index
from headgate.local.schema import FILE_NAME, VERSION, open_writing
from headgate.local.upkeep import Upkeep
from headgate.testing.contract import CHANNELS
from headgate.testing.contract.index import kinds, message
from tests.local.store import Store, all_keys, opened
from tests.serving import PATIENCE_S


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    with opened(tmp_path, clock) as store:
        yield store


def stands(store: Store, keys: list[str]) -> None:
    """Every key is found, knows its twin, and refuses another body."""
    assert all_keys(store.index) == keys[::-1]
    for key in keys:
        found = store.index.get("orders", "", key)
        assert found is not None
        assert found.body == f'"{key}"'.encode()
    assert set(kinds(store.index.commit([message(key, f'"{key}"') for key in keys]))) <= {"replayed"}
    assert set(kinds(store.index.commit([message(key, '"another"') for key in keys]))) <= {"conflict"}


def put(store: Store, *keys: str) -> None:
    assert kinds(store.index.commit([message(key, f'"{key}"') for key in keys])) == ["stored"] * len(keys)


# ---------------------------------------------------------------------------------------------------- claims that merge


def test_every_key_stands_in_every_phase_of_a_merge_and_after_a_crash_in_it(store: Store, tmp_path: Path) -> None:
    keys: list[str] = []
    seen_claims = set()
    for n in range(40):
        put(store, f"k{n}")
        keys.append(f"k{n}")
        seen_claims.add(store.rows("claim"))
        crashed = store.as_after_a_crash(tmp_path / f"crash{n}")
        stands(crashed, keys)
        crashed = crashed.reopened()
        stands(crashed, keys)
        crashed.close()
        shutil.rmtree(tmp_path / f"crash{n}")
    stands(store, keys)
    assert len(seen_claims) > 5, "the test is about merges, and there were none"


def test_thousands_of_keys_stand_through_many_merges_and_a_clean_close(tmp_path: Path, clock: ManualClock) -> None:
    keys = [f"{n * 7919 % 5003:04}" for n in range(5_000)]
    store = Store(tmp_path, clock, turn=300, slice_=40)
    for at in range(0, len(keys), 20):
        put(store, *keys[at : at + 20])
    stands(store, keys)
    assert store.rows("claim") > 4_000
    store = store.reopened()
    stands(store, keys)
    store.close()


@pytest.mark.parametrize("turn", [1, 2, 8])
def test_the_newest_row_may_be_deleted_and_its_number_used_again(tmp_path: Path, clock: ManualClock, turn: int) -> None:
    store = Store(tmp_path, clock, turn=turn, slice_=2)
    for n in range(20):
        put(store, f"k{n}")
        store.index.commit([message(f"k{n}")] * 2)  # replays: commits, in which claims may be merged
        assert store.index.delete("orders", "", f"k{n}")
        store = store.reopened()
        put(store, f"other{n}")
        store = store.reopened()
        assert store.index.get("orders", "", f"k{n}") is None
        assert kinds(store.index.commit([message(f"other{n}", f'"other{n}"')])) == ["replayed"]
    stands(store, [f"other{n}" for n in range(20)])
    store.close()


@pytest.mark.parametrize("attempt", range(8))
def test_a_claim_that_outlives_its_row_does_not_name_the_one_that_has_its_number_now(
    tmp_path: Path, clock: ManualClock, attempt: int
) -> None:
    store = Store(tmp_path, clock, turn=2, slice_=1)
    put(store, "first", "gone")
    assert store.index.delete("orders", "", "gone")  # in the commit that merges half of the claims, perhaps this one
    store = store.reopened()
    put(store, "new")
    assert store.index.get("orders", "", "gone") is None
    assert kinds(store.index.commit([message("gone", '"gone"')])) == ["stored"]
    stands(store, ["first", "new", "gone"])
    store.close()


@pytest.mark.parametrize("deleted_after", range(14))
def test_a_key_that_is_deleted_during_a_merge_is_free_and_stays_so(store: Store, deleted_after: int) -> None:
    put(store, *(f"k{n}" for n in range(8)))  # a turn: the next commits merge it, slice by slice
    others = []
    for n in range(deleted_after):
        put(store, f"other{n}")
        others.append(f"other{n}")
    for n in range(8):
        assert store.index.delete("orders", "", f"k{n}")
    stands(store, others)
    store = store.reopened()
    assert all(store.index.get("orders", "", f"k{n}") is None for n in range(8))
    put(store, *(f"k{n}" for n in range(8)))
    stands(store, [*others, *(f"k{n}" for n in range(8))])
    store.close()


def test_readers_miss_no_key_while_claims_are_merged(store: Store) -> None:
    put(store, "first")
    done = threading.Event()

    def read() -> int:
        misses = 0
        while not done.is_set():
            misses += store.index.get("orders", "", "first") is None
            misses += store.index.get("orders", "", "never") is not None
        return misses

    with ThreadPoolExecutor(4) as threads:
        readings = [threads.submit(read) for _ in range(4)]
        for n in range(100):
            put(store, f"k{n}", f"l{n}")
            assert store.index.delete("orders", "", f"k{n}")
        done.set()
        assert [reading.result() for reading in readings] == [0] * 4


def test_sweeping_removes_rows_fields_and_claims(store: Store, clock: ManualClock) -> None:
    soon = clock.now_ms() + 1_000
    for n in range(30):
        expires_ms = soon if n % 2 else None
        (outcome,) = store.index.commit([message(str(n), expires_ms=expires_ms, fields=[("n", str(n))])])
        assert outcome.kind == "stored"
    assert store.index.sweep() == 0
    clock.advance(1)
    assert store.index.sweep() == 15
    assert store.index.sweep() == 0
    for n in range(40):  # until every claim there is has been merged
        put(store, f"k{n}")
    assert store.rows("message") == 15 + 40
    assert store.rows("field") == 15
    assert store.rows("claim") <= 15 + 40
    assert [key for key in all_keys(store.index) if not key.startswith("k")] == [str(n) for n in range(28, -1, -2)]


def test_a_sweep_leaves_a_key_alone_that_was_taken_anew(store: Store, clock: ManualClock) -> None:
    store.index.commit([message("1", "1", expires_ms=clock.now_ms() + 1_000)])
    clock.advance(1)
    assert kinds(store.index.commit([message("1", "2")])) == ["stored"]
    assert store.index.sweep() == 0
    found = store.index.get("orders", "", "1")
    assert found is not None
    assert found.body == b"2"


def test_expired_messages_are_swept_from_a_store_that_is_never_idle(tmp_path: Path, clock: ManualClock) -> None:
    swept = threading.Event()

    def sweep() -> int:
        swept.set()
        return 0

    with opened(tmp_path, clock) as store:
        upkeep = Upkeep(store.file, sweep, pause_s=0.001, sweep_every_s=0.02)
        try:
            until_s = time.monotonic() + PATIENCE_S
            while not swept.wait(0.005) and time.monotonic() < until_s:
                upkeep.touched()
        finally:
            upkeep.close()
    assert swept.is_set()


def test_a_sweep_that_fails_is_not_the_last_one(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    again = threading.Event()

    def sweep() -> int:
        if caplog.messages:
            again.set()
        raise KeyError

    with opened(tmp_path, clock) as store:
        upkeep = Upkeep(store.file, sweep, sweep_every_s=0.001)
        try:
            assert again.wait(PATIENCE_S)
        finally:
            upkeep.close()
    assert "a sweep failed where=test_index.py" in caplog.text


def test_an_expired_twin_stays_known_when_its_successor_cannot_be_written(store: Store, clock: ManualClock) -> None:
    store.index.commit([message("1", expires_ms=clock.now_ms() + 1_000)])
    clock.advance(1)
    impossible = message("1")._replace(request_id="half a pair: \ud83d")
    assert kinds(store.index.commit([impossible])) == ["unavailable"]
    clock.jump(-1)
    assert store.index.get("orders", "", "1") is not None
    assert kinds(store.index.commit([message("1")])) == ["replayed"]


def test_twins_that_arrive_expired_are_both_answered(store: Store, clock: ManualClock) -> None:
    late = message("1", expires_ms=clock.now_ms() - 1, fields=[("n", "1")])
    assert kinds(store.index.commit([late, late])) == ["stored", "stored"]
    assert store.rows("message") == 1
    assert store.index.get("orders", "", "1") is None
    put(store, "1")


def test_a_full_disk_is_unavailable_until_there_is_room(store: Store) -> None:
    put(store, "first")
    (pages,) = store.writer.change(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    big = "x" * 100_000
    assert kinds(store.index.commit([message("1", f'"{big}"'), message("2")])) == ["unavailable"] * 2
    assert store.index.get("orders", "", "1") is None
    store.connection.execute("PRAGMA max_page_count = 1000000")
    assert kinds(store.index.commit([message("1", f'"{big}"'), message("2")])) == ["stored"] * 2
    assert all_keys(store.index) == ["2", "1", "first"]


# ---------------------------------------------------------------------------------------------------------- the file


def test_a_reader_beside_the_writer_finds_everything(store: Store, clock: ManualClock) -> None:
    keys = [f"k{n}" for n in range(30)]
    put(store, *keys)
    beside = open_index(store.file, clock)
    try:
        assert all_keys(beside) == keys[::-1]
        assert all(beside.get("orders", "", key) is not None for key in keys)
        put(store, *(f"later{n}" for n in range(30)))
        assert len(all_keys(beside)) == 60
    finally:
        beside.close()


def test_before_anything_was_stored_there_is_nothing_to_read(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(Misuse, match="Nothing was stored yet"):
        open_index(tmp_path / FILE_NAME, clock)


def test_the_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path, clock: ManualClock) -> None:
    with opened(tmp_path, clock) as store:
        put(store, "1")
        store.writer.change(lambda connection: connection.execute(f"PRAGMA user_version = {VERSION + 1}"))
    before = (tmp_path / FILE_NAME).read_bytes()
    for open_it in (
        lambda: LocalEngine(tmp_path / FILE_NAME, CHANNELS, clock),
        lambda: open_index(tmp_path / FILE_NAME, clock),
    ):
        with pytest.raises(Misuse, match="newer headgate"):
            open_it()
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("content", [b"hello", b"x" * 10_000], ids=["short", "long"])
def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path, clock: ManualClock, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(Misuse, match="not a headgate store"):
        LocalEngine(tmp_path / FILE_NAME, CHANNELS, clock)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_a_channel_that_was_added_later_is_known_after_reopening(tmp_path: Path, clock: ManualClock) -> None:
    engine = LocalEngine(tmp_path / FILE_NAME, ["orders"], clock)
    engine.index.commit([message("1")])
    engine.close()
    engine = LocalEngine(tmp_path / FILE_NAME, ["bills", "orders"], clock)
    try:
        assert kinds(engine.index.commit([message("1"), message("1", channel="bills")])) == ["replayed", "stored"]
    finally:
        engine.close()


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    theirs = sqlite3.connect(file)
    theirs.execute("CREATE TABLE theirs (x)")
    theirs.close()
    with pytest.raises(Misuse, match="is not a headgate store"):
        open_writing(file)
    again = sqlite3.connect(file)
    assert again.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    again.close()
