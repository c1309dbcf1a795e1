"""The executions that a run of a job consists of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from aioscheduler.clock import to_ms
from aioscheduler.domain.execution import Execution, ExecutionStatus
from aioscheduler.domain.job import Job, JobId, JobWebhook, WebhookId, execution_id, run_id, skip_id
from aioscheduler.store.recurring import ExecutionRef, Planned, Run, destination_without_webhook


def run_of(job: Job, webhooks: Sequence[JobWebhook], fire_ms: int, *, waits: bool = False) -> Run:
    """Return a run of a job: an execution for each webhook; for a bot's, or one without webhooks, one in all."""
    name = run_id(job.id, fire_ms)
    executions = [_planned(job, webhook, name) for webhook in webhooks or (None,)]
    return Run(fire_ms=fire_ms, name=name, skip_id=skip_id(job.id, name), executions=executions, waits=waits)


def _planned(job: Job, webhook: JobWebhook | None, name: str) -> Planned:
    webhook_id = None if webhook is None else webhook.id
    destination = destination_without_webhook(job.owner) if webhook is None else webhook.destination
    ref = ExecutionRef(job.owner, job.id, webhook_id, execution_id(job.id, name, webhook_id, 1))
    return Planned(ref, destination, webhook)


def manual_run(job: Job, webhooks: Sequence[JobWebhook], now: datetime) -> Run:
    """Return a run that somebody asks for now, outside of the schedule.

    Its fire time is rounded down: it begins at once, and would otherwise do so before the instant it is named after.
    """
    begun = now - timedelta(microseconds=now.microsecond % 1000)
    return run_of(job, webhooks, to_ms(begun), waits=True)


def attempt_after(execution: Execution, attempt: int, failures: int, due_at: datetime, now: datetime) -> Execution:
    """Return the attempt with the given number, of the same webhook in the same run."""
    webhook_id = None if execution.webhook_id is None else WebhookId(execution.webhook_id)
    return Execution(
        id=execution_id(JobId(execution.job_id), execution.run_id, webhook_id, attempt),
        job_id=execution.job_id,
        run_id=execution.run_id,
        webhook_id=execution.webhook_id,
        status=ExecutionStatus.QUEUED,
        attempt=attempt,
        failures=failures,
        scheduled_for=execution.scheduled_for,
        created_at=now,
        due_at=due_at,
    )


def again(ended: Execution, now: datetime) -> Execution:
    """Return a further attempt that somebody asks for, with all the retries its job allows before it."""
    return attempt_after(ended, ended.attempt + 1, 0, now, now)
