"""The room keeps what it decided: over a restart, a full disk, and for as long as Step Functions does."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.clock import ManualClock
from headgate.engine import Execution
from headgate.errors import Misuse, Unavailable
from headgate.local.executions import LocalExecutions, Performer, Workflow
from headgate.local.executions.schema import open_reading, open_writing
from headgate.local.executions.services import Services, TaskFailed
from headgate.local.executions.state import Invocation, Outcome
from headgate.testing.contract.executions import WORKFLOWS
from tests.local.executions.site import KNOWN, Site, machine
from tests.serving import PATIENCE_S


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def status(site: Site, id: str) -> str:
    found = site.executions.describe(id)
    assert found is not None
    return found.status


def test_a_wait_goes_on_after_a_restart(site: Site) -> None:
    id = site.executions.start("nap", "one", '{"a":1}').id
    site.settle()
    site.reopen()
    assert site.executions.start("nap", "one", '{"a": 1}').id == id
    site.clock.advance(61)
    site.settle()
    assert status(site, id) == "SUCCEEDED"


def test_a_wait_that_ended_while_nothing_ran_ends_at_the_start(site: Site) -> None:
    id = site.executions.start("nap", None, "{}").id
    site.settle()
    site.close()
    site.clock.advance(3600)
    site.reopen()
    site.settle()
    assert status(site, id) == "SUCCEEDED"


def test_what_is_under_way_keeps_its_document_when_the_app_changes(tmp_path: Path) -> None:
    site = Site(tmp_path)
    id = site.executions.start("nap", None, '{"a":1}').id
    site.settle()
    site.close()
    changed = {**KNOWN, "nap": Workflow(WORKFLOWS["echo"][1])}
    later = Site(tmp_path, changed)
    later.clock.advance(61)
    later.settle()
    assert "WaitStateExited" in [event.type for event in later.executions.history(id)]
    later.close()


def test_a_task_is_asked_for_again_with_the_same_token_and_arguments(tmp_path: Path) -> None:
    asked: list[tuple[str, Any]] = []
    hangs = threading.Event()

    def hang(name: str, event: Any, token: str) -> Any:
        asked.append((token, event))
        if len(asked) == 1:
            hangs.wait(PATIENCE_S)
            raise TaskFailed("Gone", "with its process")
        return event

    task = {"Type": "Task", "Resource": "arn:aws:lambda:local:000000000000:function:f"}
    document = machine(A={**task, "Parameters": {"id.$": "States.UUID()"}, "End": True})
    site = Site(tmp_path, {"it": Workflow(document)}, hang)
    id = site.executions.start("it", None, "{}").id
    while not asked:
        time.sleep(0.001)
    site.reopen()
    site.settle()
    assert status(site, id) == "SUCCEEDED"
    assert asked[0] == asked[1]
    hangs.set()


def test_nothing_is_acknowledged_on_a_full_disk_and_all_goes_on_when_there_is_room(site: Site) -> None:
    napping = site.executions.start("nap", None, "{}").id
    site.settle()
    writer = site.executions._writer
    pages = writer.change(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    writer.change(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    with pytest.raises(Unavailable):
        site.executions.start("echo", "large", json.dumps("x" * 100_000))
    site.clock.advance(61)
    writer.change(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
    site.settle()
    assert status(site, napping) == "SUCCEEDED"
    assert site.executions.start("echo", "large", json.dumps("x" * 100_000)).status in ("RUNNING", "SUCCEEDED")


def test_an_end_is_passed_on_once_and_again_only_if_nobody_took_it(tmp_path: Path) -> None:
    told: list[Execution] = []
    refuse = True

    def ended(execution: Execution) -> None:
        if refuse:
            raise OSError
        told.append(execution)

    def opened() -> LocalExecutions:
        services = Services(lambda name, event, token: event)
        return LocalExecutions(tmp_path / "executions.sqlite3", KNOWN, services, clock, ended=ended)

    clock = ManualClock()
    room = opened()
    room.start("echo", "one", "{}")
    room.settle()
    room.close()
    refuse = False
    room = opened()
    room.start("echo", "two", "{}")
    room.settle()
    room.close()
    assert [each.name for each in told] == ["one", "two"]
    opened().close()
    assert len(told) == 2


def test_executions_are_forgotten_after_ninety_days_with_all_they_left(site: Site) -> None:
    old = site.executions.start("task", "one", '{"raise": "Boom"}').id
    site.settle()
    site.clock.advance(91 * 86_400)
    site.executions._forget()
    assert site.executions.describe(old) is None
    assert site.executions.start("task", "one", "{}").id == old
    site.settle()
    site.clock.advance(91 * 86_400)
    site.executions._forget()
    with open_reading(site.file) as connection:
        for rows in ("FROM execution", "FROM branch", "FROM event"):
            assert connection.execute("SELECT count(*) " + rows).fetchone() == (0,), rows
    connection.close()


def test_nothing_of_an_execution_that_succeeded_is_left_but_its_history(site: Site) -> None:
    site.executions.start("each", None, json.dumps(list(range(50))))
    site.executions.start("express", None, "{}")
    site.settle()
    with open_reading(site.file) as connection:
        assert connection.execute("SELECT count(*) FROM branch").fetchone() == (0,)
    connection.close()


def test_a_file_of_another_version_or_kind_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite3"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    with pytest.raises(Misuse, match="was written by another headgate"):
        open_writing(other)
    (tmp_path / "text").write_text("no database, but long enough to be looked at as one" * 20)
    with pytest.raises(Misuse, match="is not a headgate store of executions"):
        open_writing(tmp_path / "text")
    with pytest.raises(Misuse, match="No workflow has run yet"):
        open_reading(tmp_path / "none")


def test_executions_of_many_callers_at_once_all_run(site: Site) -> None:
    ids: list[str] = []

    def start(number: int) -> None:
        ids.extend(site.executions.start("task", f"{number}-{n}", '{"a":1}').id for n in range(20))

    callers = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    site.settle()
    assert {status(site, id) for id in ids} == {"SUCCEEDED"}
    assert len(set(ids)) == 160


def test_after_the_end_nothing_is_taken_in(site: Site) -> None:
    site.close()
    with pytest.raises(Unavailable):
        site.executions.start("echo", None, "{}")
    site.reopen()


class Odd(ManualClock):
    """A clock that fails us."""

    fails = False

    def elapsed_s(self) -> float:
        if self.fails:
            raise KeyError
        return super().elapsed_s()


def test_a_room_that_failed_can_be_closed_and_leaves_no_thread(tmp_path: Path) -> None:
    before = {*threading.enumerate()}
    broken, clock = threading.Event(), Odd()
    pool = Services(lambda *_: None)
    room = LocalExecutions(tmp_path / "executions.sqlite3", KNOWN, pool, clock, on_broken=broken.set)
    clock.fails = True
    room.start("nap", None, "{}")
    assert broken.wait(PATIENCE_S)
    with pytest.raises(Unavailable):
        room.start("nap", None, "{}")
    room.close()
    assert {*threading.enumerate()} <= before


class Rude(Performer):
    """Answers with what no store can hold, but for one of them."""

    def perform(self, invocation: Invocation, done: Callable[[Outcome], None]) -> None:
        if invocation.arguments == "fine":
            done(Outcome(invocation.branch, invocation.attempt, "fine"))
        else:
            done(Outcome(invocation.branch, invocation.attempt, error="Half \ud83d", cause="why"))

    def close(self) -> None:
        pass


def test_one_execution_that_cannot_be_written_does_not_hold_up_the_others(tmp_path: Path) -> None:
    room = LocalExecutions(tmp_path / "executions.sqlite3", KNOWN, Rude(), ManualClock())
    ids = [room.start("task", None, json.dumps(input)).id for input in ("fine", "rude", "fine", "rude", "fine")]
    room.settle()
    found = [room.describe(id) for id in ids]
    room.close()
    assert [each and each.status for each in found] == ["SUCCEEDED", "FAILED", "SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert found[1] is not None
    assert (found[1].error, found[1].cause) == ("States.Runtime", "headgate could not write what it came to.")


def test_half_a_surrogate_pair_is_kept_as_it_came(site: Site) -> None:
    id = site.executions.start("task", None, '{"a": "\\ud83d ä"}').id
    site.settle()
    found = site.executions.describe(id)
    assert found is not None
    assert json.loads(found.output or "") == {"a": "\ud83d ä"}


def test_a_timeout_of_the_whole_counts_anew_after_a_redrive(site: Site) -> None:
    id = site.executions.start("short", None, "{}").id
    site.settle()
    site.clock.advance(6)
    site.settle()
    assert status(site, id) == "TIMED_OUT"
    site.executions.redrive(id)
    site.clock.advance(4)
    site.settle()
    assert status(site, id) == "RUNNING"
    site.reopen()
    site.clock.advance(2)
    site.settle()
    assert status(site, id) == "TIMED_OUT"


def test_the_interpreter_is_imported_without_models_servers_and_clouds() -> None:
    shown = "import sys, headgate.local.executions; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True).stdout.split()
    assert {"pydantic", "starlette", "uvicorn", "botocore", "aiohttp", "jsonata"}.isdisjoint(loaded)
