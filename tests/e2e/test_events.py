"""A stream of events, from a process with notifications and deliveries of its own."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp

from tests.support.events import Events
from tests.support.processes import HEADERS, Service


async def test_a_page_that_follows_sees_what_happens_and_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    async with (
        Service(tmp_path / "one") as service,
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.get(f"{service.url}/events") as response,
        session.get(f"{service.url}/events?kinds=message") as unread,
    ):
        assert unread.status == 200
        events = Events(response)
        assert (await events.of("overview")).data["pending"] == 0
        body = {"id": "m/1", "delay": 0, "payload": {}, "webhookUrl": f"{service.url}/inbox/x"}
        async with session.post(f"{service.url}/messages", json=body) as answer:
            assert answer.status == 201
        delivered = await events.of("delivery")
        assert (delivered.data["messageId"], delivered.data["status"]) == ("m/1", "success")
        for name, delay in (("kept", "1h"), ("other", "1h")):
            async with session.post(f"{service.url}/messages", json=body | {"id": name, "delay": delay}) as answer:
                assert answer.status == 201
        async with session.delete(f"{service.url}/messages/kept") as answer:
            assert answer.status == 200
        wanted = {("m/1", "delivered"), ("kept", "deleted"), ("other", "scheduled")}
        while wanted:
            event = await events.of("message")
            wanted.discard((event.data["id"], event.data["change"]))
        job = {"name": "n", "account_id": "123e4567-e89b-12d3-a456-426614174000", "schedule": "0 2 * * *", "type": 1}
        async with session.post(f"{service.url}/api/jobs", json=job) as answer:
            made = await answer.json()
        assert (await events.of("job")).data == {"id": made["id"], "change": "changed"}

        stopping = asyncio.create_task(service.stop(signal.SIGTERM, within=20))
        while await events.next() is not None:
            pass
        assert await stopping == 0, "a stream has no grace, which is 25 s"
        assert "Unclosed" not in service.stderr
        assert "Traceback" not in service.stderr
