"""P1 and P4 for jobs: every run asked for and every minute has its end; a deleted job calls nobody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from aioscheduler.verify.histories import (
    MINUTE_MS,
    Findings,
    Histories,
    answered_ms,
    is_accepted,
    is_success,
    is_unknown,
    of_schedule,
)
from aioscheduler.verify.ledger import Call, Hit, JobRun, Op
from aioscheduler.verify.messages import may_be_exhausted, was_held
from aioscheduler.verify.shadows import AFTER_MS, STORE_AFTER_MS, WIRE_MS

#: A schedule begins with the minute after its creation; one so near, in milliseconds, may be the one before.
_NEAR_MS = 1_000.0
#: Clocks are off by some seconds at most, in milliseconds.
_OFF_MS = 10_000.0


def check_jobs(histories: Histories, lost: Findings, ended: Findings) -> None:
    """Note what breaks P1 in ``lost`` and what breaks P4 in ``ended``."""
    for id_, calls in histories.job_calls.items():
        created = next((call for call in calls if call.op is Op.CREATE_JOB and is_accepted(call)), None)
        if created is None:
            continue
        job = _Job(histories, id_, calls, created)
        lost.checked += 1
        _check_deletion(job, lost, ended)
        if job.is_kept:
            _check_runs(job, lost)
        _check_minutes(job, lost)


@dataclass(slots=True)
class _Job:
    histories: Histories
    id: str
    calls: Sequence[Call]
    created: Call

    @property
    def may_be_deleted(self) -> float:
        """Since when it may be deleted; endless if never."""
        return min((call.sent_ms for call in self.calls if call.op is Op.DELETE_JOB and _may_delete(call)), default=inf)

    @property
    def is_kept(self) -> bool:
        """Whether it and its history were there at the end."""
        return self.may_be_deleted == inf

    @property
    def hits(self) -> Sequence[Hit]:
        return self.histories.job_hits.get(self.id, ())

    @property
    def runs(self) -> Sequence[JobRun]:
        return self.histories.runs.get(self.id, ())


def _may_delete(call: Call) -> bool:
    return is_accepted(call) or is_unknown(call)


def _check_deletion(job: _Job, lost: Findings, ended: Findings) -> None:
    known = answered_ms(job.created)
    gone = inf
    for call in job.calls:
        if call.op not in (Op.RUN_JOB, Op.DELETE_JOB) or call.sent_ms < known:
            continue
        deletes = call.op is Op.DELETE_JOB
        told_gone = call.status == 404 or (deletes and is_accepted(call))
        if call.status == 404 and job.may_be_deleted >= call.sent_ms:
            lost.add(job.id, f"job {job.id} was acknowledged and not deleted; yet {call.op.value} was answered 404")
        elif is_accepted(call) and call.sent_ms >= gone:
            ended.add(job.id, f"job {job.id} was deleted; yet {call.op.value} was answered {call.status}")
        if told_gone:
            ended.checked += deletes
            gone = min(gone, answered_ms(call))
    late = [hit for hit in job.hits if hit.arrived_ms > gone + WIRE_MS and not was_held(job.histories, hit, gone)]
    if late:
        at, hit = job.histories.at, late[0]
        ended.add(
            job.id,
            f"job {job.id} was gone at {at(gone)}, as clients were told; "
            f"attempt {hit.attempt} of its run of {at(hit.scheduled_for_ms)} arrived at {at(hit.arrived_ms)}",
        )


def _check_runs(job: _Job, lost: Findings) -> None:
    """Check what the history says of a job that was not deleted."""
    by_execution = {run.execution_id: run for run in job.runs}
    for call in job.calls:
        if call.op is not Op.RUN_JOB or not is_accepted(call):
            continue
        for execution_id in call.execution_ids:
            lost.checked += 1
            if execution_id not in by_execution:
                lost.add(
                    job.id, f"job {job.id}: execution {execution_id} was promised, and the history does not have it"
                )
    delivered = {hit.execution_id for hit in job.hits if is_success(hit)}
    hits_by_run: dict[int, list[Hit]] = defaultdict(list)
    for hit in job.hits:
        hits_by_run[hit.scheduled_for_ms].append(hit)
    by_run: dict[str, list[JobRun]] = defaultdict(list)
    for run in job.runs:
        by_run[run.run_id].append(run)
    for runs in by_run.values():
        latest = max(run.attempt for run in runs)
        for run in runs:
            seen = _wrong_end(job, run, latest, delivered, hits_by_run.get(run.scheduled_for_ms, ()))
            if seen is not None:
                lost.add(job.id, f"job {job.id}: execution {run.execution_id} of {run.run_id} {seen}")


def _wrong_end(job: _Job, run: JobRun, latest: int, delivered: set[str | None], hits: Sequence[Hit]) -> str | None:
    """Say what is wrong with the end of an execution; ``None`` when it is right."""
    if run.status == "success":
        return None if run.execution_id in delivered else "is a success, and no receiver answered 2xx to it"
    if run.status == "dead_letter":
        if any(hit.status == 410 for hit in hits) or may_be_exhausted(
            job.histories, job.created, run.scheduled_for_ms, hits
        ):
            return None
        return f"is a dead letter, which {len(hits)} of {job.created.max_attempts} attempts do not explain"
    if run.status in ("queued", "running"):
        if run.scheduled_for_ms > _load_ended_ms(job):
            return None
        return f"is still {run.status}, when all had had time to end"
    if run.status == "skipped":
        return None if _may_be_skipped(job, run.scheduled_for_ms) else "was skipped, and nothing was in its way"
    return None if run.attempt < latest else f"ended as {run.status}, and no further attempt followed"


def _check_minutes(job: _Job, lost: Findings) -> None:
    """Check that every minute of its life has a run: in the history, or for a deleted job at the receiver."""
    histories = job.histories
    begins = answered_ms(job.created)
    ends = min(_load_ended_ms(job), job.may_be_deleted)
    told = {run.scheduled_for_ms for run in job.runs} if job.is_kept else {hit.scheduled_for_ms for hit in job.hits}
    minute = ceil((begins + _NEAR_MS) / MINUTE_MS) * MINUTE_MS
    while minute <= ends:
        if not _is_unsure(job, minute, begins, ends):
            lost.checked += 1
            if minute not in told:
                lost.add(job.id, f"job {job.id} has no run of {histories.at(minute)}, when its schedule was due")
        minute += MINUTE_MS


def _is_unsure(job: _Job, minute: float, begins: float, ends: float) -> bool:
    """Say whether a minute may rightly have no run: too near to the job's beginning or end, for what was going on."""
    shadows = job.histories.shadows
    if minute - begins < _OFF_MS and shadows.of_clock.meets(begins, minute):
        return True
    troubled = shadows.of_any.meets(minute, minute + STORE_AFTER_MS)
    if job.is_kept:
        return ends - minute < (STORE_AFTER_MS if troubled else _NEAR_MS)
    # What a deleted job's history knew is gone with it; only what arrived is known.
    return troubled or ends - minute < STORE_AFTER_MS


def _may_be_skipped(job: _Job, scheduled_for_ms: int) -> bool:
    """Say whether an occurrence may have come while another run went on, or could not be acted upon in time."""
    if job.histories.shadows.of_any.meets(scheduled_for_ms - AFTER_MS, scheduled_for_ms + AFTER_MS):
        return True
    before = scheduled_for_ms - MINUTE_MS
    return any(
        before < run.scheduled_for_ms < scheduled_for_ms or (run.scheduled_for_ms == before and run.attempt > 1)
        for run in job.runs
    ) or not of_schedule(scheduled_for_ms)


def _load_ended_ms(job: _Job) -> float:
    ledger = job.histories.ledger
    return ledger.load_ended_ms or ledger.ended_ms
