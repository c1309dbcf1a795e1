"""The delivery log."""

from __future__ import annotations

from datetime import datetime, tzinfo
from itertools import pairwise
from typing import Any

from aiohttp import web

from aioscheduler.api.context import CONTEXT
from aioscheduler.api.i18n import Language, word
from aioscheduler.api.messages import load_query
from aioscheduler.api.respond import answer, language
from aioscheduler.api.schemas.query import DeliveriesQuery
from aioscheduler.domain.instant import with_offset
from aioscheduler.domain.message import MessageId
from aioscheduler.store.base import Delivery

QUERY = DeliveriesQuery()


async def page(request: web.Request) -> web.Response:
    """``GET /deliveries``"""
    context = request.app[CONTEXT]
    query = load_query(QUERY, request)
    zone, speech = context.config.zone, language(request)
    message_id, job_id = MessageId(query["messageId"]) or None, query["jobId"].lower() or None
    found = await context.store.deliveries(query["limit"], query["cursor"], message_id, query["status"], job_id)
    if message_id is not None and job_id is not None:
        return answer({"deliveries": [], "nextCursor": None})  # an attempt is one of either
    return answer(
        {
            "deliveries": [_shown(delivery, zone, speech) for delivery in found.items],
            "nextCursor": found.next_cursor,
        }
    )


def _shown(delivery: Delivery, zone: tzinfo, speech: Language) -> dict[str, Any]:
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
