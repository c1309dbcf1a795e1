"""The receiver, a process of its own: answers every POST with 200 and notes when each message or execution arrived.

``POST /slow`` is answered after :data:`SLOW_SECONDS`, any other at once.
``GET /count`` answers how many came, ``GET /take`` all of them as ``[[id, wall clock in ms], …]`` and forgets them,
and ``GET /cpu`` the seconds of CPU used so far.
"""

from __future__ import annotations

import asyncio
import time

import orjson
import uvloop

_IDS = (b"x-scheduler-message-id: ", b"x-scheduler-job-id: ")
_LENGTH = b"content-length: "
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

#: How long a hook thinks that is slow.
SLOW_SECONDS = 0.05

arrivals: list[tuple[str, float]] = []


class Receiver(asyncio.Protocol):
    """One connection; requests on it follow each other."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        now = time.time() * 1000
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end].lower()
            at = head.find(_LENGTH)
            whole = end + 4 + (int(head[at + 16 :].split(b"\r", 1)[0]) if at > 0 else 0)
            if len(buffer) < whole:
                break
            assert self._transport is not None, "connected"
            if head.startswith(b"post"):
                arrivals.append((_id(head), now))
                if head.startswith(b"post /slow"):
                    asyncio.get_running_loop().call_later(SLOW_SECONDS, self._transport.write, _OK)
                else:
                    self._transport.write(_OK)
            else:
                self._transport.write(_control(head.split(b" ", 2)[1]))
            buffer = buffer[whole:]
        self._buffer = buffer


def _id(head: bytes) -> str:
    for name in _IDS:
        if (at := head.find(name)) >= 0:
            return head[at + len(name) :].split(b"\r", 1)[0].decode()
    raise ValueError("a request of nobody")


def _control(path: bytes) -> bytes:
    answer: object = len(arrivals)
    if path == b"/take":
        answer = list(arrivals)
        arrivals.clear()
    elif path == b"/cpu":
        answer = time.process_time()
    body = orjson.dumps(answer)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def main() -> None:
    """Serve until killed; the port is the first line of the output."""
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
