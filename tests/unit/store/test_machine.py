"""The store and its model on an imitation of Redis."""

from __future__ import annotations

import fakeredis
import pytest
from hypothesis.stateful import run_state_machine_as_test
from redis.asyncio import Redis

from tests.support.machine import StoreMachine, bounds, time_limit


class Imitated(StoreMachine):
    """On a server of its own, as every example has."""

    knows_fingerprints = False

    def connect(self) -> Redis:
        return fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())


@pytest.mark.timeout(time_limit())
def test_whatever_happens_the_store_holds_what_the_model_holds() -> None:
    run_state_machine_as_test(Imitated, settings=bounds(18))
