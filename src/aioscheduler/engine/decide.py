"""From an outcome to what becomes of the message. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from aioscheduler.domain.execution import DeadReason, Outcome, OutcomeKind
from aioscheduler.domain.message import Message, is_missed
from aioscheduler.domain.retry import RetryPolicy
from aioscheduler.store.base import Claimed, Decision, Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds where a message says nothing."""

    retry: RetryPolicy
    timeout_seconds: float
    misfire_grace: timedelta | None

    def timeout_of(self, message: Message) -> float:
        """Return the time limit of one attempt, in seconds."""
        return self.timeout_seconds if message.timeout_seconds is None else message.timeout_seconds

    def retry_of(self, message: Message) -> RetryPolicy:
        """Return the retry policy that holds for a message."""
        return self.retry if message.retry is None else message.retry.over(self.retry)


def before_attempt(claimed: Claimed, defaults: Defaults, now: datetime) -> Settlement | None:
    """Return how the lease ends at once when no attempt may be made; ``None`` when it may.

    The grace is for the first attempt: later ones are late on purpose.
    """
    grace = claimed.message.misfire_grace
    if claimed.failures == 0 and is_missed(claimed.due_at, defaults.misfire_grace if grace is None else grace, now):
        return Settlement(claimed=claimed, decision=Decision.BURY, reason=DeadReason.MISSED_WINDOW, begun=False)
    return None


def after_attempt(claimed: Claimed, outcome: Outcome, defaults: Defaults, chance: float) -> Settlement:
    """Return how the lease ends. ``chance``, from 0 to 1, decides the jitter."""
    if outcome.kind is OutcomeKind.SUCCESS:
        return Settlement(claimed=claimed, decision=Decision.DONE, outcome=outcome)
    if outcome.permanent is not None:
        return Settlement(claimed=claimed, decision=Decision.BURY, outcome=outcome, reason=outcome.permanent)
    wait = defaults.retry_of(claimed.message).wait_after(claimed.failures + 1, outcome.retry_after, chance)
    if wait is None:
        return Settlement(claimed=claimed, decision=Decision.BURY, outcome=outcome, reason=DeadReason.RETRIES_EXHAUSTED)
    return Settlement(claimed=claimed, decision=Decision.RETRY, outcome=outcome, retry_at=outcome.finished_at + wait)
