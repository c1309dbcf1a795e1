"""One attempt over HTTP."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote, unquote, urlsplit

import structlog

from aioscheduler.clock import Clock
from aioscheduler.domain.execution import DeadReason, Opening, Outcome, OutcomeKind
from aioscheduler.domain.instant import rfc3339_ms
from aioscheduler.domain.target import Destination, WebhookTarget
from aioscheduler.engine.aiohttp_transport import AiohttpTransport
from aioscheduler.engine.guard import Guard
from aioscheduler.engine.pulse import Pulse
from aioscheduler.engine.signing import Signer
from aioscheduler.engine.transport import Exchange, NoAnswer, Right, Sent, Transport, is_ours
from aioscheduler.engine.transport import NotSent as NotSent
from aioscheduler.engine.wire import WireTransport

#: What ``Retry-After`` can ask for at most, in seconds; the retry policy bounds it further.
MAX_RETRY_AFTER = 10**9
#: How much later than its time limit an attempt may be cut, in seconds.
LIMIT_STEP: Final = 0.05

_REDIRECTS = frozenset((301, 302, 303, 307, 308))

_AFTER_AUTHORITY = re.compile(r"[^/?#]*//[^/?#]*([^#]*)")
#: What arrives as it was sent: receivers drop spaces around a value, and beyond ASCII they disagree.
_SAFE_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_SECONDS = re.compile(r"(-?)(\d+)(?:\.\d*)?", re.ASCII)
#: Where a message ends and which way it goes is the transport's to say, whoever wrote the record.
_FRAMING = frozenset({"connection", "content-length", "host", "transfer-encoding"})

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Request:
    """One attempt to make. Not frozen, like other records: one is made for every attempt, and that costs less.

    ``identity`` are headers that say what this is about, such as ``X-Scheduler-Message-Id``; a value that a header
    cannot carry unharmed travels percent-encoded. ``scheduled_for`` is the instant asked for. Without a ``webhook_id``
    it is no webhook's: nothing of ours stands in its headers, and it is not signed. ``keep_bytes`` is how much of the
    answer's body the outcome shall hold. ``asked_at`` is when the lease was asked for, by the monotonic clock: nothing
    is sent when the process stood still since, or without the ``right`` to it.
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
    right: Right | None = None


#: Told what came of an attempt, or why it made none: ``NotSent``, or ``CancelledError`` when it was cut short.
Ended: TypeAlias = Callable[[Outcome | BaseException], None]


class Flight(Protocol):
    """An attempt on its way."""

    def cancel(self) -> object:
        """Cut it short; nothing happens to one that has ended."""
        ...


def in_a_task(attempt: Coroutine[Any, Any, Outcome], ended: Ended) -> Flight:
    """Make an attempt that has to wait for more than its answer."""
    task = asyncio.get_running_loop().create_task(attempt)
    task.add_done_callback(partial(_tell, ended))
    return task


def _tell(ended: Ended, task: asyncio.Task[Outcome]) -> None:
    ended(asyncio.CancelledError() if task.cancelled() else task.exception() or task.result())


class Deliverer:
    """Makes attempts: headers, signature, time limit and verdict are its own, the rest is the transport's.

    A request leaves at most once for each attempt: nothing is re-sent, no redirect is followed, and no cookie or
    credential comes from anywhere but the target, and no proxy from the environment. A body goes out with every method,
    also GET and HEAD: the client asked for it.

    :param max_connections: connections in use at once, 0 for any number; an attempt's time limit runs while it waits
    :param proxy: the URL of an HTTP proxy that everything goes through
    :param transport: for tests and comparisons; by default the one of our own, or with a proxy the aiohttp client
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
        proxy: str | None = None,
        transport: Transport | None = None,
    ) -> None:
        if transport is None:
            if proxy is None:
                transport = WireTransport(clock=clock, max_connections=max_connections)
            else:
                transport = AiohttpTransport(max_connections=max_connections, proxy=proxy)
        self._clock = clock
        self._guard = guard
        self._signer = signer
        self._pulse = pulse
        self._transport = transport
        self._bodiless = [("Accept", "*/*"), ("User-Agent", user_agent)]
        self._with_body = [*self._bodiless, ("Content-Type", "application/json")]
        self._started = False
        self._limits: _TimeLimits

    async def start(self) -> None:
        """Be ready for attempts. May come twice."""
        await self._transport.start()
        if not self._started:
            self._limits = _TimeLimits()
        self._started = True

    async def stop(self) -> None:
        """Close every connection. May come twice, or before :meth:`start`; attempts still going on then fail."""
        self._started = False
        await self._transport.stop()

    def warm(self, destination: Destination, count: int) -> None:
        """Have connections ready for so many attempts that come soon; returns at once, and promises nothing."""
        if self._started and self._guard.refusal(destination) is None:
            self._transport.warm(destination, count, self._guard)

    def begin(self, request: Request, ended: Ended) -> Flight | None:
        """Make one attempt as :meth:`attempt` does, for callers without a task; ``ended`` is told what came of it.

        Returns what can cut it short, or ``None`` when it has ended already.

        :raises RuntimeError: not started, or stopped
        """
        exchange = self._prepare(request)
        if exchange.refused is None:
            flight = _Flight(request, exchange, ended)
            try:
                self._write_down(request, exchange)
                sent = self._transport.send(exchange, flight)
            except Exception as failure:
                flight.set_exception(failure)
                return None
            if sent is None:
                return in_a_task(self._carry_out(request, exchange), ended)
            flight.limit(sent, self._limits)
            return flight
        ended(_outcome(exchange, None, False))
        return None

    async def attempt(self, request: Request) -> Outcome:
        """Make one attempt and say what came of it.

        The status decides, whatever becomes of the body: a 2xx whose body breaks off, does not end, or runs into the
        time limit is a success.

        :raises RuntimeError: not started, or stopped
        :raises NotSent: nothing left, and nothing should any more
        """
        exchange = self._prepare(request)
        return await self._carry_out(request, exchange) if exchange.refused is None else _outcome(exchange, None, False)

    def _prepare(self, request: Request) -> Exchange:
        if not self._started:
            raise RuntimeError("an attempt needs a deliverer that was started")
        exchange = Exchange(self._clock, self._guard, request.target.destination)
        if request.asked_at is not None:
            exchange.pulse, exchange.asked_at = self._pulse, request.asked_at
        exchange.right = request.right
        if (refusal := self._guard.refusal(request.target.destination)) is not None:
            exchange.refused = str(refusal)
        return exchange

    async def _carry_out(self, request: Request, exchange: Exchange) -> Outcome:
        timed_out = False
        error: str | None = None
        limit = self._limits.begin(request.timeout_seconds)
        try:
            self._write_down(request, exchange)
            await self._transport.exchange(exchange)
        except asyncio.CancelledError:
            if not limit.was_it():
                raise
            if exchange.sent_at is None and exchange.stood_still():
                raise NotSent from None
            timed_out, error = True, _too_late(request)
        except NotSent:
            raise
        except Exception as failure:
            error = _failed(request, exchange, failure)
        finally:
            limit.off()
        return _outcome(exchange, error, timed_out)

    def _write_down(self, request: Request, exchange: Exchange) -> None:
        """Put on the exchange what shall be sent."""
        target, body = request.target, request.body
        exchange.method, exchange.path = target.method, _path(target.url)
        exchange.body, exchange.keep_bytes = body, request.keep_bytes
        headers = self._bodiless if body is None else self._with_body
        if target.headers or "@" in target.url:
            headers = _merged(headers, target)
        webhook_id = request.webhook_id
        if webhook_id is None:
            exchange.headers = headers
            return
        timestamp = int(exchange.started_at.timestamp())
        ours = [("webhook-id", webhook_id), ("webhook-timestamp", str(timestamp))]
        if self._signer is not None:
            ours.append(("webhook-signature", self._signer.sign(webhook_id, timestamp, body or b"")))
        for name, value in request.identity:
            ours.append(
                (name, value if _SAFE_VALUE.fullmatch(value) else quote(value, safe="", errors="surrogatepass"))
            )
        ours.append(("X-Scheduler-Attempt", str(request.attempt)))
        ours.append(("X-Scheduler-Scheduled-For", rfc3339_ms(request.scheduled_for)))
        if target.headers:
            names = {name.lower() for name, _ in ours}
            headers = [header for header in headers if header[0].lower() not in names]
        exchange.headers = headers + ours


def _merged(defaults: list[tuple[str, str]], target: WebhookTarget) -> list[tuple[str, str]]:
    """Return the headers of a target with those it does not set itself; its own take the place of others."""
    headers = {name.lower(): (name, value) for name, value in defaults}
    if "@" in target.url and (authorization := _basic_authorization(target.url)):
        headers["authorization"] = ("Authorization", authorization)
    for name, value in target.headers:
        headers[name.lower()] = (name, value)
    return [header for lower, header in headers.items() if lower not in _FRAMING]


class _Flight:
    """An attempt whose request has left on a kept connection: the transport's callbacks and its time limit end it."""

    __slots__ = ("_ended", "_exchange", "_limits", "_request", "_sent")

    def __init__(self, request: Request, exchange: Exchange, ended: Ended) -> None:
        self._request = request
        self._exchange = exchange
        self._ended: Ended | None = ended
        self._sent: Sent | None = None
        self._limits: set[_Limited] | None = None

    def limit(self, sent: Sent, limits: _TimeLimits) -> None:
        """Give the request up, which has been sent, when its time is over."""
        self._sent = sent
        self._limits = limits.step(self._request.timeout_seconds)
        self._limits.add(self)

    def done(self) -> bool:
        return self._ended is None

    def set_result(self, _: None) -> None:
        self._end(None, False)

    def set_exception(self, failure: Exception) -> None:
        if isinstance(failure, NotSent):
            self._tell(failure)
        else:
            self._end(_failed(self._request, self._exchange, failure), False)

    def expire(self) -> None:
        self._give_up()
        self._end(_too_late(self._request), True)

    def cancel(self) -> None:
        if self._ended is not None:
            self._give_up()
            self._tell(asyncio.CancelledError())

    def _give_up(self) -> None:
        if self._sent is not None:
            self._sent.give_up(self._exchange)

    def _end(self, error: str | None, timed_out: bool) -> None:
        self._tell(_outcome(self._exchange, error, timed_out))

    def _tell(self, result: Outcome | BaseException) -> None:
        ended, self._ended = self._ended, None
        if self._limits is not None:
            self._limits.discard(self)
        if ended is not None:
            ended(result)


def _too_late(request: Request) -> str:
    return f"no answer within {request.timeout_seconds:g} s"


def _failed(request: Request, exchange: Exchange, failure: Exception) -> str:
    """Return why an attempt failed, in a few words; on the exchange stands whether that is our own fault."""
    match failure:
        case NoAnswer():
            exchange.ours = is_ours(failure.__cause__)
            return str(failure)
        case ValueError():
            return "request cannot be sent as HTTP"
        case _:
            exchange.ours = True
            log.error(
                "An attempt failed in a way nobody foresaw.",
                action="attempt_crashed",
                webhook_id=request.webhook_id,
                destination=request.target.destination,
                exc_info=failure,
            )
            return f"internal error ({type(failure).__name__})"


class _Limited(Protocol):
    """What may last for so long only."""

    def expire(self) -> None: ...


class _TimeLimit:
    """Cancels the task that made it, unless it is called :meth:`off` before."""

    __slots__ = ("_expired", "_others", "_task")

    def __init__(self, task: asyncio.Task[object], others: set[_Limited]) -> None:
        self._task = task
        self._others = others
        self._expired = False

    def expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def was_it(self) -> bool:
        """Say whether a cancellation that has arrived was this limit's, and nobody else's."""
        return self._expired and self._task.uncancel() == 0

    def off(self) -> None:
        """The work is done."""
        self._others.discard(self)


class _TimeLimits:
    """The time limits of attempts: one timer for all that end in a step, since nearly all are called off before."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._steps: dict[int, set[_Limited]] = {}

    def begin(self, seconds: float) -> _TimeLimit:
        """Limit the running task: it is cancelled after so many seconds, or up to :data:`LIMIT_STEP` later."""
        task = asyncio.current_task(self._loop)
        assert task is not None, "an attempt is made in a task"
        limits = self.step(seconds)
        limit = _TimeLimit(task, limits)
        limits.add(limit)
        return limit

    def step(self, seconds: float) -> set[_Limited]:
        """Return all that expires together, after so many seconds or up to :data:`LIMIT_STEP` later."""
        step = int((self._loop.time() + seconds) / LIMIT_STEP) + 1
        limits = self._steps.get(step)
        if limits is None:
            limits = self._steps[step] = set()
            self._loop.call_at(step * LIMIT_STEP, self._end, step)
        return limits

    def _end(self, step: int) -> None:
        # Each may take itself out.
        for limit in list(self._steps.pop(step)):
            limit.expire()


def _outcome(exchange: Exchange, error: str | None, timed_out: bool) -> Outcome:
    kind = OutcomeKind.TIMED_OUT if timed_out else OutcomeKind.FAILURE
    permanent = location = retry_after = None
    status, answered_at = exchange.status, exchange.answered_at
    if status is not None:
        kind, error = _judge(status)
        if status >= 300:
            permanent = DeadReason.GONE if status == 410 else None
            location = exchange.location if status < 400 else None
            retry_after = parse_retry_after(exchange.retry_after, answered_at or exchange.started_at)
    elif exchange.refused is not None and not exchange.permitted:
        kind, error, permanent = OutcomeKind.FAILURE, exchange.refused, DeadReason.REJECTED_BY_POLICY
    return Outcome(
        kind=kind,
        started_at=exchange.started_at,
        finished_at=exchange.clock.now(),
        duration_ms=(exchange.clock.monotonic() - exchange.begun) * 1000,
        sent_at=exchange.sent_at,
        answered_at=answered_at,
        response_code=status,
        error=error,
        retry_after=retry_after,
        permanent=permanent,
        ours=exchange.ours,
        location=location,
        body=exchange.kept,
        opening=_opening(exchange),
    )


def _opening(exchange: Exchange) -> Opening | None:
    if exchange.connect_seconds is None and exchange.dns_seconds is None:
        return None
    steps = (exchange.dns_seconds, exchange.connect_seconds, exchange.tls_seconds)
    return Opening(*(None if seconds is None else seconds * 1000 for seconds in steps))


def _judge(status: int) -> tuple[OutcomeKind, str | None]:
    if 200 <= status < 300:
        return OutcomeKind.SUCCESS, None
    return OutcomeKind.FAILURE, f"redirect not followed ({status})" if status in _REDIRECTS else f"HTTP {status}"


def _path(url: str) -> str:
    """Return the path and the query of a URL, not re-encoded, without its fragment."""
    if "?" not in url and "#" not in url:  # nearly all
        slash = url.find("/", url.find("//") + 2)
        return "/" if slash < 0 else url[slash:]
    match = _AFTER_AUTHORITY.match(url)
    rest = match[1] if match else ""
    # RFC 9112 section 3.2.1: an empty path is sent as "/".
    return rest if rest.startswith("/") else "/" + rest


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
