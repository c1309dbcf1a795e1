"""Rows that answers and events have in common."""

from __future__ import annotations

from datetime import datetime, tzinfo
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
        "responseCode": delivery.response_code,
        "error": delivery.error,
    }
