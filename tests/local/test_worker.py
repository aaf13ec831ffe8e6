"""Handlers in processes of their own, on a real server: they hang, die, eat memory and print."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.crew.app import LIMIT_S
from tests.serving import PATIENCE_S, Served, free_port, is_there, kill, log_of, start

APP = Path(__file__).with_name("crew") / "app.py"
LAUNCH = APP.with_name("launch.py")
SECRETS = {"OF_JOBS": "secret of jobs", "OF_OTHERS": "secret of others"}


class Site:
    """The server, and what its handlers did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ahead_s = 0.0
        self.served = self.start()

    def start(self) -> Served:
        files = {"EFFECTS": str(self.folder / "effects"), "CREW_CLOCK": str(self.folder / "clock")}
        state = self.folder / "state"
        command = [sys.executable, str(LAUNCH), "serve", "--app", str(APP), "--state", str(state), "--port", "{port}"]
        self.served = start(APP, state, free_port(), command=command, env={**files, **SECRETS})
        return self.served

    def run_out_of_time(self) -> None:
        """Whatever handlers are at has taken too long."""
        self._ahead_s += LIMIT_S + 1
        (self.folder / "clock.new").write_text(str(self._ahead_s))
        (self.folder / "clock.new").replace(self.folder / "clock")

    def send(self, id_: str, do: str = "", channel: str = "/jobs", **more: Any) -> None:
        assert self.served.post(channel, {"id": id_, "do": do, **more}).status == 202

    def effects(self) -> list[str]:
        file = self.folder / "effects"
        return file.read_text().splitlines() if file.exists() else []

    def until(self, *lines: str) -> None:
        """Wait until the handlers have done that."""
        self._until(lambda: set(lines) <= set(self.effects()), lines)

    def ends(self, id_: str, channel: str = "/jobs") -> dict[str, Any]:
        """The message, when it is settled."""
        found: list[dict[str, Any]] = []

        def is_settled() -> bool:
            found.append(json.loads(self.served.ask("GET", f"{channel}/{id_}").body))
            return found[-1]["status"] not in ("accepted", "processing")

        self._until(is_settled, id_)
        return found[-1]

    def sees(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so."""
        self._until(is_so, "it")

    def _until(self, is_so: Any, what: object) -> None:
        began = time.monotonic()
        while not is_so():
            if time.monotonic() > began + PATIENCE_S:
                log = log_of(self.folder / "state")
                raise AssertionError(f"{what} did not come to pass; {self.effects()}\n{log}")
            time.sleep(0.02)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    if site.served.process.poll() is None:
        kill(site.served)


def test_nobody_waits_for_a_handler_that_hangs(site: Site) -> None:
    site.send("h", "hang", channel="/patient")
    site.until("begun h 1")
    for n in range(20):
        site.send(f"o{n}", channel="/others")
        site.send(f"p{n}", channel="/patient")
    site.until(*(f"done {kind}{n} 1" for kind in "op" for n in range(20)))
    assert [line for line in site.effects() if " h " in line] == ["begun h 1"]


def test_a_hung_handler_is_killed_and_its_message_comes_back_once(site: Site) -> None:
    site.send("h", "hang once")
    site.until("begun h 1")
    for n in range(20):
        site.send(f"j{n}")
    assert {site.ends(f"j{n}")["status"] for n in range(20)} == {"processed"}
    assert {f"done j{n} 1" for n in range(20)} <= set(site.effects())
    site.run_out_of_time()
    site.until("done h 2")
    assert [line for line in site.effects() if " h " in line] == ["begun h 1", "begun h 2", "done h 2"]
    assert site.ends("h")["status"] == "processed"
    log = log_of(site.folder / "state")
    assert f"a handler took too long channel=jobs timeout_s={LIMIT_S}" in log


def test_a_message_that_always_hangs_or_kills_its_process_is_dead_after_its_attempts(site: Site) -> None:
    site.send("h", "hang")
    site.send("d", "die")
    site.send("e", "eat")
    site.send("ok")
    assert site.ends("d")["error"] == "The handler failed."
    assert site.ends("e")["error"] == "The handler failed."
    assert site.ends("ok")["status"] == "processed"
    for attempt in (1, 2, 3):
        site.until(f"begun h {attempt}")
        site.run_out_of_time()
    assert site.ends("h")["error"] == f"The handler did not end within {LIMIT_S} seconds, and was stopped."
    for id_ in "hde":
        assert [line for line in site.effects() if f" {id_} " in line] == [f"begun {id_} {n}" for n in (1, 2, 3)]
    assert "kind=MemoryError" in log_of(site.folder / "state")


def test_a_process_without_memory_is_replaced_so_that_it_fails_no_others(site: Site) -> None:
    site.send("a", channel="/ones")
    site.send("e", "eat", channel="/ones")
    assert site.ends("e", "/ones")["error"] == "The handler failed."
    site.send("b", channel="/ones")
    assert site.ends("b", "/ones")["status"] == "processed"
    processes = [line.split()[-1] for line in site.effects()]
    assert len(processes) == 4, "each was tried as often as it should be: a, e twice, b"
    assert len(set(processes)) == 3
    assert "no memory or files left" in log_of(site.folder / "state")


def test_a_handler_that_forks_and_comes_back_twice_has_handled_its_message_once(site: Site) -> None:
    for n in range(3):
        site.send(f"f{n}", "fork", channel="/ones")
    assert {site.ends(f"f{n}", "/ones")["status"] for n in range(3)} == {"processed"}
    assert len({line.split()[-1] for line in site.effects()}) == 1
    assert len(site.effects()) == 3


def test_what_handlers_print_is_in_the_log(site: Site) -> None:
    site.send("p", "print")
    site.ends("p")
    lines = [line for line in log_of(site.folder / "state").splitlines() if "headgate.handlers" in line]
    assert lines[0].endswith("INFO headgate.handlers channel=jobs a line p")
    assert sum(line.count("x") for line in lines[1:]) > 8_000


def test_a_handler_sees_its_own_settings_and_no_others(site: Site) -> None:
    site.send("l", "look")
    site.until("saw blue here secret of jobs None")


def test_what_is_in_work_is_finished_when_the_server_is_told_to_stop(site: Site) -> None:
    for n in range(6):
        site.send(f"s{n}", "wait")
    site.until("begun s0 1")
    site.served.process.send_signal(signal.SIGTERM)
    site.sees(lambda: "jobs begins nothing more" in log_of(site.folder / "state"))
    (site.folder / "go on").touch()
    assert site.served.process.wait(PATIENCE_S) == 0
    begun = [line for line in site.effects() if line.startswith("begun")]
    assert site.effects().count("done s0 1") == 1
    assert len(begun) < 6
    assert {line.replace("begun", "done") for line in begun} <= set(site.effects())
    site.start()
    site.until(*(f"done s{n} 1" for n in range(6)))
    assert sorted(line for line in site.effects() if line.startswith("begun")) == [f"begun s{n} 1" for n in range(6)]


def test_a_handler_ends_with_a_killed_server_and_so_does_what_it_has_started(site: Site) -> None:
    site.send("c", "start")
    site.sees(lambda: any("started" in line for line in site.effects()))
    kill(site.served)
    pids = next(line for line in site.effects() if "started" in line).split()[1:]
    site.sees(lambda: not any(map(is_there, map(int, pids))))


def test_what_a_killed_server_was_at_comes_back_when_it_is_started_again(site: Site) -> None:
    site.send("s", "hang once")
    site.until("begun s 1")
    kill(site.served)
    site.start()
    site.until("done s 2")
    assert site.ends("s")["status"] == "processed"
