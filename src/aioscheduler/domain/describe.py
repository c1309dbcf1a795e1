"""Schedules in words, and where daylight saving moves them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cronsim import CronSim

from aioscheduler.domain.cron import Cron, parse, repeats
from aioscheduler.domain.trigger import UNIT_SECONDS, Daily, Schedule, Trigger, Weekly, seconds_of, trigger_of
from aioscheduler.errors import Sentence

#: More times of the day than this are told as minutes and hours.
MAX_TIMES = 6

_DAYS = (
    Sentence("Monday"),
    Sentence("Tuesday"),
    Sentence("Wednesday"),
    Sentence("Thursday"),
    Sentence("Friday"),
    Sentence("Saturday"),
    Sentence("Sunday"),
)
_MONTHS = (
    Sentence("January"),
    Sentence("February"),
    Sentence("March"),
    Sentence("April"),
    Sentence("May"),
    Sentence("June"),
    Sentence("July"),
    Sentence("August"),
    Sentence("September"),
    Sentence("October"),
    Sentence("November"),
    Sentence("December"),
)
_EVERY_DAY = Sentence("every day")
#: Of each unit of time: every one, one, several.
_PERIODS: dict[str, tuple[Sentence, Sentence, Callable[[int], Sentence]]] = {
    "weeks": (Sentence("Every week"), Sentence("1 week"), lambda count: Sentence("{count} weeks", count=count)),
    "days": (Sentence("Every day"), Sentence("1 day"), lambda count: Sentence("{count} days", count=count)),
    "hours": (Sentence("Every hour"), Sentence("1 hour"), lambda count: Sentence("{count} hours", count=count)),
    "minutes": (Sentence("Every minute"), Sentence("1 minute"), lambda count: Sentence("{count} minutes", count=count)),
    "seconds": (Sentence("Every second"), Sentence("1 second"), lambda count: Sentence("{count} seconds", count=count)),
}
_ALL_DAYS, _ALL_MONTHS = set(range(7)), set(range(1, 13))
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def describe(schedule: Schedule) -> Sentence:
    """Return when a legal schedule fires, in words: right for each, if not always in the fewest."""
    trigger = trigger_of(schedule, _EPOCH)
    match trigger:
        case Daily() | Weekly():
            at = _at([_clock(trigger.hour, trigger.minute, trigger.second)])
            days = _weekdays(trigger.days if isinstance(trigger, Weekly) else _ALL_DAYS)
            return _zoned([at, *(days or [_EVERY_DAY])], schedule.timezone)
        case Cron():
            return _cron(parse(trigger.expression), schedule.timezone)
        case _:
            return _period(seconds_of(schedule.config))


def notes(schedule: Schedule, trigger: Trigger, fire_times: Iterable[datetime]) -> list[Sentence]:
    """Return a sentence on each of the trigger's fire times that daylight saving moves: out of a gap, or one of two."""
    if not (isinstance(trigger, Daily | Weekly) or (isinstance(trigger, Cron) and trigger.is_fixed)):
        return []
    # Where clocks are never changed, the same schedule shows which local times it asks for.
    wanted = trigger_of(replace(schedule, timezone="UTC"), _EPOCH)
    found = (_note(wanted, at.astimezone(trigger.zone), schedule.timezone) for at in fire_times)
    return [note for note in found if note]


def _note(wanted: Trigger, local: datetime, zone: str) -> Sentence | None:
    if repeats(local):
        return Sentence(
            "On {date} the clocks in {zone} show {time} twice: it runs the first time only.",
            date=local.date().isoformat(),
            zone=zone,
            time=_shown(local),
        )
    before = (local.astimezone(UTC) - _SECOND).astimezone(local.tzinfo)
    wall = local.replace(tzinfo=UTC)
    begin = before.replace(tzinfo=UTC) + _SECOND
    skipped = wanted.next_after(begin - _SECOND)
    if skipped is None or not begin <= skipped < wall:
        return None
    return Sentence(
        "On {date} the clocks in {zone} skip {time}: it runs right after the gap, at {moved}.",
        date=skipped.date().isoformat(),
        zone=zone,
        time=_shown(skipped),
        moved=_shown(local) if local.date() == skipped.date() else f"{local.date().isoformat()} {_shown(local)}",
    )


def _shown(local: datetime) -> str:
    return _clock(local.hour, local.minute, local.second)


def _clock(hour: int, minute: int, second: int = 0) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _zoned(parts: Sequence[Sentence], zone: str) -> Sentence:
    return Sentence("{what} ({zone})", what=_listed(parts), zone=zone)


def _listed(parts: Sequence[Sentence]) -> Sentence:
    whole = parts[-1]
    for part in reversed(parts[:-1]):
        whole = Sentence("{first}, {rest}", first=part, rest=whole)
    return whole


def _at(times: Iterable[str]) -> Sentence:
    return Sentence("At {times}", times=", ".join(times))


def _period(seconds: int) -> Sentence:
    parts: list[Sentence] = []
    every = None
    for unit, length in UNIT_SECONDS.items():
        count, seconds = divmod(seconds, length)
        if count:
            every, one, several = _PERIODS[unit]
            parts.append(one if count == 1 else several(count))
            if count > 1:
                every = None
    if len(parts) == 1 and every:
        return every
    return Sentence("Every {period}", period=_listed(parts))


def _cron(fields: CronSim, zone: str) -> Sentence:
    minutes, hours = sorted(fields.minutes), sorted(fields.hours)
    days = _days(fields)
    if fields.months < _ALL_MONTHS:
        days.append(Sentence("in {months}", months=_listed(_names(fields.months, _MONTHS, 1))))
    often = _often(minutes)
    if len(hours) < 24:
        return _zoned([*_times(minutes, hours, days), *days], zone)
    if often is None:
        return _zoned([Sentence("At minute {minutes} of every hour", minutes=_numbers(minutes)), *days], zone)
    return _zoned([often, *days], zone) if days else often


def _times(minutes: Sequence[int], hours: Sequence[int], days: Sequence[Sentence]) -> list[Sentence]:
    if len(minutes) == 1 and len(hours) > 2:
        first, last = (_clock(hour, minutes[0]) for hour in (hours[0], hours[-1]))
        if step := _step(hours, 24):
            return [Sentence("Every {count} hours from {time}", count=step, time=first)]
        if len(_runs(hours)) == 1:
            return [Sentence("Every hour from {first} to {last}", first=first, last=last)]
    if len(minutes) * len(hours) <= MAX_TIMES:
        at = _at(_clock(hour, minute) for hour in hours for minute in minutes)
        return [at] if days else [at, _EVERY_DAY]
    spans = ", ".join(f"{first:02}:00–{last:02}:59" for first, last in _runs(hours))
    within = Sentence("within {hours}", hours=spans)
    return [_often(minutes) or Sentence("At minute {minutes}", minutes=_numbers(minutes)), within]


def _often(minutes: Sequence[int]) -> Sentence | None:
    if len(minutes) == 60:
        return _PERIODS["minutes"][0]
    step = 30 if minutes == [0, 30] else _step(minutes, 60) if minutes[0] == 0 else None
    return Sentence("Every {period}", period=_PERIODS["minutes"][2](step)) if step else None


def _step(values: Sequence[int], size: int) -> int | None:
    """Return how far three or more values lie apart, if it is the same distance all around the clock."""
    step = size // len(values)
    even = len(values) >= 3 and list(values) == list(range(values[0], size, step)) and step * len(values) == size
    return step if even else None


def _days(fields: CronSim) -> list[Sentence]:
    """Return which days match; nothing if all do."""
    of_month = [] if fields.days >= set(range(1, 32)) else _month_days(fields.days)
    of_week = _cron_weekdays(fields.weekdays)
    if not fields.day_and:
        if not of_month or not of_week:
            return []
        return [Sentence("{days}, and also {weekdays}", days=_listed(of_month), weekdays=_listed(of_week))]
    if of_month and of_week:
        return [Sentence("{days}, but only if {weekdays}", days=_listed(of_month), weekdays=_listed(of_week))]
    return of_month or of_week


def _month_days(days: Collection[int]) -> list[Sentence]:
    parts = []
    if numbers := sorted(day for day in days if day > 0):
        parts.append(Sentence("on day {days} of the month", days=_numbers(numbers)))
    if CronSim.LAST in days:
        parts.append(Sentence("on the last day of the month"))
    if CronSim.LAST_WEEKDAY in days:
        parts.append(Sentence("on the last of Monday to Friday in the month"))
    return parts


def _cron_weekdays(items: Collection[int | tuple[int, int]]) -> list[Sentence]:
    # cron counts from Sunday, as 0 and as 7.
    plain = {(item - 1) % 7 for item in items if isinstance(item, int)}
    if plain == _ALL_DAYS:
        return []
    parts = _weekdays(plain)
    for day, nth in sorted(item for item in items if not isinstance(item, int)):
        name = _DAYS[(day - 1) % 7]
        if nth == CronSim.LAST:
            parts.append(Sentence("the last {day} of the month", day=name))
        else:
            parts.append(Sentence("{day} number {nth} of the month", day=name, nth=nth))
    return parts


def _weekdays(days: Collection[int]) -> list[Sentence]:
    """Return the names of the days, Monday as 0; nothing if it is every day."""
    return [] if len(days) == len(_ALL_DAYS) else _names(days, _DAYS, 0)


def _names(values: Collection[int], names: Sequence[Sentence], first_value: int) -> list[Sentence]:
    parts = []
    for first, last in _runs(sorted(values)):
        named = names[first - first_value : last - first_value + 1]
        if len(named) > 2:
            parts.append(Sentence("{first} to {last}", first=named[0], last=named[-1]))
        else:
            parts.extend(named)
    return parts


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in _runs(values))


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and last values of each run of consecutive ones."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value - 1:
            runs[-1] = runs[-1][0], value
        else:
            runs.append((value, value))
    return runs
