"""tools/bootstrap.py: what cannot be fetched at once is tried again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools import bootstrap


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "PAUSES_S", (0, 0))


@pytest.fixture
def moody() -> Iterator[str]:
    """The URL of a file that is there from the third time on that it is asked for."""
    asked = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal asked
            asked += 1
            self.send_response(200 if asked > 2 else 503)
            self.end_headers()
            self.wfile.write(b"the file")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        server.shutdown()


def test_a_file_that_is_not_to_be_had_at_once_is_fetched_all_the_same(moody: str) -> None:
    assert bootstrap.fetch(moody) == b"the file"


def test_an_environment_that_is_not_made_at_once_is_made_all_the_same(tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho >> {tmp_path}/tries; test "$(wc -l < {tmp_path}/tries)" -gt 2\n')
    uv.chmod(0o700)
    bootstrap.sync(str(uv), [])
    assert (tmp_path / "tries").read_text() == "\n" * 3


def test_one_that_cannot_be_made_is_told_after_all_tries(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="its reason stands above"):
        bootstrap.sync("false", [])
