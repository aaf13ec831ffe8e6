"""The state folder: which one is taken, and what is believed of the files in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.errors import Misuse
from headgate.local.schema import FILE_NAME
from headgate.local.state import StateFolder

DEEP = "[" * 100_000


@pytest.fixture
def held(tmp_path: Path) -> Iterator[StateFolder]:
    state = StateFolder(tmp_path / "state")
    state.hold()
    yield state
    state.release()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_with_something_else_in_it_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("build/\n")
    tmp_path.chmod(0o755)
    with pytest.raises(Misuse, match=r"has other things in it; say .*--state .*/\.headgate\.$"):
        StateFolder(tmp_path).hold()
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]
    assert (tmp_path / ".gitignore").read_text() == "build/\n"
    assert mode(tmp_path) == 0o755


def test_a_link_by_the_name_of_one_of_our_files_does_not_make_a_folder_ours(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Misuse, match="has other things in it"):
        StateFolder(tmp_path).hold()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "theirs"
    victim.write_text("precious")
    folder.mkdir()
    (folder / "lock").touch()
    (folder / ".gitignore").symlink_to(victim)
    folder.chmod(0o755)
    os.chown(folder, 12_345, 12_345)
    with pytest.raises(Misuse, match="belongs to another user; say a --state folder of your own"):
        StateFolder(folder).hold()
    assert victim.read_text() == "precious"
    assert mode(folder) == 0o755


@pytest.mark.parametrize("name", ["lock", "credentials.json", FILE_NAME])
def test_a_folder_with_a_file_of_ours_is_taken_and_closed_to_others(tmp_path: Path, name: str) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "ours"
    victim.write_text("precious")
    folder.mkdir()
    folder.chmod(0o755)
    (folder / name).touch()
    (folder / ".gitignore").symlink_to(victim)
    state = StateFolder(folder)
    state.hold()
    state.release()
    assert mode(folder) == 0o700
    assert victim.read_text() == "precious"


def test_an_empty_folder_is_taken_and_kept_out_of_git(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    state = StateFolder(tmp_path)
    state.hold()
    state.release()
    assert mode(tmp_path) == 0o700
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_credentials_may_be_kept_before_the_folder_is_held(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    kept = {"secrets": {"A": "ä"}, "api_keys": {"notes": "k"}}
    state.keep_credentials(kept)
    state.hold()
    state.release()
    assert state.credentials() == kept


@pytest.mark.parametrize(
    "damage",
    [
        '{"secrets": {"A": 1}, "api_keys": {}}',
        '{"secrets": {}, "api_keys": {"notes": null}}',
        '{"secrets": [["A", "b"]], "api_keys": {}}',
        '{"secrets": {"A": "\\ud800"}, "api_keys": {}}',
        DEEP,
    ],
    ids=["number", "null", "pairs", "half a character", "deep"],
)
def test_credentials_of_another_shape_are_damaged(tmp_path: Path, damage: str) -> None:
    (tmp_path / "credentials.json").write_text(damage)
    with pytest.raises(Misuse, match="is damaged; remove it"):
        StateFolder(tmp_path).credentials()


@pytest.mark.parametrize(
    "damage",
    [
        '{"pid": "1", "url": "", "control_token": ""}',
        '{"pid": true, "url": "", "control_token": ""}',
        '{"pid": 1, "url": 2, "control_token": ""}',
        '{"pid": 1, "url": "http://127.0.0.1:1", "control_token": null}',
        '{"pid": 1}',
        "[]",
        DEEP,
    ],
    ids=["pid", "truth", "url", "token", "missing", "list", "deep"],
)
def test_a_holder_that_cannot_be_read_is_another_process(held: StateFolder, damage: str) -> None:
    (held.path / "holder.json").write_text(damage)
    assert str(StateFolder(held.path).holder()) == "another process"


def test_a_holder_is_told_by_its_pid_and_address(held: StateFolder) -> None:
    token = held.announce("http://127.0.0.1:8000")
    assert StateFolder(held.path).holder() == (os.getpid(), "http://127.0.0.1:8000", token)
    assert json.loads((held.path / "holder.json").read_text())["pid"] == os.getpid()
