"""One replica under test: the service, on the settings of its environment, with a wall clock that can be stepped.

``python -m aioscheduler.verify.replica`` reads lines from its standard input: ``step 2.5`` steps the clock by so many
seconds. When the input ends, whoever started it is gone, and so is the replica.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import datetime, timedelta

from aioscheduler.clock import SystemClock
from aioscheduler.config import load_settings
from aioscheduler.logs import configure
from aioscheduler.server import run, serve

_READ = 4096


class SteppedClock(SystemClock):
    """The machine's clocks, the wall clock as far off as somebody stepped it."""

    def __init__(self) -> None:
        super().__init__()
        self._offset_ms = 0

    def step(self, seconds: float) -> None:
        """Step the wall clock forward, or back. Nobody is woken."""
        self._offset_ms += round(seconds * 1000)

    def now(self) -> datetime:
        return super().now() + timedelta(milliseconds=self._offset_ms)

    def now_ms(self) -> int:
        return super().now_ms() + self._offset_ms

    def certain_ms(self) -> float:
        return super().certain_ms() + self._offset_ms

    async def wait(self, wake: asyncio.Event, until_ms: float | None) -> None:
        await super().wait(wake, None if until_ms is None else until_ms - self._offset_ms)


class Orders:
    """Follows what comes in on a file descriptor."""

    def __init__(self, source: int, clock: SteppedClock) -> None:
        self._source = source
        self._clock = clock
        self._rest = b""

    def read(self) -> None:
        """Read what is there."""
        data = os.read(self._source, _READ)
        if not data:
            os.kill(os.getpid(), signal.SIGKILL)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            verb, _, value = line.decode().partition(" ")
            if verb == "step":
                self._clock.step(float(value))


async def main() -> int:
    """Serve until told to stop."""
    settings = load_settings(os.environ)
    configure(settings.log_level, settings.log_format)
    clock = SteppedClock()
    source = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    loop.add_reader(source, Orders(source, clock).read)
    try:
        return await serve(settings, lambda text: None, clock)
    finally:
        loop.remove_reader(source)


if __name__ == "__main__":
    sys.exit(run(main()))
