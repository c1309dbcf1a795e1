"""Exchanges by the aiohttp client: through an HTTP proxy, and as the reference our own transport is held against."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from aioscheduler.domain.target import Destination
from aioscheduler.engine.guard import Guard, host_of, literal_address
from aioscheduler.engine.names import ThreadResolver
from aioscheduler.engine.transport import (
    DNS_TTL,
    KEEP_ALIVE,
    MAX_ANSWER_BYTES,
    Exchange,
    NoAnswer,
    NotSent,
    certificate_refused,
    describe,
    handshake_failed,
)
from aioscheduler.store.base import Receipt

_PROXY_AUTHENTICATION_REQUIRED: Final = 407
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)

#: The connector's hooks find the exchange by context, since they run on its behalf.
_exchange: ContextVar[Exchange] = ContextVar("exchange")


class AiohttpTransport:
    """Exchanges by the aiohttp client.

    :param max_connections: connections in use at once, 0 for any number
    :param resolver: for tests
    :param tls: for tests; by default certificates are judged by the machine's authorities
    :param proxy: the URL of an HTTP proxy that every request goes through, ``https`` by CONNECT. The proxy resolves the
        names then, so that no address is judged here; failures that are its own are told as such
    """

    def __init__(
        self,
        *,
        max_connections: int,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        self._max_connections = max_connections
        self._proxy: URL | None = None
        self._proxy_headers: dict[str, str] = {}
        if proxy is not None:
            self._proxy, self._proxy_headers = _split_proxy(proxy)
        self._resolver = resolver
        self._tls = tls
        self._own_resolver: ThreadResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        if self._session is not None:
            return
        if self._resolver is None:
            self._own_resolver = ThreadResolver()
        connector = aiohttp.TCPConnector(
            limit=self._max_connections,
            keepalive_timeout=KEEP_ALIVE,
            ttl_dns_cache=DNS_TTL,
            resolver=self._resolver or self._own_resolver,
            socket_factory=_open_socket if self._proxy is None else _open_any_socket,
            ssl=self._tls or True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=_NO_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            request_class=_WireRequest,
        )
        # By default GET, PUT and DELETE are sent again, unasked, when a kept connection turns out to be closed.
        self._session._retry_connection = False

    async def stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        if self._own_resolver is not None:
            await self._own_resolver.close()

    def warm(self, destination: Destination, count: int, guard: Guard) -> None:
        """Do nothing: the client opens connections when it needs them."""

    def send(self, exchange: Exchange, receipt: Receipt[None]) -> None:
        """Leave everything to :meth:`exchange`."""

    async def exchange(self, exchange: Exchange) -> None:
        if self._session is None:
            raise RuntimeError("not started")
        _exchange.set(exchange)
        try:
            await self._make(self._session, exchange)
        except TimeoutError:
            raise NoAnswer("connection timed out") from None
        except (aiohttp.ClientError, OSError) as failure:
            raise NoAnswer(_describe(failure, self._proxy is not None)) from failure

    async def _make(self, session: aiohttp.ClientSession, exchange: Exchange) -> None:
        response = await session.request(
            exchange.method,
            # As it is: what was encoded stays so, and nothing else is.
            URL(_origin(exchange.destination) + exchange.path, encoded=True),
            data=None if exchange.body is None else aiohttp.BytesPayload(exchange.body),
            allow_redirects=False,
            proxy=self._proxy,
            proxy_headers=self._proxy_headers,
        )
        if (
            response.status == _PROXY_AUTHENTICATION_REQUIRED
            and self._proxy is not None
            and not exchange.destination.startswith("https:")
        ):
            response.close()
            raise NoAnswer(_CREDENTIALS_REFUSED)
        exchange.answered_at = exchange.clock.now()
        exchange.status = response.status
        exchange.location = response.headers.get(hdrs.LOCATION)
        exchange.retry_after = response.headers.get(hdrs.RETRY_AFTER)
        keep = exchange.keep_bytes
        if response.connection is None:  # the whole answer is there already
            if keep:
                exchange.kept = response.content.read_nowait(keep)
            return
        try:
            left, content = max(MAX_ANSWER_BYTES, keep), response.content
            while left > 0 and not content.at_eof():
                chunk = await content.readany()
                left -= len(chunk)
                if keep:
                    exchange.kept += chunk[:keep]
                    keep -= min(keep, len(chunk))
        finally:
            response.close()  # no effect on a connection that went back to the pool when the body ended


def _open_socket(info: tuple[Any, ...]) -> socket.socket:
    """Open a socket for the very address that is connected to next, if the guard lets it pass."""
    family, kind, protocol, _, address = info
    _exchange.get().permit(address[0])
    return socket.socket(family, kind, protocol)


def _open_any_socket(info: tuple[Any, ...]) -> socket.socket:
    """Open a socket to the proxy, which the operator chose and the guard does not judge."""
    return socket.socket(*info[:3])


class _WireRequest(aiohttp.ClientRequest):
    """aiohttp's request, without what nobody asked for, and with the instant at which it is written.

    ``sent_at`` is taken when a connection is there and the request is handed to it: the bytes follow in this turn of
    the loop or the next. A trace would be no more exact, and costs several times as much.
    """

    # No Accept-Encoding: nobody reads the body, so that it need not be compressed.
    DEFAULT_HEADERS = {}  # noqa: RUF012 - aiohttp declares it, without ClassVar
    # Where there is no body, there is no type of it to make up.
    POST_METHODS: set[str] = set()  # noqa: RUF012

    def update_headers(self, headers: object) -> None:
        """Take the headers from the exchange: on their way through the session they would be copied twice, by hand."""
        super().update_headers(None)
        self.headers.extend(CIMultiDict(_exchange.get().headers))

    def update_proxy(self, proxy: URL | None, proxy_auth: aiohttp.BasicAuth | None, proxy_headers: Any) -> None:
        """Show the proxy our credentials; by itself aiohttp shows them with CONNECT only, unless the URL holds them."""
        super().update_proxy(proxy, proxy_auth, proxy_headers)
        if proxy_headers and not self.is_ssl():
            self.headers.update(proxy_headers)

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        exchange = _exchange.get()
        await exchange.renew()
        exchange.leave()
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: aiohttp.connector.Connection, content_length: int | None = None
    ) -> None:
        """Write the request. Its head has waited for this, and before Python 3.12 that is a turn of the loop later."""
        if not _exchange.get().may_leave():
            assert conn.protocol is not None, "connected"
            conn.protocol.set_exception(NotSent())
            return
        await super().write_bytes(writer, conn, content_length)


@lru_cache(maxsize=4096)
def _origin(destination: Destination) -> str:
    """Return the destination; unusual spellings of an IPv4 address in the usual one, since aiohttp takes no other."""
    literal = literal_address(host_of(destination))
    if not isinstance(literal, IPv4Address):
        return destination
    scheme, _, authority = destination.partition("://")
    return f"{scheme}://{literal}:{authority.rpartition(':')[2]}"


def _split_proxy(proxy: str) -> tuple[URL, dict[str, str]]:
    """Return the URL of a proxy without its credentials, so that no error can hold them, and the headers with them."""
    parts = urlsplit(proxy)
    userinfo, at, place = parts.netloc.rpartition("@")
    headers: dict[str, str] = {}
    if at:
        user, _, password = userinfo.partition(":")
        credentials = b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)).decode()
        headers[hdrs.PROXY_AUTHORIZATION] = f"Basic {credentials}"
    return URL(f"{parts.scheme}://{place}"), headers


_CREDENTIALS_REFUSED: Final = "the proxy refused our credentials (407)"


def _describe(failure: Exception, proxied: bool) -> str:
    match failure:
        case aiohttp.ClientHttpProxyError():
            if failure.status == _PROXY_AUTHENTICATION_REQUIRED:
                return _CREDENTIALS_REFUSED
            return f"the proxy answered CONNECT with {failure.status}"
        case aiohttp.ClientProxyConnectionError():
            return f"no connection to the proxy: {describe(failure)}"
        case aiohttp.ClientConnectorDNSError() if proxied:
            return "no connection to the proxy: its name does not resolve"
        case aiohttp.ClientConnectorDNSError():
            return "name does not resolve"
        case aiohttp.ClientConnectorCertificateError():
            return certificate_refused(failure.certificate_error)
        case aiohttp.ClientSSLError():
            return handshake_failed(failure.os_error)
        case aiohttp.ServerDisconnectedError():
            return "connection closed before an answer"
        case aiohttp.ClientResponseError():
            return "answer is not valid HTTP"
        case aiohttp.InvalidURL():
            return "URL cannot be requested"
        case OSError():
            return describe(failure)
        case _:
            return "connection failed"
