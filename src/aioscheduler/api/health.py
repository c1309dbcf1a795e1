"""Looking at the store without ever waiting long for it."""

from __future__ import annotations

import asyncio

from aioscheduler.errors import StoreUnavailable
from aioscheduler.store.base import Counts, Store, StoreReport

#: Seconds a probe waits for the store: the answer has to be out within one.
PATIENCE = 0.8


class StoreProbe:
    """Asks the store how it is; probes that come together share one question."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asking: asyncio.Task[Counts | None] | None = None

    async def counts(self) -> Counts | None:
        """Return how many messages there are; ``None`` when the store does not say so in time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="store probe")
        # Shielded, since a caller that goes away must not end the question for the others.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Counts | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._store.counts()
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
