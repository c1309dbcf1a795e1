"""Executions of account jobs: read, run again."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from aioscheduler.api.context import CONTEXT
from aioscheduler.api.i18n import translate
from aioscheduler.api.messages import load_query
from aioscheduler.api.recurring import find_account_job, no_execution, retry, zulu
from aioscheduler.api.respond import answer, language
from aioscheduler.api.schemas.jobs import ExecutionsQuery
from aioscheduler.domain.execution import Execution, ExecutionId
from aioscheduler.domain.job import job_of
from aioscheduler.errors import JobNotFound, Sentence

QUERY = ExecutionsQuery()


async def page(request: web.Request) -> web.Response:
    """``GET /api/jobs/{job_id}/executions``"""
    query = load_query(QUERY, request)
    live = await find_account_job(request, request.match_info["job_id"])
    skip, limit = query["skip"], query["limit"]
    found = await request.app[CONTEXT].jobs.executions(live.job.id, query["status"], skip, limit)
    items = [_shown(execution) for execution in found.items]
    return answer({"items": items, "total": found.total, "skip": skip, "limit": limit})


async def show(request: web.Request) -> web.Response:
    """``GET /api/executions/{execution_id}``"""
    execution = await _found(request)
    return answer({**_shown(execution), "response_body": execution.response_body})


async def run_again(request: web.Request) -> web.Response:
    """``POST /api/executions/{execution_id}/retry``"""
    execution = await _found(request)
    further = await retry(request.app[CONTEXT], execution)
    message = Sentence("Execution {id} queued for immediate execution", id=execution.id)
    return answer({"message": translate(message, language(request)), "status": "queued", "execution_id": further}, 202)


async def _found(request: web.Request) -> Execution:
    execution_id = request.match_info["execution_id"]
    job_id = job_of(execution_id)
    if job_id is None:
        raise no_execution(execution_id)
    execution = await request.app[CONTEXT].jobs.execution(ExecutionId(execution_id.lower()))
    if execution is None:
        raise no_execution(execution_id)
    try:
        await find_account_job(request, job_id)
    except JobNotFound as error:  # a bot's, or deleted meanwhile
        raise no_execution(execution_id) from error
    return execution


def _shown(execution: Execution) -> dict[str, Any]:
    shown = {
        "id": execution.id,
        "job_id": execution.job_id,
        "webhook_id": execution.webhook_id,
        "run_id": execution.run_id,
        "status": execution.status.value,
        "attempt": execution.attempt,
        "scheduled_for": zulu(execution.scheduled_for),
        "started_at": zulu(execution.started_at),
        "finished_at": zulu(execution.finished_at),
        "duration_ms": None if execution.duration_ms is None else round(execution.duration_ms, 3),
        "response_code": execution.response_code,
        "error": execution.error,
        "worker_id": execution.worker_id,
        "created_at": zulu(execution.created_at),
    }
    if execution.skip_reason is not None:
        shown |= {"skip_reason": execution.skip_reason.value, "skipped_count": execution.skipped}
    return shown
