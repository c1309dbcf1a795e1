"""What a receiver asks for with Retry-After, within what the policy allows."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from aioscheduler.domain.retry import JITTER, MAX_ATTEMPTS, RetryPolicy
from tests.unit.test_retry import POLICIES

WISHES = st.integers(0, 10**9).map(lambda seconds: timedelta(seconds=seconds))


@settings(derandomize=True, max_examples=200)
@given(policy=POLICIES, failures=st.integers(1, MAX_ATTEMPTS), wish=WISHES, chance=st.floats(0, 1))
def test_a_wish_only_lengthens_the_wait_and_never_beyond_the_cap(
    policy: RetryPolicy, failures: int, wish: timedelta, chance: float
) -> None:
    plain, wait = policy.wait_after(failures, None, chance), policy.wait_after(failures, wish, chance)
    assert (plain is None) == (wait is None) == (failures >= policy.max_attempts)
    if plain is None or wait is None:
        return
    assert plain <= wait <= policy.max_backoff * (1 + JITTER) + timedelta(microseconds=1)
    assert wait >= min(wish, policy.max_backoff)
