"""Looking at the store without ever waiting long for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aioscheduler.domain.job import BOTS
from aioscheduler.domain.punctuality import Figures, Window
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store.base import Counts, Store, StoreReport
from aioscheduler.store.recurring import JobCounts, JobStore

#: Seconds a probe waits for the store: the answer has to be out within one.
PATIENCE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """How much there is."""

    messages: Counts
    account_jobs: JobCounts
    bot_jobs: JobCounts

    @property
    def scheduled(self) -> int:
        """How many messages and enabled jobs there are."""
        return self.messages.messages + self.account_jobs.enabled + self.bot_jobs.enabled


class StoreProbe:
    """Asks the store how it is; probes that come together share one question."""

    def __init__(self, store: Store, jobs: JobStore) -> None:
        self._store = store
        self._jobs = jobs
        self._asking: asyncio.Task[Census | None] | None = None

    async def census(self) -> Census | None:
        """Return how much there is; ``None`` when the store does not say so in time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="store probe")
        # Shielded, since a caller that goes away must not end the question for the others.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Census | None:
        try:
            async with asyncio.timeout(PATIENCE):
                messages, account_jobs, bot_jobs = await asyncio.gather(
                    self._store.counts(), self._jobs.job_counts(None), self._jobs.job_counts(BOTS)
                )
        except (StoreUnavailable, TimeoutError):
            return None
        return Census(messages=messages, account_jobs=account_jobs, bot_jobs=bot_jobs)

    async def last_minute(self) -> Figures | None:
        """Return how punctual the last minute was; ``None`` when the store does not say so in time."""
        try:
            async with asyncio.timeout(PATIENCE):
                found = (await self._store.punctuality([Window.MINUTE]))[Window.MINUTE]
        except (StoreUnavailable, TimeoutError):
            return None
        return (found.messages + found.executions).figures()

    async def replicas(self) -> int | None:
        """Return how many replicas live; ``None`` when the store does not say so in time."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._store.replicas()
        except (StoreUnavailable, TimeoutError):
            return None

    async def report(self) -> StoreReport | None:
        """Return what the store is, once a write to it came back; ``None`` when that takes too long, or fails."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._store.ping()
                return await self._store.report()
        except (StoreUnavailable, TimeoutError):
            return None
