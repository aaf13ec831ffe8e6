"""The local room of executions passes the cases that every engine has to pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.testing.contract.executions import ExecutionsCases
from tests.local.executions.site import Site


class TestExecutions(ExecutionsCases):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Site]:
        site = Site(tmp_path)
        yield site
        site.close()
