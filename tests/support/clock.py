"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 4, 15, 2, 41, 45, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Turns of the loop after each waiter, enough for what it wakes to come to rest.
_SETTLE = 25


class FakeClock:
    """Wall clock and monotonic clock under the test's hand."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._monotonic = 1000.0
        self.pauses: list[float] = []
        """What was asked for; none takes any time."""
        self._waiters: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def now_ms(self) -> int:
        return int(self._now.timestamp() * 1000)

    def monotonic(self) -> float:
        return self._monotonic

    def certain_ms(self) -> float:
        return (self._now - _EPOCH) // timedelta(microseconds=1) / 1000

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def wait(self, wake: asyncio.Event, until_ms: float | None) -> None:
        until = self._now + timedelta(seconds=0.5)
        if until_ms is not None:
            until = min(until, datetime.fromtimestamp(until_ms / 1000, UTC))
        if until <= self._now or wake.is_set():
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((until, waiter))
        woken = asyncio.ensure_future(wake.wait())
        first: set[asyncio.Future[Any]] = {waiter, woken}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            waiter.cancel()

    def step(self, seconds: float) -> None:
        """Step the wall clock alone, as an administrator or NTP does. Nobody is woken."""
        self._now += timedelta(seconds=seconds)

    def move(self, seconds: float) -> None:
        """Let time pass at once, without anybody noticing in between."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    async def advance(self, seconds: float) -> None:
        """Let time pass: release waiters in order, and let the loop come to rest after each."""
        end = self._now + timedelta(seconds=seconds)
        while True:
            self._waiters = [(until, waiter) for until, waiter in self._waiters if not waiter.done()]
            due = sorted(until for until, _ in self._waiters if until <= end)
            if not due:
                break
            self.move(max(0.0, (due[0] - self._now).total_seconds()))
            for until, waiter in self._waiters:
                if until <= self._now and not waiter.done():
                    waiter.set_result(None)
            await _rest()
        self.move((end - self._now).total_seconds())
        await _rest()


async def _rest() -> None:
    for _ in range(_SETTLE):
        await asyncio.sleep(0)
