"""Stopping at whatever moment of the start."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from aioscheduler.app import build_app
from aioscheduler.clock import SystemClock
from aioscheduler.config import Settings
from aioscheduler.store.connect import connect
from tests.support.redis_server import RedisServer


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
async def test_a_stop_that_meets_the_first_connections_does_not_hang(redis_server: RedisServer, turns: int) -> None:
    client = connect(url=redis_server.url)
    runner = web.AppRunner(build_app(Settings(api_token="token"), SystemClock(), client))
    await runner.setup()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await runner.cleanup()
    await client.aclose()
