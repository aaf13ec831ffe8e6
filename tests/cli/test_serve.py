"""headgate serve"""

from __future__ import annotations

import json
import resource
import signal
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.shell import APP, SECRETS, Server, run, running, until
from tests.serving import PATIENCE_S, ask


def test_it_refuses_to_start_without_its_secrets_and_names_them_all(desk: Path) -> None:
    app = APP + 'app.channel("/more", auth=Jwt(secret=Secret("MORE"), issuer="desk", audience="more"))\n'
    (desk / "app.py").write_text(app)
    done = run(desk, "serve", "--port", "0")
    assert (done.code, done.out) == (2, "")
    assert done.err == "Set the environment variables ORDERS_JWT_SECRET, MORE before starting.\n"
    assert not (desk / ".headgate" / "credentials.json").exists()


def test_a_secret_that_is_too_short_is_refused_at_the_start(desk: Path) -> None:
    done = run(desk, "serve", "--port", "0", env={"ORDERS_JWT_SECRET": "short"})
    assert done.code == 2
    assert done.err.startswith("Channel /orders: ")
    assert "32 bytes" in done.err


def test_it_says_where_it_serves_what_and_stops_in_good_order(desk: Path) -> None:
    with running(desk, "serve", "app.py", env=SECRETS) as server:
        url = f"http://127.0.0.1:{server.port}"
        until(lambda: "State:" in server.out, "it has said everything")
        assert server.out.splitlines()[1:] == [
            "  POST /notes   Note, from anyone",
            "  POST /keyed   any JSON, from whoever has credentials (API key)",
            "  POST /orders  any JSON, from whoever has credentials (JWT)",
            f"Docs:  {url}/-/docs",
            f"State: {desk / '.headgate'}",
        ]
        assert ask(server.port, "GET", "/-/docs").status == 200
        assert server.post("/notes", '{"id": "n-1"}').status == 201
        assert server.stop() == 0
    assert server.err == ""
    with running(desk, "serve", env=SECRETS) as again:
        assert again.post("/notes", '{"id": "n-1"}').headers["idempotency-replayed"] == "true"


def test_whose_signature_a_channel_takes_is_said_in_plain_words(desk: Path) -> None:
    hook = 'from headgate import Signed\napp.channel("/hook", auth=Signed(Secret("HOOK"), style="stripe"))\n'
    (desk / "app.py").write_text(APP + hook)
    with running(desk, "dev", "--no-reload") as server:
        until(lambda: "State:" in server.out, "it has said everything")
        assert "  POST /hook    any JSON, from whoever signs it (stripe)\n" in server.out


# How it is served: by one process, or by one with two fronts.
shared = pytest.mark.parametrize("how", [["serve"], ["serve", "--processes", "2"]], ids=["alone", "fronts"])


@shared
@pytest.mark.parametrize("told", [lambda server: server.process.terminate(), Server.hang_up], ids=["term", "hang-up"])
@pytest.mark.usefixtures("hearing")
def test_a_request_in_flight_is_finished_before_it_stops(
    desk: Path, how: list[str], told: Callable[[Server], None]
) -> None:
    """Its body is still under way when the signal comes."""
    with running(desk, *how, env=SECRETS) as server, socket.create_connection(("127.0.0.1", server.port)) as sender:
        sender.sendall(
            b"POST /notes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
        )
        sender.sendall(b'{"id":')
        # Served behind it, so that what was sent before has arrived.
        assert ask(server.port, "GET", "/-/health").status == 200
        told(server)
        until(lambda: not listens(server.port), "nobody else is let in")
        sender.sendall(b' "n-1"}')
        assert sender.recv(65_536).startswith(b"HTTP/1.1 201 ")
        assert server.process.wait(PATIENCE_S) == 0


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port)):
            return True
    except ConnectionRefusedError:
        return False


def test_ctrl_c_stops_it_too(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        assert server.post("/notes", '{"id": "n-1"}').status == 201
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("how", [["serve"], ["serve", "--processes", "2"], ["dev"]], ids=["alone", "fronts", "dev"])
@pytest.mark.usefixtures("hearing")
def test_with_nohup_it_serves_on_when_its_terminal_closes(desk: Path, how: list[str]) -> None:
    with running(desk, *how, env=SECRETS, before=["nohup"]) as server:
        server.hang_up()
        # The time in which it would have stopped to listen, many times over.
        for _ in range(200):
            assert server.post("/notes", '{"id": "n-1"}').status == 201
        assert server.stop() == 0


def test_a_second_server_on_the_folder_is_told_who_has_it(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        done = run(desk, "serve", "--port", "0", env=SECRETS)
        assert done.code == 2
        assert done.err.startswith(
            f"{desk / '.headgate'} is in use by process {server.process.pid}, serving http://127.0.0.1:{server.port}."
        )


def test_the_state_may_be_kept_elsewhere(desk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    state = tmp_path_factory.mktemp("state") / "of" / "desk"
    with running(desk, "serve", "--state", str(state), env=SECRETS) as server:
        assert server.post("/notes", '{"id": "n-1"}').status == 201
    assert (state / "messages.sqlite3").exists()
    assert not (desk / ".headgate").exists()
    assert "n-1" in run(desk, "messages", "list", "--state", str(state)).out


def test_public_channels_on_an_open_address_are_warned_of(desk: Path) -> None:
    with running(desk, "serve", "--host", "0.0.0.0", env=SECRETS) as server:  # noqa: S104 - that is the point
        server.says("warning: anyone who reaches this machine may post to the Public channels.\n")
        assert server.post("/notes", '{"id": "n-1"}').status == 201


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("no.such.host.invalid", "There is no address no.such.host.invalid to listen on; say another --host.\n"),
        ("192.0.2.1", "This machine has no address 192.0.2.1; say another --host.\n"),
    ],
)
def test_an_address_that_cannot_be_had_is_one_sentence(desk: Path, host: str, sentence: str) -> None:
    done = run(desk, "serve", "--host", host, "--port", "0", env=SECRETS)
    assert (done.code, done.err) == (2, sentence)


# A process begins with leave to write files of any size.
UNLIMITED = """
import resource

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
"""


@shared
def test_a_store_that_cannot_be_written_to_ends_in_a_new_process_on_the_same_port(
    desk: Path, how: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After an I/O error nobody knows what the disk has kept: this process acknowledges nothing more."""
    anew = tmp_path_factory.mktemp("anew")
    (anew / "sitecustomize.py").write_text(UNLIMITED)
    large = json.dumps({"id": "n-2", "more": "x" * 100_000})
    with running(desk, *how, env={**SECRETS, "PYTHONPATH": str(anew)}) as server:
        port, pid = server.port, server.process.pid
        assert server.post("/notes", '{"id": "n-1"}').status == 201
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))  # enough for the log
        assert server.post("/notes", large).status == 503
        server.says("starting over in a new process, since the store failed")
        assert server.post("/notes", large).status == 201
        assert server.post("/notes", '{"id": "n-1"}').headers["idempotency-replayed"] == "true"
        assert (server.port, server.process.poll()) == (port, None)
        assert json.loads((desk / ".headgate" / "holder.json").read_text())["pid"] == pid
        assert server.stop() == 0
    assert server.out.count("serves desk") == 1


def test_a_store_that_newer_headgate_wrote_is_left_alone(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS):
        pass
    connection = sqlite3.connect(desk / ".headgate" / "messages.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    done = run(desk, "serve", "--port", "0", env=SECRETS)
    assert done.code == 2
    assert "was written by newer headgate" in done.err
