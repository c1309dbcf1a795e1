"""A client that follows ``GET /events``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import ClientResponse


@dataclass
class Event:
    """One event of the stream."""

    name: str
    data: Any
    id: str | None


class Events:
    """Reads a stream; heartbeats are counted and left out."""

    def __init__(self, response: ClientResponse) -> None:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        self.heartbeats = 0
        self._response = response

    async def next(self, within: float = 30) -> Event | None:
        """Return the next event; ``None`` at the end of the stream."""
        members: dict[str, str] = {}
        async with asyncio.timeout(within):
            while line := await self._response.content.readline():
                name, _, value = line.decode().rstrip("\n").partition(":")
                if name:
                    members[name] = value.strip()
                elif "data" in members:
                    return Event(members["event"], orjson.loads(members["data"]), members.get("id"))
                elif not value and "" not in members and "retry" not in members:
                    self.heartbeats += 1
                else:
                    members = {}
        return None

    async def of(self, name: str, within: float = 30) -> Event:
        """Return the next event of a kind."""
        while (event := await self.next(within)) is not None:
            if event.name == name:
                return event
        raise AssertionError("the stream has ended")
