"""Both transports, and attempts on them."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from ssl import SSLContext, create_default_context
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from aioscheduler.clock import Clock, SystemClock
from aioscheduler.domain.execution import Outcome
from aioscheduler.domain.target import WebhookTarget, check_url
from aioscheduler.engine.aiohttp_transport import AiohttpTransport
from aioscheduler.engine.delivery import Deliverer, Request
from aioscheduler.engine.guard import Guard
from aioscheduler.engine.pulse import Pulse
from aioscheduler.engine.signing import Signer
from aioscheduler.engine.tls import resuming
from aioscheduler.engine.transport import Transport
from aioscheduler.engine.wire import WireTransport
from tests.support.certificates import trust

WIRE, AIOHTTP = "wire", "aiohttp"
TRANSPORTS = (WIRE, AIOHTTP)


class FakeResolver(AbstractResolver):
    """Knows the names it is given, and no others."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.addresses:
            raise OSError(socket.EAI_NONAME, "Name or service not known")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self.addresses[host]
        ]

    async def close(self) -> None:
        """Nothing is open."""


def make_transport(
    name: str,
    *,
    clock: Clock | None = None,
    resolver: AbstractResolver | None = None,
    max_connections: int = 100,
    trusting: bool = False,
    proxy: str | None = None,
) -> Transport:
    """Return a transport by its name; ``trusting``: it accepts the certificates of the tests, and no others."""
    assert proxy is None or name == AIOHTTP, "only this one can"
    if name == WIRE:
        context = resuming(create_default_context()) if trusting else None
        if context is not None:
            trust(context)
        return WireTransport(
            clock=clock or SystemClock(), max_connections=max_connections, resolver=resolver, tls=context
        )
    assert name == AIOHTTP, f"no such transport: {name!r}"
    reference: SSLContext | None = None
    if trusting:
        reference = create_default_context()
        reference.set_alpn_protocols(["http/1.1"])
        trust(reference)
    return AiohttpTransport(max_connections=max_connections, resolver=resolver, tls=reference, proxy=proxy)


class Begun(Deliverer):
    """Makes attempts by :meth:`begin`, so that those on kept connections need no task."""

    async def attempt(self, request: Request) -> Outcome:
        told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def ended(result: Outcome | BaseException) -> None:
            assert not told.done() or told.cancelled(), "told once"
            if told.cancelled() or isinstance(result, asyncio.CancelledError):
                told.cancel()
            elif isinstance(result, Outcome):
                told.set_result(result)
            else:
                told.set_exception(result)

        flight = self.begin(request, ended)
        try:
            return await told
        except asyncio.CancelledError:
            if flight is not None:
                flight.cancel()
            raise


def make_deliverer(
    name: str,
    *,
    guard: Guard | None = None,
    signer: Signer | None = None,
    clock: Clock | None = None,
    pulse: Pulse | None = None,
    resolver: AbstractResolver | None = None,
    max_connections: int = 100,
    trusting: bool = False,
    proxy: str | None = None,
) -> Deliverer:
    """Return a deliverer on a transport, not started."""
    return (Begun if name == WIRE else Deliverer)(
        clock=clock or SystemClock(),
        guard=guard or Guard(block_private=False, allow=[]),
        signer=signer,
        pulse=pulse,
        max_connections=max_connections,
        user_agent="aioscheduler/test",
        transport=make_transport(
            name, clock=clock, resolver=resolver, max_connections=max_connections, trusting=trusting, proxy=proxy
        ),
    )


def ask(url: str, body: bytes | None = b'{"a": 1}', **changes: Any) -> Request:
    """Return a request to make."""
    target = WebhookTarget(
        url=url,
        destination=check_url(url),
        method=changes.pop("method", "POST"),
        headers=changes.pop("headers", ()),
    )
    given: dict[str, Any] = {
        "webhook_id": "msg_abc",
        "target": target,
        "body": body,
        "timeout_seconds": 20,
        "attempt": 3,
        "scheduled_for": datetime(2026, 4, 15, 2, 41, 45, 250_000, tzinfo=UTC),
        "identity": (("X-Scheduler-Message-Id", "order-42"),),
    }
    return Request(**given | changes)
