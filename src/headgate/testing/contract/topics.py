"""What every engine's topics have to do: each subscriber is told, also after an outage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import pytest

from headgate.engine import Notice, Topics

TOPIC = "alerts"
NOTICE = Notice("Orders fail", "3 dead letters in orders: \u20ac \U0001f6b0", {"channel": "orders"})


class Subscribers(Protocol):
    """Where the notices of `TOPIC` arrive: two subscribers."""

    @property
    def up(self) -> bool: ...

    def set_up(self, up: bool) -> None:
        """Whether they take notices."""

    def settle(self) -> None:
        """Let the engine deliver, and try again, for as long as it needs."""

    def received(self) -> list[list[Mapping[str, Any]]]:
        """The notices that each subscriber took."""


class TopicsUnderTest(Protocol):
    """What the fixture `engine` gives."""

    @property
    def topics(self) -> Topics: ...

    @property
    def subscribers(self) -> Subscribers: ...


class TopicsCases:
    """Cases for `engine.Topics`."""

    def test_every_subscriber_is_told(self, engine: TopicsUnderTest) -> None:
        engine.topics.publish(TOPIC, NOTICE)
        engine.subscribers.settle()
        assert engine.subscribers.received() == [[NOTICE._asdict()]] * 2

    def test_notices_have_ids_of_their_own(self, engine: TopicsUnderTest) -> None:
        assert len({engine.topics.publish(TOPIC, NOTICE) for _ in range(3)}) == 3
        engine.subscribers.settle()
        assert [len(taken) for taken in engine.subscribers.received()] == [3, 3]

    def test_an_outage_of_the_subscribers_delays_and_loses_nothing(self, engine: TopicsUnderTest) -> None:
        engine.subscribers.set_up(False)
        engine.topics.publish(TOPIC, NOTICE)
        engine.subscribers.settle()
        assert engine.subscribers.received() == [[], []]
        engine.subscribers.set_up(True)
        engine.subscribers.settle()
        assert [json.dumps(taken) for taken in engine.subscribers.received()] == [json.dumps([NOTICE._asdict()])] * 2

    def test_a_topic_that_is_not_declared_is_a_mistake(self, engine: TopicsUnderTest) -> None:
        with pytest.raises(KeyError):
            engine.topics.publish("nobody", NOTICE)
