"""The installed command, as it is typed."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.serving import PATIENCE_S, Answer, ask, headgate

Seen = TypeVar("Seen")

_DESCRIBED = {"ORDERS_JWT_SECRET", "HEADGATE_DEBUG", "CLICOLOR_FORCE", "FORCE_COLOR", "COLUMNS", "LINES"}
_HERE = {name: value for name, value in os.environ.items() if name not in _DESCRIBED and not name.startswith("AWS_")}

APP = """\
from pydantic import BaseModel

from headgate import ApiKey, App, Header, Jwt, Public, Secret


class Note(BaseModel):
    id: str
    topic: str = ""


app = App("desk")
app.channel("/notes", Note, key="id", indexes=["topic"], auth=Public())
app.channel("/keyed", key=Header("Idempotency-Key"), auth=ApiKey())
app.channel("/orders", auth=Jwt(secret=Secret("ORDERS_JWT_SECRET"), issuer="desk", audience="orders"))
"""
SECRETS = {"ORDERS_JWT_SECRET": "a-secret-of-at-least-thirty-two-bytes"}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def run(
    folder: Path, *words: str, env: Mapping[str, str] = {}, typed: str = "", patience_s: float = 5 * PATIENCE_S
) -> Done:
    """Run `headgate WORDS` in a folder. Whatever happens, nobody sees a traceback."""
    ended = subprocess.run(
        headgate(*words),
        cwd=folder,
        env={**_HERE, **env},
        input=typed.encode(),
        capture_output=True,
        timeout=patience_s,
    )
    done = Done(ended.returncode, ended.stdout.decode(), ended.stderr.decode())
    assert "Traceback" not in done.out + done.err
    return done


def drawn(folder: Path, *words: str) -> str:
    """What a terminal is shown of `headgate WORDS`, which has to succeed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        headgate(*words), cwd=folder, stdout=theirs, stderr=theirs, env={**_HERE, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end, as Linux tells it
            while more := os.read(ours, 65_536):
                shown += more
        os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode()


def until(look: Callable[[], Seen | None], what: str, instead: Callable[[], str] = str) -> Seen:
    """What `look` sees, as soon as it sees something."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(0.02)
    raise AssertionError(f"waited in vain until {what}\n{instead()}")


class Server:
    """`headgate dev` or `headgate serve`, running."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def port(self) -> int:
        def said() -> int | None:
            assert self.process.poll() is None, self.err
            found = re.search(r" at http://127\.0\.0\.1:(\d+)\n", self.out)
            return int(found[1]) if found else None

        return until(said, "the address is printed")

    def post(self, path: str, body: str, headers: Mapping[str, str] = {}) -> Answer:
        return ask(self.port, "POST", path, body.encode(), {"Content-Type": "application/json", **headers})

    def says(self, sentence: str) -> None:
        """Wait until stderr has the sentence."""
        until(lambda: sentence in self.err, f"it says {sentence!r}", lambda: self.err)

    def hang_up(self) -> None:
        """SIGHUP, to all that a shell has started: what the system does when a terminal closes."""
        os.killpg(self.process.pid, signal.SIGHUP)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def running(folder: Path, *words: str, env: Mapping[str, str] = {}, before: Sequence[str] = ()) -> Iterator[Server]:
    """`headgate WORDS --port 0`, for the length of a `with`, from when it has said its address; it leads a process
    group, as a job of a shell does. `before` goes in front of the command (nohup and the like)."""
    out, err = folder / "out.txt", folder / "err.txt"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [*before, *headgate(*words, "--port", "0")],
            cwd=folder, env={**_HERE, **env}, stdout=stdout, stderr=stderr, process_group=0,
        )  # fmt: skip
    server = Server(process, out, err)
    try:
        assert server.port
        yield server
        assert "Traceback" not in server.out + server.err
    finally:
        try:
            if process.poll() is None:
                server.stop()
        finally:
            process.kill()
            process.wait()
