"""When schedules fire: to the minute, in their own zone, and once for all that was missed."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from headgate.declare.schedule import Schedule, expression_of
from headgate.gate.fire import Firing, execution_name, firing, following, upcoming


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def fires(expression: str, after: str, count: int, zone: str = "UTC", anchor: str | None = None) -> list[str]:
    """The next fires, as the zone's own clock shows them."""
    schedule = Schedule("s", expression, "w", timezone=zone)
    found = upcoming(schedule, ms(anchor or after, zone), ms(after, zone), count)
    shown = [datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(zone)) for at in found]
    return [f"{at:%Y-%m-%d %H:%M}" for at in shown]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0 10 * * ? *)", ["2026-01-01 10:00", "2026-01-02 10:00", "2026-01-03 10:00"]),
        ("cron(15 12 * * ? *)", ["2026-01-01 12:15", "2026-01-02 12:15", "2026-01-03 12:15"]),
        ("cron(0 18 ? * MON-FRI *)", ["2026-01-01 18:00", "2026-01-02 18:00", "2026-01-05 18:00"]),
        ("cron(0 18 ? * 2-6 *)", ["2026-01-01 18:00", "2026-01-02 18:00", "2026-01-05 18:00"]),
        ("cron(0 8 1 * ? *)", ["2026-01-01 08:00", "2026-02-01 08:00", "2026-03-01 08:00"]),
        ("cron(0/15 * * * ? *)", ["2026-01-01 00:15", "2026-01-01 00:30", "2026-01-01 00:45"]),
        ("cron(0/10 * ? * MON-FRI *)", ["2026-01-01 00:10", "2026-01-01 00:20", "2026-01-01 00:30"]),
        ("cron(0/5 8-17 ? * MON-FRI *)", ["2026-01-01 08:00", "2026-01-01 08:05", "2026-01-01 08:10"]),
        ("cron(0 12 ? * 1 *)", ["2026-01-04 12:00", "2026-01-11 12:00", "2026-01-18 12:00"]),
        ("cron(0 12 ? * 7 *)", ["2026-01-03 12:00", "2026-01-10 12:00", "2026-01-17 12:00"]),
        ("cron(0 12 ? * L *)", ["2026-01-03 12:00", "2026-01-10 12:00", "2026-01-17 12:00"]),
        ("cron(0 12 ? * 2/2 *)", ["2026-01-02 12:00", "2026-01-05 12:00", "2026-01-07 12:00"]),
        ("cron(0 9 ? * 2#1 *)", ["2026-01-05 09:00", "2026-02-02 09:00", "2026-03-02 09:00"]),
        ("cron(0 9 ? * TUE#5 *)", ["2026-03-31 09:00", "2026-06-30 09:00", "2026-09-29 09:00"]),
        ("cron(0 17 ? * 6L *)", ["2026-01-30 17:00", "2026-02-27 17:00", "2026-03-27 17:00"]),
        ("cron(0 0 L * ? *)", ["2026-01-31 00:00", "2026-02-28 00:00", "2026-03-31 00:00"]),
        ("cron(0 0 LW * ? *)", ["2026-01-30 00:00", "2026-02-27 00:00", "2026-03-31 00:00"]),
        ("cron(0 0 3W * ? *)", ["2026-01-02 00:00", "2026-02-03 00:00", "2026-03-03 00:00"]),
        ("cron(0 0 1W * ? *)", ["2026-02-02 00:00", "2026-03-02 00:00", "2026-04-01 00:00"]),
        ("cron(0 0 31W * ? *)", ["2026-01-30 00:00", "2026-03-31 00:00", "2026-05-29 00:00"]),
        ("cron(0 0 29 FEB ? *)", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("cron(30 6 1 JAN,JUL ? 2027-2028)", ["2027-01-01 06:30", "2027-07-01 06:30", "2028-01-01 06:30"]),
        ("cron(0 0 1 1 ? 2030/10)", ["2030-01-01 00:00", "2040-01-01 00:00", "2050-01-01 00:00"]),
        ("cron(0 0 1 1 ? 2027)", ["2027-01-01 00:00"]),
        ("cron(0 0 1 1 ? 2020)", []),
        ("at(2026-12-24T18:00:00)", ["2026-12-24 18:00"]),
        ("at(2025-12-24T18:00:00)", []),
        ("rate(1 minute)", ["2026-01-01 00:01", "2026-01-01 00:02", "2026-01-01 00:03"]),
        ("rate(90 minutes)", ["2026-01-01 01:30", "2026-01-01 03:00", "2026-01-01 04:30"]),
        ("rate(7 days)", ["2026-01-08 00:00", "2026-01-15 00:00", "2026-01-22 00:00"]),
    ],
)
def test_the_next_fires(expression: str, expected: list[str]) -> None:
    assert fires(expression, "2026-01-01T00:00", 3) == expected


def test_a_rate_counts_from_the_moment_it_is_known() -> None:
    assert fires("rate(1 hour)", "2026-01-01T05:10", 2, anchor="2026-01-01T00:20") == [
        "2026-01-01 05:20",
        "2026-01-01 06:20",
    ]


class TestDaylightSaving:
    """Berlin: clocks go from 2 to 3 on 2026-03-29, and from 3 back to 2 on 2026-10-25."""

    def test_a_time_that_is_left_out_does_not_fire(self) -> None:
        assert fires("cron(30 2 * * ? *)", "2026-03-27T12:00", 3, "Europe/Berlin") == [
            "2026-03-28 02:30",
            "2026-03-30 02:30",
            "2026-03-31 02:30",
        ]

    def test_a_time_that_comes_twice_fires_once_the_first_time(self) -> None:
        schedule = Schedule("s", "cron(30 2 * * ? *)", "w", timezone="Europe/Berlin")
        first, second = upcoming(schedule, 0, ms("2026-10-24T12:00", "Europe/Berlin"), 2)
        assert datetime.fromtimestamp(first / 1000, UTC).isoformat() == "2026-10-25T00:30:00+00:00"
        assert datetime.fromtimestamp(second / 1000, UTC).isoformat() == "2026-10-26T01:30:00+00:00"
        assert following(schedule, 0, first) == second

    def test_the_day_of_a_rate_has_24_hours(self) -> None:
        assert fires("rate(1 day)", "2026-03-28T12:00", 2, "Europe/Berlin") == ["2026-03-29 13:00", "2026-03-30 13:00"]

    def test_around_the_change_every_hour_of_the_clock_fires_once(self) -> None:
        assert fires("cron(0 * * * ? *)", "2026-03-29T00:30", 3, "Europe/Berlin") == [
            "2026-03-29 01:00",
            "2026-03-29 03:00",
            "2026-03-29 04:00",
        ]
        assert fires("cron(0 * * * ? *)", "2026-10-25T01:30", 3, "Europe/Berlin") == [
            "2026-10-25 02:00",
            "2026-10-25 03:00",
            "2026-10-25 04:00",
        ]


class TestMissed:
    """What is made up for when nothing was running."""

    def test_of_several_missed_fires_the_last_is_made_once(self) -> None:
        schedule = Schedule("s", "rate(5 minutes)", "w")
        due = ms("2026-01-01T00:05")
        now = ms("2026-01-01T01:07")
        assert firing(schedule, ms("2026-01-01T00:00"), due, now) == Firing(
            ms("2026-01-01T01:05"), ms("2026-01-01T01:10")
        )

    @pytest.mark.parametrize(
        "expression", ["cron(* * * * ? *)", "cron(0 0 1 * ? *)", "cron(0 12 ? * MON *)", "rate(1 day)"]
    )
    @pytest.mark.parametrize("later", ["2026-01-01T00:07", "2026-02-03T05:06", "2026-12-31T23:59"])
    def test_it_is_the_one_that_stepping_through_all_would_find(self, expression: str, later: str) -> None:
        schedule, anchor, now = Schedule("s", expression, "w"), ms("2026-01-01T00:00"), ms(later)
        first = following(schedule, anchor, anchor)
        assert first is not None
        made, following_ms = firing(schedule, anchor, first, now)
        if first > now:
            assert (made, following_ms) == (None, first)
            return
        assert made is not None
        assert made <= now
        assert following(schedule, anchor, made) == following_ms
        assert following_ms is None or following_ms > now

    def test_nothing_is_made_before_its_time_or_after_the_last(self) -> None:
        schedule = Schedule("s", "at(2026-12-24T18:00:00)", "w")
        due = ms("2026-12-24T18:00")
        assert firing(schedule, 0, due, due - 1) == Firing(None, due)
        assert firing(schedule, 0, due, due + 1) == Firing(due, None)
        assert firing(schedule, 0, None, due) == Firing(None, None)


def test_the_name_of_an_execution_tells_when_it_was_due() -> None:
    assert execution_name("nightly", ms("2026-01-01T02:03")) == "nightly-20260101T020300Z"
    assert len(execution_name("x" * 64, 0)) == 80


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("rate(1 minutes)", "say minute for one and minutes for more"),
        ("rate(5 minute)", "say minute for one and minutes for more"),
        ("rate(0 minutes)", "is neither rate(5 minutes)"),
        ("rate(5 seconds)", "is neither rate(5 minutes)"),
        ("5 minutes", "is neither rate(5 minutes)"),
        ("cron(0 8 * * *)", "cron has six fields"),
        ("cron(0 8 * * * *)", "put ? for either"),
        ("cron(0 8 ? * ? *)", "put ? for either"),
        ("cron(60 8 * * ? *)", "'60' is not within 0 and 59"),
        ("cron(0 24 * * ? *)", "'24' is not within 0 and 23"),
        ("cron(0 8 ? * 0 *)", "'0' is not within 1 and 7"),
        ("cron(0 8 ? * 2#6 *)", "'6' is not within 1 and 5"),
        ("cron(0 8 ? * FRI-MON *)", "FRI-MON runs backwards"),
        ("cron(0 8 * * ? 1969)", "'1969' is not within 1970 and 2199"),
        ("cron(0 8 30 2 ? *)", "there is no such day"),
        ("cron(0 8 32W * ? *)", "'32' is not within 1 and 31"),
        ("cron(x 8 * * ? *)", "'X' is not within 0 and 59"),
        ("at(2026-02-30T00:00:00)", "there is no such time"),
        ("at(2026-02-03)", "is neither rate(5 minutes)"),
    ],
)
def test_what_eventbridge_would_not_take_is_refused(expression: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?")):
        expression_of(expression)
