"""What the libraries allow without a scheduler in between; each a process of its own, pinned where the service is.

``server`` answers the same POST after parsing it; with a Redis URL it also writes every record, and what arrived while
one write was on its way goes out as the next, in one command. ``client`` posts to the receiver.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

import aiohttp
import orjson
import uvloop
from aiohttp import web
from redis.asyncio import Redis

from bench.messages import payload


class Writer:
    """Sends records as one ``MSET`` at a time."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    def write(self, key: str, record: bytes) -> asyncio.Future[None]:
        """Return a future that is done once Redis has said yes."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, record, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._redis.mset({key: record for key, record, _ in batch})
            for _, _, future in batch:
                future.set_result(None)
        self._task = None


async def serve(redis_url: str | None) -> None:
    """Serve until killed; the port is the first line of the output."""
    writer = Writer(Redis.from_url(redis_url)) if redis_url else None

    async def accept(request: web.Request) -> web.Response:
        body = await request.read()
        message = orjson.loads(body)
        if writer is not None:
            await writer.write(f"message:{message['id']}", body)
        answer = {"status": "scheduled", "messageId": message["id"], "scheduledFor": message["scheduleTo"]}
        return web.Response(body=orjson.dumps(answer), status=201, content_type="application/json")

    app = web.Application()
    app.router.add_post("/messages", accept)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def deliver(port: int, count: int, concurrency: int) -> None:
    """Post ``count`` messages; requests a second and CPU seconds each are the output."""
    numbers = itertools.count()
    url = f"http://127.0.0.1:{port}/hook"
    body = payload(0)

    async def work(session: aiohttp.ClientSession) -> None:
        while (number := next(numbers)) < count:
            headers = {
                "User-Agent": "bench",
                "Content-Type": "application/json",
                "webhook-id": "msg_0123456789abcdef0123456789abcdef",
                "webhook-timestamp": "1700000000",
                "X-Scheduler-Message-Id": f"c-{number:07d}",
            }
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                await response.read()

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        began, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work(session) for _ in range(concurrency)))
        print(count / (time.perf_counter() - began), (time.process_time() - used) / count, flush=True)


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "server":
        uvloop.run(serve(rest[0] if rest else None))
    elif role == "client":
        uvloop.run(deliver(*map(int, rest)))
    else:
        sys.exit(f"{Path(__file__).name}: no such role: {role}")
