"""The server does as its own OpenAPI document says, whatever schemathesis makes of that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.hostile.target import attacked, new_api_key, still_accepts
from tests.serving import REPOSITORY, Served

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with attacked(tmp_path_factory.mktemp("schemathesis")) as served:
        yield served


def schemathesis(served: Served, folder: Path, *options: str, env: Mapping[str, str] = {}) -> str:
    """What `st run` says about the server; fails where it found anything."""
    command = str(Path(sys.executable).with_name("st"))
    line = [command, "--no-color", "--config-file", str(CONFIG), "run", f"{served.url}/-/openapi.json", *options]
    done = subprocess.run(
        line,
        cwd=folder,  # it leaves files behind
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
        capture_output=True,
        text=True,
        timeout=1_800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_with_credentials_no_answer_is_undocumented_and_none_is_our_fault(served: Served, tmp_path: Path) -> None:
    found = schemathesis(
        served,
        tmp_path,
        "--exclude-checks=ignored_auth",
        "--generation-with-security-parameters=false",
        env={"SCHEMATHESIS_HOOKS": "tests.hostile.opener", "HOSTILE_API_KEY": new_api_key(served)},
    )
    assert re.search(r"Tested: 40\b", found), found
    assert int(re.findall(r"(\d+) generated", found)[0]) > 500
    still_accepts(served)


def test_without_credentials_nothing_that_is_closed_opens(served: Served, tmp_path: Path) -> None:
    found = schemathesis(served, tmp_path)
    assert re.search(r"Tested: 40\b", found), found
    still_accepts(served)
