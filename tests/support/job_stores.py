"""The part of the store's suite about jobs, their webhooks and executions: collected as that in ``stores``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.execution import DeadReason, Execution, ExecutionId, ExecutionStatus, OutcomeKind, SkipReason
from aioscheduler.domain.job import BOTS, MAX_WEBHOOKS, Job, JobId, JobWebhook, LiveJob, Owner, WebhookId, execution_id
from aioscheduler.domain.job import run_id as run_name
from aioscheduler.domain.message import MessageId, new_version
from aioscheduler.domain.target import Destination
from aioscheduler.engine.runs import again, manual_run, run_of
from aioscheduler.errors import InvalidInput
from aioscheduler.store import keys
from aioscheduler.store.base import UNKNOWN, Settled
from aioscheduler.store.leases import LEASE
from aioscheduler.store.recovery import CONFIRM_SECONDS, RECONCILE_SECONDS
from aioscheduler.store.recurring import (
    ClaimedExecution,
    ExecutionRef,
    ExecutionSettlement,
    Fire,
    Fired,
    JobRef,
    Plan,
    Retried,
    Run,
    Skip,
    Unchanged,
)
from aioscheduler.store.redis import RedisStore
from tests.support.clock import START, FakeClock
from tests.support.jobs import (
    ACCOUNT,
    OTHER_ACCOUNT,
    bot_ended,
    bot_job,
    failed,
    final,
    following_ref,
    gave_up,
    given_back,
    job,
    refs,
    run,
    succeeded,
    webhook,
)
from tests.support.messages import bury, outcome
from tests.support.stores import StoreSuite, make_store

QUEUED, RUNNING, SUCCESS = ExecutionStatus.QUEUED, ExecutionStatus.RUNNING, ExecutionStatus.SUCCESS
FAILURE, DEAD, SKIPPED = ExecutionStatus.FAILURE, ExecutionStatus.DEAD_LETTER, ExecutionStatus.SKIPPED
MINUTE = timedelta(minutes=1)
NOBODY = "00000000-0000-8000-8000-000000000000"
MALFORMED = [
    "",
    "x",
    NOBODY[:-1],
    NOBODY + "0",
    NOBODY.replace("-", ""),
    "g" + NOBODY[1:],
    NOBODY + "\n",
    "é" * 36,
]


async def contents(redis: Redis) -> dict[bytes, Any]:
    """Return everything that is stored, but for counters, the account, the delivery log and what expires."""
    found: dict[bytes, Any] = {}
    client: Any = redis
    apart = (keys.COUNTERS, keys.AUDIT, keys.EXECUTIONS_AUDIT, keys.DELIVERIES, keys.LATENESS, keys.ACTIVITY)
    for key in sorted(await client.keys("*")):
        if key.startswith((*apart, keys.heartbeat(""))):
            continue
        match (await client.type(key)).decode():
            case "string":
                found[key] = await client.get(key)
            case "hash":
                found[key] = await client.hgetall(key)
            case "list":
                found[key] = await client.lrange(key, 0, -1)
            case "zset":
                found[key] = await client.zrange(key, 0, -1, withscores=True)
            case other:
                raise AssertionError(other)
    return found


def second(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


class JobSuite(StoreSuite):
    """Steps that the parts of the suite share."""

    async def create(
        self, store: RedisStore, *, webhooks: int = 1, due_in: float | None = 0, **members: Any
    ) -> tuple[Job, list[JobWebhook]]:
        """Write a job and its webhooks; return them as they stand then."""
        new = bot_job(**members) if members.get("owner") == BOTS else job(**members)
        assert await store.create_job(new, None if due_in is None else START + second(due_in))
        hooks = [webhook(new) for _ in range(webhooks)]
        for hook in hooks:
            assert await store.put_webhook(hook, new=True)
        return (await self.live(store, new.id)).job, hooks

    async def create_bot(self, store: RedisStore, **members: Any) -> Job:
        members.pop("owner", None)
        new = bot_job(**members)
        assert await store.create_job(new, START)
        return new

    async def live(self, store: RedisStore, job_id: JobId) -> LiveJob:
        live = await store.job(job_id)
        assert live is not None
        return live

    async def change(self, store: RedisStore, old: Job, **members: Any) -> Job:
        """Change a job, its due time left as it is."""
        live = await self.live(store, old.id)
        new = replace(live.job, version=new_version(to_ms(START)), **members)
        assert await store.update_job(live.job, new, live.next_run_at)
        return new

    async def plan(self, store: RedisStore, job_id: JobId) -> Plan:
        (plan,) = await store.plans([job_id])
        assert plan is not None
        return plan

    async def fire_of(self, store: RedisStore, job_id: JobId, *, waits: bool = False, next_in: float = 60) -> Fire:
        plan = await self.plan(store, job_id)
        return Fire(
            plan=plan,
            runs=[run_of(plan.job, plan.webhooks, plan.due_ms, waits=waits)],
            skips=[],
            next_ms=plan.due_ms + round(next_in * 1000),
        )

    async def start(self, store: RedisStore, clock: FakeClock, job_id: JobId, *, waits: bool = False) -> Run:
        """Fire a job, once it is due; return the run."""
        fire = await self.fire_of(store, job_id, waits=waits)
        clock.move(max(0.0, (from_ms(fire.plan.due_ms) - clock.now()).total_seconds()))
        assert await store.fire([fire], clock.now()) == [Fired.APPLIED]
        return fire.runs[0]

    async def take(self, store: RedisStore, clock: FakeClock, ref: ExecutionRef) -> ClaimedExecution:
        (claimed,) = await store.claim_executions([ref], clock.now())
        return claimed

    async def settle(self, store: RedisStore, settlement: ExecutionSettlement) -> ExecutionSettlement:
        assert await store.settle_execution(settlement) is Settled.APPLIED
        return settlement

    async def finish(self, store: RedisStore, clock: FakeClock, of: Run) -> None:
        """Let all executions of a run succeed."""
        claims = await store.claim_executions(refs(of), clock.now())
        assert len(claims) == len(of.executions)
        for claimed in claims:
            await self.settle(store, succeeded(claimed))

    async def found(self, store: RedisStore, execution: ExecutionId) -> Execution:
        found = await store.execution(execution)
        assert found is not None
        return found

    async def statuses(
        self, store: RedisStore, job_id: JobId, status: ExecutionStatus | None = None
    ) -> list[ExecutionStatus]:
        return [each.status for each in (await store.executions(job_id, status, 0, 1000)).items]

    async def due_executions(self, store: RedisStore) -> list[ExecutionId]:
        pages = [page async for page in store.execution_window(START + timedelta(days=365), 10_000)]
        return [ref.id for page in pages for _, ref in page]

    async def assert_nothing_is_stuck(self, store: RedisStore, redis: Redis, job_id: JobId) -> None:
        """Find that no run goes on and none waits, and that the next occurrence is run."""
        client: Any = redis
        assert await client.hgetall(keys.runs(job_id)) == {}
        assert await client.lrange(keys.waiting(job_id), 0, -1) == []
        assert await self.statuses(store, job_id, QUEUED) == await self.statuses(store, job_id, RUNNING) == []
        assert (await store.execution_counts(ACCOUNT)).queued == 0
        fire = await self.fire_of(store, job_id)
        await store.fire([fire], START)
        assert await self.statuses(store, job_id, QUEUED) == [QUEUED] * len(fire.runs[0].executions)


class JobAudits(JobSuite):
    """The account of executions: each webhook of each run once, in the minute of its fire time."""

    async def of_minute(self, store: RedisStore, offset: float) -> dict[str, int]:
        """Return what is not 0 of the minute of a fire so many seconds after the start."""
        begin = START.replace(second=0) + second(offset)
        found = await store.audit(begin, begin + second(60))
        assert found.executions.difference == 0
        return {name: n for name, n in asdict(found.executions).items() if n}

    async def test_an_attempt_that_failed_and_the_next_one_are_the_same(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=3)
        one, two, three = refs(await self.start(store, clock, of.id))
        await self.settle(store, succeeded(await self.take(store, clock, one)))
        following = await self.settle(store, failed(await self.take(store, clock, two), after=90))
        await self.settle(store, gave_up(await self.take(store, clock, three)))
        assert await self.of_minute(store, 0) == {"planned": 3, "delivered": 1, "dead": 1, "pending": 1}
        clock.move(90)
        await self.settle(store, succeeded(await self.take(store, clock, following_ref(following))))
        assert await self.of_minute(store, 0) == {"planned": 3, "delivered": 2, "dead": 1}

    async def test_runs_that_go_on_and_wait_are_deleted_with_their_job(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=2)
        one, _ = refs(await self.start(store, clock, of.id))
        await self.start(store, clock, of.id, waits=True)
        await self.settle(store, failed(await self.take(store, clock, one)))
        assert await self.of_minute(store, 60) == {"planned": 2, "pending": 2}
        assert await store.delete_job(of)
        assert await self.of_minute(store, 0) == await self.of_minute(store, 60) == {"planned": 2, "deleted": 2}

    async def test_what_is_skipped_is_missed(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store, webhooks=2)
        fire = await self.fire_of(store, of.id)
        fire.skips = [Skip(fire.plan.due_ms - 5000, fire.plan.due_ms - 1000, 3, SkipReason.COALESCED)]
        assert await store.fire([fire], START) == [Fired.APPLIED]
        assert await self.of_minute(store, 0) == {"planned": 5, "missed": 3, "pending": 2}
        await self.start(store, clock, of.id)
        assert await self.of_minute(store, 60) == {"planned": 1, "missed": 1}, "the run before still goes on"
        late = await self.take(store, clock, refs(fire.runs[0])[0])
        skipped = final(late, ExecutionStatus.SKIPPED, skip_reason=SkipReason.MISFIRE, skipped=1)
        await self.settle(store, ExecutionSettlement(claimed=late, final=skipped, begun=False))
        assert await self.of_minute(store, 0) == {"planned": 5, "missed": 4, "pending": 1}

    async def test_one_that_is_run_again_by_hand_is_planned_again(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        await self.settle(store, gave_up(await self.take(store, clock, ref)))
        ended = await self.found(store, ref.id)
        clock.move(60)
        assert await store.retry_execution(ended, again(ended, clock.now()), clock.now()) is Retried.QUEUED
        assert await self.of_minute(store, 0) == {"planned": 2, "dead": 1, "pending": 1}

    async def test_a_lease_holds_until_it_is_settled_or_its_job_deleted(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=2)
        leased = await store.claim_executions(refs(await self.start(store, clock, of.id)), clock.now())
        assert await store.executions_still_leased(leased) == [True, True]
        await self.settle(store, succeeded(leased[0]))
        assert await store.executions_still_leased(leased) == [False, True]
        await store.delete_job(of)
        assert await store.executions_still_leased(leased) == [False, False]

    async def test_one_that_is_put_off_is_late_since_the_first_time(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        for _ in range(2):
            clock.move(20)
            await store.defer_executions([ref], clock.now() + second(20), clock.now())
            clock.move(20)
        claimed = await self.take(store, clock, ref)
        assert claimed.due_at == START
        await self.settle(store, given_back(claimed))
        assert (await self.take(store, clock, ref)).due_at == START


class Definitions(JobSuite):
    """Jobs: created, changed, deleted, listed."""

    async def test_a_change_that_leaves_the_schedule_alone_leaves_the_next_fire_time_alone(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        old = job()
        assert await store.create_job(old, START)
        [plan] = await store.plans([old.id])
        assert plan is not None
        next_ms = plan.due_ms + 60_000
        fire = Fire(plan=plan, runs=[], skips=[], next_ms=next_ms)
        assert await store.fire([fire], START) == [Fired.APPLIED]
        renamed = replace(old, name="another", version=new_version(to_ms(START)))
        assert await store.update_job(old, renamed, Unchanged.UNCHANGED)
        live = await store.job(old.id)
        assert live is not None
        assert (live.job.name, live.next_run_at) == ("another", from_ms(next_ms))

    async def test_a_job_reads_back_as_it_was_given(self, store: RedisStore) -> None:
        new = job(
            "ünï 😀",
            description="d",
            type=7,
            enabled=False,
            max_instances=3,
            coalesce=False,
            misfire_grace=second(1.5),
        )
        assert await store.create_job(new, None)
        assert await store.job(new.id) == LiveJob(job=new, next_run_at=None, last_run=None)
        bot = await self.create_bot(store, bot_config={"a": [1, {"b": None}]})
        assert await store.job(bot.id) == LiveJob(job=bot, next_run_at=START, last_run=None)

    async def test_an_id_is_given_once(self, store: RedisStore) -> None:
        new, _ = await self.create(store)
        assert not await store.create_job(replace(new, name="another"), START + second(9))
        assert await self.live(store, new.id) == LiveJob(job=new, next_run_at=START, last_run=None)
        assert (await store.job_counts(ACCOUNT)).total == 1
        assert (await store.counters())["jobs:written"] == 1

    async def test_of_many_with_one_id_at_once_one_is_created(self, store: RedisStore) -> None:
        new = job()
        assert sorted(await asyncio.gather(*(store.create_job(new, START) for _ in range(9)))) == [False] * 8 + [True]

    async def test_a_job_that_is_not_there_is_none(self, store: RedisStore) -> None:
        absent = job()
        assert await store.job(absent.id) is None
        assert not await store.update_job(absent, replace(absent, name="new"), START)
        assert not await store.delete_job(absent)
        assert await store.job(absent.id) is None
        assert (await store.jobs(None, None, 0, 9)).total == 0

    async def test_a_change_of_what_somebody_else_changed_is_refused(self, store: RedisStore) -> None:
        first, _ = await self.create(store)
        new = await self.change(store, first, name="new")
        late = replace(first, name="late", version=new_version(to_ms(START)))
        assert not await store.update_job(first, late, START + second(9))
        assert await self.live(store, first.id) == LiveJob(job=new, next_run_at=START, last_run=None)

    async def test_a_change_after_a_webhook_was_written_is_refused(self, store: RedisStore) -> None:
        first, _ = await self.create(store, webhooks=0)
        await store.put_webhook(webhook(first), new=True)
        assert not await store.update_job(first, replace(first, version=new_version(to_ms(START))), START)

    async def test_disabled_it_stands_in_the_other_list_and_is_not_due(self, store: RedisStore) -> None:
        first, _ = await self.create(store)
        off = replace(first, enabled=False, version=new_version(to_ms(START)))
        assert await store.update_job(first, off, None)
        assert [each.job.id for each in (await store.jobs(ACCOUNT, False, 0, 9)).items] == [first.id]
        for owner in (ACCOUNT, None):
            assert (await store.jobs(owner, True, 0, 9)).total == 0
            assert (await store.jobs(owner, False, 0, 9)).total == 1
            assert await store.job_counts(owner) == replace(await store.job_counts(owner), total=1, enabled=0)
        assert (await self.live(store, first.id)).next_run_at is None
        assert await store.plans([first.id]) == [None]
        assert [page async for page in store.job_window(START + timedelta(days=1), 9)] == []
        on = replace(off, enabled=True, version=new_version(to_ms(START)))
        assert await store.update_job(off, on, START + second(5))
        assert (await store.jobs(ACCOUNT, False, 0, 9)).total == 0
        assert (await store.job_counts(None)).enabled == 1
        assert (await self.live(store, first.id)).next_run_at == START + second(5)

    async def test_lists_are_oldest_first_and_come_in_slices(self, store: RedisStore) -> None:
        ages = [3, 1, 2, 0]
        made = {age: (await self.create(store, now=START - second(age), webhooks=0))[0].id for age in ages}
        expected = [made[age] for age in (3, 2, 1, 0)]
        for owner in (ACCOUNT, None):
            for skip in range(5):
                for limit in (1, 2, 9):
                    part = await store.jobs(owner, None, skip, limit)
                    assert [each.job.id for each in part.items] == expected[skip : skip + limit]
                    assert part.total == 4

    async def test_they_are_found_by_a_part_of_their_name_in_whatever_case(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("aioscheduler.store.jobs._NAMES", 2)
        names = ["Relatório diário", 'a "quoted\\" name', "RELATÓRIO semanal", "other", "\x01 relatório"]
        made: list[JobId] = []
        for age, name in enumerate(reversed(names)):
            job, _ = await self.create(store, now=START - second(age), name=name, webhooks=0)
            made.insert(0, job.id)

        async def found(name: str, skip: int = 0, limit: int = 9) -> tuple[list[JobId], int]:
            part = await store.jobs(ACCOUNT, None, skip, limit, name)
            return [live.job.id for live in part.items], part.total

        assert await found("relatÓrio") == ([made[0], made[2], made[4]], 3)
        assert await found("relatório", 1, 1) == ([made[2]], 3)
        assert await found('QUOTED\\" n') == ([made[1]], 1)
        assert await found("\x01") == ([made[4]], 1)
        assert await found("account") == await found("description") == ([], 0)
        monkeypatch.setattr("aioscheduler.store.jobs._MOST_NAMED", 2)
        assert await found("relatório") == ([made[0]], 1), "no more are looked at"

    async def test_each_owner_has_a_list_and_bots_are_not_among_the_accounts(self, store: RedisStore) -> None:
        mine, _ = await self.create(store)
        theirs, _ = await self.create(store, owner=OTHER_ACCOUNT)
        bot = await self.create_bot(store)

        async def listed(owner: Owner | None) -> list[JobId]:
            part = await store.jobs(owner, None, 0, 9)
            assert part.total == len(part.items) == (await store.job_counts(owner)).total
            return [each.job.id for each in part.items]

        assert await listed(ACCOUNT) == [mine.id]
        assert await listed(OTHER_ACCOUNT) == [theirs.id]
        assert await listed(BOTS) == [bot.id]
        assert sorted(await listed(None)) == sorted([mine.id, theirs.id])
        assert await listed(Owner(NOBODY)) == []

    async def test_the_listener_hears_of_what_was_written_and_of_nothing_else(self, store: RedisStore) -> None:
        heard: list[tuple[JobId, int | None, bool]] = []

        def listen(job_id: JobId, due_ms: int | None, /, *, deleted: bool = False) -> None:
            heard.append((job_id, due_ms, deleted))

        store.on_job = listen
        new = job()
        await store.create_job(new, START)
        await store.create_job(new, START)
        off = replace(new, enabled=False, version=new_version(to_ms(START)))
        await store.update_job(new, off, None)
        await store.update_job(new, new, START)
        await store.delete_job(off)
        assert heard == [(new.id, to_ms(START), False), (new.id, None, False), (new.id, None, True)]

    async def test_what_this_replica_wrote_is_expected_as_a_notification_and_what_it_did_not_is_not(
        self, store: RedisStore
    ) -> None:
        new = job()
        key = keys.job(new.id)
        writings: list[Callable[[], Awaitable[bool]]] = [
            lambda: store.create_job(new, START),
            lambda: store.put_webhook(webhook(new), new=True),
            lambda: store.delete_job(new),
        ]
        for writing in writings:
            assert await writing()
            assert store.echoes.is_own(key)
            assert not store.echoes.is_own(key), "once"
        await store.update_job(new, new, START)
        await store.put_webhook(webhook(new), new=True)
        await store.delete_job(new)
        assert not store.echoes.is_own(key)

    async def test_deleted_all_of_it_is_gone_and_nothing_of_others(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        other, _ = await self.create(store, due_in=5)
        await self.start(store, clock, other.id)
        before = await contents(redis)
        gone, _ = await self.create(store, webhooks=5, max_instances=2)
        started = await self.start(store, clock, gone.id)
        done, dying, retrying, leased, _ = await store.claim_executions(refs(started), clock.now())
        await self.settle(store, succeeded(done, response_body="kept"))
        await self.settle(store, gave_up(dying))
        await self.settle(store, failed(retrying))
        await self.settle(store, given_back(await self.retake(store, clock, leased), begun=True))
        claimed = await self.take(store, clock, leased.ref)
        await self.start(store, clock, gone.id)
        await store.run_job(await self.live(store, gone.id), run(gone, at=START + second(1)))
        await store.fire([replace_runs(await self.fire_of(store, gone.id), [Skip(1, 2, 3, SkipReason.MISFIRE)])], START)
        assert len(await contents(redis)) > len(before)
        assert await store.delete_job(gone)
        assert await contents(redis) == before
        assert await store.delete_job(gone) is False
        assert await store.job(gone.id) is None
        assert (await store.execution_counts(ACCOUNT)).queued == 1, "the other one's"
        assert (await store.counters())["executions:open"] == 1
        assert len((await store.deliveries(100, None, job_id=gone.id)).items) == 3
        for settlement in (succeeded(claimed), failed(claimed), gave_up(claimed), given_back(claimed)):
            assert await store.settle_execution(settlement) is Settled.LOST
        assert await contents(redis) == before
        assert len((await store.deliveries(100, None, job_id=gone.id)).items) == 6, "attempts that were made"
        assert (await store.execution_counts(ACCOUNT)).queued == 1

    async def retake(self, store: RedisStore, clock: FakeClock, claimed: ClaimedExecution) -> ClaimedExecution:
        await self.settle(store, given_back(claimed))
        return await self.take(store, clock, claimed.ref)

    async def test_a_dead_letter_that_its_history_forgot_goes_with_its_job(
        self, redis: Redis, store: RedisStore, clock: FakeClock
    ) -> None:
        kept, _ = await self.create(store)
        ref = refs(await self.start(store, clock, kept.id))[0]
        await self.settle(store, gave_up(await self.take(store, clock, ref)))
        before = await contents(redis)
        gone, _ = await self.create(store)
        ref = refs(await self.start(store, clock, gone.id))[0]
        await self.settle(store, gave_up(await self.take(store, clock, ref)))
        clock.move(1)
        await self.forget(redis, gone.id)
        assert await store.dead_letter(MessageId(ref.id)) is not None
        assert await store.delete_job(gone)
        assert await contents(redis) == before

    async def forget(self, redis: Redis, job_id: JobId) -> None:
        client: Any = redis
        await client.delete(keys.history(job_id), keys.executions(job_id))

    async def test_a_bots_job_is_deleted_as_any_other(self, store: RedisStore, redis: Redis, clock: FakeClock) -> None:
        before = await contents(redis)
        bot = await self.create_bot(store)
        await self.take(store, clock, refs(await self.start(store, clock, bot.id))[0])
        assert await store.delete_job(bot)
        assert await contents(redis) == before
        assert (await store.execution_counts(BOTS)).queued == 0
        assert (await store.counters())["bot_runs:open"] == 0

    async def test_looked_at_together_they_tell_when_they_are_due(self, store: RedisStore) -> None:
        due, _ = await self.create(store, due_in=7)
        off, _ = await self.create(store, due_in=None, enabled=False)
        assert await store.look_at_jobs([due.id, off.id, job().id]) == {due.id: to_ms(START) + 7000, off.id: None}

    async def test_the_window_yields_them_earliest_first_up_to_its_end(self, store: RedisStore) -> None:
        made = [(await self.create(store, due_in=due_in, webhooks=0))[0].id for due_in in (3, 1, 2)]
        expected = [(to_ms(START) + 1000 * at, JobRef(made[i])) for at, i in ((1, 1), (2, 2), (3, 0))]

        async def window(seconds: float, limit: int) -> list[tuple[int, JobRef]]:
            return [each async for page in store.job_window(START + second(seconds), limit) for each in page]

        assert await window(3, 9) == expected
        assert await window(2.999, 9) == expected[:2]
        assert await window(60, 1) == expected[:1]
        assert await window(0.5, 9) == []


def replace_runs(fire: Fire, skips: Sequence[Skip]) -> Fire:
    """Return a fire that runs nothing."""
    return Fire(plan=fire.plan, runs=[], skips=skips, next_ms=fire.next_ms)


class Webhooks(JobSuite):
    """Webhooks of jobs."""

    async def test_a_webhook_reads_back_as_it_was_given(self, store: RedisStore) -> None:
        of, _ = await self.create(store, webhooks=0)
        hook = webhook(
            of,
            url="https://example.com:8443/ü?a=%20",
            method="PATCH",
            headers={"X-A": "é"},
            query_params={"n": 1, "l": ["a", None], "e": {}},
            body_template="{{ job.id }}\0",
            timeout_seconds=7.5,
        )
        assert await store.put_webhook(hook, new=True)
        assert await store.webhook(hook.id) == hook
        assert await store.webhooks(of.id) == [hook]

    async def test_they_are_listed_as_they_were_created(self, store: RedisStore) -> None:
        of, hooks = await self.create(store, webhooks=12)
        hooks[3] = replace(hooks[3], url="http://changed/", destination=Destination("http://changed:80"))
        assert await store.put_webhook(hooks[3], new=False)
        assert await store.webhooks(of.id) == hooks
        assert (await self.plan(store, of.id)).webhooks == hooks
        assert await store.webhooks(job().id) == []

    async def test_every_change_gives_its_job_a_new_version_and_changes_nothing_else_of_it(
        self, store: RedisStore
    ) -> None:
        of, (hook,) = await self.create(store)
        versions = [of.version]
        writings: list[Callable[[], Awaitable[bool]]] = [
            lambda: store.put_webhook(hook, new=False),
            lambda: store.put_webhook(webhook(of), new=True),
            lambda: store.delete_webhook(hook.id),
        ]
        for writing in writings:
            plan = await self.fire_of(store, of.id)
            assert await writing()
            live = await self.live(store, of.id)
            assert live == LiveJob(job=replace(of, version=live.job.version), next_run_at=START, last_run=None)
            versions.append(live.job.version)
            assert await store.fire([plan], START) == [Fired.STALE], "what was planned before knows the old ones"
        assert versions == sorted(set(versions))

    async def test_an_id_may_come_in_upper_case(self, store: RedisStore) -> None:
        _, (hook,) = await self.create(store)
        upper = WebhookId(hook.id.upper())
        assert await store.webhook(upper) == hook
        assert await store.delete_webhook(upper)
        assert await store.webhook(hook.id) is None

    @pytest.mark.parametrize("text", [NOBODY, *MALFORMED], ids=ascii)
    async def test_an_id_that_nobody_has_is_none(self, store: RedisStore, text: str) -> None:
        await self.create(store)
        assert await store.webhook(WebhookId(text)) is None
        assert not await store.delete_webhook(WebhookId(text))

    async def test_the_id_of_a_job_or_of_another_of_its_webhooks_is_not_this_ones(self, store: RedisStore) -> None:
        of, (hook,) = await self.create(store)
        for other in (of.id, webhook(of).id):
            assert await store.webhook(WebhookId(other)) is None
            assert not await store.delete_webhook(WebhookId(other))
        assert await store.webhooks(of.id) == [hook]

    async def test_one_that_is_gone_is_not_written_again_by_a_change(self, store: RedisStore) -> None:
        of, (hook,) = await self.create(store)
        assert await store.delete_webhook(hook.id)
        before = await self.live(store, of.id)
        assert not await store.delete_webhook(hook.id)
        assert not await store.put_webhook(hook, new=False)
        assert await self.live(store, of.id) == before
        assert await store.webhooks(of.id) == []

    async def test_a_deleted_job_gets_none(self, store: RedisStore, redis: Redis) -> None:
        of, (hook,) = await self.create(store)
        await store.delete_job(of)
        for new in (True, False):
            assert not await store.put_webhook(hook, new=new)
        assert not await store.delete_webhook(hook.id)
        assert await contents(redis) == {}

    async def test_a_job_has_only_so_many(self, store: RedisStore) -> None:
        of, hooks = await self.create(store, webhooks=MAX_WEBHOOKS)
        before = await self.live(store, of.id)
        with pytest.raises(InvalidInput) as caught:
            await store.put_webhook(webhook(of), new=True)
        assert set(caught.value.errors) == {"job_id"}
        assert await self.live(store, of.id) == before
        assert await store.put_webhook(hooks[0], new=False), "a change makes none more"
        assert await store.delete_webhook(hooks[0].id)
        assert await store.put_webhook(webhook(of), new=True)
        assert len(await store.webhooks(of.id)) == MAX_WEBHOOKS


class Firing(JobSuite):
    """From a due job to its executions."""

    async def test_a_due_job_is_fired_once(self, store: RedisStore, clock: FakeClock) -> None:
        of, hooks = await self.create(store, webhooks=2)
        clock.move(0.5)
        fire = await self.fire_of(store, of.id)
        heard: list[tuple[ExecutionRef, int, Destination]] = []
        store.on_execution = lambda *told: heard.append(told)
        assert await store.fire([fire], clock.now()) == [Fired.APPLIED]
        assert await store.fire([fire], clock.now()) == [Fired.STALE]
        assert heard == [(ref, to_ms(START), hooks[0].destination) for ref in refs(fire.runs[0])]
        live = await self.live(store, of.id)
        assert live.next_run_at == START + MINUTE
        assert live.last_run is not None
        assert (live.last_run.at, live.last_run.status, live.last_run.error) == (clock.now(), QUEUED, None)
        items = (await store.executions(of.id, None, 0, 9)).items
        assert {each.webhook_id for each in items} == {hook.id for hook in hooks}
        for each in items:
            assert (each.status, each.attempt, each.failures) == (QUEUED, 1, 0)
            assert (each.scheduled_for, each.created_at, each.due_at) == (START, clock.now(), START)
            assert (each.run_id, each.job_id) == (run_name(of.id, to_ms(START)), of.id)
            assert (each.started_at, each.finished_at, each.worker_id) == (None, None, None)

    async def test_of_two_replicas_that_fire_at_once_one_does(
        self, redis: Redis, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        other = make_store(redis, clock, "two")
        fire = await self.fire_of(store, of.id)
        answers = await asyncio.gather(*(each.fire([fire], clock.now()) for each in (store, other, store, other)))
        assert sorted(answer.value for (answer,) in answers) == ["applied"] + ["stale"] * 3
        assert await self.statuses(store, of.id) == [QUEUED]

    async def test_a_job_changed_deleted_disabled_or_due_at_another_time_is_stale(
        self, store: RedisStore, redis: Redis
    ) -> None:
        jobs = [(await self.create(store))[0] for _ in range(4)]
        fires = [await self.fire_of(store, each.id) for each in jobs]
        changed, deleted, disabled, moved = jobs
        await self.change(store, changed, name="new")
        await store.delete_job(deleted)
        await store.update_job(disabled, replace(disabled, enabled=False), None)
        await store.update_job(moved, moved, START + second(1))
        before = await contents(redis)
        assert await store.fire(fires, START) == [Fired.STALE] * 4
        assert await contents(redis) == before
        assert "executions:open" not in await store.counters()

    async def test_of_several_in_one_call_a_stale_one_does_not_touch_the_others(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        jobs = [(await self.create(store, webhooks=2))[0] for _ in range(3)]
        fires = [await self.fire_of(store, each.id) for each in jobs]
        for fire in fires:
            fire.skips = [Skip(fire.plan.due_ms - 5000, fire.plan.due_ms - 1000, 3, SkipReason.COALESCED)]
        await self.change(store, jobs[1], name="new")
        heard: list[ExecutionRef] = []
        store.on_execution = lambda ref, *_: heard.append(ref)
        assert await store.fire(fires, clock.now()) == [Fired.APPLIED, Fired.STALE, Fired.APPLIED]
        assert heard == refs(fires[0].runs[0]) + refs(fires[2].runs[0])
        assert [sorted(each.value for each in await self.statuses(store, one.id)) for one in jobs] == [
            ["queued", "queued", "skipped"],
            [],
            ["queued", "queued", "skipped"],
        ]
        assert (await store.counters())["skipped:coalesced"] == 6

    async def test_an_occurrence_is_made_once_even_if_its_fire_time_comes_back(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        first = await self.start(store, clock, of.id)
        for ended in (False, True):
            if ended:
                await self.finish(store, clock, first)
            live = await self.live(store, of.id)
            back = replace(live.job, version=new_version(to_ms(START)))
            assert await store.update_job(live.job, back, START)
            fire = await self.fire_of(store, of.id)
            assert refs(fire.runs[0]) == refs(first)
            assert await store.fire([fire], clock.now()) == [Fired.APPLIED]
            assert (await self.live(store, of.id)).next_run_at == START + MINUTE
            assert await self.statuses(store, of.id) == [SUCCESS if ended else QUEUED]
        assert await store.claim_executions(refs(first), clock.now()) == []

    async def test_an_occurrence_that_was_skipped_is_not_run_later(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        fire = await self.fire_of(store, of.id)
        skip = Skip(fire.plan.due_ms, fire.plan.due_ms, 1, SkipReason.MISFIRE)
        await store.fire([replace_runs(fire, [skip])], clock.now())
        live = await self.live(store, of.id)
        assert await store.update_job(live.job, replace(live.job, version=new_version(to_ms(START))), START)
        await self.start(store, clock, of.id)
        assert await self.statuses(store, of.id) == [SKIPPED]

    async def test_with_as_many_runs_as_there_may_be_the_next_is_skipped_and_says_why(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, max_instances=2)
        await self.start(store, clock, of.id)
        await self.start(store, clock, of.id)
        last = (await self.live(store, of.id)).last_run
        clock.move(3)
        heard: list[object] = []
        store.on_execution = lambda *told: heard.append(told)
        await self.start(store, clock, of.id)
        assert heard == []
        (skipped,) = (await store.executions(of.id, SKIPPED, 0, 9)).items
        assert (skipped.skip_reason, skipped.skipped) == (SkipReason.MAX_INSTANCES, 1)
        assert skipped.error == "not run: as many runs as max_instances allows were going on"
        assert (skipped.scheduled_for, skipped.created_at) == (START + 2 * MINUTE, clock.now())
        assert (skipped.attempt, skipped.webhook_id, skipped.finished_at) == (0, None, clock.now())
        assert await store.execution(skipped.id) == skipped
        assert (await self.live(store, of.id)).last_run == last, "a run that was not made is none"
        counters = await store.counters()
        assert (counters["skipped:max_instances"], counters["executions:skipped"]) == (1, 1)
        assert (await store.execution_counts(ACCOUNT)).ended == {SKIPPED: 1}
        assert (await store.execution_counts(ACCOUNT)).queued == 2

    async def test_runs_that_wait_are_started_in_order_as_those_before_them_end(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=2)
        plan = await self.plan(store, of.id)
        runs = [run_of(plan.job, plan.webhooks, plan.due_ms + 1000 * i, waits=True) for i in range(3)]
        assert await store.fire([Fire(plan=plan, runs=runs, skips=[], next_ms=None)], clock.now()) == [Fired.APPLIED]
        assert await self.statuses(store, of.id, QUEUED) == [QUEUED] * 6
        heard: list[tuple[ExecutionRef, int, Destination]] = []
        store.on_execution = lambda *told: heard.append(told)
        for i, each in enumerate(runs):
            assert sorted(await self.due_executions(store)) == sorted(ref.id for ref in refs(each))
            clock.move(5)
            one, two = await store.claim_executions(refs(each), clock.now())
            await self.settle(store, succeeded(one))
            assert heard == []
            await self.settle(store, succeeded(two))
            following = refs(runs[i + 1]) if i < 2 else []
            assert heard == [(ref, clock.now_ms(), UNKNOWN) for ref in following]
            last = (await self.live(store, of.id)).last_run
            assert last is not None
            if following:
                assert (last.at, last.status) == (clock.now(), QUEUED)
            else:
                assert (last.at, last.status) == (clock.now() - second(5), SUCCESS)
            heard.clear()
        assert await self.statuses(store, of.id) == [SUCCESS] * 6

    async def test_skips_are_in_the_history_with_how_many_they_stand_for(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        clock.move(100)
        at = to_ms(START)
        skips = [
            Skip(at, at + 60_000, 2, SkipReason.MISFIRE),
            Skip(at + 120_000, at + 120_000, 1, SkipReason.COALESCED),
        ]
        fire = replace_runs(await self.fire_of(store, of.id), skips)
        assert await store.fire([fire], clock.now()) == [Fired.APPLIED]
        found = {each.skip_reason: each for each in (await store.executions(of.id, None, 0, 9)).items}
        misfired, merged = found[SkipReason.MISFIRE], found[SkipReason.COALESCED]
        assert (misfired.skipped, misfired.scheduled_for) == (2, START)
        assert misfired.error == (
            "not run: nobody could run it within misfire_grace_seconds"
            " (at least 2 occurrences until 2026-04-15T02:42:45Z)"
        )
        assert (merged.skipped, merged.error) == (1, "not run: merged into a later occurrence that was missed as well")
        counters = await store.counters()
        assert (counters["skipped:misfire"], counters["skipped:coalesced"], counters["executions:skipped"]) == (2, 1, 3)
        assert (await self.live(store, of.id)).last_run is None

    async def test_without_a_next_time_a_job_is_not_due_any_more(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        fire = await self.fire_of(store, of.id)
        fire.next_ms = None
        assert await store.fire([fire], clock.now()) == [Fired.APPLIED]
        assert (await self.live(store, of.id)).next_run_at is None
        assert await store.plans([of.id]) == [None]

    async def test_plans_are_of_the_jobs_that_are_due_at_some_time(self, store: RedisStore, redis: Redis) -> None:
        first, hooks = await self.create(store, webhooks=2)
        off, _ = await self.create(store, due_in=None, enabled=False)
        gone, _ = await self.create(store)
        evicted, _ = await self.create(store)
        second_, _ = await self.create(store, webhooks=0, due_in=9)
        await store.delete_job(gone)
        await redis.delete(keys.job(evicted.id))
        plans = await store.plans([off.id, first.id, gone.id, second_.id, evicted.id])
        assert [None if plan is None else (plan.job, plan.due_ms) for plan in plans] == [
            None,
            (first, to_ms(START)),
            None,
            (second_, to_ms(START) + 9000),
            None,
        ]
        assert plans[1] is not None
        assert plans[1].webhooks == hooks
        window = [ref.id async for page in store.job_window(START + MINUTE, 9) for _, ref in page]
        assert window == [first.id, second_.id], "one whose record is gone is not looked at for ever"

    async def test_the_oldest_that_have_ended_make_room_and_no_open_one_does(
        self, redis: Redis, clock: FakeClock
    ) -> None:
        store = make_store(redis, clock, executions_per_job=3)
        of, _ = await self.create(store, max_instances=9)
        open_run = await self.start(store, clock, of.id)
        kept: list[ExecutionId] = []
        for i in range(6):
            clock.move(1)
            each = await self.start(store, clock, of.id)
            claimed = await self.take(store, clock, refs(each)[0])
            how = gave_up(claimed) if i % 2 else succeeded(claimed)
            assert how.final is not None
            how.final = replace(how.final, response_body=f"answer {i}")
            await self.settle(store, how)
            kept.append(claimed.ref.id)
        everything = await store.executions(of.id, None, 0, 99)
        shown = [each.id for each in everything.items]
        assert shown == [*reversed(kept[-3:]), refs(open_run)[0].id]
        assert everything.total == len(shown)
        client: Any = redis
        fields = await client.hkeys(keys.executions(of.id))
        ended = [id_ for id_ in shown if id_ in kept]
        assert sorted(fields) == sorted([each.encode() for each in shown] + [b"b" + each.encode() for each in ended])
        by_status = [
            each.id for status in (SUCCESS, DEAD) for each in (await store.executions(of.id, status, 0, 99)).items
        ]
        assert sorted(by_status) == sorted(ended)
        assert await client.zcard(keys.history(of.id)) == 2 * len(shown)
        assert await store.execution(kept[0]) is None

    async def test_retries_make_room_too(self, redis: Redis, clock: FakeClock) -> None:
        store = make_store(redis, clock, executions_per_job=2)
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        for _ in range(4):
            clock.move(1)
            ref = following_ref(await self.settle(store, failed(await self.take(store, clock, ref), after=1)))
        assert [each.attempt for each in (await store.executions(of.id, None, 0, 9)).items] == [5, 4]

    async def test_skips_make_room_too(self, redis: Redis, clock: FakeClock) -> None:
        store = make_store(redis, clock, executions_per_job=2)
        of, _ = await self.create(store)
        for i in range(5):
            clock.move(1)
            fire = await self.fire_of(store, of.id)
            await store.fire([replace_runs(fire, [Skip(i, i, 1, SkipReason.MISFIRE)])], clock.now())
        assert [to_ms(each.scheduled_for) for each in (await store.executions(of.id, None, 0, 9)).items] == [4, 3]


class Claims(JobSuite):
    """Leases of executions."""

    async def test_an_execution_is_not_claimed_before_it_is_due(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        later = following_ref(await self.settle(store, failed(await self.take(store, clock, ref), after=10)))
        due = START + second(10)
        assert await store.claim_executions([later], due - timedelta(microseconds=1)) == []
        (claimed,) = await store.claim_executions([later], due)
        assert (claimed.due_at, claimed.claimed_at) == (due, due)

    async def test_a_claim_brings_all_that_the_attempt_needs(self, store: RedisStore, clock: FakeClock) -> None:
        of, (hook,) = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        clock.move(1)
        claimed = await self.take(store, clock, ref)
        assert (claimed.ref, claimed.job, claimed.webhook) == (ref, of, hook)
        execution = claimed.execution
        assert (execution.status, execution.attempt, execution.worker_id) == (RUNNING, 1, "one")
        assert (execution.started_at, execution.created_at) == (clock.now(), START)
        assert await store.execution(ref.id) == execution

    async def test_a_claim_brings_what_was_changed_since_the_job_was_fired(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, hooks = await self.create(store, webhooks=2)
        one, two = refs(await self.start(store, clock, of.id))
        hooks[0] = replace(hooks[0], url="http://changed/", destination=Destination("http://changed:80"))
        assert await store.put_webhook(hooks[0], new=False)
        claimed = await self.take(store, clock, one)
        assert (claimed.webhook, claimed.job) == (hooks[0], (await self.live(store, of.id)).job)
        changed = await self.change(store, of, name="new")
        claimed = await self.take(store, clock, two)
        assert (claimed.webhook, claimed.job) == (hooks[1], changed)

    async def test_whoever_did_not_fire_the_job_claims_the_same(
        self, redis: Redis, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of, _ = await self.create(store)
        other = make_store(redis, clock, "one")
        ref = refs(await self.start(store, clock, of.id))[0]
        clock.move(2)
        theirs = await self.take(other, clock, ref)
        await self.settle(other, given_back(theirs))
        ours = await self.take(store, clock, ref)
        assert (ours.execution, ours.job, ours.webhook) == (theirs.execution, theirs.job, theirs.webhook)
        monkeypatch.setattr("aioscheduler.store.runs._MOST_FRESH", 1)
        fires = [await self.fire_of(store, (await self.create(store))[0].id) for _ in range(3)]
        await store.fire(fires, clock.now())
        claims = await store.claim_executions([refs(fire.runs[0])[0] for fire in fires], clock.now())
        assert [claimed.job for claimed in claims] == [fire.plan.job for fire in fires], "also what it forgot"
        assert [claimed.execution for claimed in claims] == [
            await self.found(store, claimed.ref.id) for claimed in claims
        ]

    async def test_two_replicas_that_claim_at_once_get_each_execution_once(
        self, redis: Redis, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=20)
        other = make_store(redis, clock, "two")
        due = refs(await self.start(store, clock, of.id))
        claims = await asyncio.gather(
            *(each.claim_executions(due, clock.now()) for each in (store, other, store, other))
        )
        assert sorted(claimed.ref for claim in claims for claimed in claim) == sorted(due)
        assert await store.claim_executions(due, clock.now()) == []

    async def test_what_is_not_there_is_skipped(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store, webhooks=2)
        one, two = refs(await self.start(store, clock, of.id))
        absent = one._replace(id=execution_id(of.id, "", None, 5))
        assert [each.ref for each in await store.claim_executions([absent, two, absent, one], clock.now())] == [
            two,
            one,
        ]

    async def test_of_a_deleted_job_nothing_is_claimed(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        due = refs(await self.start(store, clock, of.id))
        await store.delete_job(of)
        assert await store.claim_executions(due, clock.now()) == []

    async def test_an_execution_whose_webhook_was_deleted_is_claimed_without_it(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, (hook,) = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        await store.delete_webhook(hook.id)
        assert await store.execution_destinations([ref]) == [None]
        claimed = await self.take(store, clock, ref)
        assert claimed.webhook is None
        ended = final(claimed, FAILURE, duration_ms=None, error="the webhook was deleted")
        await self.settle(store, ExecutionSettlement(claimed=claimed, final=ended, begun=False))
        await self.assert_nothing_is_stuck(store, redis, of.id)
        assert (await store.deliveries(9, None)).items == [], "nothing was delivered"
        assert (await store.execution_counts(ACCOUNT)).attempts == 0

    async def test_where_executions_go_is_known_without_a_claim(self, store: RedisStore, clock: FakeClock) -> None:
        of, (hook,) = await self.create(store)
        empty, _ = await self.create(store, webhooks=0)
        bot = await self.create_bot(store)
        due = [refs(await self.start(store, clock, each.id))[0] for each in (of, empty, bot)]
        absent = due[0]._replace(webhook_id=webhook(of).id)
        assert await store.execution_destinations([*due, absent]) == [hook.destination, "none", "bots", None]
        assert [(each.webhook, each.execution.webhook_id) for each in await store.claim_executions(due, START)] == [
            (hook, hook.id),
            (None, None),
            (None, None),
        ]

    async def test_a_deferred_execution_is_due_later_and_no_attempt(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store, webhooks=2)
        one, two = refs(await self.start(store, clock, of.id))
        await self.take(store, clock, two)
        await store.defer_executions([one, two], START + second(2), clock.now())
        assert await store.claim_executions([one, two], START + second(1)) == []
        (claimed,) = await store.claim_executions([one, two], START + second(2))
        assert (claimed.ref, claimed.execution.attempt) == (one, 1)

    async def test_the_window_yields_what_is_due_earliest_first(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store, webhooks=2)
        one, two = refs(await self.start(store, clock, of.id))
        later = following_ref(await self.settle(store, failed(await self.take(store, clock, one), after=5)))

        async def window(seconds: float, limit: int = 9) -> list[tuple[int, ExecutionRef]]:
            return [each async for page in store.execution_window(START + second(seconds), limit) for each in page]

        assert await window(5) == [(to_ms(START), two), (to_ms(START) + 5000, later)]
        assert await window(4.999) == await window(5, 1) == [(to_ms(START), two)]

    async def test_given_back_before_the_attempt_it_keeps_its_number_and_after_it_does_not(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        clock.move(1)
        await self.settle(store, given_back(await self.take(store, clock, ref)))
        assert (await self.found(store, ref.id)).status is QUEUED
        claimed = await self.take(store, clock, ref)
        assert (claimed.execution.attempt, claimed.due_at) == (1, START)
        await self.settle(store, given_back(claimed, begun=True))
        claimed = await self.take(store, clock, ref)
        assert (claimed.execution.attempt, claimed.execution.failures, claimed.due_at) == (2, 0, START)
        assert await self.statuses(store, of.id) == [RUNNING]
        await self.settle(store, succeeded(claimed))
        assert not await redis.exists(keys.EXECUTIONS_STATE)
        assert not store._held

    async def test_the_executions_of_a_dead_replica_are_attempted_again_under_a_higher_number(
        self, redis: Redis, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        other = make_store(redis, clock, "two")
        ref = refs(await self.start(store, clock, of.id))[0]
        await other.heartbeat()
        old = await self.take(other, clock, ref)
        await redis.delete(keys.heartbeat("two"))  # it ran out
        recovered = 0
        for _ in range(round(CONFIRM_SECONDS * 2) + 1):
            clock.move(0.5)
            recovered += (await store.recover(clock.now())).leases
        assert recovered == 1
        new = await self.take(store, clock, ref)
        assert (new.execution.attempt, new.execution.failures, new.execution.worker_id) == (2, 0, "one")
        assert await other.settle_execution(succeeded(old)) is Settled.LOST
        assert await self.statuses(store, of.id) == [RUNNING]
        later = following_ref(await self.settle(store, failed(new, after=0)))
        assert later.id == execution_id(of.id, new.execution.run_id, ref.webhook_id, 3)
        assert [each.attempt for each in (await store.executions(of.id, None, 0, 9)).items] == [3, 2]

    async def test_a_claim_whose_answer_was_lost_is_given_back(
        self, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        run_script = store._run

        async def lost(name: str, key_names: list[bytes], args: list[Any]) -> Any:
            await run_script(name, key_names, args)
            raise asyncio.CancelledError

        await store.recover(clock.now())
        monkeypatch.setattr(store, "_run", lost)
        with pytest.raises(asyncio.CancelledError):
            await store.claim_executions([ref], clock.now())
        monkeypatch.undo()
        assert (await store.recover(clock.now())).leases == 1
        assert (await self.take(store, clock, ref)).execution.attempt == 2

    async def test_leases_that_are_held_are_not_given_back_and_the_executions_of_one_claim_are_told_apart(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=2)
        one, two = await store.claim_executions(refs(await self.start(store, clock, of.id)), clock.now())
        await self.settle(store, succeeded(one))
        for _ in range(20):
            clock.move(0.5)
            assert (await store.recover(clock.now())).leases == 0
        await self.settle(store, succeeded(two))

    async def test_a_bots_lease_outlives_its_time_limit_and_a_webhooks_the_longest_attempt(
        self, redis: Redis, clock: FakeClock
    ) -> None:
        limit = timedelta(hours=2)
        store = make_store(redis, clock, bot_timeout=limit)
        other = make_store(redis, clock, "two", bot_timeout=limit)
        of, _ = await self.create(store)
        bot = await self.create_bot(store)
        for each in (of, bot):
            await self.take(other, clock, refs(await self.start(store, clock, each.id))[0])

        async def given_back_after(lease: timedelta) -> int:
            clock.move((START + lease - clock.now()).total_seconds())
            await other.heartbeat()
            clock.move(RECONCILE_SECONDS)
            await other.heartbeat()
            return (await store.recover(clock.now())).leases

        await other.heartbeat()
        assert await given_back_after(LEASE - second(2 * RECONCILE_SECONDS)) == 0
        assert await given_back_after(LEASE) == 1
        assert await given_back_after(limit) == 0
        assert await given_back_after(limit + 2 * MINUTE) == 1


class Settling(JobSuite):
    """Ends of leases."""

    async def test_a_success_goes_to_the_history_and_ends_the_run(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        clock.move(2)
        claimed = await self.take(store, clock, ref)
        ended = final(claimed, response_body="ünï\0", result={"a": [1]})
        await self.settle(store, ExecutionSettlement(claimed=claimed, final=ended, outcome=outcome(now=clock.now())))
        assert await store.execution(ref.id) == ended
        listed = await store.executions(of.id, SUCCESS, 0, 9)
        assert (listed.items, listed.total) == ([replace(ended, response_body=None)], 1)
        live = await self.live(store, of.id)
        assert live.last_run is not None
        assert (live.last_run.at, live.last_run.status, live.last_run.error) == (START, SUCCESS, None)
        client: Any = redis
        for key in (keys.EXECUTIONS_DUE, keys.EXECUTIONS_LEASED, keys.EXECUTIONS_STATE, keys.runs(of.id)):
            assert not await client.exists(key)
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_a_failure_is_followed_by_a_further_execution_of_the_same_run(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        clock.move(1)
        settled = await self.settle(store, failed(await self.take(store, clock, ref), after=10, error="später:\n{} %s"))
        later = following_ref(settled)
        newest, oldest = (await store.executions(of.id, None, 0, 9)).items
        assert (oldest.id, oldest.status, oldest.error) == (ref.id, FAILURE, "später:\n{} %s")
        assert (newest.id, newest.status, newest.attempt, newest.failures) == (later.id, QUEUED, 2, 1)
        assert newest.run_id == oldest.run_id
        assert (newest.due_at, newest.created_at) == (START + second(11), clock.now())
        last = (await self.live(store, of.id)).last_run
        assert last is not None
        assert (last.at, last.status, last.error) == (START, FAILURE, "später:\n{} %s")
        assert (await store.execution_counts(ACCOUNT)).queued == 1
        await self.start(store, clock, of.id)
        assert await self.statuses(store, of.id, SKIPPED) == [SKIPPED], "the run goes on until its last attempt ended"
        clock.move(10)
        await self.settle(store, succeeded(await self.take(store, clock, later)))
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_the_other_webhooks_of_a_run_keep_it_open(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=3)
        one, two, three = await store.claim_executions(refs(await self.start(store, clock, of.id)), clock.now())
        client: Any = redis
        await self.settle(store, succeeded(one))
        later = await self.settle(store, failed(two, after=0))
        await self.settle(store, gave_up(three))
        assert await client.hgetall(keys.runs(of.id)) == {b"%d" % to_ms(START): b"1"}
        await self.settle(store, gave_up(await self.take(store, clock, following_ref(later))))
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_a_lease_is_settled_once(self, store: RedisStore, redis: Redis, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        claimed = await self.take(store, clock, refs(await self.start(store, clock, of.id))[0])
        stale = replace(claimed, lease=type(claimed.lease)(claimed.lease + "1"))
        before = await contents(redis)
        assert await store.settle_execution(given_back(stale)) is Settled.LOST
        assert await contents(redis) == before
        await self.settle(store, failed(claimed))
        before = await contents(redis)
        counts = await store.execution_counts(ACCOUNT)
        for settlement in (succeeded(claimed), failed(claimed), gave_up(claimed), given_back(claimed)):
            assert await store.settle_execution(settlement) is Settled.LOST
        assert await contents(redis) == before
        assert await store.execution_counts(ACCOUNT) == counts

    async def test_a_settle_that_is_sent_again_is_logged_and_counted_once(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=2)
        one, two = await store.claim_executions(refs(await self.start(store, clock, of.id)), clock.now())
        await self.settle(store, succeeded(one))
        counters = await store.counters()
        assert await store.settle_execution(replace(succeeded(one), repeated=True)) is Settled.LOST
        assert await store.counters() == counters
        assert len((await store.deliveries(9, None)).items) == 1
        await self.settle(store, replace(succeeded(two), repeated=True))
        assert len((await store.deliveries(9, None)).items) == 2, "the first was lost"

    async def test_a_settle_that_cannot_be_written_down_harms_no_other_and_does_not_hold_its_lease_for_ever(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=2)
        one, two = await store.claim_executions(refs(await self.start(store, clock, of.id)), clock.now())
        broken, good = await asyncio.gather(
            store.settle_execution(failed(one, error="lone surrogate \ud800")),
            store.settle_execution(succeeded(two)),
            return_exceptions=True,
        )
        assert isinstance(broken, TypeError)
        assert good is Settled.APPLIED
        clock.move(RECONCILE_SECONDS + 1)
        assert (await store.recover(clock.now())).leases == 1
        assert (await self.take(store, clock, one.ref)).execution.attempt == 2

    async def test_the_counters_tell_what_happened(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store, webhooks=5)
        theirs, _ = await self.create(store, owner=OTHER_ACCOUNT)
        bot = await self.create_bot(store)
        due = refs(await self.start(store, clock, of.id))
        good, bad, dead, _ = await store.claim_executions(due[:4], clock.now())
        await self.settle(store, succeeded(good))
        await self.settle(store, failed(bad))
        await self.settle(store, gave_up(dead))
        await self.start(store, clock, theirs.id)
        await self.settle(
            store, bot_ended(await self.take(store, clock, refs(await self.start(store, clock, bot.id))[0]))
        )
        mine = await store.execution_counts(ACCOUNT)
        assert (mine.queued, mine.running, mine.attempts, mine.duration_ms) == (2, 1, 3, 37.5)
        assert mine.ended == {SUCCESS: 1, FAILURE: 1, DEAD: 1}
        everybody = await store.execution_counts(None)
        assert everybody == replace(mine, queued=3)
        bots = await store.execution_counts(BOTS)
        assert (bots.queued, bots.running, bots.attempts, bots.duration_ms) == (0, 0, 1, 12.5)
        assert bots.ended == {SUCCESS: 1}
        assert await store.counters() == {
            "jobs:written": 3,
            "jobs:fired": 3,
            "executions:open": 4,
            "executions:success": 1,
            "executions:failure": 1,
            "executions:dead_letter": 1,
            "executions:attempts": 3,
            "executions:delivered": 3,
            "executions:duration_us:sum": 37_500,
            "executions:lateness_us:sum": 0,
            "dead:retries_exhausted": 1,
            "deliveries:execution:success": 1,
            "deliveries:execution:failure": 1,
            "deliveries:execution:dead_letter": 1,
            "bot_runs:open": 0,
            "bot_runs:success": 1,
            "bot_runs:attempts": 1,
            "bot_runs:duration_us:sum": 12_500,
            "lateness_ms:le:1": 3,
            "lateness_us:sum": 0,
            "duration_ms:le:25": 3,
            "duration_us:sum": 37_500,
        }

    async def test_an_attempt_that_left_before_its_time_is_counted_as_early(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        claimed = await self.take(store, clock, refs(await self.start(store, clock, of.id))[0])
        early = outcome(now=START - timedelta(milliseconds=1))
        await self.settle(store, ExecutionSettlement(claimed=claimed, final=final(claimed), outcome=early))
        assert (await store.counters())["fired_early"] == 1

    async def test_a_sum_that_has_no_room_for_more_keeps_no_lease(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        claimed = await self.take(store, clock, refs(await self.start(store, clock, of.id))[0])
        await redis.hset(keys.COUNTERS, "duration_us:sum", 2**63 - 1)
        await self.settle(store, succeeded(claimed))
        account = (await store.audit()).executions
        assert (account.delivered, account.difference) == (1, 0)

    async def test_what_a_bot_did_is_in_the_history_and_in_no_log(self, store: RedisStore, clock: FakeClock) -> None:
        bot = await self.create_bot(store)
        claimed = await self.take(store, clock, refs(await self.start(store, clock, bot.id))[0])
        settled = await self.settle(
            store, bot_ended(claimed, messages_sent=3, profiles_visited=4, result={"errors": 0})
        )
        assert await store.execution(claimed.ref.id) == settled.final
        assert (await store.deliveries(9, None)).items == []


class JobArchive(JobSuite):
    """Dead letters of executions, and their lines in the delivery log."""

    async def dead(
        self, store: RedisStore, clock: FakeClock, reason: DeadReason = DeadReason.RETRIES_EXHAUSTED
    ) -> tuple[Job, ExecutionRef]:
        of, _ = await self.create(store)
        claimed = await self.take(store, clock, refs(await self.start(store, clock, of.id))[0])
        await self.settle(store, gave_up(claimed, reason))
        return of, claimed.ref

    async def test_a_dead_letter_shows_the_execution(self, store: RedisStore, clock: FakeClock) -> None:
        clock.move(1)
        of, ref = await self.dead(store, clock, DeadReason.GONE)
        letter = await store.dead_letter(MessageId(ref.id))
        assert letter is not None
        execution = await self.found(store, ref.id)
        assert (letter.id, letter.message, letter.execution) == (ref.id, None, execution)
        assert execution.status is DEAD
        assert execution.job_id == of.id
        assert (letter.reason, letter.attempts, letter.last_error) == (DeadReason.GONE, 1, "HTTP 500")
        assert letter.dead_at == clock.now()
        assert await store.dead_letter(MessageId(ref.id.upper())) == letter
        assert (await store.dead_letters(9, None)).items == [letter]
        assert (await store.dead_letters(9, None, reason=DeadReason.GONE)).items == [letter]
        assert (await store.dead_letters(9, None, reason=DeadReason.RETRIES_EXHAUSTED)).items == []
        assert (await store.dead_letters(9, None, ref.id[:8])).items == [], "a prefix is that of a message"
        assert (await store.counts()).dead == 1

    async def test_a_message_of_the_same_id_is_told_apart(self, store: RedisStore, clock: FakeClock) -> None:
        _, ref = await self.dead(store, clock)
        await self.put(store, ref.id)
        (claimed,) = await store.claim([MessageId(ref.id)], clock.now())
        await store.settle(bury(claimed))
        letters = (await store.dead_letters(9, None)).items
        assert sorted(letter.execution is None for letter in letters) == [False, True]
        first = await store.dead_letter(MessageId(ref.id))
        assert first is not None
        assert first.message is not None
        assert await store.discard(MessageId(ref.id))
        then = await store.dead_letter(MessageId(ref.id))
        assert then is not None
        assert then.execution is not None
        assert await store.discard(MessageId(ref.id))
        assert await store.dead_letter(MessageId(ref.id)) is None

    @pytest.mark.parametrize("upper", [False, True])
    async def test_discard_takes_the_letter_and_leaves_the_history(
        self, store: RedisStore, redis: Redis, clock: FakeClock, upper: bool
    ) -> None:
        of, ref = await self.dead(store, clock)
        text = MessageId(ref.id.upper() if upper else ref.id)
        assert await store.discard(text)
        assert not await store.discard(text)
        assert not await redis.exists(keys.DEAD, keys.DEAD_INDEX)
        assert await self.statuses(store, of.id) == [DEAD]

    async def test_old_letters_are_forgotten(self, store: RedisStore, redis: Redis, clock: FakeClock) -> None:
        await self.dead(store, clock)
        clock.move(10)
        _, ref = await self.dead(store, clock)
        assert await store.forget_dead(START) == 0
        assert await store.forget_dead(START + second(10)) == 1
        assert [letter.id for letter in (await store.dead_letters(9, None)).items] == [ref.id]

    async def test_they_are_listed_among_those_of_messages_by_time(self, store: RedisStore, clock: FakeClock) -> None:
        expected: list[str] = []
        for i in range(4):
            clock.move(1)
            if i % 2:
                await self.put(store, f"m{i}")
                await store.settle(bury(await self.lease(store, clock, f"m{i}")))
                expected.insert(0, f"m{i}")
            else:
                expected.insert(0, (await self.dead(store, clock))[1].id)
        found: list[str] = []
        cursor: str | None = None
        for _ in range(5):
            page = await store.dead_letters(1, cursor)
            found += [letter.id for letter in page.items]
            cursor = page.next_cursor
        assert found == expected

    async def test_a_line_tells_all_of_an_attempt(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        clock.move(0.25)
        claimed = await self.take(store, clock, ref)
        ended = outcome(OutcomeKind.TIMED_OUT, now=clock.now(), error="no answer")
        await self.settle(
            store,
            ExecutionSettlement(claimed=claimed, final=final(claimed, ExecutionStatus.TIMED_OUT), outcome=ended),
        )
        (line,) = (await store.deliveries(9, None)).items
        assert (line.message_id, line.job_id, line.execution_id) == (None, of.id, ref.id)
        assert (line.attempt, line.status) == (1, OutcomeKind.TIMED_OUT)
        assert (line.scheduled_for, line.due_at, line.claimed_at) == (START, START, clock.now())
        assert (line.response_code, line.error, line.lateness_ms, line.duration_ms) == (None, "no answer", 250, 12.5)

    async def test_the_log_is_filtered_by_job_newest_first(self, store: RedisStore, clock: FakeClock) -> None:
        one, _ = await self.create(store, max_instances=9)
        two, _ = await self.create(store, max_instances=9)
        story = [(one, True), (two, True), (one, False), (one, True)]
        done: list[tuple[JobId, ExecutionId, OutcomeKind]] = []
        for of, good in story:
            claimed = await self.take(store, clock, refs(await self.start(store, clock, of.id))[0])
            await self.settle(store, succeeded(claimed) if good else failed(claimed))
            done.insert(0, (of.id, claimed.ref.id, OutcomeKind.SUCCESS if good else OutcomeKind.FAILURE))

        async def walk(size: int, **filters: Any) -> list[tuple[str | None, str | None, OutcomeKind]]:
            found: list[tuple[str | None, str | None, OutcomeKind]] = []
            cursor: str | None = None
            while True:
                page = await store.deliveries(size, cursor, **filters)
                found += [(line.job_id, line.execution_id, line.status) for line in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    return found

        of_one = [each for each in done if each[0] == one.id]
        for size in (1, 2, 9):
            assert await walk(size) == done
            assert await walk(size, job_id=one.id) == of_one
            assert await walk(size, job_id=one.id, status=OutcomeKind.FAILURE) == [of_one[1]]
            assert await walk(size, status=OutcomeKind.FAILURE) == [of_one[1]]
        assert await walk(9, job_id=job().id) == await walk(9, message_id=one.id) == []

    async def test_the_log_is_bounded_and_so_is_its_index(self, redis: Redis, clock: FakeClock) -> None:
        store = make_store(redis, clock, delivery_log_size=3)
        of, _ = await self.create(store)
        for _ in range(6):
            await self.finish(store, clock, await self.start(store, clock, of.id))
        assert len((await store.deliveries(99, None)).items) == 3
        assert len((await store.deliveries(99, None, job_id=of.id)).items) == 3
        assert await redis.zcard(keys.DELIVERIES_INDEX) == 2 * 3


class ByHand(JobSuite):
    """Runs outside of the schedule, and executions that somebody runs again."""

    async def ask(self, store: RedisStore, clock: FakeClock, of: Job) -> Sequence[ExecutionId] | None:
        live = await self.live(store, of.id)
        return await store.run_job(live, manual_run(live.job, await store.webhooks(of.id), clock.now()))

    async def test_a_run_is_made_at_once_and_leaves_the_schedule_alone(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        of, hooks = await self.create(store, webhooks=2, due_in=60)
        clock.move(1)
        heard: list[tuple[ExecutionRef, int, Destination]] = []
        store.on_execution = lambda *told: heard.append(told)
        made = await self.ask(store, clock, of)
        assert made is not None
        assert [(ref.id, due_ms, to) for ref, due_ms, to in heard] == [
            (id_, clock.now_ms(), hook.destination) for id_, hook in zip(made, hooks, strict=True)
        ]
        live = await self.live(store, of.id)
        assert live.next_run_at == START + MINUTE
        assert live.last_run is not None
        assert (live.last_run.at, live.last_run.status) == (clock.now(), QUEUED)
        claims = await store.claim_executions([ref for ref, _, _ in heard], clock.now())
        assert [claimed.execution.scheduled_for for claimed in claims] == [clock.now()] * 2
        assert (await store.execution_counts(ACCOUNT)).running == 2

    async def test_a_disabled_job_runs_too_and_a_deleted_one_does_not(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        off, _ = await self.create(store, due_in=None, enabled=False)
        assert await self.ask(store, clock, off) is not None
        live = await self.live(store, off.id)
        await store.delete_job(off)
        assert await store.run_job(live, manual_run(live.job, [], clock.now())) is None
        assert await contents(redis) == {}

    async def test_behind_a_run_it_waits_and_a_further_one_joins_it(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=2)
        first = await self.start(store, clock, of.id)
        last = (await self.live(store, of.id)).last_run
        clock.move(1)
        waits = await self.ask(store, clock, of)
        assert waits is not None
        clock.move(1)
        assert await self.ask(store, clock, of) == waits
        assert (await self.live(store, of.id)).last_run == last
        assert (await store.execution_counts(ACCOUNT)).queued == 4
        assert sorted(await self.due_executions(store)) == sorted(ref.id for ref in refs(first))
        heard: list[ExecutionId] = []
        store.on_execution = lambda ref, *_: heard.append(ref.id)
        await self.finish(store, clock, first)
        assert heard == waits
        third = await self.ask(store, clock, of)
        assert third is not None
        assert set(third).isdisjoint(waits), "the one before it has begun"
        for _ in range(2):
            for claimed in await store.claim_executions(
                [ref async for page in store.execution_window(clock.now(), 9) for _, ref in page], clock.now()
            ):
                await self.settle(store, succeeded(claimed))
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_a_scheduled_run_that_waits_is_not_joined(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        await self.start(store, clock, of.id)
        scheduled = await self.start(store, clock, of.id, waits=True)
        clock.move(1)
        made = await self.ask(store, clock, of)
        assert made is not None
        assert made != [ref.id for ref in refs(scheduled)]
        assert len(await self.statuses(store, of.id, QUEUED)) == 3

    async def test_a_name_that_is_taken_is_not_given_twice(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store, max_instances=9)
        first = await self.start(store, clock, of.id)
        made = [await self.ask(store, clock, of) for _ in range(2)]
        await self.finish(store, clock, first)
        made.append(await self.ask(store, clock, of))
        items = (await store.executions(of.id, None, 0, 9)).items
        assert sorted(to_ms(each.scheduled_for) - to_ms(START) for each in items) == [0, 1, 2, 3]
        assert sorted(each.id for each in items) == sorted([refs(first)[0].id, *(one[0] for one in made if one)])

    async def test_a_name_that_is_taken_stays_taken_when_the_webhooks_are_others(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, (old,) = await self.create(store, max_instances=2, due_in=60)
        first = await self.ask(store, clock, of)
        await store.delete_webhook(old.id)
        await store.put_webhook(webhook(of), new=True)
        assert first is not None
        assert await self.ask(store, clock, of) is not None
        client: Any = redis
        assert len(await client.hgetall(keys.runs(of.id))) == 2
        assert len({each.run_id for each in (await store.executions(of.id, None, 0, 9)).items}) == 2

    async def test_a_bot_is_run_by_hand_too(self, store: RedisStore, redis: Redis, clock: FakeClock) -> None:
        bot = await self.create_bot(store)
        made = await self.ask(store, clock, bot)
        assert made is not None
        claimed = await self.take(store, clock, ExecutionRef(BOTS, bot.id, None, made[0]))
        await self.settle(store, bot_ended(claimed))
        assert (await store.counters())["bot_runs:open"] == 0
        assert (await store.execution_counts(BOTS)).ended == {SUCCESS: 1}

    # -- again

    async def test_a_dead_letter_is_run_again_and_is_none_any_more(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        await self.settle(store, gave_up(await self.take(store, clock, ref)))
        clock.move(5)
        ended = await self.found(store, ref.id)
        next_one = again(ended, clock.now())
        heard: list[tuple[ExecutionRef, int, Destination]] = []
        store.on_execution = lambda *told: heard.append(told)
        assert await store.retry_execution(ended, next_one, clock.now()) is Retried.QUEUED
        assert heard == [(ref._replace(id=next_one.id), clock.now_ms(), UNKNOWN)]
        assert await store.dead_letter(MessageId(ref.id)) is None
        assert (await store.counts()).dead == 0
        assert await self.found(store, ref.id) == ended, "the history keeps it"
        assert await self.found(store, next_one.id) == next_one
        assert await store.retry_execution(ended, next_one, clock.now()) is Retried.OPEN
        later = await self.found(store, next_one.id)
        assert await store.retry_execution(later, again(later, clock.now()), clock.now()) is Retried.OPEN
        await self.settle(store, succeeded(await self.take(store, clock, heard[0][0])))
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_one_whose_retry_is_still_to_come_is_open(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        await self.settle(store, failed(await self.take(store, clock, ref), after=60))
        ended = await self.found(store, ref.id)
        assert await store.retry_execution(ended, again(ended, clock.now()), clock.now()) is Retried.OPEN
        assert await self.statuses(store, of.id) != []
        assert (await store.execution_counts(ACCOUNT)).queued == 1

    async def test_an_attempt_that_was_made_already_is_followed_by_the_next_number(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        ref = refs(await self.start(store, clock, of.id))[0]
        later = await self.settle(store, failed(await self.take(store, clock, ref), after=0))
        clock.move(1)
        await self.settle(store, gave_up(await self.take(store, clock, following_ref(later))))
        assert (await store.counts()).dead == 1
        ended = await self.found(store, ref.id)
        heard: list[ExecutionRef] = []
        store.on_execution = lambda told, *_: heard.append(told)
        assert await store.retry_execution(ended, again(ended, clock.now()), clock.now()) is Retried.QUEUED
        assert (await store.counts()).dead == 0, "what is tried again is not dead"
        third = await self.found(store, heard[0].id)
        assert (third.attempt, third.failures, third.status) == (3, 0, QUEUED)
        assert third.id == execution_id(of.id, ended.run_id, ref.webhook_id, 3)
        await self.settle(store, succeeded(await self.take(store, clock, heard[0])))
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_what_is_gone_is_not_run_again(self, store: RedisStore, redis: Redis, clock: FakeClock) -> None:
        of, hooks = await self.create(store, webhooks=2)
        one, two = await store.claim_executions(refs(await self.start(store, clock, of.id)), clock.now())
        await self.settle(store, gave_up(one))
        await self.settle(store, succeeded(two))
        ended, other = await self.found(store, one.ref.id), await self.found(store, two.ref.id)
        await store.delete_webhook(hooks[0].id)
        before = await contents(redis)
        assert await store.retry_execution(ended, again(ended, clock.now()), clock.now()) is Retried.GONE
        unknown = replace(other, id=execution_id(of.id, "never", None, 1))
        assert await store.retry_execution(unknown, again(unknown, clock.now()), clock.now()) is Retried.GONE
        assert await contents(redis) == before
        await store.delete_job(of)
        assert await store.retry_execution(other, again(other, clock.now()), clock.now()) is Retried.GONE
        assert await contents(redis) == {}

    async def test_a_bots_run_is_run_again(self, store: RedisStore, clock: FakeClock) -> None:
        bot = await self.create_bot(store)
        claimed = await self.take(store, clock, refs(await self.start(store, clock, bot.id))[0])
        await self.settle(store, bot_ended(claimed, status=FAILURE))
        ended = await self.found(store, claimed.ref.id)
        next_one = again(ended, clock.now())
        assert await store.retry_execution(ended, next_one, clock.now()) is Retried.QUEUED
        assert (await self.take(store, clock, claimed.ref._replace(id=next_one.id))).execution.attempt == 2


class History(JobSuite):
    """Lists of executions, and one."""

    async def test_they_are_newest_first_and_filtered_by_status(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store, max_instances=99)
        made: list[tuple[ExecutionId, ExecutionStatus]] = []
        for i in range(10):
            clock.move(1)
            ref = refs(await self.start(store, clock, of.id))[0]
            status = (SUCCESS, DEAD, QUEUED, RUNNING)[i % 4]
            if status is not QUEUED:
                claimed = await self.take(store, clock, ref)
                if status is not RUNNING:
                    await self.settle(store, succeeded(claimed) if status is SUCCESS else gave_up(claimed))
            made.insert(0, (ref.id, status))
        for wanted in (None, SUCCESS, DEAD, QUEUED, RUNNING, SKIPPED):
            expected = [each for each in made if wanted in (None, each[1])]
            for skip in (0, 1, 3, 20):
                for limit in (1, 2, 100):
                    part = await store.executions(of.id, wanted, skip, limit)
                    assert [(each.id, each.status) for each in part.items] == expected[skip : skip + limit]
                    assert part.total == len(expected)

    async def test_a_running_one_is_shown_by_its_lease(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store, webhooks=2)
        one, two = refs(await self.start(store, clock, of.id))
        clock.move(3)
        await self.take(store, clock, one)
        (running,) = (await store.executions(of.id, RUNNING, 0, 9)).items
        assert (running.id, running.worker_id, running.started_at) == (one.id, "one", clock.now())
        assert [each.id for each in (await store.executions(of.id, QUEUED, 0, 9)).items] == [two.id]

    async def test_what_a_webhook_answered_is_in_no_list(self, store: RedisStore, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        claimed = await self.take(store, clock, refs(await self.start(store, clock, of.id))[0])
        await self.settle(store, succeeded(claimed, response_body="long"))
        for status in (None, SUCCESS):
            (listed,) = (await store.executions(of.id, status, 0, 9)).items
            assert listed.response_body is None
        assert (await self.found(store, claimed.ref.id)).response_body == "long"
        assert (await self.found(store, ExecutionId(claimed.ref.id.upper()))).id == claimed.ref.id

    @pytest.mark.parametrize("text", [NOBODY, *MALFORMED], ids=ascii)
    async def test_an_id_that_nobody_has_is_none(self, store: RedisStore, clock: FakeClock, text: str) -> None:
        of, _ = await self.create(store)
        await self.start(store, clock, of.id)
        assert await store.execution(ExecutionId(text)) is None

    async def test_an_id_of_something_else_of_the_job_is_none(self, store: RedisStore, clock: FakeClock) -> None:
        of, (hook,) = await self.create(store)
        other, _ = await self.create(store)
        await self.start(store, clock, other.id)
        ref = refs(run(of, [hook]))[0]
        for text in (of.id, hook.id, ref.id):
            assert await store.execution(ExecutionId(text)) is None
        assert (await store.executions(of.id, None, 0, 9)).items == []

    async def test_executions_of_a_job_that_is_not_there_are_none(self, store: RedisStore) -> None:
        for status in (None, SUCCESS, QUEUED):
            part = await store.executions(job().id, status, 0, 9)
            assert (list(part.items), part.total) == ([], 0)

    async def test_old_ones_are_forgotten_and_open_ones_are_not(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, max_instances=9)
        bot = await self.create_bot(store)
        open_ref = refs(await self.start(store, clock, of.id))[0]
        await self.finish(store, clock, await self.start(store, clock, of.id))
        dead = await self.take(store, clock, refs(await self.start(store, clock, of.id))[0])
        await self.settle(store, replace(gave_up(dead), final=final(dead, DEAD, response_body="long")))
        botted = await self.take(store, clock, refs(await self.start(store, clock, bot.id))[0])
        await self.settle(store, bot_ended(botted))
        clock.move(1)
        before = clock.now()
        recent = refs(await self.start(store, clock, of.id))[0]
        await self.settle(store, succeeded(await self.take(store, clock, recent)))
        assert await store.trim_history(START) == 0
        assert await store.trim_history(before) == 3
        assert await store.trim_history(before) == 0
        assert [each.id for each in (await store.executions(of.id, None, 0, 9)).items] == [recent.id, open_ref.id]
        assert (await store.executions(of.id, DEAD, 0, 9)).total == 0
        client: Any = redis
        assert await client.hlen(keys.executions(of.id)) == 2
        assert await client.zcard(keys.history(of.id)) == 4
        assert not await client.exists(keys.executions(bot.id), keys.history(bot.id))
        await self.settle(store, succeeded(await self.take(store, clock, open_ref)))

    async def test_more_jobs_than_one_call_looks_at_are_trimmed(
        self, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("aioscheduler.store.runs._FORGET_JOBS", 2)
        monkeypatch.setattr("aioscheduler.store.runs._FORGET", 2)
        for _ in range(5):
            of, _ = await self.create(store, webhooks=3)
            await self.finish(store, clock, await self.start(store, clock, of.id))
        clock.move(1)
        assert await store.trim_history(clock.now()) == 10
        assert await store.trim_history(clock.now()) == 5


class Upkeep(JobSuite):
    """Jobs without a next time, and what bots remember."""

    async def stalled(self, store: RedisStore) -> list[JobId]:
        return [live.job.id async for page in store.stalled() for live in page]

    async def test_a_job_without_a_next_time_is_found_and_mended(
        self, store: RedisStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("aioscheduler.store.jobs.BATCH", 2)
        jobs = [(await self.create(store, webhooks=0))[0] for _ in range(5)]
        bot = await self.create_bot(store)
        await self.create(store, due_in=None, enabled=False)
        assert await self.stalled(store) == []
        client: Any = redis
        for each in (jobs[0], jobs[4], bot):
            await client.zrem(keys.JOBS_DUE, each.id)
        assert sorted(await self.stalled(store)) == sorted([jobs[0].id, jobs[4].id, bot.id])
        heard: list[tuple[JobId, int | None]] = []
        store.on_job = lambda job_id, due_ms, **_: heard.append((job_id, due_ms))
        live = await self.live(store, jobs[0].id)
        assert live.next_run_at is None
        assert await store.mend(live, START + MINUTE)
        assert not await store.mend(live, START + 2 * MINUTE)
        assert heard == [(jobs[0].id, to_ms(START + MINUTE))]
        assert (await self.live(store, jobs[0].id)).next_run_at == START + MINUTE
        assert await store.mend(await self.live(store, bot.id), START)
        assert await self.stalled(store) == [jobs[4].id]
        assert (await store.counters())["jobs:mended"] == 2

    async def test_what_was_changed_disabled_or_deleted_meanwhile_is_not_mended(
        self, store: RedisStore, redis: Redis
    ) -> None:
        lives = [await self.live(store, (await self.create(store))[0].id) for _ in range(3)]
        client: Any = redis
        await client.delete(keys.JOBS_DUE)
        changed, disabled, deleted = lives
        assert await store.update_job(changed.job, replace(changed.job, version=new_version(to_ms(START))), None)
        assert await store.update_job(disabled.job, replace(disabled.job, enabled=False), None)
        assert await store.delete_job(deleted.job)
        for live in lives:
            assert not await store.mend(live, START)
        assert not await client.exists(keys.JOBS_DUE)

    async def test_a_bot_remembers_what_it_was_told(self, store: RedisStore) -> None:
        assert await store.bot_read("bot", []) == []
        assert await store.bot_read("bot", ["a"]) == [None]
        assert await store.bot_read_all("bot") == {}
        assert await store.bot_swap("bot", "a", None, "ü\0")
        assert await store.bot_swap("bot", "b", None, "")
        assert await store.bot_read("bot", ["b", "none", "a"]) == ["", None, "ü\0"]
        assert await store.bot_read_all("bot") == {"a": "ü\0", "b": ""}
        assert await store.bot_read_all("other") == {}

    async def test_of_two_that_swap_one_succeeds(self, redis: Redis, store: RedisStore, clock: FakeClock) -> None:
        other = make_store(redis, clock, "two")
        for old, new in ((None, "1"), ("1", ""), ("", "2"), ("2", None)):
            swaps = await asyncio.gather(*(each.bot_swap("bot", "k", old, new) for each in (store, other)))
            assert sorted(swaps) == [False, True]
            assert await store.bot_read("bot", ["k"]) == [new]

    async def test_a_swap_of_what_is_not_there_does_nothing(self, store: RedisStore) -> None:
        await store.bot_swap("bot", "a", None, "1")
        for key, old in (("a", None), ("a", "2"), ("a", ""), ("b", "1"), ("b", "")):
            assert not await store.bot_swap("bot", key, old, "new")
            assert not await store.bot_swap("bot", key, old, None)
        assert await store.bot_read_all("bot") == {"a": "1"}


class NeverStuck(JobSuite):
    """What could leave a run behind that blocks its job, or an execution that is never due."""

    async def test_a_run_whose_webhooks_are_deleted_while_it_waits_ends(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, hooks = await self.create(store, webhooks=2)
        first = await self.start(store, clock, of.id)
        second_ = await self.start(store, clock, of.id, waits=True)
        for hook in hooks:
            await store.delete_webhook(hook.id)
        for each in (first, second_):
            for claimed in await store.claim_executions(refs(each), clock.now()):
                assert claimed.webhook is None
                ended = final(claimed, FAILURE, duration_ms=None)
                await self.settle(store, ExecutionSettlement(claimed=claimed, final=ended, begun=False))
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_waiting_runs_start_when_more_may_go_on_at_once(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        runs = [await self.start(store, clock, of.id, waits=True) for _ in range(4)]
        await self.change(store, of, max_instances=3)
        await self.finish(store, clock, runs[0])
        assert len(await self.due_executions(store)) == 3, "at the end of the one before, as many as may"
        for each in runs[1:]:
            await self.finish(store, clock, each)
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_waiting_runs_start_when_fewer_may_go_on_at_once(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, max_instances=3)
        runs = [await self.start(store, clock, of.id, waits=True) for _ in range(5)]
        await self.change(store, of, max_instances=1)
        for each in runs[:2]:
            await self.finish(store, clock, each)
            assert await store.claim_executions(refs(runs[3]), clock.now()) == []
        for each in runs[2:]:
            await self.finish(store, clock, each)
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_one_run_again_while_another_run_goes_on_frees_both(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store)
        first = await self.start(store, clock, of.id)
        await self.settle(store, gave_up(await self.take(store, clock, refs(first)[0])))
        running = await self.start(store, clock, of.id)
        waiting = await self.start(store, clock, of.id, waits=True)
        ended = await self.found(store, refs(first)[0].id)
        next_one = again(ended, clock.now())
        assert await store.retry_execution(ended, next_one, clock.now()) is Retried.QUEUED
        await self.finish(store, clock, running)
        assert await store.claim_executions(refs(waiting), clock.now()) == [], "the one run again still goes on"
        await self.settle(store, succeeded(await self.take(store, clock, refs(first)[0]._replace(id=next_one.id))))
        await self.finish(store, clock, waiting)
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_one_run_again_in_a_run_that_still_goes_on_is_waited_for(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=2)
        one, two = await store.claim_executions(refs(await self.start(store, clock, of.id)), clock.now())
        await self.settle(store, gave_up(one))
        ended = await self.found(store, one.ref.id)
        next_one = again(ended, clock.now())
        assert await store.retry_execution(ended, next_one, clock.now()) is Retried.QUEUED
        await self.settle(store, succeeded(two))
        await self.start(store, clock, of.id)
        assert await self.statuses(store, of.id, SKIPPED) == [SKIPPED]
        await self.settle(store, gave_up(await self.take(store, clock, one.ref._replace(id=next_one.id))))
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_after_attempts_that_were_cut_short_the_open_one_is_still_found_by_whoever_asks_again(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        """The numbers of the attempts have a gap then: 1, 2 which became 3, and 4 which is open."""
        of, _ = await self.create(store)
        first = refs(await self.start(store, clock, of.id))[0]
        second_ = following_ref(await self.settle(store, failed(await self.take(store, clock, first), after=0)))
        await self.settle(store, given_back(await self.take(store, clock, second_), begun=True))
        claimed = await self.take(store, clock, second_)
        assert claimed.execution.attempt == 3
        fourth = following_ref(await self.settle(store, failed(claimed, after=0)))
        ended = await self.found(store, first.id)
        assert await store.retry_execution(ended, again(ended, clock.now()), clock.now()) is Retried.OPEN
        assert await self.statuses(store, of.id, QUEUED) == [QUEUED]
        await self.settle(store, gave_up(await self.take(store, clock, fourth)))
        heard: list[ExecutionRef] = []
        store.on_execution = lambda ref, *_: heard.append(ref)
        assert await store.retry_execution(ended, again(ended, clock.now()), clock.now()) is Retried.QUEUED
        (fifth,) = heard
        claimed = await self.take(store, clock, fifth)
        assert claimed.execution.attempt == 5
        await self.settle(store, succeeded(claimed))
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_a_further_attempt_that_is_there_already_is_not_made_twice(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        """As when its number was forgotten by the history, run again by hand, and reached again by the retries."""
        of, _ = await self.create(store)
        first = refs(await self.start(store, clock, of.id))[0]
        second_ = following_ref(await self.settle(store, failed(await self.take(store, clock, first), after=0)))
        third = following_ref(await self.settle(store, failed(await self.take(store, clock, second_), after=0)))
        client: Any = redis
        await client.hdel(keys.executions(of.id), second_.id)
        ended = await self.found(store, first.id)
        assert await store.retry_execution(ended, again(ended, clock.now()), clock.now()) is Retried.QUEUED
        leased = await self.take(store, clock, third)
        await self.settle(store, failed(await self.take(store, clock, second_), after=0))
        assert await store.claim_executions([third], clock.now()) == []
        await self.settle(store, succeeded(leased))
        assert await client.hgetall(keys.runs(of.id)) == {}

    async def test_a_job_deleted_between_fire_and_claim_between_claim_and_settle_and_before_a_retry_leaves_nothing(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        for step in range(4):
            of, _ = await self.create(store)
            live = await self.live(store, of.id)
            fire = await self.fire_of(store, of.id)
            if step > 0:
                assert await store.fire([fire], clock.now()) == [Fired.APPLIED]
            claims: Sequence[ClaimedExecution] = []
            if step > 1:
                claims = await store.claim_executions(refs(fire.runs[0]), clock.now())
            if step > 2:
                await self.settle(store, failed(claims[0]))
            assert await store.delete_job(of)
            assert await store.fire([fire], clock.now()) == [Fired.STALE]
            for claimed in claims:
                assert await store.settle_execution(failed(claimed)) is Settled.LOST
                assert await store.settle_execution(given_back(claimed, begun=True)) is Settled.LOST
                ended = final(claimed, FAILURE)
                assert await store.retry_execution(ended, again(ended, clock.now()), clock.now()) is Retried.GONE
            assert await store.run_job(live, manual_run(of, [], clock.now())) is None
            assert not await store.mend(live, clock.now())
            assert await contents(redis) == {}
        assert (await store.execution_counts(ACCOUNT)).queued == 0

    async def test_a_replica_that_dies_with_all_of_a_runs_leases_leaves_a_run_that_ends(
        self, redis: Redis, store: RedisStore, clock: FakeClock
    ) -> None:
        of, _ = await self.create(store, webhooks=3)
        other = make_store(redis, clock, "two")
        await other.heartbeat()
        first = await self.start(other, clock, of.id)
        old = await other.claim_executions(refs(first), clock.now())
        await self.settle(other, failed(old[0], after=0))
        await redis.delete(keys.heartbeat("two"))
        for _ in range(round(CONFIRM_SECONDS * 2) + 1):
            clock.move(0.5)
            await store.recover(clock.now())
        due = [ref async for page in store.execution_window(clock.now(), 9) for _, ref in page]
        assert len(due) == 3
        for claimed in await store.claim_executions(due, clock.now()):
            await self.settle(store, gave_up(claimed))
        for claimed in old:
            assert await other.settle_execution(succeeded(claimed)) is Settled.LOST
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_a_run_that_comes_back_with_other_webhooks_ends_as_well(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        """Its job was made due again at the same fire time, after its webhooks were changed."""
        of, (old,) = await self.create(store)
        first = await self.start(store, clock, of.id)
        await store.delete_webhook(old.id)
        assert await store.put_webhook(webhook(of), new=True)
        live = await self.live(store, of.id)
        raised = replace(live.job, version=new_version(to_ms(START)), max_instances=2)
        assert await store.update_job(live.job, raised, START)
        twin = await self.start(store, clock, of.id)
        assert refs(twin) != refs(first)
        for each in (first, twin):
            await self.finish(store, clock, each)
        await self.assert_nothing_is_stuck(store, redis, of.id)

    async def test_open_executions_are_due_leased_or_waiting_whatever_happens(
        self, redis: Redis, clock: FakeClock
    ) -> None:
        """A walk through all that can happen to two jobs, the same in every run of this test."""
        chance = random.Random(7)
        store, other = (make_store(redis, clock, name, executions_per_job=10) for name in ("one", "two"))
        stores = [store, other]
        jobs = [(await self.create(store, webhooks=n, max_instances=n))[0] for n in (1, 2)]
        held: list[tuple[RedisStore, ClaimedExecution]] = []
        client: Any = redis
        for _ in range(400):
            clock.move(0.01)
            one, of = chance.choice(stores), chance.choice(jobs)
            match chance.randrange(7):
                case 0:
                    waits = chance.random() < 0.5
                    await one.fire([await self.fire_of(one, of.id, waits=waits, next_in=0.01)], clock.now())
                case 1 | 2:
                    due = [ref async for page in one.execution_window(clock.now(), 9) for _, ref in page]
                    held += [(one, claimed) for claimed in await one.claim_executions(due[:2], clock.now())]
                case 3 | 4 if held:
                    holder, claimed = held.pop(chance.randrange(len(held)))
                    ends = [succeeded(claimed), failed(claimed, after=0.05), gave_up(claimed), given_back(claimed)]
                    await holder.settle_execution(chance.choice(ends))
                case 5:
                    live = await self.live(one, of.id)
                    await one.run_job(live, manual_run(live.job, await one.webhooks(of.id), clock.now()))
                case _:
                    for ended in (await one.executions(of.id, DEAD, 0, 1)).items:
                        await one.retry_execution(ended, again(ended, clock.now()), clock.now())
            for each in jobs:
                members = await client.zrangebylex(keys.history(each.id), "[o\0", "(o\1")
                opened = {member.split(b"\0")[2] for member in members}
                leased = await client.hkeys(keys.EXECUTIONS_LEASED)
                due_or_leased = {*await client.zrange(keys.EXECUTIONS_DUE, 0, -1), *leased}
                queue = await client.lrange(keys.waiting(each.id), 0, -1)
                waiting = {ref for line in queue for ref in line.split(b" ")[2:]}
                mine = {ref for ref in due_or_leased if each.id.encode() in ref}
                assert opened == mine | waiting
                assert not mine & waiting
                going_on = await client.hgetall(keys.runs(each.id))
                assert sum(map(int, going_on.values())) == len(mine)
                assert going_on or not queue
        for holder, claimed in held:
            await self.settle(holder, given_back(claimed))
        clock.move(60)
        while due := [ref async for page in store.execution_window(clock.now(), 9) for _, ref in page]:
            for claimed in await store.claim_executions(due, clock.now()):
                await self.settle(store, succeeded(claimed))
        counts = await store.execution_counts(ACCOUNT)
        assert (counts.queued, counts.running) == (0, 0)
        assert min(counts.ended.get(status, 0) for status in (SUCCESS, FAILURE, DEAD, SKIPPED)) > 20
        for each in jobs:
            assert not await client.exists(keys.runs(each.id), keys.waiting(each.id))
            assert len(await self.statuses(store, each.id)) == 10
