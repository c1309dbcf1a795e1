"""How late first attempts left: counted by the settles, read here."""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from aioscheduler.clock import Clock, from_ms
from aioscheduler.domain.punctuality import ROW_BYTES, Lateness, Window, figures_of, lane
from aioscheduler.domain.target import Destination
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store import keys
from aioscheduler.store.base import Latest, Minute, Punctuality
from aioscheduler.store.calls import Calls

_MINUTE_MS: Final = 60_000
_HOUR: Final = 60
_DAY: Final = 1440
_KINDS: Final = ("m", "j")
#: What stands before the counters: the worst.
_WORST_BYTES: Final = 8
#: How many minutes or hours one call reads the destinations of: some 370 KB at most.
_TOGETHER: Final = 8
#: Of how many minutes one call reads the lateness: some 350 KB at most.
_MINUTES: Final = 120
#: For how long counts wait, in seconds.
_PAUSE: Final = 0.25
#: The worst that is told, in µs, some nine years: scripts count in doubles, and the ranks need five bits for the row.
_MOST_US: Final = 2**48 - 1
#: So many different ones wait for the next settle only.
_MANY: Final = 500


@dataclass(frozen=True, slots=True)
class Taken:
    """What a settle counts of lateness: a line a destination, or nothing; and where.

    The last of the keys, and ``place``, twice the minute of the day, say where it counts the attempts themselves.
    """

    text: str
    place: int
    keys: Sequence[bytes]


class Tally:
    """Counts first attempts that were settled, until a settle takes the counts with it.

    They wait for a quarter of a second, so that a settle in many pays for what costs as much for one as for hundreds;
    and where no settle comes within another, one is made for them. They are lost with the process, and with a call that
    failed: nothing is counted twice.
    """

    def __init__(self, kind: str, clock: Clock, settle: Callable[[], Awaitable[object]]) -> None:
        """Count ``m``, messages, or ``j``, executions; ``settle`` settles nothing else."""
        self._kind = kind
        self._clock = clock
        self._settle = settle
        self._worst_us: dict[Destination, int] = {}
        self._counts: dict[tuple[Destination, int], int] = {}
        self._ready_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def note(self, late_us: int, destination: Destination) -> None:
        """Count one."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._ready_at = loop.time() + _PAUSE
            self._timer = loop.call_later(2 * _PAUSE, self._overdue)
        late_us = min(late_us, _MOST_US)
        place = destination, lane(late_us)
        self._counts[place] = self._counts.get(place, 0) + 1
        if len(self._counts) >= _MANY:
            self._ready_at = 0.0
        self._worst_us[destination] = max(late_us, self._worst_us.get(destination, 0))

    def _overdue(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.flush())

    async def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._ready_at = 0.0
            # It is lost then.
            with suppress(StoreUnavailable):
                await self._settle()

    def take(self) -> Taken:
        """Hand over what has waited long enough."""
        minute = self._clock.now_ms() // _MINUTE_MS
        if self._timer is None or asyncio.get_running_loop().time() < self._ready_at:
            return Taken("", 2 * (minute % _DAY), _keys_of(self._kind, minute))
        self._timer.cancel()
        self._timer = None
        lanes = dict.fromkeys(self._worst_us, "")
        for (destination, number), count in self._counts.items():
            lanes[destination] += f"{number}={count},"
        text = "".join(f"{worst} {lanes[destination]} {destination}\n" for destination, worst in self._worst_us.items())
        self._worst_us, self._counts = {}, {}
        return Taken(text, 2 * (minute % _DAY), _keys_of(self._kind, minute))


@lru_cache(maxsize=4)
def _keys_of(kind: str, minute: int) -> Sequence[bytes]:
    found: list[bytes] = []
    for time in (("minute", minute), ("hour", minute // _HOUR)):
        found += (keys.lateness(kind, *time), keys.lateness_ranks(*time), keys.lateness_rows(*time))
    found.append(keys.activity(minute // _DAY))
    return found


class Punctual(Calls):
    """The verbs about punctuality."""

    async def punctuality(self, windows: Sequence[Window]) -> Mapping[Window, Punctuality]:
        now = self._clock.now_ms() // _MINUTE_MS
        times = {window: list(_times(now - window.minutes, now)) for window in windows}
        needed = dict.fromkeys(time for its in times.values() for time in its)
        names = [keys.lateness(kind, *time) for time in needed for kind in _KINDS]
        values = await self._command("MGET", *names)
        known = {name: _lateness(value) for name, value in zip(names, values, strict=True) if value is not None}
        return {
            window: Punctuality(
                since=from_ms((now - window.minutes) * _MINUTE_MS),
                messages=_sum(known.get(keys.lateness("m", *time)) for time in its),
                executions=_sum(known.get(keys.lateness("j", *time)) for time in its),
            )
            for window, its in times.items()
        }

    async def activity(self, minutes: int) -> Sequence[Minute]:
        last = self._clock.now_ms() // _MINUTE_MS
        first = last - minutes + 1
        days = range(first // _DAY, last // _DAY + 1)
        strings = await self._command("MGET", *map(keys.activity, days))
        counts = dict(zip(days, map(_counts, strings), strict=True))
        found: list[Minute] = []
        for start in range(first, last + 1, _MINUTES):
            numbers = range(start, min(start + _MINUTES, last + 1))
            # Each part is a turn of the loop, which a day would hold up for longer than a delivery may wait.
            values = await self._command(
                "MGET", *(keys.lateness(kind, "minute", i) for i in numbers for kind in _KINDS)
            )
            for number, messages, executions in zip(numbers, values[::2], values[1::2], strict=True):
                late = [value for value in (messages, executions) if value is not None]
                figures = (
                    figures_of(max(map(_worst_us, late)), *(value[_WORST_BYTES:] for value in late)) if late else None
                )
                day, place = counts[number // _DAY], 2 * (number % _DAY)
                ended, failed = day[place : place + 2] if place < len(day) else (0, 0)
                found.append(
                    Minute(
                        at=from_ms(number * _MINUTE_MS),
                        attempts=ended,
                        failures=failed,
                        p50_ms=figures.p50_ms if figures else None,
                        p99_ms=figures.p99_ms if figures else None,
                    )
                )
        return found

    async def latest(self, window: Window) -> Latest:
        now = self._clock.now_ms() // _MINUTE_MS
        first = now - window.minutes
        times = [("minute", number) for number in range(first, now + 1)]
        if window is Window.DAY:
            # Their minutes are not kept for so long.
            times = [("hour", number) for number in range(first // _HOUR, now // _HOUR + 1)]
            first -= first % _HOUR
        worst_us: defaultdict[bytes, int] = defaultdict(int)
        found: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for start in range(0, len(times), _TOGETHER):
            key_names: list[bytes] = []
            for time in times[start : start + _TOGETHER]:
                key_names += (keys.lateness_ranks(*time), keys.lateness_rows(*time))
            answers = await self._run("latest", key_names, [])
            for ranks, rows in zip(answers[::2], answers[1::2], strict=True):
                for place, score in zip(ranks[::2], ranks[1::2], strict=True):
                    worst, row = divmod(int(float(score)), keys.MOST_DESTINATIONS)
                    worst_us[place] = max(worst_us[place], worst)
                    found[place].append(rows[row * ROW_BYTES : (row + 1) * ROW_BYTES])
        destinations = {
            Destination(place.decode()): Lateness.read(worst_us[place], *its) for place, its in found.items()
        }
        return Latest(since=from_ms(first * _MINUTE_MS), destinations=destinations)


def _times(first: int, last: int) -> Iterable[tuple[str, int]]:
    """Yield the hours that lie between two minutes, both included, and the minutes that are left."""
    minute = first
    while minute <= last:
        # The hour that goes on counts whole: nothing is later than now.
        if minute % _HOUR == 0:
            yield "hour", minute // _HOUR
            minute += _HOUR
        else:
            yield "minute", minute
            minute += 1


def _lateness(value: bytes) -> Lateness:
    return Lateness.read(_worst_us(value), value[_WORST_BYTES:])


def _worst_us(value: bytes) -> int:
    return int.from_bytes(value[:_WORST_BYTES]) - 1


def _counts(value: bytes | None) -> Sequence[int]:
    """Return the counters of a string, which ends after the last pair that was written."""
    return () if value is None else struct.unpack(f">{len(value) // 4}I", value)


def _sum(parts: Iterable[Lateness | None]) -> Lateness:
    return sum(filter(None, parts), Lateness())
