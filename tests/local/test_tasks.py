"""Tasks in processes of their own: what comes of them, as Lambda would tell it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headgate.declare.load import load_app
from headgate.local.executions.services import TaskFailed
from headgate.local.tasks import LocalTasks
from tests.serving import PATIENCE_S, is_there

APP = """
import os, sys, time
from headgate import App, Env, Public, Secret

app = App("shop")
app.channel("/orders", auth=Public())

class Rejected(Exception): ...

@app.task
def double(given):
    return {"twice": given["n"] * 2, "pid": os.getpid()}

@app.task
async def later(given):
    return given

@app.task
def reject(given):
    raise Rejected("no: é")

@app.task
def leave(given):
    os._exit(3)

@app.task(timeout_s=0.3)
def hang(given):
    time.sleep(900)

held = []

@app.task(memory_mb=200)
def leak(given):
    held.append(bytearray(given["mb"] * 2**20))
    return os.getpid()

@app.task
def fork(given):
    os.fork()
    return os.getpid()

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("there are no words")

@app.task
def deep(given):
    if given.get("n", 0) < 100:
        deep.function({"n": given.get("n", 0) + 1})
    raise ValueError("y" * 50_000)

@app.task
def mute(given):
    raise Mute

@app.task
def odd(given):
    return {1, 2}

@app.task(env={"MODE": "fast", "PLACE": Env("PLACE", "here")}, secrets=[Secret("TOKEN")])
def told(given):
    print("said something")
    return [os.environ.get(name) for name in ("MODE", "PLACE", "TOKEN", "OTHER_SECRET")]

@app.task(secrets=[Secret("OTHER_SECRET")])
def other(given): ...
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalTasks]:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.setenv("OTHER_SECRET", "hidden")
    app = load_app(str(tmp_path))
    made = LocalTasks(app, str(tmp_path), {"TOKEN": "t0k", "PLACE": "there"})
    yield made
    made.close()


def failed(tasks: LocalTasks, name: str) -> tuple[str, dict[str, object]]:
    with pytest.raises(TaskFailed) as caught:
        tasks.invoke(name, {}, "token-1")
    return caught.value.error, json.loads(caught.value.cause)


def test_a_task_is_handed_json_and_its_process_is_used_again(tasks: LocalTasks) -> None:
    one, two = (tasks.invoke("double", {"n": n}, "t") for n in (2, 3))
    assert (one["twice"], two["twice"]) == (4, 6)
    assert one["pid"] == two["pid"] != os.getpid()
    assert tasks.invoke("later", ["é", 1.5, None], "t") == ["é", 1.5, None]


def test_calls_at_the_same_time_have_processes_of_their_own(tasks: LocalTasks) -> None:
    with ThreadPoolExecutor(3) as pool:
        results = [*pool.map(lambda n: tasks.invoke("double", {"n": n}, "t"), range(12))]
    assert [result["twice"] for result in results] == [2 * n for n in range(12)]
    assert 1 <= len({result["pid"] for result in results}) <= 3


def test_what_a_task_raises_is_the_error_by_the_name_of_its_class(tasks: LocalTasks) -> None:
    error, cause = failed(tasks, "reject")
    assert (error, cause["errorType"], cause["errorMessage"]) == ("Rejected", "Rejected", "no: é")
    assert failed(tasks, "odd")[0] == "Runtime.MarshalError"


def test_a_task_that_takes_too_long_is_stopped(tasks: LocalTasks) -> None:
    error, cause = failed(tasks, "hang")
    assert (error, cause["errorMessage"]) == (
        "Sandbox.Timedout",
        "RequestId: token-1 Error: Task timed out after 0.30 seconds",
    )


def test_a_task_whose_process_ends_has_failed_and_the_next_call_has_another(tasks: LocalTasks) -> None:
    error, cause = failed(tasks, "leave")
    assert (error, cause["errorMessage"]) == (
        "Runtime.ExitError",
        "RequestId: token-1 Error: Runtime exited with error: exit status 3",
    )
    assert failed(tasks, "leave")[0] == "Runtime.ExitError"


def test_a_task_sees_what_it_declares_and_no_other_secret(tasks: LocalTasks) -> None:
    assert tasks.invoke("told", {}, "t") == ["fast", "there", "t0k", None]


def test_there_is_no_task_of_another_name(tasks: LocalTasks) -> None:
    with pytest.raises(KeyError):
        tasks.invoke("absent", {}, "t")


def test_a_task_that_has_used_its_memory_up_is_given_a_new_process(tasks: LocalTasks) -> None:
    first = tasks.invoke("leak", {"mb": 10}, "t")
    with pytest.raises(TaskFailed, match="MemoryError"):
        tasks.invoke("leak", {"mb": 1000}, "t")
    assert tasks.invoke("leak", {"mb": 10}, "t") != first


def test_a_task_that_forks_and_comes_back_twice_answers_once(tasks: LocalTasks) -> None:
    assert tasks.invoke("fork", 1, "t") == tasks.invoke("fork", 2, "t")


def test_an_error_without_words_is_told_by_its_name(tasks: LocalTasks) -> None:
    error, cause = failed(tasks, "mute")
    assert (error, cause["errorMessage"]) == ("Mute", "<exception str() failed>")


def test_a_process_that_was_killed_between_two_calls_fails_none(tasks: LocalTasks) -> None:
    pid = tasks.invoke("double", {"n": 1}, "t")["pid"]
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert tasks.invoke("double", {"n": 2}, "t")["twice"] == 4


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def pids(file: Path) -> list[int]:
    return [*map(int, file.read_text().split())] if file.exists() else []


STUCK = """
import os, pathlib, subprocess, sys, time
from headgate import App, Public

app = App("stuck")
app.channel("/orders", auth=Public())
told = pathlib.Path(__file__).with_name("pids")

@app.task(timeout_s=300)
def stick(given):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    told.write_text(f"{os.getpid()} {child.pid}")
    time.sleep(300)

if "headgate.local.task_hand" in sys.orig_argv and not told.with_name("comes up").exists():
    told.write_text(str(os.getpid()))
    time.sleep(300)
"""

SERVER = """
import sys
from headgate.declare.load import load_app
from headgate.local.tasks import LocalTasks
LocalTasks(load_app(sys.argv[1]), sys.argv[1], {}).invoke("stick", {}, "t")
"""


def test_a_task_in_the_middle_of_a_call_ends_with_its_server_and_so_does_what_it_started(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(STUCK)
    (tmp_path / "comes up").touch()
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)])
    try:
        until(lambda: len(pids(tmp_path / "pids")) == 2)
    finally:
        server.kill()
        server.wait()
    until(lambda: not any(map(is_there, pids(tmp_path / "pids"))))


@pytest.mark.parametrize("comes_up", [True, False])
def test_closing_ends_what_runs_and_what_is_just_being_started(tmp_path: Path, comes_up: bool) -> None:
    (tmp_path / "app.py").write_text(STUCK)
    if comes_up:
        (tmp_path / "comes up").touch()
    tasks = LocalTasks(load_app(str(tmp_path)), str(tmp_path), {})
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(failed, tasks, "stick")
        until(lambda: len(pids(tmp_path / "pids")) == 1 + comes_up)
        tasks.close()
        assert not is_there(pids(tmp_path / "pids")[0]), "when it returns they have ended"
        until(lambda: not any(map(is_there, pids(tmp_path / "pids"))))
        assert called.result()[0] == ("Runtime.ExitError" if comes_up else "Runtime.ImportModuleError")
        assert failed(tasks, "stick")[0] == "Runtime.ExitError"


def test_a_cause_is_no_longer_than_step_functions_keeps_it(tasks: LocalTasks) -> None:
    with pytest.raises(TaskFailed) as caught:
        tasks.invoke("deep", {}, "t")
    assert len(caught.value.cause) <= 32_768
    assert json.loads(caught.value.cause)["errorMessage"].startswith("yyy")
