"""Webhooks of account jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from aioscheduler.api.body import parse_object, read_body
from aioscheduler.api.context import CONTEXT, Context
from aioscheduler.api.messages import load_query
from aioscheduler.api.recurring import find_account_job, no_job, zulu
from aioscheduler.api.respond import answer
from aioscheduler.api.schemas.base import SiteSchema, load
from aioscheduler.api.schemas.jobs import WebhooksQuery
from aioscheduler.clock import from_ms
from aioscheduler.domain.job import JobWebhook, WebhookId, job_of, new_webhook_id
from aioscheduler.errors import InvalidInput, JobNotFound, Sentence, WebhookNotFound

QUERY = WebhooksQuery()


async def create(request: web.Request) -> web.Response:
    """``POST /webhooks``"""
    context = request.app[CONTEXT]
    given = await _read(request, context.webhook_schema)
    job_id = given["job_id"]
    await find_account_job(request, job_id)
    now = from_ms(context.clock.now_ms())
    webhook = JobWebhook(id=new_webhook_id(job_id, now), created_at=now, updated_at=now, **given)
    if not await context.jobs.put_webhook(webhook, new=True):
        raise no_job(job_id)
    return answer(_shown(webhook), 201)


async def page(request: web.Request) -> web.Response:
    """``GET /webhooks``"""
    query = load_query(QUERY, request)
    live = await find_account_job(request, query["job_id"])
    webhooks = await request.app[CONTEXT].jobs.webhooks(live.job.id)
    skip, limit = query["skip"], query["limit"]
    items = [_shown(webhook) for webhook in webhooks[skip : skip + limit]]
    return answer({"items": items, "total": len(webhooks), "skip": skip, "limit": limit})


async def show(request: web.Request) -> web.Response:
    """``GET /webhooks/{webhook_id}``"""
    return answer(_shown(await _found(request)))


async def update(request: web.Request) -> web.Response:
    """``PUT /webhooks/{webhook_id}``"""
    context = request.app[CONTEXT]
    old = await _found(request)
    given = await _read(request, context.webhook_update_schema)
    if given.pop("job_id", old.job_id) != old.job_id:
        raise InvalidInput.of("job_id", Sentence("cannot be changed"))
    webhook = replace(old, **given, updated_at=from_ms(context.clock.now_ms()))
    if not await context.jobs.put_webhook(webhook, new=False):
        raise _no_webhook(old.id)
    return answer(_shown(webhook))


async def delete(request: web.Request) -> web.Response:
    """``DELETE /webhooks/{webhook_id}``"""
    webhook = await _found(request)
    if not await request.app[CONTEXT].jobs.delete_webhook(webhook.id):
        raise _no_webhook(webhook.id)
    return web.Response(status=204)


async def _found(request: web.Request) -> JobWebhook:
    webhook_id = request.match_info["webhook_id"]
    webhook = await _looked_up(request.app[CONTEXT], webhook_id)
    if webhook is None:
        raise _no_webhook(webhook_id)
    try:
        await find_account_job(request, webhook.job_id)
    except JobNotFound as error:  # deleted meanwhile
        raise _no_webhook(webhook_id) from error
    return webhook


async def _looked_up(context: Context, webhook_id: str) -> JobWebhook | None:
    return None if job_of(webhook_id) is None else await context.jobs.webhook(WebhookId(webhook_id.lower()))


def _no_webhook(webhook_id: str) -> WebhookNotFound:
    return WebhookNotFound(Sentence('There is no webhook with the id "{id}".', id=webhook_id))


async def _read(request: web.Request, schema: SiteSchema) -> dict[str, Any]:
    """Return members of :class:`JobWebhook`."""
    given = load(schema, parse_object(await read_body(request, request.app[CONTEXT].config.max_body_bytes)))
    if "url" in given:
        given["url"], given["destination"] = given["url"]
    return given


def _shown(webhook: JobWebhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "job_id": webhook.job_id,
        "url": webhook.url,
        "method": webhook.method,
        "headers": webhook.headers,
        "query_params": webhook.query_params,
        "body_template": webhook.body_template,
        "timeout_seconds": webhook.timeout_seconds,
        "created_at": zulu(webhook.created_at),
        "updated_at": zulu(webhook.updated_at),
    }
