"""The local engine passes the cases that every engine has to pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.clock import ManualClock
from headgate.local.engine import LocalEngine
from headgate.testing.contract import CHANNELS
from headgate.testing.contract.index import IndexCases
from headgate.testing.contract.keys import KeysCases
from headgate.testing.contract.queue import QueueCases


class Engine(LocalEngine):
    """A local engine with a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        super().__init__(folder / "messages.sqlite3", CHANNELS, self.clock)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.close()


class TestIndex(IndexCases):
    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine


class TestKeys(KeysCases):
    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine


class TestQueue(QueueCases):
    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine
