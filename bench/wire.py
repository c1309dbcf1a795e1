"""HTTP/1.1 over plain sockets: a client that costs a tenth of what it measures."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import orjson

TOKEN = "token-of-the-benchmark-0123456789"

Done = Callable[[int, bytes], None]


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request to the service."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class Connection(asyncio.Protocol):
    """A kept connection with one request on it at a time. A lost one answers with status 0."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = bytearray()
        self._head = self._whole = 0
        self._done: Done | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a port of loopback."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def send(self, data: bytes, done: Done) -> None:
        """Send a request and call ``done`` with the status and the body of the answer."""
        assert self._transport is not None, "connected"
        if self._transport.is_closing():
            done(0, b"")
            return
        self._done = done
        self._transport.write(data)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.send(request(method, path, body), lambda status, answer: future.set_result((status, answer)))
        return await future

    def close(self) -> None:
        """Close the connection. May come twice."""
        self._done = None
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._whole:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            at = buffer.find(b"Content-Length: ", 0, end)
            self._head = end + 4
            self._whole = end + 4 + (int(buffer[at + 16 : buffer.index(b"\r", at)]) if at > 0 else 0)
        if len(buffer) < self._whole:
            return
        status, body = int(buffer[9:12]), bytes(buffer[self._head : self._whole])
        buffer.clear()
        self._whole = 0
        done, self._done = self._done, None
        if done is not None:
            done(status, body)

    def connection_lost(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(0, b"")


@dataclass(slots=True)
class Load:
    """What came of many requests; ``latencies`` in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Requests answered with success in a second."""
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300) / self.seconds

    @property
    def failed(self) -> int:
        """Requests that had no 2xx."""
        return sum(count for status, count in self.statuses.items() if not 200 <= status < 300)


async def flood(port: int, requests: Iterator[bytes], *, seconds: float = 60.0, connections: int = 64) -> Load:
    """Send as fast as answers come, on each connection one after the other, until the requests or the time run out."""
    load = Load()
    pool = [await Connection.open(port) for _ in range(connections)]
    finished = asyncio.Event()
    running = len(pool)
    began = time.perf_counter()
    until = began + seconds

    def step(connection: Connection) -> None:
        nonlocal running
        sent = time.perf_counter()
        data = next(requests, None) if sent < until else None
        if data is None:
            running -= 1
            if not running:
                finished.set()
            return

        def done(status: int, _: bytes) -> None:
            load.statuses[status] += 1
            load.latencies.append(time.perf_counter() - sent)
            if status:
                step(connection)
            else:
                loop.call_later(0.05, step, connection)

        connection.send(data, done)

    loop = asyncio.get_running_loop()
    for connection in pool:
        step(connection)
    async with asyncio.timeout(seconds + 30):
        await finished.wait()
    load.seconds = time.perf_counter() - began
    for connection in pool:
        connection.close()
    return load


async def pace(
    port: int, per_second: float, seconds: float, make: Callable[[int], bytes], connections: int = 64
) -> Load:
    """Send at an even pace whether answers come or not; latencies count from when each request should have left."""
    load = Load()
    pool = [await Connection.open(port) for _ in range(connections)]
    free = deque(pool)
    behind: deque[tuple[int, float]] = deque()
    total = round(per_second * seconds)
    finished = asyncio.Event()
    began = time.perf_counter()

    def leave(connection: Connection, number: int, planned: float) -> None:
        def done(status: int, _: bytes) -> None:
            load.statuses[status] += 1
            load.latencies.append(time.perf_counter() - planned)
            if behind:
                leave(connection, *behind.popleft())
            else:
                free.append(connection)
            if load.statuses.total() == total:
                finished.set()

        connection.send(make(number), done)

    for number in range(total):
        planned = began + number / per_second
        if (wait := planned - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        if free:
            leave(free.popleft(), number, planned)
        else:
            behind.append((number, planned))
    async with asyncio.timeout(60):
        await finished.wait()
    load.seconds = time.perf_counter() - began
    for connection in pool:
        connection.close()
    return load


async def post_batches(port: int, messages: Iterable[bytes], size: int = 1000, connections: int = 2) -> int:
    """Schedule messages by ``POST /messages/batch`` and return how many.

    :raises RuntimeError: one was refused
    """
    batches = _batches(messages, size)
    pool = [await Connection.open(port) for _ in range(connections)]

    async def work(connection: Connection) -> int:
        scheduled = 0
        for batch, count in batches:
            status, body = await connection.ask("POST", "/messages/batch", batch)
            answer = orjson.loads(body) if status == 200 else {}
            if answer.get("scheduled") != count:
                raise RuntimeError(f"a batch was answered {status}: {body[:300]!r}")
            scheduled += count
        return scheduled

    try:
        return sum(await asyncio.gather(*(work(connection) for connection in pool)))
    finally:
        for connection in pool:
            connection.close()


def _batches(messages: Iterable[bytes], size: int) -> Iterator[tuple[bytes, int]]:
    batch: list[bytes] = []
    for message in messages:
        batch.append(message)
        if len(batch) == size:
            yield b'{"messages":[' + b",".join(batch) + b"]}", size
            batch = []
    if batch:
        yield b'{"messages":[' + b",".join(batch) + b"]}", len(batch)
