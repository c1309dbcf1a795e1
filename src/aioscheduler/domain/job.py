"""Job: a recurring definition, which owns a schedule and says what to run; its webhooks.

Ids are UUIDs that tell where they belong: the first 60 bits of a job's id stand again in the ids of its webhooks and
executions, and the rest of a job's id follows from these 60 bits. So whoever has the id of an execution has its job's,
without an index of all executions there are.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NewType

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.execution import ExecutionId, ExecutionStatus
from aioscheduler.domain.instant import rfc3339
from aioscheduler.domain.message import Version
from aioscheduler.domain.retry import BackoffType, RetryPolicy
from aioscheduler.domain.target import Destination
from aioscheduler.domain.trigger import Schedule
from aioscheduler.errors import InvalidInput, Sentence

JobId = NewType("JobId", str)
WebhookId = NewType("WebhookId", str)
#: Whose a job is: an account's UUID in lower case, or :data:`BOTS`.
Owner = NewType("Owner", str)

#: The owner of all bot jobs.
BOTS = Owner("bots")

MAX_NAME_LENGTH = 255
MAX_DESCRIPTION_LENGTH = 2000
MAX_INSTANCES = 100
#: More than one call can wait for.
MAX_WEBHOOKS = 100
MAX_WEBHOOK_URL_LENGTH = 500
#: What a body template may name.
BODY_NAMES = frozenset(
    {"job.id", "job.name", "job.account_id", "execution.id", "execution.attempt", "scheduled_at", "now"}
)
WEBHOOK_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")

DEFAULT_RETRY = RetryPolicy(
    max_attempts=3,
    backoff=timedelta(seconds=60),
    backoff_type=BackoffType.EXPONENTIAL,
    max_backoff=timedelta(seconds=3600),
)
#: Bots are not tried again: their next fire time is.
NO_RETRY = RetryPolicy(max_attempts=1)
DEFAULT_MISFIRE_GRACE = timedelta(seconds=3600)

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_TAIL_BITS = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What runs, and when. ``version`` changes with every change of the job or of its webhooks.

    ``type`` is the number an account gave, which means nothing to the service. ``bot_type`` and ``bot_config`` are
    those of a bot job.
    """

    id: JobId
    version: Version
    owner: Owner
    name: str
    schedule: Schedule
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    type: int | None = None
    enabled: bool = True
    retry: RetryPolicy = DEFAULT_RETRY
    max_instances: int = 1
    coalesce: bool = True
    misfire_grace: timedelta = DEFAULT_MISFIRE_GRACE
    bot_type: str | None = None
    bot_config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWebhook:
    """One call that every run of a job makes. The members are as the caller gave them, once they were found legal."""

    id: WebhookId
    job_id: JobId
    url: str
    destination: Destination
    method: str
    created_at: datetime
    updated_at: datetime
    headers: Mapping[str, str] | None = None
    query_params: Mapping[str, object] | None = None
    body_template: str | None = None
    timeout_seconds: float = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The last run of a job: when it was made, and how the latest of its executions to end did."""

    at: datetime
    status: ExecutionStatus
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveJob:
    """A job as it stands. ``next_run_at`` is ``None`` while it is disabled."""

    job: Job
    next_run_at: datetime | None
    last_run: LastRun | None


def _uuid(bits: int, version: int) -> str:
    """Return a UUID of 122 bits (RFC 9562 section 4)."""
    head, middle, tail = bits >> 74, bits >> 62 & 0xFFF, bits & (1 << _TAIL_BITS) - 1
    text = f"{head << 80 | version << 76 | middle << 64 | 0b10 << 62 | tail:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _tail(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 2


def _job_id(prefix: int) -> JobId:
    return JobId(_uuid(prefix << _TAIL_BITS | _tail(f"job {prefix}"), 7))


def _prefix(uuid: str) -> int:
    return int(uuid[:8] + uuid[9:13] + uuid[15:18], 16)


def new_job_id(now: datetime) -> JobId:
    """Return a UUIDv7 (RFC 9562 section 5.7); two made in one millisecond are the same once in 4,096 times."""
    return _job_id(to_ms(now) << 12 | int.from_bytes(os.urandom(2)) >> 4)


def new_webhook_id(job_id: JobId, now: datetime) -> WebhookId:
    """Return a UUIDv8 (RFC 9562 section 5.8); ids of one job sort as they were made."""
    tail = (to_ms(now) & (1 << 42) - 1) << 20 | int.from_bytes(os.urandom(3)) >> 4
    return WebhookId(_uuid(_prefix(job_id) << _TAIL_BITS | tail, 8))


def execution_id(job_id: JobId, run_id: str, webhook_id: WebhookId | None, attempt: int) -> ExecutionId:
    """Return the one id that an attempt of an occurrence can have, a UUIDv8: so nothing can be made twice."""
    tail = _tail(f"{run_id}\n{webhook_id or ''}\n{attempt}")
    return ExecutionId(_uuid(_prefix(job_id) << _TAIL_BITS | tail, 8))


def skip_id(job_id: JobId, run: str) -> ExecutionId:
    """Return the id of an occurrence that is not run: that of an attempt number 0."""
    return execution_id(job_id, run, None, 0)


def job_of(other_id: str) -> JobId | None:
    """Return the id of the job that a webhook or an execution belongs to; ``None`` for a text that is no UUID."""
    lower = other_id.lower()
    return _job_id(_prefix(lower)) if _UUID.fullmatch(lower) else None


def run_id(job_id: JobId, fire_ms: int) -> str:
    """Return the name of an occurrence: ``job@fire time``."""
    return f"{job_id}@{rfc3339(from_ms(fire_ms))}"


def run_webhook_id(run: str, webhook_id: WebhookId | None) -> str:
    """Return the ``webhook-id`` of every attempt of one webhook in one run: derived, and free of anybody's text."""
    return "run_" + hashlib.blake2b(f"{run}\n{webhook_id or ''}".encode(), digest_size=20).hexdigest()


def check_account(value: object, name: str = "account_id") -> Owner:
    """Return an account's id in lower case.

    :raises InvalidInput: no UUID in text
    """
    if not isinstance(value, str) or not _UUID.fullmatch(value.lower()):
        raise InvalidInput.of(name, Sentence("must be a UUID"))
    return Owner(value.lower())


def check_name(value: object, name: str = "name") -> str:
    """Return a job's name.

    :raises InvalidInput: no string, empty, blank or over 255 characters
    """
    if not isinstance(value, str):
        raise InvalidInput.of(name, Sentence("must be a string"))
    if not value.strip() or len(value) > MAX_NAME_LENGTH:
        raise InvalidInput.of(name, Sentence("must have 1 to {max} characters", max=MAX_NAME_LENGTH))
    return value
