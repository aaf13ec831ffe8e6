"""What every queue has to do: an attempt is counted before it is made, one lease at a time, and nothing is ever stuck.

Between any two steps a process may die. What it leaves behind is what these cases start from: a lease that nobody
settles, a settlement that comes late, the same step done twice.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from headgate import limits
from headgate.engine import Alteration, Discarded, Edited, Lease, NotYet, Redriven, Settlement, lengthened
from headgate.message import Message, Moment
from headgate.testing.contract import EngineUnderTest
from headgate.testing.contract.index import keys_of, kinds, message

LEASE_MS = 30_000
DAY_MS = 86_400_000


def queued(key: str, body: str = '{"n":1}', *, channel: str = "orders", scope: str = "", order: str = "") -> Message:
    """A message as the gate would hand it over."""
    return message(key, body, channel=channel, scope=scope)._replace(status="accepted", order=order)


def store(engine: EngineUnderTest, *messages: Message) -> None:
    """Commit messages that must be new."""
    assert kinds(engine.index.commit(messages)) == ["stored"] * len(messages)


def row(engine: EngineUnderTest, key: str = "1") -> Message:
    """The row of a message that must be there."""
    found = engine.index.get("orders", "", key)
    assert found is not None
    return found


def begun(engine: EngineUnderTest, key: str = "1") -> Lease:
    """A lease that must be given."""
    lease = engine.queue.begin("orders", "", key, LEASE_MS)
    assert isinstance(lease, Lease)
    return lease


def moment(engine: EngineUnderTest, what: str, **more: object) -> Moment:
    return Moment(engine.clock.now_ms(), what, **more)  # type: ignore[arg-type]


def processed(engine: EngineUnderTest, lease: Lease, keep_ms: int | None = None) -> Settlement:
    return Settlement("processed", (moment(engine, "processed", attempt=lease.message.attempts),), keep_ms=keep_ms)


def retried(engine: EngineUnderTest, lease: Lease, delay_ms: int = 0) -> Settlement:
    told = moment(engine, "retried", attempt=lease.message.attempts, took_ms=5, kind="OSError", told="Traceback ...")
    return Settlement("accepted", (told,), delay_ms=delay_ms)


def bury(engine: EngineUnderTest, key: str = "1", *, keep_ms: int | None = 14 * DAY_MS) -> None:
    """Make a dead letter of a message."""
    told = moment(engine, "failed", attempt=1, detail="It cannot be.", kind="Permanent", pointer="/n")
    assert engine.queue.settle(
        begun(engine, key), Settlement("failed", (told,), error="It cannot be.", keep_ms=keep_ms)
    )


class QueueCases:
    """Adopt by subclassing and giving the fixture `engine`."""

    @pytest.fixture
    def engine(self) -> EngineUnderTest:
        raise NotImplementedError("give a fixture `engine` in the class that adopts these cases")

    # ------------------------------------------------------------------------------------------------ from end to end

    def test_an_accepted_message_waits_with_no_attempt_made(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        found = row(engine)
        assert (found.status, found.attempts, found.error, found.timeline) == ("accepted", 0, None, ())

    def test_a_lease_counts_the_attempt_before_it_is_made(self, engine: EngineUnderTest) -> None:
        sent = queued("1", '{"n": 2.10}')
        store(engine, sent)
        lease = begun(engine)
        assert lease.message.body == sent.body
        assert (lease.message.attempts, lease.message.attempt, lease.message.id) == (1, 1, "1")
        assert lease.until_ms == lease.message.deadline_ms == engine.clock.now_ms() + LEASE_MS
        assert (row(engine).status, row(engine).attempts) == ("processing", 1)

    def test_a_processed_message_is_done_for_good(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        lease = begun(engine)
        engine.clock.advance(2)
        assert engine.queue.settle(lease, processed(engine, lease)) is True
        found = row(engine)
        assert (found.status, found.attempts, found.expires_ms) == ("processed", 1, None)
        assert found.timeline == (moment(engine, "processed", attempt=1),)
        engine.clock.advance(10 * LEASE_MS / 1000)
        assert engine.queue.begin("orders", "", "1", LEASE_MS) is None
        assert engine.queue.overdue("orders", 0, 10) == []

    def test_what_nobody_knows_or_nobody_queued_is_nothing_to_do(self, engine: EngineUnderTest) -> None:
        assert kinds(engine.index.commit([message("direct")])) == ["stored"]
        for channel, key in (("orders", "direct"), ("orders", "none"), ("nowhere", "1")):
            assert engine.queue.begin(channel, "", key, LEASE_MS) is None
        assert engine.queue.overdue("orders", 0, 10) == []

    def test_a_repetition_by_the_sender_is_replayed_however_far_the_message_is(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        lease = begun(engine)
        assert kinds(engine.index.commit([queued("1"), queued("1", "2")])) == ["replayed", "conflict"]
        assert engine.queue.settle(lease, processed(engine, lease))
        assert kinds(engine.index.commit([queued("1"), queued("1", "2")])) == ["replayed", "conflict"]
        assert (row(engine).status, row(engine).attempts) == ("processed", 1)

    def test_scopes_and_channels_are_apart(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"), queued("1", scope="bob"), queued("1", channel="events"))
        lease = begun(engine)
        assert engine.queue.settle(lease, processed(engine, lease))
        bob = engine.index.get("orders", "bob", "1")
        assert bob is not None
        assert bob.status == "accepted"
        assert isinstance(engine.queue.begin("orders", "bob", "1", LEASE_MS), Lease)
        assert isinstance(engine.queue.begin("events", "", "1", LEASE_MS), Lease)

    # --------------------------------------------------------------------------------------------------------- leases

    def test_there_is_one_lease_at_a_time(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        begun(engine)
        assert isinstance(engine.queue.begin("orders", "", "1", LEASE_MS), NotYet)
        assert row(engine).attempts == 1

    def test_of_16_who_begin_at_once_one_may(self, engine: EngineUnderTest) -> None:
        store(engine, *(queued(str(n)) for n in range(5)))
        for n in range(5):
            barrier = Barrier(16)

            def begin(_: int, key: str = str(n), barrier: Barrier = barrier) -> object:
                barrier.wait()
                return engine.queue.begin("orders", "", key, LEASE_MS)

            with ThreadPoolExecutor(16) as threads:
                answers = list(threads.map(begin, range(16)))
            assert sum(isinstance(answer, Lease) for answer in answers) == 1
            assert row(engine, str(n)).attempts == 1

    def test_a_lease_that_nobody_settles_runs_out_and_the_next_one_counts(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        begun(engine)
        engine.clock.advance(LEASE_MS / 1000 - 0.001)
        assert isinstance(engine.queue.begin("orders", "", "1", LEASE_MS), NotYet)
        engine.clock.advance(0.001)
        assert begun(engine).message.attempts == 2

    def test_a_late_verdict_is_ignored_when_somebody_else_has_begun(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        first = begun(engine)
        engine.clock.advance(LEASE_MS / 1000)
        second = begun(engine)
        assert first.token != second.token
        assert engine.queue.settle(first, processed(engine, first)) is False
        assert (row(engine).status, row(engine).timeline) == ("processing", ())
        assert engine.queue.settle(second, retried(engine, second)) is True
        assert engine.queue.settle(first, processed(engine, first)) is False
        assert row(engine).status == "accepted"

    def test_a_late_verdict_counts_when_nobody_has_begun(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        lease = begun(engine)
        engine.clock.advance(LEASE_MS / 1000 + 60)
        assert engine.queue.settle(lease, processed(engine, lease)) is True
        assert row(engine).status == "processed"

    def test_a_verdict_counts_once(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        lease = begun(engine)
        assert engine.queue.settle(lease, retried(engine, lease)) is True
        assert engine.queue.settle(lease, retried(engine, lease)) is False
        assert len(row(engine).timeline) == 1

    def test_an_attempt_that_did_not_take_place_is_not_counted(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        assert engine.queue.settle(begun(engine), Settlement("accepted", uncounted=True)) is True
        assert (row(engine).status, row(engine).attempts, row(engine).timeline) == ("accepted", 0, ())
        assert begun(engine).message.attempts == 1

    def test_a_message_that_was_deleted_is_not_brought_back_by_its_verdict(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"), queued("2"))
        lease = begun(engine)
        assert engine.index.delete("orders", "", "1")
        assert engine.queue.settle(lease, processed(engine, lease)) is False
        assert engine.index.get("orders", "", "1") is None
        store(engine, queued("1", "7"))
        assert engine.queue.settle(lease, processed(engine, lease)) is False
        assert (row(engine).status, row(engine).body) == ("accepted", b"7")

    # -------------------------------------------------------------------------------------------------------- retries

    def test_a_retried_message_waits_and_comes_back(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        lease = begun(engine)
        assert engine.queue.settle(lease, retried(engine, lease, delay_ms=5_000))
        assert (row(engine).status, row(engine).attempts) == ("accepted", 1)
        assert isinstance(engine.queue.begin("orders", "", "1", LEASE_MS), NotYet)
        engine.clock.advance(5)
        second = begun(engine)
        assert second.message.attempts == 2
        assert [(told.what, told.kind, told.told) for told in second.message.timeline] == [
            ("retried", "OSError", "Traceback ...")
        ]

    def test_every_attempt_is_told_in_order(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        for _ in range(4):
            lease = begun(engine)
            assert engine.queue.settle(lease, retried(engine, lease))
        lease = begun(engine)
        assert engine.queue.settle(lease, processed(engine, lease))
        assert [(told.what, told.attempt) for told in row(engine).timeline] == [
            ("retried", 1), ("retried", 2), ("retried", 3), ("retried", 4), ("processed", 5)
        ]  # fmt: skip

    def test_a_timeline_keeps_its_first_moment_and_the_newest(self, engine: EngineUnderTest) -> None:
        most = limits.TIMELINE.value
        store(engine, queued("1"))
        for _ in range(most + 5):
            lease = begun(engine)
            assert engine.queue.settle(lease, retried(engine, lease))
        attempts = [told.attempt for told in row(engine).timeline]
        assert attempts == [1, *range(7, most + 6)]
        assert lengthened((), ()) == ()

    # ---------------------------------------------------------------------------------------------------------- sweep

    def test_the_sweep_finds_what_nobody_took(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"), queued("2", scope="bob"), queued("3", channel="events"))
        assert engine.queue.overdue("orders", 60_000, 10) == []
        engine.clock.advance(60)
        assert sorted(engine.queue.overdue("orders", 60_000, 10)) == [("", "1"), ("bob", "2")]
        assert len(engine.queue.overdue("orders", 60_000, 1)) == 1

    def test_the_sweep_finds_a_dead_lease_but_no_living_one(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        begun(engine)
        engine.clock.advance(LEASE_MS / 1000 + 59.999)
        assert engine.queue.overdue("orders", 60_000, 10) == []
        engine.clock.advance(0.001)
        assert engine.queue.overdue("orders", 60_000, 10) == [("", "1")]
        assert begun(engine).message.attempts == 2
        assert engine.queue.overdue("orders", 60_000, 10) == []

    # ----------------------------------------------------------------------------------------------------------- time

    def test_a_message_that_waits_does_not_expire(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        engine.clock.advance(400 * 86_400)
        assert row(engine).status == "accepted"
        lease = begun(engine)
        engine.clock.advance(400 * 86_400)
        assert engine.queue.settle(lease, processed(engine, lease, keep_ms=60_000))
        assert row(engine).expires_ms == engine.clock.now_ms() + 60_000
        engine.clock.advance(60)
        assert engine.index.get("orders", "", "1") is None
        store(engine, queued("1", "2"))
        assert begun(engine).message.attempts == 1

    def test_a_dead_letter_that_expired_is_gone(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        bury(engine, keep_ms=DAY_MS)
        engine.clock.advance(86_400)
        assert engine.queue.dead("orders", 10, None).messages == []
        assert engine.queue.alter("orders", "", "1", Redriven(moment(engine, "redriven"))) is False

    # --------------------------------------------------------------------------------------------------- dead letters

    def test_a_dead_letter_has_its_reason_its_bytes_and_every_attempt(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1", '{"n": 2.10, "emoji":"\U0001f6b0"}'))
        bury(engine)
        (found,) = engine.queue.dead("orders", 10, None).messages
        assert found == row(engine)
        assert (found.status, found.error, found.attempts) == ("failed", "It cannot be.", 1)
        assert found.body == '{"n": 2.10, "emoji":"\U0001f6b0"}'.encode()
        assert found.timeline == (
            moment(engine, "failed", attempt=1, detail="It cannot be.", kind="Permanent", pointer="/n"),
        )
        assert engine.queue.begin("orders", "", "1", LEASE_MS) is None

    def test_dead_letters_are_listed_in_pages_newest_first(self, engine: EngineUnderTest) -> None:
        store(engine, *(queued(str(n)) for n in range(7)), queued("elsewhere", channel="events"))
        for n in (1, 3, 4, 6):
            bury(engine, str(n))
        first = engine.queue.dead("orders", 3, None)
        assert keys_of(first) == ["6", "4", "3"]
        second = engine.queue.dead("orders", 3, first.next)
        assert (keys_of(second), second.next) == (["1"], None)
        with pytest.raises(ValueError):  # noqa: PT011 - the text is up to the engine
            engine.queue.dead("orders", 3, "x")

    def test_a_message_may_be_a_dead_letter_from_the_start(self, engine: EngineUnderTest) -> None:
        told = moment(engine, "rejected", detail="It is no JSON.", kind="malformed")
        rejected = queued("1")._replace(status="rejected", body=b"\xff", error="It is no JSON.", timeline=(told,))
        store(engine, rejected)
        (found,) = engine.queue.dead("orders", 10, None).messages
        assert (found.status, found.body, found.error, found.timeline) == (
            "rejected", b"\xff", "It is no JSON.", (told,)
        )  # fmt: skip
        assert engine.queue.begin("orders", "", "1", LEASE_MS) is None
        assert engine.queue.alter("orders", "", "1", Redriven(moment(engine, "redriven")))
        assert begun(engine).message.body == b"\xff"

    def test_a_redriven_message_starts_anew_under_its_key(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        bury(engine)
        assert engine.queue.alter("orders", "", "1", Redriven(moment(engine, "redriven", told="ann"))) is True
        found = row(engine)
        assert (found.status, found.attempts, found.error, found.expires_ms) == ("accepted", 0, None, None)
        assert [told.what for told in found.timeline] == ["failed", "redriven"]
        assert engine.queue.dead("orders", 10, None).messages == []
        lease = begun(engine)
        assert lease.message.attempts == 1
        assert engine.queue.settle(lease, processed(engine, lease))
        assert [told.what for told in row(engine).timeline] == ["failed", "redriven", "processed"]

    def test_a_redrive_that_is_repeated_does_not_fork_the_message(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        bury(engine)
        redriven = Redriven(moment(engine, "redriven"))
        assert engine.queue.alter("orders", "", "1", redriven) is True
        assert engine.queue.alter("orders", "", "1", redriven) is False
        lease = begun(engine)
        assert engine.queue.alter("orders", "", "1", redriven) is False
        assert engine.queue.settle(lease, processed(engine, lease))
        assert engine.queue.alter("orders", "", "1", redriven) is False
        assert keys_of(engine.index.find("orders", None, None, None, 10, None)) == ["1"]

    def test_an_edited_message_keeps_its_original(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1", '{"n":1}')._replace(fields=(("n", "1"),)))
        bury(engine)
        for n in (2, 3):
            edited = Edited(moment(engine, "edited", told="ann"), b'{"n":%d}' % n, (("n", str(n)),))
            assert engine.queue.alter("orders", "", "1", edited) is True
        found = row(engine)
        assert (found.status, found.body, found.original) == ("failed", b'{"n":3}', b'{"n":1}')
        assert [told.what for told in found.timeline] == ["failed", "edited", "edited"]
        assert keys_of(engine.index.find("orders", None, "n", "3", 10, None)) == ["1"]
        assert keys_of(engine.index.find("orders", None, "n", "1", 10, None)) == []
        assert engine.queue.alter("orders", "", "1", Redriven(moment(engine, "redriven")))
        assert begun(engine).message.body == b'{"n":3}'

    def test_a_senders_repetition_is_compared_with_what_it_sent(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1", '{"n":1}'))
        bury(engine)
        assert engine.queue.alter("orders", "", "1", Edited(moment(engine, "edited"), b'{"n":2}'))
        assert kinds(engine.index.commit([queued("1", '{"n":1}'), queued("1", '{"n":2}')])) == ["replayed", "conflict"]

    def test_a_discarded_message_is_no_dead_letter_but_stays_in_the_history(self, engine: EngineUnderTest) -> None:
        store(engine, queued("1"))
        bury(engine)
        discarded = Discarded(moment(engine, "discarded", detail="A test order."), 60_000)
        assert engine.queue.alter("orders", "", "1", discarded) is True
        assert engine.queue.alter("orders", "", "1", discarded) is False
        assert engine.queue.dead("orders", 10, None).messages == []
        assert row(engine).status == "discarded"
        assert row(engine).timeline[-1].detail == "A test order."
        engine.clock.advance(60)
        assert engine.index.get("orders", "", "1") is None

    @pytest.mark.parametrize(
        "alteration",
        [
            lambda told: Redriven(told),
            lambda told: Edited(told, b"2"),
            lambda told: Discarded(told, None),
        ],
        ids=["redriven", "edited", "discarded"],
    )
    def test_only_dead_letters_are_altered(
        self, engine: EngineUnderTest, alteration: Callable[[Moment], Alteration]
    ) -> None:
        made = alteration(moment(engine, "altered"))
        assert engine.queue.alter("orders", "", "1", made) is False
        store(engine, queued("1"))
        assert engine.queue.alter("orders", "", "1", made) is False
        lease = begun(engine)
        assert engine.queue.alter("orders", "", "1", made) is False
        assert engine.queue.settle(lease, processed(engine, lease))
        assert engine.queue.alter("orders", "", "1", made) is False
        assert row(engine).body == b'{"n":1}'
