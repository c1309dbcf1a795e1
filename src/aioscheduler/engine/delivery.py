"""One attempt over HTTP."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiohttp
import structlog
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from multidict import CIMultiDict, istr
from yarl import URL

from aioscheduler.clock import Clock
from aioscheduler.domain.execution import DeadReason, Outcome, OutcomeKind
from aioscheduler.domain.instant import rfc3339_ms
from aioscheduler.domain.target import Destination, WebhookTarget
from aioscheduler.engine.guard import AddressRefused, Guard, host_of, literal_address
from aioscheduler.engine.pulse import Pulse
from aioscheduler.engine.signing import Signer

#: How much of an answer's body is read so that its connection can serve again; a longer one costs the connection.
MAX_ANSWER_BYTES = 64 * 1024
#: Idle connections are kept, and resolved names remembered, this long, in seconds.
KEEP_ALIVE, DNS_TTL = 30, 30
#: Names resolved at once. A name server that hangs holds up a thread, so there are more than a default executor has.
RESOLVER_THREADS = 32
#: What ``Retry-After`` can ask for at most, in seconds; the retry policy bounds it further.
MAX_RETRY_AFTER = 10**9

_WEBHOOK_ID = istr("webhook-id")
_WEBHOOK_TIMESTAMP = istr("webhook-timestamp")
_WEBHOOK_SIGNATURE = istr("webhook-signature")
_ATTEMPT = istr("X-Scheduler-Attempt")
_SCHEDULED_FOR = istr("X-Scheduler-Scheduled-For")
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_REDIRECTS = frozenset((301, 302, 303, 307, 308))

_AFTER_AUTHORITY = re.compile(r"[^/?#]*//[^/?#]*([^#]*)")
#: What arrives as it was sent: receivers drop spaces around a value, and beyond ASCII they disagree.
_SAFE_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_SECONDS = re.compile(r"(-?)(\d+)(?:\.\d*)?", re.ASCII)

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Request:
    """One attempt to make. Not frozen, like other records: one is made for every attempt, and that costs less.

    ``identity`` are headers that say what this is about, such as ``X-Scheduler-Message-Id``; a value that a header
    cannot carry unharmed travels percent-encoded. ``scheduled_for`` is the instant asked for. Without a ``webhook_id``
    it is no webhook's: nothing of ours stands in its headers, and it is not signed. ``keep_bytes`` is how much of the
    answer's body the outcome shall hold. ``asked_at`` is when the lease was asked for, by the monotonic clock: nothing
    is sent when the process stood still since.
    """

    webhook_id: str | None
    target: WebhookTarget
    body: bytes | None
    timeout_seconds: float
    attempt: int
    scheduled_for: datetime
    identity: tuple[tuple[str, str], ...]
    keep_bytes: int = 0
    asked_at: float | None = None


class NotSent(Exception):
    """The process stood still before the request could leave, and the lease may be somebody else's by now."""


class Deliverer:
    """Makes attempts, on pooled connections.

    A request leaves at most once for each attempt: nothing is re-sent, no redirect is followed, and no proxy, cookie or
    credential comes from anywhere but the target. A body goes out with every method, also GET and HEAD: the client
    asked for it.

    :param max_connections: connections in use at once, 0 for any number; an attempt's time limit runs while it waits
    :param resolver: for tests
    """

    def __init__(
        self,
        *,
        clock: Clock,
        guard: Guard,
        signer: Signer | None,
        max_connections: int,
        user_agent: str,
        pulse: Pulse | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._clock = clock
        self._guard = guard
        self._signer = signer
        self._max_connections = max_connections
        self._pulse = pulse
        self._resolver = resolver
        self._bodiless = CIMultiDict({hdrs.USER_AGENT: user_agent})
        self._with_body = CIMultiDict({hdrs.USER_AGENT: user_agent, hdrs.CONTENT_TYPE: "application/json"})
        self._own_resolver: _Resolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Be ready for attempts. May come twice."""
        if self._session is not None:
            return
        if self._resolver is None:
            self._own_resolver = _Resolver()
        connector = aiohttp.TCPConnector(
            limit=self._max_connections,
            keepalive_timeout=KEEP_ALIVE,
            ttl_dns_cache=DNS_TTL,
            resolver=self._resolver or self._own_resolver,
            socket_factory=self._open_socket,
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
        """Close every connection. May come twice, or before :meth:`start`; attempts still going on then fail."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        if self._own_resolver is not None:
            await self._own_resolver.close()

    async def attempt(self, request: Request) -> Outcome:
        """Make one attempt and say what came of it.

        The status decides, whatever becomes of the body: a 2xx whose body breaks off, does not end, or runs into the
        time limit is a success.

        :raises RuntimeError: not started, or stopped
        :raises NotSent: nothing left, and nothing should any more
        """
        session, clock = self._session, self._clock
        if session is None:
            raise RuntimeError("an attempt needs a deliverer that was started")
        progress = _Progress(clock, host_of(request.target.destination))
        if self._pulse is not None and request.asked_at is not None:
            progress.pulse, progress.asked_at = self._pulse, request.asked_at
        _progress.set(progress)
        timed_out = False
        error: str | None = None
        if (refusal := self._guard.refusal(request.target.destination)) is not None:
            progress.refused = str(refusal)
        else:
            limit = _TimeLimit(request.timeout_seconds)
            try:
                await self._exchange(session, request, progress)
            except asyncio.CancelledError:
                if not limit.was_it():
                    raise
                if progress.sent_at is None and progress.stood_still():
                    raise NotSent from None
                timed_out, error = True, f"no answer within {request.timeout_seconds:g} s"
            except NotSent:
                raise
            except TimeoutError:
                error = "connection timed out"
            except (aiohttp.ClientError, OSError, ValueError) as failure:
                error = _describe(failure)
                progress.ours = isinstance(failure, OSError) and failure.errno in _OURS
            except Exception as failure:
                progress.ours = True
                error = f"internal error ({type(failure).__name__})"
                log.exception(
                    "An attempt failed in a way nobody foresaw.",
                    action="attempt_crashed",
                    webhook_id=request.webhook_id,
                    destination=request.target.destination,
                )
            finally:
                limit.off()
        return progress.outcome(error, timed_out)

    async def _exchange(self, session: aiohttp.ClientSession, request: Request, progress: _Progress) -> None:
        target, body = request.target, request.body
        progress.headers = self._headers(request, int(progress.started_at.timestamp()))
        response = await session.request(
            target.method,
            _wire_url(target),
            data=None if body is None else aiohttp.BytesPayload(body),
            allow_redirects=False,
        )
        progress.answered_at = self._clock.now()
        progress.status = response.status
        if 300 <= response.status < 400:
            progress.location = response.headers.get(hdrs.LOCATION)
        if response.status >= 300:
            progress.retry_after = parse_retry_after(response.headers.get(hdrs.RETRY_AFTER), progress.answered_at)
        keep = request.keep_bytes
        if response.connection is None:  # the whole answer is there already
            if keep:
                progress.body += response.content.read_nowait(keep)
            return
        try:
            left, content = max(MAX_ANSWER_BYTES, keep), response.content
            while left > 0 and not content.at_eof():
                chunk = await content.readany()
                left -= len(chunk)
                if keep:
                    progress.body += chunk[:keep]
                    keep -= min(keep, len(chunk))
        finally:
            response.close()  # no effect on a connection that went back to the pool when the body ended

    def _headers(self, request: Request, timestamp: int) -> CIMultiDict[str]:
        target, body = request.target, request.body
        headers = (self._bodiless if body is None else self._with_body).copy()
        if "@" in target.url and (authorization := _basic_authorization(target.url)):
            headers[hdrs.AUTHORIZATION] = authorization
        for name, value in target.headers:
            headers[name] = value
        if request.webhook_id is None:
            return headers
        headers[_WEBHOOK_ID] = request.webhook_id
        headers[_WEBHOOK_TIMESTAMP] = str(timestamp)
        if self._signer is not None:
            headers[_WEBHOOK_SIGNATURE] = self._signer.sign(request.webhook_id, timestamp, body or b"")
        for name, value in request.identity:
            headers[name] = value if _SAFE_VALUE.fullmatch(value) else quote(value, safe="", errors="surrogatepass")
        headers[_ATTEMPT] = str(request.attempt)
        headers[_SCHEDULED_FOR] = rfc3339_ms(request.scheduled_for)
        return headers

    def _open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Open a socket for the very address that is connected to next, if the guard lets it pass."""
        family, kind, protocol, _, address = info
        progress = _progress.get()
        try:
            self._guard.check_address(progress.host, address[0])
        except AddressRefused as refusal:
            progress.refused = str(refusal)
            raise
        progress.permitted = True
        return socket.socket(family, kind, protocol)


class _TimeLimit:
    """Cancels the task that made it after some seconds; ``asyncio.timeout``, at a third of its price."""

    __slots__ = ("_expired", "_handle", "_task")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None, "an attempt is made in a task"
        self._task = task
        self._expired = False
        self._handle = task.get_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def was_it(self) -> bool:
        """Say whether a cancellation that has arrived was this limit's, and nobody else's."""
        return self._expired and self._task.uncancel() == 0

    def off(self) -> None:
        """The work is done."""
        self._handle.cancel()


class _Progress:
    """How far an attempt has come; the connector's hooks find it by context, since they run on the attempt's behalf."""

    __slots__ = (
        "answered_at",
        "asked_at",
        "begun",
        "body",
        "clock",
        "headers",
        "host",
        "location",
        "ours",
        "permitted",
        "pulse",
        "refused",
        "retry_after",
        "sent_at",
        "started_at",
        "status",
    )

    def __init__(self, clock: Clock, host: str) -> None:
        self.clock = clock
        self.host = host
        self.headers: CIMultiDict[str] | None = None
        self.started_at = clock.now()
        self.begun = clock.monotonic()
        self.sent_at: datetime | None = None
        self.answered_at: datetime | None = None
        self.status: int | None = None
        self.retry_after: timedelta | None = None
        self.refused: str | None = None
        self.location: str | None = None
        self.ours = False
        self.body = bytearray()
        self.pulse: Pulse | None = None
        self.asked_at = 0.0
        self.permitted = False
        """The guard let at least one address pass, so that trying again may reach it."""

    def stood_still(self) -> bool:
        """Say whether the process did since the lease was asked for."""
        return self.pulse is not None and self.pulse.stood_still(self.asked_at)

    def outcome(self, error: str | None, timed_out: bool) -> Outcome:
        kind = OutcomeKind.TIMED_OUT if timed_out else OutcomeKind.FAILURE
        permanent = None
        if self.status is not None:
            kind, error = _judge(self.status)
            permanent = DeadReason.GONE if self.status == 410 else None
        elif self.refused is not None and not self.permitted:
            kind, error, permanent = OutcomeKind.FAILURE, self.refused, DeadReason.REJECTED_BY_POLICY
        return Outcome(
            kind=kind,
            started_at=self.started_at,
            finished_at=self.clock.now(),
            duration_ms=(self.clock.monotonic() - self.begun) * 1000,
            sent_at=self.sent_at,
            answered_at=self.answered_at,
            response_code=self.status,
            error=error,
            retry_after=self.retry_after,
            permanent=permanent,
            ours=self.ours,
            location=self.location,
            body=bytes(self.body),
        )


_progress: ContextVar[_Progress] = ContextVar("progress")


def _judge(status: int) -> tuple[OutcomeKind, str | None]:
    if 200 <= status < 300:
        return OutcomeKind.SUCCESS, None
    return OutcomeKind.FAILURE, f"redirect not followed ({status})" if status in _REDIRECTS else f"HTTP {status}"


class _WireRequest(aiohttp.ClientRequest):
    """aiohttp's request, without what nobody asked for, and with the instant at which it is written.

    ``sent_at`` is taken when a connection is there and the request is handed to it: the bytes follow in this turn of
    the loop or the next. A trace would be no more exact, and costs several times as much.
    """

    # No Accept-Encoding: nobody reads the body, so that it need not be compressed.
    DEFAULT_HEADERS = {hdrs.ACCEPT: "*/*"}  # noqa: RUF012 - aiohttp declares it, without ClassVar
    # Where there is no body, there is no type of it to make up.
    POST_METHODS: set[str] = set()  # noqa: RUF012

    def update_headers(self, headers: object) -> None:
        """Take the headers from the attempt: on their way through the session they would be copied twice, by hand."""
        super().update_headers(None)
        self.headers.extend(_progress.get().headers or ())

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        progress = _progress.get()
        if progress.stood_still():
            raise NotSent
        progress.sent_at = progress.clock.now()
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: aiohttp.connector.Connection, content_length: int | None = None
    ) -> None:
        """Write the request. Its head has waited for this, and before Python 3.12 that is a turn of the loop later."""
        if _progress.get().stood_still():
            assert conn.protocol is not None, "connected"
            conn.protocol.set_exception(NotSent())
            return
        await super().write_bytes(writer, conn, content_length)


class _Resolver(AbstractResolver):
    """``getaddrinfo`` on threads of its own: names that do not resolve hold up neither each other nor other work."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        infos = await asyncio.get_running_loop().run_in_executor(
            self._threads, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for found, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _wire_url(target: WebhookTarget) -> URL:
    """Return the URL without userinfo and fragment; its path and query not re-encoded.

    The host comes from the destination, which is what the guard judged: no second reading of the URL can differ.
    """
    match = _AFTER_AUTHORITY.match(target.url)
    rest = match[1] if match else ""
    # RFC 9112 section 3.2.1: an empty path is sent as "/".
    return URL(_origin(target.destination) + (rest if rest.startswith("/") else "/" + rest), encoded=True)


@lru_cache(maxsize=4096)
def _origin(destination: Destination) -> str:
    """Return the destination; unusual spellings of an IPv4 address in the usual one, since aiohttp takes no other."""
    literal = literal_address(host_of(destination))
    if not isinstance(literal, IPv4Address):
        return destination
    scheme, _, authority = destination.partition("://")
    return f"{scheme}://{literal}:{authority.rpartition(':')[2]}"


def _basic_authorization(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return None
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + b64encode(credentials.encode()).decode()


def parse_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Return how long a receiver asks to wait: seconds or an HTTP date; never negative; ``None`` for anything else."""
    if value is None:
        return None
    if match := _SECONDS.fullmatch(value.strip()):
        sign, digits = match.groups()
        # Nine digits are compared before they are converted: a header can hold thousands.
        seconds = int(digits) if len(digits) <= 9 else MAX_RETRY_AFTER
        return timedelta(seconds=0 if sign else seconds)
    try:
        until = parsedate_to_datetime(value)
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        wait = until - now
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(wait, timedelta()), timedelta(seconds=MAX_RETRY_AFTER))


_OS_ERRORS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "connection timed out",
    errno.EMFILE: "too many open files here",
    errno.ENFILE: "too many open files here",
    errno.EADDRNOTAVAIL: "no local port free",
}


_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM))


def _describe(failure: Exception) -> str:
    """Say what went wrong in a few words, without anything of the URL or of the headers."""
    match failure:
        case aiohttp.ClientConnectorDNSError():
            return "name does not resolve"
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(failure.certificate_error, "verify_message", None) or "it does not match the host"
            return f"TLS certificate not accepted: {reason}"
        case aiohttp.ClientSSLError():
            reason = getattr(failure.os_error, "reason", None) or "no details"
            return f"TLS handshake failed: {reason.replace('_', ' ').lower()}"
        case aiohttp.ServerDisconnectedError():
            return "connection closed before an answer"
        case aiohttp.ClientResponseError():
            return "answer is not valid HTTP"
        case aiohttp.InvalidURL():
            return "URL cannot be requested"
        case OSError():
            return _OS_ERRORS.get(failure.errno or 0, "connection failed")
        case ValueError():
            return "request cannot be sent as HTTP"
        case _:
            return "connection failed"
