"""Attempts and executions, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple, NewType

ExecutionId = NewType("ExecutionId", str)


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


class Opening(NamedTuple):
    """How long each step took on the way to a new connection, in milliseconds; ``None`` for one that was not needed, or
    not reached."""

    dns_ms: float | None
    connect_ms: float | None
    tls_ms: float | None


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
    ours: bool = False
    """It failed for a reason of this machine or of ours: it says nothing about the receiver."""
    location: str | None = None
    """Where a redirect leads, which is not followed."""
    body: bytes = b""
    """The beginning of the answer, as far as the request asked to keep it."""
    opening: Opening | None = None
    """How long its connection took to open, if it was not a kept one."""


class ExecutionStatus(Enum):
    """Where an execution stands: ``queued``, then ``running``, then one of the others for good."""

    QUEUED = "queued"
    """Due, or waiting for its time or for the run before."""
    RUNNING = "running"
    """Leased: the attempt is being made."""
    SUCCESS = "success"
    """The webhook answered with 2xx, or the bot ended well."""
    FAILURE = "failure"
    """Answered otherwise or not reached; where the retry policy allows it, a further execution follows."""
    TIMED_OUT = "timed_out"
    """No answer within the time limit, otherwise as a failure."""
    DEAD_LETTER = "dead_letter"
    """The last attempt, however it failed: none follows unless somebody asks for it."""
    SKIPPED = "skipped"
    """An occurrence that was not run, for its :class:`SkipReason`."""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return self in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING)


class SkipReason(Enum):
    """Why an occurrence was not run."""

    MAX_INSTANCES = "max_instances"
    """As many runs as the job may have at once were going on."""
    MISFIRE = "misfire"
    """Nobody could run it within the job's misfire grace."""
    COALESCED = "coalesced"
    """Several were missed, and this one was merged into the latest of them."""


@dataclass(slots=True, kw_only=True)
class Execution:
    """One attempt of one webhook in one run of a job, or one run of a bot. Not frozen: some are made for every attempt,
    and that costs less.

    ``run_id`` is ``job@fire time``; ``scheduled_for`` the fire time. ``skipped`` counts the occurrences that a skipped
    one stands for. ``failures`` counts the attempts of the same webhook in the same run that failed before this one.
    ``response_body`` is the beginning of the answer, ``result`` what a bot tells of its run. A lease of the running
    attempt stands in ``worker_id`` by its replica.
    """

    id: ExecutionId
    job_id: str
    run_id: str
    webhook_id: str | None
    status: ExecutionStatus
    attempt: int
    scheduled_for: datetime
    created_at: datetime
    failures: int = 0
    due_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: float | None = None
    response_code: int | None = None
    response_body: str | None = None
    error: str | None = None
    worker_id: str | None = None
    skip_reason: SkipReason | None = None
    skipped: int = 0
    result: Mapping[str, object] | None = None
    messages_sent: int = 0
    profiles_visited: int = 0
