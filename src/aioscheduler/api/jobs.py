"""Account jobs: made, read, changed, run; and schedules tried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from aioscheduler.api.auth import principal
from aioscheduler.api.body import parse_object, read_body
from aioscheduler.api.context import CONTEXT
from aioscheduler.api.i18n import translate
from aioscheduler.api.messages import load_query
from aioscheduler.api.recurring import (
    change_job,
    check_may,
    create_job,
    find_account_job,
    load_beside,
    no_job,
    number,
    previewed,
    queued_sentence,
    run_now,
    set_enabled,
    zulu,
)
from aioscheduler.api.respond import answer, language
from aioscheduler.api.schemas.base import SiteSchema
from aioscheduler.api.schemas.jobs import DEFAULT_TIMEZONE, JobSchema, JobsQuery, JobUpdateSchema, PreviewQuery
from aioscheduler.api.schemas.query import Word
from aioscheduler.domain.job import Job, LiveJob
from aioscheduler.domain.trigger import Schedule, check_cron
from aioscheduler.errors import InvalidInput, Sentence

JOB, UPDATE, JOBS, PREVIEW = JobSchema(), JobUpdateSchema(), JobsQuery(), PreviewQuery()


async def create(request: web.Request) -> web.Response:
    """``POST /api/jobs``"""
    context = request.app[CONTEXT]
    members = parse_object(await read_body(request, context.config.max_body_bytes))
    given = _load(JOB, members, None)
    check_may(principal(request), given["owner"])
    return answer(_shown(await create_job(context, given)), 201)


async def page(request: web.Request) -> web.Response:
    """``GET /api/jobs``"""
    context = request.app[CONTEXT]
    query = load_query(JOBS, request)
    caller, owner, skip, limit = principal(request), query["account_id"], query["skip"], query["limit"]
    if owner is not None:
        check_may(caller, owner)
    elif not caller.is_operator:
        raise InvalidInput.of("account_id", Sentence("is missing"))
    found = await context.jobs.jobs(owner, query["enabled"], skip, limit, query["name"])
    return answer({"items": [_shown(live) for live in found.items], "total": found.total, "skip": skip, "limit": limit})


async def show(request: web.Request) -> web.Response:
    """``GET /api/jobs/{job_id}``"""
    return answer(_shown(await _found(request)))


async def update(request: web.Request) -> web.Response:
    """``PUT /api/jobs/{job_id}``"""
    context = request.app[CONTEXT]
    members = parse_object(await read_body(request, context.config.max_body_bytes))
    live = await _found(request)

    def change(old: Job) -> Mapping[str, Any]:
        given = _load(UPDATE, members, old.schedule)
        if given.pop("owner", old.owner) != old.owner:
            raise InvalidInput.of("account_id", Sentence("cannot be changed"))
        return given

    return answer(_shown(await change_job(context, live, change)))


async def delete(request: web.Request) -> web.Response:
    """``DELETE /api/jobs/{job_id}``"""
    live = await _found(request)
    if not await request.app[CONTEXT].jobs.delete_job(live.job):
        raise no_job(live.job.id)
    return web.Response(status=204)


async def enable(request: web.Request) -> web.Response:
    """``PATCH /api/jobs/{job_id}/enable``"""
    return answer(_shown(await set_enabled(request.app[CONTEXT], await _found(request), True)))


async def disable(request: web.Request) -> web.Response:
    """``PATCH /api/jobs/{job_id}/disable``"""
    return answer(_shown(await set_enabled(request.app[CONTEXT], await _found(request), False)))


async def run(request: web.Request) -> web.Response:
    """``POST /api/jobs/{job_id}/run``"""
    live = await _found(request)
    ids = await run_now(request.app[CONTEXT], live)
    message = translate(queued_sentence(live.job.id), language(request))
    return answer({"message": message, "status": "queued", "execution_ids": ids}, 202)


async def preview(request: web.Request) -> web.Response:
    """``GET /api/jobs/preview``"""
    now, speech = request.app[CONTEXT].clock.now(), language(request)
    query = _load(PREVIEW, {name: Word(value) for name, value in request.query.items()}, None)
    return answer(await previewed(query["schedule"], now, query["count"], speech))


async def _found(request: web.Request) -> LiveJob:
    return await find_account_job(request, request.match_info["job_id"])


def _load(schema: SiteSchema, members: Mapping[str, Any], old: Schedule | None) -> dict[str, Any]:
    """Return what the members mean, ``schedule`` and ``timezone`` as one; what they leave out of it is as in ``old``.

    :raises InvalidInput: with every fault there is
    """
    expression, timezone = (None, DEFAULT_TIMEZONE) if old is None else (_expression(old), old.timezone)
    faults: list[InvalidInput] = []
    schedule: Schedule | None = None
    try:
        schedule = check_cron(members.get("schedule", expression), members.get("timezone", timezone))
    except InvalidInput as fault:
        faults.append(fault)
    given = load_beside(schema, members, faults)
    given.pop("timezone", None)
    return given | {"schedule": schedule}


def _expression(schedule: Schedule) -> object:
    return schedule.config["cron_expression"]


def _shown(live: LiveJob) -> dict[str, Any]:
    job, last, retry = live.job, live.last_run, live.job.retry
    return {
        "id": job.id,
        "account_id": job.owner,
        "name": job.name,
        "description": job.description,
        "schedule": _expression(job.schedule),
        "type": job.type,
        "timezone": job.schedule.timezone,
        "enabled": job.enabled,
        "retry_policy": {
            "max_attempts": retry.max_attempts,
            "backoff_seconds": number(retry.backoff),
            "backoff_type": retry.backoff_type.value,
            "max_backoff_seconds": number(retry.max_backoff),
        },
        "max_instances": job.max_instances,
        "coalesce": job.coalesce,
        "misfire_grace_seconds": number(job.misfire_grace),
        "last_run_at": None if last is None else zulu(last.at),
        "last_run_status": None if last is None else last.status.value,
        "last_run_error": None if last is None else last.error,
        "next_run_at": zulu(live.next_run_at),
        "created_at": zulu(job.created_at),
        "updated_at": zulu(job.updated_at),
    }
