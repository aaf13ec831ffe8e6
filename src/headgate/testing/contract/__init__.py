"""The conformance cases of the rooms of an engine, as pytest classes.

A module of tests adopts them by subclassing, and says with the fixture `engine` what is to be tested:

    class TestMyIndex(IndexCases):
        @pytest.fixture
        def engine(self) -> Iterator[MyEngine]: ...
"""

from __future__ import annotations

from typing import Protocol

from headgate.clock import ManualClock
from headgate.engine import Index, Keys, Queue

CHANNELS = ("orders", "events")
"""The channels that the cases use; the engine has to know them."""


class EngineUnderTest(Protocol):
    """What the fixture `engine` gives: an empty engine that takes its time from `clock`."""

    @property
    def index(self) -> Index: ...

    @property
    def queue(self) -> Queue: ...

    @property
    def keys(self) -> Keys: ...

    @property
    def clock(self) -> ManualClock: ...
