"""The queue on SQLite, beyond the contract: what a crash leaves behind between any two steps, lines, many at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.clock import ManualClock
from headgate.engine import Discarded, Edited, Lease, Redriven, Settlement
from headgate.errors import Unavailable
from headgate.local.journal import Care
from headgate.local.queue import LocalQueue
from headgate.message import Message, Moment
from headgate.testing.contract.index import kinds
from headgate.testing.contract.queue import LEASE_MS, queued
from tests.local.store import Store, opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    folder = tmp_path / "store"
    folder.mkdir()
    with opened(folder, clock) as store:
        yield store


def put(store: Store, *messages: Message) -> None:
    assert kinds(store.index.commit(messages)) == ["stored"] * len(messages)


def claimed(store: Store, limit: int = 100) -> list[Lease]:
    return store.queue.claim("orders", limit, LEASE_MS)


def keys(leases: list[Lease]) -> list[str]:
    return [lease.message.key for lease in leases]


def done(store: Store, *leases: Lease) -> None:
    for lease in leases:
        assert store.queue.settle(lease, Settlement("processed", (Moment(0, "processed", lease.message.attempts),)))


def the(store: Store, key: str = "1") -> Message:
    found = store.index.get("orders", "", key)
    assert found is not None
    return found


def test_a_message_that_is_put_off_says_until_when(store: Store, clock: ManualClock) -> None:
    put(store, queued("1"))
    assert store.queue.put_off_until_ms("orders", "", "1") is None
    (lease,) = claimed(store)
    assert store.queue.put_off_until_ms("orders", "", "1") is None
    assert store.queue.settle(lease, Settlement("accepted", delay_ms=60_000))
    assert store.queue.put_off_until_ms("orders", "", "1") == clock.now_ms() + 60_000
    clock.advance(60)
    assert store.queue.put_off_until_ms("orders", "", "1") is None
    assert store.queue.put_off_until_ms("orders", "", "none") is None


# ---------------------------------------------------------------------------------------------------- a crash between


class Run:
    """A store, and the lease that its worker has."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.lease: Lease

    def put(self) -> None:
        put(self.store, queued("1"))

    def begin(self) -> None:
        (self.lease,) = claimed(self.store)

    def retry(self) -> None:
        assert self.store.queue.settle(self.lease, Settlement("accepted", (Moment(0, "retried", 1),)))

    def bury(self) -> None:
        moment = Moment(0, "failed", self.lease.message.attempts)
        assert self.store.queue.settle(self.lease, Settlement("failed", (moment,), error="no"))

    def edit(self) -> None:
        edited = Edited(Moment(0, "edited"), b'{"n":2}', (("n", "2"),))
        assert self.store.queue.alter("orders", "", "1", edited)

    def redrive(self) -> None:
        assert self.store.queue.alter("orders", "", "1", Redriven(Moment(0, "redriven")))

    def discard(self) -> None:
        assert self.store.queue.alter("orders", "", "1", Discarded(Moment(0, "discarded"), None))


STEPS: list[tuple[Callable[[Run], None], str, int]] = [
    (Run.put, "accepted", 0),
    (Run.begin, "processing", 1),
    (Run.retry, "accepted", 1),
    (Run.begin, "processing", 2),
    (Run.bury, "failed", 2),
    (Run.edit, "failed", 2),
    (Run.redrive, "accepted", 0),
    (Run.begin, "processing", 1),
    (Run.bury, "failed", 1),
    (Run.discard, "discarded", 1),
]


@pytest.mark.parametrize("steps", range(1, len(STEPS) + 1))
def test_after_a_crash_between_any_two_steps_the_message_goes_on_from_where_it_was(
    store: Store, tmp_path: Path, steps: int
) -> None:
    run = Run(store)
    for step, _, _ in STEPS[:steps]:
        step(run)
    _, status, attempts = STEPS[steps - 1]
    left = store.as_after_a_crash(tmp_path / "left")
    try:
        assert (the(left).status, the(left).attempts) == (status, attempts)
        if status in ("failed", "discarded"):
            assert claimed(left) == []
            assert len(left.queue.dead("orders", 10, None).messages) == (status == "failed")
            return
        (lease,) = claimed(left)
        assert lease.message.attempts == attempts + 1, "a lease of a dead process is nobody's, and has counted"
        done(left, lease)
        assert the(left).status == "processed"
        assert claimed(left) == []
    finally:
        left.close()


def test_when_the_disk_is_full_nothing_has_happened_and_all_of_it_can_be_done_again(store: Store) -> None:
    put(store, *(queued(str(n)) for n in range(3)))
    leases = claimed(store, 2)
    settled = Settlement("failed", (Moment(0, "failed", 1, told="x" * 2_000),) * 40)
    (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable):
        store.queue.settle(leases[0], settled)
    assert the(store, "0").status == "processing"
    assert store.queue.waiting("orders") == 3
    store.connection.execute("PRAGMA max_page_count = 1000000")
    assert store.queue.settle(leases[0], settled)
    assert store.queue.waiting("orders") == 2


# --------------------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("back_s", [3_600, 86_400])
def test_a_wall_clock_that_was_set_back_while_nothing_ran_holds_up_no_retry(
    store: Store, clock: ManualClock, back_s: float
) -> None:
    put(store, queued("1"))
    clock.advance(5)
    (lease,) = claimed(store)
    assert store.queue.settle(lease, Settlement("accepted", delay_ms=60_000))
    clock.jump(-back_s)
    again = store.reopened()
    try:
        clock.advance(60)
        assert keys(claimed(again)) == ["1"]
    finally:
        again.close()


def test_how_long_there_is_nothing_to_do(store: Store, clock: ManualClock) -> None:
    assert store.queue.idle_ms("orders") is None
    put(store, queued("1"), queued("2", channel="events"))
    assert store.queue.idle_ms("orders") == 0
    (lease,) = claimed(store)
    assert store.queue.idle_ms("orders") == LEASE_MS
    assert store.queue.settle(lease, Settlement("accepted", delay_ms=1_500))
    clock.advance(0.5)
    assert store.queue.idle_ms("orders") == 1_000


# -------------------------------------------------------------------------------------------------------------- lines


def test_of_each_line_one_is_given_out_and_the_rest_waits_in_order(store: Store) -> None:
    put(store, *(queued(f"{line}{n}", order=line) for n in range(3) for line in "ab"), queued("free"))
    first = claimed(store)
    assert sorted(keys(first)) == ["a0", "b0", "free"]
    assert claimed(store) == []
    done(store, first[0])
    assert keys(claimed(store)) == [first[0].message.key[0] + "1"]


def test_a_line_goes_on_when_its_head_is_deleted_dead_or_discarded(store: Store) -> None:
    put(store, *(queued(str(n), order="a") for n in range(4)))
    assert keys(claimed(store)) == ["0"]
    assert store.index.delete("orders", "", "0")
    (lease,) = claimed(store)
    assert store.queue.settle(lease, Settlement("failed"))
    assert keys(claimed(store)) == ["2"]


def test_a_redriven_message_takes_its_turn_in_its_line(store: Store) -> None:
    put(store, *(queued(str(n), order="a") for n in range(3)))
    (lease,) = claimed(store)
    assert store.queue.settle(lease, Settlement("failed"))
    (second,) = claimed(store)
    assert store.queue.alter("orders", "", "0", Redriven(Moment(0, "redriven")))
    assert claimed(store) == [], "one of a line at a time"
    done(store, second)
    assert keys(claimed(store)) == ["0"], "it came before the last one"


def test_order_holds_for_every_line_whatever_fails(store: Store) -> None:
    dice = random.Random(4711)
    lines = [str(line) for line in range(20)]
    for n in range(25):
        put(store, *(queued(f"{line}-{n}", order=line) for line in lines))
    shuffled = LocalQueue(store.writer, store.index, store.journal, store.clock, dice)
    handled: dict[str, list[int]] = {line: [] for line in lines}
    while leases := shuffled.claim("orders", 7, LEASE_MS):
        for lease in leases:
            line, _, number = lease.message.key.partition("-")
            if dice.random() < 0.3:
                assert shuffled.settle(lease, Settlement("accepted"))
            else:
                handled[line].append(int(number))
                done(store, lease)
    assert handled == {line: list(range(25)) for line in lines}


# ----------------------------------------------------------------------------------------------------- many at once


def test_a_claim_takes_so_many_and_not_too_large_ones(store: Store) -> None:
    put(store, *(queued(str(n)) for n in range(1_000)))
    assert len(claimed(store, 300)) == 300
    assert len(claimed(store, 1_000)) == 700
    large = '"' + "x" * 6_000_000 + '"'
    put(store, *(queued(f"large{n}", large) for n in range(4)))
    assert keys(claimed(store)) == ["large0", "large1", "large2"]
    assert keys(claimed(store)) == ["large3"]


def test_what_waits_is_counted_also_after_opening(store: Store) -> None:
    put(store, *(queued(str(n)) for n in range(5)), queued("e", channel="events"))
    leases = claimed(store, 2)
    done(store, leases[0])
    assert (store.queue.waiting("orders"), store.queue.waiting("events")) == (4, 1)
    store.index.delete("orders", "", leases[1].message.key)
    again = store.reopened()
    try:
        assert (again.queue.waiting("orders"), again.queue.waiting("events")) == (3, 1)
    finally:
        again.close()


def test_what_nobody_works_off_is_counted_by_channel_and_scope(store: Store) -> None:
    put(store, queued("1"), queued("2"), queued("e", channel="events"))
    assert store.queue.stranded({"orders": None, "events": None}) == {}
    assert store.queue.stranded({"events": None}) == {"orders": 2}
    assert store.queue.stranded({"orders": None, "events": ["", "totals"]}) == {}
    assert store.queue.stranded({"orders": (), "events": ["totals"]}) == {"orders": 2, "events": 1}


def test_whoever_works_is_told_which_channels_got_more(store: Store) -> None:
    told: list[list[str]] = []
    store.queue.when_more(told.append)
    put(store, queued("1"), queued("2"))
    put(store, queued("e", channel="events"))
    done(store, *claimed(store))
    assert [some for some in told if some] == [["orders"], ["events"]]


# ------------------------------------------------------------------------------------------------ what a crash may cost


def with_care(store: Store, care: Care, limit: int = 100) -> list[str]:
    is_due = store.queue.idle_ms("orders", None, care) == 0
    leases = store.queue.turn_over((), "orders", limit, LEASE_MS, care=care)[1]
    assert is_due == bool(leases)
    return [lease.message.key + ("!" if store.queue.was_lost(lease) else "") for lease in leases]


def test_what_was_lost_is_claimed_no_faster_than_it_is_begun_and_others_go_on(store: Store, clock: ManualClock) -> None:
    put(store, *(queued(str(n)) for n in range(5)))
    claimed(store)
    clock.advance(LEASE_MS / 1000)
    put(store, queued("new"))
    assert with_care(store, Care(2, most=5, is_alone=True)) == ["0!", "1!", "new"]
    assert with_care(store, Care(0, most=5, is_alone=False)) == []
    assert with_care(store, Care(1, most=5, is_alone=False), limit=1) == ["2!"]


def test_the_last_attempt_of_what_was_lost_is_made_while_no_other_such_message_is_in_work(
    store: Store, clock: ManualClock
) -> None:
    put(store, queued("0"), queued("1"))
    for _ in range(2):
        claimed(store)
        clock.advance(LEASE_MS / 1000)
    assert with_care(store, Care(4, most=3, is_alone=False)) == []
    assert with_care(store, Care(4, most=3, is_alone=True)) == ["0!"]
    assert with_care(store, Care(4, most=3, is_alone=True)) == ["1!"]


def test_what_failed_and_what_is_new_is_not_lost(store: Store) -> None:
    put(store, queued("0"))
    (lease,) = claimed(store)
    store.queue.settle(lease, Settlement("accepted", (Moment(0, "retried", 1),)))
    put(store, queued("1"))
    assert with_care(store, Care(0, most=3, is_alone=False)) == ["0", "1"]


HOUR_S = 3_600


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 24 * HOUR_S, -24 * HOUR_S])
def test_a_wall_clock_that_jumps_makes_no_storm_and_leaves_no_lease_stuck(
    store: Store, clock: ManualClock, jump_s: float
) -> None:
    put(store, *(queued(str(n)) for n in range(50)))
    leases = claimed(store, 30)
    for lease in leases[:20]:
        store.queue.settle(lease, Settlement("accepted", (Moment(0, "retried", 1),), delay_ms=60_000))

    clock.jump(jump_s)

    assert len(claimed(store)) == 20, "what was never claimed, and nothing before its time"
    assert claimed(store) == []
    clock.advance(60)
    late = claimed(store)
    assert len(late) == 50, "those that failed when they are due, and those whose leases have run out"
    done(store, *late)
    clock.advance(2 * LEASE_MS / 1000)
    done(store, *claimed(store))
    assert (claimed(store), store.queue.waiting("orders")) == ([], 0)


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 24 * HOUR_S, -24 * HOUR_S])
def test_a_wall_clock_that_jumps_while_nothing_runs_makes_no_storm_and_leaves_no_lease_stuck(
    tmp_path: Path, clock: ManualClock, jump_s: float
) -> None:
    folder = tmp_path / "jumping"
    folder.mkdir()
    with opened(folder, clock) as store:
        put(store, *(queued(str(n)) for n in range(20)))
        for lease in claimed(store, 10):
            store.queue.settle(lease, Settlement("accepted", (Moment(0, "retried", 1),), delay_ms=60_000))
        claimed(store, 5)
    clock.jump(jump_s)
    with opened(folder, clock) as store:
        late = claimed(store)
        assert len(late) == (20 if jump_s > 0 else 10), "five leases of a dead process, five that were never claimed"
        done(store, *late)
        clock.advance(61)
        done(store, *claimed(store))
        assert (claimed(store), store.queue.waiting("orders")) == ([], 0)
