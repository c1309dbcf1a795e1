from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.retry import RetryPolicy
from aioscheduler.engine.decide import Defaults, after_attempt, before_attempt
from aioscheduler.store.base import Claimed, Decision, Lease
from tests.support.clock import START
from tests.support.messages import message, outcome

DEFAULTS = Defaults(
    retry=RetryPolicy(max_attempts=3, backoff=timedelta(seconds=10)), timeout_seconds=30, misfire_grace=None
)


def claimed(failures: int = 0, **given: Any) -> Claimed:
    return Claimed(
        message=message(**given),
        record=b"",
        lease=Lease("l"),
        attempt=failures + 1,
        failures=failures,
        last_error=None,
        due_at=START,
        claimed_at=START,
        origin="- -",
    )


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(
    ("own", "default", "late", "missed"),
    [
        (None, None, 10**6, False),
        (None, 60, 60, False),
        (None, 60, 60.001, True),
        (5, 60, 6, True),
        (90, 60, 80, False),
        (0, None, 0, False),
        (0, 60, 0.001, True),
    ],
)
def test_a_first_attempt_that_comes_too_late_is_not_made(
    own: float | None, default: float | None, late: float, missed: bool
) -> None:
    lease = claimed() if own is None else claimed(misfireGraceSeconds=own)
    defaults = replace(DEFAULTS, misfire_grace=None if default is None else seconds(default))
    settlement = before_attempt(lease, defaults, START + seconds(late))
    assert (settlement is not None) is missed
    if settlement is not None:
        assert (settlement.decision, settlement.reason) == (Decision.BURY, DeadReason.MISSED_WINDOW)
        assert settlement.outcome is None
        assert not settlement.begun


def test_the_grace_is_for_the_first_attempt_only() -> None:
    lease = claimed(failures=1, misfireGraceSeconds=1)
    assert before_attempt(lease, DEFAULTS, START + seconds(3600)) is None


def test_a_success_is_done() -> None:
    settlement = after_attempt(claimed(), outcome(), DEFAULTS, 0.5)
    assert (settlement.decision, settlement.outcome) == (Decision.DONE, outcome())


@pytest.mark.parametrize("kind", [OutcomeKind.FAILURE, OutcomeKind.TIMED_OUT])
def test_a_failure_is_tried_again_after_its_back_off_from_its_end(kind: OutcomeKind) -> None:
    ended = replace(outcome(kind), finished_at=START + seconds(7))
    settlement = after_attempt(claimed(failures=1), ended, DEFAULTS, 0.0)
    assert (settlement.decision, settlement.retry_at) == (Decision.RETRY, START + seconds(7 + 20))


def test_jitter_is_added_and_never_subtracted() -> None:
    failed = outcome(OutcomeKind.FAILURE)
    times = [after_attempt(claimed(), failed, DEFAULTS, chance).retry_at for chance in (0.0, 0.5, 1.0)]
    assert times == [START + seconds(10), START + seconds(10.5), START + seconds(11)]


def test_the_last_failure_buries_it_and_attempts_cut_short_do_not_count() -> None:
    failed = outcome(OutcomeKind.FAILURE)
    settlement = after_attempt(claimed(failures=2), failed, DEFAULTS, 0.0)
    assert (settlement.decision, settlement.reason) == (Decision.BURY, DeadReason.RETRIES_EXHAUSTED)
    many_cut_short = replace(claimed(failures=1), attempt=40)
    assert after_attempt(many_cut_short, failed, DEFAULTS, 0.0).decision is Decision.RETRY


def test_a_permanent_failure_is_not_tried_again() -> None:
    gone = outcome(OutcomeKind.FAILURE, code=410, permanent=DeadReason.GONE)
    settlement = after_attempt(claimed(), gone, DEFAULTS, 0.0)
    assert (settlement.decision, settlement.reason) == (Decision.BURY, DeadReason.GONE)


def test_a_receiver_may_ask_for_a_longer_wait_up_to_the_cap() -> None:
    def wait(asked: float) -> timedelta:
        lease = claimed(retry={"maxBackoffSeconds": 100})
        settlement = after_attempt(lease, outcome(OutcomeKind.FAILURE, retry_after=seconds(asked)), DEFAULTS, 0.0)
        assert settlement.retry_at is not None
        return settlement.retry_at - START

    assert [wait(asked) for asked in (1, 50, 5000)] == [seconds(10), seconds(50), seconds(100)]


def test_what_a_message_says_beats_the_settings() -> None:
    own = claimed(retry={"maxAttempts": 1}, timeoutSeconds=2.5).message
    assert (DEFAULTS.timeout_of(own), DEFAULTS.timeout_of(message())) == (2.5, 30)
    assert (DEFAULTS.retry_of(own).max_attempts, DEFAULTS.retry_of(message())) == (1, DEFAULTS.retry)
    once = claimed(retry={"maxAttempts": 1})
    assert after_attempt(once, outcome(OutcomeKind.FAILURE), DEFAULTS, 0.0).decision is Decision.BURY
