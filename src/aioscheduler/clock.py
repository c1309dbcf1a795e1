"""Where the time comes from. Nothing else in the package asks for it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

from aioscheduler.timerfd import Alarm

#: The longest single sleep, in seconds: how late a step of the wall clock, or a suspend, is noticed at most.
LONGEST_SLEEP = 0.5

#: What the wall clock may gain or lose against the monotonic one between two readings, in milliseconds.
STEP_MS = 50.0

#: How slow a clock that is being put right may go at most, beside another: half a thousandth, the kernel's limit.
_SLOWEST = 1 - 500e-6

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Wall clock, monotonic clock and the only way to sleep until an instant."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC: decides what is due."""
        ...

    def now_ms(self) -> int:
        """Return the wall clock in whole milliseconds since 1970, rounded down, so that nothing counts as due early."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start: for durations and timeouts only."""
        ...

    def certain_ms(self) -> float:
        """Return milliseconds since 1970 that have passed by every clock that counts: what is due by them is due.

        Never more than :meth:`now` shows, and a little behind it where another clock counts as well.
        """
        ...

    async def pause(self, seconds: float) -> None:
        """Return after so many seconds by the monotonic clock."""
        ...

    async def wait(self, wake: asyncio.Event, until_ms: float | None) -> None:
        """Return when ``wake`` is set, when the wall clock reaches ``until_ms``, or after :data:`LONGEST_SLEEP`.

        May return early: the caller asks again what is due. Does not clear ``wake``.
        """
        ...


class SystemClock:
    """The machine's clocks.

    Waits for the kernel's timer on the wall clock where there is one, which wakes at the instant, and at once when the
    clock is stepped. Besides, it sleeps at most :data:`LONGEST_SLEEP` at a time and reads the wall clock again, because
    the loop's own timers do not notice a step and stand still while the machine is suspended.
    """

    def __init__(self) -> None:
        self._alarms: list[Alarm] = []
        self._has_alarms = True

    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def certain_ms(self) -> float:
        return time.time_ns() // 1000 / 1000

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, wake: asyncio.Event, until_ms: float | None) -> None:
        seconds = LONGEST_SLEEP
        if until_ms is not None:
            seconds = min(seconds, until_ms / 1000 - time.time())
        if seconds <= 0 or wake.is_set():
            await asyncio.sleep(0)
            return
        alarm = self._alarm()
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_SLEEP if alarm else seconds) as limit:
                if alarm is not None:
                    at = time.time() + LONGEST_SLEEP if until_ms is None else until_ms / 1000
                    alarm.set(math.ceil(at * 1e9), lambda: limit.reschedule(0))
                try:
                    await wake.wait()
                finally:
                    if alarm is not None:
                        alarm.off()
                        self._alarms.append(alarm)

    def _alarm(self) -> Alarm | None:
        """Return a timer that nobody waits for."""
        while self._alarms:
            alarm = self._alarms.pop()
            if alarm.loop is asyncio.get_running_loop():
                return alarm
            alarm.close()
        if self._has_alarms:
            try:
                return Alarm()
            except (OSError, NotImplementedError):
                self._has_alarms = False
        return None

    def close(self) -> None:
        """Give back what the waits needed. May come twice; those that come later need something anew."""
        while self._alarms:
            self._alarms.pop().close()


class SteeredClock:
    """A clock put right by the store's, which decides what is due when several machines share it.

    As long as both agree to a few milliseconds, nothing is changed. A step of the machine's clock is not followed: this
    one goes on as if there had been none, until the store's is compared with it and says whether it was right.
    ``on_adjusted`` is told of each adjustment.
    """

    def __init__(self, inner: Clock) -> None:
        self.on_adjusted: Callable[[], None] | None = None
        self._inner = inner
        self._ahead_ms = 0
        self._drift = inner.now_ms() - inner.monotonic() * 1000
        #: What the store's clock showed, in µs, and by when by the monotonic clock: what says most of all known.
        self._compared: tuple[int, float] | None = None

    @property
    def ahead_ms(self) -> int:
        """By how much the machine's clock is ahead of the store's, in milliseconds, as far as that was put right."""
        return self._ahead_ms

    def adjust(self, ahead_ms: int) -> None:
        """Go so many milliseconds back, forward if negative, from what this clock shows now."""
        self._ahead_ms += ahead_ms
        if self.on_adjusted is not None:
            self.on_adjusted()

    def _notice_step(self, wall_ms: float) -> None:
        drift = wall_ms - self._inner.monotonic() * 1000
        if abs(drift - self._drift) > STEP_MS:
            self._ahead_ms += round(drift - self._drift)
        self._drift = drift

    def now(self) -> datetime:
        now = self._inner.now()
        self._notice_step(now.timestamp() * 1000)
        return now - timedelta(milliseconds=self._ahead_ms) if self._ahead_ms else now

    def now_ms(self) -> int:
        wall_ms = self._inner.now_ms()
        self._notice_step(wall_ms)
        return wall_ms - self._ahead_ms

    def monotonic(self) -> float:
        return self._inner.monotonic()

    def compare(self, store_us: int, asked: float, answered: float) -> None:
        """Learn what the store's clock showed, in µs since 1970, at a moment between two readings of the monotonic one.

        Until it is learnt better, the store's clock has reached at least that when the answer was there, and goes on.
        """
        if store_us < self._store_us(asked) or store_us >= self._store_us(answered):
            self._compared = store_us, answered

    def _store_us(self, moment: float) -> float:
        """Return what the store's clock has reached at a moment of the monotonic one, at least."""
        if self._compared is None:
            return -math.inf
        store_us, at = self._compared
        return store_us + (moment - at) * _SLOWEST * 1e6

    def certain_ms(self) -> float:
        wall_ms = self._inner.certain_ms()
        self._notice_step(wall_ms)
        return min(wall_ms - self._ahead_ms, self._store_us(self._inner.monotonic()) / 1000)

    async def pause(self, seconds: float) -> None:
        await self._inner.pause(seconds)

    async def wait(self, wake: asyncio.Event, until_ms: float | None) -> None:
        await self._inner.wait(wake, None if until_ms is None else until_ms + self._ahead_ms)


def to_ms(instant: datetime) -> int:
    """Return ``instant`` as milliseconds since 1970, rounded up: due times never become earlier."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + -(-delta.microseconds // 1000)


def whole_ms(instant: datetime) -> int:
    """Return ``instant`` as milliseconds since 1970, rounded down, as :meth:`Clock.now_ms` shows it."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def from_ms(ms: int) -> datetime:
    """Return the aware UTC instant of ``ms`` milliseconds since 1970."""
    return _EPOCH + timedelta(0, ms // 1000, ms % 1000 * 1000)  # by name they cost half as much again
