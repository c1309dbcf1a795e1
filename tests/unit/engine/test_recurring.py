"""Jobs and executions in the engine, on a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from aioscheduler.bots.base import BotFailed, BotResult, BotRun
from aioscheduler.domain.execution import DeadReason, ExecutionStatus, OutcomeKind, SkipReason
from aioscheduler.domain.job import BOTS, NO_RETRY, Job
from aioscheduler.domain.message import new_version
from aioscheduler.domain.retry import BackoffType, RetryPolicy
from aioscheduler.engine.delivery import Request
from aioscheduler.engine.runs import again, manual_run
from aioscheduler.errors import Sentence
from aioscheduler.store import keys
from aioscheduler.store.notify import Subscribed
from aioscheduler.store.recurring import JobsChanged, Retried
from tests.support.clock import START
from tests.support.engines import World

SUCCESS, FAILURE, SKIPPED = ExecutionStatus.SUCCESS, ExecutionStatus.FAILURE, ExecutionStatus.SKIPPED
RETRY = RetryPolicy(max_attempts=3, backoff=timedelta(seconds=1), backoff_type=BackoffType.FIXED)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


@pytest.fixture
async def hurried() -> AsyncIterator[World]:
    """Return a replica whose stop waits for nobody."""
    async with World(grace_seconds=0) as world:
        yield world


def hang(_: Request) -> asyncio.Future[OutcomeKind]:
    return asyncio.get_running_loop().create_future()


async def pass_time(world: World, seconds: float) -> None:
    """Let time pass in small steps; after each what it has led to comes to rest."""
    for _ in range(round(seconds / 0.25)):
        await world.clock.advance(0.25)
        await world.rest()


# -- firing


async def test_p2_a_job_fires_at_its_time_and_calls_each_webhook_once(world: World) -> None:
    job = await world.job("* * * * *", webhooks=2)
    await pass_time(world, 14.5)
    assert world.deliverer.requests == []
    await pass_time(world, 1)
    await world.deliverer.wait_for(2)
    first, second = await world.history(job, 2)
    assert (first.status, second.status) == (SUCCESS, SUCCESS)
    assert first.scheduled_for == second.scheduled_for == START + timedelta(seconds=15)
    assert first.run_id == second.run_id == f"{job.id}@2026-04-15T02:42:00Z"
    assert len({request.webhook_id for request in world.deliverer.requests}) == 2
    assert min(world.deliverer.times) >= START + timedelta(seconds=15)
    live = await world.store.job(job.id)
    assert live is not None
    assert live.next_run_at == START + timedelta(seconds=75)
    assert live.last_run is not None
    assert live.last_run.status is SUCCESS


async def test_an_interval_does_not_drift(world: World) -> None:
    job = await world.job(2)
    await pass_time(world, 9)
    executions = await world.history(job, 4)
    assert [one.scheduled_for - START for one in executions] == [timedelta(seconds=n) for n in (2, 4, 6, 8)]


async def test_p3_two_replicas_make_each_occurrence_once(world: World) -> None:
    async with World(redis=world.redis, clock=world.clock, replica="two") as two:
        job = await world.job(1, webhooks=2)
        await two.hints.queue.put(JobsChanged([job.id]))
        await pass_time(world, 6.5)
        executions = await world.history(job, 12)
        assert len(executions) == len({one.id for one in executions}) == 12
        assert {one.status for one in executions} == {SUCCESS}
        assert len(world.deliverer.requests) + len(two.deliverer.requests) == 12


async def test_a_run_is_skipped_while_as_many_go_on_as_may_and_the_history_says_so(hurried: World) -> None:
    world = hurried
    world.deliverer.respond = hang
    job = await world.job(1, max_instances=1)
    await pass_time(world, 1.25)
    await world.deliverer.wait_for(1)
    await pass_time(world, 2)
    executions = await world.history(job, 3, ended=False)
    assert [one.status for one in executions] == [ExecutionStatus.RUNNING, SKIPPED, SKIPPED]
    assert {one.skip_reason for one in executions[1:]} == {SkipReason.MAX_INSTANCES}
    assert len(world.deliverer.requests) == 1
    counters = await world.store.counters()
    assert counters["skipped:max_instances"] == 2


async def test_as_many_runs_go_on_as_may(hurried: World) -> None:
    world = hurried
    world.deliverer.respond = hang
    await world.job(1, max_instances=2)
    await pass_time(world, 4.25)
    assert len(world.deliverer.requests) == 2


async def test_an_occurrence_is_run_again_once_the_one_before_has_ended(world: World) -> None:
    futures: list[asyncio.Future[OutcomeKind]] = []

    def respond(_: Request) -> asyncio.Future[OutcomeKind]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    world.deliverer.respond = respond
    job = await world.job(2)
    await pass_time(world, 4.5)
    assert len(futures) == 1
    futures[0].set_result(OutcomeKind.SUCCESS)
    await pass_time(world, 2)
    await world.deliverer.wait_for(2)
    futures[1].set_result(OutcomeKind.SUCCESS)
    assert [one.status for one in await world.history(job, 3)] == [SUCCESS, SKIPPED, SUCCESS]


# -- what was missed


async def missed(seconds: float, **members: Any) -> tuple[World, Job]:
    """Return a replica that begins long after a job was first due, every ten seconds."""
    world = World()
    job = await world.job(10, **members)
    world.clock.move(seconds)
    return world, job


async def test_runs_missed_while_nobody_was_there_are_merged_into_one() -> None:
    world, job = await missed(35)
    async with world:
        executions = await world.history(job, 3)
        assert [one.status for one in executions] == [SKIPPED, SKIPPED, SUCCESS]
        assert executions[-1].scheduled_for == START + timedelta(seconds=30)
        assert {one.skip_reason for one in executions[:2]} == {SkipReason.COALESCED}
        live = await world.store.job(job.id)
        assert live is not None
        assert live.next_run_at == START + timedelta(seconds=40)


async def test_without_coalescing_each_missed_run_is_made_one_after_the_other() -> None:
    world, job = await missed(35, coalesce=False)
    going_on, most = 0, 0

    def respond(_: Request) -> asyncio.Future[OutcomeKind]:
        nonlocal going_on, most
        going_on += 1
        most = max(most, going_on)
        future: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()

        def answer() -> None:
            nonlocal going_on
            going_on -= 1
            future.set_result(OutcomeKind.SUCCESS)

        asyncio.get_running_loop().call_soon(answer)
        return future

    world.deliverer.respond = respond
    async with world:
        executions = await world.history(job, 3)
        assert [one.status for one in executions] == [SUCCESS] * 3
        assert [one.scheduled_for - START for one in executions] == [timedelta(seconds=n) for n in (10, 20, 30)]
        assert most == 1


async def test_what_is_later_than_the_grace_is_not_run() -> None:
    world, job = await missed(35, misfire_grace=timedelta(seconds=4))
    async with world:
        executions = await world.history(job, 3)
        assert [one.status for one in executions] == [SKIPPED] * 3
        assert {one.skip_reason for one in executions} == {SkipReason.MISFIRE}
        assert world.deliverer.requests == []
        await pass_time(world, 6)
        assert [one.status for one in await world.history(job, 4)][-1] is SUCCESS


async def test_an_execution_that_nobody_could_begin_within_the_grace_is_not_run() -> None:
    world = World()
    job = await world.job(10, misfire_grace=timedelta(seconds=60))
    async with world:
        world.deliverer.respond = hang
        world.dispatcher._stopping = True  # its claims are given back, as in the moment of a stop
        await pass_time(world, 10.5)
        await world.history(job, 1, ended=False)
    again_later = World(redis=world.redis, clock=world.clock, replica="later")
    world.clock.move(120)
    async with again_later:
        first = (await again_later.history(job, 2))[0]
        assert (first.status, first.skip_reason) == (SKIPPED, SkipReason.MISFIRE)


# -- changes take effect at once


async def test_p4_a_job_deleted_or_disabled_does_not_fire_any_more(world: World) -> None:
    deleted, disabled = await world.job(2), await world.job(2)
    await pass_time(world, 1.5)  # both worked out ahead already
    assert await world.store.delete_job(deleted)
    off = replace(disabled, enabled=False, version=new_version(world.clock.now_ms()))
    live = await world.store.job(disabled.id)
    assert live is not None
    assert await world.store.update_job(live.job, off, None)
    await pass_time(world, 3)
    assert world.deliverer.requests == []


async def test_p4_a_change_on_another_replica_takes_effect_at_once(world: World) -> None:
    job = await world.job(60)
    other = World(redis=world.redis, clock=world.clock, replica="two")
    live = await other.store.job(job.id)
    assert live is not None
    sooner = replace(job, version=new_version(world.clock.now_ms()))
    assert await other.store.update_job(live.job, sooner, START + timedelta(seconds=3))
    await world.hints.queue.put(JobsChanged([job.id]))
    await pass_time(world, 2.5)
    assert world.deliverer.requests == []
    await pass_time(world, 1)
    await world.deliverer.wait_for(1)


async def test_p4_nobody_retries_for_a_job_that_was_deleted(world: World) -> None:
    world.deliverer.respond = lambda _: OutcomeKind.FAILURE
    job = await world.job(2, retry=RETRY)
    await pass_time(world, 2.25)
    await world.deliverer.wait_for(1)
    assert await world.store.delete_job(job)
    await pass_time(world, 5)
    assert len(world.deliverer.requests) == 1


# -- attempts


async def test_each_attempt_is_an_execution_and_the_last_one_a_dead_letter(world: World) -> None:
    world.deliverer.respond = lambda _: OutcomeKind.FAILURE
    job = await world.job("* * * * *", retry=RETRY)
    await pass_time(world, 19)
    executions = await world.history(job, 3)
    assert [one.status for one in executions] == [FAILURE, FAILURE, ExecutionStatus.DEAD_LETTER]
    assert [one.attempt for one in executions] == [1, 2, 3]
    assert len({one.run_id for one in executions}) == 1
    assert [request.attempt for request in world.deliverer.requests] == [1, 2, 3]
    assert len({request.webhook_id for request in world.deliverer.requests}) == 1
    letter = await world.dead(executions[-1].id)
    assert (letter.reason, letter.attempts) == (DeadReason.RETRIES_EXHAUSTED, 3)
    assert letter.execution == executions[-1]
    world.deliverer.respond = lambda _: OutcomeKind.SUCCESS
    last = executions[-1]
    assert await world.store.retry_execution(last, again(last, world.clock.now()), world.clock.now()) is Retried.QUEUED
    await world.deliverer.wait_for(4)
    assert (await world.history(job, 4))[-1].status is SUCCESS
    assert await world.store.dead_letter(letter.id) is None  # type: ignore[arg-type]


async def test_a_job_without_a_webhook_fails_and_says_so_once(world: World) -> None:
    job = await world.job("* * * * *", webhooks=0, retry=RETRY)
    await pass_time(world, 18)
    [execution] = await world.history(job, 1)
    assert (execution.status, execution.error) == (FAILURE, "the job has no webhook")


async def test_a_webhook_deleted_meanwhile_is_not_called(world: World) -> None:
    world.deliverer.respond = lambda _: OutcomeKind.FAILURE
    job = await world.job("* * * * *", retry=RETRY)
    await pass_time(world, 15.25)
    await world.deliverer.wait_for(1)
    [webhook] = await world.store.webhooks(job.id)
    assert await world.store.delete_webhook(webhook.id)
    await pass_time(world, 2)
    assert [one.error for one in await world.history(job, 2)][-1] == "the webhook was deleted"
    assert len(world.deliverer.requests) == 1


async def test_a_run_by_hand_waits_behind_the_one_that_goes_on(world: World) -> None:
    futures: list[asyncio.Future[OutcomeKind]] = []

    def respond(_: Request) -> asyncio.Future[OutcomeKind]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    world.deliverer.respond = respond
    job = await world.job(3600)
    ids = []
    for _ in range(3):
        live = await world.store.job(job.id)
        assert live is not None
        run = manual_run(live.job, await world.store.webhooks(job.id), world.clock.now())
        ids.append(await world.store.run_job(live, run))
        await world.deliverer.wait_for(1)
        await pass_time(world, 0.25)
    assert ids[0] != ids[1] == ids[2]
    assert len(futures) == 1
    futures[0].set_result(OutcomeKind.SUCCESS)
    await world.deliverer.wait_for(2)
    futures[1].set_result(OutcomeKind.SUCCESS)
    assert len(await world.history(job, 2)) == 2


async def test_p1_what_a_dead_replica_was_attempting_is_attempted_again_under_a_higher_number() -> None:
    async with World(replica="dead", grace_seconds=0) as dead:
        dead.deliverer.respond = hang
        job = await dead.job("* * * * *", retry=RETRY)
        await pass_time(dead, 15.25)
        await dead.deliverer.wait_for(1)
        [execution] = await dead.history(job, 1, ended=False)
        for task in dead.engine._tasks:  # as after kill -9: nobody gives anything back
            task.cancel()
        await dead.redis.delete(keys.heartbeat("dead"))
        async with World(redis=dead.redis, clock=dead.clock, replica="heir") as heir:
            async with asyncio.timeout(30):
                while not heir.deliverer.requests:
                    await heir.clock.advance(0.5)
                    await heir.store.recover(heir.clock.now())
                    await heir.hints.queue.put(Subscribed(True))
                    await heir.rest()
            [request] = heir.deliverer.requests
            assert request.attempt == 2
            assert request.webhook_id == dead.deliverer.requests[0].webhook_id
            [done] = await heir.history(job, 1)
            assert (done.id, done.attempt, done.status) == (execution.id, 2, SUCCESS)


# -- trouble


@pytest.mark.parametrize("verb", ["fire", "settle_execution", "plans"])
async def test_p1_a_lost_answer_of_the_store_doubles_and_loses_nothing(world: World, verb: str) -> None:
    job = await world.job(2, webhooks=2)
    world.flaky.lose_answer(verb)
    await pass_time(world, 15)
    executions = await world.history(job, 4)
    runs = {one.scheduled_for for one in executions}
    assert len({one.id for one in executions}) == len(executions)
    done = [one for one in executions if one.status is SUCCESS]
    for run in runs:
        of_run = [one for one in executions if one.scheduled_for == run]
        assert [one.status for one in of_run] in ([SUCCESS, SUCCESS], [SKIPPED]), of_run
    assert len(done) >= 4


async def test_p6_the_chain_goes_on_when_the_store_comes_back(world: World) -> None:
    job = await world.job(2)
    await pass_time(world, 1.5)
    world.flaky.sleep()
    await pass_time(world, 4)
    world.flaky.wakeup()
    await pass_time(world, 4)
    executions = await world.history(job, 3)
    assert SUCCESS in {one.status for one in executions}
    live = await world.store.job(job.id)
    assert live is not None
    assert live.next_run_at is not None
    assert live.next_run_at > world.clock.now() - timedelta(seconds=2)


async def test_p7_a_clock_that_steps_back_makes_nothing_twice_and_ends_no_chain(world: World) -> None:
    job = await world.job(2)
    await pass_time(world, 4.5)
    await world.history(job, 2)
    world.clock.step(-3600)
    await pass_time(world, 5)
    assert len(await world.history(job, 2)) == 2
    world.clock.step(3600)
    await pass_time(world, 3)
    executions = await world.history(job, 3)
    assert len({one.run_id for one in executions}) == len(executions)
    assert executions[-1].status is SUCCESS


async def test_p5_a_job_that_cannot_be_planned_does_not_stop_the_others(world: World) -> None:
    bad, good = await world.job(2), await world.job(2)
    record: Any = await world.redis.get(keys.job(bad.id))
    await world.redis.set(keys.job(bad.id), record.replace(b'"seconds":2', b'"seconds":0'))
    await pass_time(world, 4.5)
    assert {one.status for one in await world.history(good, 2)} == {SUCCESS}


async def test_a_job_whose_chain_was_broken_is_mended_and_counted() -> None:
    world = World()
    job = await world.job(60)
    await world.redis.zrem(keys.JOBS_DUE, job.id)
    async with world:
        async with asyncio.timeout(30):
            while not (live := await world.store.job(job.id)) or live.next_run_at is None:
                await asyncio.sleep(0.002)
        assert live.next_run_at == START + timedelta(seconds=60)
        assert (await world.store.counters())["jobs:mended"] == 1


async def test_old_executions_are_forgotten() -> None:
    world = World(execution_ttl=timedelta(days=1))
    job = await world.job("0 0 1 1 *")
    live = await world.store.job(job.id)
    assert live is not None
    async with world:
        run = manual_run(live.job, await world.store.webhooks(job.id), world.clock.now())
        assert await world.store.run_job(live, run)
        await world.history(job, 1)
    world.clock.move(2 * 86_400)
    async with World(redis=world.redis, clock=world.clock, execution_ttl=timedelta(days=1)) as later:
        async with asyncio.timeout(30):
            while (await later.store.executions(job.id, None, 0, 10)).total:
                await asyncio.sleep(0.002)
        assert await later.store.job(job.id) is not None


async def test_old_minutes_of_the_account_are_forgotten_and_their_sums_stay() -> None:
    world = World(audit_ttl=timedelta(days=1))
    async with world:
        await world.schedule("m")
        await world.idle()
    assert (await world.store.audit(since=START - timedelta(minutes=1))).messages.delivered == 1
    world.clock.move(2 * 86_400)
    async with World(redis=world.redis, clock=world.clock, audit_ttl=timedelta(days=1)) as later:
        async with asyncio.timeout(30):
            while (await later.store.audit(since=START - timedelta(minutes=1))).messages.delivered:
                await asyncio.sleep(0.002)
        assert (await later.store.audit()).messages.delivered == 1


# -- bots


class Robot:
    """Does what a test says."""

    def __init__(self) -> None:
        self.runs: list[BotRun] = []
        self.answer: BotResult | Exception | asyncio.Future[BotResult] = BotResult(messages_sent=2, details={"left": 1})
        self.cancelled = 0

    def check(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"limit": 5, **config}

    async def run(self, run: BotRun) -> BotResult:
        self.runs.append(run)
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, asyncio.Future):
            try:
                return await self.answer
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return self.answer


async def robot_job(world: World, bot: str = "robot") -> Job:
    return await world.job("* * * * *", webhooks=0, owner=BOTS, bot_type=bot, retry=NO_RETRY)


@pytest.fixture
def robot() -> Robot:
    return Robot()


@pytest.fixture
async def workshop(robot: Robot) -> AsyncIterator[World]:
    async with World(bots={"robot": robot}) as world:
        yield world


async def test_a_bot_runs_and_the_history_tells_what_it_did(workshop: World, robot: Robot) -> None:
    job = await robot_job(workshop)
    await pass_time(workshop, 15.5)
    [execution] = await workshop.history(job, 1)
    assert execution.status is SUCCESS
    assert (execution.messages_sent, execution.profiles_visited) == (2, 0)
    assert execution.result == {"left": 1, "messages_sent": 2}
    assert robot.runs[0].config == {"limit": 5}
    assert robot.runs[0].scheduled_for == START + timedelta(seconds=15)
    counts = await workshop.store.execution_counts(BOTS)
    assert counts.ended == {SUCCESS: 1}
    assert (await workshop.store.execution_counts(None)).ended == {}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (BotFailed(Sentence("The file cannot be read."), BotResult(messages_sent=1)), "The file cannot be read."),
        (ZeroDivisionError(), "an error of the bot (ZeroDivisionError)"),
        (TimeoutError(), "the bot ran into a time limit of its own"),
    ],
)
async def test_a_bot_that_fails_is_a_failed_run_with_a_sentence(
    workshop: World, robot: Robot, answer: Exception, error: str
) -> None:
    robot.answer = answer
    job = await robot_job(workshop)
    await pass_time(workshop, 18)
    [execution] = await workshop.history(job, 1)
    assert (execution.status, execution.error) == (FAILURE, error)
    live = await workshop.store.job(job.id)
    assert live is not None
    assert live.last_run is not None
    assert (live.last_run.status, live.last_run.error) == (FAILURE, error)


async def test_a_bot_that_is_not_installed_is_a_failed_run(workshop: World) -> None:
    job = await robot_job(workshop, "dancer")
    await pass_time(workshop, 15.5)
    [execution] = await workshop.history(job, 1)
    assert execution.error == "the bot 'dancer' is not installed here"


async def test_a_bot_is_cancelled_when_its_time_is_over(robot: Robot) -> None:
    robot.answer = asyncio.get_running_loop().create_future()
    async with World(bots={"robot": robot}, bot_timeout=timedelta(seconds=0.02)) as world:
        job = await robot_job(world)
        await pass_time(world, 15.25)
        [execution] = await world.history(job, 1)
        assert execution.status is ExecutionStatus.TIMED_OUT
        assert robot.cancelled == 1


async def test_a_bot_is_cancelled_when_its_job_is_deleted(workshop: World, robot: Robot) -> None:
    robot.answer = asyncio.get_running_loop().create_future()
    job = await robot_job(workshop)
    await pass_time(workshop, 15.25)
    await workshop.until(lambda: bool(robot.runs))
    assert await workshop.store.delete_job(job)
    await workshop.until(lambda: robot.cancelled == 1 and not workshop.engine.in_flight)
    assert (await workshop.store.executions(job.id, None, 0, 10)).total == 0


async def test_p8_a_bot_is_cancelled_at_the_stop_and_runs_again_afterwards(robot: Robot) -> None:
    robot.answer = asyncio.get_running_loop().create_future()
    async with World(bots={"robot": robot}) as world:
        job = await robot_job(world)
        await pass_time(world, 15.25)
        await world.until(lambda: bool(robot.runs))
        began = asyncio.get_running_loop().time()
    assert robot.cancelled == 1
    assert asyncio.get_running_loop().time() - began < 4, "a stop does not wait for a bot as it does for a request"
    robot.answer = BotResult()
    async with World(redis=world.redis, clock=world.clock, replica="next", bots={"robot": robot}) as after:
        [execution] = await after.history(job, 1)
        assert execution.status is SUCCESS
        assert len(robot.runs) == 2
