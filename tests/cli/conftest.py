"""A folder with an app in it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import APP


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def hearing() -> Iterator[None]:
    """Who is started hears SIGHUP, also where the tests run under nohup: that a signal is ignored goes over to
    children, that it is handled does not."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)
