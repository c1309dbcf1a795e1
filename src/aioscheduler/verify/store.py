"""The store under test: one of the verifier's own, or a database of the operator's that was empty."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from aioscheduler.config import Settings
from aioscheduler.errors import ConfigError, Sentence
from aioscheduler.server import client_for
from aioscheduler.store.connect import close, connect
from aioscheduler.store.embedded import EmbeddedServer

_POLL = 0.02
_START_LIMIT = 30.0
_PAGE = 1000


class StoreUnderTest(Protocol):
    """A store that can be troubled. Each method returns when the trouble is over."""

    async def restart(self) -> None:
        """End its process as a crash would, and return once a new one answers."""
        ...

    async def freeze(self, seconds: float) -> None:
        """Let it answer nobody for so long; connections stay open."""
        ...

    async def cut(self) -> None:
        """Close every connection to it."""
        ...

    async def stop(self) -> None:
        """Leave nothing of the run behind. May come twice."""
        ...


class OwnStore:
    """A server in a folder of its own, every write on disk before it is answered."""

    def __init__(self, folder: Path, program: Path | None) -> None:
        self._server = EmbeddedServer(folder, program, death_signal="KILL")
        self._client: Redis | None = None

    @property
    def url(self) -> str:
        """Where replicas find it."""
        return self._server.url

    async def start(self) -> None:
        """Start it.

        :raises ConfigError: no server is installed
        """
        await self._server.start()
        self._client = connect(url=self.url)

    async def restart(self) -> None:
        """The embedded server's owner starts it again, as it does in the service."""
        old = self._server.pid
        if old is not None:
            os.kill(old, signal.SIGKILL)
        async with asyncio.timeout(_START_LIMIT):
            while self._server.pid in (None, old) or not await self._answers():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_POLL)

    async def freeze(self, seconds: float) -> None:
        pid = self._server.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(_START_LIMIT):
            while not await self._answers():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_POLL)

    async def cut(self) -> None:
        assert self._client is not None, "started"
        await _cut(self._client, database=0)

    async def stop(self) -> None:
        if self._client is not None:
            await close(self._client)
            self._client = None
        await self._server.stop()

    async def _answers(self) -> bool:
        assert self._client is not None, "started"
        try:
            await self._client.execute_command("PING")  # type: ignore[no-untyped-call]
        except (RedisError, OSError):
            return False
        return True


class GivenStore:
    """A database of the operator's own server, which goes on serving others."""

    def __init__(self, settings: Settings, database: int) -> None:
        self._client = client_for(settings, settings.redis_url)
        self._address = settings.store_address
        self._database = database
        self._ours = False

    async def start(self) -> None:
        """See that nothing is lost by using it.

        :raises ConfigError: it cannot be used, or holds something
        """
        try:
            size = int(await self._client.dbsize())
        except (RedisError, OSError) as error:
            raise ConfigError(
                Sentence("The store at {address} cannot be used: {error}", address=self._address, error=error)
            ) from error
        if size:
            raise ConfigError(
                Sentence(
                    "Database {number} of {address} is not empty: give --db the number of one that is.",
                    number=self._database,
                    address=self._address,
                )
            )
        self._ours = True

    async def restart(self) -> None:
        """Not planned for a server that is not ours.

        :raises NotImplementedError: always
        """
        raise NotImplementedError

    async def freeze(self, seconds: float) -> None:
        await self._client.client_pause(round(seconds * 1000), all=True)
        await asyncio.sleep(seconds)

    async def cut(self) -> None:
        await _cut(self._client, database=self._database)

    async def stop(self) -> None:
        if self._ours:
            self._ours = False
            await self._empty()
        await close(self._client)

    async def _empty(self) -> None:
        for pattern in ("message:*", "aioscheduler:*"):
            async for keys in _pages(self._client, pattern):
                await self._client.unlink(*keys)


async def _pages(client: Redis, pattern: str) -> AsyncIterator[list[bytes | str]]:
    cursor = 0
    while True:
        cursor, keys = await client.scan(cursor, match=pattern, count=_PAGE)
        if keys:
            yield keys
        if not cursor:
            return


async def _cut(client: Redis, database: int) -> None:
    """Close the connections to one database, however they are used; ours stays."""
    own = int(await client.client_id())
    for line in await client.client_list():
        if int(line["db"]) == database and int(line["id"]) != own:
            await client.client_kill_filter(_id=line["id"])
