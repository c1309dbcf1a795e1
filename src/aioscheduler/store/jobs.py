"""Jobs and their webhooks: written, deleted, read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.execution import ExecutionStatus
from aioscheduler.domain.job import (
    BOTS,
    MAX_WEBHOOKS,
    Job,
    JobId,
    JobWebhook,
    LiveJob,
    Owner,
    WebhookId,
    execution_id,
    job_of,
)
from aioscheduler.domain.message import new_version
from aioscheduler.errors import InvalidInput, Sentence
from aioscheduler.store import keys
from aioscheduler.store.batch import Batcher
from aioscheduler.store.calls import BATCH, Calls, Setup
from aioscheduler.store.jobcodec import (
    decode_job,
    decode_last,
    decode_webhook,
    encode_job,
    encode_webhook,
    job_name,
)
from aioscheduler.store.recurring import ExecutionCounts, ExecutionListener, JobCounts, JobListener, Slice, Unchanged

_SCOPES: Final = (None, True, False)
_NEW, _OLD = "new", "old"
#: Among how many jobs a name is looked for, and how many one step looks at.
_MOST_NAMED, _NAMES = 100_000, 250
#: How many characters the ids of a job's executions have in common: 60 bits, the version and two hyphens.
_PREFIX_LENGTH: Final = 18


class Jobs(Calls):
    """The verbs about definitions."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.on_job: JobListener | None = None
        self.on_execution: ExecutionListener | None = None
        self._write_job = Batcher(self._write_jobs, BATCH, weigh=lambda item: len(item[2]))

    async def create_job(self, job: Job, next_run_at: datetime | None) -> bool:
        return await self._write("", job, next_run_at)

    async def update_job(self, old: Job, job: Job, next_run_at: datetime | Unchanged | None) -> bool:
        return await self._write(old.version, job, next_run_at)

    async def _write(self, old: str, job: Job, next_run_at: datetime | Unchanged | None) -> bool:
        due_ms = to_ms(next_run_at) if isinstance(next_run_at, datetime) else None
        due = "=" if isinstance(next_run_at, Unchanged) else "" if due_ms is None else str(due_ms)
        written = await self._write_job((old, job, encode_job(job), due))
        if written and self.on_job is not None:
            self.on_job(job.id, due_ms)
        return written

    async def _write_jobs(self, items: list[tuple[str, Job, bytes, str]]) -> Sequence[bool]:
        key_names, args = [keys.JOBS_DUE, keys.COUNTERS], list[Any]()
        for old, job, record, due in items:
            key_names += (keys.job(job.id), *_scopes(job.owner))
            args += (job.id, old, record, "1" if job.enabled else "0", to_ms(job.created_at), due)
        with self._echo([keys.job(job.id) for _, job, _, _ in items]) as own:
            codes = await self._run("write_jobs", key_names, args)
            own += [code == 1 for code in codes]
        return [code == 1 for code in codes]

    async def delete_job(self, job: Job) -> bool:
        with self._echo([keys.job(job.id)]) as own:
            code = await self._run(
                "delete_job",
                [
                    *(keys.JOBS_DUE, keys.JOBS_LAST),
                    *(keys.EXECUTIONS_DUE, keys.EXECUTIONS_LEASED, keys.EXECUTIONS_STATE),
                    *(keys.DEAD, keys.DEAD_INDEX, keys.owner_counters(job.owner)),
                    *(keys.job(job.id), keys.webhooks(job.id), keys.executions(job.id)),
                    *(keys.history(job.id), keys.runs(job.id), keys.waiting(job.id)),
                    *(*_scopes(job.owner), keys.COUNTERS, keys.EXECUTIONS_AUDIT, keys.EXECUTIONS_AUDIT_MINUTES),
                ],
                [job.id, family(job.owner), execution_id(job.id, "", None, 0)[:_PREFIX_LENGTH]],
            )
            own.append(code == 1)
        if self.on_job is not None:
            self.on_job(job.id, None, deleted=True)
        return bool(code)

    async def job(self, job_id: JobId) -> LiveJob | None:
        found = await self._load_jobs([job_id])
        return found[0] if found else None

    async def jobs(
        self, owner: Owner | None, enabled: bool | None, skip: int, limit: int, name: str = ""
    ) -> Slice[LiveJob]:
        listed = keys.jobs_of(owner or keys.ACCOUNTS, enabled)
        if name:
            named = await self._named(listed, name.casefold())
            return Slice(items=await self._load_jobs(named[skip : skip + limit]), total=len(named))
        rows, total = await self._together(("ZRANGE", listed, skip, skip + limit - 1), ("ZCARD", listed))
        return Slice(items=await self._load_jobs([JobId(row.decode()) for row in rows]), total=total)

    async def _named(self, listed: bytes, wanted: str) -> list[JobId]:
        found: list[JobId] = []
        # Few at a time: the server and this loop do other things in between.
        for start in range(0, _MOST_NAMED, _NAMES):
            rows = await self._command("ZRANGE", listed, start, start + _NAMES - 1)
            ids = [JobId(row.decode()) for row in rows]
            records = await self._command("MGET", *map(keys.job, ids)) if ids else []
            found += [
                job_id
                for job_id, record in zip(ids, records, strict=True)
                if record is not None and wanted in job_name(record).casefold()
            ]
            if len(rows) < _NAMES:
                break
        return found

    async def _load_jobs(self, ids: Sequence[JobId]) -> list[LiveJob]:
        """Return those of the jobs that are there."""
        if not ids:
            return []
        records, dues, lasts = await self._together(
            ("MGET", *map(keys.job, ids)), ("ZMSCORE", keys.JOBS_DUE, *ids), ("HMGET", keys.JOBS_LAST, *ids)
        )
        found: list[LiveJob] = []
        for job_id, record, due, last in zip(ids, records, dues, lasts, strict=True):
            if record is not None:
                job = decode_job(job_id, record)
                # Of the three looks the one at the record may have come first.
                due_at = None if due is None or not job.enabled else from_ms(int(float(due)))
                found.append(LiveJob(job=job, next_run_at=due_at, last_run=decode_last(last)))
        return found

    async def job_counts(self, owner: Owner | None) -> JobCounts:
        scope = owner or keys.ACCOUNTS
        total, enabled = await self._together(
            ("ZCARD", keys.jobs_of(scope)), ("ZCARD", keys.jobs_of(scope, enabled=True))
        )
        return JobCounts(total=total, enabled=enabled)

    async def execution_counts(self, owner: Owner | None) -> ExecutionCounts:
        # What all accounts have together stands among the deployment's counters.
        begins = "" if owner else family(keys.ACCOUNTS)
        counters, leased = await self._together(
            ("HGETALL", keys.owner_counters(owner) if owner else keys.COUNTERS), ("HKEYS", keys.EXECUTIONS_LEASED)
        )
        # There are never more leases than the replicas have slots.
        owners = [ref.split(b":", 1)[0].decode() for ref in leased]
        running = sum(name == owner if owner else name != BOTS for name in owners)
        values = {
            name.decode().removeprefix(begins): int(value)
            for name, value in pairs(counters)
            if name.startswith(begins.encode())
        }
        return ExecutionCounts(
            queued=max(0, values.get("open", 0) - running),
            running=running,
            ended={status: values[status.value] for status in ExecutionStatus if status.value in values},
            duration_ms=values.get("duration_us:sum", 0) / 1000,
            attempts=values.get("attempts", 0),
        )

    # -- webhooks

    async def put_webhook(self, webhook: JobWebhook, *, new: bool) -> bool:
        code = await self._write_webhook(webhook.job_id, webhook.id, encode_webhook(webhook), _NEW if new else _OLD)
        if code == 2:
            raise InvalidInput.of(
                "job_id", Sentence("must be of a job with less than {max} webhooks", max=MAX_WEBHOOKS)
            )
        return bool(code)

    async def delete_webhook(self, webhook_id: WebhookId) -> bool:
        job_id = job_of(webhook_id)
        if job_id is None:
            return False
        return bool(await self._write_webhook(job_id, WebhookId(webhook_id.lower()), b"", _OLD))

    async def _write_webhook(self, job_id: JobId, webhook_id: WebhookId, record: bytes, mode: str) -> int:
        version = new_version(self._clock.now_ms())
        with self._echo([keys.job(job_id)]) as own:
            code: int = await self._run(
                "write_webhook",
                [keys.job(job_id), keys.webhooks(job_id)],
                [version, webhook_id, record, mode, MAX_WEBHOOKS],
            )
            own.append(code == 1)
        return code

    async def webhook(self, webhook_id: WebhookId) -> JobWebhook | None:
        job_id = job_of(webhook_id)
        if job_id is None:
            return None
        record = await self._command("HGET", keys.webhooks(job_id), webhook_id.lower())
        return None if record is None else decode_webhook(WebhookId(webhook_id.lower()), job_id, record)

    async def webhooks(self, job_id: JobId) -> Sequence[JobWebhook]:
        records = await self._command("HGETALL", keys.webhooks(job_id))
        return [
            decode_webhook(WebhookId(webhook_id.decode()), job_id, record)
            for webhook_id, record in sorted(pairs(records))
        ]

    # -- what keeps chains going

    async def stalled(self) -> AsyncIterator[Sequence[LiveJob]]:
        for scope in (keys.ACCOUNTS, BOTS):
            start = 0
            while True:
                seen, *ids = await self._run(
                    "stalled", [keys.jobs_of(scope, enabled=True), keys.JOBS_DUE], [start, start + BATCH - 1]
                )
                yield [live for live in await self._load_jobs([JobId(row.decode()) for row in ids]) if live.job.enabled]
                if int(seen) < BATCH:
                    break
                start += BATCH

    async def mend(self, live: LiveJob, next_run_at: datetime) -> bool:
        job, due_ms = live.job, to_ms(next_run_at)
        code = await self._run(
            "mend",
            [keys.JOBS_DUE, keys.job(job.id), keys.jobs_of(job.owner, enabled=True), keys.COUNTERS],
            [job.id, job.version, due_ms],
        )
        if code and self.on_job is not None:
            self.on_job(job.id, due_ms)
        return bool(code)

    async def look_at_jobs(self, ids: Sequence[JobId]) -> Mapping[JobId, int | None]:
        records, dues = await self._together(("MGET", *map(keys.job, ids)), ("ZMSCORE", keys.JOBS_DUE, *ids))
        return {
            job_id: None if due is None else int(float(due))
            for job_id, record, due in zip(ids, records, dues, strict=True)
            if record is not None
        }


def family(owner: Owner) -> str:
    """Return how the deployment's counters of executions of such an owner begin."""
    return "bot_runs:" if owner == BOTS else "executions:"


def _scopes(owner: Owner) -> tuple[bytes, ...]:
    """Return the lists a job stands in: its owner's, and those of all accounts."""
    everybody = BOTS if owner == BOTS else keys.ACCOUNTS
    return tuple(keys.jobs_of(scope, enabled) for scope in (owner, everybody) for enabled in _SCOPES)


def pairs(answer: Any) -> list[tuple[bytes, bytes]]:
    """Return a hash's fields and values, which come as a flat list in some answers and as a mapping in others."""
    return list(answer.items()) if isinstance(answer, dict) else list(zip(answer[::2], answer[1::2], strict=True))
