"""Bot jobs: made, read, changed, run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from aioscheduler.api.body import parse_object, read_body
from aioscheduler.api.context import CONTEXT, Context
from aioscheduler.api.i18n import translate
from aioscheduler.api.messages import load_query
from aioscheduler.api.recurring import (
    change_job,
    create_job,
    find_bot_job,
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
from aioscheduler.api.schemas.base import SiteSchema, load
from aioscheduler.api.schemas.bots import (
    BotJobSchema,
    BotJobsQuery,
    BotJobUpdateSchema,
    BotPreviewQuery,
    HistoryQuery,
    ToggleSchema,
)
from aioscheduler.api.schemas.query import MAX_LIMIT
from aioscheduler.domain.execution import Execution, ExecutionStatus
from aioscheduler.domain.job import BOTS, NO_RETRY, Job, LiveJob
from aioscheduler.domain.trigger import Schedule, check_schedule
from aioscheduler.errors import InvalidInput, Sentence

JOB, UPDATE, TOGGLE, JOBS, HISTORY, PREVIEW = (
    BotJobSchema(),
    BotJobUpdateSchema(),
    ToggleSchema(),
    BotJobsQuery(),
    HistoryQuery(),
    BotPreviewQuery(),
)

_FAILED = frozenset({ExecutionStatus.FAILURE, ExecutionStatus.TIMED_OUT, ExecutionStatus.DEAD_LETTER})


async def create(request: web.Request) -> web.Response:
    """``POST /scheduler/jobs``"""
    context = request.app[CONTEXT]
    given = _load(context, JOB, await _members(request), None)
    return answer(_shown(await create_job(context, {"owner": BOTS, "retry": NO_RETRY, **given})), 201)


async def listed(request: web.Request) -> web.Response:
    """``GET /scheduler/jobs``"""
    context = request.app[CONTEXT]
    query = load_query(JOBS, request)
    enabled, name = True if query["enabled_only"] else None, query["name"].casefold()
    found: list[LiveJob] = []
    skip, total = 0, 1
    while skip < total:
        part = await context.jobs.jobs(BOTS, enabled, skip, MAX_LIMIT)
        found += (live for live in part.items if name in live.job.name.casefold())
        skip, total = skip + MAX_LIMIT, part.total
    return answer([_shown(live) for live in found])


async def preview(request: web.Request) -> web.Response:
    """``GET /scheduler/jobs/preview``"""
    context = request.app[CONTEXT]
    query = load_query(PREVIEW, request)
    try:
        config = orjson.loads(query["schedule_config"].encode("utf-8", "surrogatepass"))
    except orjson.JSONDecodeError as error:
        raise InvalidInput.of(
            "schedule_config",
            Sentence("is no JSON: see line {line}, column {column}", line=error.lineno, column=error.colno),
        ) from error
    schedule = check_schedule(query["schedule_type"], config, context.config.zone.key)
    return answer(await previewed(schedule, context.clock.now(), query["count"], language(request)))


async def show(request: web.Request) -> web.Response:
    """``GET /scheduler/jobs/{job_id}``"""
    return answer(_shown(await find_bot_job(request)))


async def update(request: web.Request) -> web.Response:
    """``PUT /scheduler/jobs/{job_id}``"""
    context = request.app[CONTEXT]
    members = await _members(request)
    live = await find_bot_job(request)
    return answer(_shown(await change_job(context, live, lambda old: _load(context, UPDATE, members, old))))


async def delete(request: web.Request) -> web.Response:
    """``DELETE /scheduler/jobs/{job_id}``"""
    live = await find_bot_job(request)
    if not await request.app[CONTEXT].jobs.delete_job(live.job):
        raise no_job(live.job.id)
    return web.Response(status=204)


async def toggle(request: web.Request) -> web.Response:
    """``POST /scheduler/jobs/{job_id}/toggle``"""
    members = await _members(request)
    live = await find_bot_job(request)
    return answer(_shown(await set_enabled(request.app[CONTEXT], live, load(TOGGLE, members)["enabled"])))


async def run(request: web.Request) -> web.Response:
    """``POST /scheduler/jobs/{job_id}/run``"""
    live = await find_bot_job(request)
    await run_now(request.app[CONTEXT], live)
    return answer({"message": translate(queued_sentence(live.job.id), language(request)), "status": "queued"}, 202)


async def history(request: web.Request) -> web.Response:
    """``GET /scheduler/jobs/{job_id}/history``"""
    query = load_query(HISTORY, request)
    live = await find_bot_job(request)
    found = await request.app[CONTEXT].jobs.executions(live.job.id, None, 0, query["limit"])
    return answer([_run_shown(execution) for execution in found.items])


async def _members(request: web.Request) -> dict[str, Any]:
    return parse_object(await read_body(request, request.app[CONTEXT].config.max_body_bytes))


def _load(context: Context, schema: SiteSchema, members: Mapping[str, Any], old: Job | None) -> dict[str, Any]:
    """Return members of :class:`Job`, schedule and bot as far as they are others than in ``old``.

    :raises InvalidInput: with every fault there is
    """
    faults: list[InvalidInput] = []
    more: dict[str, Any] = {}
    for part in (_schedule, _bot):
        try:
            more |= part(context, members, old)
        except InvalidInput as fault:
            faults.append(fault)
    given = load_beside(schema, members, faults)
    for name in ("schedule_type", "schedule_config", "bot_type", "bot_config"):
        given.pop(name, None)
    return given | more


def _schedule(context: Context, members: Mapping[str, Any], old: Job | None) -> dict[str, Schedule]:
    kind, config = members.get("schedule_type"), members.get("schedule_config")
    if old is not None:
        if not members.keys() & {"schedule_type", "schedule_config"}:
            return {}
        kind = members.get("schedule_type", old.schedule.type.value)
        config = members.get("schedule_config", old.schedule.config)
    return {"schedule": check_schedule(kind, config, context.config.zone.key)}


def _bot(context: Context, members: Mapping[str, Any], old: Job | None) -> dict[str, Any]:
    kind, config = members.get("bot_type"), members.get("bot_config", {})
    if old is not None:
        if not members.keys() & {"bot_type", "bot_config"}:
            return {}
        kind = members.get("bot_type", old.bot_type)
        config = members.get("bot_config", old.bot_config)
    elif "bot_type" not in members:
        raise InvalidInput.of("bot_type", Sentence("is missing"))
    bot = context.bots.get(kind) if isinstance(kind, str) else None
    if bot is None:
        choices = ", ".join(sorted(context.bots))
        raise InvalidInput.of("bot_type", Sentence("must be one of {choices}", choices=choices))
    if not isinstance(config, Mapping):
        raise InvalidInput.of("bot_config", Sentence("must be an object"))
    try:
        return {"bot_type": kind, "bot_config": dict(bot.check(config))}
    except InvalidInput as error:
        raise InvalidInput({f"bot_config.{name}": reasons for name, reasons in error.errors.items()}) from error


def status_word(status: ExecutionStatus) -> str:
    """Return what this family calls a status: a run succeeds or fails, and is not tried again."""
    return "failed" if status in _FAILED else str(status.value)


def _shown(live: LiveJob) -> dict[str, Any]:
    job, last = live.job, live.last_run
    return {
        "id": job.id,
        "name": job.name,
        "description": job.description,
        "bot_type": job.bot_type,
        "enabled": job.enabled,
        "schedule_type": job.schedule.type.value,
        "schedule_config": job.schedule.config,
        "bot_config": job.bot_config,
        "max_instances": job.max_instances,
        "coalesce": job.coalesce,
        "misfire_grace_seconds": number(job.misfire_grace),
        "created_at": zulu(job.created_at),
        "updated_at": zulu(job.updated_at),
        "last_run_at": None if last is None else zulu(last.at),
        "last_run_status": None if last is None else status_word(last.status),
        "last_run_error": None if last is None else last.error,
        "next_run_at": zulu(live.next_run_at),
    }


def _run_shown(execution: Execution) -> dict[str, Any]:
    return {
        "id": execution.id,
        "job_id": execution.job_id,
        "scheduled_for": zulu(execution.scheduled_for),
        "started_at": zulu(execution.started_at),
        "finished_at": zulu(execution.finished_at),
        "status": status_word(execution.status),
        "result": execution.result,
        "error": execution.error,
        "messages_sent": execution.messages_sent,
        "profiles_visited": execution.profiles_visited,
    }
