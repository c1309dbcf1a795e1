"""Cron expressions, and where local times lie: the daylight-saving rule that all triggers share."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from cronsim import CronSim, CronSimError

from aioscheduler.errors import InvalidSchedule, Sentence

MAX_EXPRESSION_LENGTH = 128
#: How far ahead a fire time is looked for.
HORIZON_YEARS = 50

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = (
    (Sentence("minute"), 0, 59),
    (Sentence("hour"), 0, 23),
    (Sentence("day of month"), 1, 31),
    (Sentence("month"), 1, 12),
    (Sentence("day of week"), 0, 7),
)
_NEVER_DUE = Sentence("is never due")
_SECOND = timedelta(seconds=1)
#: Any instant does: what is due at all is due in the 50 years after it.
_SAMPLE = datetime(2026, 1, 1, tzinfo=UTC)


def instant_of(wall: datetime, zone: tzinfo) -> datetime:
    """Return when clocks in the zone show ``wall``, in UTC.

    A time that occurs twice is the first of the two; one that is skipped is the end of the gap.

    :raises OverflowError: outside the years 1 to 9999
    """
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    # PEP 495: in a gap the two folds count with the offsets before and after it, so they enclose its end.
    return change_between(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant, zone)


def change_between(early: datetime, late: datetime, zone: tzinfo) -> datetime:
    """Return the first second, in UTC, with another offset than ``early`` has: after it, and ``late`` at the latest."""
    offset = early.astimezone(zone).utcoffset()
    low, high = int(early.timestamp()), int(late.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def repeats(local: datetime) -> timedelta:
    """Return how much later the clocks show this local time again; zero if they do not."""
    again = local.replace(fold=1).astimezone(UTC) - local.astimezone(UTC)
    return max(again, timedelta())


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A legal cron expression in a time zone.

    After Debian's cron: where neither the minute nor the hour begins with a star, a local time that daylight saving
    skips fires at the end of the gap, and a repeated one fires the first time only. Others fire whenever the clocks
    show what they ask for: not in a gap, and in both passes of an overlap.
    """

    expression: str
    zone: tzinfo

    @property
    def is_fixed(self) -> bool:
        """Whether it names times of the day, so that daylight saving can move them."""
        minute, hour = _fields(self.expression)[:2]
        return not minute.startswith("*") and not hour.startswith("*")

    def next_after(self, after: datetime) -> datetime | None:
        return _next(self.expression, self.zone, after)


@lru_cache(maxsize=8192)  # what is due together asks the same
def _next(expression: str, zone: tzinfo, after: datetime) -> datetime | None:
    try:
        if Cron(expression=expression, zone=zone).is_fixed:
            return _next_fixed(expression, zone, after)
        return _next_running(expression, zone, after)
    except (StopIteration, OverflowError):
        return None


def _next_wall(expression: str, wall: datetime) -> datetime:
    """Return the first matching local time later than ``wall``.

    :raises StopIteration: 50 years hold none
    :raises OverflowError: there is none until the year 9999
    """
    # cronsim follows a zone by itself, but loses its way where a change is not at a whole hour, or at midnight.
    simulation = copy(parse(expression))
    simulation.dt = wall.replace(microsecond=0)
    return next(simulation)


def _next_fixed(expression: str, zone: tzinfo, after: datetime) -> datetime:
    wall = after.astimezone(zone).replace(tzinfo=None)
    while True:
        wall = _next_wall(expression, wall)
        # In the second pass of an overlap the times that are left have been, and in a gap several are one.
        if (instant := instant_of(wall, zone)) > after:
            return instant


def _next_running(expression: str, zone: tzinfo, after: datetime) -> datetime:
    local = after.astimezone(zone)
    last_year = local.year + HORIZON_YEARS
    wall = _next_wall(expression, local.replace(tzinfo=None))
    if again := repeats(local):
        change = change_between(after, after + again, zone)
        if not after < instant_of(wall, zone) < change:
            wall = _next_wall(expression, _shown_before(change, zone))
    while wall.year <= last_year:
        first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if first.astimezone(zone).replace(tzinfo=None) != wall:
            wall = _next_wall(expression, _shown_before(instant_of(wall, zone), zone))
        elif first > after:
            return first
        else:
            return wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    raise StopIteration


def _shown_before(change: datetime, zone: tzinfo) -> datetime:
    """Return the local time one second earlier than what clocks show right after a change."""
    return change.astimezone(zone).replace(tzinfo=None) - _SECOND


def _fields(expression: str) -> list[str]:
    return ALIASES.get(expression.strip().lower(), expression).split()


@lru_cache(maxsize=4096)
def parse(expression: str) -> CronSim:
    """Return the values each field allows; not to be changed.

    :raises CronSimError: not legal, or plainly never due
    """
    return CronSim(" ".join(_fields(expression)), datetime(2000, 1, 1))  # noqa: DTZ001 - local times


def check_expression(expression: str, zone: tzinfo, field: str = "schedule") -> None:
    """Accept five fields or an alias, in at most 128 characters, that are due at some time.

    :raises InvalidSchedule: it is none of that; the sentence says which part is wrong
    """
    fault = _fault(expression)
    if fault is None and Cron(expression=expression, zone=zone).next_after(_SAMPLE) is None:
        fault = _NEVER_DUE
    if fault:
        raise InvalidSchedule({field: [fault]})


def _fault(expression: str) -> Sentence | None:
    if len(expression) > MAX_EXPRESSION_LENGTH:
        return Sentence("must have at most {max} characters", max=MAX_EXPRESSION_LENGTH)
    fields = _fields(expression)
    if len(fields) == 1 and fields[0].startswith("@"):
        return Sentence('"{value}" is none of the aliases {choices}', value=expression, choices=", ".join(ALIASES))
    if len(fields) != len(_FIELDS):
        return Sentence(
            "must have five fields, minute, hour, day of month, month and day of week; this has {count}",
            count=len(fields),
        )
    for position, text in enumerate(fields):
        for item in text.split(","):
            if not _is_legal(position, item):
                name, least, most = _FIELDS[position]
                return Sentence(
                    '"{value}" is no legal {field}: use numbers from {min} to {max}, as in 5, 1-5, */2 or 1,3',
                    value=item,
                    field=name,
                    min=least,
                    max=most,
                )
    try:
        return None if _is_ever_due(parse(expression)) else _NEVER_DUE
    except CronSimError:
        # Every field is legal alone: together they ask for a day that no month has.
        return _NEVER_DUE


def _is_legal(position: int, item: str) -> bool:
    fields = ["*"] * len(_FIELDS)
    fields[position] = item
    try:
        parse(" ".join(fields))
    except CronSimError:
        return False
    return item.isascii()


def _is_ever_due(simulation: CronSim) -> bool:
    """Return whether any day matches: 28 years hold every month, long and short, beginning on every weekday."""
    years, alike = range(2000, 2028), {_days_in(2000, month): month for month in simulation.months}
    return any(
        simulation.match_day(date(year, month, day))
        for month in alike.values()
        for year in years
        for day in range(1, _days_in(year, month) + 1)
    )


def _days_in(year: int, month: int) -> int:
    return (date(year + month // 12, month % 12 + 1, 1) - date(year, month, 1)).days
