"""Recurring jobs under the load: made, run each minute and by hand, deleted."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Final

from aioscheduler.verify.client import Client, unanswered
from aioscheduler.verify.ledger import Op, Temper
from aioscheduler.verify.load import ATTEMPT_LIMIT, BACKOFF
from aioscheduler.verify.receivers import Receivers

ACCOUNT: Final = "00000000-0000-4000-8000-000000000001"
_ATTEMPTS = 3
#: Jobs that stay, by the temper of the receiver they call; besides, one after the other is made and deleted.
_LASTING: Final = (Temper.QUICK, Temper.FAILING, Temper.SLOW)
#: Seconds between runs of a job asked for by hand, and a deleted job's life.
_BETWEEN, _LIFE = (1.0, 4.0), (2.0, 8.0)
_LAST = 2.0
_PAUSE = 0.5


class Jobs:
    """Clients of jobs. ``kept`` are the ids of those that were not deleted."""

    def __init__(self, client: Client, receivers: Receivers, *, seconds: float, seed: int) -> None:
        self.kept: list[str] = []
        self._client = client
        self._receivers = receivers
        self._seconds = seconds
        self._chance = random.Random(f"jobs {seed}")
        self._names = itertools.count(1)
        self._ends = 0.0

    async def run(self) -> None:
        """Return when the load's time is over."""
        self._ends = asyncio.get_running_loop().time() + self._seconds - _LAST
        async with asyncio.TaskGroup() as group:
            for temper in _LASTING:
                group.create_task(self._lasting(temper))
            group.create_task(self._passing())

    async def disable(self) -> None:
        """End all schedules: what has fired by then is what was due."""
        for job_id in self.kept:
            await self._client.ask("PATCH", f"/api/jobs/{job_id}/disable")

    async def _lasting(self, temper: Temper) -> None:
        job_id = await self._make(temper)
        self.kept.append(job_id)
        await self._run_now_and_then(job_id, self._ends)

    async def _passing(self) -> None:
        while self._left() > _LIFE[0]:
            job_id = await self._make(self._chance.choice(list(Temper)))
            await self._run_now_and_then(job_id, min(self._ends, self._now() + self._chance.uniform(*_LIFE)))
            while True:
                call, _ = await self._client.tell(Op.DELETE_JOB, job_id, "DELETE", f"/api/jobs/{job_id}")
                if not unanswered(call):
                    break
                await asyncio.sleep(_PAUSE)

    async def _make(self, temper: Temper) -> str:
        """Make a job and return its id. It counts as made when it is enabled: before, it has no webhook to call."""
        while True:
            job = {
                "account_id": ACCOUNT,
                "name": f"verify {next(self._names)}",
                "schedule": "* * * * *",
                "type": 1,
                "enabled": False,
                # Every run is made, and none waits for another.
                "max_instances": 100,
                "coalesce": False,
                "retry_policy": {"max_attempts": _ATTEMPTS, "backoff_seconds": BACKOFF, "backoff_type": "fixed"},
            }
            status, told = await self._client.ask("POST", "/api/jobs", job)
            assert status == 201, told
            job_id = str(told["id"])
            webhook = {
                "job_id": job_id,
                "url": self._receivers.url(temper),
                "method": "POST",
                "timeout_seconds": ATTEMPT_LIMIT,
            }
            status, told = await self._client.ask("POST", "/webhooks", webhook)
            assert status == 201, told
            while True:
                call, _ = await self._client.tell(
                    Op.CREATE_JOB,
                    job_id,
                    "PATCH",
                    f"/api/jobs/{job_id}/enable",
                    temper=temper,
                    max_attempts=_ATTEMPTS,
                    backoff_ms=BACKOFF * 1000,
                )
                if not unanswered(call):
                    return job_id
                await asyncio.sleep(_PAUSE)

    async def _run_now_and_then(self, job_id: str, until: float) -> None:
        while True:
            pause = self._chance.uniform(*_BETWEEN)
            await asyncio.sleep(max(0.0, min(pause, until - self._now())))
            if self._now() >= until:
                return
            call, told = await self._client.tell(Op.RUN_JOB, job_id, "POST", f"/api/jobs/{job_id}/run")
            if isinstance(told, dict):
                call.execution_ids = tuple(told.get("execution_ids", ()))

    def _left(self) -> float:
        return self._ends - self._now()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
