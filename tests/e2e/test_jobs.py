"""Recurring jobs on real processes and a real Redis, while replicas are killed and restarted."""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Replicas
from tests.support.client import Client
from tests.support.processes import Service
from tests.support.receiver import Receiver

#: For how long, in seconds; more on request.
SECONDS = float(os.environ.get("JOBS_SECONDS", "8"))
ACCOUNT = "123e4567-e89b-12d3-a456-426614174000"


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def _kill_in_turn(services: list[Service], until: float) -> None:
    loop, chance, killed = asyncio.get_running_loop(), random.Random(20261121), 0
    while loop.time() < until or killed < 3:
        victim = services[killed % len(services)]
        await victim.kill()
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        await victim.start()
        killed += 1
        await asyncio.sleep(chance.uniform(0.2, 1.5))


async def _history(client: Client, path: str) -> list[dict[str, Any]]:
    """Return what has ended, once nothing goes on any more."""
    async with asyncio.timeout(30):
        while True:
            _, body = await client.call("GET", path)
            items: list[dict[str, Any]] = body["items"] if isinstance(body, dict) else body
            if not [one for one in items if one["status"] in ("queued", "running")]:
                return items
            await asyncio.sleep(0.1)


def _assert_one_set_each(items: list[dict[str, Any]], expected: list[datetime], webhooks: int) -> None:
    """Each occurrence once, with one execution for each webhook; further attempts only where one was cut short."""
    sets: dict[datetime, list[dict[str, Any]]] = defaultdict(list)
    for one in items:
        sets[_at(one["scheduled_for"])].append(one)
    assert sorted(sets) == expected
    for fire_time, executions in sets.items():
        assert len({one["run_id"] for one in executions}) == 1, fire_time
        assert sorted(one["status"] for one in executions) == ["success"] * webhooks, (fire_time, executions)
        assert len({one["webhook_id"] for one in executions}) == webhooks


@pytest.mark.timeout(120 + SECONDS)
async def test_every_occurrence_has_one_set_of_executions_while_replicas_are_killed(
    replicas: Replicas, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.txt"
    profiles.write_text("http://127.0.0.1:9/somebody\n")
    async with Receiver() as receiver:
        services = await replicas(3, VISITOR_PROFILES=str(profiles))
        async with Client(services[2].url) as client:
            account_job = {"account_id": ACCOUNT, "name": "every minute", "schedule": "* * * * *", "type": 1}
            more = {"max_instances": 100, "coalesce": False}
            _, minutely = await client.call("POST", "/api/jobs", account_job | more)
            for name in ("one", "two"):
                webhook = {"job_id": minutely["id"], "url": f"{receiver.url()}/{name}", "method": "POST"}
                assert (await client.call("POST", "/webhooks", webhook))[0] == 201
            bot_job = {
                "name": "every two seconds",
                "bot_type": "visitor",
                "schedule_type": "interval",
                "schedule_config": {"seconds": 2},
                "bot_config": {"dry_run": True},
            }
            status, often = await client.call("POST", "/scheduler/jobs", bot_job | more)
            assert status == 201, often
            await _kill_in_turn(services, asyncio.get_running_loop().time() + SECONDS)
            # From here on nothing fires: what has fired is what was due until then.
            _, disabled = await client.call("PATCH", f"/api/jobs/{minutely['id']}/disable")
            _, toggled = await client.call("POST", f"/scheduler/jobs/{often['id']}/toggle", {"enabled": False})
            minutes = await _history(client, f"/api/jobs/{minutely['id']}/executions?limit=1000")
            runs = await _history(client, f"/scheduler/jobs/{often['id']}/history?limit=200")

        ended = _at(toggled["updated_at"])
        first, step = _at(often["created_at"]), timedelta(seconds=2)
        expected = [first + step * n for n in range(1, 200) if first + step * n <= ended]
        got = sorted(_at(one["scheduled_for"]) for one in runs)
        # The last one may have been due in the very moment.
        assert got in (expected, expected[:-1])
        assert {one["status"] for one in runs} == {"success"}

        start, stop = _at(minutely["created_at"]), _at(disabled["updated_at"])
        minute = start.replace(second=0, microsecond=0, tzinfo=UTC) + timedelta(minutes=1)
        due = []
        while minute <= stop:
            due.append(minute)
            minute += timedelta(minutes=1)
        _assert_one_set_each(minutes, due, webhooks=2)
        # What arrived twice was announced: by the same id, and a higher attempt.
        seen: dict[tuple[str, str], str] = {}
        for request in receiver.requests:
            key = (request.headers["webhook-id"], request.headers["X-Scheduler-Attempt"])
            assert key not in seen
            seen[key] = request.target
