"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import cases_folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of recorded cases; see tests/cases.py."""
    return cases_folder()
