"""What holds for every command."""

from __future__ import annotations

import functools
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import headgate
from headgate.cli import COMMANDS, sentence, told
from headgate.errors import Misuse
from tests.cli.shell import drawn, run
from tests.serving import PATIENCE_S
from tests.serving import headgate as command_line

LIST_MODULES = """
import sys
from headgate.cli import main
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def test_help_imports_nothing_but_click_and_the_list_of_commands() -> None:
    wide = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, "--help"], env=wide, capture_output=True, text=True, check=True
    )
    modules = set(done.stderr.split())
    ours = {name for name in modules if name.partition(".")[0] == "headgate"}
    assert ours == {"headgate", "headgate.cli", "headgate.cli.group", "headgate.cli.place", "headgate.errors"}
    assert not modules & {"pydantic", "uvicorn", "starlette", "asyncio", "sqlite3", "rich", "watchfiles", "jwt", "ssl"}
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.help)}$", done.stdout, re.MULTILINE)


HEAVY = {"pydantic", "uvicorn", "starlette", "asyncio", "sqlite3", "rich", "watchfiles", "jwt", "aiohttp", "botocore"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_loads_nothing_that_takes_long(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, name, "--help"], capture_output=True, text=True, check=True
    )
    assert not set(done.stderr.split()) & HEAVY


@pytest.mark.parametrize("name", ["keys", "messages", "dead", "runs", "schedule", "stream", "export"])
def test_subcommands_are_listed_with_whole_sentences(tmp_path: Path, name: str) -> None:
    listed = run(tmp_path, name, "--help").out.partition("Commands:")[2]
    assert listed.strip().endswith(".")
    assert "..." not in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(tmp_path: Path, name: str) -> None:
    done = run(tmp_path, name, "--help")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^  Examples?:\n    headgate|^  Example:\n    \S", done.out, re.MULTILINE)


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").out == f"headgate {headgate.__version__}\n"


def test_without_an_app_it_says_how_to_get_one(tmp_path: Path) -> None:
    done = run(tmp_path, "check")
    assert done.code == 2
    assert done.err == "There is no app.py here. Make one with `headgate init`, or say --app PATH.\n"


def test_an_unknown_command_is_one_sentence_and_the_usage(tmp_path: Path) -> None:
    done = run(tmp_path, "chekc")
    assert done.code == 2
    assert done.err.splitlines()[0] == "No such command 'chekc'. Did you mean 'check'?"
    assert run(tmp_path, "messages", "frobnicate").err.splitlines()[0] == "No such command 'frobnicate'."


def test_the_app_may_be_said_before_the_command_and_after_it(
    desk: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for words in (
        ("--app", str(desk), "check"),
        ("check", "--app", str(desk)),
        ("check", "--app", str(desk / "app.py")),
        ("--app", "nowhere", "check", "--app", f"{desk / 'app.py'}:app"),
    ):
        assert "/notes" in run(elsewhere, *words).out


def test_a_mistake_of_ours_is_one_sentence_and_details_only_when_asked_for(desk: Path) -> None:
    mistake = [sys.executable, "-c", "from headgate.cli import told; told(lambda: {}['body'])"]
    done = subprocess.run(mistake, cwd=desk, capture_output=True, text=True)
    assert done.returncode == 70
    assert done.stderr == (
        "headgate made a mistake: KeyError. Run it again with HEADGATE_DEBUG=1 for details, and please report them.\n"
    )
    told = subprocess.run(mistake, cwd=desk, env={**os.environ, "HEADGATE_DEBUG": "1"}, capture_output=True, text=True)
    assert "Traceback" in told.stderr


@pytest.mark.parametrize("damage", ["[]", "{}", '{"secrets": 1, "api_keys": {}}', "half a"])
def test_damaged_credentials_are_told_in_one_sentence(desk: Path, damage: str) -> None:
    (desk / ".headgate").mkdir()
    (desk / ".headgate" / "credentials.json").write_text(damage)
    done = run(desk, "keys")
    assert done.code == 2
    assert done.err.endswith("credentials.json is damaged; remove it, and dev makes a new one.\n")


def test_a_store_that_may_not_be_opened_is_not_called_damaged_and_a_damaged_one_is(desk: Path) -> None:
    state = desk / ".headgate"
    run(desk, "keys", "create", "keyed")
    store = state / "messages.sqlite3"
    whole = store.read_bytes()
    store.write_bytes(whole[:4096] + b"damage" * ((len(whole) - 4096) // 6))
    damaged = run(desk, "messages", "list")
    assert damaged.code == 1
    assert damaged.err.endswith("damaged; `headgate restore FILE --force` puts a backup in its place.\n")
    with pytest.raises(sqlite3.OperationalError) as told, sqlite3.connect(state) as connection:
        connection.execute("SELECT 1")
    assert sentence(told.value)[0].endswith("see to it that you may read and write the state folder and what is in it.")


def test_a_reader_that_has_seen_enough_is_no_error(desk: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command_line("check"), cwd=desk, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.stderr == b""


def test_ctrl_c_exits_130_in_silence(desk: Path) -> None:
    (desk / "app.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(900)\n")
    # A job of a shell's background is born deaf to SIGINT, and so are its children.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command_line("check"), cwd=desk, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=listening
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.strip() == b""


def test_a_terminal_is_shown_the_same_as_a_pipe(desk: Path) -> None:
    assert drawn(desk, "check").replace("\r\n", "\n") == run(desk, "check").out


def test_an_error_that_quotes_a_sender_gives_a_terminal_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    def edit() -> int:
        raise Misuse("The message is not what this channel accepts.\n/\x1b]0;owned\x07\x9b31m: not permitted")

    with pytest.raises(SystemExit):
        told(edit)
    assert capsys.readouterr().err == (
        "The message is not what this channel accepts.\n/\\x1b]0;owned\\x07\\x9b31m: not permitted\n"
    )
