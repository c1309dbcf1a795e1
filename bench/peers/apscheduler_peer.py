"""The service as one would build it on APScheduler 3: a Redis job store, and the asyncio scheduler and executor.

``python apscheduler_peer.py HOST PORT CONNECTIONS``; the port is the first line of the output.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
import uvloop
from aiohttp import web
from apscheduler.jobstores.base import ConflictingIdError
from apscheduler.jobstores.redis import RedisJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler

SESSION: list[aiohttp.ClientSession] = []


async def deliver(message_id: str, url: str, payload: object) -> None:
    """Post one message. Jobs are stored with this function's name, so what it needs is global."""
    headers = {"Content-Type": "application/json", "User-Agent": "bench", "X-Scheduler-Message-Id": message_id}
    async with SESSION[0].post(url, data=orjson.dumps(payload), headers=headers) as response:
        await response.read()
        response.raise_for_status()


async def main(host: str, port: int, connections: int) -> None:
    """Serve until killed."""
    SESSION.append(
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Its executor starts everything that is due at once, and what waits for a connection is not late for us.
            timeout=aiohttp.ClientTimeout(total=None),
        )
    )
    scheduler = AsyncIOScheduler(
        jobstores={"default": RedisJobStore(host=host, port=port)},
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        timezone=UTC,
    )
    scheduler.start()

    def schedule(message: dict[str, Any]) -> None:
        scheduler.add_job(
            deliver,
            "date",
            run_date=datetime.fromisoformat(message["scheduleTo"]),
            args=(message["id"], message["webhookUrl"], message["payload"]),
            id=message["id"],
        )

    async def accept(request: web.Request) -> web.Response:
        message = orjson.loads(await request.read())
        try:
            schedule(message)
        except ConflictingIdError:
            return web.Response(status=409)
        answer = {"status": "scheduled", "messageId": message["id"], "scheduledFor": message["scheduleTo"]}
        return web.Response(body=orjson.dumps(answer), status=201, content_type="application/json")

    async def accept_batch(request: web.Request) -> web.Response:
        messages = orjson.loads(await request.read())["messages"]
        for message in messages:
            schedule(message)
        return web.Response(body=orjson.dumps({"scheduled": len(messages)}), content_type="application/json")

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/messages", accept)
    app.router.add_post("/messages/batch", accept_batch)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
