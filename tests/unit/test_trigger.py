from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.domain.cron import Cron
from aioscheduler.domain.trigger import (
    Daily,
    Interval,
    Schedule,
    ScheduleType,
    Trigger,
    Weekly,
    check_cron,
    check_schedule,
    check_timezone,
    trigger_of,
)
from aioscheduler.errors import InvalidInput, InvalidSchedule

CREATED = datetime(2026, 11, 21, 4, 57, 3, 250_000, tzinfo=UTC)
SAO_PAULO = "America/Sao_Paulo"
INSTANTS = st.integers(631_152_000_000, 2_840_140_800_000).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
#: In none of these a gap ends on another day than it begins.
ZONES = st.sampled_from(
    ["UTC", SAO_PAULO, "America/New_York", "Europe/Paris", "Australia/Lord_Howe", "Africa/Casablanca"]
)
TIMES = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
DAYS = st.sets(st.integers(0, 6), min_size=1).map(frozenset)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def trigger(type_: str, config: Mapping[str, object]) -> Trigger:
    return trigger_of(check_schedule(type_, config, "UTC"), CREATED)


def fires(asked: Trigger, after: datetime) -> Iterator[datetime]:
    while (fired := asked.next_after(after)) is not None:
        yield fired
        after = fired


def refusal(type_: object, config: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        check_schedule(type_, config, "UTC")
    return caught.value


# -- triggers


def test_daily_fires_at_its_local_time_and_not_at_the_instant_asked_from() -> None:
    daily = trigger("daily", {"hour": 8, "minute": 30, "second": 5, "timezone": SAO_PAULO})
    assert daily.next_after(at("2026-11-21T11:30:04.999Z")) == at("2026-11-21T11:30:05Z")
    assert daily.next_after(at("2026-11-21T11:30:05Z")) == at("2026-11-22T11:30:05Z")


def test_weekly_fires_on_its_days_only() -> None:
    weekly = trigger("weekly", {"hour": 14, "minute": 30, "day_of_week": "mon,wed,fri"})
    assert weekly.next_after(at("2026-11-21T00:00:00Z")) == at("2026-11-23T14:30:00Z")
    assert weekly.next_after(at("2026-11-23T14:30:00Z")) == at("2026-11-25T14:30:00Z")
    assert weekly.next_after(at("2026-11-27T14:30:00Z")) == at("2026-11-30T14:30:00Z")


def test_an_interval_is_counted_from_its_anchor() -> None:
    interval = trigger("interval", {"hours": 2, "minutes": 0})
    assert interval.next_after(CREATED) == CREATED + timedelta(hours=2)
    assert interval.next_after(CREATED + timedelta(hours=5)) == CREATED + timedelta(hours=6)
    assert interval.next_after(CREATED + timedelta(hours=6)) == CREATED + timedelta(hours=8)


def test_an_interval_never_fires_before_its_first_period_is_over() -> None:
    interval = trigger("interval", {"seconds": 1})
    for days in (0, 1, 400):
        assert interval.next_after(CREATED - timedelta(days=days)) == CREATED + timedelta(seconds=1)


def test_an_interval_is_the_same_when_its_job_is_read_again() -> None:
    schedule = check_schedule("interval", {"seconds": 7}, "UTC")
    created, stored = CREATED + timedelta(microseconds=1), CREATED + timedelta(milliseconds=1)
    assert trigger_of(schedule, created) == trigger_of(schedule, stored)
    assert trigger_of(schedule, CREATED) != trigger_of(schedule, stored)


def test_the_end_of_the_calendar_is_no_error() -> None:
    end = at("9999-12-31T23:59:59Z")
    for type_, config in (("daily", {"hour": 0}), ("weekly", {"hour": 0, "day_of_week": "mon"})):
        assert trigger(type_, config).next_after(end) is None
        assert trigger(type_, config | {"timezone": "Asia/Kolkata"}).next_after(end) is None
    assert trigger("interval", {"weeks": 1}).next_after(end) is None


@given(zone=ZONES, times=TIMES, days=DAYS, after=INSTANTS)
def test_the_answer_of_daily_and_weekly_is_the_first_later_and_the_same_each_time(
    zone: str, times: tuple[int, int, int], days: frozenset[int], after: datetime
) -> None:
    hour, minute, second = times
    for asked in (
        Daily(hour=hour, minute=minute, second=second, zone=ZoneInfo(zone)),
        Weekly(days=days, hour=hour, minute=minute, second=second, zone=ZoneInfo(zone)),
    ):
        found = asked.next_after(after)
        assert found is not None
        assert after < found <= after + timedelta(days=9)
        assert asked.next_after(after.astimezone(ZoneInfo("Asia/Tokyo"))) == asked.next_after(after) == found
        assert asked.next_after(found - timedelta(microseconds=1)) == found
        assert asked.next_after(after + (found - after) / 2) == found


@given(zone=ZONES, times=TIMES, after=INSTANTS)
def test_daily_never_skips_a_day_and_never_has_two(zone: str, times: tuple[int, int, int], after: datetime) -> None:
    hour, minute, second = times
    daily = Daily(hour=hour, minute=minute, second=second, zone=ZoneInfo(zone))
    found = [fired.astimezone(ZoneInfo(zone)).date() for fired in islice(fires(daily, after), 400)]
    assert found == [found[0] + timedelta(days=count) for count in range(400)]


@given(zone=ZONES, times=TIMES, days=DAYS, after=INSTANTS)
def test_weekly_is_daily_on_its_days(
    zone: str, times: tuple[int, int, int], days: frozenset[int], after: datetime
) -> None:
    hour, minute, second = times
    daily = Daily(hour=hour, minute=minute, second=second, zone=ZoneInfo(zone))
    weekly = Weekly(days=days, hour=hour, minute=minute, second=second, zone=ZoneInfo(zone))
    expected = (fired for fired in fires(daily, after) if fired.astimezone(ZoneInfo(zone)).weekday() in days)
    assert list(islice(fires(weekly, after), 60)) == list(islice(expected, 60))


@given(
    period=st.integers(1, 50 * 365 * 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    anchor=INSTANTS,
    count=st.integers(1, 10),
    ms=st.integers(0, 999),
)
def test_an_interval_never_drifts(period: timedelta, anchor: datetime, count: int, ms: int) -> None:
    interval = Interval(period=period, anchor=anchor)
    assert interval.next_after(anchor + period * count - timedelta(milliseconds=1)) == anchor + period * count
    assert interval.next_after(anchor + period * count + timedelta(milliseconds=ms)) == anchor + period * (count + 1)


# -- schedules of bot jobs


def test_a_config_becomes_its_trigger_and_is_kept_as_given() -> None:
    utc = ZoneInfo("UTC")
    for type_, config, expected in (
        ("daily", {"hour": 8, "minute": 0}, Daily(hour=8, minute=0, zone=utc)),
        ("daily", {"hour": 8.0}, Daily(hour=8, minute=0, zone=utc)),
        ("daily", {"hour": 23, "minute": 59, "second": 59}, Daily(hour=23, minute=59, second=59, zone=utc)),
        (
            "weekly",
            {"hour": 14, "minute": 30, "day_of_week": "mon,wed,fri"},
            Weekly(days=frozenset({0, 2, 4}), hour=14, minute=30, zone=utc),
        ),
        ("interval", {"hours": 2, "minutes": 0}, Interval(period=timedelta(hours=2), anchor=CREATED)),
        (
            "interval",
            {"weeks": 1, "days": 2, "hours": 3, "minutes": 4, "seconds": 5},
            Interval(period=timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5), anchor=CREATED),
        ),
        ("cron", {"cron_expression": "0 8-18 * * 1-5"}, Cron(expression="0 8-18 * * 1-5", zone=utc)),
        ("cron", {"cron_expression": "@daily", "unknown": [1]}, Cron(expression="@daily", zone=utc)),
    ):
        schedule = check_schedule(type_, config, "UTC")
        assert schedule == Schedule(type=ScheduleType(type_), config=config, timezone="UTC")
        assert trigger_of(schedule, CREATED) == expected


def test_the_configs_time_zone_goes_before_the_default() -> None:
    assert check_schedule("daily", {"hour": 8}, SAO_PAULO).timezone == SAO_PAULO
    schedule = check_schedule("daily", {"hour": 8, "timezone": "Europe/Paris"}, SAO_PAULO)
    assert schedule.timezone == "Europe/Paris"
    assert trigger_of(schedule, CREATED) == Daily(hour=8, minute=0, zone=ZoneInfo("Europe/Paris"))


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon", {0}),
        ("mon,wed,fri", {0, 2, 4}),
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("fri-mon", {4, 5, 6, 0}),
        ("SAT, Sun", {5, 6}),
        ("mon - tue , sun", {0, 1, 6}),
        ("sun-sat", {0, 1, 2, 3, 4, 5, 6}),
        ("wed-wed", {2}),
        ("mon,mon", {0}),
    ],
)
def test_days_of_the_week_are_names_and_ranges(text: str, days: set[int]) -> None:
    weekly = trigger("weekly", {"hour": 0, "day_of_week": text})
    assert isinstance(weekly, Weekly)
    assert weekly.days == days


HUGE = 10**30
BAD_MEMBERS: list[tuple[str, dict[str, Any], str, list[object]]] = [
    ("daily", {"hour": 8}, "hour", [24, -1, "8", 8.5, True, None, [], HUGE, float("inf"), float("nan")]),
    ("daily", {"hour": 8}, "minute", [60, -1, "5", 0.5, False, None]),
    ("daily", {"hour": 8}, "second", [60, -1, "5", 0.5, True, None, 1e300]),
    ("weekly", {"hour": 8, "day_of_week": "mon"}, "hour", [24, "8", None]),
    ("weekly", {"hour": 8, "day_of_week": "mon"}, "minute", [60, "5"]),
    (
        "weekly",
        {"hour": 8},
        "day_of_week",
        [
            None,
            1,
            True,
            ["mon"],
            "",
            "monday",
            "1-5",
            "mon;tue",
            "mon,",
            "mon-",
            "mon-fri-sun",
            "*",
            "mon," * 99 + "mon",
        ],
    ),
    ("interval", {"hours": 1}, "hours", [-1, "2", 1.5, True, None, HUGE]),
    ("interval", {"hours": 1}, "weeks", [-1, "2", 2608, HUGE]),
    ("interval", {"hours": 1}, "seconds", [-1, "2", False, 1e300]),
    ("cron", {}, "cron_expression", [None, 5, ["* * * * *"], "", "* * * * * *", "@reboot", "0 0 30 2 *"]),
    ("daily", {"hour": 8}, "timezone", [None, 3, "", "Nowhere/Else", "../etc/passwd"]),
]


@pytest.mark.parametrize(
    ("type_", "config", "member", "value"),
    [(*case[:3], value) for case in BAD_MEMBERS for value in case[3]],
)
def test_a_bad_member_is_refused_by_its_dotted_name(
    type_: str, config: dict[str, object], member: str, value: object
) -> None:
    error = refusal(type_, {**config, member: value})
    assert list(error.errors) == [f"schedule_config.{member}"]
    assert len(error.errors[f"schedule_config.{member}"]) == 1


@pytest.mark.parametrize(
    ("type_", "config", "missing"),
    [
        ("daily", {}, ["hour"]),
        ("daily", {"minute": 3}, ["hour"]),
        ("weekly", {}, ["hour", "day_of_week"]),
        ("cron", {"expression": "* * * * *"}, ["cron_expression"]),
    ],
)
def test_a_member_that_has_to_be_there_is_told_to_be_missing(
    type_: str, config: dict[str, object], missing: list[str]
) -> None:
    errors = refusal(type_, config).errors
    assert {name: list(map(str, reasons)) for name, reasons in errors.items()} == {
        f"schedule_config.{member}": ["is missing"] for member in missing
    }


@pytest.mark.parametrize(
    "config", [{}, {"hours": 0}, {"hour": 8}, {"days": 18_250, "seconds": 1}, {"weeks": 2607, "days": 2}]
)
def test_an_interval_is_at_least_a_second_and_at_most_fifty_years(config: dict[str, object]) -> None:
    error = refusal("interval", config)
    assert str(error) == "schedule_config: must come to at least one second and at most 50 years in all"
    assert trigger("interval", {"seconds": 1}).next_after(CREATED) == CREATED + timedelta(seconds=1)
    assert trigger("interval", {"days": 18_250}).next_after(CREATED) == CREATED + timedelta(days=18_250)


def test_everything_wrong_is_told_at_once() -> None:
    errors = refusal("weekly", {"hour": "8", "minute": 99, "second": -1, "day_of_week": "x", "timezone": "x"}).errors
    assert sorted(errors) == [
        f"schedule_config.{member}" for member in ("day_of_week", "hour", "minute", "second", "timezone")
    ]
    assert sorted(refusal("hourly", None).errors) == ["schedule_config", "schedule_type"]
    assert sorted(refusal(None, {"timezone": 1}).errors) == ["schedule_config.timezone", "schedule_type"]
    assert isinstance(refusal("cron", {"cron_expression": "x", "timezone": "x"}), InvalidSchedule)


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (None, "is missing"),
        ("hourly", "must be one of cron, daily, weekly, interval"),
        ("Daily", "must be one of"),
        (1, "must be one of"),
        ([], "must be one of"),
        ({}, "must be one of"),
    ],
)
def test_an_unknown_type_is_refused(type_: object, reason: str) -> None:
    assert str(refusal(type_, {"hour": 8})).startswith(f"schedule_type: {reason}")


@pytest.mark.parametrize("config", [[], "x", 3, True])
def test_a_config_that_is_no_object_is_refused(config: object) -> None:
    assert str(refusal("daily", config)) == "schedule_config: must be an object"


# -- time zones and the schedules of account jobs


@pytest.mark.parametrize("name", ["UTC", "America/Sao_Paulo", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_a_time_zone_is_one_of_the_iana_names(name: str) -> None:
    assert check_timezone(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "utc", "america/sao_paulo", "../etc/passwd", "/usr/share/zoneinfo/UTC", "America", "posix/UTC", "right/UTC",
     "localtime", "UTC\x00", "UTC ", "+03:00", "x" * 100_000, "é"],
)  # fmt: skip
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^zone: must be an IANA time zone, such as UTC or America/Sao_Paulo$"):
        check_timezone(name, "zone")


@pytest.mark.parametrize("value", [None, 3, True, ["UTC"]])
def test_a_time_zone_that_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^timezone: must be a string$"):
        check_timezone(value)


def test_an_expression_and_a_time_zone_are_a_schedule() -> None:
    schedule = check_cron("@hourly", SAO_PAULO)
    assert schedule == Schedule(type=ScheduleType.CRON, config={"cron_expression": "@hourly"}, timezone=SAO_PAULO)
    assert trigger_of(schedule, CREATED) == Cron(expression="@hourly", zone=ZoneInfo(SAO_PAULO))


@pytest.mark.parametrize(
    ("expression", "timezone", "code", "errors"),
    [
        (None, "UTC", "VALIDATION_ERROR", {"schedule": "is missing"}),
        (5, "UTC", "VALIDATION_ERROR", {"schedule": "must be a string"}),
        ("", "UTC", "INVALID_CRON_EXPRESSION", {"schedule": "must have five fields"}),
        ("0 0 30 2 *", "UTC", "INVALID_CRON_EXPRESSION", {"schedule": "is never due"}),
        ("@daily", "x", "VALIDATION_ERROR", {"timezone": "must be an IANA time zone"}),
        ("@daily", None, "VALIDATION_ERROR", {"timezone": "must be a string"}),
        ("x", "x", "INVALID_CRON_EXPRESSION", {"schedule": "must have", "timezone": "must be an"}),
        (None, "x", "VALIDATION_ERROR", {"schedule": "is missing", "timezone": "must be an"}),
    ],
)
def test_an_illegal_expression_has_a_code_of_its_own(
    expression: object, timezone: object, code: str, errors: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_cron(expression, timezone)
    assert caught.value.error_code == code
    assert caught.value.errors.keys() == errors.keys()
    for name, reason in errors.items():
        assert str(caught.value.errors[name][0]).startswith(reason)
