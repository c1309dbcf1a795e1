"""Look-ups that nobody waits for any more, and those that a stop finds under way."""

from __future__ import annotations

import asyncio
import gc
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from aioscheduler.engine.names import Names
from tests.support.clock import FakeClock


class Slow(AbstractResolver):
    """Answers when it is told to; nothing but the look-up itself holds it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended.set()
        raise AssertionError("for ever")

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_stop_ends_what_is_being_looked_up_and_whoever_waits_for_it() -> None:
    resolver = Slow()
    names = Names(resolver, FakeClock())
    waiting = asyncio.create_task(names.addresses("hook.test"))
    await resolver.asked.wait()
    async with asyncio.timeout(30):
        await names.close()
        assert resolver.ended.is_set(), "nothing goes on after the stop"
        assert await waiting == ()


async def test_a_look_up_is_not_swept_away_while_somebody_waits_for_it() -> None:
    """The loop holds its tasks weakly."""
    resolver = Slow()
    names = Names(resolver, FakeClock())
    waiting = asyncio.create_task(names.addresses("hook.test"))
    await resolver.asked.wait()
    gc.collect()
    assert not resolver.ended.is_set()
    async with asyncio.timeout(30):
        await names.close()
        await waiting
