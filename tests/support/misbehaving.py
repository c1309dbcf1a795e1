"""A receiver whose every byte, pause and close is the test's to say; it counts what arrives."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """One connection, as the receiver has it."""

    def __init__(
        self, receiver: Misbehaving, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self._receiver = receiver

    async def head(self) -> bytes:
        """Read the head of a request.

        :raises EOFError: the client closed before
        """
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """Read a request, note that it came on this connection, and return its body.

        :raises EOFError: the client closed before
        """
        head = await self.head()
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = await self.reader.readexactly(length)
        self._receiver.requests.append((self.number, head, body))
        self._receiver.changed()
        return body

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each in a packet of its own as far as that can be had."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            for _ in range(2 if len(pieces) > 1 else 0):
                await asyncio.sleep(0)

    def send_now(self, data: bytes) -> None:
        """Send behind the back of the loop: when this returns, the client's socket has the bytes."""
        os.write(self._socket().fileno(), data)

    def finish_now(self) -> None:
        """Close the sending side behind the back of the loop: the client's socket knows, the client does not."""
        with socket.socket(fileno=os.dup(self._socket().fileno())) as same:  # uvloop's cannot
            same.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset."""
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_closed(self) -> None:
        """Wait until the client has closed, reading whatever comes."""
        while await self.reader.read(2**16):
            pass

    def _socket(self) -> socket.socket:
        found: socket.socket = self.writer.get_extra_info("socket")
        return found


Serve = Callable[[Peer], Awaitable[None]]


class Misbehaving:
    """Serves each connection by a function of the test; an async context manager.

    ``requests`` holds connection, head and body of what came. A connection is closed when its function returns.
    """

    def __init__(self, serve: Serve, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[tuple[int, bytes, bytes]] = []
        self.peers: list[Peer] = []
        self.open = 0
        self.port = 0
        self._serve = serve
        self._tls = tls
        self._host = host
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._failures: list[BaseException] = []

    async def __aenter__(self) -> Misbehaving:
        self._server = await asyncio.start_server(self._accept, self._host, 0, ssl=self._tls, backlog=1024, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None, "entered"
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        assert not self._failures, self._failures

    @property
    def connections(self) -> list[int]:
        """On which connection each request came."""
        return [number for number, _, _ in self.requests]

    def url(self, path: str = "/hook", host: str = "") -> str:
        return f"{'https' if self._tls else 'http'}://{host or self._host}:{self.port}{path}"

    def changed(self) -> None:
        """Something happened that a test may wait for."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition holds; it is asked again whenever a request came or a connection ended."""
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(self, len(self.peers) + 1, reader, writer)
        self.peers.append(peer)
        self.open += 1
        self._changed.set()
        task = asyncio.get_running_loop().create_task(self._run(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, peer: Peer) -> None:
        try:
            await self._serve(peer)
            peer.writer.close()
        except (OSError, EOFError):
            pass  # the client went away, which is its right
        except Exception as failure:
            self._failures.append(failure)
        finally:
            with suppress(OSError):
                peer.writer.close()
                await peer.writer.wait_closed()
            self.open -= 1
            self._changed.set()


def answers(*pieces: bytes, close: bool = False, sent: asyncio.Event | None = None) -> Serve:
    """Return what sends these pieces to the first request of all and :data:`OK` to any other."""
    first = True

    async def serve(peer: Peer) -> None:
        nonlocal first
        while True:
            await peer.request()
            if not first:
                await peer.send(OK)
                continue
            first = False
            try:
                await peer.send(*pieces)
            finally:
                if sent is not None:
                    sent.set()
            if close:
                return

    return serve


def bytewise(data: bytes, size: int = 1) -> Sequence[bytes]:
    """Return each byte alone, or so many at a time."""
    return [data[at : at + size] for at in range(0, len(data), size)]
