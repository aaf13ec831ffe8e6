"""What every room of schedules has to do: fire when it is due, once, with the declared input; and once for all that was
missed. AWS keeps its own time, so there the scenarios of `headgate.testing.flow_scenarios` ask it over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from headgate.clock import ManualClock
from headgate.declare.schedule import Schedule
from headgate.engine import Execution

EVERY_HOUR = Schedule("hourly", "rate(1 hour)", "echo", input={"n": 1})
MORNINGS = Schedule("mornings", "cron(0 8 ? * MON-FRI *)", "echo", input={"n": 2}, timezone="Europe/Berlin")
SUNDAYS = Schedule("sundays", "cron(30 2 ? * 1 *)", "echo", timezone="Europe/Berlin")
ONCE = Schedule("once", "at(2026-01-01T00:30:00)", "echo", input={"n": 3})


class SchedulesUnderTest(Protocol):
    """What the fixture `scheduling` gives for schedules of the workflow `echo`, from a moment of the clock on."""

    @property
    def clock(self) -> ManualClock: ...

    def fired(self) -> list[Execution]:
        """The executions that schedules have started, oldest first, once all that is due has fired."""

    def restart(self) -> None:
        """Whatever fires schedules ends, and is begun anew."""


Scheduling = Callable[[Sequence[Schedule], datetime], SchedulesUnderTest]


def inputs(engine: SchedulesUnderTest) -> list[Any]:
    return [json.loads(execution.input) for execution in engine.fired()]


class SchedulesCases:
    """Cases for whatever starts workflows by the clock."""

    @pytest.fixture
    def scheduling(self) -> Scheduling:
        raise NotImplementedError("give a fixture `scheduling` in the class that adopts these cases")

    def test_a_rate_fires_when_its_time_has_passed_and_not_before(self, scheduling: Scheduling) -> None:
        engine = scheduling([EVERY_HOUR], datetime(2026, 1, 1, tzinfo=UTC))
        assert inputs(engine) == []
        engine.clock.advance(3599)
        assert inputs(engine) == []
        engine.clock.advance(1)
        assert inputs(engine) == [{"n": 1}]
        engine.clock.advance(3600)
        assert inputs(engine) == [{"n": 1}] * 2

    def test_a_time_of_day_is_that_of_its_zone_in_winter_and_in_summer(self, scheduling: Scheduling) -> None:
        for begin, due in ((datetime(2026, 1, 5, 6, tzinfo=UTC), 3600), (datetime(2026, 7, 6, 5, tzinfo=UTC), 3600)):
            engine = scheduling([MORNINGS], begin)
            engine.clock.advance(due - 1)
            assert inputs(engine) == []
            engine.clock.advance(1)
            assert inputs(engine) == [{"n": 2}]

    def test_weekdays_count_from_sunday(self, scheduling: Scheduling) -> None:
        engine = scheduling([MORNINGS], datetime(2026, 1, 2, 12, tzinfo=UTC))  # a Friday
        engine.clock.advance(2 * 86_400)
        assert inputs(engine) == []
        engine.clock.advance(86_400)
        assert inputs(engine) == [{"n": 2}]

    def test_a_time_that_a_zone_leaves_out_does_not_fire(self, scheduling: Scheduling) -> None:
        engine = scheduling([SUNDAYS], datetime(2026, 3, 28, 12, tzinfo=UTC))
        engine.clock.advance(86_400)
        assert inputs(engine) == []

    def test_a_time_that_comes_twice_fires_once(self, scheduling: Scheduling) -> None:
        engine = scheduling([SUNDAYS], datetime(2026, 10, 24, 12, tzinfo=UTC))
        for _ in range(4):
            engine.clock.advance(21_600)
            engine.fired()
        assert inputs(engine) == [{}]

    def test_a_moment_fires_once_and_never_again(self, scheduling: Scheduling) -> None:
        engine = scheduling([ONCE], datetime(2026, 1, 1, tzinfo=UTC))
        engine.clock.advance(1_800)
        assert inputs(engine) == [{"n": 3}]
        engine.restart()
        engine.clock.advance(86_400)
        assert inputs(engine) == [{"n": 3}]

    def test_what_was_missed_is_made_up_for_once(self, scheduling: Scheduling) -> None:
        engine = scheduling([EVERY_HOUR, MORNINGS], datetime(2026, 1, 5, tzinfo=UTC))
        engine.clock.advance(5 * 86_400)
        engine.restart()
        assert sorted(one["n"] for one in inputs(engine)) == [1, 2]

    def test_a_restart_fires_nothing_again(self, scheduling: Scheduling) -> None:
        engine = scheduling([EVERY_HOUR], datetime(2026, 1, 1, tzinfo=UTC))
        engine.clock.advance(3600)
        assert len(engine.fired()) == 1
        engine.restart()
        assert len(engine.fired()) == 1
        engine.clock.advance(3600)
        assert len(engine.fired()) == 2

    def test_an_execution_says_what_it_was_due_for(self, scheduling: Scheduling) -> None:
        engine = scheduling([MORNINGS], datetime(2026, 1, 5, 6, tzinfo=UTC))
        engine.clock.advance(3600)
        assert [execution.name for execution in engine.fired()] == ["mornings-20260105T070000Z"]
