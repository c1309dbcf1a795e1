"""One destination hangs, with much waiting for it; another is well."""

from __future__ import annotations

import aiohttp

from tests.e2e.conftest import Replicas
from tests.support.client import Client, now_ms
from tests.support.processes import HEADERS
from tests.support.receiver import Answer, Receiver


async def test_what_hangs_delays_nobody_else(replicas: Replicas) -> None:
    async with Receiver() as healthy, Receiver() as hanging:
        hanging.respond = lambda _: Answer(hang=True)
        [service] = await replicas(1, SHUTDOWN_GRACE_SECONDS="0")
        async with Client(service.url) as client:
            await client.schedule_many([(f"stuck{i}", now_ms() - 1) for i in range(300)], hanging.url())
            await hanging.wait_for(100)
            due = {f"m{i}": int(now_ms()) + 300 + 5 * i for i in range(200)}
            await client.schedule_many(list(due.items()), healthy.url())
            requests = await healthy.wait_for(200)
        lateness = sorted(each.at_ms - due[each.headers["X-Scheduler-Message-Id"]] for each in requests)
        assert lateness[0] >= 0
        # Generous, for a machine that stalls: the others hang for 30 seconds.
        assert lateness[-1] < 15_000
        assert len(hanging.requests) == 100, "no more than may go to one destination"
        headers = HEADERS | {"Accept": "text/plain"}
        async with aiohttp.request("GET", f"{service.url}/metrics", headers=headers) as response:
            exposed = (await response.text()).splitlines()
        assert "aioscheduler_circuits_open 0.0" in exposed
        assert "aioscheduler_circuits_opened_total 0.0" in exposed
        assert "aioscheduler_in_flight 100.0" in exposed
