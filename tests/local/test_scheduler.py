"""Schedules that fire: once for each time they are due, also after a crash, and once for all that was missed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from headgate.clock import ManualClock
from headgate.declare.schedule import Schedule
from headgate.engine import Execution
from headgate.errors import Unavailable
from headgate.local.engine import LocalEngine
from headgate.local.executions import LocalExecutions, Workflow
from headgate.local.executions.services import Services
from headgate.local.scheduler import Scheduler
from headgate.local.schema import FILE_NAME
from headgate.testing.contract.schedules import SchedulesCases, Scheduling
from tests.serving import PATIENCE_S

PASS = {"StartAt": "a", "States": {"a": {"Type": "Pass", "End": True}}}
WAIT = {"StartAt": "a", "States": {"a": {"Type": "Wait", "Seconds": 100_000, "End": True}}}


class Site:
    """A store, executions, and a scheduler that is fired by hand; `reopen` is a restart."""

    def __init__(self, folder: Path, *schedules: Schedule, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self._folder = folder
        self._open(schedules)

    def _open(self, schedules: tuple[Schedule, ...]) -> None:
        self.engine = LocalEngine(self._folder / FILE_NAME, (), self.clock)
        known = {"pass": Workflow(PASS), "wait": Workflow(WAIT), "echo": Workflow(PASS)}
        file = self._folder / "executions.sqlite3"
        self.executions = LocalExecutions(file, known, Services(_no_function), self.clock)
        self.scheduler = Scheduler(schedules, self.engine.due, self.executions, self.clock)

    def reopen(self, *schedules: Schedule) -> None:
        self.close()
        self._open(schedules)

    def names(self) -> list[str]:
        return [execution.name for execution in reversed(self.executions.find().executions)]

    def close(self) -> None:
        self.scheduler.close()
        self.executions.close()
        self.engine.close()


def _no_function(name: str, event: Any, token: str) -> Any:
    raise KeyError(name)


EVERY = Schedule("often", "rate(5 minutes)", "pass", input={"n": 1})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, EVERY)
    yield made
    made.close()


def test_a_schedule_fires_when_it_is_due_and_not_before(site: Site) -> None:
    assert site.scheduler.fire() == []
    site.clock.advance(299.9)
    assert site.scheduler.fire() == []
    site.clock.advance(0.1)
    (execution,) = site.scheduler.fire()
    assert (execution.name, json.loads(execution.input)) == ("often-20260101T000500Z", {"n": 1})
    assert site.scheduler.fire() == []
    site.clock.advance(300)
    assert [one.name for one in site.scheduler.fire()] == ["often-20260101T001000Z"]


def test_what_was_missed_is_made_up_for_once(site: Site) -> None:
    site.clock.advance(3_601)
    site.reopen(EVERY)
    assert [one.name for one in site.scheduler.fire()] == ["often-20260101T010000Z"]
    assert site.scheduler.fire() == []
    site.clock.advance(300)
    assert [one.name for one in site.scheduler.fire()] == ["often-20260101T010500Z"]


@pytest.mark.parametrize("workflow", ["pass", "wait"])
def test_a_fire_that_a_crash_cut_off_before_it_was_written_down_starts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workflow: str
) -> None:
    schedule = Schedule("often", "rate(5 minutes)", workflow)
    site = Site(tmp_path, schedule)
    site.clock.advance(300)

    def cut_off(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(site.engine.due, "write", cut_off)
    with pytest.raises(Unavailable):
        site.scheduler.fire()
    site.executions.settle()
    site.reopen(schedule)
    site.scheduler.fire()
    assert site.names() == ["often-20260101T000500Z"]
    site.close()


def test_another_expression_counts_from_now_on_and_what_is_not_declared_is_forgotten(site: Site) -> None:
    site.clock.advance(200)
    hourly = Schedule("often", "rate(1 hour)", "pass")
    site.reopen(hourly, Schedule("nightly", "cron(0 2 * * ? *)", "pass"))
    site.clock.advance(3_599)
    assert site.scheduler.fire() == []
    site.clock.advance(1)
    assert [one.name for one in site.scheduler.fire()] == ["often-20260101T010320Z"]
    site.reopen(hourly)
    assert set(site.engine.due.all()) == {"often"}


def test_a_schedule_that_fires_no_more_is_left_alone(tmp_path: Path) -> None:
    once = Schedule("once", "at(2026-01-01T00:01:00)", "pass")
    site = Site(tmp_path, once)
    site.clock.advance(60)
    assert len(site.scheduler.fire()) == 1
    site.reopen(once)
    site.clock.advance(86_400)
    assert site.scheduler.fire() == []
    site.close()


def test_a_schedule_is_run_by_hand_beside_its_times(site: Site) -> None:
    made: Execution = site.scheduler.run("often")
    assert made.name.startswith("often-")
    site.clock.advance(300)
    assert [one.name for one in site.scheduler.fire()] == ["often-20260101T000500Z"]


def test_its_own_thread_fires_what_is_due_also_when_the_clock_jumps(site: Site) -> None:
    site.scheduler.start()
    site.clock.jump(300)
    until = time.monotonic() + PATIENCE_S
    while not site.names() and time.monotonic() < until:
        time.sleep(0.01)
    assert site.names() == ["often-20260101T000500Z"]


@pytest.mark.parametrize("jump_s", [3_607, 86_407])
def test_a_clock_that_is_set_forward_makes_no_storm(site: Site, jump_s: float) -> None:
    site.clock.jump(jump_s)
    assert len(site.scheduler.fire()) == 1
    assert site.scheduler.fire() == []
    site.clock.advance(300)
    assert len(site.scheduler.fire()) == 1


@pytest.mark.parametrize("jump_s", [-3_607, -86_407])
def test_a_clock_that_is_set_back_holds_up_no_rate(site: Site, jump_s: float) -> None:
    site.clock.advance(300)
    assert len(site.scheduler.fire()) == 1
    site.clock.jump(jump_s)
    assert site.scheduler.fire() == []
    for _ in range(3):
        site.clock.advance(300)
        assert len(site.scheduler.fire()) == 1


def test_a_time_of_day_comes_once_though_the_clock_is_set_back(tmp_path: Path) -> None:
    site = Site(tmp_path, Schedule("nightly", "cron(0 2 * * ? *)", "pass"))
    site.clock.advance(2 * 3_600)
    assert len(site.scheduler.fire()) == 1
    site.clock.jump(-3_600)
    site.clock.advance(3_600)
    assert site.scheduler.fire() == []
    site.close()


class TestSchedules(SchedulesCases):
    @pytest.fixture
    def scheduling(self, tmp_path: Path) -> Iterator[Scheduling]:
        made: list[UnderTest] = []

        def begun(schedules: Sequence[Schedule], at: datetime) -> UnderTest:
            made.append(UnderTest(tmp_path / str(len(made)), schedules, round(at.timestamp() * 1000)))
            return made[-1]

        yield begun
        for each in made:
            each.close()


class UnderTest(Site):
    """See `SchedulesUnderTest`."""

    def __init__(self, folder: Path, schedules: Sequence[Schedule], at_ms: int) -> None:
        folder.mkdir()
        self._declared = tuple(schedules)
        super().__init__(folder, *schedules, clock=ManualClock(at_ms))

    def fired(self) -> list[Execution]:
        self.scheduler.fire()
        return self.executions.find().executions[::-1]

    def restart(self) -> None:
        self.reopen(*self._declared)
