"""RedisStore: each verb one script, one command or one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta, tzinfo

from redis.asyncio import Redis

from aioscheduler.clock import Clock
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store import keys
from aioscheduler.store.archive import Archive
from aioscheduler.store.audit import Auditing
from aioscheduler.store.base import StoreReport
from aioscheduler.store.calls import CALL_TIMEOUT, REFUSED, Setup, translated
from aioscheduler.store.channel import Keeping
from aioscheduler.store.keys import message_id_of
from aioscheduler.store.lists import Lists
from aioscheduler.store.punctuality import Punctual
from aioscheduler.store.recovery import Recovery
from aioscheduler.store.report import report
from aioscheduler.store.runs import Runs

__all__ = ["CALL_TIMEOUT", "RedisStore", "message_id_of", "translated"]


class RedisStore(Lists, Archive, Recovery, Runs, Auditing, Punctual):
    """The store on Redis 6.2 or later, or Valkey. Its verbs stand in the modules of its bases."""

    def __init__(
        self,
        redis: Redis,
        clock: Clock,
        *,
        zone: tzinfo,
        replica: str,
        delivery_log_size: int = 100_000,
        executions_per_job: int = 1000,
        bot_timeout: timedelta = timedelta(minutes=15),
        kind: str = "redis",
        keeping: Keeping | None = None,
    ) -> None:
        super().__init__(
            Setup(
                redis=redis,
                clock=clock,
                zone=zone,
                replica=replica,
                delivery_log_size=delivery_log_size,
                executions_per_job=executions_per_job,
                # As with the longest attempt of a webhook: a minute more.
                bot_lease_ms=int((bot_timeout + timedelta(minutes=1)).total_seconds() * 1000),
                keeping=keeping or Keeping(),
            )
        )
        self.kind = kind
        self._keeping = keeping or Keeping()

    async def counters(self) -> Mapping[str, int]:
        values = await self._command("HGETALL", keys.COUNTERS)
        return {name.decode(): int(value) for name, value in values.items()}

    async def ping(self) -> None:
        key, value = keys.probe(self._replica), str(self._clock.monotonic()).encode()
        _, read = await self._transaction(("SET", key, value, "PX", 60_000), ("GET", key))
        if read != value:
            raise StoreUnavailable(REFUSED)

    async def report(self) -> StoreReport:
        with translated():
            async with asyncio.timeout(CALL_TIMEOUT):
                return await report(self._redis, self.kind, self._keeping)

    async def drain(self) -> None:
        """Wait until no batch is on its way."""
        await self._schedule.drain()
        if self._deciding:
            await asyncio.wait(self._deciding)
        await self._settle.drain()
        await self._write_job.drain()
        await self._settle_run.drain()
        await self._late.flush()
        await self._late_runs.flush()
