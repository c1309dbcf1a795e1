"""The end of a run: waits until everything had time to end, and asks the API what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from aioscheduler.verify.client import Client
from aioscheduler.verify.ledger import DeadLetterSeen, JobRun, Ledger

#: Seconds that messages and runs get to end.
LIMIT = 60.0
_POLL = 0.3
_PAGE = 1000
_OPEN = ("queued", "running")


async def until_ended(client: Client, jobs: Sequence[str]) -> None:
    """Return when no message is live and no execution goes on, or after :data:`LIMIT`."""
    deadline = asyncio.get_running_loop().time() + LIMIT
    while asyncio.get_running_loop().time() < deadline:
        _, told = await client.ask("GET", "/messages?limit=1")
        if not told["total"] and not await _open_executions(client, jobs):
            return
        await asyncio.sleep(_POLL)


async def collect(client: Client, jobs: Sequence[str], ledger: Ledger) -> None:
    """Write down what is left, what is dead, what the jobs did and what the service counted."""
    ledger.left += [line["messageId"] for line in await _pages(client, "/messages", "scheduledJobs")]
    ledger.dead += [
        DeadLetterSeen(
            id=letter["messageId"],
            tag=letter["payload"]["tag"] if "payload" in letter else None,
            reason=letter["reason"],
            attempts=letter["attempts"],
        )
        for letter in await _pages(client, "/dead-letters", "deadLetters")
        if "executionId" not in letter
    ]
    ledger.open_executions = await _open_executions(client, jobs)
    for job_id in jobs:
        ledger.runs += [_run(item) for item in await _executions(client, job_id)]
    status, told = await client.ask("GET", "/audit")
    if status == 200:
        ledger.audit = {name: number for name, number in told.items() if isinstance(number, int)}


async def _pages(client: Client, path: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        _, told = await client.ask("GET", f"{path}?limit={_PAGE}{cursor}")
        found += told[name]
        if not told["nextCursor"]:
            return found
        cursor = f"&cursor={quote(told['nextCursor'], safe='')}"


async def _executions(client: Client, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        _, told = await client.ask("GET", f"/api/jobs/{job_id}/executions?limit={_PAGE}&skip={len(found)}")
        found += told["items"]
        if len(found) >= told["total"] or not told["items"]:
            return found


async def _open_executions(client: Client, jobs: Sequence[str]) -> int:
    count = 0
    for job_id in jobs:
        for status in _OPEN:
            _, told = await client.ask("GET", f"/api/jobs/{job_id}/executions?limit=1&status={status}")
            count += told["total"]
    return count


def _run(item: dict[str, Any]) -> JobRun:
    return JobRun(
        execution_id=item["id"],
        job_id=item["job_id"],
        run_id=item["run_id"],
        status=item["status"],
        attempt=item["attempt"],
        scheduled_for_ms=round(datetime.fromisoformat(item["scheduled_for"]).timestamp() * 1000),
    )
