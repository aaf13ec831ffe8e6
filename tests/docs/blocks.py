"""The fenced blocks of our pages: read, run and compared, so that what a page shows is what happens.

A block is ```` ```LANGUAGE [WORD]... ````. What the words mean:

    python NAME.py      is written to that file in the page's folder; app.py is also checked, unless the page says
                        `faulty`
    console             every line that starts with `$ ` is run by bash, in that folder, in order; what follows a
                        command is what it prints
    not-run             is shown, but neither run nor loaded here

In what a command prints, `<anything in angle brackets>` stands for what differs from run to run, and a line `...`
for any number of lines. JSON is compared as JSON; numbers by their text. A command that shows nothing may print
anything, but has to succeed; `echo $?` in it says that it may not. Commands that only look, behind a `sleep`, are run
again until they show what they should: a machine may be slow. `cd FOLDER` and `NAME=value` hold for the rest of the
page. `headgate dev` and `headgate serve` keep running until the next of them, or `^C` alone on a line, or the end of
the page; a file that is written meanwhile is waited for until it is served. Port 8000 is a free one in truth.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.cases import command
from tests.serving import PATIENCE_S, free_port, save

_FENCE = re.compile(r"^ {0,3}```(\S*)(.*)$")
_SERVER = re.compile(r"\bheadgate (dev|serve)\b")
_HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?")
_STATUS = re.compile(r"\s(\d{3})$")
_PLACEHOLDER = re.compile(r"<[^<>]+>")
_CD = re.compile(r"cd (\S+)")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(\$\(.*\)|'[^']*'|\S*)", re.DOTALL)
_TURNED = "[dev] "
_SLEEP = re.compile(r"sleep \d+")
_CHANGE = re.compile(r"--json ['\"@$]|\bheadgate (dead (?!list|show)|send|replay|keys|token)")


class Block(NamedTuple):
    """A fenced block; `line` is where its text starts."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        return "not-run" not in self.words

    @property
    def file(self) -> str | None:
        """The file it is to be written to."""
        return next((word for word in self.words if word.endswith(".py")), None)


class Step(NamedTuple):
    """A command, and what it is said to print."""

    command: str
    printed: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    opened: tuple[int, str, tuple[str, ...]] | None = None
    text: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None:
            text.append(line)
        elif opened is None:
            opened, text = (number + 1, fence[1], tuple(fence[2].split())), []
        else:
            found.append(Block(page, *opened, "\n".join(text)))
            opened = None
    assert opened is None, f"{page}: a block is not closed"
    return found


def steps(block: Block) -> list[Step]:
    """The commands of a console block. A command goes on while a quote, a here-document or a `\\` is open."""
    lines = block.text.splitlines()
    found: list[Step] = []
    while lines:
        first = lines.pop(0)
        assert first.startswith("$ "), f"{block.where}: expected a command, found {first!r}"
        told = [first.removeprefix("$ ")]
        while _is_open("\n".join(told)):
            told.append(lines.pop(0))
        printed = []
        while lines and not lines[0].startswith("$ "):
            printed.append(lines.pop(0))
        found.append(Step("\n".join(told), "\n".join(printed).strip("\n")))
    return found


def _is_open(told: str) -> bool:
    if told.endswith("\\"):
        return True
    heredoc = _HEREDOC.search(told)
    if heredoc is not None:
        return not told.endswith(f"\n{heredoc[1]}")
    try:
        shlex.split(told, comments=True)
    except ValueError:
        return True
    return False


class Terminal:
    """Runs the commands of one page, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._bash = command("bash")
        self._server: subprocess.Popen[bytes] | None = None
        self._waits = False
        self._log = folder.parent / f"{folder.name}.log"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "PYTEST_"))}
        self._env = {**kept, "PATH": path, "NO_COLOR": "1", "COLUMNS": "200", "CI": "", "no_proxy": "*"}

    def run(self, block: Block) -> None:
        """Run a console block and compare what it prints."""
        for step in steps(block):
            if _SLEEP.fullmatch(step.command):
                self._waits = True
            elif _CHANGE.search(step.command):
                self._waits = False
            until_s = time.monotonic() + (PATIENCE_S if self._waits else 0)
            while not self._shows(step, block, is_last=time.monotonic() >= until_s):
                time.sleep(0.2)

    def _shows(self, step: Step, block: Block, *, is_last: bool) -> bool:
        """Whether a command does what is said of it; the last time it has to."""
        try:
            self._compare(step, block)
        except AssertionError:
            if is_last:
                raise
            return False
        return True

    def _compare(self, step: Step, block: Block) -> None:
        printed = self._do(step.command)
        expected = self._at_our_port(step.printed).removesuffix("^C")
        if step.printed.endswith("^C"):
            self.stop()
        if expected:
            assert alike(expected, printed), (
                f"{block.where}\n$ {step.command}\nprinted\n{printed}\nbut the page says\n{expected}"
            )

    def write(self, block: Block) -> None:
        """Write a block to its file. Where `headgate dev` is watching, wait until it has taken notice."""
        assert block.file is not None
        turns = self._said().count(_TURNED)
        save(self.folder / block.file, f"{block.text}\n")
        if self._server is not None:
            self._wait_for(lambda: self._said().count(_TURNED) > turns, f"{block.where}: the change is not served")

    def check(self, block: Block) -> None:
        """See whether the app in the folder can be loaded."""
        assert self._call("headgate check"), block.where

    def _do(self, told: str) -> str:
        if _SERVER.search(told):
            return self._serve(told)
        if moved := _CD.fullmatch(told):
            self.folder /= moved[1]
            assert self.folder.is_dir(), f"{told}: there is no such folder"
            return ""
        if named := _ASSIGNMENT.fullmatch(told):
            self._env[named[1]] = self._call(f'exec 2> /dev/null; {told} && printf %s "${named[1]}"')
            return ""
        return self._call(told)

    def _at_our_port(self, text: str) -> str:
        return re.sub(r"\b8000\b", str(self.port), text)

    def _call(self, told: str) -> str:
        done = subprocess.run(
            [self._bash, "-c", self._at_our_port(told)],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=5 * PATIENCE_S,
        )
        printed = done.stdout.decode()
        assert done.returncode == 0, f"$ {told}\nended with {done.returncode}\n{printed}"
        return printed

    def _serve(self, told: str) -> str:
        self.stop()
        self._log.unlink(missing_ok=True)
        with self._log.open("wb") as out:
            self._server = subprocess.Popen(
                [self._bash, "-c", f"{told} --port {self.port}"],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_for(lambda: "State:" in self._said(), f"$ {told}: it does not serve")
        return self._said()

    def _said(self) -> str:
        """What the server has printed."""
        return self._log.read_text() if self._log.exists() else ""

    def _wait_for(self, happened: Callable[[], bool], otherwise: str) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not happened():
            lives = self._server is not None and self._server.poll() is None and time.monotonic() < until_s
            assert lives, f"{otherwise}\n{self._said()}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Ctrl-C."""
        if self._server is None:
            return
        os.killpg(self._server.pid, signal.SIGINT)
        try:
            self._server.wait(PATIENCE_S)
        finally:
            if self._server.poll() is None:
                os.killpg(self._server.pid, signal.SIGKILL)
                self._server.wait()
            self._server = None


@contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    """A terminal for the length of a `with`; whatever still serves then is stopped."""
    opened = Terminal(folder)
    try:
        yield opened
    finally:
        opened.stop()


def alike(expected: str, actual: str) -> bool:
    """Whether `actual` is what a page promised."""
    expected, actual = expected.strip(), actual.strip()
    if (promised := _read(expected)) is not None:
        told = _read(actual)
        return told is not None and _same(promised, told)
    wanted = [_pattern(line) if line.strip() != "..." else None for line in expected.splitlines()]
    return _lines_alike(wanted, [_evenly(line) for line in actual.splitlines()])


def _read(text: str) -> Any:
    """JSON, with an HTTP status behind it or without, as (status, value); None where it is something else."""
    status = _STATUS.search(text)
    body = text[: status.start()] if status is not None else text
    if not body.lstrip().startswith(("{", "[")):
        return None
    try:
        return [status and status[1], json.loads(body, parse_int=_Number, parse_float=_Number)]
    except ValueError:
        return None


class _Number(str):
    """A number by its text: 2.10 is not 2.1."""


def _same(expected: Any, actual: Any) -> bool:
    match expected:
        case dict():
            return (
                isinstance(actual, dict)
                and list(expected) == list(actual)
                and all(_same(value, actual[name]) for name, value in expected.items())
            )
        case list():
            return isinstance(actual, list) and len(expected) == len(actual) and all(map(_same, expected, actual))
        case str() if type(expected) is type(actual):
            return bool(_pattern(expected).fullmatch(_evenly(actual)))
        case _:
            return type(expected) is type(actual) and expected == actual


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".+".join(map(re.escape, _PLACEHOLDER.split(_evenly(line)))))


def _evenly(line: str) -> str:
    """Columns are as wide as what stands in them."""
    return " ".join(line.split())


def _lines_alike(wanted: list[re.Pattern[str] | None], lines: list[str]) -> bool:
    if not wanted:
        return not lines
    first, *rest = wanted
    if first is None:
        return any(_lines_alike(rest, lines[at:]) for at in range(len(lines) + 1))
    return bool(lines) and bool(first.fullmatch(lines[0])) and _lines_alike(rest, lines[1:])
