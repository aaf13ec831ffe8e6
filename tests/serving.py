"""A real server in a process of its own, for tests that kill it, trace it or flood it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent

PATIENCE_S = 120.0
"""What is waited for comes within seconds; but where the machine is slow and busy, it may take so long."""
_FIRST_PORT, _WORKERS, _PORTS_EACH = 12_000, 64, 320  # up to 32,768, where Linux begins to hand out ports by itself
_port_numbers = count(os.getpid())


@dataclass(frozen=True)
class Answer:
    """A reply as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server that is up."""

    process: subprocess.Popen[bytes]
    port: int
    state: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE_S,
    ) -> Answer:
        """One request on a connection of its own."""
        return ask(self.port, method, path, body, headers, timeout)

    def post(self, path: str, message: object, headers: Mapping[str, str] | None = None) -> Answer:
        """Post JSON."""
        return self.ask(
            "POST",
            path,
            json.dumps(message).encode(),
            {"Content-Type": "application/json", **(headers or {})},
        )


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = PATIENCE_S,
) -> Answer:
    """One request to a port of this machine, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def free_port() -> int:
    """A port that nobody listens on. It stays free until it is used, and between two uses: no other worker of this run
    is told it, and it is none of those that the system hands out."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for number in islice(_port_numbers, _PORTS_EACH):
        port = _FIRST_PORT + worker % _WORKERS * _PORTS_EACH + number % _PORTS_EACH
        with socket.socket() as sock, suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def save(file: Path, text: str) -> None:
    """Write a file as editors do: whoever watches it sees the old text or the new one, and never half of it."""
    half = file.with_name(f"{file.name}.half")
    half.write_text(text)
    half.replace(file)


def headgate(*arguments: str | Path) -> list[str]:
    """The command line of the installed command."""
    return [str(Path(sys.executable).with_name("headgate")), *map(str, arguments)]


def start(
    app: Path,
    state: Path,
    port: int,
    *,
    before: Sequence[str] = (),
    command: Sequence[str] = (),
    env: Mapping[str, str] = {},
    processes: int = 1,
) -> Served:
    """Start a server and wait until it is ready; `before` goes in front of the command (strace
    and the like); in `command`, `{port}` stands for the port."""
    shared = ("--processes", str(processes)) if processes > 1 else ()
    asked = command or headgate("serve", "--app", app, "--state", state, "--port", "{port}", *shared)
    line = [*before, *(word.replace("{port}", str(port)) for word in asked)]
    log = (state.parent / f"{state.name}.log").open("ab")
    process = subprocess.Popen(line, stdout=log, stderr=log, env={**os.environ, **env}, start_new_session=True)
    log.close()
    served = Served(process, port, state)
    until = time.monotonic() + PATIENCE_S
    while True:
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}:\n{log_of(state)}")
        try:
            if served.ask("GET", "/-/ready", timeout=10).status == 200:
                return served
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > until:
            kill(served)
            raise AssertionError(f"the server did not come up:\n{log_of(state)}")
        time.sleep(0.02)


def log_of(state: Path) -> str:
    """What the servers on a state folder have said."""
    return (state.parent / f"{state.name}.log").read_text(errors="replace")


def kill(served: Served) -> None:
    """SIGKILL, to the whole process group."""
    with suppress(ProcessLookupError):
        os.killpg(served.process.pid, signal.SIGKILL)
    served.process.wait()


def fronts_of(served: Served) -> list[int]:
    """The fronts of a server, as far as they run."""
    found: list[int] = []
    for file in Path(f"/proc/{served.process.pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found += map(int, file.read_text().split())
    return [*filter(is_front, found)]


def is_there(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet has ended all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_front(pid: int) -> bool:
    """Whether a process is there, and a front."""
    try:
        return b"headgate.cli.front" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@contextmanager
def serving(
    app: Path, state: Path, *, before: Sequence[str] = (), command: Sequence[str] = (), env: Mapping[str, str] = {},
    port: int | None = None, processes: int = 1,
) -> Iterator[Served]:  # fmt: skip
    """A server for the length of a `with`."""
    served = start(app, state, port or free_port(), before=before, command=command, env=env, processes=processes)
    try:
        yield served
    finally:
        kill(served)
