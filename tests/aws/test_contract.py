"""The rooms of the AWS engine pass the cases that every engine has to pass."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from headgate import App, Public, Queued
from headgate.aws.clients import Clients
from headgate.aws.index import DynamoIndex
from headgate.aws.keys import DynamoKeys
from headgate.aws.layout import layout_of
from headgate.aws.queue import DynamoQueue
from headgate.aws.wire import Wire
from headgate.clock import ManualClock, SystemClock
from headgate.testing.contract import CHANNELS
from headgate.testing.contract.index import IndexCases
from headgate.testing.contract.keys import KeysCases
from headgate.testing.contract.queue import QueueCases
from tests.aws.deaf import Deaf
from tests.aws.emulator.process import Emulator
from tests.aws.tables import make_bucket, make_keys_table, make_table

pytestmark = pytest.mark.xdist_group("emulator")


class Engine:
    """Tables of its own, and a clock that stands still."""

    def __init__(self, emulator: Emulator, clients: Clients) -> None:
        self.clock = ManualClock()
        app = App("contract")
        for name in CHANNELS:
            app.channel(
                f"/{name}", key="id", scope="principal", indexes=["n", "company", "v"], auth=Public(), delivery=Queued()
            )
        dynamodb = emulator.client("dynamodb")
        tables = [make_table(dynamodb, layout_of(channel)) for channel in app.channels]
        self.index = DynamoIndex(tables, make_bucket(emulator.client("s3")), clients, self.clock)
        self.queue = DynamoQueue(self.index, clients, self.clock)
        self.keys = DynamoKeys(make_keys_table(dynamodb), clients, self.clock)


@pytest.fixture(scope="module", params=["as the command line calls", "as functions call"])
def clients(request: pytest.FixtureRequest, emulator: Emulator) -> Iterator[Clients]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.env.items():
            patch.setenv(name, value)
        clock = SystemClock()
        made = Clients(clock, wire=Wire(os.environ, clock) if request.param == "as functions call" else None)
        for service in ("dynamodb", "s3"):
            made.client(service)
        yield made


@pytest.fixture
def engine(emulator: Emulator, clients: Clients) -> Iterator[Engine]:
    engine = Engine(emulator, clients)
    yield engine
    engine.index.close()


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


class TestQueueWhoseAnswersAreLost(QueueCases):
    """Between every two steps; but for deletions, of which a repetition can only tell that there is nothing left."""

    @pytest.fixture
    def engine(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
        for name, value in emulator.env.items():
            monkeypatch.setenv(name, value)
        calls = Clients(SystemClock(), wire=Wire(emulator.env, SystemClock()))
        engine = Engine(emulator, Deaf(calls, "delete_item"))
        yield engine
        engine.index.close()
