"""Consumers of a stream: what a bad record costs, and that nothing is skipped but what is given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import App, Public, RetryPolicy, Stream
from headgate.clock import ManualClock
from headgate.engine import Place, Record
from headgate.gate.consume import Consuming, Reading, Step, Trial, Turn, step, too_old
from headgate.gate.handle import DONE, Report
from headgate.gate.observe import Observer
from headgate.message import Message

RETRY = Report("retry", detail="The handler failed.", kind="ValueError")
AT_ONCE = RetryPolicy(first_s=0, most_s=0)
FAILED = Report("failed", detail="no", kind="Permanent")
STREAM = Stream(attempts=3, backoff=RetryPolicy(first_s=1, factor=2, most_s=60, jitter=0))


def follows(turn: Turn, *reports: Report) -> Step:
    return step(STREAM, 8, turn, reports, Random(7))


def test_what_is_handled_is_behind_and_more_comes_next() -> None:
    assert follows(Turn(4), DONE, DONE, DONE, DONE) == Step(4, (), Turn(8))
    assert follows(Turn(8), DONE) == Step(1, (), Turn(8))


def test_a_batch_that_fails_as_a_whole_is_halved_without_waiting() -> None:
    assert follows(Turn(8), *[RETRY] * 8) == Step(0, (), Turn(4), again=True)
    assert follows(Turn(3), *[RETRY] * 3) == Step(0, (), Turn(1), again=True)


def test_one_that_is_to_be_tried_again_has_had_an_attempt_and_those_before_it_are_behind() -> None:
    assert follows(Turn(8), DONE, DONE, RETRY, DONE) == Step(2, (), Turn(1, 1), wait_s=1, again=True)
    assert follows(Turn(8), RETRY, DONE) == Step(0, (), Turn(1, 1), wait_s=1, again=True)


def test_with_one_attempt_a_record_of_many_is_given_up_on_its_own_verdict() -> None:
    once = Stream(attempts=1)
    assert step(once, 8, Turn(8), [DONE, RETRY, DONE], Random(7)) == Step(2, ((1, RETRY),), Turn(8))


def test_alone_it_is_tried_as_often_as_declared_and_waits_longer_each_time() -> None:
    assert follows(Turn(1, 0), RETRY) == Step(0, (), Turn(1, 1), wait_s=1, again=True)
    assert follows(Turn(1, 1), RETRY) == Step(0, (), Turn(1, 2), wait_s=2, again=True)
    assert follows(Turn(1, 2), RETRY) == Step(1, ((0, RETRY),), Turn(8))


def test_a_handler_may_say_how_long_to_wait() -> None:
    assert follows(Turn(1), RETRY._replace(delay_s=7)).wait_s == 7
    assert follows(Turn(4), DONE, RETRY._replace(delay_s=7)).wait_s == 7
    assert follows(Turn(4), *[RETRY._replace(delay_s=7)] * 2) == Step(0, (), Turn(1), wait_s=7, again=True)


def test_what_can_never_work_is_given_up_at_once() -> None:
    assert follows(Turn(4), DONE, FAILED, DONE) == Step(3, ((1, FAILED),), Turn(8))
    assert follows(Turn(4), FAILED, RETRY) == Step(1, ((0, FAILED),), Turn(1, 1), wait_s=1, again=True)


@pytest.mark.parametrize(("age_s", "count"), [(59, 0), (60, 0), (61, 2)])
def test_what_is_too_old_is_found(age_s: int, count: int) -> None:
    stream = Stream(most_age=timedelta(minutes=1))
    records = [_record(0), _record(0), _record(3_000)]
    assert too_old(stream, records, age_s * 1000) == count
    assert too_old(Stream(), records, 10**12) == 0


@given(
    bad=st.sets(st.integers(0, 39)),
    answers=st.sampled_from(["whole", "each"]),
    most=st.integers(1, 20),
)
def test_every_record_is_handled_or_given_up_after_its_attempts(bad: set[int], answers: str, most: int) -> None:
    handled: Counter[int] = Counter()
    attempts: Counter[int] = Counter()

    def handle(places: range) -> list[Report]:
        first_bad = min(bad & set(places), default=None)
        if len(places) == 1 or (answers == "each" and not set(places) <= bad and first_bad is not None):
            attempts[places[0] if first_bad is None else first_bad] += 1
        if answers == "whole" and bad & set(places):
            return [RETRY] * len(places)
        handled.update(at for at in places if at not in bad)
        return [RETRY if at in bad else DONE for at in places]

    given_up = _consumed(40, most, handle)
    assert given_up == sorted(bad)
    assert set(handled) == set(range(40)) - bad
    assert all(attempts[at] == STREAM.attempts for at in bad)


def _consumed(count: int, most: int, handle: Callable[[range], list[Report]]) -> list[int]:
    """The records that were given up, in order, when all `count` are behind."""
    given_up: list[int] = []
    turn, at = Turn(most), 0
    while at < count:
        reports = handle(range(at, min(count, at + turn.size)))
        decided = step(STREAM, most, turn, reports, Random(1))
        given_up += [at + place for place, _ in decided.given_up]
        turn, at = decided.turn, at + decided.behind
    return given_up


def _record(received_ms: int, at: int = 1) -> Record:
    message = Message("events", "", str(at), b"{}", received_ms, "", "", "", "accepted", None)
    return Record(Place("shardId-000000000000", str(at)), message)


class Way:
    """A shard of some records, read by a consumer whose process may die, and what was written down of it."""

    def __init__(self, records: int, attempts: int, most: int) -> None:
        channel = App("shop").channel(
            "/events", key="id", auth=Public(), delivery=Stream(attempts=attempts, backoff=AT_ONCE), batch=most
        )
        self.consuming = Consuming(channel, "totals", ManualClock(), Observer())
        self.records = [_record(0, at) for at in range(1, records + 1)]
        self.after: str | None = None
        self.trial: Trial | None = None
        self.letters: list[Message] = []
        self.start()

    def start(self) -> None:
        """As a new process does, from what was written down."""
        self.reading = Reading(self.consuming, self.after, self.trial)

    def begin(self) -> list[Message]:
        """What is handed over next; what becomes of some without is followed first."""
        while records := self.records[int(self.reading.after or 0) :][: self.reading.size]:
            if messages := self.reading.begin(records):
                self.after, self.trial = self.reading.after, self.reading.begun
                return messages
            self.end()
        return []

    def end(self, *reports: Report) -> None:
        """The turn has ended, and what follows is written down."""
        follow = self.reading.told(reports)
        self.reading.go(follow)
        self.after, self.trial = follow.after, follow.trial
        self.letters += follow.letters


@pytest.mark.parametrize("most", [1, 8])
def test_a_record_that_takes_its_process_down_each_time_is_given_up_after_its_attempts(most: int) -> None:
    way, handed, deaths = Way(8, 3, most), Counter[str](), 0
    while messages := way.begin():
        handed.update(message.key for message in messages if len(messages) == 1)
        if any(message.key == "5" for message in messages):
            deaths += 1
            way.start()
        else:
            way.end(*[DONE] * len(messages))
    (letter,) = way.letters
    assert (letter.key, letter.attempts, handed["5"]) == ("5", 3, 3)
    assert deaths == 3 + (3 if most > 1 else 0), "alone after it was in a list of 8, 4 and 2"
    assert [(moment.what, moment.attempt, moment.kind) for moment in letter.timeline] == [
        ("lost", 1, "Lost"), ("lost", 2, "Lost"), ("failed", 3, "Lost"),
    ]  # fmt: skip
    assert (letter.error or "").startswith("All 3 attempts are used up.")


def test_attempts_are_counted_on_when_the_process_was_stopped_in_between() -> None:
    way = Way(2, 3, 1)
    for attempt in (1, 2, 3):
        (message,) = way.begin()
        assert (message.key, message.attempts) == ("1", attempt)
        way.end(RETRY)
        way.start()
    (letter,) = way.letters
    assert [(moment.what, moment.attempt) for moment in letter.timeline] == [
        ("retried", 1), ("retried", 2), ("failed", 3),
    ]  # fmt: skip
    assert [message.key for message in way.begin()] == ["2"]


def test_what_was_tried_of_a_record_that_is_not_kept_any_more_is_no_other_record_s() -> None:
    way = Way(3, 3, 1)
    way.begin()
    way.end(RETRY)
    way.reading.after = "1"
    (message,) = way.begin()
    assert (message.key, message.attempts) == ("2", 1)
