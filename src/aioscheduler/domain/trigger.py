"""Triggers: from a schedule to its fire times."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from typing import Protocol, TypeVar, cast
from zoneinfo import ZoneInfo

from aioscheduler.domain.cron import MAX_EXPRESSION_LENGTH, Cron, check_expression, instant_of
from aioscheduler.errors import InvalidInput, InvalidSchedule, Sentence

T = TypeVar("T")

#: The names of ``day_of_week``, in the order of :meth:`datetime.date.weekday`.
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: The members of an interval and their lengths in seconds.
UNIT_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
#: In seconds: an interval never leaves the 50 years that hold no fire time.
MAX_INTERVAL_SECONDS = 50 * 365 * 86_400

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_MISSING = Sentence("is missing")
_NO_STRING = Sentence("must be a string")
_NO_ZONE = Sentence("must be an IANA time zone, such as UTC or America/Sao_Paulo")
_DAYS = re.compile(rf"({'|'.join(WEEKDAYS)})(?:\s*-\s*({'|'.join(WEEKDAYS)}))?", re.ASCII)


class ScheduleType(Enum):
    """What kind of schedule it is."""

    CRON = "cron"
    """A cron expression: ``cron_expression``."""
    DAILY = "daily"
    """Every day at ``hour``, ``minute``, optional ``second``."""
    WEEKLY = "weekly"
    """As daily, on the days of ``day_of_week`` only."""
    INTERVAL = "interval"
    """Every ``weeks``, ``days``, ``hours``, ``minutes``, ``seconds``, counted from the job's creation."""


class Trigger(Protocol):
    """Answers when it fires next. Pure: the same question always has the same answer."""

    def next_after(self, after: datetime) -> datetime | None:
        """Return the first fire time strictly later than ``after``, in UTC; ``None`` if 50 years hold none."""
        ...

    def __hash__(self) -> int:
        """Equal triggers have the same answers, so that answers can be kept."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What the caller wrote: the type, its members as given, and the name of an IANA time zone."""

    type: ScheduleType
    config: Mapping[str, object]
    timezone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily:
    """Every day at a local time. Daylight saving moves it as it moves a :class:`Cron` that names times of the day."""

    hour: int
    minute: int
    second: int = 0
    zone: tzinfo

    def next_after(self, after: datetime) -> datetime | None:
        return _next_local(time(self.hour, self.minute, self.second), _EVERY_DAY, self.zone, after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weekly:
    """As :class:`Daily`, on some days of the week only; Monday is 0."""

    days: frozenset[int]
    hour: int
    minute: int
    second: int = 0
    zone: tzinfo

    def next_after(self, after: datetime) -> datetime | None:
        return _next_local(time(self.hour, self.minute, self.second), self.days, self.zone, after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One period after the anchor, and so on: elapsed time, which daylight saving does not move."""

    period: timedelta
    anchor: datetime

    def next_after(self, after: datetime) -> datetime | None:
        try:
            return self.anchor + self.period * max((after - self.anchor) // self.period + 1, 1)
        except OverflowError:
            return None

    def count(self, first: datetime, last: datetime) -> int:
        """Return how many fire times lie from ``first``, which is one, to ``last``."""
        return (last - first) // self.period + 1


_EVERY_DAY = frozenset(range(7))


@lru_cache(maxsize=8192)  # what is due together asks the same
def _next_local(wall: time, days: frozenset[int], zone: tzinfo, after: datetime) -> datetime | None:
    try:
        day = after.astimezone(zone).date()
        # A week and a day: today's time may have been.
        for _ in range(8):
            if day.weekday() in days and (instant := instant_of(datetime.combine(day, wall), zone)) > after:
                return instant
            day += _DAY
    except OverflowError:
        pass
    return None


def trigger_of(schedule: Schedule, anchor: datetime) -> Trigger:
    """Return the trigger of a legal schedule.

    :param anchor: what an interval is counted from, rounded up to the millisecond; nothing to the others
    """
    config = schedule.config
    match schedule.type:
        case ScheduleType.INTERVAL:
            # As the store keeps it, or a job would change its times when it is read again.
            anchor += -anchor.microsecond % 1000 * _MICROSECOND
            return Interval(period=timedelta(seconds=seconds_of(config)), anchor=anchor)
        case ScheduleType.CRON:
            return _cron(str(config["cron_expression"]), schedule.timezone)
        case ScheduleType.DAILY:
            return _daily(*_time_of(config), schedule.timezone)
        case ScheduleType.WEEKLY:
            return _weekly(str(config["day_of_week"]), *_time_of(config), schedule.timezone)


def _time_of(config: Mapping[str, object]) -> tuple[int, int, int]:
    hour, minute, second = (_whole(config.get(member, 0)) or 0 for member in ("hour", "minute", "second"))
    return hour, minute, second


def seconds_of(config: Mapping[str, object]) -> int:
    """Return the length of an interval."""
    return sum((_whole(config.get(unit, 0)) or 0) * length for unit, length in UNIT_SECONDS.items())


def _whole(value: object) -> int | None:
    """Return a whole number; JSON's ``3.0`` is one, ``true`` and ``"3"`` are none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@lru_cache(maxsize=4096)
def _cron(expression: str, zone: str) -> Cron:
    return Cron(expression=expression, zone=ZoneInfo(zone))


@lru_cache(maxsize=4096)
def _daily(hour: int, minute: int, second: int, zone: str) -> Daily:
    return Daily(hour=hour, minute=minute, second=second, zone=ZoneInfo(zone))


@lru_cache(maxsize=4096)
def _weekly(days: str, hour: int, minute: int, second: int, zone: str) -> Weekly:
    return Weekly(days=days_of(days) or frozenset(), hour=hour, minute=minute, second=second, zone=ZoneInfo(zone))


def days_of(text: str) -> frozenset[int] | None:
    """Return the days that ``mon,wed,fri`` or ``fri-mon`` names, Monday as 0; ``None`` if it is neither."""
    days: set[int] = set()
    for item in text.lower().split(","):
        match = _DAYS.fullmatch(item.strip())
        if match is None:
            return None
        first, last = WEEKDAYS.index(match[1]), WEEKDAYS.index(match[2] or match[1])
        days.update((first + day) % 7 for day in range((last - first) % 7 + 1))
    return frozenset(days)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """Return the names of all zones: a name that is none of them never becomes part of a path."""
    return frozenset((files("tzdata") / "zones").read_text("ascii").split())


def check_timezone(value: object, field: str = "timezone") -> str:
    """Return the name of an IANA time zone.

    :raises InvalidInput: not a string, or no such zone; upper and lower case count
    """
    if not isinstance(value, str):
        raise InvalidInput.of(field, _NO_STRING)
    if value not in _zones():
        raise InvalidInput.of(field, _NO_ZONE)
    return value


def check_cron(expression: object, timezone: object, field: str = "schedule") -> Schedule:
    """Return the schedule of an account's job; everything wrong is told at once.

    :param timezone: its field is ``timezone``
    :raises InvalidSchedule: the expression is not legal, or never due
    :raises InvalidInput: it is missing or no string, or only the time zone is wrong
    """
    faults = _Faults()
    zone = faults.of(lambda: check_timezone(timezone))
    faults.of(lambda: _check_expression(expression, zone, field))
    faults.tell()
    return Schedule(type=ScheduleType.CRON, config={"cron_expression": expression}, timezone=cast("str", zone))


def check_schedule(
    type: object,
    config: object,
    timezone_default: str,
    field: str = "schedule_config",
) -> Schedule:
    """Return the schedule of a bot job; everything wrong is told at once. Members it does not know are ignored.

    :param type: its field is ``schedule_type``
    :param timezone_default: the zone when the config names none; taken as it is
    :raises InvalidSchedule: the cron expression is not legal, or never due
    :raises InvalidInput: another member is not legal
    """
    faults = _Faults()
    kind = faults.of(lambda: _check_type(type))
    if not isinstance(config, Mapping):
        faults.add(field, _MISSING if config is None else Sentence("must be an object"))
        config = None
    zone: str | None = timezone_default
    if config is not None:
        if "timezone" in config:
            zone = faults.of(lambda: check_timezone(config["timezone"], f"{field}.timezone"))
        match kind:
            case ScheduleType.CRON:
                faults.of(lambda: _check_expression(config.get("cron_expression"), zone, f"{field}.cron_expression"))
            case ScheduleType.INTERVAL:
                _check_interval(config, field, faults)
            case ScheduleType.DAILY | ScheduleType.WEEKLY:
                _check_time(config, field, faults)
                if kind is ScheduleType.WEEKLY:
                    faults.of(lambda: _check_days(config.get("day_of_week"), f"{field}.day_of_week"))
            case None:
                pass
    faults.tell()
    return Schedule(
        type=cast("ScheduleType", kind),
        config=dict(cast("Mapping[str, object]", config)),
        timezone=cast("str", zone),
    )


class _Faults:
    """What is wrong so far."""

    def __init__(self) -> None:
        self._errors: dict[str, list[Sentence]] = {}
        self._class = InvalidInput

    def add(self, field: str, reason: Sentence) -> None:
        self._errors.setdefault(field, []).append(reason)

    def of(self, check: Callable[[], T]) -> T | None:
        """Return what the check returns; ``None`` when it refuses."""
        try:
            return check()
        except InvalidInput as error:
            for field, reasons in error.errors.items():
                for reason in reasons:
                    self.add(field, reason)
            if isinstance(error, InvalidSchedule):
                self._class = InvalidSchedule
            return None

    def tell(self) -> None:
        """Raise what is wrong, if anything is.

        :raises InvalidInput: as :class:`InvalidSchedule` if a cron expression is among it
        """
        if self._errors:
            raise self._class(self._errors)


def _check_type(value: object) -> ScheduleType:
    if value is None:
        raise InvalidInput.of("schedule_type", _MISSING)
    try:
        return ScheduleType(value)
    except ValueError as error:
        choices = ", ".join(item.value for item in ScheduleType)
        raise InvalidInput.of("schedule_type", Sentence("must be one of {choices}", choices=choices)) from error


def _check_expression(value: object, zone: str | None, field: str) -> None:
    if value is None:
        raise InvalidInput.of(field, _MISSING)
    if not isinstance(value, str):
        raise InvalidInput.of(field, _NO_STRING)
    check_expression(value, ZoneInfo(zone or "UTC"), field)


def _check_days(value: object, field: str) -> None:
    if value is None:
        raise InvalidInput.of(field, _MISSING)
    if not isinstance(value, str):
        raise InvalidInput.of(field, _NO_STRING)
    if len(value) > MAX_EXPRESSION_LENGTH or days_of(value) is None:
        raise InvalidInput.of(field, Sentence("must name days of the week, such as mon,wed,fri or mon-fri"))


def _check_time(config: Mapping[str, object], field: str, faults: _Faults) -> None:
    if "hour" not in config:
        faults.add(f"{field}.hour", _MISSING)
    for member, most in (("hour", 23), ("minute", 59), ("second", 59)):
        _check_member(config, member, most, field, faults)


def _check_interval(config: Mapping[str, object], field: str, faults: _Faults) -> None:
    fine = [
        _check_member(config, unit, MAX_INTERVAL_SECONDS // length, field, faults)
        for unit, length in UNIT_SECONDS.items()
    ]
    if all(fine) and not 1 <= seconds_of(config) <= MAX_INTERVAL_SECONDS:
        faults.add(field, Sentence("must come to at least one second and at most 50 years in all"))


def _check_member(config: Mapping[str, object], member: str, most: int, field: str, faults: _Faults) -> bool:
    number = _whole(config.get(member, 0))
    fine = number is not None and 0 <= number <= most
    if not fine:
        faults.add(f"{field}.{member}", Sentence("must be a whole number from {min} to {max}", min=0, max=most))
    return fine
