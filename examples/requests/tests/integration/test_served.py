"""`requests` as a sender meets it: the real command, signed over the wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2]
PATIENCE_S = 120.0
HEADGATE = str(Path(sys.executable).with_name("headgate"))


def headgate(state: Path, *words: str) -> Any:
    """What a command prints."""
    command = [HEADGATE, *words, "--app", str(FOLDER), "--state", str(state)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=quiet()).stdout  # noqa: S603


def quiet() -> dict[str, str]:
    """An environment in which nothing else is said about headgate."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """The state folder of a server that is up; the port is written into `url`."""
    command = [HEADGATE, "dev", str(FOLDER), "--port", "0", "--state", str(tmp_path)]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet()
    ) as server:
        assert server.stdout is not None
        first = server.stdout.readline()
        for line in server.stdout:
            if line.startswith("State:"):
                break
        (tmp_path / "url").write_text(first.split()[-1])
        yield tmp_path
        server.terminate()


def test_a_signed_request_is_processed_and_found_again(state: Path) -> None:
    url = (state / "url").read_text()

    told = json.loads(headgate(state, "send", "requests", '{"amount": 2.10}', "--url", url))

    assert told["message"] == "Request processed successfully"
    until_s = time.monotonic() + PATIENCE_S
    while True:
        (run,) = json.loads(headgate(state, "runs", "list", "statemachine", "--json"))["items"]
        if run["status"] != "RUNNING" or time.monotonic() > until_s:
            break
    assert (run["id"], run["status"]) == (told["execution_arn"], "SUCCEEDED")
    kept = state / "archive" / "requests" / "requests" / f"{told['request_id']}.json"
    assert kept.read_bytes() == b'{"amount": 2.10}'
