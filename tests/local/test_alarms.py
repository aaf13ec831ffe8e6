"""Alarms on the local engine: what makes them go off, what ends them, and that each is told once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate import App, Public, Queued, Stream, Webhook
from headgate import workflow as w
from headgate.clock import ManualClock
from headgate.engine import Discarded
from headgate.events import Accepted, Faulted, Worked
from headgate.gate.observe import Observer
from headgate.local import topics
from headgate.local.alarms import LocalAlarms
from headgate.local.engine import LocalEngine
from headgate.local.schema import FILE_NAME
from headgate.local.stream import Lane, Mark, logs_of
from headgate.message import Message, Moment
from headgate.testing.contract.queue import queued
from tests.local.test_topics import SECRET, Receiver
from tests.serving import PATIENCE_S


class Site:
    """An app with a queue and a stream, and one who is told."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.folder = folder
        self.receiver = receiver
        self.clock = ManualClock()
        self.app = App("shop")
        self.app.topic("alerts", Webhook(receiver.url, SECRET))
        self.app.topic("quiet", alarms=False)
        self.app.channel("/orders", auth=Public(), delivery=Queued())(lambda _: None)
        events = self.app.channel("/events", auth=Public(), delivery=Stream())

        def totals(_: Any) -> None: ...

        events(totals)
        self.app.workflow("settling", w.fail("Unlucky"))
        self.app.schedule("nightly", "rate(1 day)", "settling")
        self.failures: Counter[str] = Counter()
        self.open()

    def open(self) -> None:
        self.observer = Observer()
        channels = [channel.name for channel in self.app.channels]
        self.engine = LocalEngine(self.folder / FILE_NAME, channels, self.clock, logs=logs_of(self.app))
        self.topics = self.engine.topics(self.app.topics, {})
        self.alarms = LocalAlarms(
            self.app, self.engine.queue, self.engine.stream, self.observer, self.topics, self.clock,
            self.engine.standings(), self.failures,
        )  # fmt: skip

    def reopen(self) -> None:
        self.engine.close()
        self.open()

    def told(self) -> list[str]:
        """The subjects of what was told since."""
        self.alarms.look()
        while self.topics.deliver() == 0:
            pass
        subjects = [json.loads(body)["data"]["subject"] for _, body in self.receiver.taken]
        self.receiver.taken.clear()
        return subjects

    def bury(self, key: str) -> None:
        moment = Moment(self.clock.now_ms(), "failed", 1, detail="no")
        letter = queued(key, "{}")._replace(status="failed", error="no", timeline=(moment,))
        assert self.engine.index.commit([letter])[0].kind == "stored"

    def discard(self, key: str) -> None:
        discarded = Discarded(Moment(self.clock.now_ms(), "discarded"), None)
        assert self.engine.queue.alter("orders", "", key, discarded)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(topics, "_TIMEOUT_S", PATIENCE_S)
    receiver = Receiver()
    site = Site(tmp_path, receiver)
    yield site
    site.engine.close()
    receiver.close()


def test_a_dead_letter_is_told_once_and_so_is_its_end(site: Site) -> None:
    assert site.told() == []
    site.bury("1")
    assert site.told() == ["ALARM: orders-dead-letters"]
    site.bury("2")
    assert site.told() == []
    site.discard("1")
    assert site.told() == []
    site.discard("2")
    assert site.told() == ["OK: orders-dead-letters"]
    assert site.told() == []


def test_a_restart_tells_nothing_twice_and_forgets_nothing(site: Site) -> None:
    site.bury("1")
    assert site.told() == ["ALARM: orders-dead-letters"]
    site.reopen()
    assert site.told() == []
    assert site.engine.standings()["orders-dead-letters"].state == "ALARM"
    site.discard("1")
    site.reopen()
    assert site.told() == ["OK: orders-dead-letters"]


def test_a_message_that_nobody_begins_is_told_after_five_minutes(site: Site) -> None:
    site.engine.index.commit([queued("1", "{}")])
    site.clock.advance(299)
    assert site.told() == []
    site.clock.advance(1)
    assert site.told() == ["ALARM: orders-oldest-message"]
    site.engine.queue.claim("orders", 1, 60_000)
    assert site.told() == ["OK: orders-oldest-message"]


def test_a_jump_of_the_wall_clock_is_no_delay(site: Site) -> None:
    site.engine.index.commit([queued("1", "{}")])
    site.clock.jump(86_400)
    assert site.told() == []


def test_five_failed_attempts_within_five_minutes_are_told(site: Site) -> None:
    def fail(times: int) -> None:
        for _ in range(times):
            site.observer.told(Worked("orders", "retried", "r", 1, "OSError"))

    fail(3)
    assert site.told() == []
    site.clock.advance(250)
    fail(2)
    assert site.told() == ["ALARM: orders-handler-errors"]
    site.clock.advance(100)
    assert site.told() == ["OK: orders-handler-errors"]


def test_requests_that_fail_on_our_side_are_told_by_their_share(site: Site) -> None:
    site.observer.told(Accepted("orders", 100, 0))
    site.told()
    site.observer.told(Accepted("orders", 96, 0))
    for _ in range(4):
        site.observer.told(Faulted("orders", "broken", 500, "r", ""))
    site.clock.advance(10)
    assert site.told() == []
    for _ in range(10):
        site.observer.told(Faulted("orders", "broken", 500, "r", ""))
    site.clock.advance(10)
    assert site.told() == ["ALARM: orders-errors"]
    site.clock.advance(301)
    assert site.told() == ["OK: orders-errors"]


def test_an_execution_that_ends_badly_is_told_and_over_after_five_minutes_without_one(site: Site) -> None:
    site.failures["other"] += 1
    assert site.told() == []
    site.failures["settling"] += 1
    site.alarms.look()
    site.topics.deliver()
    data = json.loads(site.receiver.taken.pop()[1])["data"]
    assert data["subject"] == "ALARM: settling-failures"
    assert data["text"] == (
        "An execution of the workflow settling failed within 5 minutes. The value is 1; the alarm goes off at 1. "
        "`headgate runs list settling` says which."
    )
    assert data["attributes"] == {
        "alarm": "settling-failures", "state": "ALARM", "metric": "failures", "workflow": "settling",
    }  # fmt: skip
    site.clock.advance(301)
    assert site.told() == ["OK: settling-failures"]


def test_a_consumer_that_is_behind_is_told(site: Site) -> None:
    message = Message("events", "", "1", b"{}", site.clock.now_ms(), "", "r", "", "accepted", None, order="1")
    (outcome,) = site.engine.stream.append([message])
    site.clock.advance(300)
    assert site.told() == ["ALARM: events-totals-lag"]
    assert outcome.place is not None
    site.engine.stream.move("events", "totals", {Lane(outcome.place.shard): Mark(outcome.place.sequence)})
    assert site.told() == ["OK: events-totals-lag"]


def test_the_notice_says_what_and_how_much(site: Site) -> None:
    site.bury("1")
    site.alarms.look()
    site.topics.deliver()
    data = json.loads(site.receiver.taken[0][1])["data"]
    assert data["topic"] == "alerts"
    assert data["text"] == (
        "/orders has dead letters. The value is 1; the alarm goes off at 1. `headgate dead list orders` says why."
    )
    assert data["attributes"] == {
        "alarm": "orders-dead-letters", "state": "ALARM", "metric": "dead_letters", "channel": "orders",
    }  # fmt: skip
