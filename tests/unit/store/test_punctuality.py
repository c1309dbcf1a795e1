"""The store's suite about punctuality on an imitation of Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import fakeredis
import pytest
from redis.asyncio import Redis

from tests.support.lateness import Punctualities as TestPunctualities

__all__ = ["TestPunctualities"]


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    yield client
    await client.aclose()
