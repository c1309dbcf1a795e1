"""An HTTP proxy on loopback that counts what it is asked for."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from contextlib import suppress


class Proxy:
    """Forwards requests, and opens tunnels; an async context manager. Every name leads to 127.0.0.1.

    ``asked`` holds the first line of each request. With ``user`` it refuses whoever does not show these credentials;
    with ``answer`` it gives this, whatever is asked.
    """

    def __init__(self, *, user: str | None = None, password: str = "", answer: bytes | None = None) -> None:
        self.asked: list[str] = []
        self.connections = 0
        self.port = 0
        self._wanted = None if user is None else "Basic " + b64encode(f"{user}:{password}".encode()).decode()
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None, "entered"
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def url(self, userinfo: str = "") -> str:
        return f"http://{userinfo and userinfo + '@'}127.0.0.1:{self.port}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._one(reader, writer)
        except (OSError, EOFError):
            pass  # one side has closed, and so do we
        finally:
            with suppress(OSError):
                writer.close()
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        credentials = headers.pop("Proxy-Authorization", None)
        self.asked.append(first)
        method, target, _ = first.split(" ")
        if self._answer is not None:
            writer.write(self._answer)
            await writer.drain()
        elif credentials != self._wanted:
            writer.write(b"HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            raise EOFError
        elif method == "CONNECT":
            there = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await asyncio.gather(_relay(reader, there[1]), _relay(there[0], writer))
            finally:
                there[1].close()
            raise EOFError
        else:
            await self._forward(method, target, headers, reader, writer)

    async def _forward(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        authority, _, path = target.removeprefix("http://").partition("/")
        body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        there_reader, there = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(":")[2]))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        there.write(f"{method} /{path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        try:
            answer = await there_reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: (\d+)\r\n", answer)
            assert length is not None, "receivers of tests say it"
            writer.write(answer + await there_reader.readexactly(int(length[1])))
            await writer.drain()
        finally:
            there.close()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.close()
