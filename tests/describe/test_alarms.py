"""Which alarms follow from what is declared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from headgate import App, Public, Queued, Stream
from headgate import workflow as w
from headgate.describe.alarms import alarms


class Order(BaseModel):
    id: str


def names(app: App) -> list[str]:
    return [alarm.name for alarm in alarms(app)]


def test_every_kind_of_channel_has_alarms_of_its_own() -> None:
    app = App("shop")
    app.channel("/direct", auth=Public())
    app.workflow("settle", w.succeed())
    app.channel("/started", auth=Public(), workflow="settle")
    app.channel("/stored", auth=Public(), delivery=Queued())
    worked = app.channel("/worked", auth=Public(), delivery=Queued())
    unread = app.channel("/unread", Order, key="id", auth=Public(), delivery=Queued(validate="worker"))
    quiet = app.channel("/quiet", auth=Public(), delivery=Stream())
    events = app.channel("/events", auth=Public(), delivery=Stream())

    def totals(_: Any) -> None: ...

    def mail(_: Any) -> None: ...

    worked(totals)
    unread(totals)
    events(totals)
    events(mail)
    assert names(app) == [
        "direct-errors",
        "started-dead-letters", "started-errors",
        "stored-dead-letters", "stored-oldest-message", "stored-handler-errors", "stored-errors",
        "worked-dead-letters", "worked-oldest-message", "worked-handler-errors", "worked-errors",
        "unread-dead-letters", "unread-oldest-message", "unread-handler-errors", "unread-errors", "unread-rejected",
        "quiet-errors",
        "events-dead-letters", "events-handler-errors", "events-totals-lag", "events-mail-lag", "events-errors",
    ]  # fmt: skip
    assert quiet.name == "quiet"
    assert len({alarm.name for alarm in alarms(app)}) == len(alarms(app))


def test_a_workflow_that_the_clock_starts_has_one_alarm_however_many_schedules_it_has() -> None:
    app = App("shop")
    for name in ("nightly", "by-hand"):
        app.workflow(name, w.succeed())
    app.schedule("evenings", "cron(0 20 * * ? *)", "nightly")
    app.schedule("mornings", "cron(0 8 * * ? *)", "nightly")
    assert names(app) == ["nightly-failures"]


def test_lag_is_told_before_records_become_too_old() -> None:
    app = App("shop")
    events = app.channel("/events", auth=Public(), delivery=Stream(most_age=timedelta(minutes=2)))
    events(lambda _: None)
    (lag,) = (alarm for alarm in alarms(app) if alarm.metric == "lag_s")
    assert (lag.threshold, lag.sentence) == (60, "Consumer <lambda> of /events is 60 seconds or more behind.")
