"""Schedules: when a workflow is started by the clock. The expressions are those of EventBridge: rate, cron and at."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from headgate import limits
from headgate.declare.shape import TEXT, misfits
from headgate.declare.source import caller

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_RATE = re.compile(r"rate\(([1-9][0-9]{0,8}) (minute|hour|day)(s?)\)")
_AT = re.compile(r"at\(([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\)")
_UNITS_S = {"minute": 60, "hour": 3_600, "day": 86_400}
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_UTC = ("UTC", "Etc/UTC", "Z", "Zulu")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True, slots=True)
class Rate:
    """Every so many seconds; a day is 24 hours, whatever the clocks do."""

    every_s: int


@dataclass(frozen=True, slots=True)
class At:
    """Once, at this time of the schedule's zone."""

    local: datetime


@dataclass(frozen=True, slots=True)
class Cron:
    """At each minute that fits. `line` is what cronsim steps through (minute, hour, day, month, weekday with 0 for
    Sunday); of its days only those count that lie next to a weekday in `nearest`, where that is not empty; and of its
    years only `years`."""

    line: str
    nearest: frozenset[int]
    years: frozenset[int]


Expression = Rate | At | Cron


class Schedule:
    """Starts a workflow by the clock; made by `App.schedule`.

    - `name`: 1 to 64 letters, digits, `_` and `-`
    - `expression`: `rate(5 minutes)`, `cron(0 8 ? * MON-FRI *)`, or once `at(2026-12-24T18:00:00)`, as EventBridge has
      them: the six fields of cron are minute, hour, day of the month, month, weekday (1 is Sunday) and year
    - `workflow`: the name of the workflow, or what `App.workflow` returned
    - `input`: what each execution is handed
    - `timezone`: in which cron and at are meant, as in "Europe/Berlin"; UTC. In spring a time that does not exist is
      left out; in autumn one that comes twice is taken the first time
    """

    def __init__(self, name: str, expression: str, workflow: Any, *, input: Any = None, timezone: str = "UTC") -> None:
        self.where = caller()
        self.name = name
        self.expression = expression
        self.workflow = workflow if isinstance(workflow, str) else getattr(workflow, "name", workflow)
        self.input = {} if input is None else input
        self.timezone = timezone

    def __repr__(self) -> str:
        return f"<schedule {self.name}: {self.expression}>"

    def sentences(self, workflows: Collection[str]) -> Iterator[str]:
        """What of it cannot be honoured; `workflows` are the names of the app's."""
        shapes = dict.fromkeys(("name", "expression", "workflow", "timezone"), TEXT)
        if wrong := list(misfits("", {name: getattr(self, name) for name in shapes}, shapes)):
            yield from wrong
            return
        if not _NAME.fullmatch(self.name):
            yield "a name is 1 to 64 letters, digits, _ and -, and starts with a letter."
        if self.workflow not in workflows:
            known = f"the app has {', '.join(sorted(workflows))}" if workflows else "declare it with app.workflow"
            yield f"there is no workflow {self.workflow!r}; {known}."
        try:
            zone = zone_of(self.timezone)
        except ValueError as error:
            yield str(error)
            return
        try:
            found = expression_of(self.expression)
        except ValueError as error:
            yield str(error)
            return
        if isinstance(found, At) and moment(found.local, zone) is None:
            yield f"{self.expression}: this time does not exist in {self.timezone}, where clocks are set forward then."
        try:
            size = len(json.dumps(self.input, allow_nan=False, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        except (TypeError, ValueError):
            yield "`input=` must be JSON."
            return
        if size > limits.WORKFLOW_DATA.value:
            yield f"`input=` has {size} bytes, and an execution takes {limits.WORKFLOW_DATA.value}."


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name. Raises ValueError with a sentence where there is none."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError(f'`timezone=` {name!r} is not known; say it as in "Europe/Berlin".') from None


def moment(local: datetime, zone: ZoneInfo) -> datetime | None:
    """A time of the zone in UTC: the first one, where it comes twice; None where the clocks leave it out."""
    at = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return at if at.astimezone(zone).replace(tzinfo=None) == local else None


@lru_cache(maxsize=256)
def expression_of(text: str) -> Expression:
    """The expression. Raises ValueError with a sentence for what EventBridge would not take."""
    if found := _RATE.fullmatch(text):
        number, unit, plural = int(found[1]), found[2], found[3]
        if (number == 1) == bool(plural):
            raise ValueError(f"{text}: say {unit} for one and {unit}s for more.")
        return Rate(number * _UNITS_S[unit])
    if found := _AT.fullmatch(text):
        try:
            return At(datetime.fromisoformat(found[1]))
        except ValueError:
            raise ValueError(f"{text}: there is no such time.") from None
    if text.startswith("cron(") and text.endswith(")"):
        return _cron(text)
    raise ValueError(f"{text!r} is neither rate(5 minutes), cron(0 8 ? * MON-FRI *) nor at(2026-12-24T18:00:00).")


# --------------------------------------------------------------------------------------------------------------- cron


def _cron(text: str) -> Cron:
    parts = text[len("cron(") : -1].upper().split()
    if len(parts) != 6:
        raise ValueError(f"{text}: cron has six fields: minute, hour, day of the month, month, weekday, year.")
    minute, hour, day, month, weekday, year = parts
    if (day == "?") == (weekday == "?"):
        raise ValueError(f"{text}: put ? for either the day of the month or the weekday, and say the other.")
    try:
        nearest = frozenset[int]()
        if day.endswith("W") and day != "LW":
            nearest = frozenset([_number(day[:-1], 1, 31, ())])
            day = _near(*nearest)
        elif day not in ("?", "L", "LW"):
            day = _listed(_set(day, 1, 31))
        line = (
            _listed(_set(minute, 0, 59)),
            _listed(_set(hour, 0, 23)),
            day.replace("?", "*"),
            _listed(_set(month, 1, 12, _MONTHS)),
            _weekdays(weekday),
        )
        years = frozenset(_set(year, 1970, 2199))
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None
    if not nearest and day not in ("?", "L", "LW") and not _exists(_set(day, 1, 31), _set(month, 1, 12, _MONTHS)):
        raise ValueError(f"{text}: there is no such day.")
    return Cron(" ".join(line), nearest, years)


def _weekdays(field: str) -> str:
    """1 is Sunday for EventBridge, 0 for cronsim."""
    if field == "?":
        return "*"
    if field == "L":
        return "6"  # the last day of the week
    if "#" in field:
        day, _, which = field.partition("#")
        return f"{_number(day, 1, 7, _DAYS) - 1}#{_number(which, 1, 5, ())}"
    if field.endswith("L"):
        return f"{_number(field[:-1], 1, 7, _DAYS) - 1}L"
    return ",".join(str(day - 1) for day in sorted(_set(field, 1, 7, _DAYS)))


def _set(field: str, least: int, most: int, names: tuple[str, ...] = ()) -> set[int]:
    """The numbers of a field: `*`, `5`, `1-5`, `0/15`, `*/15`, and several with commas."""
    found: set[int] = set()
    for term in field.split(","):
        span, slash, step = term.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = least, most
        else:
            low = _number(first, least, most, names)
            high = _number(last, least, most, names) if dash else most if slash else low
        if high < low:
            raise ValueError(f"{span} runs backwards; say the values one by one, with commas.")
        found.update(range(low, high + 1, _number(step, 1, most, ()) if slash else 1))
    return found


def _number(text: str, least: int, most: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + 1
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and least <= int(text) <= most):
        raise ValueError(f"{text!r} is not within {least} and {most}.")
    return int(text)


def _listed(numbers: set[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def _near(day: int) -> str:
    """The days among which the weekday nearest to `day` lies, in any month."""
    return _listed({near for near in range(day - 2, day + 3) if 1 <= near <= 31})


def _exists(days: set[int], months: set[int]) -> bool:
    longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
    return any(min(days) <= longest.get(month, 31) for month in months)


def handed(schedule: Schedule) -> str:
    """What each execution is handed, as JSON."""
    return json.dumps(schedule.input, ensure_ascii=False)


def is_rule(schedule: Schedule) -> bool:
    """Whether a rule of EventBridge will do: it fires in UTC, again and again, and has not much to hand over."""
    if len(handed(schedule)) > limits.RULE_INPUT.value:
        return False
    match expression_of(schedule.expression):
        case Rate():
            return True
        case At():
            return False
    return schedule.timezone in _UTC
