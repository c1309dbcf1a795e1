"""When a failed attempt is made again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from aioscheduler.errors import InvalidInput, Sentence

MAX_ATTEMPTS = 50
#: Bounds of a back-off, in seconds: 30 days keeps every computed instant a legal date.
MAX_BACKOFF_SECONDS = 30 * 86_400
#: Jitter adds up to this share of the back-off; it is never subtracted.
JITTER = 0.1


class BackoffType(Enum):
    """How the wait grows from one attempt to the next."""

    EXPONENTIAL = "exponential"
    """b, 2b, 4b, 8b …"""
    LINEAR = "linear"
    """b, 2b, 3b, 4b …"""
    FIXED = "fixed"
    """b, b, b …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently to try."""

    max_attempts: int = 5
    backoff: timedelta = timedelta(seconds=10)
    backoff_type: BackoffType = BackoffType.EXPONENTIAL
    max_backoff: timedelta = timedelta(seconds=3600)

    def backoff_after(self, failures: int) -> timedelta:
        """Return the wait after the given number of failed attempts, from 1, capped, without jitter."""
        base = self.backoff.total_seconds()
        cap = self.max_backoff.total_seconds()
        match self.backoff_type:
            case BackoffType.EXPONENTIAL:
                seconds = math.ldexp(base, failures - 1)
            case BackoffType.LINEAR:
                seconds = base * failures
            case BackoffType.FIXED:
                seconds = base
        return timedelta(seconds=min(seconds, cap))

    def wait_after(self, failures: int, retry_after: timedelta | None, chance: float) -> timedelta | None:
        """Return how long to wait after so many failed attempts; ``None`` when they are used up.

        :param retry_after: what the receiver asked for; obeyed up to ``max_backoff``
        :param chance: a number from 0 to 1 that decides the jitter, added last
        """
        if failures >= self.max_attempts:
            return None
        wait = self.backoff_after(failures)
        if retry_after is not None:
            wait = max(wait, min(retry_after, self.max_backoff))
        return wait * (1 + JITTER * chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOverrides:
    """What a message says about retries; ``None`` leaves the service's setting."""

    max_attempts: int | None = None
    backoff_seconds: float | None = None
    backoff_type: BackoffType | None = None
    max_backoff_seconds: float | None = None

    def over(self, defaults: RetryPolicy) -> RetryPolicy:
        """Return the policy that results."""
        return RetryPolicy(
            max_attempts=defaults.max_attempts if self.max_attempts is None else self.max_attempts,
            backoff=defaults.backoff if self.backoff_seconds is None else timedelta(seconds=self.backoff_seconds),
            backoff_type=self.backoff_type or defaults.backoff_type,
            max_backoff=(
                defaults.max_backoff
                if self.max_backoff_seconds is None
                else timedelta(seconds=self.max_backoff_seconds)
            ),
        )


def check_retry(retry: object, field: str = "retry") -> RetryOverrides:
    """Return the overrides a message's ``retry`` object asks for; unknown members are ignored.

    :raises InvalidInput: a member of the wrong type or out of its bounds
    """
    if not isinstance(retry, dict):
        raise InvalidInput.of(field, Sentence("must be an object"))
    errors: dict[str, list[Sentence]] = {}

    def number(name: str, least: float) -> float | None:
        value = retry.get(name)
        if value is None and name not in retry:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= MAX_BACKOFF_SECONDS:
            errors[f"{field}.{name}"] = [
                Sentence("must be a number from {min} to {max}", min=least, max=MAX_BACKOFF_SECONDS)
            ]
            return None
        return value

    attempts = retry.get("maxAttempts")
    if isinstance(attempts, float) and attempts.is_integer():  # JSON has one kind of number
        attempts = int(attempts)
    if "maxAttempts" in retry and (
        isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= MAX_ATTEMPTS
    ):
        errors[f"{field}.maxAttempts"] = [
            Sentence("must be a whole number from {min} to {max}", min=1, max=MAX_ATTEMPTS)
        ]
    kind: BackoffType | None = None
    if "backoffType" in retry:
        try:
            kind = BackoffType(retry["backoffType"])
        except ValueError:
            choices = ", ".join(item.value for item in BackoffType)
            errors[f"{field}.backoffType"] = [Sentence("must be one of {choices}", choices=choices)]
    backoff, cap = number("backoffSeconds", 0), number("maxBackoffSeconds", 0)
    if errors:
        raise InvalidInput(errors)
    return RetryOverrides(max_attempts=attempts, backoff_seconds=backoff, backoff_type=kind, max_backoff_seconds=cap)
