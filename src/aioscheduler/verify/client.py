"""A client of the replicas, which notes what it was told."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from aioscheduler.verify.ledger import Call, Ledger, Op

#: Seconds a client waits for an answer.
LIMIT = 5.0
_PAUSE = 0.3


def instant(ms: float) -> str:
    """Return milliseconds since 1970 as clients write an instant."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def unanswered(call: Call) -> bool:
    """Say whether nobody knows if a call was applied."""
    return call.status is None or call.status >= 500


class Client:
    """Asks the replicas in turn."""

    def __init__(self, ledger: Ledger, urls: Sequence[str], token: str) -> None:
        self._ledger = ledger
        self._urls = urls
        self._token = token
        self._turn = itertools.count()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=LIMIT),
        )
        # By default PUT and DELETE are sent again, unasked, when a kept connection turns out to be closed.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def tell(
        self, op: Op, id_: str, method: str, path: str, body: object = None, **about: Any
    ) -> tuple[Call, Any]:
        """Make a request of the load; return it as noted, with its answer, and the answer's body, if there is one.

        :param about: further fields of the call
        """
        replica = next(self._turn) % len(self._urls)
        call = Call(op=op, id=id_, replica=replica, sent_ms=time.time() * 1000, **about)
        self._ledger.calls.append(call)
        try:
            call.status, told = await self._request(replica, method, path, body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            call.error = str(error) or type(error).__name__
            return call, None
        call.answered_ms = time.time() * 1000
        return call, told

    async def ask(self, method: str, path: str, body: object = None, *, limit: float = 60.0) -> tuple[int, Any]:
        """Make a request that is not of the load, again and again until it is answered below 500.

        :raises TimeoutError: nobody answers for ``limit`` seconds
        """
        async with asyncio.timeout(limit):
            while True:
                try:
                    status, told = await self._request(next(self._turn) % len(self._urls), method, path, body)
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                    status, told = 599, None
                if status < 500:
                    return status, told
                await asyncio.sleep(_PAUSE)

    async def _request(self, replica: int, method: str, path: str, body: object) -> tuple[int, Any]:
        assert self._session is not None, "entered"
        data = None if body is None else orjson.dumps(body)
        async with self._session.request(method, self._urls[replica] + path, data=data) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if answer.content_type == "application/json" else None
