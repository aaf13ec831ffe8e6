"""How a server ends when something does not come to an end, or goes wrong on the way out."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from headgate.cli.listening import socket_on
from headgate.cli.serving import Serving, serve_app
from headgate.clock import SystemClock
from headgate.declare.load import load_app
from headgate.local.engine import LocalEngine
from headgate.local.state import StateFolder
from tests.serving import PATIENCE_S, ask, free_port, kill, start

APP = """
import pathlib, time
from headgate import App

async def blocks(request):
    pathlib.Path(__file__).with_name("blocked").touch()
    time.sleep(300)

app = App("stuck")
app.channel("/blocks", auth=blocks)
"""

# The command line, with a drain that is over at once.
IMPATIENT = """
from headgate import limits
from headgate.cli import main
from headgate.local import fronts, server

limits.DRAIN = limits.DRAIN._replace(value=0)
fronts.LEAVE_S = server.LEAVE_S = 0
main()
"""


@pytest.mark.parametrize(("processes", "code"), [("1", 1), ("2", 0)])
def test_a_verifier_that_blocks_the_event_loop_does_not_keep_a_server_from_ending(
    tmp_path: Path, processes: str, code: int
) -> None:
    app, state = tmp_path / "app.py", tmp_path / "state"
    app.write_text(APP)
    line = ["serve", "--app", str(app), "--state", str(state), "--port", "{port}", "--processes", processes]
    served = start(app, state, free_port(), command=[sys.executable, "-c", IMPATIENT, *line])

    def post() -> None:
        with suppress(OSError, HTTPException):
            ask(served.port, "POST", "/blocks", b"{}", timeout=PATIENCE_S)

    try:
        sender = threading.Thread(target=post)
        sender.start()
        until = time.monotonic() + PATIENCE_S
        while not (tmp_path / "blocked").exists():
            assert time.monotonic() < until, "it is not asked"
            time.sleep(0.01)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(PATIENCE_S) == code
        sender.join()
    finally:
        kill(served)  # with its fronts
    assert "a verifier may hang" in (tmp_path / "state.log").read_text()


def test_a_store_that_breaks_on_the_way_out_does_not_keep_the_server_from_ending(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    engines: list[LocalEngine] = []
    sock = socket_on("127.0.0.1", 0, StateFolder(tmp_path / "state"))

    class EndsBadly(Serving):
        def run(self) -> None:
            sock.close()
            engines[0]._writer._break()

        def stop(self) -> None:
            pass

    left_over = serve_app(
        load_app(str(tmp_path)), {}, StateFolder(tmp_path / "state"), sock, SystemClock(), target=str(tmp_path),
        running=lambda *_: EndsBadly(), opened=lambda engine, _: engines.append(engine),
    )  # fmt: skip
    assert left_over is None


def test_a_store_that_breaks_before_anything_is_served_ends_in_a_new_process(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    told: list[str] = []

    class Serves(Serving):
        def run(self) -> None:
            assert told, "it was told to stop"

        def stop(self) -> None:
            told.append("stop")

    def running(server: object, _: socket.socket) -> Serving:
        server.driver.engine._writer._break()  # type: ignore[attr-defined]
        return Serves()

    with socket_on("127.0.0.1", 0, StateFolder(tmp_path / "state")) as sock:
        left_over = serve_app(
            load_app(str(tmp_path)), {}, StateFolder(tmp_path / "state"), sock, SystemClock(), target=str(tmp_path),
            running=running, opened=lambda *_: None,
        )  # fmt: skip
        assert left_over is not None
        left_over.close()
