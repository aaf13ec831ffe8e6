"""The CDK CLI is the version we know, wherever it is found."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from headgate.cdk.toolkit import cdk, image_builder, installed, node, node_version, pinned, run
from headgate.errors import Misuse

PROGRAM = "#!/usr/bin/env node\nconsole.log(process.argv.slice(2).join(' ')); console.error('oh'); process.exit(7)\n"


def with_own_cdk(folder: Path, version: str) -> Path:
    package = folder / "node_modules" / "aws-cdk"
    (package / "bin").mkdir(parents=True)
    (package / "package.json").write_text(json.dumps({"name": "aws-cdk", "version": version}))
    (package / "bin" / "cdk").write_text(PROGRAM)
    return package


def test_it_is_installed_once_in_the_version_that_is_pinned(tmp_path: Path) -> None:
    told = subprocess.run([*cdk(tmp_path), "--version"], capture_output=True, text=True, check=True).stdout

    assert told.startswith(f"{pinned()} ")
    assert installed() == installed()


def test_the_pinned_version_is_not_the_one_released_by_accident() -> None:
    assert pinned().startswith("2.")


def test_the_lock_file_names_no_registry_and_knows_the_digest() -> None:
    lock = files("headgate.cdk").joinpath("assets", "toolkit", "package-lock.json").read_text()

    assert "resolved" not in lock
    assert "http" not in lock
    assert json.loads(lock)["packages"]["node_modules/aws-cdk"]["integrity"].startswith("sha512-")


def test_the_projects_own_goes_first_also_one_further_up(tmp_path: Path) -> None:
    package = with_own_cdk(tmp_path, "2.1200.0")
    below = tmp_path / "apps" / "shop"
    below.mkdir(parents=True)

    assert cdk(below)[-1] == str(package / "bin" / "cdk")


def test_version_3_in_a_project_is_refused(tmp_path: Path) -> None:
    with_own_cdk(tmp_path, "3.0.0")

    with pytest.raises(Misuse, match=re.escape(f"has aws-cdk 3.0.0; npm install aws-cdk@{pinned()} there.")):
        cdk(tmp_path)


def test_its_lines_and_its_exit_code_are_passed_on(tmp_path: Path) -> None:
    with_own_cdk(tmp_path, "2.1200.0")
    lines: list[str] = []

    code = run(tmp_path, ["deploy", "--all"], lines.append)

    assert code == 7
    assert sorted(lines) == ["deploy --all --no-notices\n", "oh\n"]


def test_images_are_built_by_what_the_cdk_cli_would_take_if_it_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = tmp_path / "finch"
    monkeypatch.setenv("CDK_DOCKER", str(builder))
    with pytest.raises(Misuse, match="which is not installed: install it, or have zips made instead"):
        image_builder()

    for code, is_up in ((1, False), (0, True)):
        builder.write_text(f'#!/bin/sh\n[ "$*" = info ] && exit {code}\n')
        builder.chmod(0o755)
        if is_up:
            assert image_builder() == str(builder)
        else:
            with pytest.raises(Misuse, match="whose daemon does not answer: start it, or have zips made instead"):
                image_builder()


def test_where_it_cannot_be_installed_it_says_why_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")

    with pytest.raises(Misuse, match=r"aws-cdk [\d.]+ cannot be installed: .*ECONNREFUSED") as told:
        installed()

    assert "\n" not in str(told.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_node_is_there_and_new_enough() -> None:
    assert int(node_version(node()).partition(".")[0]) >= 22
