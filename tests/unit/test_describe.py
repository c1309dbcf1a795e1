from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from aioscheduler.api.i18n import translate
from aioscheduler.domain.cron import parse
from aioscheduler.domain.describe import describe, notes
from aioscheduler.domain.trigger import Schedule, check_cron, check_schedule, trigger_of

ZONE = "America/Sao_Paulo"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
DATES = [CREATED.date() + timedelta(days=count) for count in range(1461)]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "Every minute"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("0-59/20 * * * *", "Every 20 minutes"),
        ("*/30 * * * *", "Every 30 minutes"),
        ("15,45 * * * *", "At minute 15, 45 of every hour (Z)"),
        ("*/7 * * * *", "At minute 0, 7, 14, 21, 28, 35, 42, 49, 56 of every hour (Z)"),
        ("5-59/15 * * * *", "At minute 5, 20, 35, 50 of every hour (Z)"),
        ("@hourly", "At minute 0 of every hour (Z)"),
        ("0-4,30 * * * *", "At minute 0–4, 30 of every hour (Z)"),
        ("0 2 * * *", "At 02:00, every day (Z)"),
        ("@daily", "At 00:00, every day (Z)"),
        ("0,30 9,17 * * *", "At 09:00, 09:30, 17:00, 17:30, every day (Z)"),
        ("0 */12 * * *", "At 00:00, 12:00, every day (Z)"),
        ("0 */6 * * *", "Every 6 hours from 00:00 (Z)"),
        ("30 1-23/2 * * *", "Every 2 hours from 01:30 (Z)"),
        ("0 4-20/4 * * *", "At 04:00, 08:00, 12:00, 16:00, 20:00, every day (Z)"),
        ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00, 20:00, every day (Z)"),
        ("0 8-18 * * 1-5", "Every hour from 08:00 to 18:00, Monday to Friday (Z)"),
        ("*/10 8-18 * * *", "Every 10 minutes, within 08:00–18:59 (Z)"),
        ("* 5,8-9 * * *", "Every minute, within 05:00–05:59, 08:00–09:59 (Z)"),
        ("1,2,3 8,10,12 * * *", "At minute 1–3, within 08:00–08:59, 10:00–10:59, 12:00–12:59 (Z)"),
        ("0 8 * * 1-5", "At 08:00, Monday to Friday (Z)"),
        ("0 8 * * 0,6", "At 08:00, Saturday, Sunday (Z)"),
        ("0 8 * * 5-7", "At 08:00, Friday to Sunday (Z)"),
        ("0 8 * * sun-sat", "At 08:00, every day (Z)"),
        ("0 8 * * FRI#2", "At 08:00, Friday number 2 of the month (Z)"),
        ("0 8 * * 0L", "At 08:00, the last Sunday of the month (Z)"),
        ("0 0 1 * *", "At 00:00, on day 1 of the month (Z)"),
        ("0 0 1,15-17 * *", "At 00:00, on day 1, 15–17 of the month (Z)"),
        ("0 0 L * *", "At 00:00, on the last day of the month (Z)"),
        ("0 0 LW * *", "At 00:00, on the last of Monday to Friday in the month (Z)"),
        ("0 0 1 * 1", "At 00:00, on day 1 of the month, and also Monday (Z)"),
        ("0 0 */10 * 1", "At 00:00, on day 1, 11, 21, 31 of the month, but only if Monday (Z)"),
        ("0 0 1 * */6", "At 00:00, on day 1 of the month, but only if Saturday, Sunday (Z)"),
        ("0 0 1-31 * 1", "At 00:00, every day (Z)"),
        ("0 0 */1 * 1", "At 00:00, Monday (Z)"),
        ("0 0 1 * 0-6", "At 00:00, every day (Z)"),
        ("0 0 25 12 *", "At 00:00, on day 25 of the month, in December (Z)"),
        ("0 0 * jan-mar,7 *", "At 00:00, in January to March, July (Z)"),
        ("*/5 * * 6,7 *", "Every 5 minutes, in June, July (Z)"),
    ],
)
def test_a_cron_expression_in_words(expression: str, words: str) -> None:
    assert str(describe(check_cron(expression, ZONE))) == words.replace("(Z)", f"({ZONE})")


@pytest.mark.parametrize(
    ("type_", "config", "words"),
    [
        ("daily", {"hour": 8}, "At 08:00, every day (UTC)"),
        ("daily", {"hour": 8, "minute": 5, "second": 9}, "At 08:05:09, every day (UTC)"),
        (
            "weekly",
            {"hour": 14, "minute": 30, "day_of_week": "mon,wed,fri"},
            "At 14:30, Monday, Wednesday, Friday (UTC)",
        ),
        ("weekly", {"hour": 8, "day_of_week": "fri-mon"}, "At 08:00, Monday, Friday to Sunday (UTC)"),
        ("weekly", {"hour": 8, "day_of_week": "mon-sun"}, "At 08:00, every day (UTC)"),
        ("interval", {"hours": 2, "minutes": 0}, "Every 2 hours"),
        ("interval", {"hours": 1}, "Every hour"),
        ("interval", {"minutes": 90}, "Every 1 hour, 30 minutes"),
        ("interval", {"weeks": 1, "seconds": 1}, "Every 1 week, 1 second"),
        ("interval", {"seconds": 86_400}, "Every day"),
    ],
)
def test_a_bot_schedule_in_words(type_: str, config: Mapping[str, object], words: str) -> None:
    assert str(describe(check_schedule(type_, config, "UTC"))) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 8 * * 1-5", "Às 08:00, segunda-feira a sexta-feira (America/Sao_Paulo)"),
        ("*/15 * * * *", "A cada 15 minutos"),
        ("0 0 1 jan 1", "Às 00:00, no dia 1 do mês, e também segunda-feira, em janeiro (America/Sao_Paulo)"),
    ],
)
def test_the_words_are_portuguese_too(expression: str, words: str) -> None:
    assert translate(describe(check_cron(expression, ZONE)), "pt") == words


def test_two_expressions_in_the_same_words_mean_the_same() -> None:
    minutes = ["*", "*/1", "0", "*/15", "0,15,30,45", "*/7", "5,25,45", "1-3"]
    hours = ["*", "0-23", "8", "8-10", "*/8", "0,8,16", "*/5", "1-23/2", "8,9,10,11"]
    days = ["*", "1-31", "*/2", "1", "L", "LW", "1,L"]
    months = ["*", "1-3", "2"]
    weekdays = ["*", "0-6", "1-7", "*/2", "1", "0", "7", "1#2", "1L", "6,0"]
    known: dict[str, object] = {}
    told = 0
    for day, weekday in product(days, weekdays):
        matching = frozenset(date for date in DATES if parse(f"* * {day} * {weekday}").match_day(date))
        for fields in product(minutes, hours, [day], months, [weekday]):
            parsed = parse(" ".join(fields))
            meaning = (parsed.minutes, parsed.hours, parsed.months, matching)
            words = str(describe(check_cron(" ".join(fields), "UTC")))
            assert known.setdefault(words, meaning) == meaning, words
            told += 1
    assert len(known) < told


def noted(schedule: Schedule, after: datetime, count: int = 3) -> list[str]:
    trigger = trigger_of(schedule, CREATED)
    times = []
    at: datetime | None = after
    for _ in range(count):
        assert at is not None
        at = trigger.next_after(at)
        assert at is not None
        times.append(at)
    return [str(note) for note in notes(schedule, trigger, times)]


MARCH, OCTOBER = datetime(2026, 3, 7, 12, tzinfo=UTC), datetime(2026, 10, 31, 12, tzinfo=UTC)


def test_a_fire_time_out_of_a_gap_has_a_note() -> None:
    words = "On 2026-03-08 the clocks in America/New_York skip 02:30: it runs right after the gap, at 03:00."
    assert noted(check_cron("30 2 * * *", "America/New_York"), MARCH) == [words]
    assert noted(check_schedule("daily", {"hour": 2, "minute": 30}, "America/New_York"), MARCH) == [words]
    config = {"hour": 2, "minute": 30, "day_of_week": "sun"}
    assert noted(check_schedule("weekly", config, "America/New_York"), MARCH) == [words]
    assert noted(check_cron("0 0 * * *", ZONE), datetime(2018, 11, 3, 12, tzinfo=UTC)) == [
        "On 2018-11-04 the clocks in America/Sao_Paulo skip 00:00: it runs right after the gap, at 01:00."
    ]
    assert noted(check_cron("0 8 * * *", "Pacific/Apia"), datetime(2011, 12, 29, 12, tzinfo=UTC)) == [
        "On 2011-12-30 the clocks in Pacific/Apia skip 08:00: it runs right after the gap, at 2011-12-31 00:00."
    ]


def test_a_fire_time_that_occurs_twice_has_a_note() -> None:
    words = "On 2026-11-01 the clocks in America/New_York show 01:30 twice: it runs the first time only."
    assert noted(check_cron("30 1 * * *", "America/New_York"), OCTOBER) == [words]
    assert noted(check_schedule("daily", {"hour": 1, "minute": 30}, "America/New_York"), OCTOBER) == [words]


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        # It asks for the end of the gap itself.
        ("0 3 * * *", "America/New_York"),
        ("0 1,3 * * *", "America/New_York"),
        ("30 2 * * *", "UTC"),
        ("30 4 * * *", "America/New_York"),
        # Daylight saving does not move these.
        ("*/30 * * * *", "America/New_York"),
        ("0 * * * *", "America/New_York"),
    ],
)
def test_a_fire_time_that_is_not_moved_has_none(expression: str, zone: str) -> None:
    assert noted(check_cron(expression, zone), MARCH, 60) == []


def test_an_interval_has_no_notes() -> None:
    assert noted(check_schedule("interval", {"minutes": 30}, "America/New_York"), OCTOBER, 60) == []


def test_notes_are_portuguese_too() -> None:
    schedule = check_cron("30 2 * * *", "Europe/Paris")
    moved = datetime(2026, 3, 29, 1, tzinfo=UTC)
    (note,) = notes(schedule, trigger_of(schedule, CREATED), [moved])
    assert translate(note, "pt") == (
        "Em 2026-03-29 os relógios em Europe/Paris pulam 02:30: executa logo depois do salto, às 03:00."
    )
