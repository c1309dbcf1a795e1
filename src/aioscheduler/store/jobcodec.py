"""Jobs, webhooks and executions to bytes and back.

A job's record begins with what scripts have to know: its version and how many runs it may have at once. An execution
is an array, its last members left out while they are empty; its id says which job it belongs to.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import orjson

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.execution import Execution, ExecutionId, ExecutionStatus, SkipReason
from aioscheduler.domain.instant import rfc3339
from aioscheduler.domain.job import Job, JobId, JobWebhook, LastRun, Owner, WebhookId, run_id
from aioscheduler.domain.message import Version
from aioscheduler.domain.retry import BackoffType, RetryPolicy
from aioscheduler.domain.target import check_url
from aioscheduler.domain.trigger import Schedule, ScheduleType
from aioscheduler.store.recurring import ExecutionRef

_HEAD = re.compile(rb"([-\w]{10}) (\d+) ", re.ASCII)
_NAME = re.compile(rb'[^{]*\{"owner":"[^"]*","name":("(?:[^"\\]|\\.)*")')
_NONE = "-"
#: How many members an execution has in all.
_MEMBERS = 18


def encode_job(job: Job) -> bytes:
    """Return a job's record."""
    body = orjson.dumps(
        {
            "owner": job.owner,
            "name": job.name,
            "description": job.description,
            "type": job.type,
            "schedule": [job.schedule.type.value, job.schedule.config, job.schedule.timezone],
            "enabled": job.enabled,
            "retry": [
                job.retry.max_attempts,
                job.retry.backoff.total_seconds(),
                job.retry.backoff_type.value,
                job.retry.max_backoff.total_seconds(),
            ],
            "coalesce": job.coalesce,
            "grace": job.misfire_grace.total_seconds(),
            "bot": job.bot_type,
            "bot_config": job.bot_config,
            "created": to_ms(job.created_at),
            "updated": to_ms(job.updated_at),
        }
    )
    return b"%s %d %s" % (job.version.encode(), job.max_instances, body)


def job_name(record: bytes) -> str:
    """Return the name in a job's record, without reading it whole."""
    match = _NAME.match(record)
    assert match is not None, "nobody else writes jobs"
    name = match[1]
    return str(orjson.loads(name)) if b"\\" in name else name[1:-1].decode()


def decode_job(job_id: JobId, record: bytes) -> Job:
    """Read what :func:`encode_job` wrote."""
    head = _HEAD.match(record)
    assert head is not None, "nobody else writes jobs"
    members = orjson.loads(record[head.end() :])
    kind, config, timezone = members["schedule"]
    attempts, backoff, backoff_type, cap = members["retry"]
    return Job(
        id=job_id,
        version=Version(head[1].decode()),
        owner=Owner(members["owner"]),
        name=members["name"],
        description=members["description"],
        type=members["type"],
        schedule=Schedule(type=ScheduleType(kind), config=config, timezone=timezone),
        enabled=members["enabled"],
        retry=RetryPolicy(
            max_attempts=attempts,
            backoff=timedelta(seconds=backoff),
            backoff_type=BackoffType(backoff_type),
            max_backoff=timedelta(seconds=cap),
        ),
        max_instances=int(head[2]),
        coalesce=members["coalesce"],
        misfire_grace=timedelta(seconds=members["grace"]),
        bot_type=members["bot"],
        bot_config=members["bot_config"],
        created_at=from_ms(members["created"]),
        updated_at=from_ms(members["updated"]),
    )


def decode_last(text: bytes | None) -> LastRun | None:
    """Read how a job's last run went, as scripts keep it."""
    if not text:
        return None
    at, status, error = text.decode().split(" ", 2)
    return LastRun(at=from_ms(int(at)), status=ExecutionStatus(status), error=error or None)


def encode_webhook(webhook: JobWebhook) -> bytes:
    """Return a webhook's record."""
    return orjson.dumps(
        {
            "url": webhook.url,
            "method": webhook.method,
            "headers": webhook.headers,
            "query": webhook.query_params,
            "body": webhook.body_template,
            "timeout": webhook.timeout_seconds,
            "created": to_ms(webhook.created_at),
            "updated": to_ms(webhook.updated_at),
        }
    )


def decode_webhook(webhook_id: WebhookId, job_id: JobId, record: bytes) -> JobWebhook:
    """Read what :func:`encode_webhook` wrote."""
    members = orjson.loads(record)
    return JobWebhook(
        id=webhook_id,
        job_id=job_id,
        url=members["url"],
        destination=check_url(members["url"]),
        method=members["method"],
        headers=members["headers"],
        query_params=members["query"],
        body_template=members["body"],
        timeout_seconds=members["timeout"],
        created_at=from_ms(members["created"]),
        updated_at=from_ms(members["updated"]),
    )


def encode_ref(ref: ExecutionRef) -> str:
    """Return the text scripts know an execution by."""
    return f"{ref.owner}:{ref.job_id}:{ref.webhook_id or _NONE}:{ref.id}"


def decode_ref(text: bytes) -> ExecutionRef:
    """Read what :func:`encode_ref` wrote."""
    owner, job_id, webhook_id, execution = text.decode().split(":")
    return ExecutionRef(
        Owner(owner), JobId(job_id), None if webhook_id == _NONE else WebhookId(webhook_id), ExecutionId(execution)
    )


def encode_queued(
    webhook_id: WebhookId | None, attempt: int, failures: int, fire_ms: int, created_ms: int, due_ms: int
) -> str:
    """Return the record of an execution that was not begun."""
    webhook = f'"{webhook_id}"' if webhook_id else "null"
    return f'o[{webhook},"queued",{attempt},{failures},{fire_ms},{created_ms},{due_ms}]'


def encode_skip(reason: SkipReason, fire_ms: int, until_ms: int, count: int, created_ms: int) -> str:
    """Return the record of occurrences that are not run. ``until_ms`` stands where others have their due time."""
    empty = "null,null,null,null,null,null"  # from started to worker
    return f'e[null,"skipped",0,0,{fire_ms},{created_ms},{until_ms},{empty},"{reason.value}",{count}]'


def encode_ended(execution: Execution) -> bytes:
    """Return the record of an execution that has ended; what the webhook answered is kept beside it."""
    members: list[Any] = [
        execution.webhook_id,
        execution.status.value,
        execution.attempt,
        execution.failures,
        to_ms(execution.scheduled_for),
        to_ms(execution.created_at),
        _ms(execution.due_at),
        _ms(execution.started_at),
        _ms(execution.finished_at),
        None if execution.duration_ms is None else round(execution.duration_ms, 3),
        execution.response_code,
        execution.error,
        execution.worker_id,
        execution.skip_reason.value if execution.skip_reason else None,
        execution.skipped or None,
        execution.result,
        execution.messages_sent or None,
        execution.profiles_visited or None,
    ]
    while members[-1] is None:
        members.pop()
    return b"e" + orjson.dumps(members)


def decode_execution(
    execution_id: ExecutionId, job_id: JobId, record: bytes, lease: bytes | None = None, body: bytes | None = None
) -> Execution:
    """Read an execution; with the ``lease`` it has, if any."""
    members = orjson.loads(record[1:])
    members += [None] * (_MEMBERS - len(members))
    webhook_id, status, attempt, failures, scheduled, created, due, started, finished = members[:9]
    duration, code, error, worker, reason, skipped, result, sent, visited = members[9:]
    kind = ExecutionStatus(status)
    if lease is not None:
        worker = lease.split(b":", 1)[0].decode()
        kind = ExecutionStatus.RUNNING
        attempt += int(lease.split(b":")[2]) - 1
        started = int(lease.split(b":")[5])
    why = SkipReason(reason) if reason else None
    if why is not None and error is None:
        error = _why_skipped(why, scheduled, due, skipped)
    return Execution(
        id=execution_id,
        job_id=job_id,
        run_id=run_id(job_id, scheduled),
        webhook_id=webhook_id,
        status=kind,
        attempt=attempt,
        failures=failures,
        scheduled_for=from_ms(scheduled),
        created_at=from_ms(created),
        due_at=_instant(due),
        started_at=_instant(started),
        finished_at=_instant(finished if why is None else finished or created),
        duration_ms=duration,
        response_code=code,
        response_body=None if body is None else body.decode("utf-8", "replace"),
        error=error,
        worker_id=worker,
        skip_reason=why,
        skipped=skipped or 0,
        result=result,
        messages_sent=sent or 0,
        profiles_visited=visited or 0,
    )


def _why_skipped(reason: SkipReason, fire_ms: int, until_ms: int | None, count: int) -> str:
    sentence = {
        SkipReason.MAX_INSTANCES: "not run: as many runs as max_instances allows were going on",
        SkipReason.MISFIRE: "not run: nobody could run it within misfire_grace_seconds",
        SkipReason.COALESCED: "not run: merged into a later occurrence that was missed as well",
    }[reason]
    if count > 1 and until_ms is not None:
        sentence += f" (at least {count} occurrences until {rfc3339(from_ms(until_ms))})"
    return sentence


def _ms(instant: datetime | None) -> int | None:
    return None if instant is None else to_ms(instant)


def _instant(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)
