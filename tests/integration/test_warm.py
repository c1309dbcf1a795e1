"""Connections opened before they are needed."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.abc import ResolveResult

from aioscheduler.domain.target import check_url
from aioscheduler.engine.delivery import Deliverer
from aioscheduler.engine.guard import Guard
from aioscheduler.engine.transport import KEEP_ALIVE
from aioscheduler.engine.wire import COLD_SECONDS, MAX_WARM
from tests.support.certificates import server_context
from tests.support.clock import FakeClock
from tests.support.misbehaving import OK, Misbehaving, Peer
from tests.support.transports import AIOHTTP, WIRE, FakeResolver, ask, make_deliverer, make_transport


async def opened(deliverer: Deliverer) -> None:
    """Return once nothing is being opened."""
    while deliverer._transport._warming:  # type: ignore[attr-defined]
        await asyncio.sleep(0)


async def serve(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(OK)


@pytest.mark.parametrize("secure", [False, True])
async def test_an_attempt_finds_the_connection_open_name_and_handshake_included(secure: bool) -> None:
    resolver = FakeResolver(hook_test=["127.0.0.1"])
    deliverer = make_deliverer(WIRE, resolver=resolver, trusting=True)
    await deliverer.start()
    async with Misbehaving(serve, tls=server_context() if secure else None) as receiver:
        url = receiver.url(host="hook.test")
        deliverer.warm(check_url(url), 2)
        await receiver.until(lambda: receiver.open == 2)
        await opened(deliverer)
        assert receiver.requests == []
        outcomes = await asyncio.gather(*(deliverer.attempt(ask(url)) for _ in range(2)))
        assert [each.response_code for each in outcomes] == [200, 200]
        assert sorted(receiver.connections) == [1, 2]
        assert resolver.asked == ["hook.test"]
        assert receiver.open == 2
        await deliverer.stop()
        await receiver.until(lambda: receiver.open == 0)


async def test_no_more_are_opened_than_are_wanted_and_not_there() -> None:
    deliverer = make_deliverer(WIRE)
    await deliverer.start()
    async with Misbehaving(serve) as receiver:
        destination = check_url(receiver.url())
        for count in (1, 1, 3, 3):
            deliverer.warm(destination, count)
        await receiver.until(lambda: receiver.open == 3)
        for _ in range(3):
            deliverer.warm(destination, 1000)
        await receiver.until(lambda: receiver.open == MAX_WARM)
        await asyncio.gather(*(deliverer.attempt(ask(receiver.url())) for _ in range(MAX_WARM)))
        assert len(receiver.peers) == MAX_WARM
        await deliverer.stop()
        await receiver.until(lambda: receiver.open == 0)


async def test_all_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.engine.wire.MAX_WARMING", 5)
    deliverer = make_deliverer(WIRE)
    await deliverer.start()
    async with Misbehaving(serve) as one, Misbehaving(serve) as two:
        deliverer.warm(check_url(one.url()), 4)
        deliverer.warm(check_url(two.url()), 4)
        await one.until(lambda: one.open == 4)
        await two.until(lambda: two.open == 1)
        monkeypatch.setattr("aioscheduler.engine.wire.MAX_IDLE", 6)
        await opened(deliverer)
        deliverer.warm(check_url(two.url()), 4)
        await two.until(lambda: two.open == 2)
        assert len(one.peers) == 4, "nobody's was closed for it"
        await deliverer.stop()
        await two.until(lambda: two.open == 0)


async def test_one_that_nobody_uses_is_closed_as_every_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.engine.wire.SWEEP_SECONDS", 0.01)
    clock = FakeClock()
    deliverer = make_deliverer(WIRE, clock=clock)
    await deliverer.start()
    async with Misbehaving(serve) as receiver:
        deliverer.warm(check_url(receiver.url()), 1)
        await receiver.until(lambda: receiver.open == 1)
        await opened(deliverer)
        clock.move(KEEP_ALIVE)
        await receiver.until(lambda: receiver.open == 0)
        await deliverer.stop()
        await receiver.until(lambda: receiver.open == 0)


@pytest.mark.parametrize("allow", [[], ["hook.test"]])
async def test_none_is_opened_to_what_the_guard_refuses(allow: list[str]) -> None:
    resolver = FakeResolver(hook_test=["127.0.0.1", "169.254.169.254"])
    deliverer = make_deliverer(WIRE, guard=Guard(block_private=True, allow=allow), resolver=resolver)
    await deliverer.start()
    async with Misbehaving(serve) as receiver:
        deliverer.warm(check_url(receiver.url()), 1)
        assert not deliverer._transport._warming, "its URL says so"  # type: ignore[attr-defined]
        deliverer.warm(check_url(receiver.url(host="hook.test")), 1)
        await opened(deliverer)
        await receiver.until(lambda: receiver.open == len(allow))
        assert len(deliverer._transport._open) == len(allow)  # type: ignore[attr-defined]
        await deliverer.stop()
        await receiver.until(lambda: receiver.open == 0)


async def test_what_cannot_be_opened_is_left_alone_for_a_while_and_nothing_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, resolver = FakeClock(), FakeResolver()
    deliverer = make_deliverer(WIRE, clock=clock, resolver=resolver)
    await deliverer.start()
    destination = check_url("http://nowhere.test/")
    for seconds, asked in ((0.0, 1), (COLD_SECONDS - 1, 1), (1, 2)):
        clock.move(seconds)
        deliverer.warm(destination, 3)
        await opened(deliverer)
        assert len(resolver.asked) == asked
    assert caplog.records == []
    await deliverer.stop()


async def test_a_stop_ends_what_is_being_opened() -> None:
    class Never(FakeResolver):
        async def resolve(self, *_: object) -> list[ResolveResult]:
            await asyncio.Event().wait()
            raise AssertionError

    resolver = Never()
    deliverer = make_deliverer(WIRE, resolver=resolver)
    deliverer.warm(check_url("http://hook.test/"), 1)
    assert not deliverer._transport._warming, "not started"  # type: ignore[attr-defined]
    await deliverer.start()
    deliverer.warm(check_url("http://hook.test/"), 2)
    assert len(deliverer._transport._warming) == 2  # type: ignore[attr-defined]
    await deliverer.stop()
    assert not deliverer._transport._warming  # type: ignore[attr-defined]


async def test_the_reference_does_not_mind() -> None:
    transport = make_transport(AIOHTTP)
    transport.warm(check_url("http://hook.test/"), 2, Guard(block_private=False))
