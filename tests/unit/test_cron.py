from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.domain.cron import ALIASES, Cron, check_expression
from aioscheduler.errors import InvalidSchedule

ZONE = ZoneInfo("America/Sao_Paulo")
INSTANTS = st.integers(631_152_000_000, 2_840_140_800_000).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
EXPRESSIONS = st.sampled_from(
    [
        "* * * * *",
        "*/7 * * * *",
        "0 * * * *",
        "15 */5 * * *",
        "30 2 * * *",
        "0,30 0,1,2,3 * * *",
        "*/20 0-3 * * *",
        "0 8 * * mon-fri",
        "0 0 1 * *",
        "0 0 1 * 1",
        "0 12 */2 * MON",
        "59 23 31 12 *",
        "0 0 29 2 *",
        "0 0 L * *",
        "0 9 * * FRI#2",
        "5/15 22-23 10-20/3 feb,APR 5-7",
    ]
)
ZONES = st.sampled_from(["UTC", "America/Sao_Paulo", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])


def following(expression: str, after: str, zone: str = "UTC") -> datetime | None:
    return Cron(expression=expression, zone=ZoneInfo(zone)).next_after(datetime.fromisoformat(after))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", "2026-11-21T04:58:00Z"),
        ("*/15 * * * *", "2026-11-21T05:00:00Z"),
        ("50/5 * * * *", "2026-11-21T05:50:00Z"),
        ("0 2 * * *", "2026-11-22T02:00:00Z"),
        ("0 8-18/5 * * *", "2026-11-21T08:00:00Z"),
        ("1,58 4 * * *", "2026-11-21T04:58:00Z"),
        ("0 0 * * 0", "2026-11-22T00:00:00Z"),
        ("0 0 * * 7", "2026-11-22T00:00:00Z"),
        ("0 0 * * sun", "2026-11-22T00:00:00Z"),
        ("0 0 * * 1-5", "2026-11-23T00:00:00Z"),
        ("0 0 * jan-MAR Tue", "2027-01-05T00:00:00Z"),
        # Day of month or day of week when both are given, and both when one begins with a star.
        ("0 0 1 * 1", "2026-11-23T00:00:00Z"),
        ("0 0 */10 * 2", "2026-12-01T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 29 2 */7", "2032-02-29T00:00:00Z"),
        ("  0\t2  * * *  ", "2026-11-22T02:00:00Z"),
        ("@hourly", "2026-11-21T05:00:00Z"),
        ("@daily", "2026-11-22T00:00:00Z"),
        ("@Midnight", "2026-11-22T00:00:00Z"),
        (" @weekly ", "2026-11-22T00:00:00Z"),
        ("@monthly", "2026-12-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("@annually", "2027-01-01T00:00:00Z"),
    ],
)
def test_an_expression_fires_when_it_says(expression: str, expected: str) -> None:
    check_expression(expression, ZONE)
    assert following(expression, "2026-11-21T04:57:03.250Z") == datetime.fromisoformat(expected)


def test_the_fire_time_is_local_and_told_in_utc() -> None:
    at = following("0 8 * * 1-5", "2026-11-20T22:00:00Z", "America/Sao_Paulo")
    assert at == datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert at is not None
    assert at.tzinfo is UTC


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "must have five fields, .*; this has 0"),
        ("   ", "this has 0"),
        ("* * * *", "this has 4"),
        ("0 * * * * *", "this has 6"),
        ("x", "this has 1"),
        ("@reboot", '"@reboot" is none of the aliases @yearly, .*@hourly'),
        ("@every 5m", "this has 2"),
        ("*" * 129, "must have at most 128 characters"),
        ("75 * * * *", '"75" is no legal minute: use numbers from 0 to 59'),
        ("0 24 * * *", '"24" is no legal hour: use numbers from 0 to 23'),
        ("0 0 0 * *", '"0" is no legal day of month: use numbers from 1 to 31'),
        ("0 0 * 13 *", '"13" is no legal month: use numbers from 1 to 12'),
        ("0 0 * * 8", '"8" is no legal day of week: use numbers from 0 to 7'),
        ("5,61,7 * * * *", '"61" is no legal minute'),
        ("1,,2 * * * *", '"" is no legal minute'),
        ("*/0 * * * *", '"\\*/0" is no legal minute'),
        ("30-10 * * * *", '"30-10" is no legal minute'),
        ("-1 * * * *", '"-1" is no legal minute'),
        ("1.5 * * * *", '"1.5" is no legal minute'),
        ("* * ? * *", '"\\?" is no legal day of month'),
        ("* * * fbr *", '"fbr" is no legal month'),
        ("* * * * frı", '"frı" is no legal day of week'),
        ("٣ * * * *", '"٣" is no legal minute'),
        ("0 0 30 2 *", "is never due"),
        ("0 0 31 2,4,6,9,11 *", "is never due"),
        ("0 0 */40 * MON#5", "is never due"),
        ("0 0 LW * */6", "is never due"),
    ],
)
def test_an_expression_that_is_none_is_refused_with_its_reason(expression: str, reason: str) -> None:
    with pytest.raises(InvalidSchedule, match=reason) as caught:
        check_expression(expression, ZONE, "job.schedule")
    assert list(caught.value.errors) == ["job.schedule"]
    assert caught.value.error_code == "INVALID_CRON_EXPRESSION"


def test_what_only_falls_into_gaps_is_never_due() -> None:
    check_expression("*/30 2 * 3 SUN#2", ZoneInfo("UTC"))
    with pytest.raises(InvalidSchedule, match="is never due"):
        check_expression("*/30 2 * 3 SUN#2", ZoneInfo("America/New_York"))


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 */40 * MON#5",
        "0 0 LW * */6",
        "*/30 2 * 3 SUN#2",
        "0 0 29 2 */7",
        ",".join("*" * 59) + " * * * *",
        "*/" + "9" * 110 + " * * * *",
        "@" * 128,
        "9" * 128,
        "*" * 1_000_000,
    ],
)
def test_a_hostile_expression_costs_little(expression: str) -> None:
    begin = time.process_time()
    with suppress(InvalidSchedule):
        check_expression(expression, ZoneInfo("America/Toronto"))
    assert time.process_time() - begin < 2


def test_a_day_that_no_month_has_is_found_without_searching_the_years(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.domain.cron._next_wall", None)
    for expression in ("0 0 */40 * MON#5", "0 0 LW * */6", "0 0 */40 2 SUN#5"):
        with pytest.raises(InvalidSchedule, match="is never due"):
            check_expression(expression, ZONE)


def test_the_end_of_the_calendar_is_no_error() -> None:
    assert following("0 0 1 1 *", "9999-06-01T00:00:00Z") is None
    assert following("* * * * *", "9999-12-31T23:59:59Z", "America/Sao_Paulo") is None
    assert following("*/5 0 29 2 *", "9997-01-01T00:00:00Z", "Asia/Kolkata") is None
    assert following("* * * * *", "9999-12-31T23:59:59Z", "Asia/Kolkata") is None


def test_a_cron_that_is_never_due_has_no_fire_time() -> None:
    assert following("0 0 */40 * MON#5", "2026-01-01T00:00:00Z") is None
    assert following("*/30 2 * 3 SUN#2", "2026-01-01T00:00:00Z", "America/New_York") is None


@given(expression=EXPRESSIONS, zone=ZONES, after=INSTANTS)
def test_the_answer_is_later_the_same_each_time_and_the_first(expression: str, zone: str, after: datetime) -> None:
    cron = Cron(expression=expression, zone=ZoneInfo(zone))
    at = cron.next_after(after)
    assert at is not None
    assert at > after
    # The same question in other words: nothing is remembered of this one.
    assert cron.next_after(after.astimezone(ZoneInfo("Asia/Tokyo"))) == cron.next_after(after) == at
    assert cron.next_after(at - timedelta(microseconds=1)) == at
    assert cron.next_after(after + (at - after) / 2) == at


@given(expression=EXPRESSIONS, zone=ZONES, one=INSTANTS, other=INSTANTS)
def test_a_later_question_never_has_an_earlier_answer(
    expression: str, zone: str, one: datetime, other: datetime
) -> None:
    cron = Cron(expression=expression, zone=ZoneInfo(zone))
    early, late = cron.next_after(min(one, other)), cron.next_after(max(one, other))
    assert early is not None
    assert late is not None
    assert early <= late


@given(expression=EXPRESSIONS, after=INSTANTS)
def test_where_clocks_are_never_changed_it_is_what_cronsim_says(expression: str, after: datetime) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    expected = next(CronSim(expression, after.astimezone(zone).replace(tzinfo=None)))
    assert following(expression, after.isoformat(), "Asia/Kolkata") == expected.replace(tzinfo=zone)


def test_every_alias_is_a_legal_expression() -> None:
    for alias, expression in ALIASES.items():
        check_expression(alias, ZONE)
        assert following(alias, "2026-11-21T04:57:03Z") == following(expression, "2026-11-21T04:57:03Z")
