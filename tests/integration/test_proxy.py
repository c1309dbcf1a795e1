"""Attempts through an HTTP proxy: what it gets, what the receiver gets, and whose failure is whose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from aioscheduler.app import build_app
from aioscheduler.clock import SystemClock
from aioscheduler.config import load_settings
from aioscheduler.domain.execution import DeadReason, Outcome, OutcomeKind
from aioscheduler.engine.delivery import Deliverer, Request
from aioscheduler.engine.guard import Guard
from tests.support.certificates import server_context
from tests.support.client import Client, now_ms
from tests.support.misbehaving import Misbehaving, Peer
from tests.support.processes import TOKEN, free_port
from tests.support.proxy import Proxy
from tests.support.receiver import Answer, Receiver
from tests.support.redis_server import RedisServer
from tests.support.transports import AIOHTTP, FakeResolver, ask, make_deliverer

NO_NAMES = FakeResolver()
BOT_JOB = {
    "name": "visits",
    "bot_type": "visitor",
    "schedule_type": "daily",
    "schedule_config": {"hour": 3, "minute": 0},
}


@asynccontextmanager
async def through(proxy: str, **settings: Any) -> AsyncIterator[Deliverer]:
    """Deliver through a proxy; no name resolves here."""
    deliverer = make_deliverer(AIOHTTP, proxy=proxy, **{"resolver": NO_NAMES, "trusting": True, **settings})
    await deliverer.start()
    try:
        yield deliverer
    finally:
        await deliverer.stop()


async def deliver(proxy: str, request: Request, **settings: Any) -> Outcome:
    async with through(proxy, **settings) as deliverer:
        return await deliverer.attempt(request)


async def test_a_request_to_a_plain_target_is_handed_to_the_proxy_with_its_whole_url() -> None:
    async with Proxy(user="us:er", password="p@ß") as proxy, Receiver() as receiver:
        async with through(proxy.url("us%3Aer:p%40%C3%9F")) as deliverer:
            for _ in range(2):
                outcome = await deliverer.attempt(ask(receiver.url("/a%2fb?c=d", host="hook.test"), keep_bytes=10))
        assert (outcome.response_code, outcome.body) == (200, b"ok")
        assert proxy.asked == [f"POST http://hook.test:{receiver.port}/a%2fb?c=d HTTP/1.1"] * 2
        assert proxy.connections == 1, "kept"
        assert len(receiver.requests) == 2
        assert receiver.requests[0].target == "/a%2fb?c=d"
        assert receiver.requests[0].headers["Host"] == f"hook.test:{receiver.port}"
        assert not [name for name in receiver.requests[0].headers if "proxy" in name.lower()]


async def test_a_request_to_a_secure_target_goes_through_a_tunnel_that_the_proxy_cannot_look_into() -> None:
    async with Proxy(user="me", password="secret") as proxy, Receiver(tls=server_context()) as receiver:
        async with through(proxy.url("me:secret")) as deliverer:
            for _ in range(2):
                outcome = await deliverer.attempt(ask(receiver.url(host="hook.test")))
                assert (outcome.response_code, outcome.error) == (200, None)
        assert proxy.asked == [f"CONNECT hook.test:{receiver.port} HTTP/1.1"], "one tunnel, kept"
        assert [sorted(request.headers) for request in receiver.requests] == [sorted(receiver.requests[0].headers)] * 2
        assert not [name for name in receiver.requests[0].headers if "proxy" in name.lower()]


async def test_a_certificate_is_verified_through_the_tunnel() -> None:
    async with Proxy() as proxy, Receiver(tls=server_context()) as receiver:
        outcome = await deliver(proxy.url(), ask(receiver.url(host="evil.test")))
        assert outcome.error is not None
        assert outcome.error.startswith("TLS certificate not accepted: ")
        assert not receiver.requests


@pytest.mark.parametrize("userinfo", ["", "me:hush"])
@pytest.mark.parametrize("tls", [False, True])
async def test_refused_credentials_are_a_failure_that_is_not_the_receivers(userinfo: str, tls: bool) -> None:
    context = server_context() if tls else None
    async with Proxy(user="me", password="secret") as proxy, Receiver(tls=context) as receiver:
        outcome = await deliver(proxy.url(userinfo), ask(receiver.url(host="hook.test")))
        assert (outcome.kind, outcome.response_code) == (OutcomeKind.FAILURE, None)
        assert outcome.error == "the proxy refused our credentials (407)"
        assert not receiver.requests


async def test_a_407_from_inside_a_tunnel_is_the_receivers() -> None:
    async with Proxy() as proxy, Receiver(Answer(status=407), tls=server_context()) as receiver:
        outcome = await deliver(proxy.url(), ask(receiver.url(host="hook.test")))
        assert (outcome.response_code, outcome.error) == (407, "HTTP 407")


async def test_a_tunnel_that_the_proxy_does_not_open_is_a_failure_without_a_status() -> None:
    async with Proxy(answer=b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as proxy:
        outcome = await deliver(proxy.url(), ask("https://hook.test/"))
        assert (outcome.response_code, outcome.error) == (None, "the proxy answered CONNECT with 502")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_away_is_named_and_its_credentials_are_not(scheme: str) -> None:
    proxy = f"http://me:hush@127.0.0.1:{free_port()}"
    outcome = await deliver(proxy, ask(f"{scheme}://hook.test/"))
    assert (outcome.kind, outcome.sent_at) == (OutcomeKind.FAILURE, None)
    assert outcome.error == "no connection to the proxy: connection refused"
    lost = await deliver("http://me:hush@proxy.test:3128", ask(f"{scheme}://hook.test/"))
    assert lost.error == "no connection to the proxy: its name does not resolve"


async def test_the_time_limit_holds_while_a_tunnel_is_opened() -> None:
    async def serve(peer: Peer) -> None:
        await peer.until_closed()

    async with Misbehaving(serve) as proxy:
        outcome = await deliver(proxy.url(""), ask("https://hook.test/", timeout_seconds=0.05))
        assert outcome.kind is OutcomeKind.TIMED_OUT
        await proxy.until(lambda: proxy.open == 0)


@pytest.mark.parametrize("host", ["169.254.169.254", "metadata.google.internal", "10.1.2.3", "localhost", "2130706433"])
async def test_what_a_url_itself_says_is_judged_before_the_proxy_is_asked(host: str) -> None:
    async with Proxy() as proxy:
        outcome = await deliver(proxy.url(), ask(f"http://{host}/"), guard=Guard(block_private=True))
        assert outcome.permanent is DeadReason.REJECTED_BY_POLICY
        assert not proxy.asked


async def test_the_proxy_itself_may_be_private() -> None:
    async with Proxy() as proxy, Receiver() as receiver:
        outcome = await deliver(proxy.url(), ask(receiver.url(host="hook.test")), guard=Guard(block_private=True))
        assert outcome.response_code == 200


async def test_with_the_setting_messages_and_bots_go_through_the_proxy() -> None:
    """The service resolves no name: it could not find ``hook.test``."""
    async with Proxy(user="me", password="secret") as proxy, Receiver() as receiver:
        receiver.respond = lambda request: Answer(body=receiver.url("/profile", host="hook.test").encode())
        environment = {
            "API_TOKEN": TOKEN,
            "REDIS_URL": "redis://unused",
            "WEBHOOK_PROXY": proxy.url("me:secret"),
            "VISITOR_PROFILES": receiver.url("/profiles.txt", host="hook.test"),
            "VISITOR_DELAY_SECONDS": "0",
        }
        with closing(RedisServer()) as server:
            server.start()
            async with Redis.from_url(server.url) as store:
                runner = web.AppRunner(build_app(load_settings(environment), SystemClock(), store))
                await runner.setup()
                try:
                    await web.TCPSite(runner, "127.0.0.1", 0).start()
                    async with Client(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
                        await client.schedule("m", now_ms(), receiver.url(host="hook.test"))
                        await receiver.wait_for(1)
                        _, job = await client.call("POST", "/scheduler/jobs", BOT_JOB)
                        await client.call("POST", f"/scheduler/jobs/{job['id']}/run")
                        await receiver.wait_for(3)
                finally:
                    await runner.cleanup()
        at = f"http://hook.test:{receiver.port}"
        lines = [f"POST {at}/hook HTTP/1.1", f"GET {at}/profiles.txt HTTP/1.1", f"GET {at}/profile HTTP/1.1"]
        assert proxy.asked == lines
