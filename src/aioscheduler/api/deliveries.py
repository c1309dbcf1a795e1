"""The delivery log."""

from __future__ import annotations

from aiohttp import web

from aioscheduler.api.context import CONTEXT
from aioscheduler.api.messages import load_query
from aioscheduler.api.respond import answer, language
from aioscheduler.api.rows import delivery_row
from aioscheduler.api.schemas.query import DeliveriesQuery
from aioscheduler.domain.message import MessageId

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
            "deliveries": [delivery_row(delivery, zone, speech) for delivery in found.items],
            "nextCursor": found.next_cursor,
        }
    )
