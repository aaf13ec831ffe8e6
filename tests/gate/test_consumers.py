"""Consumers of a stream, on the real local engine, in process: what they are handed, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headgate import App, Message, Permanent, Public, Retry, RetryPolicy, Stream
from headgate.engine import Redriven
from headgate.message import Moment
from headgate.testing.inprocess import AppUnderTest

Event = dict[str, Any]
QUICK = RetryPolicy(first_s=1, factor=1, jitter=0)
Up = Callable[..., AppUnderTest]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    apps: list[AppUnderTest] = []

    def up(*consumers: Callable[..., Any], batch: int | None = None, **stream: Any) -> AppUnderTest:
        app = App("shop")
        delivery = Stream(**{"backoff": QUICK, "attempts": 3, **stream})
        channel = app.channel("/events", key="id", auth=Public(), delivery=delivery, batch=batch)
        for consumer in consumers:
            channel(consumer)
        app.check()
        apps.append(AppUnderTest(app, tmp_path))
        return apps[-1]

    yield up
    for app in apps:
        app.close()


def send(app: AppUnderTest, *ids: int | str) -> None:
    for id_ in ids:
        assert app.send("/events", {"id": str(id_)}).status == 202


def letters(app: AppUnderTest) -> list[Message]:
    return sorted(app.messages("events"), key=lambda letter: (letter.scope, letter.key))


def test_every_consumer_is_handed_every_record_in_lists(up: Up) -> None:
    handed: list[tuple[str, list[str]]] = []

    def totals(events: list[Event]) -> None:
        handed.append(("totals", [event["id"] for event in events]))

    def mail(events: list[Event], messages: list[Message]) -> None:
        assert [message.attempt for message in messages] == [1] * len(events)
        handed.append(("mail", [message.id for message in messages]))

    app = up(totals, mail)
    send(app, *range(5))
    app.drain()
    assert sorted(handed) == [("mail", list("01234")), ("totals", list("01234"))]
    send(app, 5)
    app.drain()
    assert sorted(handed)[1:2] == [("mail", ["5"])]


def test_with_a_batch_of_one_a_consumer_is_handed_a_record_alone(up: Up) -> None:
    handed = []

    def totals(event: Event, message: Message) -> None:
        handed.append((event["id"], message.attempt))

    app = up(totals, batch=1)
    send(app, 1, 2)
    app.drain()
    assert handed == [("1", 1), ("2", 1)]


def test_one_that_fails_holds_up_its_shard_and_then_is_a_dead_letter_with_every_attempt(up: Up) -> None:
    done = []

    def totals(event: Event) -> None:
        if event["id"] == "bad":
            raise OSError("no luck")
        done.append(event["id"])

    app = up(totals, batch=1)
    send(app, 1, "bad", 2)
    app.drain()
    assert done == ["1"], "the second one is in order behind the bad one"
    for _ in range(3):
        app.clock.advance(1)
        app.drain()
    assert done == ["1", "2"]
    (letter,) = letters(app)
    assert (letter.scope, letter.key, letter.status, letter.body) == ("totals", "bad", "failed", b'{"id": "bad"}')
    assert [(moment.what, moment.attempt) for moment in letter.timeline] == [
        ("retried", 1), ("retried", 2), ("failed", 3),
    ]  # fmt: skip
    assert all("OSError: no luck" in moment.told for moment in letter.timeline)


def test_a_list_that_fails_is_halved_until_the_bad_one_is_alone(up: Up) -> None:
    done: list[str] = []

    def totals(events: list[Event]) -> None:
        if any(event["id"] == "bad" for event in events):
            raise OSError
        done.extend(event["id"] for event in events)

    app = up(totals)
    send(app, 1, 2, 3, "bad", 5, 6, 7)
    for _ in range(5):
        app.drain()
        app.clock.advance(1)
    assert done == ["1", "2", "3", "5", "6", "7"]
    assert [letter.key for letter in letters(app)] == ["bad"]


def test_what_is_said_of_each_record_counts_for_it_alone(up: Up) -> None:
    seen: list[tuple[str, int]] = []

    def totals(events: list[Event], messages: list[Message]) -> list[Any]:
        seen.extend((message.id, message.attempt) for message in messages)
        return [
            Permanent("never") if message.id == "p" else Retry() if message.id == "r" and message.attempt == 1 else None
            for message in messages
        ]

    app = up(totals)
    send(app, 1, "p", 2, "r", 3)
    for _ in range(3):
        app.drain()
        app.clock.advance(1)
    assert seen == [("1", 1), ("p", 1), ("2", 1), ("r", 1), ("3", 1), ("r", 2), ("3", 1)]
    (letter,) = letters(app)
    assert (letter.key, letter.error, letter.attempts) == ("p", "never", 1)


def test_a_redriven_letter_goes_to_its_consumer_alone(up: Up) -> None:
    seen: list[tuple[str, str, int]] = []
    broken = {"is": True}

    def totals(event: Event, message: Message) -> None:
        seen.append(("totals", event["id"], message.attempt))
        if broken["is"]:
            raise Permanent("broken")

    def mail(event: Event) -> None:
        seen.append(("mail", event["id"], 0))

    app = up(totals, mail, batch=1)
    send(app, 1)
    app.drain()
    broken["is"] = False
    redriven = Redriven(Moment(app.clock.now_ms(), "redriven"))
    assert app._engine.queue.alter("events", "totals", "1", redriven)
    app.drain()
    assert sorted(seen) == [("mail", "1", 0), ("totals", "1", 1), ("totals", "1", 1)]
    assert [(letter.scope, letter.status) for letter in letters(app)] == [("totals", "processed")]


def test_each_consumer_has_dead_letters_of_its_own(up: Up) -> None:
    def totals(event: Event) -> None:
        raise Permanent("one")

    def mail(event: Event) -> None:
        raise Permanent("two")

    app = up(totals, mail, batch=1)
    send(app, 1)
    app.drain()
    assert [(letter.scope, letter.error) for letter in letters(app)] == [("mail", "two"), ("totals", "one")]


def test_two_records_of_one_id_and_other_bodies_are_two_dead_letters(up: Up) -> None:
    def totals(event: Event) -> None:
        raise Permanent("no")

    app = up(totals, batch=1)
    for more in ("a", "b", "b"):
        app.send("/events", {"id": "1", "more": more})
    app.drain()
    assert [letter.key for letter in letters(app)] == ["1", "1~2"]


def test_a_record_that_is_too_old_when_its_turn_comes_is_a_dead_letter(up: Up) -> None:
    done = []

    def totals(event: Event) -> None:
        done.append(event["id"])

    app = up(totals, batch=1, most_age=timedelta(minutes=5))
    send(app, "old")
    app.clock.advance(301)
    send(app, "new")
    app.drain()
    assert done == ["new"]
    (letter,) = letters(app)
    assert (letter.key, letter.timeline[-1].kind) == ("old", "TooOld")
    assert "most_age" in (letter.error or "")


@pytest.mark.parametrize("jump_s", [3_600, -3_600, 86_400, -86_400])
def test_a_wall_clock_that_jumps_makes_no_record_too_old_and_none_goes_missing(up: Up, jump_s: float) -> None:
    done = []

    def totals(event: Event) -> None:
        done.append(event["id"])

    app = up(totals, batch=1, most_age=timedelta(minutes=5))
    send(app, "before")
    app.clock.jump(jump_s)
    send(app, "after")
    app.drain()
    assert (done, letters(app)) == (["before", "after"], [])
    app.clock.advance(301)
    send(app, "later")
    app.drain()
    assert done[2:] == ["later"]


def test_a_consumer_that_comes_later_begins_with_the_oldest_record(tmp_path: Path) -> None:
    seen: list[str] = []

    def shop() -> tuple[App, Any]:
        app = App("shop")
        return app, app.channel("/events", key="id", auth=Public(), delivery=Stream(), batch=1)

    app, _ = shop()
    before = AppUnderTest(app, tmp_path)
    send(before, 1, 2)
    before.close()

    app, channel = shop()

    def late(event: Event) -> None:
        seen.append(event["id"])

    channel(late)

    after = AppUnderTest(app, tmp_path)
    after.drain()
    after.close()
    assert seen == ["1", "2"]
