"""The store's suite about jobs on an imitation of Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import fakeredis
import pytest
from redis.asyncio import Redis

from tests.support.job_stores import ByHand as TestByHand
from tests.support.job_stores import Claims as TestClaims
from tests.support.job_stores import Definitions as TestDefinitions
from tests.support.job_stores import Firing as TestFiring
from tests.support.job_stores import History as TestHistory
from tests.support.job_stores import JobArchive as TestJobArchive
from tests.support.job_stores import JobAudits as TestJobAudits
from tests.support.job_stores import NeverStuck as TestNeverStuck
from tests.support.job_stores import Settling as TestSettling
from tests.support.job_stores import Upkeep as TestUpkeep
from tests.support.job_stores import Webhooks as TestWebhooks

__all__ = [
    "TestByHand",
    "TestClaims",
    "TestDefinitions",
    "TestFiring",
    "TestHistory",
    "TestJobArchive",
    "TestJobAudits",
    "TestNeverStuck",
    "TestSettling",
    "TestUpkeep",
    "TestWebhooks",
]


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    yield client
    await client.aclose()
