"""When schedules fire. Pure: a time goes in, the next one comes out."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cronsim import CronSim

from headgate.declare.schedule import At, Cron, Rate, Schedule, expression_of, moment, zone_of

_HOUR_MS = 3_600_000


class Firing(NamedTuple):
    """What a schedule does now: `due_ms` is the fire to make, None where none is due; `next_ms` the one after it, None
    where there will be no more. Of several that were missed the last one is made, for all of them."""

    due_ms: int | None
    next_ms: int | None


def following(schedule: Schedule, anchor_ms: int, after_ms: int) -> int | None:
    """The first time after `after_ms` that the schedule fires, None where there is none. A rate counts from
    `anchor_ms`, the moment from which on it is known."""
    match expression_of(schedule.expression):
        case Rate(every_s):
            return anchor_ms + ((after_ms - anchor_ms) // (every_s * 1000) + 1) * every_s * 1000
        case At(local):
            at = moment(local, zone_of(schedule.timezone))
            return None if at is None or _ms(at) <= after_ms else _ms(at)
        case Cron() as cron:
            return next((at for at in _fires(cron, schedule.timezone, after_ms) if at > after_ms), None)


def upcoming(schedule: Schedule, anchor_ms: int, after_ms: int, count: int) -> list[int]:
    """The next `count` times, or as many as there are."""
    found: list[int] = []
    while len(found) < count and (at := following(schedule, anchor_ms, found[-1] if found else after_ms)) is not None:
        found.append(at)
    return found


def firing(schedule: Schedule, anchor_ms: int, next_ms: int | None, now_ms: int) -> Firing:
    """What to do at `now_ms`, when `next_ms` is the next time that was written down."""
    if next_ms is None or next_ms > now_ms:
        return Firing(None, next_ms)
    return Firing(_last(schedule, anchor_ms, next_ms, now_ms), following(schedule, anchor_ms, now_ms))


def was_set_back(schedule: Schedule, next_ms: int | None, now_ms: int) -> bool:
    """Whether the clock was, since `next_ms` was written down: a rate is never further away than its period. What names
    a time of day waits for that time."""
    match expression_of(schedule.expression):
        case Rate(every_s):
            return next_ms is not None and next_ms - now_ms > every_s * 1000
        case _:
            return False


def execution_name(schedule: str, due_ms: int) -> str:
    """The name of the execution that a fire starts: the same one, however often it is tried."""
    return f"{schedule[:63]}-{datetime.fromtimestamp(due_ms / 1000, UTC):%Y%m%dT%H%M%SZ}"


def _last(schedule: Schedule, anchor_ms: int, due_ms: int, now_ms: int) -> int:
    """The last time from `due_ms`, which is one, up to now. It is looked for backwards, in longer and longer spans."""
    span_ms = _HOUR_MS
    while (since_ms := now_ms - span_ms) > due_ms:
        last_ms = at_ms = following(schedule, anchor_ms, since_ms)
        if at_ms is not None and at_ms <= now_ms:
            while at_ms is not None and at_ms <= now_ms:
                last_ms, at_ms = at_ms, following(schedule, anchor_ms, at_ms)
            return last_ms or due_ms
        span_ms *= 24
    last_ms = due_ms
    while (at_ms := following(schedule, anchor_ms, last_ms)) is not None and at_ms <= now_ms:
        last_ms = at_ms
    return last_ms


def _fires(cron: Cron, timezone: str, after_ms: int) -> Iterator[int]:
    """The fires at or after the minute of `after_ms`, in the order of the zone's own clock."""
    zone = zone_of(timezone)
    local = datetime.fromtimestamp(after_ms / 1000, UTC).astimezone(zone).replace(tzinfo=None, microsecond=0)
    for year in sorted(year for year in cron.years if year >= local.year):
        begin = max(local, datetime(year, 1, 1)) - timedelta(seconds=1)  # noqa: DTZ001 - the zone's own clock
        for at in CronSim(cron.line, begin):
            if at.year > year:
                break
            if cron.nearest and not any(at.day == _weekday_near(at.year, at.month, day) for day in cron.nearest):
                continue
            if (found := moment(at, zone)) is not None:
                yield _ms(found)


def _weekday_near(year: int, month: int, day: int) -> int | None:
    """The weekday of a month that lies nearest to a day of it."""
    last = calendar.monthrange(year, month)[1]
    if day > last:
        return None
    match calendar.weekday(year, month, day):
        case 5:
            return day - 1 if day > 1 else day + 2
        case 6:
            return day + 1 if day < last else day - 2
    return day


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
