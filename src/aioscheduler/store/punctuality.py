"""How late first attempts left: counted by the settles, read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from aioscheduler.clock import from_ms
from aioscheduler.domain.punctuality import ROW_BYTES, Lateness, Window
from aioscheduler.domain.target import Destination
from aioscheduler.store import keys
from aioscheduler.store.base import Latest, Punctuality
from aioscheduler.store.calls import Calls

_MINUTE_MS: Final = 60_000
_HOUR: Final = 60
_KINDS: Final = ("m", "j")
#: What stands before the counters: the worst.
_WORST_BYTES: Final = 8
#: How many minutes or hours one call reads the destinations of: some 370 KB at most.
_TOGETHER: Final = 8


def lateness_keys(kind: str, now_ms: int) -> Sequence[bytes]:
    """Return what a settle counts punctuality in, ``m`` that of messages and ``j`` that of executions."""
    return _keys_of(kind, now_ms // _MINUTE_MS)


@lru_cache(maxsize=4)
def _keys_of(kind: str, minute: int) -> Sequence[bytes]:
    found: list[bytes] = []
    for time in (("minute", minute), ("hour", minute // _HOUR)):
        found += (keys.lateness(kind, *time), keys.lateness_ranks(*time), keys.lateness_rows(*time))
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

    async def latest(self, window: Window) -> Latest:
        now = self._clock.now_ms() // _MINUTE_MS
        first = now - window.minutes
        times = [("minute", number) for number in range(first, now + 1)]
        if window is Window.DAY:
            # Their minutes are not kept for so long.
            times = [("hour", number) for number in range(first // _HOUR, now // _HOUR + 1)]
            first -= first % _HOUR
        found: dict[bytes, Lateness] = {}
        for start in range(0, len(times), _TOGETHER):
            key_names: list[bytes] = []
            for time in times[start : start + _TOGETHER]:
                key_names += (keys.lateness_ranks(*time), keys.lateness_rows(*time))
            answers = await self._run("latest", key_names, [])
            for ranks, rows in zip(answers[::2], answers[1::2], strict=True):
                for place, score in zip(ranks[::2], ranks[1::2], strict=True):
                    worst_us, row = divmod(int(float(score)), keys.MOST_DESTINATIONS)
                    its = Lateness.read(worst_us, rows[row * ROW_BYTES : (row + 1) * ROW_BYTES])
                    found[place] = found[place] + its if place in found else its
        destinations = {Destination(place.decode()): lateness for place, lateness in found.items()}
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
    worst_us = int.from_bytes(value[:_WORST_BYTES]) - 1
    return Lateness.read(worst_us, value[_WORST_BYTES:])


def _sum(parts: Iterable[Lateness | None]) -> Lateness:
    return sum(filter(None, parts), Lateness())
