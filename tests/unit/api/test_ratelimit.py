"""Token buckets."""

from __future__ import annotations

import pytest

from aioscheduler.api import ratelimit
from aioscheduler.api.ratelimit import RateLimiter
from aioscheduler.errors import RateLimited
from tests.support.clock import FakeClock


def _taken(limiter: RateLimiter, caller: str, tries: int) -> int:
    taken = 0
    for _ in range(tries):
        try:
            limiter.take(caller)
            taken += 1
        except RateLimited:
            continue
    return taken


def test_a_bucket_fills_at_its_rate_up_to_its_burst() -> None:
    clock = FakeClock()
    limiter = RateLimiter(10, clock)
    assert _taken(limiter, "a", 20) == 10
    clock.move(0.25)
    assert _taken(limiter, "a", 20) == 2
    clock.move(60)
    assert _taken(limiter, "a", 20) == 10


def test_a_rate_below_one_lets_one_through_and_says_when_to_come_back() -> None:
    limiter = RateLimiter(0.1, FakeClock())
    limiter.take("a")
    with pytest.raises(RateLimited) as refused:
        limiter.take("a")
    assert refused.value.retry_after == 10


def test_callers_do_not_share_a_bucket_and_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "MAX_CALLERS", 2)
    limiter = RateLimiter(1, FakeClock())
    for caller in ("a", "b", "c"):
        limiter.take(caller)
    assert _taken(limiter, "c", 1) == 0
    assert _taken(limiter, "a", 1) == 1
