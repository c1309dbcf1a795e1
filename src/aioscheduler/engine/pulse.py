"""Whether this process stood still: stopped by a signal or a debugger, suspended with its machine, or starved."""

from __future__ import annotations

import asyncio
from typing import Final

from aioscheduler.clock import Clock

#: How often the process feels its pulse, and what gap between two beats counts as standing still, in seconds. Others
#: take it for dead only after several times as long.
BEAT_SECONDS: Final = 0.05
STILL_SECONDS: Final = 0.25


class Pulse:
    """Tells what was decided before the process stood still from what was decided after.

    A lease from before may be another replica's by now, and its message deleted by a client who has his answer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.monotonic()
        self._resumed_at = float("-inf")

    def beat(self) -> None:
        """Say that the process runs."""
        now = self._clock.monotonic()
        if now - self._last > STILL_SECONDS:
            self._resumed_at = now
        self._last = now

    def stood_still(self, since: float) -> bool:
        """Say whether the process stood still after ``since``, by the monotonic clock."""
        self.beat()
        return self._resumed_at > since

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_SECONDS)
