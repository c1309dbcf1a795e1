"""The store's suite on an imitation of Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import fakeredis
import pytest
from redis.asyncio import Redis

from tests.support.stores import Audits as TestAudits
from tests.support.stores import DeadLetters as TestDeadLetters
from tests.support.stores import DeliveryLog as TestDeliveryLog
from tests.support.stores import Leases as TestLeases
from tests.support.stores import Lists as TestLists
from tests.support.stores import Messages as TestMessages
from tests.support.stores import Outsiders as TestOutsiders
from tests.support.stores import Recovery as TestRecovery

__all__ = [
    "TestAudits",
    "TestDeadLetters",
    "TestDeliveryLog",
    "TestLeases",
    "TestLists",
    "TestMessages",
    "TestOutsiders",
    "TestRecovery",
]


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    yield client
    await client.aclose()
