from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioscheduler.clock import from_ms, to_ms, whole_ms
from aioscheduler.domain.instant import (
    MAX_DELAY_SECONDS,
    in_zone,
    local_texts,
    parse_delay,
    parse_instant,
    rfc3339_ms,
    with_offset,
)
from aioscheduler.errors import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 4, 15, 2, 41, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-15T02:41:45Z",
        "2026-04-15t02:41:45z",
        "2026-04-15 02:41:45Z",
        "2026-04-15T02:41:45",
        "2026-04-15T02:41:45+00:00",
        "2026-04-15T02:41:45-00:00",
        "2026-04-15T02:41:45.000Z",
        "2026-04-15T04:41:45+02:00",
        "2026-04-15T04:41:45+0200",
        "2026-04-15T04:41:45+02",
        "2026-04-14T23:41:45-03:00",
        "2026-04-15T02:41:45 Z",
    ],
)
def test_one_instant_in_every_legal_form(text: str) -> None:
    assert parse_instant(text, UTC) == AT


@pytest.mark.parametrize(
    ("fraction", "ms"),
    [("0", 0), ("25", 250), ("250", 250), ("000001", 1), ("2500001", 251), ("999999", 1000), ("999000000", 999)],
)
def test_fractions_round_up_to_the_millisecond(fraction: str, ms: int) -> None:
    assert parse_instant(f"2026-04-15T02:41:45.{fraction}Z", UTC) == AT + timedelta(milliseconds=ms)
    assert parse_instant(f"2026-04-15T02:41:45,{fraction}Z", UTC) == AT + timedelta(milliseconds=ms)


def test_seconds_may_be_left_out() -> None:
    assert parse_instant("2026-04-15T02:41Z", UTC) == AT.replace(second=0)


def test_without_an_offset_the_text_is_local_time() -> None:
    assert parse_instant("2026-04-15T04:41:45", BERLIN) == AT
    assert parse_instant("2026-01-15T04:41:45", BERLIN) == datetime(2026, 1, 15, 3, 41, 45, tzinfo=UTC)


def test_1_spring_a_skipped_local_time_counts_with_the_offset_before_the_change() -> None:
    assert parse_instant("2026-03-29T02:30:00", BERLIN) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_2_autumn_a_repeated_local_time_is_the_first_of_the_two() -> None:
    assert parse_instant("2026-10-25T02:30:00", BERLIN) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        None,
        5,
        1776220905,
        True,
        [],
        "",
        "now",
        "tomorrow",
        "2026-04-15",
        "2026-04-15T",
        "2026-4-15T02:41:45Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-04-15T24:00:00Z",
        "2026-04-15T02:60:00Z",
        "2026-04-15T02:41:60Z",
        "2026-04-15T02:41:45+25:00",
        "2026-04-15T02:41:45.Z",
        "2026-04-15T02:41:45.1234567890Z",
        "2026-04-15T02:41:45 UTC",
        "2026-04-15T02:41:45ZZ",
        " 2026-04-15T02:41:45Z",
        "2026-04-15T02:41:45Z\n",
        "٢٠٢٦-04-15T02:41:45Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        "9999-12-31T23:59:59.9999Z",
    ],
)
def test_anything_else_is_refused_with_the_field_named(text: object) -> None:
    with pytest.raises(InvalidInput, match=r"^when: ") as caught:
        parse_instant(text, UTC, "when")
    assert list(caught.value.errors) == ["when"]


INSTANTS = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis wants it naive
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(instant=INSTANTS)
def test_an_instant_never_becomes_earlier_and_less_than_a_millisecond_later(instant: datetime) -> None:
    parsed = parse_instant(instant.isoformat(), UTC)
    assert timedelta() <= parsed - instant < timedelta(milliseconds=1)
    assert parsed.microsecond % 1000 == 0


@given(instant=INSTANTS)
def test_what_we_write_is_what_we_read(instant: datetime) -> None:
    kept = from_ms(to_ms(instant))
    assert parse_instant(rfc3339_ms(kept), BERLIN) == kept
    assert parse_instant(with_offset(kept, BERLIN), UTC) == kept
    assert timedelta() <= kept - instant < timedelta(milliseconds=1)


@given(text=st.text())
def test_no_text_gives_another_error(text: str) -> None:
    for parse in (lambda: parse_instant(text, BERLIN), lambda: parse_delay(text)):
        try:
            parse()
        except InvalidInput:
            continue


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("7d", 604_800),
        ("1w", 604_800),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("2 H", 7200),
        (" 5s ", 5),
        ("PT90S", 90),
        ("PT1H30M", 5400),
        ("P1DT12H", 129_600),
        ("P2W", 1_209_600),
        ("PT0.5S", 0.5),
        ("pt0,5s", 0.5),
        (0, 0),
        (5, 5),
        (1.25, 1.25),
        ("0s", 0),
        (MAX_DELAY_SECONDS, MAX_DELAY_SECONDS),
    ],
)
def test_delays_in_every_legal_form(delay: object, seconds: float) -> None:
    assert parse_delay(delay) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "delay",
    [
        None, True, False, [], {}, "", "5", "-5s", -1, -0.001, "5 minutes", "5y", "P", "PT", "P1DT", "P1Y", "P1M",
        "1h30m", "s", "1.s", ".5s", "٥s", float("nan"), float("inf"), MAX_DELAY_SECONDS + 1, "9" * 60 + "d", "1" * 100,
        10**400,
    ],
)  # fmt: skip
def test_any_other_delay_is_refused_with_the_field_named(delay: object) -> None:
    with pytest.raises(InvalidInput, match=r"^wait: "):
        parse_delay(delay, "wait")


def test_decimals_are_written_only_where_there_are_any() -> None:
    assert with_offset(AT, UTC) == "2026-04-15T02:41:45+00:00"
    assert with_offset(AT + timedelta(milliseconds=250), BERLIN) == "2026-04-15T04:41:45.250+02:00"
    assert rfc3339_ms(AT.astimezone(BERLIN)) == "2026-04-15T02:41:45.000Z"


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from([UTC, *map(ZoneInfo, ("Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Africa/Monrovia"))]),
)
@example(datetime(2026, 10, 25, 0, 59, 59, 999_999, tzinfo=UTC), BERLIN)
@example(datetime(2026, 10, 25, 1, tzinfo=UTC), BERLIN)
@example(datetime(1972, 1, 7, 0, 44, 29, tzinfo=UTC), ZoneInfo("Africa/Monrovia"))
@example(datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC), ZoneInfo("Africa/Monrovia"))
@example(datetime(1, 1, 1, tzinfo=UTC), ZoneInfo("America/Sao_Paulo"))
def test_local_texts_are_those_the_library_writes(instant: datetime, zone: tzinfo) -> None:
    local = in_zone(instant, zone)
    text = local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")
    assert local_texts(instant, zone) == (text, local.tzname())
    assert with_offset(instant.astimezone(BERLIN) if 1 < instant.year < 9999 else instant, zone) == text


@given(st.datetimes(timezones=st.just(UTC)))
def test_whole_milliseconds_are_rounded_down_or_up(instant: datetime) -> None:
    microseconds = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert whole_ms(instant) == microseconds // 1000
    assert to_ms(instant) == -(-microseconds // 1000)
    assert from_ms(whole_ms(instant)) == instant.replace(microsecond=instant.microsecond // 1000 * 1000)
