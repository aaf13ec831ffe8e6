"""Served in several processes: what is the whole server's stays exact, and any one process may die."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any

import pytest

from headgate import App
from headgate.clock import ManualClock
from headgate.errors import Unavailable
from headgate.gate.answer import Gate
from headgate.gate.effects import Get
from headgate.gate.observe import Observer
from headgate.local.drive import LATER
from headgate.local.front import FrontDriver
from headgate.local.fronts import Answer
from headgate.local.line import Line, Saying, heard_of_main
from tests.issuer import issuing, jwk, rsa_key, sign
from tests.local.wire import post
from tests.serving import PATIENCE_S, Served, free_port, fronts_of, headgate, is_front, kill, log_of, serving, start

APP = Path(__file__).with_name("fronted.py")

pytestmark = pytest.mark.xdist_group("fronts")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(APP, tmp_path_factory.mktemp("fronts") / "state", processes=2) as served:
        yield served


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@contextmanager
def both(served: Served) -> Iterator[tuple[HTTPConnection, HTTPConnection]]:
    """A connection to each of two fronts: each in its turn gets one, once both are there."""
    with ExitStack() as tried:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            one, other = (tried.enter_context(closing(HTTPConnection("127.0.0.1", served.port))) for _ in range(2))
            assert {say(one, "here"), say(other, "here")} == {201}
            if holder_of(one, served) != holder_of(other, served):
                yield one, other
                return
            tried.close()
        raise AssertionError("one front has all connections")


def holder_of(connection: HTTPConnection, served: Served) -> int:
    """The front that has our connection: the one that has a socket of its address open."""
    ends = [f":{served.port:04X}", f":{connection.sock.getsockname()[1]:04X}"]
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inode = next(f"socket:[{row[9]}]" for row in table if [row[1][-5:], row[2][-5:]] == ends)
    for pid in fronts_of(served):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if descriptor.readlink().name == inode:
                    return pid
            except OSError:
                continue
    raise AssertionError("nobody has the connection")


def say(connection: HTTPConnection, key: str, channel: str = "/notes", **headers: str) -> int:
    connection.request("POST", channel, f'{{"id":"{key}"}}', {"Content-Type": "application/json", **headers})
    reply = connection.getresponse()
    reply.read()
    return reply.status


def counted(served: Served, name: str) -> float:
    text = served.ask("GET", "/-/metrics").body.decode()
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}.* (\S+)$", text, re.MULTILINE))


def test_connections_are_shared_and_the_counts_of_all_fronts_are_one(served: Served) -> None:
    stored = 'headgate_messages_total{channel="notes",result="stored"}'
    with both(served) as (one, other):
        before = counted(served, stored)
        for number in range(10):
            assert say(one, f"one-{number}") == say(other, f"other-{number}") == 201
            assert say(other, f"one-{number}") == 201
            assert say(one, "nothing", "/nowhere") == say(other, "nothing", "/nowhere") == 404
    until(lambda: counted(served, stored) == before + 20)
    until(lambda: counted(served, 'headgate_messages_total{channel="notes",result="replayed"}') >= 10)
    until(lambda: counted(served, 'headgate_refused_total{channel="",reason="not_found"') == 20)
    until(lambda: log_of(served.state).count("reason=not_found") == 20)


def test_a_throttle_counts_what_comes_to_all_fronts(served: Served) -> None:
    def burst(sender: int) -> list[int]:
        with closing(HTTPConnection("127.0.0.1", served.port)) as connection:
            return [say(connection, f"{sender}-{number}", "/throttled") for number in range(10)]

    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(status for statuses in pool.map(burst, range(8)) for status in statuses)
    assert statuses == {201: 30, 429: 50}


def test_a_front_that_dies_takes_its_connections_along_and_is_replaced(served: Served) -> None:
    with both(served) as (one, other):
        assert say(one, "before") == 201
        victim = holder_of(one, served)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises((RemoteDisconnected, ConnectionError)):
            say(one, "lost")
        assert say(other, "between") == 201
    assert_replaced(victim, served)
    assert served.process.poll() is None
    assert f"a front died code=-{signal.SIGKILL:d} connections=" in log_of(served.state)


def assert_replaced(victim: int, served: Served) -> None:
    """Two fronts serve, and it is none of them."""
    until(lambda: len(fronts_of(served)) == 2)
    assert victim not in fronts_of(served)
    with both(served) as pair:
        assert [say(connection, "before") for connection in pair] == [201, 201]


# The command line, with a look at the fronts every second.
ATTENTIVE = """
from headgate import limits
from headgate.cli import main
from headgate.local import fronts

limits.SILENCE = limits.SILENCE._replace(value=20)
fronts._BEAT_S = 1
main()
"""


def test_a_front_that_hangs_is_ended_with_its_connections_and_replaced(tmp_path: Path) -> None:
    line = ["serve", "--app", str(APP), "--state", str(tmp_path / "state"), "--port", "{port}", "--processes", "2"]
    command = [sys.executable, "-c", ATTENTIVE, *line]
    with serving(APP, tmp_path / "state", command=command) as served:
        with both(served) as (one, other):
            assert say(one, "before") == 201
            victim = holder_of(one, served)
            os.kill(victim, signal.SIGSTOP)
            until(lambda: Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[0] == "T")
            with pytest.raises((RemoteDisconnected, ConnectionError)):
                say(one, "hanging")
            assert say(other, "between") == 201
        assert_replaced(victim, served)
        assert served.ask("GET", "/notes/hanging").status == 404
        assert log_of(served.state).count("a front hangs, and is stopped: a verifier may block it") == 1
        assert f"a front died code=-{signal.SIGKILL:d} connections=" in log_of(served.state)


def test_when_the_main_process_is_killed_the_fronts_end_and_the_next_server_starts(tmp_path: Path) -> None:
    served = again = start(APP, tmp_path / "state", free_port(), processes=2)
    try:
        with both(served) as (one, _):
            assert say(one, "kept") == 201
            pids = fronts_of(served)
            served.process.kill()
            served.process.wait()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", served.port))
            again = start(APP, tmp_path / "state", served.port, processes=2)
            until(lambda: not any(is_front(pid) for pid in pids))
        assert again.ask("GET", "/notes/kept").status == 200
    finally:
        kill(again)


def test_a_front_that_cannot_load_its_app_is_tried_again_and_says_why(tmp_path: Path) -> None:
    """As where a file is replaced while fronts are started; nobody is accepted whom nobody would serve."""
    app = tmp_path / "app.py"
    app.write_text(
        "import pathlib, sys\n"
        f"if 'headgate.cli.front' in sys.orig_argv and pathlib.Path({str(tmp_path / 'broken')!r}).exists():\n"
        "    1 / 0\n"
        "from headgate import App, Public\n"
        'app = App("late")\n'
        'app.channel("/notes", key="id", auth=Public())\n'
    )
    (tmp_path / "broken").touch()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(start, app, tmp_path / "state", free_port(), processes=2)
        until(lambda: (tmp_path / "state.log").exists() and "another one is started" in log_of(tmp_path / "state"))
        assert not starting.done()
        (tmp_path / "broken").unlink()
        served = starting.result()
    try:
        assert served.post("/notes", {"id": "1"}).status == 201
        assert "app.py:3: ZeroDivisionError" in log_of(served.state)
    finally:
        kill(served)


class Told:
    """An asker that keeps what it is told."""

    def __init__(self) -> None:
        self.answers: list[object] = []

    def resume(self, answer: object) -> None:
        self.answers.append(answer)

    def fail(self, error: BaseException) -> None:
        self.answers.append(error)


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (Unavailable("Later.", retry_after_s=3), Unavailable, "Later."),
        (ValueError("no such cursor"), ValueError, "no such cursor"),
        (OSError("the secret is 4711"), RuntimeError, "Get failed in the main process"),
    ],
)
def test_what_fails_in_the_main_process_fails_at_the_gate_of_the_front(
    error: Exception, kind: type[Exception], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[Any] = []

    class Heard(Line):
        def say(self, what: Saying) -> None:
            said.append(what)

    line = Heard(heard_of_main, said.append, lambda: None)
    gate = Gate(App("none"), {}, ManualClock(), Observer(), lambda: "")
    driver, told = FrontDriver(gate, ManualClock(), line), Told()
    assert driver.carry_out(Get("notes", "", "1"), told) is LATER
    Answer(line, said[0].number, Get).fail(error)
    driver.heard(said[1])
    (there,) = told.answers
    assert (type(there), str(there)) == (kind, sentence)
    assert getattr(there, "retry_after_s", None) == getattr(error, "retry_after_s", None)
    assert "4711" not in caplog.text
    assert ("where=" in caplog.text) == (kind is RuntimeError)


def test_what_is_under_our_own_path_is_the_main_processs_affair(served: Served) -> None:
    """Who has no token is answered before the body is read, however long it is to be."""
    with both(served) as (one, other):
        one.putrequest("POST", "/-/control/messages/delete")
        one.putheader("Content-Length", "1000000000")
        one.endheaders()
        assert one.getresponse().status == 401
        token = json.loads((served.state / "holder.json").read_text())["control_token"]
        assert say(other, "to-delete") == 201
        asked = json.dumps({"channel": "notes", "scope": "", "key": "to-delete", "more": "x" * 500_000})
        other.request("POST", "/-/control/messages/delete", asked, {"Authorization": f"Bearer {token}"})
        deleted = other.getresponse()
        assert (deleted.status, deleted.read()) == (204, b"")
        other.request("GET", "/-/openapi.json")
        assert json.loads(other.getresponse().read())["openapi"].startswith("3.1")
    assert served.ask("GET", "/notes/to-delete").status == 404


def test_a_cursor_that_is_none_is_400(served: Served) -> None:
    assert served.ask("GET", "/notes?n=1&cursor=WyJuIiwiMSIsIi0xIl0").status == 400


def test_a_sender_that_hangs_up_is_stored_and_one_that_never_finished_is_not(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as gone:
        gone.sendall(post("/notes", b'{"id":"gone"}'))
    with socket.create_connection(("127.0.0.1", served.port)) as half:
        half.sendall(post("/notes", b'{"id":"half"}')[:-3])
    until(lambda: served.ask("GET", "/notes/gone").status == 200)
    assert served.ask("GET", "/notes/half").status == 404


def test_the_keys_of_an_issuer_are_fetched_once_for_all_fronts(tmp_path: Path) -> None:
    """And a sender behind a proxy is logged under its own address."""
    options = ("--state", tmp_path / "state", "--port", "{port}", "--processes", "2", "--proxy-headers")
    command = headgate("serve", "--app", APP, *options)
    with issuing() as issuer:
        issuer.keys = [jwk(rsa_key(), kid="k")]
        claims = {"iss": "issuer", "aud": "fronted", "sub": "me", "exp": int(time.time()) + 600}
        token = sign({"alg": "RS256", "kid": "k"}, claims, rsa_key(), "RS256").decode()
        with (
            serving(APP, tmp_path / "state", command=command, env={"FRONTED_JWKS": issuer.url}) as served,
            both(served) as pair,
        ):
            for number, connection in enumerate(pair):
                assert say(connection, str(number), "/signed", Authorization=f"Bearer {token}") == 201
            assert served.ask("POST", "/notes", b"{", {"X-Forwarded-For": "203.0.113.9"}).status == 400
        assert issuer.asked == 1
        assert re.search("reason=malformed .* client=203.0.113.9", log_of(tmp_path / "state"))
        assert token not in log_of(tmp_path / "state")
