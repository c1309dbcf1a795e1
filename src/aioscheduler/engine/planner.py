"""From jobs that are due to their executions: which occurrences are run, which are not, and when the next one is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from aioscheduler.clock import Clock, from_ms, to_ms
from aioscheduler.domain.instant import rfc3339
from aioscheduler.domain.job import JobId
from aioscheduler.domain.misfire import plan_firing
from aioscheduler.domain.target import Destination
from aioscheduler.domain.trigger import trigger_of
from aioscheduler.engine.runs import run_of
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store.recurring import Fire, Fired, JobRef, JobStore, Plan, Run, Skip

log = structlog.get_logger(__name__)

#: How many jobs one call fires: at first, and at most.
FIRST_FIRE: Final = 10
FIRE_LIMIT: Final = 100
#: A plan made ahead and not used is forgotten after so many others.
_MOST_AHEAD = 50_000


@dataclass(slots=True, kw_only=True)
class _Ahead:
    """What a job will lead to, worked out before it is due."""

    plan: Plan
    run: Run
    next_ms: int | None


class Planner:
    """Fires due jobs. What the store finds otherwise than planned is looked at again."""

    def __init__(
        self, *, store: JobStore, clock: Clock, push: Callable[[JobRef, int], None], reload: Callable[[], None]
    ) -> None:
        """Tell ``push`` of every job that is due again, and ``reload`` when there may be executions nobody told of."""
        self._store = store
        self._clock = clock
        self._push = push
        self._reload = reload
        self._unsure = False
        self._ahead: dict[JobId, _Ahead] = {}
        self._due: dict[JobId, None] = {}
        self._wake = asyncio.Event()
        self._most = FIRST_FIRE

    @property
    def waiting(self) -> int:
        """How many due jobs wait to be fired."""
        return len(self._due)

    def due(self, job_id: JobId) -> None:
        """Take up a job that has become due."""
        self._due[job_id] = None
        self._wake.set()

    def forget(self, job_id: JobId) -> None:
        """Drop what was worked out for a job: it was changed."""
        self._ahead.pop(job_id, None)

    async def look_ahead(self, ids: Sequence[JobId]) -> list[Destination]:
        """Work out what jobs that fall due soon will lead to, so that at the instant only the writing is left.

        Return where that goes, once for each execution.
        """
        destinations: list[Destination] = []
        for job_id, plan in zip(ids, await self._store.plans(ids), strict=True):
            if plan is not None:
                destinations += self._work_out(job_id, plan)
        while len(self._ahead) > _MOST_AHEAD:
            del self._ahead[next(iter(self._ahead))]
        return destinations

    def _work_out(self, job_id: JobId, plan: Plan) -> Sequence[Destination]:
        try:
            following = trigger_of(plan.job.schedule, plan.job.created_at).next_after(from_ms(plan.due_ms))
        except Exception:
            log.exception("a job cannot be planned", action="job_broken", job_id=job_id)
            return []
        run = run_of(plan.job, plan.webhooks, plan.due_ms)
        self._ahead[job_id] = _Ahead(plan=plan, run=run, next_ms=None if following is None else to_ms(following))
        return [planned.destination for planned in run.executions]

    async def run(self) -> None:
        """Fire what is due, for as long as nobody cancels it.

        :raises StoreUnavailable: what was due is still known here
        """
        while True:
            if not self._due:
                self._most = FIRST_FIRE
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._due:
                    await self._fire(list(self._due)[: self._most])
                    self._most = min(FIRE_LIMIT, 2 * self._most)
                    await asyncio.sleep(0)
            finally:
                if self._due:
                    self._wake.set()

    async def _fire(self, ids: list[JobId]) -> None:
        fires, now = await self._planned(ids)
        try:
            answers = await self._store.fire(fires, now) if fires else []
        except StoreUnavailable:
            self._unsure = True
            raise
        if self._unsure:
            self._unsure = False
            self._reload()
        for job_id in ids:
            self._due.pop(job_id, None)
        stale: list[JobId] = []
        for fire, answer in zip(fires, answers, strict=True):
            job_id = fire.plan.job.id
            self._ahead.pop(job_id, None)
            if answer is Fired.STALE:
                stale.append(job_id)
            else:
                _report(fire)
                if fire.next_ms is not None:
                    self._push(JobRef(job_id), fire.next_ms)
        if stale:
            # Fired by another replica, or changed since it was planned: what holds now is in the store.
            for job_id, due_ms in (await self._store.look_at_jobs(stale)).items():
                if due_ms is not None:
                    self._push(JobRef(job_id), due_ms)

    async def _planned(self, ids: list[JobId]) -> tuple[list[Fire], datetime]:
        unknown = [job_id for job_id in ids if job_id not in self._ahead]
        if unknown:
            await self.look_ahead(unknown)
        now = self._clock.now()
        fires: list[Fire] = []
        for job_id in ids:
            ahead = self._ahead.get(job_id)
            if ahead is None:
                continue  # gone, disabled, or broken: told already
            if ahead.plan.due_ms > self._clock.now_ms():
                self._push(JobRef(job_id), ahead.plan.due_ms)
                continue
            try:
                fires.append(_fire_of(ahead, now))
            except Exception:
                log.exception("a job cannot be planned", action="job_broken", job_id=job_id)
        return fires, now


def _fire_of(ahead: _Ahead, now: datetime) -> Fire:
    plan = ahead.plan
    job, due_at = plan.job, from_ms(plan.due_ms)
    in_time = now - due_at <= job.misfire_grace
    if in_time and (ahead.next_ms is None or ahead.next_ms > to_ms(now)):
        return Fire(plan=plan, runs=[ahead.run], skips=[], next_ms=ahead.next_ms)
    trigger = trigger_of(job.schedule, job.created_at)
    firing = plan_firing(trigger, due_at, now, coalesce=job.coalesce, grace=job.misfire_grace)
    # Of several that were missed together each has its turn; the only one is treated as any other.
    waits = len(firing.runs) > 1
    return Fire(
        plan=plan,
        runs=[run_of(job, plan.webhooks, to_ms(at), waits=waits) for at in firing.runs],
        skips=[Skip(to_ms(missed.at), to_ms(missed.until), missed.count, missed.reason) for missed in firing.missed],
        next_ms=None if firing.next_at is None else to_ms(firing.next_at),
    )


def _report(fire: Fire) -> None:
    for skip in fire.skips:
        log.warning(
            "occurrences of a job were not run",
            action="runs_skipped",
            job_id=fire.plan.job.id,
            reason=skip.reason.value,
            count=skip.times,
            first=rfc3339(from_ms(skip.fire_ms)),
        )
