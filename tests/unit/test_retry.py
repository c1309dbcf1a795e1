from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.domain.retry import (
    JITTER,
    MAX_ATTEMPTS,
    MAX_BACKOFF_SECONDS,
    BackoffType,
    RetryOverrides,
    RetryPolicy,
    check_retry,
)
from aioscheduler.errors import InvalidInput

SECONDS = st.floats(0, MAX_BACKOFF_SECONDS).map(lambda seconds: timedelta(seconds=seconds))
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, MAX_ATTEMPTS),
    backoff=SECONDS,
    backoff_type=st.sampled_from(BackoffType),
    max_backoff=SECONDS,
)


@pytest.mark.parametrize(
    ("kind", "waits"),
    [
        (BackoffType.EXPONENTIAL, [10, 20, 40, 80, 100]),
        (BackoffType.LINEAR, [10, 20, 30, 40, 50]),
        (BackoffType.FIXED, [10, 10, 10, 10, 10]),
    ],
)
def test_the_wait_grows_as_its_type_says_up_to_the_cap(kind: BackoffType, waits: list[int]) -> None:
    policy = RetryPolicy(backoff=timedelta(seconds=10), backoff_type=kind, max_backoff=timedelta(seconds=100))
    assert [policy.backoff_after(failures).total_seconds() for failures in range(1, 6)] == waits


def test_a_policy_allows_so_many_attempts_and_no_more() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert policy.wait_after(2, None, 0) is not None
    assert policy.wait_after(3, None, 0) is None
    assert RetryPolicy(max_attempts=1).wait_after(1, timedelta(seconds=1), 0) is None


def test_the_receivers_wish_counts_when_it_is_longer_and_up_to_the_cap() -> None:
    policy = RetryPolicy(backoff=timedelta(seconds=10), max_backoff=timedelta(seconds=60))
    for wish, wait in ((0, 10), (5, 10), (30, 30), (86_400, 60)):
        assert policy.wait_after(1, timedelta(seconds=wish), 0) == timedelta(seconds=wait)


@given(policy=POLICIES, failures=st.integers(1, MAX_ATTEMPTS), chance=st.floats(0, 1), wish=st.none() | SECONDS)
def test_jitter_only_adds_and_at_most_its_share(
    policy: RetryPolicy, failures: int, chance: float, wish: timedelta | None
) -> None:
    without, wait = policy.wait_after(failures, wish, 0), policy.wait_after(failures, wish, chance)
    if without is None:
        assert wait is None
        assert failures >= policy.max_attempts
        return
    assert wait is not None
    assert without <= wait <= without * (1 + JITTER) + timedelta(microseconds=1)
    assert without <= policy.max_backoff


@given(policy=POLICIES, failures=st.integers(1, MAX_ATTEMPTS - 1))
def test_no_wait_is_shorter_than_the_one_before(policy: RetryPolicy, failures: int) -> None:
    assert timedelta() <= policy.backoff_after(failures) <= policy.backoff_after(failures + 1) <= policy.max_backoff


@given(policy=POLICIES)
def test_overrides_replace_what_they_name_and_leave_the_rest(policy: RetryPolicy) -> None:
    assert RetryOverrides().over(policy) == policy
    changed = RetryOverrides(max_attempts=7, backoff_seconds=0).over(policy)
    assert (changed.max_attempts, changed.backoff) == (7, timedelta())
    assert (changed.backoff_type, changed.max_backoff) == (policy.backoff_type, policy.max_backoff)


def test_what_a_client_writes_becomes_overrides() -> None:
    given_ = {"maxAttempts": 50, "backoffSeconds": 1.5, "backoffType": "linear", "maxBackoffSeconds": 60, "other": 1}
    assert check_retry(given_) == RetryOverrides(
        max_attempts=50, backoff_seconds=1.5, backoff_type=BackoffType.LINEAR, max_backoff_seconds=60
    )
    assert check_retry({}) == RetryOverrides()
    assert check_retry({"maxAttempts": 5.0}) == RetryOverrides(max_attempts=5)


BAD_MEMBERS: dict[str, list[object]] = {
    "maxAttempts": [0, 51, -1, "5", 5.5, True, None, []],
    "backoffSeconds": [-1, "10", True, None, float("nan"), float("inf"), 10**9],
    "maxBackoffSeconds": [-0.1, "60", False, None, float("nan"), 10**9],
    "backoffType": ["random", "", "FIXED", None, 1, []],
}


@pytest.mark.parametrize(
    ("member", "value"),
    [(member, value) for member, values in BAD_MEMBERS.items() for value in values],
)
def test_a_bad_member_is_refused_by_its_dotted_name(member: str, value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_retry({member: value})
    assert list(caught.value.errors) == [f"retry.{member}"]


def test_all_bad_members_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_retry({"maxAttempts": 0, "backoffType": "x", "backoffSeconds": -1, "maxBackoffSeconds": "1"})
    assert len(caught.value.errors) == 4


@pytest.mark.parametrize("retry", [None, [], "x", 3, True])
def test_a_retry_that_is_no_object_is_refused(retry: object) -> None:
    with pytest.raises(InvalidInput, match=r"^retry: must be an object"):
        check_retry(retry)
