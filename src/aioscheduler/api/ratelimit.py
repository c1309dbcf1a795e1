"""How often one caller may call."""

from __future__ import annotations

import math
from collections import OrderedDict

from aioscheduler.clock import Clock
from aioscheduler.errors import RateLimited, Sentence

#: Callers remembered at once. Who is forgotten starts with a full bucket again, which costs an attacker more addresses
#: than it gains him.
MAX_CALLERS = 10_000


class RateLimiter:
    """A token bucket for each caller: so many requests a second, and as many at once (at least one)."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._rate = per_second
        self._burst = max(1.0, per_second)
        self._clock = clock
        #: caller -> (what is left, when it was counted); the one seen longest ago stands first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request.

        :raises RateLimited: the caller's bucket is empty
        """
        now = self._clock.monotonic()
        left, at = self._buckets.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        allowed = left >= 1
        self._buckets[caller] = (left - allowed, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        if not allowed:
            seconds = max(1, math.ceil((1 - left) / self._rate))
            raise RateLimited(Sentence("Too many requests: try again in {seconds} s.", seconds=seconds), seconds)
