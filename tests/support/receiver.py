"""A webhook receiver that captures what it gets and answers from a script."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from multidict import CIMultiDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request, as it came over the wire. ``at_ms`` is the wall clock when its head was there, in milliseconds."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes
    at_ms: float
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to do with one request."""

    status: int = 200
    body: bytes = b"ok"
    headers: Sequence[tuple[str, str]] = ()
    gate: asyncio.Event | None = None
    """Answer only once this is set."""
    hang: bool = False
    """Never answer; the connection stays open."""
    hang_body: bool = False
    """Send the head, then nothing more."""
    drop: bool = False
    """Close the connection without an answer."""
    endless: bool = False
    """Send a body that does not end."""
    close: bool = False
    """Close the connection after the answer, without announcing it."""
    raw: bytes | None = None
    """Send these bytes in place of an answer, then close."""


class Receiver:
    """An HTTP/1.1 server on a free port of loopback; an async context manager.

    Each request takes the next of ``script``; when that is empty ``respond`` decides, which gives ``Answer()`` unless
    it was replaced. Captured requests are in ``requests``, in order of arrival.
    """

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.script: deque[Answer] = deque(answers)
        self.respond: Callable[[Received], Answer] = lambda request: Answer()
        self.connections = 0
        self.open_connections = 0
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Receiver:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen; with ``port``, on that one, to come back after a stop."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", port, ssl=self._tls, backlog=4096, limit=2**20
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and the port. May come twice."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    async def wait_for(self, count: int, timeout: float = 30) -> list[Received]:
        """Return the requests once there are ``count`` of them or more.

        :raises TimeoutError: with what has come so far
        """
        await self.until(lambda: len(self.requests) >= count, timeout)
        return self.requests

    async def until(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        """Return once ``condition`` holds; it is asked again whenever a request comes or a connection ends.

        :raises TimeoutError: with what has come so far
        """
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            got = [f"{request.method} {request.target}" for request in self.requests[:20]]
            raise TimeoutError(f"{len(self.requests)} requests after {timeout} s: {got}") from None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        try:
            while await self._exchange(reader, writer, connection):
                pass
        except (OSError, EOFError):
            pass  # the client went away, which tests cause on purpose
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
            self.open_connections -= 1
            self._changed.set()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> bool:
        request = await _read(reader, connection)
        self.requests.append(request)
        self._changed.set()
        answer = self.script.popleft() if self.script else self.respond(request)
        if answer.gate is not None:
            await answer.gate.wait()
        if answer.drop:
            return False
        if answer.hang:
            await reader.read()
            return False
        if answer.raw is not None:
            writer.write(answer.raw)
            await _flush(writer)
            return False
        await self._answer(writer, reader, request, answer)
        return not answer.close

    async def _answer(
        self, writer: asyncio.StreamWriter, reader: asyncio.StreamReader, request: Received, answer: Answer
    ) -> None:
        phrase = HTTPStatus(answer.status).phrase
        bodiless = request.method == "HEAD" or answer.status in (204, 304)
        lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in answer.headers)]
        if answer.endless:
            lines.append("Transfer-Encoding: chunked")
        elif answer.status != 204:
            lines.append(f"Content-Length: {len(answer.body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        if answer.hang_body:
            writer.write(head)
            await reader.read()
            return
        writer.write(head if answer.endless or bodiless else head + answer.body)
        await writer.drain()
        while answer.endless:
            writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            await writer.drain()
        if answer.close:
            await _flush(writer)


async def _flush(writer: asyncio.StreamWriter) -> None:
    """Wait until everything written has left: what follows is an abort."""
    writer.transport.set_write_buffer_limits(0)
    await writer.drain()


async def _read(reader: asyncio.StreamReader, connection: int) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    at_ms = time.time() * 1000
    first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, value = line.split(":", 1)
        headers.add(name, value.strip())
    if headers.get("Transfer-Encoding") == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("Content-Length", "0")))
    return Received(method=method, target=target, headers=headers, body=body, at_ms=at_ms, connection=connection)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body
