"""What is left of an exchange when it is over: nothing, also before the garbage collector comes, as it rarely does."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator, Iterator

import pytest
from httptools import HttpResponseParser

from aioscheduler.clock import SystemClock
from aioscheduler.domain.target import check_url
from aioscheduler.engine.guard import Guard
from aioscheduler.engine.transport import Exchange, NoAnswer, Transport
from tests.support.transports import WIRE, FakeResolver, make_transport


class Watched(Exchange):
    """One that can be referred to weakly."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = make_transport(WIRE, resolver=FakeResolver(two_test=["127.0.0.1", "127.0.0.2"]))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Yield the port of a receiver that answers once over each connection, to whatever comes."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
def nobody() -> Iterator[int]:
    """Yield a port nobody listens at."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def exchanged(transport: Transport, url: str) -> tuple[str | None, weakref.ref[Watched]]:
    exchange = Watched(SystemClock(), Guard(block_private=False), check_url(url))
    exchange.body = b"{}"
    try:
        await transport.exchange(exchange)
    except NoAnswer as failure:
        return str(failure), weakref.ref(exchange)
    return None, weakref.ref(exchange)


@pytest.mark.parametrize("host", ["127.0.0.1", "two.test"])
async def test_nothing_holds_what_could_not_connect(transport: Transport, nobody: int, host: str) -> None:
    said, exchange = await exchanged(transport, f"http://{host}:{nobody}/")
    assert said == "connection refused"
    assert exchange() is None


async def test_nothing_holds_what_the_policy_forbids(transport: Transport) -> None:
    said, exchange = await exchanged(transport, "http://169.254.1.1/")
    assert said is not None
    assert exchange() is None


async def test_nothing_holds_what_no_secure_connection_came_about_for(transport: Transport, port: int) -> None:
    said, exchange = await exchanged(transport, f"https://127.0.0.1:{port}/")
    assert said is not None
    assert said.startswith("TLS handshake failed")
    assert exchange() is None


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nothing_holds_the_reader_of_a_connection_that_is_closed(
    transport: Transport, port: int, scheme: str
) -> None:
    before = parsers()
    await exchanged(transport, f"{scheme}://127.0.0.1:{port}/")
    await transport.stop()
    assert parsers() == before


def parsers() -> int:
    return sum(isinstance(there, HttpResponseParser) for there in gc.get_objects())
