"""A folder with an app in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.shell import APP


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path
