"""Daylight saving: numbered cases, spring and autumn, and every change against the plain definition."""

# ruff: noqa: E501 - a table is read by its rows

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.domain.cron import Cron
from aioscheduler.domain.trigger import Daily, Interval, Trigger, Weekly

NEW_YORK, PARIS = ZoneInfo("America/New_York"), ZoneInfo("Europe/Paris")
SAO_PAULO, LORD_HOWE = ZoneInfo("America/Sao_Paulo"), ZoneInfo("Australia/Lord_Howe")
MINUTE = timedelta(minutes=1)


def fires(trigger: Trigger, after: str, until: str) -> list[datetime]:
    """Return the fire times later than one instant, and not later than another."""
    found: list[datetime] = []
    at = trigger.next_after(datetime.fromisoformat(after))
    while at is not None and at <= datetime.fromisoformat(until):
        found.append(at)
        at = trigger.next_after(at)
    return found


def cron(expression: str, zone: ZoneInfo) -> Cron:
    return Cron(expression=expression, zone=zone)


def daily(time: str, zone: ZoneInfo) -> Daily:
    hour, minute = time.split(":")
    return Daily(hour=int(hour), minute=int(minute), zone=zone)


def sundays(time: str, zone: ZoneInfo) -> Weekly:
    hour, minute = time.split(":")
    return Weekly(days=frozenset({6}), hour=int(hour), minute=int(minute), zone=zone)


def every(minutes: int, anchor: str) -> Interval:
    return Interval(period=timedelta(minutes=minutes), anchor=datetime.fromisoformat(anchor).astimezone(UTC))


#: Number, trigger, the span looked at (open at its begin), and all fire times in it, with the offset clocks show then.
CASES: list[tuple[int, Trigger, str, str, list[str]]] = [
    # New York, spring: 2026-03-08 02:00-05:00 becomes 03:00-04:00
    (1, daily("02:30", NEW_YORK), "2026-03-07T12:00-05:00", "2026-03-09T12:00-04:00", ["03-08T03:00-04:00", "03-09T02:30-04:00"]),
    (2, sundays("02:30", NEW_YORK), "2026-03-07T12:00-05:00", "2026-03-15T12:00-04:00", ["03-08T03:00-04:00", "03-15T02:30-04:00"]),
    (3, cron("30 2 * * *", NEW_YORK), "2026-03-07T12:00-05:00", "2026-03-09T12:00-04:00", ["03-08T03:00-04:00", "03-09T02:30-04:00"]),
    (4, cron("0,30 2 * * *", NEW_YORK), "2026-03-07T12:00-05:00", "2026-03-08T12:00-04:00", ["03-08T03:00-04:00"]),
    (5, cron("30 2,3 * * *", NEW_YORK), "2026-03-07T12:00-05:00", "2026-03-08T12:00-04:00", ["03-08T03:00-04:00", "03-08T03:30-04:00"]),
    (6, cron("0 2,3 * * *", NEW_YORK), "2026-03-07T12:00-05:00", "2026-03-08T12:00-04:00", ["03-08T03:00-04:00"]),
    (7, cron("30 * * * *", NEW_YORK), "2026-03-08T01:00-05:00", "2026-03-08T04:00-04:00", ["03-08T01:30-05:00", "03-08T03:30-04:00"]),
    (8, cron("*/30 2 * * *", NEW_YORK), "2026-03-07T12:00-05:00", "2026-03-09T02:00-04:00", ["03-09T02:00-04:00"]),
    (9, every(60, "2026-03-08T00:30-05:00"), "2026-03-08T01:00-05:00", "2026-03-08T04:00-04:00", ["03-08T01:30-05:00", "03-08T03:30-04:00"]),
    # New York, autumn: 2026-11-01 02:00-04:00 becomes 01:00-05:00
    (10, daily("01:30", NEW_YORK), "2026-10-31T12:00-04:00", "2026-11-02T12:00-05:00", ["11-01T01:30-04:00", "11-02T01:30-05:00"]),
    (11, sundays("01:30", NEW_YORK), "2026-10-31T12:00-04:00", "2026-11-08T12:00-05:00", ["11-01T01:30-04:00", "11-08T01:30-05:00"]),
    (12, cron("30 1 * * *", NEW_YORK), "2026-10-31T12:00-04:00", "2026-11-02T12:00-05:00", ["11-01T01:30-04:00", "11-02T01:30-05:00"]),
    (13, cron("30 1 * * *", NEW_YORK), "2026-11-01T01:10-05:00", "2026-11-02T12:00-05:00", ["11-02T01:30-05:00"]),
    (14, daily("01:30", NEW_YORK), "2026-11-01T01:10-05:00", "2026-11-02T12:00-05:00", ["11-02T01:30-05:00"]),
    (15, sundays("01:30", NEW_YORK), "2026-11-01T01:10-05:00", "2026-11-08T12:00-05:00", ["11-08T01:30-05:00"]),
    (16, cron("30 * * * *", NEW_YORK), "2026-11-01T01:00-04:00", "2026-11-01T02:00-05:00", ["11-01T01:30-04:00", "11-01T01:30-05:00"]),
    (17, cron("*/30 1 * * *", NEW_YORK), "2026-11-01T00:00-04:00", "2026-11-01T02:00-05:00", ["11-01T01:00-04:00", "11-01T01:30-04:00", "11-01T01:00-05:00", "11-01T01:30-05:00"]),
    (18, every(60, "2026-11-01T00:30-04:00"), "2026-11-01T01:00-04:00", "2026-11-01T02:00-05:00", ["11-01T01:30-04:00", "11-01T01:30-05:00"]),
    # Paris, spring: 2026-03-29 02:00+01:00 becomes 03:00+02:00
    (19, daily("02:00", PARIS), "2026-03-28T12:00+01:00", "2026-03-30T12:00+02:00", ["03-29T03:00+02:00", "03-30T02:00+02:00"]),
    (20, sundays("02:59", PARIS), "2026-03-28T12:00+01:00", "2026-04-05T12:00+02:00", ["03-29T03:00+02:00", "04-05T02:59+02:00"]),
    (21, cron("15 2 * * 0", PARIS), "2026-03-28T12:00+01:00", "2026-04-05T12:00+02:00", ["03-29T03:00+02:00", "04-05T02:15+02:00"]),
    (22, cron("0 * * * *", PARIS), "2026-03-29T01:00+01:00", "2026-03-29T05:00+02:00", ["03-29T03:00+02:00", "03-29T04:00+02:00", "03-29T05:00+02:00"]),
    (23, cron("*/20 * * * *", PARIS), "2026-03-29T01:30+01:00", "2026-03-29T03:20+02:00", ["03-29T01:40+01:00", "03-29T03:00+02:00", "03-29T03:20+02:00"]),
    (24, every(90, "2026-03-29T00:00+01:00"), "2026-03-29T00:00+01:00", "2026-03-29T05:00+02:00", ["03-29T01:30+01:00", "03-29T04:00+02:00"]),
    # Paris, autumn: 2026-10-25 03:00+02:00 becomes 02:00+01:00
    (25, daily("02:00", PARIS), "2026-10-24T12:00+02:00", "2026-10-26T12:00+01:00", ["10-25T02:00+02:00", "10-26T02:00+01:00"]),
    (26, daily("03:00", PARIS), "2026-10-24T12:00+02:00", "2026-10-26T02:00+01:00", ["10-25T03:00+01:00"]),
    (27, sundays("02:30", PARIS), "2026-10-24T12:00+02:00", "2026-11-01T12:00+01:00", ["10-25T02:30+02:00", "11-01T02:30+01:00"]),
    (28, cron("30 2 * * *", PARIS), "2026-10-24T12:00+02:00", "2026-10-26T12:00+01:00", ["10-25T02:30+02:00", "10-26T02:30+01:00"]),
    (29, cron("0 * * * *", PARIS), "2026-10-25T01:30+02:00", "2026-10-25T03:00+01:00", ["10-25T02:00+02:00", "10-25T02:00+01:00", "10-25T03:00+01:00"]),
    (30, cron("*/30 * * * *", PARIS), "2026-10-25T02:10+02:00", "2026-10-25T02:30+01:00", ["10-25T02:30+02:00", "10-25T02:00+01:00", "10-25T02:30+01:00"]),
    (31, every(90, "2026-10-25T00:00+02:00"), "2026-10-25T00:00+02:00", "2026-10-25T03:30+01:00", ["10-25T01:30+02:00", "10-25T02:00+01:00", "10-25T03:30+01:00"]),
    # São Paulo, spring: 2018-11-04 00:00-03:00 becomes 01:00-02:00
    (32, daily("00:00", SAO_PAULO), "2018-11-03T12:00-03:00", "2018-11-05T12:00-02:00", ["11-04T01:00-02:00", "11-05T00:00-02:00"]),
    (33, sundays("00:30", SAO_PAULO), "2018-11-03T12:00-03:00", "2018-11-11T12:00-02:00", ["11-04T01:00-02:00", "11-11T00:30-02:00"]),
    (34, cron("@daily", SAO_PAULO), "2018-11-03T12:00-03:00", "2018-11-05T12:00-02:00", ["11-04T01:00-02:00", "11-05T00:00-02:00"]),
    (35, cron("0 * * * SUN", SAO_PAULO), "2018-10-30T12:00-03:00", "2018-11-04T03:00-02:00", ["11-04T01:00-02:00", "11-04T02:00-02:00", "11-04T03:00-02:00"]),
    (36, cron("*/30 1 * * SUN", SAO_PAULO), "2018-10-30T12:00-03:00", "2018-11-04T03:00-02:00", ["11-04T01:00-02:00", "11-04T01:30-02:00"]),
    (37, cron("*/30 0 * * SUN", SAO_PAULO), "2018-10-30T12:00-03:00", "2018-11-11T00:00-02:00", ["11-11T00:00-02:00"]),
    (38, every(60, "2018-11-03T22:30-03:00"), "2018-11-03T23:00-03:00", "2018-11-04T02:00-02:00", ["11-03T23:30-03:00", "11-04T01:30-02:00"]),
    # São Paulo, autumn: 2018-02-18 00:00-02:00 becomes 2018-02-17 23:00-03:00
    (39, daily("23:30", SAO_PAULO), "2018-02-17T12:00-02:00", "2018-02-18T23:59-03:00", ["02-17T23:30-02:00", "02-18T23:30-03:00"]),
    (40, daily("00:00", SAO_PAULO), "2018-02-17T12:00-02:00", "2018-02-19T12:00-03:00", ["02-18T00:00-03:00", "02-19T00:00-03:00"]),
    (41, sundays("00:00", SAO_PAULO), "2018-02-17T12:00-02:00", "2018-02-25T12:00-03:00", ["02-18T00:00-03:00", "02-25T00:00-03:00"]),
    (42, cron("30 23 * * 6", SAO_PAULO), "2018-02-17T12:00-02:00", "2018-02-25T12:00-03:00", ["02-17T23:30-02:00", "02-24T23:30-03:00"]),
    (43, cron("0 * * * *", SAO_PAULO), "2018-02-17T22:30-02:00", "2018-02-18T00:00-03:00", ["02-17T23:00-02:00", "02-17T23:00-03:00", "02-18T00:00-03:00"]),
    (44, every(60, "2018-02-17T22:30-02:00"), "2018-02-17T23:00-02:00", "2018-02-18T00:00-03:00", ["02-17T23:30-02:00", "02-17T23:30-03:00"]),
    # Lord Howe, spring: 2026-10-04 02:00+10:30 becomes 02:30+11:00
    (45, daily("02:15", LORD_HOWE), "2026-10-03T12:00+10:30", "2026-10-05T12:00+11:00", ["10-04T02:30+11:00", "10-05T02:15+11:00"]),
    (46, sundays("02:00", LORD_HOWE), "2026-10-03T12:00+10:30", "2026-10-11T12:00+11:00", ["10-04T02:30+11:00", "10-11T02:00+11:00"]),
    (47, cron("15 2 * * *", LORD_HOWE), "2026-10-03T12:00+10:30", "2026-10-05T12:00+11:00", ["10-04T02:30+11:00", "10-05T02:15+11:00"]),
    (48, cron("0 * * * *", LORD_HOWE), "2026-10-04T00:30+10:30", "2026-10-04T04:00+11:00", ["10-04T01:00+10:30", "10-04T03:00+11:00", "10-04T04:00+11:00"]),
    (49, cron("*/15 3 * * *", LORD_HOWE), "2026-10-03T12:00+10:30", "2026-10-04T03:15+11:00", ["10-04T03:00+11:00", "10-04T03:15+11:00"]),
    (50, every(60, "2026-10-04T00:30+10:30"), "2026-10-04T01:00+10:30", "2026-10-04T03:00+11:00", ["10-04T01:30+10:30", "10-04T03:00+11:00"]),
    # Lord Howe, autumn: 2026-04-05 02:00+11:00 becomes 01:30+10:30
    (51, daily("01:45", LORD_HOWE), "2026-04-04T12:00+11:00", "2026-04-06T12:00+10:30", ["04-05T01:45+11:00", "04-06T01:45+10:30"]),
    (52, sundays("01:30", LORD_HOWE), "2026-04-04T12:00+11:00", "2026-04-12T12:00+10:30", ["04-05T01:30+11:00", "04-12T01:30+10:30"]),
    (53, cron("45 1 * * *", LORD_HOWE), "2026-04-05T01:35+10:30", "2026-04-06T12:00+10:30", ["04-06T01:45+10:30"]),
    (54, cron("45 * * * *", LORD_HOWE), "2026-04-05T01:00+11:00", "2026-04-05T03:00+10:30", ["04-05T01:45+11:00", "04-05T01:45+10:30", "04-05T02:45+10:30"]),
    (55, cron("*/15 2 * * *", LORD_HOWE), "2026-04-05T00:00+11:00", "2026-04-05T02:15+10:30", ["04-05T02:00+10:30", "04-05T02:15+10:30"]),
    (56, every(30, "2026-04-05T01:00+11:00"), "2026-04-05T01:00+11:00", "2026-04-05T02:00+10:30", ["04-05T01:30+11:00", "04-05T01:30+10:30", "04-05T02:00+10:30"]),
]  # fmt: skip


@pytest.mark.parametrize(("trigger", "after", "until", "expected"), [case[1:] for case in CASES], ids=str)
def test_a_trigger_keeps_the_rule_on_the_two_odd_days(
    trigger: Trigger, after: str, until: str, expected: list[str]
) -> None:
    found = fires(trigger, after, until)
    assert [at.utcoffset() for at in found] == [timedelta()] * len(found)
    assert found == [datetime.fromisoformat(f"{after[:4]}-{text}") for text in expected]


#: A zone, and a local day around which its clocks are changed; among them a day that never was, a gap that ends at
#: midnight, and a change at 00:01.
CHANGES = [
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Europe/Paris", "2026-03-29"),
    ("Europe/Paris", "2026-10-25"),
    ("America/Sao_Paulo", "2018-11-04"),
    ("America/Sao_Paulo", "2018-02-18"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Pacific/Apia", "2011-12-30"),
    ("America/Nuuk", "2026-03-28"),
    ("America/Nuuk", "2026-10-24"),
    ("America/St_Johns", "2010-03-14"),
    ("America/St_Johns", "2010-11-07"),
    ("Africa/Casablanca", "2026-02-15"),
    ("UTC", "2026-03-29"),
]


@st.composite
def crons(draw: st.DrawFn) -> tuple[str, set[int], set[int], set[int], bool]:
    """Draw an expression with its minutes, hours and days of the week (Sunday is 0), and whether it is fixed."""
    parts: list[str] = []
    values: list[set[int]] = []
    starred: list[bool] = []
    for size in (60, 24):
        step = draw(st.sampled_from([1, 5, 7, 15, 20, 30]))
        exact = draw(st.lists(st.integers(0, min(size, 30 if size == 60 else 5) - 1), min_size=1, max_size=3))
        star = draw(st.booleans())
        parts.append(f"*/{step}" if star else ",".join(map(str, exact)))
        values.append(set(range(0, size, step)) if star else set(exact))
        starred.append(star)
    days = draw(st.just(set(range(7))) | st.sets(st.integers(0, 6), min_size=1))
    expression = f"{parts[0]} {parts[1]} * * {','.join(map(str, sorted(days)))}"
    return expression, values[0], values[1], days, not any(starred)


@given(drawn=crons(), change=st.sampled_from(CHANGES), skip=st.integers(0, 3600 * 60))
def test_cron_fires_exactly_as_the_rule_defines_around_every_change(
    drawn: tuple[str, set[int], set[int], set[int], bool], change: tuple[str, str], skip: int
) -> None:
    expression, minutes, hours, days, fixed = drawn
    zone, middle = ZoneInfo(change[0]), datetime.fromisoformat(change[1]).replace(tzinfo=UTC)
    begin = middle - timedelta(days=2)
    real = [begin + MINUTE * count for count in range(4 * 1440)]
    walls = [at.astimezone(zone).replace(tzinfo=None) for at in real]

    def wanted(wall: datetime) -> bool:
        return wall.minute in minutes and wall.hour in hours and (wall.weekday() + 1) % 7 in days

    expected: list[datetime] = []
    if fixed:
        wall, position = walls[0], 0
        while True:
            # The first instant whose clocks show this or more: in an overlap the first pass, in a gap its end.
            while position < len(walls) and walls[position] < wall:
                position += 1
            if position == len(walls):
                break
            if wanted(wall) and real[position] not in expected[-1:]:
                expected.append(real[position])
            wall += MINUTE
    else:
        expected = [at for at, wall in zip(real, walls, strict=True) if wanted(wall)]
    after = begin + timedelta(days=1) + timedelta(seconds=skip % 86_400)
    until = real[-1] - timedelta(hours=3)
    trigger = Cron(expression=expression, zone=zone)
    assert fires(trigger, after.isoformat(), until.isoformat()) == [at for at in expected if after < at <= until]


@pytest.mark.parametrize(("zone", "day"), CHANGES)
@pytest.mark.parametrize("time", ["00:00", "00:30", "01:45", "02:00", "02:15", "03:00", "23:30", "23:59"])
def test_daily_and_cron_agree_around_every_change(zone: str, day: str, time: str) -> None:
    middle = datetime.fromisoformat(day).replace(tzinfo=UTC)
    after, until = middle - timedelta(days=3), middle + timedelta(days=3)
    hour, minute = time.split(":")
    by_cron = fires(cron(f"{minute} {hour} * * *", ZoneInfo(zone)), after.isoformat(), until.isoformat())
    assert fires(daily(time, ZoneInfo(zone)), after.isoformat(), until.isoformat()) == by_cron
    assert by_cron


def test_a_second_that_is_skipped_runs_right_after_the_gap() -> None:
    trigger = Daily(hour=2, minute=30, second=15, zone=NEW_YORK)
    assert fires(trigger, "2026-03-08T00:00-05:00", "2026-03-08T12:00-04:00") == [
        datetime.fromisoformat("2026-03-08T03:00:00-04:00")
    ]
