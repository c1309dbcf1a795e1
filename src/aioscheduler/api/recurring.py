"""What the handlers of both families of jobs share: jobs found, made, changed and run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from aioscheduler.api.auth import Principal, principal
from aioscheduler.api.context import CONTEXT, Context
from aioscheduler.api.i18n import Language, translate
from aioscheduler.api.schemas.base import SiteSchema, load
from aioscheduler.clock import from_ms
from aioscheduler.domain.describe import describe, notes
from aioscheduler.domain.execution import Execution, ExecutionId, ExecutionStatus
from aioscheduler.domain.instant import rfc3339
from aioscheduler.domain.job import BOTS, Job, JobId, LiveJob, Owner, job_of, new_job_id
from aioscheduler.domain.message import new_version
from aioscheduler.domain.trigger import Schedule, trigger_of
from aioscheduler.engine.runs import again, manual_run
from aioscheduler.errors import (
    ExecutionActive,
    ExecutionNotFound,
    ExecutionSkipped,
    Forbidden,
    InvalidInput,
    InvalidSchedule,
    JobNotFound,
    Sentence,
    StoreUnavailable,
)
from aioscheduler.store.recurring import Retried, Unchanged

#: How often a write is repeated that another one got in front of.
_TRIES = 10
#: Fire times that are computed before others get a turn of the loop.
_TURN = 10


def zulu(instant: datetime | None) -> str | None:
    """Return an instant as the job families write it: UTC with ``Z``, decimals only where there are any."""
    return None if instant is None else rfc3339(instant)


async def previewed(schedule: Schedule, now: datetime, count: int, speech: Language) -> dict[str, Any]:
    """Return a schedule in words, so many of its fire times, and what daylight saving does to them."""
    trigger = trigger_of(schedule, now)
    fire_times: list[datetime] = []
    fire_time = trigger.next_after(now)
    while fire_time is not None and len(fire_times) < count:
        fire_times.append(fire_time)
        if len(fire_times) % _TURN == 0:
            await asyncio.sleep(0)
        fire_time = trigger.next_after(fire_time)
    return {
        "description": translate(describe(schedule), speech),
        "next_runs": [zulu(fire_time) for fire_time in fire_times],
        "notes": [translate(note, speech) for note in notes(schedule, trigger, fire_times)],
    }


def check_may(caller: Principal, owner: Owner) -> None:
    """Return when the caller may use what ``owner`` has.

    :raises Forbidden: he may not
    """
    if not caller.may(owner):
        raise Forbidden(Sentence("These credentials do not open this account."))


def no_job(job_id: str) -> JobNotFound:
    """Return the error for an id that no job of the family has."""
    return JobNotFound(Sentence('There is no job with the id "{id}".', id=job_id))


async def find_account_job(request: web.Request, job_id: str) -> LiveJob:
    """Return an account's job.

    :raises JobNotFound: no account has it; a bot job counts as none
    :raises Forbidden: it is another account's
    """
    live = await _find(request.app[CONTEXT], job_id)
    if live is None or live.job.owner == BOTS:
        raise no_job(job_id)
    check_may(principal(request), live.job.owner)
    return live


async def find_bot_job(request: web.Request) -> LiveJob:
    """Return the bot job that the path names.

    :raises JobNotFound: there is none; an account's job counts as none
    """
    job_id = request.match_info["job_id"]
    live = await _find(request.app[CONTEXT], job_id)
    if live is None or live.job.owner != BOTS:
        raise no_job(job_id)
    return live


async def _find(context: Context, job_id: str) -> LiveJob | None:
    return None if job_of(job_id) is None else await context.jobs.job(JobId(job_id.lower()))


def load_beside(schema: SiteSchema, members: Mapping[str, Any], faults: Sequence[InvalidInput]) -> dict[str, Any]:
    """Return what the members mean, given the faults that were found in members the schema leaves alone.

    :raises InvalidInput: with every fault there is; as :class:`InvalidSchedule` if a cron expression is among it
    """
    more = {name: reasons for fault in faults for name, reasons in fault.errors.items()}
    try:
        return load(schema, members, more)
    except InvalidInput as error:
        if any(isinstance(fault, InvalidSchedule) for fault in faults):
            raise InvalidSchedule(error.errors) from error
        raise


async def create_job(context: Context, members: Mapping[str, Any]) -> LiveJob:
    """Make a job of these members of :class:`Job`; the others are made here."""
    for _ in range(_TRIES):
        now_ms = context.clock.now_ms()
        now = from_ms(now_ms)
        job = Job(id=new_job_id(now), version=new_version(now_ms), created_at=now, updated_at=now, **members)
        next_run_at = _next_run_at(job, now)
        if await context.jobs.create_job(job, next_run_at):
            return LiveJob(job=job, next_run_at=next_run_at, last_run=None)
    raise _contended()


async def change_job(context: Context, live: LiveJob, change: Callable[[Job], Mapping[str, Any]]) -> LiveJob:
    """Change a job.

    Its next fire time stays, unless the change is one of schedule, time zone or ``enabled``.

    :param change: returns the members that become others; asked again when somebody else changes the job meanwhile
    :raises JobNotFound: it was deleted meanwhile
    """
    for _ in range(_TRIES):
        old, now_ms = live.job, context.clock.now_ms()
        now = from_ms(now_ms)
        job = replace(old, **change(old), version=new_version(now_ms), updated_at=now)
        next_run_at = live.next_run_at
        same = next_run_at is not None and (job.schedule, job.enabled) == (old.schedule, old.enabled)
        if not same:
            next_run_at = _next_run_at(job, now)
        if await context.jobs.update_job(old, job, Unchanged.UNCHANGED if same else next_run_at):
            return LiveJob(job=job, next_run_at=next_run_at, last_run=live.last_run)
        found = await context.jobs.job(old.id)
        if found is None:
            raise no_job(old.id)
        live = found
    raise _contended()


async def set_enabled(context: Context, live: LiveJob, enabled: bool) -> LiveJob:
    """Enable or disable a job; one that is so already stays as it is."""
    if live.job.enabled is enabled:
        return live
    return await change_job(context, live, lambda _: {"enabled": enabled})


def _next_run_at(job: Job, now: datetime) -> datetime | None:
    return trigger_of(job.schedule, job.created_at).next_after(now) if job.enabled else None


def _contended() -> StoreUnavailable:
    return StoreUnavailable(Sentence("Others change the job all the time. Try again in a moment."))


async def run_now(context: Context, live: LiveJob) -> Sequence[ExecutionId]:
    """Make a run outside of the schedule, and return the ids of its executions.

    :raises JobNotFound: it was deleted meanwhile
    """
    job = live.job
    webhooks = () if job.owner == BOTS else await context.jobs.webhooks(job.id)
    ids = await context.jobs.run_job(live, manual_run(job, webhooks, context.clock.now()))
    if ids is None:
        raise no_job(job.id)
    return ids


def number(length: timedelta) -> float:
    """Return a length in seconds, without decimals where it has none."""
    seconds = length.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def queued_sentence(job_id: JobId) -> Sentence:
    """Return what is said of a run that was asked for."""
    return Sentence("Job {id} queued for immediate execution", id=job_id)


async def retry(context: Context, ended: Execution) -> ExecutionId:
    """Make a further attempt of an execution that has ended, and return its id.

    :raises ExecutionActive: it, or a later attempt, has not ended yet
    :raises ExecutionSkipped: it stands for occurrences that were not run
    :raises ExecutionNotFound: its job or its webhook was deleted
    """
    if ended.status is ExecutionStatus.SKIPPED:
        raise ExecutionSkipped(Sentence("This occurrence was not run, so there is nothing to repeat; run its job."))
    now = context.clock.now()
    further = again(ended, now)
    match await context.jobs.retry_execution(ended, further, now):
        case Retried.OPEN:
            raise ExecutionActive(Sentence("This execution, or a later attempt, has not ended yet."))
        case Retried.GONE:
            raise no_execution(ended.id)
        case Retried.QUEUED:
            return further.id


def no_execution(execution_id: str) -> ExecutionNotFound:
    """Return the error for an id that no execution has."""
    return ExecutionNotFound(Sentence('There is no execution with the id "{id}".', id=execution_id))
