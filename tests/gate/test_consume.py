"""Consumers of a stream: what a bad record costs, and that nothing is skipped but what is given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.declare.delivery import RetryPolicy, Stream
from headgate.engine import Place, Record
from headgate.gate.consume import Step, Turn, step, too_old
from headgate.gate.handle import DONE, Report
from headgate.message import Message

RETRY = Report("retry", detail="The handler failed.", kind="ValueError")
FAILED = Report("failed", detail="no", kind="Permanent")
STREAM = Stream(attempts=3, backoff=RetryPolicy(first_s=1, factor=2, most_s=60, jitter=0))


def follows(turn: Turn, *reports: Report) -> Step:
    return step(STREAM, 8, turn, reports, Random(7))


def test_what_is_handled_is_behind_and_more_comes_next() -> None:
    assert follows(Turn(4), DONE, DONE, DONE, DONE) == Step(4, (), Turn(8))
    assert follows(Turn(8), DONE) == Step(1, (), Turn(8))


def test_a_batch_that_fails_as_a_whole_is_halved_without_waiting() -> None:
    assert follows(Turn(8), *[RETRY] * 8) == Step(0, (), Turn(4))
    assert follows(Turn(3), *[RETRY] * 3) == Step(0, (), Turn(1))


def test_one_that_is_to_be_tried_again_comes_alone_and_those_before_it_are_behind() -> None:
    assert follows(Turn(8), DONE, DONE, RETRY, DONE) == Step(2, (), Turn(1))
    assert follows(Turn(8), RETRY, DONE) == Step(0, (), Turn(1))


def test_alone_it_is_tried_as_often_as_declared_and_waits_longer_each_time() -> None:
    assert follows(Turn(1, 0), RETRY) == Step(0, (), Turn(1, 1), wait_s=1)
    assert follows(Turn(1, 1), RETRY) == Step(0, (), Turn(1, 2), wait_s=2)
    assert follows(Turn(1, 2), RETRY) == Step(1, ((0, RETRY),), Turn(8))


def test_a_handler_may_say_how_long_to_wait() -> None:
    assert follows(Turn(1), RETRY._replace(delay_s=7)).wait_s == 7


def test_what_can_never_work_is_given_up_at_once() -> None:
    assert follows(Turn(4), DONE, FAILED, DONE) == Step(3, ((1, FAILED),), Turn(8))
    assert follows(Turn(4), FAILED, RETRY) == Step(1, ((0, FAILED),), Turn(1))


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
    alone: Counter[int] = Counter()

    def handle(places: range) -> list[Report]:
        if len(places) == 1:
            alone[places[0]] += 1
        if answers == "whole" and bad & set(places):
            return [RETRY] * len(places)
        handled.update(at for at in places if at not in bad)
        return [RETRY if at in bad else DONE for at in places]

    given_up = _consumed(40, most, handle)
    assert given_up == sorted(bad)
    assert set(handled) == set(range(40)) - bad
    assert all(alone[at] == STREAM.attempts for at in bad)


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


def _record(received_ms: int) -> Record:
    message = Message("events", "", "1", b"{}", received_ms, "", "", "", "accepted", None)
    return Record(Place("shardId-000000000000", "1"), message)
