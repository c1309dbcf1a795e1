"""Builders: messages, outcomes and settlements with everything a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson

from aioscheduler.clock import to_ms
from aioscheduler.domain.execution import DeadReason, Outcome, OutcomeKind
from aioscheduler.domain.instant import rfc3339_ms
from aioscheduler.domain.message import Message, MessageId, new_version
from aioscheduler.domain.retry import check_retry
from aioscheduler.domain.target import WebhookTarget, check_headers, check_method, check_url
from aioscheduler.store.base import Claimed, Decision, Settlement
from tests.support.clock import START

URL = "http://127.0.0.1:9/hook"


def message(
    message_id: str = "m",
    *,
    due_in: float = 0,
    payload: bytes = b'{"n":1}',
    url: str = URL,
    now: datetime = START,
    **given: object,
) -> Message:
    """Return a message due so many seconds after ``now``; ``given`` are its optional members, as clients write them."""
    due_at = now + timedelta(seconds=due_in)
    timeout, grace = given.get("timeoutSeconds"), given.get("misfireGraceSeconds")
    assert timeout is None or isinstance(timeout, int | float)
    assert grace is None or isinstance(grace, int | float)
    return Message(
        id=MessageId(message_id),
        version=new_version(to_ms(now)),
        due_at=due_at,
        schedule_to=rfc3339_ms(due_at),
        payload=payload,
        target=WebhookTarget(
            url=url,
            destination=check_url(url),
            method=check_method(given.get("method", "POST")),
            headers=check_headers(given.get("headers", {})),
        ),
        created_at=now,
        timeout_seconds=timeout,
        retry=check_retry(given["retry"]) if "retry" in given else None,
        misfire_grace=None if grace is None else timedelta(seconds=grace),
        given=given,
    )


def outside_record(due_in: float = 0, *, url: str = URL, now: datetime = START, **members: object) -> bytes:
    """Return a record as another program writes it."""
    due_at = (now + timedelta(seconds=due_in)).astimezone(UTC)
    return orjson.dumps(
        {"id": "whatever", "scheduleTo": due_at.isoformat(), "payload": {"n": 1}, "webhookUrl": url, **members}
    )


def outcome(
    kind: OutcomeKind = OutcomeKind.SUCCESS,
    *,
    now: datetime = START,
    code: int | None = None,
    error: str | None = None,
    retry_after: timedelta | None = None,
    permanent: DeadReason | None = None,
) -> Outcome:
    """Return what came of an attempt that took no time at ``now``."""
    if code is None and kind is not OutcomeKind.TIMED_OUT:
        code = 200 if kind is OutcomeKind.SUCCESS else 500
    if error is None and kind is not OutcomeKind.SUCCESS:
        error = f"HTTP {code}"
    return Outcome(
        kind=kind,
        started_at=now,
        finished_at=now,
        duration_ms=12.5,
        sent_at=now,
        answered_at=now,
        response_code=code,
        error=error,
        retry_after=retry_after,
        permanent=permanent,
    )


def done(claimed: Claimed) -> Settlement:
    """Return the end of a lease whose attempt succeeded."""
    return Settlement(claimed=claimed, decision=Decision.DONE, outcome=outcome(now=claimed.claimed_at))


def retry(claimed: Claimed, *, after: float = 10, error: str | None = None) -> Settlement:
    """Return the end of a lease whose attempt failed and is made again so many seconds after the claim."""
    return Settlement(
        claimed=claimed,
        decision=Decision.RETRY,
        outcome=outcome(OutcomeKind.FAILURE, now=claimed.claimed_at, error=error),
        retry_at=claimed.claimed_at + timedelta(seconds=after),
    )


def bury(claimed: Claimed, reason: DeadReason = DeadReason.RETRIES_EXHAUSTED) -> Settlement:
    """Return the end of a lease after which the message is dead."""
    return Settlement(
        claimed=claimed,
        decision=Decision.BURY,
        outcome=outcome(OutcomeKind.FAILURE, now=claimed.claimed_at),
        reason=reason,
    )


def release(claimed: Claimed, *, begun: bool = False, retry_at: datetime | None = None) -> Settlement:
    """Return the end of a lease that is given back."""
    return Settlement(claimed=claimed, decision=Decision.RELEASE, begun=begun, retry_at=retry_at)
