"""An engine under a test's hand: a fake clock, a scripted deliverer, a store on an imitation of Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
from redis.asyncio import Redis

from aioscheduler.bots.base import Bot
from aioscheduler.domain.execution import Execution, Outcome, OutcomeKind
from aioscheduler.domain.job import Job, Owner
from aioscheduler.domain.message import ConflictPolicy, Message, MessageId
from aioscheduler.domain.retry import BackoffType, RetryPolicy
from aioscheduler.domain.target import Destination
from aioscheduler.domain.trigger import Schedule, ScheduleType, trigger_of
from aioscheduler.engine.bots import BotRunner
from aioscheduler.engine.decide import Defaults
from aioscheduler.engine.delivery import Ended, Flight, Request, in_a_task
from aioscheduler.engine.dispatcher import Dispatcher
from aioscheduler.engine.executions import Executions
from aioscheduler.engine.service import AHEAD_MS, Engine
from aioscheduler.engine.slots import Slots
from aioscheduler.store.base import DeadLetter
from aioscheduler.store.redis import RedisStore
from tests.support.clock import FakeClock
from tests.support.flaky import FlakyStore
from tests.support.jobs import ACCOUNT, job, webhook
from tests.support.messages import message, outcome

DEFAULTS = Defaults(
    retry=RetryPolicy(max_attempts=3, backoff=timedelta(seconds=1), backoff_type=BackoffType.FIXED),
    timeout_seconds=30,
    misfire_grace=None,
)


class FakeDeliverer:
    """Answers attempts as ``respond`` says: at once with a kind, when a future is done, or with an exception."""

    def __init__(self, clock: FakeClock) -> None:
        self.requests: list[Request] = []
        self.times: list[datetime] = []
        self.cut_short = 0
        self.warmed: Counter[Destination] = Counter()
        self.respond: Callable[[Request], OutcomeKind | asyncio.Future[OutcomeKind] | Exception] = lambda _: (
            OutcomeKind.SUCCESS
        )
        self._clock = clock
        self._changed = asyncio.Event()

    @property
    def ids(self) -> list[str]:
        """The ids of the messages attempted, in order."""
        return [dict(request.identity)["X-Scheduler-Message-Id"] for request in self.requests]

    def warm(self, destination: Destination, count: int) -> None:
        self.warmed[destination] += count

    def begin(self, request: Request, ended: Ended) -> Flight:
        return in_a_task(self.attempt(request), ended)

    async def attempt(self, request: Request) -> Outcome:
        self.requests.append(request)
        self.times.append(self._clock.now())
        self._changed.set()
        answer = self.respond(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Future):
            try:
                answer = await answer
            except asyncio.CancelledError:
                self.cut_short += 1
                raise
        return outcome(answer, now=self._clock.now())

    async def wait_for(self, count: int) -> None:
        """Return once there were so many attempts."""
        async with asyncio.timeout(30):
            while len(self.requests) < count:
                self._changed.clear()
                await self._changed.wait()


class FakeHints:
    """Notifications that a test makes."""

    def __init__(self) -> None:
        self.connected = False
        self.on_touched: Callable[[MessageId], None] | None = None
        self.queue: asyncio.Queue[object] = asyncio.Queue()

    async def start(self) -> None:
        self.connected = True

    async def stop(self) -> None:
        self.connected = False

    async def __aiter__(self) -> AsyncIterator[object]:
        while True:
            yield await self.queue.get()


class World:
    """Everything an engine needs, and the engine. Several may share ``redis`` and ``clock``."""

    def __init__(
        self,
        *,
        redis: Redis | None = None,
        clock: FakeClock | None = None,
        replica: str = "one",
        total: int = 100,
        per_destination: int = 100,
        window_entries: int = 10_000,
        defaults: Defaults = DEFAULTS,
        grace_seconds: float = 5,
        dead_letter_ttl: timedelta = timedelta(days=30),
        execution_ttl: timedelta = timedelta(days=90),
        audit_ttl: timedelta = timedelta(days=90),
        bots: Mapping[str, Bot] | None = None,
        bot_timeout: timedelta = timedelta(minutes=15),
    ) -> None:
        self.redis = redis or fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
        self.clock = clock or FakeClock()
        self.store = RedisStore(self.redis, self.clock, zone=UTC, replica=replica)
        self.flaky = FlakyStore(self.store)
        self.deliverer = FakeDeliverer(self.clock)
        self.hints = FakeHints()
        self.dispatcher = Dispatcher(
            store=self.flaky.verbs,
            clock=self.clock,
            deliverer=self.deliverer,
            slots=Slots(total, per_destination),
            defaults=defaults,
            executions=Executions(
                clock=self.clock,
                deliverer=self.deliverer,
                bots=BotRunner(
                    bots=bots or {},
                    store=self.flaky.verbs,
                    clock=self.clock,
                    deliverer=self.deliverer,
                    time_limit=bot_timeout,
                ),
                chance=lambda: 0.0,
            ),
            chance=lambda: 0.0,
        )
        self.engine = Engine(
            store=self.flaky.verbs,
            clock=self.clock,
            hints=self.hints,
            dispatcher=self.dispatcher,
            window=timedelta(seconds=60),
            window_entries=window_entries,
            dead_letter_ttl=dead_letter_ttl,
            execution_ttl=execution_ttl,
            audit_ttl=audit_ttl,
            shutdown_grace_seconds=grace_seconds,
        )

    async def __aenter__(self) -> World:
        await self.engine.start()
        await self.until(lambda: self.engine._horizon_ms > 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.flaky.wakeup()
        await self.engine.stop()

    async def schedule(self, message_id: str, due_in: float = 0, **members: Any) -> Message:
        """Schedule a message due so many seconds from now."""
        new = message(message_id, due_in=due_in, now=self.clock.now(), **members)
        await self.store.schedule(new, ConflictPolicy.REJECT, new.due_at)
        return new

    async def job(
        self,
        schedule: str | float = 2.0,
        *,
        webhooks: int = 1,
        owner: Owner = ACCOUNT,
        enabled: bool = True,
        **members: Any,
    ) -> Job:
        """Create a job with a cron expression, or due every so many seconds; its webhooks go to one URL."""
        now = self.clock.now()
        config: dict[str, object]
        if isinstance(schedule, str):
            kind, config = ScheduleType.CRON, {"cron_expression": schedule}
        else:
            kind, config = ScheduleType.INTERVAL, {"seconds": int(schedule)}
        new = job(
            owner=owner,
            schedule=Schedule(type=kind, config=config, timezone="UTC"),
            now=now,
            enabled=enabled,
            **members,
        )
        next_run_at = trigger_of(new.schedule, now).next_after(now) if enabled else None
        assert await self.store.create_job(new, next_run_at)
        for _ in range(webhooks):
            assert await self.store.put_webhook(webhook(new, now=now), new=True)
        return new

    async def history(self, job: Job, count: int, *, ended: bool = True) -> list[Execution]:
        """Return a job's executions, oldest first, once there are so many, and none that has not ended."""
        async with asyncio.timeout(30):
            while True:
                found = await self.store.executions(job.id, None, 0, 1000)
                if len(found.items) >= count and not (ended and any(one.status.is_open for one in found.items)):
                    return sorted(found.items, key=lambda one: (one.scheduled_for, one.attempt))
                await asyncio.sleep(0.002)

    async def dead(self, message_id: str) -> DeadLetter:
        """Return a dead letter, once it is one."""
        async with asyncio.timeout(30):
            while (letter := await self.store.dead_letter(MessageId(message_id))) is None:
                await asyncio.sleep(0.002)
            return letter

    async def idle(self) -> None:
        """Return once no attempt goes on and no message is live."""
        async with asyncio.timeout(30):
            while self.engine.in_flight or (await self.store.counts()).messages:
                await asyncio.sleep(0.002)

    async def rest(self) -> None:
        """Return once nothing is on its way from the window to an attempt, or half a second has passed."""
        engine = self.engine
        for _ in range(500):
            await asyncio.sleep(0.001)
            if self.flaky.away:
                return
            soon_ms = self.clock.now_ms() + AHEAD_MS
            now_ms = soon_ms - AHEAD_MS
            heads = [heap.next_due_ms() or soon_ms for heap in (engine._soon, engine._exactly)]
            heads.append((engine._heap.next_due_ms() or soon_ms + 1) - AHEAD_MS)
            if min(heads) > now_ms and not engine._planner.waiting + self.dispatcher.waiting:
                await asyncio.sleep(0.001)
                return

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once ``condition`` holds."""
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.002)
