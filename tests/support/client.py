"""A client of the service, as a user would write one."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from tests.support.processes import HEADERS


def instant(ms: float) -> str:
    """Return milliseconds since 1970 as a client writes an instant, rounded up: what comes then is not early."""
    return datetime.fromtimestamp(math.ceil(ms) / 1000, UTC).isoformat(timespec="milliseconds")


def now_ms() -> float:
    """Return the wall clock in milliseconds since 1970."""
    return time.time() * 1000


class Client:
    """Calls one replica; answers are ``(status, body)``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=HEADERS, timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._session is not None, "entered"
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Make one request."""
        assert self._session is not None, "entered"
        async with self._session.request(method, self.url + path, json=body) as response:
            return response.status, await response.json() if response.content_type == "application/json" else None

    async def schedule(self, message_id: str, due_ms: float, url: str, **more: Any) -> tuple[int, Any]:
        """Schedule one message."""
        body = {"id": message_id, "scheduleTo": instant(due_ms), "payload": {"id": message_id}, "webhookUrl": url}
        return await self.call("POST", "/messages", body | more)

    async def schedule_many(self, due: Sequence[tuple[str, float]], url: str, **more: Any) -> list[str]:
        """Schedule messages in batches; return the ids that were accepted."""
        accepted: list[str] = []
        for start in range(0, len(due), 500):
            messages = [
                {"id": id_, "scheduleTo": instant(at), "payload": {"id": id_}, "webhookUrl": url} | more
                for id_, at in due[start : start + 500]
            ]
            status, body = await self.call("POST", "/messages/batch", {"messages": messages})
            assert status == 200, body
            accepted += [one["messageId"] for one in body["results"] if one["status"] == "scheduled"]
        return accepted

    async def delete(self, message_id: str) -> tuple[int, Any]:
        """Delete one message."""
        return await self.call("DELETE", f"/messages/{quote(message_id, safe='')}")

    async def dead_letters(self) -> dict[str, Any]:
        """Return all dead letters by their ids."""
        found: dict[str, Any] = {}
        cursor = ""
        while True:
            _, body = await self.call("GET", f"/dead-letters?limit=1000{cursor}")
            found |= {letter["id"]: letter for letter in body["deadLetters"]}
            if not body["nextCursor"]:
                return found
            cursor = f"&cursor={quote(body['nextCursor'])}"
