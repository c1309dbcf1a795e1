"""An attempt and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum


class OutcomeKind(Enum):
    """How one attempt ended."""

    SUCCESS = "success"
    """Answered with 2xx."""
    FAILURE = "failure"
    """Answered otherwise, or not reached."""
    TIMED_OUT = "timed_out"
    """No complete answer within the time limit."""


class DeadReason(Enum):
    """Why a message will not be attempted any more."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    """Every attempt it was allowed failed."""
    MISSED_WINDOW = "missed_window"
    """Nobody could attempt it within its misfire grace."""
    INVALID_RECORD = "invalid_record"
    """An outside writer's record that is none; its bytes are kept."""
    REJECTED_BY_POLICY = "rejected_by_policy"
    """The address policy forbids the target."""
    GONE = "gone"
    """The receiver answered 410 Gone."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one attempt. Not frozen: one is made for every attempt, and that costs less.

    ``permanent`` names the reason why no further attempt makes sense; ``retry_after`` is what the receiver asked for.
    ``sent_at`` is when the request left, ``answered_at`` when the answer's first bytes were there; ``None`` where it
    did not come to that.
    """

    kind: OutcomeKind
    started_at: datetime
    finished_at: datetime
    duration_ms: float
    sent_at: datetime | None = None
    answered_at: datetime | None = None
    response_code: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None
    permanent: DeadReason | None = None
