"""The receivers: one destination for each temper, which note what they get and answer as it befits them."""

from __future__ import annotations

import asyncio
import socket
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

import orjson

from aioscheduler.verify.ledger import Hit, Temper

_END = b"\r\n\r\n"
_BACKLOG = 1024
#: What of 100 messages have their first attempts treated badly: those below a number, so many attempts.
_SPOILT: Final = ((10, 1_000), (20, 2), (40, 1))
#: Seconds a slow one takes at least, and how much longer at most: below the attempts' limit, also on a busy machine.
_SLOW, _SLOWER = 0.05, 0.35


def reserve() -> socket.socket:
    """Return a socket bound to a free port of the loopback interface, to be kept as long as the port is wanted.

    It does not listen: whoever sets ``SO_REUSEADDR`` may listen there, now or later, and nobody else is given the port.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def spoilt_attempts(key: str) -> int:
    """Return how many attempts at a message, or a run, a bad-tempered receiver treats badly; mostly none."""
    place = zlib.crc32(key.encode()) % 100
    return next((attempts for below, attempts in _SPOILT if place < below), 0)


class Receivers:
    """Listens on one port for each temper. ``well`` makes all of them answer 200 at once."""

    def __init__(self, note: Callable[[Hit], None]) -> None:
        self.well = False
        self._note = note
        self._held = {temper: reserve() for temper in Temper}
        self._servers: dict[Temper, asyncio.Server] = {}
        self._connections: dict[Temper, set[_Connection]] = {temper: set() for temper in Temper}

    def url(self, temper: Temper) -> str:
        """Return where a receiver of this temper is found."""
        return f"http://127.0.0.1:{self._held[temper].getsockname()[1]}/{temper.value}"

    async def start(self) -> None:
        """Listen on all ports."""
        for temper in Temper:
            await self.open(temper)

    async def open(self, temper: Temper) -> None:
        """Listen, also again."""
        self._servers[temper] = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self, temper),
            "127.0.0.1",
            self._held[temper].getsockname()[1],
            backlog=_BACKLOG,
            reuse_address=True,
        )

    def shut(self, temper: Temper) -> None:
        """Stop listening and break every connection off."""
        server = self._servers.pop(temper, None)
        if server is not None:
            server.close()
        for connection in list(self._connections[temper]):
            connection.abort()

    def close(self) -> None:
        """Shut all, and give the ports free. May come twice."""
        for temper in Temper:
            self.shut(temper)
            self._held[temper].close()

    def joined(self, temper: Temper, connection: _Connection) -> None:
        """Know a connection."""
        self._connections[temper].add(connection)

    def left(self, temper: Temper, connection: _Connection) -> None:
        """Forget a connection."""
        self._connections[temper].discard(connection)

    def noted(self, temper: Temper, head: dict[bytes, bytes], body: bytes, arrived_ms: float) -> Hit | None:
        """Note a request; ``None`` for one that is no webhook of ours."""
        hit = _hit(temper, head, body, arrived_ms)
        if hit is not None:
            self._note(hit)
        return hit


class _Connection(asyncio.Protocol):
    """One connection; the next request on it comes after the answer to the one before."""

    def __init__(self, owner: Receivers, temper: Temper) -> None:
        self._owner = owner
        self._temper = temper
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._head_ms: float | None = None
        self._open: Hit | None = None
        self._later: asyncio.TimerHandle | None = None
        self._ours = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport
        self._owner.joined(self._temper, self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.left(self._temper, self)
        if self._later is not None:
            self._later.cancel()
        self._end(None, cut=not self._ours)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(_END)) >= 0:
            if self._head_ms is None:
                self._head_ms = time.time() * 1000
            head = _headers(self._buffer[:end])
            whole = end + len(_END) + int(head.get(b"content-length", b"0"))
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + len(_END) : whole], self._buffer[whole:]
            arrived_ms, self._head_ms = self._head_ms, None
            hit = self._open = self._owner.noted(self._temper, head, body, arrived_ms)
            if hit is None:
                self._write(404)
            else:
                self._treat(hit)

    def abort(self) -> None:
        """Break the connection off from our side."""
        self._ours = True
        if self._transport is not None:
            self._transport.abort()

    def _treat(self, hit: Hit) -> None:
        key = hit.webhook_id if hit.is_job else hit.tag
        spoilt = not self._owner.well and hit.attempt <= spoilt_attempts(key)
        match self._temper:
            case Temper.SLOW if not self._owner.well:
                seconds = _SLOW + _SLOWER * (zlib.crc32(key.encode()) % 100) / 100
                self._later = asyncio.get_running_loop().call_later(seconds, self._answer, 200)
            case Temper.FAILING if spoilt:
                self._answer(503 if hit.attempt % 2 else 500)
            case Temper.HANGING if spoilt:
                pass  # until the attempt runs into its limit
            case Temper.DROPPING if spoilt:
                self.abort()
            case _:
                self._answer(200)

    def _answer(self, status: int) -> None:
        self._end(status)
        self._write(status)

    def _write(self, status: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 %d Done\r\nContent-Length: 0\r\n\r\n" % status)

    def _end(self, status: int | None, *, cut: bool = False) -> None:
        hit, self._open = self._open, None
        if hit is not None:
            hit.ended_ms, hit.status, hit.cut = time.time() * 1000, status, cut


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in lines}


def _hit(temper: Temper, head: dict[bytes, bytes], body: bytes, arrived_ms: float) -> Hit | None:
    with suppress(KeyError, ValueError, TypeError):
        job_id = head.get(b"x-scheduler-job-id", b"").decode()
        execution_id = head.get(b"x-scheduler-execution-id", b"").decode()
        return Hit(
            tag=job_id or orjson.loads(body)["tag"],
            is_job=bool(job_id),
            webhook_id=head[b"webhook-id"].decode(),
            attempt=int(head[b"x-scheduler-attempt"]),
            scheduled_for_ms=round(
                datetime.fromisoformat(head[b"x-scheduler-scheduled-for"].decode()).timestamp() * 1000
            ),
            execution_id=execution_id or None,
            temper=temper,
            arrived_ms=arrived_ms,
        )
    return None
