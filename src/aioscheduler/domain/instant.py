"""Instants and delays, as clients write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from aioscheduler.errors import InvalidInput, Sentence

#: A delay longer than this is a mistake: a hundred years, in seconds.
MAX_DELAY_SECONDS = 100 * 366 * 86_400

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d)?(?:[.,](\d{1,9}))?\s?([Zz]|[+-]\d\d:?\d\d|[+-]\d\d)?", re.ASCII
)
#: What most clients write; the library reads it as fast as it can be read.
_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z", re.ASCII).fullmatch
_SIMPLE = re.compile(r"(\d+(?:\.\d+)?)\s?(ms|s|m|h|d|w)", re.ASCII | re.IGNORECASE)
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
#: ISO 8601-1 section 5.5.2; years and months are left out, since their length depends on the calendar.
_ISO = re.compile(
    r"P(?:(?P<w>\d+(?:[.,]\d+)?)W|(?:(?P<d>\d+(?:[.,]\d+)?)D)?"
    r"(?:T(?:(?P<h>\d+(?:[.,]\d+)?)H)?(?:(?P<m>\d+(?:[.,]\d+)?)M)?(?:(?P<s>\d+(?:[.,]\d+)?)S)?)?)",
    re.ASCII,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
#: An offset whose plus sign became a space on its way through a query string.
_LOST_PLUS = re.compile(r"(.*[\d]) (\d\d:?\d\d)", re.ASCII)
_NO_SUCH_DATE = Sentence("is no existing date and time")
_NO_INSTANT = Sentence("must be an instant in ISO 8601, such as 2026-04-15T02:41:45Z or 2026-04-15T02:41:45.250-03:00")


def parse_instant(text: object, zone: tzinfo, field: str = "scheduleTo") -> datetime:
    """Return the instant in UTC, rounded up to the millisecond.

    Without an offset the text is local time in ``zone``: a time that daylight saving skips counts with the offset
    before the change, a repeated one is the first of the two.

    :raises InvalidInput: not a string, not ISO 8601 / RFC 3339, no such date, or outside the years 1 to 9999
    """
    if isinstance(text, str) and _USUAL(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError as error:
            raise InvalidInput.of(field, _NO_SUCH_DATE) from error
    match = _INSTANT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidInput.of(field, _NO_INSTANT)
    day, minute, second, fraction, offset = match.groups()
    offset = "+00:00" if offset in ("Z", "z") else offset or ""
    try:
        local = datetime.fromisoformat(f"{day}T{minute}{second or ':00'}{offset}")
        if local.tzinfo is None:
            local = local.replace(tzinfo=zone)
        instant = local.astimezone(UTC)
        if fraction:
            # Rounded up, so that no due time becomes earlier than what was asked for.
            instant += timedelta(milliseconds=-(-int(fraction.ljust(9, "0")) // 1_000_000))
    except (ValueError, OverflowError) as error:
        raise InvalidInput.of(field, _NO_SUCH_DATE) from error
    return instant


def parse_delay(delay: object, field: str = "delay") -> timedelta:
    """Return a delay given as ``"90s"``, ``"15m"``, ``"2h"``, ``"7d"``, an ISO 8601 duration or a number of seconds.

    :raises InvalidInput: negative, without a unit in a string, longer than a hundred years, or none of these forms
    """
    seconds = _seconds(delay)
    if seconds is None or math.isnan(seconds):
        raise InvalidInput.of(
            field,
            Sentence(
                'must be a string with a unit, such as "90s", "15m", "2h", "7d" or "PT1H30M", or a number of seconds'
            ),
        )
    if not 0 <= seconds <= MAX_DELAY_SECONDS:
        raise InvalidInput.of(field, Sentence("must be from 0 seconds to 100 years"))
    return timedelta(seconds=seconds)


def _seconds(delay: object) -> float | None:
    if isinstance(delay, bool):
        return None
    if isinstance(delay, int | float):
        # Bounded first: JSON knows integers that no float can hold.
        return float(max(min(delay, MAX_DELAY_SECONDS + 1), -1))
    if not isinstance(delay, str) or len(delay) > 64:
        return None
    if match := _SIMPLE.fullmatch(delay.strip()):
        return float(match[1]) * _UNIT_SECONDS[match[2].lower()]
    match = _ISO.fullmatch(delay.strip().upper())
    if match is None or not any(match.groups()) or delay.strip().upper().endswith("T"):
        return None
    return sum(float(match[unit].replace(",", ".")) * _UNIT_SECONDS[unit] for unit in "wdhms" if match[unit])


@lru_cache(maxsize=256)  # what is due together says the same
@lru_cache(maxsize=1024)  # what is due together says the same
def rfc3339_ms(instant: datetime) -> str:
    """Return ``2026-04-15T02:41:45.000Z``: UTC, three decimals."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=1024)
def rfc3339(instant: datetime) -> str:
    """Return ``2026-04-15T02:41:45Z``: UTC, decimals only where there are any."""
    return isoformat(instant.astimezone(UTC)).replace("+00:00", "Z")


def instant_or_day(text: str, zone: tzinfo, field: str) -> datetime:
    """Return what :func:`parse_instant` does, or the beginning of a day; for query strings, where ``+`` means a space.

    :raises InvalidInput: as that
    """
    if _DAY.fullmatch(text):
        text += "T00:00"
    elif "T" in text and (match := _LOST_PLUS.fullmatch(text)):
        text = f"{match[1]}+{match[2]}"
    return parse_instant(text, zone, field)


@lru_cache(maxsize=4096)
def _second(since_1970: int, zone: tzinfo) -> tuple[str, str, str]:
    """Return the local time, its offset and the zone's name in that second: no zone changes within one."""
    local = in_zone(_EPOCH + timedelta(0, since_1970), zone)
    text = local.isoformat()
    return text[:19], text[19:], str(local.tzname())


def local_texts(instant: datetime, zone: tzinfo) -> tuple[str, str]:
    """Return what :func:`with_offset` does, and the zone's name at that instant."""
    since = instant - _EPOCH
    time, offset, name = _second(since.days * 86_400 + since.seconds, zone)
    ms = since.microseconds
    return (f"{time}.{ms // 1000:03d}{offset}" if ms else time + offset), name


def in_zone(instant: datetime, zone: tzinfo) -> datetime:
    """Return the instant in the zone; in UTC where the zone's date would lie outside the years 1 to 9999."""
    try:
        return instant.astimezone(zone)
    except OverflowError:
        return instant.astimezone(UTC)


def isoformat(local: datetime) -> str:
    """Return the time with its explicit offset; decimals only where there are any."""
    return local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")


def with_offset(instant: datetime, zone: tzinfo) -> str:
    """Return the instant as :func:`isoformat` does, :func:`in_zone`."""
    # Written out of parts that are remembered: that takes a quarter of the time.
    return local_texts(instant, zone)[0]
