"""Exchanges over HTTP/1.1 on connections of our own, at a fraction of what a general client costs."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any, Final, NamedTuple

from aiohappyeyeballs import start_connection
from aiohttp.abc import AbstractResolver

from aioscheduler.clock import Clock
from aioscheduler.domain.target import Destination
from aioscheduler.engine.answer import AnswerReader, Malformed
from aioscheduler.engine.guard import Guard, host_of, literal_address
from aioscheduler.engine.names import Address, Names, ThreadResolver
from aioscheduler.engine.tls import ResumingContext, default_context
from aioscheduler.engine.transport import (
    KEEP_ALIVE,
    Exchange,
    NoAnswer,
    NotSent,
    certificate_refused,
    describe,
    handshake_failed,
)
from aioscheduler.store.base import Receipt

#: Idle connections at most, to all destinations; the one that is idle longest goes first.
MAX_IDLE: Final = 512
#: How often idle connections are looked through, and after what time without success the next address of a host is
#: tried beside the one before (RFC 8305), in seconds.
SWEEP_SECONDS: Final = 5
NEXT_ADDRESS_SECONDS: Final = 0.25
#: Connections opened ahead: idle ones of a destination, and being opened at a time, at most; how long opening may take,
#: and how long a destination where it failed is left alone, in seconds.
MAX_WARM: Final = 8
MAX_WARMING: Final = 100
WARM_SECONDS: Final = 2
COLD_SECONDS: Final = 30
#: How long a stop waits for connections to close, in seconds; they do at once.
CLOSING_SECONDS: Final = 1
#: The attempt's own time limit counts; asyncio insists on another.
_HANDSHAKE_SECONDS: Final = 86_400.0

_CLOSED: Final = "connection closed before an answer"
#: RFC 9110 section 8.6: without a body these say nothing about its length, since none is expected.
_NO_LENGTH: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HALF_CLOSED: Final = getattr(select, "POLLRDHUP", 0)  # Linux has it


class WireTransport:
    """Exchanges on kept connections, the latest used first.

    Nothing is ever sent again, since a request that was written may have been acted upon. What is replaced is a kept
    connection that turns out closed, or to hold bytes nobody asked for, before anything was written to it.

    :param max_connections: connections in use at once, 0 for any number
    :param resolver: for tests
    :param tls: for tests; by default certificates are judged by the machine's authorities
    """

    def __init__(
        self,
        *,
        clock: Clock,
        max_connections: int,
        resolver: AbstractResolver | None = None,
        tls: ResumingContext | None = None,
    ) -> None:
        self._clock = clock
        self._limit = max_connections
        self._resolver = resolver
        self._tls = tls
        self._own_resolver: ThreadResolver | None = None
        self._names: Names | None = None
        self._in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._open: set[_Connection] = set()
        #: By destination the latest at the end; and all, the one that is idle longest first.
        self._idle: dict[Destination, list[_Connection]] = {}
        self._by_age: dict[_Connection, float] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._lost = asyncio.Event()
        self._warming: dict[asyncio.Task[None], Destination] = {}
        #: Where a connection could not be opened ahead, and when.
        self._cold: dict[Destination, float] = {}

    async def start(self) -> None:
        if self._names is not None:
            return
        if self._resolver is None:
            self._own_resolver = ThreadResolver()
        self._names = Names(self._resolver or self._own_resolver or ThreadResolver(), self._clock)
        if self._tls is None:
            self._tls = default_context()

    async def stop(self) -> None:
        names, self._names = self._names, None
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(NoAnswer("connection failed"))
        self._waiting.clear()
        warming = list(self._warming)
        for task in warming:
            task.cancel()
        if warming:
            await asyncio.wait(warming)
        if names is not None:
            await names.close()
        if self._own_resolver is not None:
            await self._own_resolver.close()
            self._own_resolver = None
        for connection in list(self._open):
            connection.abort()
        # A transport that is not waited for would be closed after its loop.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                while self._open:
                    self._lost.clear()
                    await self._lost.wait()

    def send(self, exchange: Exchange, receipt: Receipt[None]) -> _Connection | None:
        if self._names is None or 0 < self._limit <= self._in_use:
            return None
        connection = self._kept(exchange.destination)
        if connection is not None:
            try:
                request = _request(exchange)
            except ValueError:
                self.keep(connection)
                raise
            connection.send(exchange, request, receipt, counted=self._limit > 0)
            self._in_use += self._limit > 0
        return connection

    async def exchange(self, exchange: Exchange) -> None:
        if self._names is None:
            raise RuntimeError("not started")
        request = _request(exchange)
        if self._limit:
            if self._in_use >= self._limit:
                await self._turn()
            else:
                self._in_use += 1
        try:
            connection = self._kept(exchange.destination)
            if connection is None:
                connection = await self._connect(exchange, self._names)
                if exchange.right is not None:
                    try:
                        await exchange.renew()
                    except BaseException:
                        self.keep(connection)
                        raise
            answered = asyncio.get_running_loop().create_future()
            connection.send(exchange, request, answered)
            try:
                await answered
            except asyncio.CancelledError:
                connection.give_up(exchange)
                raise
        finally:
            if self._limit:
                self.pass_on()

    # -- how many at once --

    async def _turn(self) -> None:
        """Wait until a connection may be used; those who came before come first."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self.pass_on()
            raise

    def pass_on(self) -> None:
        """A connection is used no longer: the next who waits may use one."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        self._in_use -= 1

    # -- connections that are kept --

    def _kept(self, destination: Destination) -> _Connection | None:
        """Take a kept connection that nothing is known to be wrong with."""
        connections = self._idle.get(destination)
        while connections:
            connection = connections.pop()
            since = self._by_age.pop(connection)
            if self._clock.monotonic() - since < KEEP_ALIVE and connection.usable():
                return connection
            connection.abort()
        return None

    def keep(self, connection: _Connection) -> None:
        """Take a connection back that is fit for another request."""
        if self._names is None:
            connection.abort()
            return
        if len(self._by_age) >= MAX_IDLE:
            self._close(next(iter(self._by_age)))
        self._by_age[connection] = self._clock.monotonic()
        connections = self._idle.get(connection.destination)
        if connections is None:
            self._idle[connection.destination] = [connection]
        else:
            connections.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _close(self, connection: _Connection) -> None:
        self._forget(connection)
        connection.abort()

    def _forget(self, connection: _Connection) -> None:
        if self._by_age.pop(connection, None) is not None:
            self._idle[connection.destination].remove(connection)

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        while self._by_age and now - next(iter(self._by_age.values())) >= KEEP_ALIVE:
            self._close(next(iter(self._by_age)))
        for destination in [destination for destination, kept in self._idle.items() if not kept]:
            del self._idle[destination]
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep) if self._by_age else None

    def made(self, connection: _Connection) -> None:
        """A connection is open."""
        self._open.add(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection is closed, by whichever side."""
        self._forget(connection)
        self._open.discard(connection)
        connection.reader.close()
        self._lost.set()

    # -- connections opened ahead --

    def warm(self, destination: Destination, count: int, guard: Guard) -> None:
        names = self._names
        if names is None or self._clock.monotonic() - self._cold.get(destination, float("-inf")) < COLD_SECONDS:
            return
        there = len(self._idle.get(destination, ())) + sum(other == destination for other in self._warming.values())
        opening = len(self._warming)
        room = min(min(count, MAX_WARM) - there, MAX_WARMING - opening, MAX_IDLE - len(self._by_age) - opening)
        for _ in range(room):
            task = asyncio.get_running_loop().create_task(self._open_ahead(destination, guard, names))
            self._warming[task] = destination
            task.add_done_callback(self._warming.__delitem__)

    async def _open_ahead(self, destination: Destination, guard: Guard, names: Names) -> None:
        try:
            async with asyncio.timeout(WARM_SECONDS):
                self.keep(await self._connect(Exchange(self._clock, guard, destination), names))
        except (NoAnswer, TimeoutError):
            # The attempt will meet the same, and say so.
            self._cold.pop(destination, None)
            self._cold[destination] = self._clock.monotonic()
            if len(self._cold) > MAX_IDLE:
                del self._cold[next(iter(self._cold))]

    # -- new connections --

    async def _connect(self, exchange: Exchange, names: Names) -> _Connection:
        origin = _origin(exchange.destination)
        monotonic = self._clock.monotonic
        begun = monotonic()
        addresses = origin.addresses
        if not addresses:
            addresses = await names.addresses(exchange.host)
            exchange.dns_seconds = monotonic() - begun
            if not addresses:
                raise NoAnswer("name does not resolve")
        begun = monotonic()
        # A failure may stand in a frame of its own traceback, and the body in another: together they would stay until
        # the garbage collector comes, which is rarely.
        try:
            opened = await _open_socket(exchange, addresses, origin.port)
            exchange.connect_seconds = monotonic() - begun
            begun = monotonic()
            connection = await self._adopt(opened, exchange.destination, origin)
        except ssl.SSLCertVerificationError as failure:
            raise NoAnswer(certificate_refused(failure)) from failure.with_traceback(None)
        except ssl.SSLError as failure:
            raise NoAnswer(handshake_failed(failure)) from failure.with_traceback(None)
        except TimeoutError as failure:
            raise NoAnswer("connection timed out") from failure.with_traceback(None)
        except OSError as failure:
            raise NoAnswer(describe(failure)) from failure.with_traceback(None)
        if origin.secure:
            exchange.tls_seconds = monotonic() - begun
        if self._names is not names or connection.is_closing():
            connection.abort()
            raise NoAnswer(_CLOSED)
        return connection

    async def _adopt(self, opened: socket.socket, destination: Destination, origin: _Origin) -> _Connection:
        """Make a connection of a socket, which the loop closes if nothing comes of it."""
        connection = _Connection(self, destination, opened, origin)
        loop = asyncio.get_running_loop()
        try:
            if origin.secure:
                assert self._tls is not None, "started"
                await loop.create_connection(
                    lambda: connection,
                    sock=opened,
                    ssl=self._tls,
                    server_hostname=origin.name,
                    ssl_handshake_timeout=_HANDSHAKE_SECONDS,
                )
            else:
                await loop.create_connection(lambda: connection, sock=opened)
        except BaseException:
            # uvloop tells nobody of a connection that was lost while it was made.
            connection.abort()
            self.lost(connection)
            raise
        return connection

    def learned(self, connection: _Connection, session: ssl.SSLSession | None) -> None:
        """An answer came over a new secure connection, and with it, mostly, what it can be resumed by."""
        assert self._tls is not None, "started"
        self._tls.remember(connection.origin.name, session)


class _Connection(asyncio.Protocol):
    """A connection, idle or with one exchange on it."""

    __slots__ = (
        "_counted",
        "_exchange",
        "_first_at",
        "_pool",
        "_receipt",
        "_session_wanted",
        "_socket",
        "_state",
        "_transport",
        "destination",
        "origin",
        "reader",
    )

    def __init__(self, pool: WireTransport, destination: Destination, opened: socket.socket, origin: _Origin) -> None:
        self.destination = destination
        self.origin = origin
        self._pool = pool
        self._socket = opened
        self._state = select.poll()
        # What is there to read on a secure connection may be of the handshake's aftermath.
        self._state.register(opened, _HALF_CLOSED if origin.secure else _HALF_CLOSED | select.POLLIN)
        self._session_wanted = origin.secure
        self._transport: asyncio.Transport | None = None
        self.reader = AnswerReader()
        self._exchange: Exchange | None = None
        self._receipt: Receipt[None] | None = None
        self._counted = False
        self._first_at: Any = None

    def usable(self) -> bool:
        """Say whether nothing has come since the last answer, not even the news that the receiver has closed."""
        return not self.is_closing() and not self._state.poll(0)

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def abort(self) -> None:
        """Close at once, whatever is under way. May come twice."""
        if self._transport is not None:
            self._transport.abort()

    def send(self, exchange: Exchange, request: bytes, receipt: Receipt[None], *, counted: bool = False) -> None:
        """Write a request; the receipt is for the end of its answer.

        :param counted: its end is the end of one of the connections in use
        :raises NotSent: nothing was written
        """
        transport = self._transport
        assert transport is not None, "connected"
        try:
            exchange.leave()
        except NotSent:
            self._pool.keep(self)
            raise
        self._exchange, self._receipt, self._counted = exchange, receipt, counted
        self._first_at = None
        self.reader.begin(exchange.keep_bytes, exchange.method == "HEAD")
        transport.write(request)

    def give_up(self, exchange: Exchange) -> None:
        """Close, unless the exchange has ended after all, and this may be another one's already."""
        if self._exchange is exchange:
            self._take_off()
            self.abort()

    def _take_off(self) -> Receipt[None] | None:
        """Have no exchange any more; return whom its end is told."""
        receipt, self._exchange, self._receipt = self._receipt, None, None
        if self._counted:
            self._counted = False
            self._pool.pass_on()
        return receipt

    # -- what the loop calls --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport
        self._pool.made(self)

    def data_received(self, data: bytes) -> None:
        exchange, reader = self._exchange, self.reader
        if exchange is None:  # nobody asked for anything
            self.abort()
            return
        if self._first_at is None:
            self._first_at = exchange.clock.now()
        try:
            ended = reader.feed(data)
        except Malformed:
            self._end(NoAnswer("answer is not valid HTTP"))
            self.abort()
            return
        if exchange.status is None:
            if reader.status is None:
                return
            self._note(exchange)
        if exchange.keep_bytes:
            exchange.kept = reader.kept
        if not ended:
            return
        transport = self._transport
        assert transport is not None, "connected"
        # An answer that came before its request had left for good is the last one here.
        if reader.clean and not transport.get_write_buffer_size():
            self._pool.keep(self)
        else:
            transport.abort()
        self._end(None)

    def _note(self, exchange: Exchange) -> None:
        reader = self.reader
        exchange.answered_at, exchange.status = self._first_at, reader.status
        if exchange.status is not None and exchange.status >= 300:
            exchange.location = reader.header(b"location")
            exchange.retry_after = reader.header(b"retry-after")
        if self._session_wanted:
            self._session_wanted = False
            assert self._transport is not None, "connected"
            self._pool.learned(self, self._transport.get_extra_info("ssl_object").session)

    def eof_received(self) -> None:
        self._end(NoAnswer(_CLOSED))
        self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None and self._exchange is not None and not self.origin.secure:
            self._take_what_came(self._exchange)
        self._pool.lost(self)
        self._end(NoAnswer(describe(error) if isinstance(error, OSError) else _CLOSED))

    def _take_what_came(self, exchange: Exchange) -> None:
        """Take what had arrived when a write failed: maybe the answer of one who would not read the whole request."""
        with suppress(OSError):  # that is the end of it
            while self._exchange is exchange and (data := self._socket.recv(2**16)):
                self.data_received(data)

    def _end(self, failure: NoAnswer | None) -> None:
        """End the exchange, if there is one: with what it has, once there is a status."""
        exchange, receipt = self._exchange, self._take_off()
        if receipt is None or receipt.done():
            return
        if failure is None or (exchange is not None and exchange.status is not None):
            receipt.set_result(None)
        else:
            receipt.set_exception(failure)


class _Origin(NamedTuple):
    """What follows from a destination."""

    secure: bool
    port: int
    name: str
    """What the certificate has to name."""
    prefix: str
    """The headers that begin every request."""
    addresses: tuple[Address, ...]
    """The address that the host spells, if it does."""


@lru_cache(maxsize=4096)
def _origin(destination: Destination) -> _Origin:
    scheme, _, authority = destination.partition("://")
    port = int(authority.rpartition(":")[2])
    host = host_of(destination)
    addresses: tuple[Address, ...] = ()
    if (literal := literal_address(host)) is not None:
        host = str(literal)
        addresses = ((socket.AF_INET if isinstance(literal, IPv4Address) else socket.AF_INET6, host),)
    secure = scheme == "https"
    shown = f"[{host}]" if ":" in host else host.rstrip(".")
    at = shown if port == (443 if secure else 80) else f"{shown}:{port}"
    return _Origin(secure, port, host.rstrip("."), f" HTTP/1.1\r\nHost: {at}\r\n", addresses)


def _request(exchange: Exchange) -> bytes:
    """Return a request as it is written.

    :raises ValueError: it would be more, or less, than one
    """
    body, method = exchange.body, exchange.method
    lines = [f"{name}: {value}\r\n" for name, value in exchange.headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}\r\n")
    elif method not in _NO_LENGTH:
        lines.append("Content-Length: 0\r\n")
    head = f"{method} {exchange.path}{_origin(exchange.destination).prefix}{''.join(lines)}\r\n"
    ends = len(lines) + 3
    if (
        head.count("\n") != ends
        or head.count("\r") != ends
        or "\0" in head
        or " " in exchange.path
        or not method.isalpha()
    ):
        raise ValueError("a line break where none may be")
    return head.encode() + body if body else head.encode()


async def _open_socket(exchange: Exchange, addresses: tuple[Address, ...], port: int) -> socket.socket:
    """Connect to the first address that answers; both families take turns.

    :raises OSError: none does, or may be called
    """

    permit = [exchange.permit]

    def permitted(info: Any) -> socket.socket:
        permit[0](info[4][0])
        return socket.socket(info[0], info[1], info[2])

    try:
        return await start_connection(
            [
                (
                    family,
                    socket.SOCK_STREAM,
                    0,
                    "",
                    (address, port) if family == socket.AF_INET else (address, port, 0, 0),
                )
                for family, address in addresses
            ],
            happy_eyeballs_delay=NEXT_ADDRESS_SECONDS,
            interleave=1,
            socket_factory=permitted,
        )
    except RuntimeError as error:  # uvloop's, now and then
        raise OSError("not connected") from error
    finally:
        permit.clear()  # what failed holds this, and this the exchange
