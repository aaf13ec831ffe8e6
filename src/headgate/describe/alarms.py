"""The alarms of an app: they follow from what it declares, and each engine has a way of its own to watch for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal, NamedTuple

from headgate.declare.app import App
from headgate.declare.channel import Channel

Metric = Literal["dead_letters", "oldest_s", "handler_errors", "error_share", "lag_s", "rejected_share", "failures"]

_PERIOD_S = 300
_OLDEST_S = 300
_HANDLER_ERRORS = 5
_ERROR_SHARE = 0.05
_REJECTED_SHARE = 0.1


class Alarm(NamedTuple):
    """Goes off when the metric is at the threshold or above, and is over when it is below. `consumer` is one of a
    stream's, empty for all others; `workflow` is one that is started by the clock, which has no channel.

    - `dead_letters`: how many messages there are now that failed for good
    - `oldest_s`: for how many seconds a message has been due that nobody has begun
    - `handler_errors`: attempts that failed, within the period
    - `error_share`: of the requests within the period those that failed on our side, 5xx
    - `lag_s`: how old the oldest record is that the consumer has not read, in seconds
    - `rejected_share`: of the messages within the period that were let in unread those that were found bad
    - `failures`: executions that ended badly, within the period
    """

    name: str
    metric: Metric
    channel: str
    threshold: float
    period_s: int
    sentence: str
    consumer: str = ""
    workflow: str = ""

    @property
    def is_share(self) -> bool:
        """Whether its value is a part of one."""
        return self.metric in ("error_share", "rejected_share")


def alarms(app: App) -> list[Alarm]:
    """Every alarm of an app, channel by channel, and then those of what the clock starts, of which no sender hears."""
    return [alarm for channel in app.channels for alarm in _of_channel(channel)] + [
        _of_workflow(name) for name in dict.fromkeys(schedule.workflow for schedule in app.schedules)
    ]


def _of_channel(channel: Channel) -> Iterator[Alarm]:
    name = channel.name
    if channel.queue or channel.handlers or channel.start:
        yield Alarm(f"{name}-dead-letters", "dead_letters", name, 1, 60, f"{channel.path} has dead letters.")
    if channel.queue:
        sentence = f"A message of {channel.path} has been waiting for {_OLDEST_S // 60} minutes or more."
        yield Alarm(f"{name}-oldest-message", "oldest_s", name, _OLDEST_S, 60, sentence)
    if channel.queue or channel.handlers:
        sentence = f"{_HANDLER_ERRORS} attempts or more at {channel.path} failed within {_minutes(_PERIOD_S)}."
        yield Alarm(f"{name}-handler-errors", "handler_errors", name, _HANDLER_ERRORS, _PERIOD_S, sentence)
    for handler in channel.handlers if channel.stream else ():
        most_s = _lag_s(channel)
        sentence = f"Consumer {handler.name} of {channel.path} is {_minutes(most_s)} or more behind."
        yield Alarm(f"{name}-{handler.name}-lag", "lag_s", name, most_s, 60, sentence, handler.name)
    sentence = f"{_ERROR_SHARE:.0%} or more of the requests to {channel.path} failed within {_minutes(_PERIOD_S)}."
    yield Alarm(f"{name}-errors", "error_share", name, _ERROR_SHARE, _PERIOD_S, sentence)
    if channel.unread:
        sentence = f"{_REJECTED_SHARE:.0%} or more of what {channel.path} let in within {_minutes(_PERIOD_S)} is bad."
        yield Alarm(f"{name}-rejected", "rejected_share", name, _REJECTED_SHARE, _PERIOD_S, sentence)


def _of_workflow(name: str) -> Alarm:
    sentence = f"An execution of the workflow {name} failed within {_minutes(_PERIOD_S)}."
    return Alarm(f"{name}-failures", "failures", "", 1, _PERIOD_S, sentence, workflow=name)


def _lag_s(channel: Channel) -> int:
    """Half of what a record may become, if that is soon."""
    most = channel.stream.most_age if channel.stream else None
    return _OLDEST_S if most is None else min(_OLDEST_S, most // timedelta(seconds=2))


def _minutes(period_s: int) -> str:
    return f"{period_s // 60} minutes" if period_s % 60 == 0 and period_s > 60 else f"{period_s} seconds"
