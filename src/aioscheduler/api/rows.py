"""Rows that answers and events have in common."""

from __future__ import annotations

from datetime import datetime, tzinfo
from itertools import pairwise
from typing import Any

from aioscheduler.api.i18n import Language, word
from aioscheduler.domain.instant import with_offset
from aioscheduler.store.base import Delivery


def delivery_row(delivery: Delivery, zone: tzinfo, speech: Language) -> dict[str, Any]:
    """Return an attempt as the delivery log tells it."""

    def at(instant: datetime | None) -> str | None:
        return None if instant is None else with_offset(instant, zone)

    of: dict[str, Any] = {"messageId": delivery.message_id}
    if delivery.job_id is not None:
        of = {"jobId": delivery.job_id, "executionId": delivery.execution_id}
    return {
        "id": delivery.id,
        **of,
        "attempt": delivery.attempt,
        "status": word(delivery.status.value, speech),
        "scheduledFor": at(delivery.scheduled_for),
        "dueAt": at(delivery.due_at),
        "claimedAt": at(delivery.claimed_at),
        "startedAt": at(delivery.started_at),
        "sentAt": at(delivery.sent_at),
        "answeredAt": at(delivery.answered_at),
        "finishedAt": at(delivery.finished_at),
        "latenessMs": delivery.lateness_ms,
        "durationMs": delivery.duration_ms,
        "timings": _timings(delivery),
        "responseCode": delivery.response_code,
        "error": delivery.error,
    }


def _timings(delivery: Delivery) -> dict[str, float]:
    """Return how long each phase took that was come to, in milliseconds."""
    took: dict[str, float] = {}
    if (opening := delivery.opening) is not None:
        steps = {"dns": opening.dns_ms, "connect": opening.connect_ms, "tls": opening.tls_ms}
        took = {name: ms for name, ms in steps.items() if ms is not None}
    instants = (delivery.started_at, delivery.sent_at, delivery.answered_at, delivery.finished_at)
    for name, (begin, end) in zip(("sent", "firstByte", "done"), pairwise(instants), strict=True):
        if begin is not None and end is not None:
            took[name] = max(0.0, round((end - begin).total_seconds() * 1000, 3))  # the clock may have stepped
    return took
