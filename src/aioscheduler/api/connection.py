"""Connections of clients: what is no HTTP is refused in our own shape, and nobody holds one for long by being slow."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Self, cast

import structlog
from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError, InvalidURLError
from aiohttp.http_parser import RawRequestMessage

from aioscheduler.api.express import ROUTE, Express, Order
from aioscheduler.api.i18n import Language
from aioscheduler.api.problems import internal_problem, problem
from aioscheduler.api.respond import answer
from aioscheduler.errors import InvalidInput, Sentence

log = structlog.get_logger(__name__)

#: Bytes. A search for two texts of 512 characters each, percent-encoded, fits into the request's first line.
MAX_LINE: Final = 32 * 1024
#: Bytes of a head that comes in pieces; it is held in memory meanwhile.
MAX_HEAD: Final = 128 * 1024
#: Seconds that are spent on reading what nobody wants, so that the client gets to read why.
_LINGER: Final = 2.0
#: Connections that are looked at before others get a turn of the loop.
_TURN: Final = 500
#: What the library adds to a reason: the client's own bytes.
_QUOTED = re.compile(r":?\s*(\n|: ).*", re.DOTALL)
#: Whether the library still is as :meth:`Connection._take` needs it; else every request goes the general way.
_KNOWN: Final = (
    {"_handler_waiter", "_messages", "_next_keepalive_close_time", "_request_in_progress", "_waiter"}
    <= set(web.RequestHandler.__slots__)
    and {"_paused", "_reading_paused"} <= set(BaseProtocol.__slots__)
    and {"_buffer"} <= set(StreamReader.__slots__)
)


class Connection(web.RequestHandler):
    """One connection, with what the library lacks: answers in JSON, marks for :class:`Clients` to judge by, and the
    short way of :class:`Express`.

    The library has a task for each connection, which waits for the next request. While one goes the short way, the
    task goes on waiting: its future is kept aside, so that nothing else wakes it.
    """

    __slots__ = ("_aside", "_at_border", "_express", "_head_bytes", "_head_since", "_language", "_slow_since", "_wire")

    def __init__(
        self, manager: web.Server, *, language: Language, express: Express | None = None, **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._language: Language = language
        self._express = express if _KNOWN else None
        self._aside: asyncio.Future[None] | None = None
        self._wire: asyncio.Transport | None = None
        #: Whether all that came were requests, each in a piece of its own, that went the short way: then the parser has
        #: nothing of a next one, and one with a known head may pass it by.
        self._at_border = True
        self._head_since: float | None = None
        self._head_bytes = 0
        self._slow_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        waiter = self._waiter
        if self._express is None or waiter is None or waiter.done():
            self._at_border = False
            super().data_received(data)
        elif self._at_border and self._pass_by(self._express, data, waiter):
            self._request_count += 1
        else:
            # Until it is clear which way the request goes, nobody is woken.
            self._waiter = None
            try:
                super().data_received(data)
            finally:
                self._waiter = waiter
            if not self._messages:
                self._at_border = False
            elif not self._take(self._express, data, waiter):
                self._at_border = False
                waiter.set_result(None)
        if self._request_count != before:
            self._head_since = None
        elif self._waiter is not None and data:
            # Between two requests, and no head is complete: this is part of one.
            if self._head_since is None:
                self._head_since, self._head_bytes = self._loop.time(), 0
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.abort()

    def _pass_by(self, express: Express, data: bytes, waiter: asyncio.Future[None]) -> bool:
        """Let a request go the short way past the parser, which has read its head before."""
        if self._paused or self._reading_paused or (known := express.recall(data)) is None:
            return False
        order = express.take(*known)
        if order is None:
            return False
        self._place(order, waiter)
        return True

    def _take(self, express: Express, data: bytes, waiter: asyncio.Future[None]) -> bool:
        """Let the request that has arrived go the short way, if it is one for that."""
        if len(self._messages) > 1 or self._paused or self._reading_paused:
            return False
        message, payload = self._messages[0]
        if (
            type(message) is not RawRequestMessage
            or message.path != ROUTE.path
            or message.method != ROUTE.method
            or message.version != HttpVersion11
            or message.should_close
            or message.chunked
            or message.upgrade
            or message.compression
            or type(payload) is not StreamReader
            or not payload.is_eof()
            or len(payload._buffer) != 1
        ):
            return False
        # Not taken out: what goes the general way is read there.
        body = payload._buffer[0]
        head = express.head(message.headers, len(body))
        order = None if head is None else express.take(head, body)
        if order is None or head is None:
            return False
        self._at_border = self._at_border and express.remember(data, head)
        self._messages.clear()
        assert self._parser is not None, "connected"
        self._parser.message_consumed()
        self._place(order, waiter)
        return True

    def _place(self, order: Order, waiter: asyncio.Future[None]) -> None:
        assert self._manager is not None, "connected"
        self._manager.requests_count += 1
        self._request_in_progress = True
        self._aside, self._waiter = waiter, None
        order.place(self._reply)

    def _reply(self, answer: bytes) -> None:
        """Send the answer to what went the short way, and go on as the library does after each request."""
        waiter, self._aside = self._aside, None
        assert waiter is not None, "a request goes the short way"
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self.transport is None or self.transport.is_closing():
            waiter.cancel()
            return
        self.transport.write(answer)
        self._waiter = waiter
        if self._close or self._force_close:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._messages and not waiter.done():
            waiter.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._aside is not None:
            self._aside.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._slow_since = self._loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._slow_since = None

    def is_late(self, now: float, limit: float) -> bool:
        """Say whether the client has taken more than ``limit`` seconds over a head, or over taking what we sent.

        :param now: the loop's time
        """
        if self._slow_since is None and self._wire is not None and self._wire.is_closing():
            # Closed on our side, yet still there: the client does not take the rest.
            self._slow_since = now
        return any(since is not None and now - since > limit for since in (self._head_since, self._slow_since))

    def abort(self) -> None:
        """Close at once. May come twice."""
        self.force_close()
        if self._wire is not None:
            self._wire.abort()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError | HttpProcessingError):
            # Whoever sends a body that is none should not fill the log with our tracebacks.
            log.info("a body broke off", action="request_malformed", error=type(error).__name__)
        else:
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what never reached a handler: it is no HTTP, or is more than the parser takes."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is on its way, so there cannot be another")
        if isinstance(exc, HttpProcessingError):
            log.info("what came was no HTTP", action="request_malformed", error=type(exc).__name__)
            reason = "Invalid URL" if isinstance(exc, InvalidURLError) else _QUOTED.sub("", exc.message).strip(" .")
            refusal = InvalidInput({}, Sentence("The request was refused: {reason}.", reason=reason or "no HTTP"))
            response = answer(problem(refusal, 400, self._language), 400)
        else:
            log.error("a request failed", action="request_failed", route="none", exc_info=exc)
            response = answer(internal_problem(self._language), 500)
        response.force_close()
        return response


class Clients:
    """All connections of one server; as a context manager it closes those whose clients are too slow.

    :param express: takes the requests it is for; ``None``: all go the general way
    :param limit: seconds a client may take to send a request's head, and to take an answer
    :param keepalive: seconds after which an idle connection is closed
    """

    def __init__(
        self, server: web.Server, *, express: Express | None, language: Language, limit: float, keepalive: float
    ) -> None:
        self._server = server
        server.request_handler = _outermost(server.request_handler, language)
        self._express = express
        self._language = language
        self._limit = limit
        self._keepalive = keepalive

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch(), name="watch clients")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching

    def site(self, runner: web.BaseRunner, listener: socket.socket, backlog: int) -> web.BaseSite:
        """Return what accepts connections on a socket, once it is started."""
        return _Site(runner, listener, self._connect, backlog=backlog)

    def _connect(self) -> Connection:
        return Connection(
            self._server,
            loop=asyncio.get_running_loop(),
            express=self._express,
            language=self._language,
            access_log=None,
            keepalive_timeout=self._keepalive,
            lingering_time=_LINGER,
            max_line_size=MAX_LINE,
        )

    async def _watch(self) -> None:
        # One look at all of them is cheaper than a timer for each.
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._limit / 4)
            cut_off = 0
            for number, connection in enumerate(self._server.connections, 1):
                if isinstance(connection, Connection) and connection.is_late(loop.time(), self._limit):
                    connection.abort()
                    cut_off += 1
                if number % _TURN == 0:
                    await asyncio.sleep(0)
            if cut_off:
                log.info("clients were too slow", action="clients_too_slow", connections=cut_off)


class _Site(web.BaseSite):
    """Listens on a socket; ``connect`` makes the protocol of each connection."""

    def __init__(
        self, runner: web.BaseRunner, listener: socket.socket, connect: Callable[[], Connection], *, backlog: int
    ) -> None:
        super().__init__(runner, backlog=backlog)
        self._listener = listener
        self._connect = connect

    @property
    def name(self) -> str:
        return str(self._listener.getsockname())

    async def start(self) -> None:
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, sock=self._listener, backlog=self._backlog)


def _outermost(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], language: Language
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Return ``handle`` with JSON for what the library refuses before any middleware has its turn."""

    async def handled(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handle(request)
        except web.HTTPRedirection:
            raise
        except web.HTTPException as error:
            refusal = InvalidInput({}, Sentence("The request was refused: {reason}.", reason=error.reason))
            return answer(problem(refusal, error.status, language), error.status)

    return handled
