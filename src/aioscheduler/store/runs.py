"""Executions: made, claimed, settled, read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.execution import Execution, ExecutionId, ExecutionStatus, SkipReason
from aioscheduler.domain.job import (
    BOTS,
    Job,
    JobId,
    JobWebhook,
    LiveJob,
    Owner,
    WebhookId,
    execution_id,
    job_of,
    run_id,
    skip_id,
)
from aioscheduler.domain.target import Destination, check_url
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store import keys
from aioscheduler.store.base import UNKNOWN, Lease, Settled
from aioscheduler.store.batch import Batcher
from aioscheduler.store.calls import BATCH, Setup
from aioscheduler.store.codec import dead_head
from aioscheduler.store.jobcodec import (
    decode_execution,
    decode_job,
    decode_ref,
    decode_webhook,
    encode_ended,
    encode_queued,
    encode_ref,
    encode_skip,
)
from aioscheduler.store.jobs import Jobs, family, pairs
from aioscheduler.store.leases import HEARTBEAT_MS, LEASE, Leases, attempt_line, lateness_us
from aioscheduler.store.punctuality import Tally
from aioscheduler.store.recurring import (
    ClaimedExecution,
    ExecutionRef,
    ExecutionSettlement,
    Fire,
    Fired,
    JobRef,
    Plan,
    Planned,
    Retried,
    Run,
    Slice,
    destination_without_webhook,
)

#: What is due at one minute, or was made by one call, says the same.
_instant = lru_cache(maxsize=256)(from_ms)
#: How many executions of one job a look at old ones deletes, and how many jobs one call looks at: together no more than
#: the server does in a moment.
_FORGET: Final = 200
_FORGET_JOBS: Final = 50
_MOST_TRIES: Final = 1000
#: So many executions made here are remembered until they are claimed.
_MOST_FRESH: Final = 20_000


class Runs(Jobs, Leases):
    """The verbs about executions."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._keep = setup.executions_per_job
        #: What was made here and not claimed since, so that the claim need not read it again.
        self._fresh: dict[ExecutionId, tuple[Job, JobWebhook | None, Run, int]] = {}
        self._late_runs = Tally("j", setup.clock, lambda: self._settle_runs([]))
        self._settle_run = Batcher(self._settle_runs, BATCH, weigh=lambda args: len(args[8]) + len(args[9]))

    # -- what is due

    async def job_window(self, until: datetime, limit: int) -> AsyncIterator[Sequence[tuple[int, JobRef]]]:
        async for page in self._due_until(keys.JOBS_DUE, until, limit):
            yield [(due_ms, JobRef(JobId(raw.decode()))) for due_ms, raw in page]

    async def execution_window(self, until: datetime, limit: int) -> AsyncIterator[Sequence[tuple[int, ExecutionRef]]]:
        async for page in self._due_until(keys.EXECUTIONS_DUE, until, limit):
            yield [(due_ms, decode_ref(raw)) for due_ms, raw in page]

    async def plans(self, ids: Sequence[JobId]) -> Sequence[Plan | None]:
        key_names = [keys.JOBS_DUE]
        for job_id in ids:
            key_names += (keys.job(job_id), keys.webhooks(job_id))
        rows = await self._run("plans", key_names, list(ids))
        found: list[Plan | None] = [None] * len(ids)
        for i in range(0, len(rows), 4):
            place = int(rows[i]) - 1
            hooks = rows[i + 3]
            webhooks = [
                decode_webhook(WebhookId(webhook_id.decode()), ids[place], record)
                for webhook_id, record in sorted(zip(hooks[::2], hooks[1::2], strict=True))
            ]
            job = decode_job(ids[place], rows[i + 2])
            found[place] = Plan(job=job, due_ms=int(float(rows[i + 1])), webhooks=webhooks)
        return found

    async def fire(self, fires: Sequence[Fire], now: datetime) -> Sequence[Fired]:
        now_ms = to_ms(now)
        key_names = [keys.JOBS_DUE, keys.JOBS_LAST, keys.EXECUTIONS_DUE, keys.COUNTERS, *_AUDIT]
        args: list[Any] = [now_ms, self._keep]
        for fire in fires:
            job = fire.plan.job
            key_names += _keys_of(job.id, job.owner)
            following = "" if fire.next_ms is None else fire.next_ms
            args += (job.id, job.version, fire.plan.due_ms, following, family(job.owner))
            args += (len(fire.skips), len(fire.runs))
            for skip in fire.skips:
                text = encode_skip(skip.reason, skip.fire_ms, skip.until_ms, skip.times, now_ms)
                args += (skip_id(job.id, run_id(job.id, skip.fire_ms)), text, skip.reason.value, skip.times)
            for run in fire.runs:
                args += (run.fire_ms, "w" if run.waits else "s", len(run.executions))
                _queue(args, run, now_ms)
                text = encode_skip(SkipReason.MAX_INSTANCES, run.fire_ms, run.fire_ms, 1, now_ms)
                args += (run.skip_id, text)
        answers = await self._run("fire", key_names, args)
        for fire, answer in zip(fires, answers, strict=True):
            for run, letter in zip(fire.runs, answer[1:], strict=False):
                if letter == _STARTED:
                    for planned in run.executions:
                        self._fresh[planned.ref.id] = (fire.plan.job, planned.webhook, run, now_ms)
                    self._tell_planned(run.executions, run.fire_ms)
        while len(self._fresh) > _MOST_FRESH:
            del self._fresh[next(iter(self._fresh))]
        return [Fired.APPLIED if answer else Fired.STALE for answer in answers]

    def _tell_planned(self, executions: Sequence[Planned], due_ms: int) -> None:
        if self.on_execution is not None:
            for planned in executions:
                self.on_execution(planned.ref, due_ms, planned.destination)

    async def execution_destinations(self, refs: Sequence[ExecutionRef]) -> Sequence[Destination | None]:
        records = await self._together(*(("HGET", keys.webhooks(ref.job_id), ref.webhook_id or "") for ref in refs))
        return [_destination(ref, record) for ref, record in zip(refs, records, strict=True)]

    # -- one attempt

    async def claim_executions(self, refs: Sequence[ExecutionRef], now: datetime) -> Sequence[ClaimedExecution]:
        now_ms = int(now.timestamp() * 1000)
        expiry = now_ms + int(LEASE.total_seconds() * 1000)
        key_names = [*_EXECUTION_KEYS, keys.heartbeat(self._replica)]
        args: list[Any] = []
        fresh = [self._fresh.pop(ref.id, None) for ref in refs]
        for ref, known in zip(refs, fresh, strict=True):
            key_names += (keys.job(ref.job_id), keys.webhooks(ref.job_id), keys.executions(ref.job_id))
            until = now_ms + self._bot_lease_ms if ref.owner == BOTS else expiry
            args += (encode_ref(ref), ref.id, ref.webhook_id or "-", until, known[0].version if known else "")
        asked_at = self._clock.monotonic()
        with self._claim_of() as number:
            holder = f"{self._replica}:{number}"
            rows = await self._run("claim_executions", key_names, [now_ms, holder, HEARTBEAT_MS, self._ask_time, *args])
        claimed: list[ClaimedExecution] = []
        for i in range(1, len(rows), 6):
            place = int(rows[i]) - 1
            ref, known, lease = refs[place], fresh[place], rows[i + 1]
            if not lease:
                self._note_ahead(now_ms, int(rows[0]))
                if self.on_execution is not None:
                    self.on_execution(ref, int(float(rows[i + 2])), UNKNOWN)
                continue
            record, job, webhook = rows[i + 3 : i + 6]
            token = Lease(lease.decode())
            self._held.add((encode_ref(ref), token))
            hook: JobWebhook | None
            if known is not None and not job:
                the_job, hook, run, created_ms = known
                execution = _first_attempt(ref, run, created_ms, now, self._replica)
            else:
                the_job, execution = decode_job(ref.job_id, job), decode_execution(ref.id, ref.job_id, record, lease)
                hook = decode_webhook(ref.webhook_id, ref.job_id, webhook) if webhook and ref.webhook_id else None
            claimed.append(
                ClaimedExecution(
                    ref=ref,
                    execution=execution,
                    job=the_job,
                    webhook=hook,
                    lease=token,
                    due_at=_instant(int(float(rows[i + 2]))),
                    claimed_at=now,
                    asked_at=asked_at,
                )
            )
        return claimed

    async def defer_executions(self, refs: Sequence[ExecutionRef], until: datetime, now: datetime) -> None:
        key_names = [keys.EXECUTIONS_DUE, keys.EXECUTIONS_STATE]
        await self._run("defer", key_names, [to_ms(until), to_ms(now), *map(encode_ref, refs)])

    async def executions_still_leased(self, claimed: Sequence[ClaimedExecution]) -> Sequence[bool]:
        leases = await self._command("HMGET", keys.EXECUTIONS_LEASED, *(encode_ref(each.ref) for each in claimed))
        return [lease == each.lease.encode() for lease, each in zip(leases, claimed, strict=True)]

    async def settle_execution(self, settlement: ExecutionSettlement) -> Settled:
        claimed = settlement.claimed
        held = (encode_ref(claimed.ref), claimed.lease)
        try:
            code, *started = await self._settle_run(self._settle_run_args(settlement))
        except StoreUnavailable:
            raise  # the caller comes again
        except BaseException:
            self._held.discard(held)  # nobody comes again: the lease is given back
            raise
        self._held.discard(held)
        outcome, final = settlement.outcome, settlement.final
        if outcome is not None and final is not None and not final.failures and claimed.webhook is not None:
            self._late_runs.note(lateness_us(claimed, outcome), claimed.webhook.destination)
        if self.on_execution is not None:
            for text in started:
                self.on_execution(decode_ref(text), self._clock.now_ms(), UNKNOWN)
        return Settled.APPLIED if code else Settled.LOST

    async def _settle_runs(self, items: list[tuple[Any, ...]]) -> Sequence[list[Any]]:
        late = self._late_runs.take()
        key_names = [
            *(*_EXECUTION_KEYS, keys.JOBS_LAST, keys.COUNTERS, keys.DEAD, keys.DEAD_INDEX),
            *(keys.DELIVERIES, keys.DELIVERIES_INDEX, *_AUDIT, *late.keys),
        ]
        args: list[Any] = [self._log_size, self._keep, self._clock.now_ms(), late.text, late.place]
        for owner, *its_args in items:
            key_names += _keys_of(its_args[5], owner)
            args += its_args
        answers: list[list[Any]] = await self._run("settle_executions", key_names, args)
        return answers

    def _settle_run_args(self, settlement: ExecutionSettlement) -> tuple[Any, ...]:
        claimed, final, following = settlement.claimed, settlement.final, settlement.following
        execution, ref = claimed.execution, claimed.ref
        line, names, owned = self._run_line(settlement)
        text, body, letter = b"", b"", b""
        if final is not None:
            text = encode_ended(final)
            body = (final.response_body or "").encode()
            if settlement.reason is not None:
                head = dead_head(self._clock.now_ms(), settlement.reason)
                meta = {"job": ref.job_id, "attempts": final.attempt, "error": final.error}
                letter = head + orjson.dumps(meta) + b"\n" + text
        claims = int(claimed.lease.split(":")[2])
        after: tuple[Any, ...] = ("", "", "", "", "")
        if following is not None:
            assert following.due_at is not None, "a further attempt has its time"
            created_ms, due_ms = to_ms(following.created_at), to_ms(following.due_at)
            after = (
                encode_ref(ref._replace(id=following.id)),
                following.id,
                created_ms,
                encode_queued(
                    ref.webhook_id,
                    following.attempt,
                    following.failures,
                    to_ms(following.scheduled_for),
                    created_ms,
                    due_ms,
                ),
                due_ms,
            )
        return (
            ref.owner,
            encode_ref(ref),
            f"-{claimed.lease}" if settlement.repeated else claimed.lease,
            "release" if final is None else "end",
            ref.id,
            to_ms(execution.created_at),
            ref.job_id,
            to_ms(execution.scheduled_for),
            "" if final is None else final.status.value,
            text,
            body,
            to_ms(claimed.due_at),
            # An attempt that began has used up its number; one that did not gives it back.
            claims if settlement.begun else claims - 1,
            *after,
            letter,
            (final.error or "") if final else "",
            line,
            names,
            owned,
            family(ref.owner),
        )

    @staticmethod
    def _run_line(settlement: ExecutionSettlement) -> tuple[bytes, str, str]:
        """Return the line of the delivery log, and what the attempt adds to the counters, the owner's last."""
        claimed, final, outcome = settlement.claimed, settlement.final, settlement.outcome
        if final is None or final.duration_ms is None:
            reason = final.skip_reason if final else None
            return b"", f"skipped:{reason.value}=1," if reason else "", ""
        duration_us = round(final.duration_ms * 1000)
        owned = f"attempts=1,duration_us:sum={duration_us},"
        begins = family(claimed.ref.owner)
        names = f"{begins}attempts=1,{begins}duration_us:sum={duration_us},"
        if outcome is None:
            return b"", names, owned
        line, counted, late_us, took_us = attempt_line(
            claimed, outcome, final.attempt, final.scheduled_for, claimed.ref.id
        )
        kind = "dead_letter" if settlement.reason is not None else outcome.kind.value
        names += (
            f"deliveries:execution:{kind}=1,{begins}delivered=1,{begins}lateness_us:sum={late_us},"
            f"lateness_us:sum={late_us},duration_us:sum={took_us},{counted.replace(',', '=1,')}"
        )
        return f"{outcome.kind.value} ".encode() + line, names, owned

    # -- by hand

    async def run_job(self, live: LiveJob, run: Run) -> Sequence[ExecutionId] | None:
        job, now_ms = live.job, self._clock.now_ms()
        key_names = [
            *(keys.JOBS_LAST, keys.EXECUTIONS_DUE, keys.COUNTERS, keys.owner_counters(job.owner)),
            *(keys.job(job.id), keys.executions(job.id), keys.history(job.id), keys.runs(job.id), keys.waiting(job.id)),
            *_AUDIT,
        ]
        while True:
            args: list[Any] = [job.id, now_ms, run.fire_ms, family(job.owner)]
            _queue(args, run, now_ms)
            answer = await self._run("run_job", key_names, args)
            if answer == b"gone":
                return None
            if answer == b"taken":
                # An occurrence of that very millisecond; names are given once.
                run = _later(run, job.id)
                continue
            if answer[0] == b"j":
                return [decode_ref(text).id for text in answer[1:]]
            if answer[0] == b"s":
                self._tell_planned(run.executions, now_ms)
            return [planned.ref.id for planned in run.executions]

    async def retry_execution(self, ended: Execution, again: Execution, now: datetime) -> Retried:
        job_id, now_ms = JobId(ended.job_id), to_ms(now)
        job = await self.job(job_id)
        if job is None:
            return Retried.GONE
        owner, before = job.job.owner, ended.id
        for _ in range(_MOST_TRIES):
            webhook_id = None if again.webhook_id is None else WebhookId(again.webhook_id)
            ref = ExecutionRef(owner, job_id, webhook_id, again.id)
            fire_ms = to_ms(ended.scheduled_for)
            answer = await self._run(
                "retry_execution",
                [
                    *(keys.EXECUTIONS_DUE, keys.DEAD, keys.DEAD_INDEX, keys.owner_counters(owner)),
                    *(keys.job(job_id), keys.webhooks(job_id), keys.executions(job_id), keys.history(job_id)),
                    *(keys.runs(job_id), keys.COUNTERS, *_AUDIT, keys.DEAD_GONE),
                ],
                [
                    *(ended.id, webhook_id or "", now_ms, fire_ms, encode_ref(ref), again.id),
                    encode_queued(webhook_id, again.attempt, again.failures, fire_ms, now_ms, now_ms),
                    *(family(owner), before),
                ],
            )
            if answer[:1] != _ENDED:
                break
            # What comes after an attempt is numbered after what it became, its claims that came to nothing included.
            before, number = again.id, decode_execution(again.id, job_id, answer).attempt + 1
            again.attempt, again.id = number, execution_id(job_id, again.run_id, webhook_id, number)
        if answer == b"done" and self.on_execution is not None:
            self.on_execution(ref, now_ms, UNKNOWN)
        return {b"done": Retried.QUEUED, b"gone": Retried.GONE}.get(answer, Retried.OPEN)

    # -- the history

    async def executions(
        self, job_id: JobId, status: ExecutionStatus | None, skip: int, limit: int
    ) -> Slice[Execution]:
        history = keys.history(job_id)
        if status is not None and status.is_open:
            return await self._open_executions(job_id, status, skip, limit)
        head = b"t" if status is None else status.value.encode()
        least, most = b"[%s\0" % head, b"(%s\1" % head
        rows, total = await self._together(
            ("ZREVRANGEBYLEX", history, most, least, "LIMIT", skip, limit), ("ZLEXCOUNT", history, least, most)
        )
        ids = [ExecutionId(row[len(head) + 15 :].decode()) for row in rows]
        return Slice(items=await self._load_executions(job_id, ids), total=total)

    async def _open_executions(self, job_id: JobId, status: ExecutionStatus, skip: int, limit: int) -> Slice[Execution]:
        # As many as one job may have going on at once.
        rows = await self._command("ZREVRANGEBYLEX", keys.history(job_id), b"(o\1", b"[o\0")
        found = await self._load_executions(job_id, [decode_ref(row[16:]).id for row in rows])
        chosen = [execution for execution in found if execution.status is status]
        return Slice(items=chosen[skip : skip + limit], total=len(chosen))

    async def _load_executions(self, job_id: JobId, ids: Sequence[ExecutionId]) -> list[Execution]:
        if not ids:
            return []
        records = await self._command("HMGET", keys.executions(job_id), *ids)
        found = {execution: record for execution, record in zip(ids, records, strict=True) if record is not None}
        leases = await self._leases_of(job_id, found)
        return [decode_execution(id_, job_id, record, leases.get(id_)) for id_, record in found.items()]

    async def _leases_of(self, job_id: JobId, records: Mapping[ExecutionId, bytes]) -> dict[ExecutionId, bytes]:
        """Return the leases of those that are being attempted."""
        refs = {
            execution: b"%s:%s" % (job_id.encode(), _webhook_of(record)) + b":" + execution.encode()
            for execution, record in records.items()
            if record[:1] == _OPEN
        }
        if not refs:
            return {}
        job = await self._command("GET", keys.job(job_id))
        if job is None:
            return {}
        owner = decode_job(job_id, job).owner.encode()
        leases = await self._command("HMGET", keys.EXECUTIONS_LEASED, *(owner + b":" + ref for ref in refs.values()))
        return {execution: lease for execution, lease in zip(refs, leases, strict=True) if lease is not None}

    async def execution(self, execution_id: ExecutionId) -> Execution | None:
        job_id = job_of(execution_id)
        if job_id is None:
            return None
        wanted = ExecutionId(execution_id.lower())
        record, body = await self._command("HMGET", keys.executions(job_id), wanted, f"b{wanted}")
        if record is None:
            return None
        leases = await self._leases_of(job_id, {wanted: record})
        return decode_execution(wanted, job_id, record, leases.get(wanted), body)

    async def trim_history(self, before: datetime) -> int:
        gone = 0
        for scope in (keys.ACCOUNTS, BOTS):
            start = 0
            while ids := await self._command("ZRANGE", keys.jobs_of(scope), start, start + _FORGET_JOBS - 1):
                key_names: list[bytes] = []
                for raw in ids:
                    key_names += (keys.executions(raw.decode()), keys.history(raw.decode()))
                gone += await self._run("forget", key_names, [to_ms(before), _FORGET])
                start += _FORGET_JOBS
        return gone

    # -- bots

    async def bot_read(self, bot: str, keys_: Sequence[str]) -> Sequence[str | None]:
        if not keys_:
            return []
        texts = await self._command("HMGET", keys.bot_memory(bot), *keys_)
        return [None if text is None else text.decode() for text in texts]

    async def bot_read_all(self, bot: str) -> Mapping[str, str]:
        memory = await self._command("HGETALL", keys.bot_memory(bot))
        return {key.decode(): text.decode() for key, text in pairs(memory)}

    async def bot_swap(self, bot: str, key: str, old: str | None, new: str | None) -> bool:
        args = [key, "0" if old is None else "1", old or "", "0" if new is None else "1", new or ""]
        return bool(await self._run("swap", [keys.bot_memory(bot)], args))


_STARTED: Final = ord("s")
_OPEN, _ENDED = b"o", b"e"
_AUDIT: Final = (keys.EXECUTIONS_AUDIT, keys.EXECUTIONS_AUDIT_MINUTES)
_EXECUTION_KEYS: Final = (keys.EXECUTIONS_DUE, keys.EXECUTIONS_LEASED, keys.EXECUTIONS_STATE)


def _keys_of(job_id: JobId, owner: Owner) -> tuple[bytes, ...]:
    """Return what a step that makes or ends executions touches of their job."""
    return (
        *(keys.job(job_id), keys.executions(job_id), keys.history(job_id)),
        *(keys.runs(job_id), keys.waiting(job_id), keys.owner_counters(owner)),
    )


def _first_attempt(ref: ExecutionRef, run: Run, created_ms: int, now: datetime, replica: str) -> Execution:
    """Return an execution as :func:`decode_execution` would."""
    fire_at = _instant(run.fire_ms)
    return Execution(
        id=ref.id,
        job_id=ref.job_id,
        run_id=run.name,
        webhook_id=ref.webhook_id,
        status=ExecutionStatus.RUNNING,
        attempt=1,
        scheduled_for=fire_at,
        created_at=_instant(created_ms),
        due_at=fire_at,
        started_at=now,
        worker_id=replica,
    )


def _queue(args: list[Any], run: Run, now_ms: int) -> None:
    for planned in run.executions:
        ref = planned.ref
        args += (encode_ref(ref), ref.id, encode_queued(ref.webhook_id, 1, 0, run.fire_ms, now_ms, run.fire_ms))


def _later(run: Run, job_id: JobId) -> Run:
    """Return the run under the name of the next millisecond."""
    fire_ms = run.fire_ms + 1
    name = run_id(job_id, fire_ms)
    executions = [
        planned._replace(ref=planned.ref._replace(id=execution_id(job_id, name, planned.ref.webhook_id, 1)))
        for planned in run.executions
    ]
    return Run(fire_ms=fire_ms, name=name, skip_id=skip_id(job_id, name), executions=executions, waits=run.waits)


def _webhook_of(record: bytes) -> bytes:
    webhook = orjson.loads(record[1:])[0]
    return webhook.encode() if webhook else b"-"


def _destination(ref: ExecutionRef, record: bytes | None) -> Destination | None:
    if ref.webhook_id is None:
        return destination_without_webhook(ref.owner)
    return None if record is None else check_url(orjson.loads(record)["url"])
