"""A token bucket: so many at once, so many a second in the long run."""

from __future__ import annotations

import pytest

from headgate.clock import ManualClock
from headgate.declare.channel import Throttle
from headgate.local.throttle import Buckets


def test_a_burst_is_let_in_and_the_next_is_told_how_long_to_wait() -> None:
    buckets, throttle = Buckets(ManualClock()), Throttle(rate_per_s=2, burst=3)
    assert [buckets.take("a", throttle) for _ in range(5)] == [0, 0, 0, 0.5, 0.5]


def test_it_fills_with_time_and_never_beyond_the_burst() -> None:
    clock = ManualClock()
    buckets, throttle = Buckets(clock), Throttle(rate_per_s=2, burst=3)
    for _ in range(3):
        buckets.take("a", throttle)
    clock.advance(0.5)
    assert [buckets.take("a", throttle) == 0 for _ in range(2)] == [True, False]
    clock.advance(3600)
    assert [buckets.take("a", throttle) == 0 for _ in range(4)] == [True, True, True, False]


def test_channels_do_not_share_a_bucket() -> None:
    buckets, throttle = Buckets(ManualClock()), Throttle(rate_per_s=1, burst=1)
    assert [buckets.take(channel, throttle) for channel in ("a", "b")] == [0, 0]


def test_a_clock_that_jumps_changes_nothing() -> None:
    clock = ManualClock()
    buckets, throttle = Buckets(clock), Throttle(rate_per_s=1, burst=1)
    buckets.take("a", throttle)
    clock.jump(-86_400)
    assert buckets.take("a", throttle) == pytest.approx(1)
    clock.jump(2 * 86_400)
    assert buckets.take("a", throttle) == pytest.approx(1)
