"""headgate dev: one long story, and what can go wrong in it."""

from __future__ import annotations

import json
import os
import signal
import threading
from http.client import HTTPException
from pathlib import Path

import pytest

from headgate.local.state import StateFolder
from tests.cli.shell import APP, SECRETS, Server, run, running, until
from tests.serving import PATIENCE_S, ask, save

RELOADED = "[dev] The new version serves.\n"


def holder_pid(desk: Path) -> int:
    return int(json.loads((desk / ".headgate" / "holder.json").read_text())["pid"])


def is_held(desk: Path) -> bool:
    return StateFolder(desk / ".headgate").holder() is not None


def test_a_saved_change_is_served_a_broken_one_is_not_and_messages_stay(desk: Path) -> None:
    app = desk / "app.py"
    with running(desk, "dev") as server:
        assert server.post("/notes", '{"id": "n-1"}').status == 201
        assert server.post("/later", "{}").status == 404

        save(app, APP + 'app.channel("/later", auth=Public())\n')
        server.says(RELOADED)
        assert server.post("/later", "{}").status == 201
        assert server.post("/notes", '{"id": "n-1"}').headers["idempotency-replayed"] == "true"
        assert server.post("/notes", '{"id": "n-1", "topic": "x"}').status == 409

        save(app, "app = (\n")
        server.says(
            "app.py:1: this is not valid Python: '(' was never closed.\n[dev] The last good version keeps serving.\n"
        )
        assert server.post("/later", "{}").status == 201

        save(app, APP + "app.channel('/nobody')\n")
        server.says("app.py:15: channel /nobody: say who may post")
        assert server.post("/later", "{}").status == 201

        save(app, APP + "import os\nos._exit(9)\n")
        server.says(
            "[dev] The new version ended while it was loaded (exit code 9). The last good version keeps serving.\n"
        )
        assert server.post("/later", "{}").status == 201

        save(app, APP)
        server.says("[dev] The new version is good again and serves.\n")
        assert server.post("/later", "{}").status == 404
        assert server.post("/notes", '{"id": "n-1"}').headers["idempotency-replayed"] == "true"
        assert server.stop() == 0
    assert server.out.count("headgate ") == 1


HANDLER = """
@app.channel("/jobs", key="id", auth=Public(), read=True, delivery=Queued())
def work(job):
    print("handled by the {version} version", job["id"])
    if job["id"] == "slow":
        import time

        time.sleep(60)
"""


def test_a_saved_handler_works_off_what_comes_next_and_does_not_wait_for_a_slow_one(desk: Path) -> None:
    app = desk / "app.py"
    queued = APP.replace("Public, Secret", "Public, Queued, Secret")
    app.write_text(queued + HANDLER.format(version="first"))
    with running(desk, "dev") as server:
        assert server.post("/jobs", '{"id": "a"}').status == 202
        server.says("handled by the first version a")
        assert server.post("/jobs", '{"id": "slow"}').status == 202
        server.says("handled by the first version slow")
        save(app, queued + HANDLER.format(version="second"))
        server.says(RELOADED)
        assert server.post("/jobs", '{"id": "b"}').status == 202
        server.says("handled by the second version b")
        server.says("handled by the second version slow")


def test_two_saves_of_the_same_size_within_a_second_are_two_versions(desk: Path) -> None:
    app = desk / "app.py"
    with running(desk, "dev") as server:
        for path in ("/one", "/two", "/six"):
            save(app, APP.replace("/notes", path))
            until(lambda path=path: server.post(path, '{"id": "1"}').status == 201, f"{path} is served")  # type: ignore[misc]


# The supervisor's watcher is at work no sooner than there is a file `go`.
LATE = """
import pathlib, sys, time

class Late:
    @staticmethod
    def find_spec(name, *_):
        go = pathlib.Path(__file__).with_name("go")
        while name == "watchfiles" and "dev" in sys.argv and not go.exists():
            time.sleep(0.01)

sys.meta_path.insert(0, Late)
"""


def test_what_is_saved_before_the_files_are_watched_is_served_too(
    desk: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    late = tmp_path_factory.mktemp("late")
    (late / "sitecustomize.py").write_text(LATE)
    with running(desk, "dev", env={"PYTHONPATH": str(late)}) as server:
        assert server.post("/notes", '{"id": "n-1"}').status == 201
        save(desk / "app.py", APP.replace("/keyed", "/locked"))
        (late / "go").touch()
        server.says(RELOADED)
        assert server.post("/locked", "{}").status == 401


def test_nobody_is_turned_away_while_versions_change(desk: Path) -> None:
    """A sender that waits for a reply gets one: the socket stays open when its server goes."""
    with running(desk, "dev") as server:
        done = threading.Event()
        statuses: set[int] = set()

        def keep_posting() -> None:
            while not done.is_set():
                statuses.add(server.post("/notes", '{"id": "n-1"}').status)

        poster = threading.Thread(target=keep_posting)
        poster.start()
        try:
            for _ in range(3):
                said = server.err.count(RELOADED)
                save(desk / "app.py", APP + f"# {said}\n")
                until(lambda said=said: server.err.count(RELOADED) > said, "the new version serves")  # type: ignore[misc]
        finally:
            done.set()
            poster.join()
        assert statuses == {201}


def test_what_is_missing_is_made_up_and_opens_the_channels(desk: Path) -> None:
    with running(desk, "dev") as server:
        credentials = json.loads(run(desk, "keys", "--json").out)
        assert set(credentials) == {"secrets", "api_keys"}
        assert set(credentials["api_keys"]) == {"keyed"}
        assert len(credentials["secrets"]["ORDERS_JWT_SECRET"]) >= 32
        for channel in ("orders", "keyed"):
            token = run(desk, "token", channel).out.strip()
            sent = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}
            assert server.post(f"/{channel}", "{}", sent).status == 201
        assert server.stop() == 0
    with running(desk, "dev"):
        assert json.loads(run(desk, "keys", "--json").out) == credentials
        assert len(json.loads(run(desk, "keys", "list", "--json").out)) == 1
    assert (desk / ".headgate" / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_a_server_that_dies_is_started_again(desk: Path) -> None:
    with running(desk, "dev") as server:
        assert server.post("/notes", '{"id": "n-1"}').status == 201
        first = holder_pid(desk)
        os.kill(first, signal.SIGKILL)
        server.says("[dev] The server died (SIGKILL); it is started again.\n")
        assert server.post("/notes", '{"id": "n-1"}').headers["idempotency-replayed"] == "true"
        assert holder_pid(desk) != first
        server.says("[dev] It serves again.\n")


DIES = """
import os

async def dies(request):
    os._exit(3)

app.channel("/dies", auth=dies)
"""


@pytest.mark.slow
def test_a_server_that_dies_again_and_again_is_given_up(desk: Path) -> None:
    (desk / "app.py").write_text(APP + DIES)
    with running(desk, "dev") as server:
        for _ in range(6):
            with pytest.raises((OSError, HTTPException)):
                server.post("/dies", "{}")
        assert server.process.wait(PATIENCE_S) == 1
        assert server.err.count("[dev] The server died (exit code 3); it is started again.\n") == 5
        assert server.err.endswith("[dev] The server died (exit code 3) again and again; giving up.\n")


def test_the_server_ends_with_its_supervisor_however_that_ends(desk: Path) -> None:
    with running(desk, "dev") as server:
        server.process.kill()
        server.process.wait()
        until(lambda: not is_held(desk), "the server is gone, too")
    assert run(desk, "messages", "list").code == 0


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGHUP], ids=["ctrl-c", "hang-up"])
@pytest.mark.usefixtures("hearing")
def test_ctrl_c_or_a_terminal_that_closes_ends_both_in_good_order(desk: Path, told: signal.Signals) -> None:
    with running(desk, "dev") as server:
        assert is_held(desk)
        os.killpg(server.process.pid, told)
        assert server.process.wait(PATIENCE_S) == 0
        assert not is_held(desk)
        assert not (desk / ".headgate" / "holder.json").exists()


def test_a_version_that_never_comes_up_is_dropped_for_the_next_one(desk: Path) -> None:
    with running(desk, "dev") as server:
        save(desk / "app.py", "print('loading', flush=True)\nwhile True:\n    pass\n")
        until(lambda: "loading" in server.out, "the version is being tried")
        assert server.post("/notes", '{"id": "n-1"}').status == 201
        save(desk / "app.py", APP.replace("/keyed", "/locked"))
        server.says(RELOADED)
        assert server.post("/locked", "{}").status == 401


def test_without_reload_a_change_is_left_alone(desk: Path) -> None:
    with running(desk, "dev", "--no-reload") as server:
        save(desk / "app.py", "app = (\n")
        # The time in which a reload would have been tried, and told of, at least ten times over.
        for _ in range(200):
            assert server.post("/notes", '{"id": "n-1"}').status == 201
        assert server.err == ""


def test_an_app_with_a_fault_is_not_started(desk: Path) -> None:
    (desk / "app.py").write_text("app = (\n")
    done = run(desk, "dev", "--port", "0")
    assert (done.code, done.out) == (2, "")
    assert done.err == "app.py:1: this is not valid Python: '(' was never closed.\n"


def test_a_busy_port_is_one_sentence(desk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(desk, "dev") as server:
        other = tmp_path_factory.mktemp("other")
        (other / "app.py").write_text(APP)
        done = run(other, "dev", "--port", str(server.port))
        assert done.code == 2
        assert done.err == f"Port {server.port} is in use by another program; say another --port, or --port 0.\n"


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_the_port_of_the_very_same_app_is_told_to_be_that(desk: Path, command: str) -> None:
    with running(desk, "dev") as server:
        done = run(desk, command, "--port", str(server.port), env=SECRETS)
        assert done.code == 2
        assert done.err == (
            f"{desk / '.headgate'} is in use by process {holder_pid(desk)}, serving http://127.0.0.1:{server.port}. "
            "Stop it, or say another --port and another --state folder.\n"
        )


def test_the_log_can_be_json_lines(desk: Path) -> None:
    with running(desk, "dev", "--log-format", "json") as server:
        assert server.post("/notes", "not json").status == 400
        line = until(lambda: server.err.splitlines(), "it logs")[0]
        assert json.loads(line)["level"] == "WARNING"


def test_a_second_server_on_the_folder_is_told_who_has_it(desk: Path) -> None:
    with running(desk, "dev") as server:
        done = run(desk, "dev", "--port", "0")
        assert done.code == 2
        assert done.err == (
            f"{desk / '.headgate'} is in use by process {holder_pid(desk)}, serving http://127.0.0.1:{server.port}. "
            "Stop it, or say another --state folder.\n"
        )
        assert health(server) == {"status": "ok"}


def health(server: Server) -> object:
    return ask(server.port, "GET", "/-/health").json()
