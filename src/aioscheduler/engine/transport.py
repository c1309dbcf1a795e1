"""The seam between an attempt and the HTTP client under it."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from math import inf
from typing import Final, Protocol

from aioscheduler.clock import Clock
from aioscheduler.domain.target import Destination
from aioscheduler.engine.guard import AddressRefused, Guard, host_of
from aioscheduler.engine.pulse import Pulse
from aioscheduler.store.base import Receipt

#: How much of an answer's body is read so that its connection can serve again; a longer one costs the connection.
MAX_ANSWER_BYTES: Final = 64 * 1024
#: Idle connections are kept, and resolved names remembered, this long, in seconds.
KEEP_ALIVE: Final = 30
DNS_TTL: Final = 30


class NotSent(Exception):
    """The process stood still before the request could leave, and the lease may be somebody else's by now; or the right
    to send it had ended."""


class Right:
    """The right to send one request, up to a moment of the monotonic clock; it may be withdrawn before.

    :param renew: asks for more, from now on; returns up to when, or what has passed already
    """

    __slots__ = ("renew", "until", "withdrawn")

    def __init__(self, until: float = inf, renew: Callable[[], Awaitable[float]] | None = None) -> None:
        self.until = until
        self.withdrawn = False
        self.renew = renew

    def holds(self, now: float) -> bool:
        """Say whether the request may leave."""
        return now <= self.until and not self.withdrawn


class NoAnswer(Exception):
    """The exchange failed before a status was there: why, in a few words, without anything of the URL or of headers."""


class Exchange:
    """One request, and how far it has come; the transport writes down here what it learns, as soon as it does.

    ``headers`` hold each name once; the host and the length of the body are the transport's to add. ``path`` begins
    with a slash and holds the query. Durations are in seconds, ``None`` where a kept connection spared the step.
    """

    # Defaults stand on the class, and there are no slots: one is made for every attempt, and that costs half as much.
    method = "POST"
    path = "/"
    body: bytes | None = None
    keep_bytes = 0
    pulse: Pulse | None = None
    asked_at = 0.0
    right: Right | None = None

    sent_at: datetime | None = None
    answered_at: datetime | None = None
    status: int | None = None
    location: str | None = None
    retry_after: str | None = None
    kept = b""
    """The beginning of the answer's body, ``keep_bytes`` at most."""
    ours = False
    """It failed for a reason of this machine or of ours, which says nothing about the receiver."""
    refused: str | None = None
    permitted = False
    """The guard let at least one address pass, so that trying again may reach it."""
    dns_seconds: float | None = None
    connect_seconds: float | None = None
    tls_seconds: float | None = None

    def __init__(self, clock: Clock, guard: Guard, destination: Destination) -> None:
        self.clock = clock
        self.guard = guard
        self.destination = destination
        self.headers: Sequence[tuple[str, str]] = ()
        self.started_at = clock.now()
        self.begun = clock.monotonic()

    @property
    def host(self) -> str:
        """The host of the destination, without an IPv6 address's brackets."""
        return host_of(self.destination)

    def permit(self, address: str) -> None:
        """Let a connection to this very address pass: it is connected to next.

        :raises AddressRefused: the guard forbids it
        """
        try:
            self.guard.check_address(self.host, address)
        except AddressRefused as refusal:
            self.refused = str(refusal)
            raise
        self.permitted = True

    def leave(self) -> None:
        """Note that the request is written now: called right before, with nothing to wait for in between.

        :raises NotSent: it must not be
        """
        now = self.clock.now()
        if not self.may_leave():
            raise NotSent
        self.sent_at = now

    async def renew(self) -> None:
        """Ask for more of a right that ran out while there was no connection: called before :meth:`leave`, then."""
        right = self.right
        if right is not None and right.renew is not None and not right.holds(self.clock.monotonic()):
            right.until = await right.renew()

    def may_leave(self) -> bool:
        """Say whether the request may be written."""
        return not self.stood_still() and (self.right is None or self.right.holds(self.clock.monotonic()))

    def stood_still(self) -> bool:
        """Say whether the process did since the lease was asked for."""
        return self.pulse is not None and self.pulse.stood_still(self.asked_at)


class Sent(Protocol):
    """A request that has left, and waits for its answer."""

    def give_up(self, exchange: Exchange) -> None:
        """Close the connection, unless the exchange has ended after all; nobody is told. May come twice."""
        ...


class Transport(Protocol):
    """Makes exchanges over HTTP/1.1, on connections that are kept and pooled.

    A request is written at most once, whatever becomes of it; no redirect is followed, and nothing is added but what
    the exchange holds, the host and the length. A body goes out with every method.
    """

    async def start(self) -> None:
        """Be ready. May come twice, and again after :meth:`stop`."""
        ...

    async def stop(self) -> None:
        """Close every connection. May come twice, or before :meth:`start`; exchanges still going on then fail."""
        ...

    def warm(self, destination: Destination, count: int, guard: Guard) -> None:
        """Have so many connections ready, or as many as is thought good, for requests that come soon; returns at once.

        Nothing is said of what fails. Need not do anything.
        """
        ...

    def send(self, exchange: Exchange, receipt: Receipt[None]) -> Sent | None:
        """Send a request at once if a kept connection is free for it; ``None``: nothing was done, it takes
        :meth:`exchange`.

        The receipt is handed what that would return or raise, never before this has returned.

        :raises NotSent: as by :meth:`exchange`, and ``ValueError`` likewise
        """
        ...

    async def exchange(self, exchange: Exchange) -> None:
        """Make an exchange; returns when the body of the answer has ended, broken off, or reached its cap.

        Cancelled, it gives up its connection.

        :raises NoAnswer: no status came
        :raises NotSent: :meth:`Exchange.leave` said so
        :raises ValueError: the request cannot be written as HTTP
        """
        ...


_OS_ERRORS: Final = {
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


_OURS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM))


def is_ours(failure: BaseException | None) -> bool:
    """Say whether this machine had nothing left to connect with."""
    return isinstance(failure, OSError) and failure.errno in _OURS


def describe(failure: OSError) -> str:
    """Say what went wrong in a few words."""
    return _OS_ERRORS.get(failure.errno or 0, "connection failed")


def certificate_refused(failure: BaseException) -> str:
    """Say why a certificate was not accepted."""
    reason = getattr(failure, "verify_message", None) or "it does not match the host"
    return f"TLS certificate not accepted: {reason}"


def handshake_failed(failure: BaseException) -> str:
    """Say why no secure connection came about."""
    reason = getattr(failure, "reason", None) or "no details"
    return f"TLS handshake failed: {reason.replace('_', ' ').lower()}"
