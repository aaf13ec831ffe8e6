"""headgate dev: a supervisor that owns the socket, and candidates that take turns in serving from it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate import limits
from headgate.cli.listening import host_option, log_format_option, port_option, socket_on
from headgate.cli.place import Place, placed
from headgate.cli.turns import BROKEN, GO, GOOD, SERVING, Order
from headgate.local.signals import enders

if TYPE_CHECKING:
    from watchfiles import PythonFilter

_TICK_S = 0.05
_WATCH_S = 5.0
_DEBOUNCE_MS = 200
_COARSE_NS = 20_000_000  # the clock that file systems go by may be so far behind
_PATIENCE_S = 2 * limits.DRAIN.value + 5  # requests, then handlers
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_STEADY_S = 30.0
_TOLD = (1, 2, 70)  # exit codes of a candidate that has said why, see `told`


@click.command
@click.argument("app", required=False)
@host_option
@port_option
@click.option("--no-reload", is_flag=True, help="Do not watch the files.")
@log_format_option
@placed
def dev(place: Place, app: str | None, host: str, port: int, no_reload: bool, log_format: str) -> int:
    """Serve the app while you write it.

    A saved change is served at once, and messages stay. A version that cannot be served does not replace the last
    good one. Missing secrets and API keys are made up; `headgate keys` shows them.

    \b
    Example:
      headgate dev shop/app.py --port 8080
    """
    place = place.at(app)
    watched = None if no_reload else place.app_folder
    with socket_on(host, port, place.state) as sock:
        return Supervisor(place, sock, log_format).run(watched)


class Candidate:
    """A candidate's process, seen from here. It is `loading`, `good`, `starting`, `serving`, then `ended`."""

    def __init__(self, place: Place, sock: socket.socket, log_format: str, *, greets: bool) -> None:
        self._line, theirs = socket.socketpair()
        order = Order(place.target, str(place.state.path), theirs.fileno(), sock.fileno(), greets, log_format)
        # -P: the folder one stands in may hold modules named like ours. -B: bytecode is matched to its source by the
        # second, and two saves can be closer together. A session of its own: Ctrl-C is for the supervisor.
        command = [sys.executable, "-P", "-B", "-m", "headgate.cli.candidate", json.dumps(order)]
        self._process = subprocess.Popen(  # noqa: S603
            command, pass_fds=(theirs.fileno(), sock.fileno()), start_new_session=True
        )
        theirs.close()
        self._line.settimeout(0)
        self._heard = b""
        self.state = "loading"
        self.serves_since_s: float | None = None

    @property
    def code(self) -> int:
        """The exit code; only of one that ended."""
        return self._process.wait()

    def listen(self) -> str:
        """Take note of what it said, and return its state."""
        ended = self._process.poll() is not None
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            self._heard += self._line.recv(64)
        if self.serves_since_s is None and self._heard == GOOD + SERVING:
            self.state = "serving"
            self.serves_since_s = time.monotonic()
        elif self.state == "loading" and self._heard == GOOD:
            self.state = "good"
        if ended:
            self.state = "ended"
        return self.state

    def go(self) -> None:
        """It is its turn."""
        with contextlib.suppress(BrokenPipeError):  # it died since; that is seen when it is listened to next
            self._line.sendall(GO)
        self.state = "starting"

    def stop(self) -> None:
        """End it, after what is in flight; one that still loads has nothing in flight, and may never listen."""
        if self.state == "loading":
            self._process.kill()
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._line.close()


class Supervisor:
    """Keeps one version serving, and tries each new one before it takes over."""

    def __init__(self, place: Place, sock: socket.socket, log_format: str) -> None:
        self._place = place
        self._sock = sock
        self._log_format = log_format
        self._is_told_to_stop = False
        self._stopping = threading.Event()
        self._saved = threading.Event()
        self._current: Candidate | None = None
        self._next: Candidate | None = None
        self._served_once = False
        self._turned_down = False
        self._news = ""
        self._deaths = 0
        self._revive_at_s: float | None = None

    def run(self, watched: Path | None) -> int:
        """Serve until told to stop; the exit code."""
        for number in (*enders(), signal.SIGINT):
            signal.signal(number, self._stop)
        watching: threading.Thread | None = None
        try:
            since_ns = time.time_ns() - _COARSE_NS
            self._try_version()
            if watched is not None:
                watching = threading.Thread(target=self._watch, args=(watched, since_ns), daemon=True)
                watching.start()
            while not self._is_told_to_stop:
                time.sleep(_TICK_S)
                if self._saved.is_set():
                    self._saved.clear()
                    self._try_version()
                code = self._advance()
                if code is not None:
                    return code
            return 0
        finally:
            self._stopping.set()
            for candidate in (self._next, self._current):
                if candidate is not None:
                    candidate.stop()
            if watching is not None:  # it is in other people's native code, which must not outlive the interpreter
                watching.join(_WATCH_S)

    def _stop(self, *_: object) -> None:
        # A plain value: an Event that the main thread is about to wait for would wait for that thread.
        self._is_told_to_stop = True

    def _watch(self, folder: Path, since_ns: int) -> None:
        """On a thread of its own: note when a Python file was saved, also before the watcher was at work: the version
        that was tried then may not have it."""
        from watchfiles import PythonFilter, watch

        def at_work() -> None:
            if _is_saved_since(folder, ours, since_ns):
                self._saved.set()

        # The store may lie in the folder, and be written to all the time: it must not hold up what is noted.
        ours = PythonFilter(ignore_paths=[self._place.state.path.resolve()])
        stopping = _Stopping(self._stopping, at_work)
        try:
            for _ in watch(folder, watch_filter=ours, debounce=_DEBOUNCE_MS, step=20, stop_event=stopping):
                self._saved.set()
        except OSError as error:  # too many files, for this system, or no folder any more
            _say(f"The files are not watched any more ({error}). Start dev again to serve what you save.")

    def _try_version(self) -> None:
        self._revive_at_s = None
        if self._next is not None:
            self._next.stop()
        self._next = Candidate(self._place, self._sock, self._log_format, greets=not self._served_once)

    def _advance(self) -> int | None:
        """Do what the candidates' states ask for; an exit code where it is over."""
        if self._next is not None:
            match self._next.listen():
                case "good":
                    self._take_over(self._next)
                case "ended":
                    return self._turn_down(self._next)
        if self._current is not None:
            match self._current.listen():
                case "serving":
                    self._settle(self._current)
                case "ended":
                    return self._bury(self._current)
        if self._revive_at_s is not None and time.monotonic() >= self._revive_at_s:
            self._try_version()
        return None

    def _take_over(self, candidate: Candidate) -> None:
        """The old version first: there is one process on a state folder. Senders wait in the socket's queue."""
        had_one = self._current is not None
        if self._current is not None:
            self._current.stop()
        candidate.go()
        self._current, self._next = candidate, None
        self._revive_at_s = None
        if self._turned_down:
            self._news = "The new version is good again and serves."
        elif self._served_once:
            self._news = "The new version serves." if had_one else "It serves again."
        self._turned_down = False

    def _turn_down(self, candidate: Candidate) -> int | None:
        self._next = None
        if not self._served_once:
            return max(candidate.code, 1)
        self._turned_down = True
        ended = _unsaid(candidate.code)
        if self._current is not None:
            _say(f"{ended}The last good version keeps serving.")
        else:
            _say(f"{ended}Nothing is served until a good version is saved; senders wait.")
        return None

    def _settle(self, candidate: Candidate) -> None:
        self._served_once = True
        if self._news:
            _say(self._news)
            self._news = ""
        if candidate.serves_since_s is not None and time.monotonic() - candidate.serves_since_s > _STEADY_S:
            self._deaths = 0

    def _bury(self, candidate: Candidate) -> int | None:
        """The current version ended, and not because we said so."""
        self._current = None
        self._served_once |= candidate.serves_since_s is not None
        if not self._served_once:
            return max(candidate.code, 1)
        if candidate.code == 0:  # somebody stopped it, by the pid that we show: that was meant for us
            return 0
        if candidate.code == 2:  # it said what is wrong
            self._turned_down = True
            _say("Nothing is served until a good version is saved; senders wait.")
            return None
        how = "lost its store" if candidate.code == BROKEN else f"died ({_end_of(candidate.code)})"
        if self._deaths == len(_BACKOFF_S):
            _say(f"The server {how} again and again; giving up.")
            return 1
        self._revive_at_s = time.monotonic() + _BACKOFF_S[self._deaths]
        self._deaths += 1
        _say(f"The server {how}; it is started again.")
        return None


class _Stopping:
    """The event that a watcher looks at again and again; `at_work` is called the first time, when it is at work."""

    def __init__(self, event: threading.Event, at_work: Callable[[], None]) -> None:
        self._event = event
        self._at_work: Callable[[], None] | None = at_work

    def is_set(self) -> bool:
        if self._at_work is not None:
            at_work, self._at_work = self._at_work, None
            at_work()
        return self._event.is_set()


def _is_saved_since(folder: Path, ours: PythonFilter, since_ns: int) -> bool:
    from watchfiles import Change

    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ours.ignore_dirs]
        for name in names:
            file = os.path.join(path, name)  # noqa: PTH118 - there may be many
            with contextlib.suppress(OSError):  # it has gone
                if ours(Change.modified, file) and os.stat(file).st_ctime_ns >= since_ns:  # noqa: PTH116
                    return True
    return False


def _unsaid(code: int) -> str:
    """What a candidate that did not come to say it is told to have ended of."""
    return "" if code in _TOLD else f"The new version ended while it was loaded ({_end_of(code)}). "


def _end_of(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _say(sentence: str) -> None:
    click.echo(f"[dev] {sentence}", err=True)
