"""Keyspace notifications, as only a real server sends them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from redis.asyncio import Redis

from aioscheduler.domain.message import ConflictPolicy, MessageId
from aioscheduler.store.base import Scheduled
from aioscheduler.store.connect import connect
from aioscheduler.store.notify import Notifications, Subscribed
from aioscheduler.store.recurring import JobsChanged
from aioscheduler.store.redis import RedisStore
from aioscheduler.store.report import EVENT_FLAGS, has_events
from tests.support.clock import START, FakeClock
from tests.support.jobs import job, webhook
from tests.support.messages import bury, done, message, outside_record
from tests.support.redis_server import RedisServer
from tests.support.stores import ids, make_store


class Listener:
    """Reads notifications all the time and keeps what came."""

    def __init__(self, redis: Redis, store: RedisStore, database: int = 0) -> None:
        self.notifications = Notifications(redis, database, store.echoes)
        self.redis = redis
        self.subscribed: list[Subscribed] = []
        self.hints: list[str] = []
        self.jobs: list[str] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Listener:
        await self.notifications.start()
        await self.notifications.start()  # the second does nothing
        self._task = asyncio.create_task(self._read())
        await self.until_subscribed(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        await self.notifications.stop()
        await self.notifications.stop()
        self._task.cancel()
        await asyncio.wait([self._task])
        assert not self.notifications.connected

    async def _read(self) -> None:
        async for hint in self.notifications:
            if isinstance(hint, Subscribed):
                self.subscribed.append(hint)
            elif isinstance(hint, JobsChanged):
                self.jobs += hint.ids
            else:
                self.hints += hint
            self._changed.set()

    async def until(self, count: int, what: list[object] | list[str] | list[Subscribed], within: float = 30) -> None:
        async with asyncio.timeout(within):
            while len(what) < count:
                self._changed.clear()
                await self._changed.wait()

    async def until_subscribed(self, count: int, within: float = 30) -> None:
        await self.until(count, self.subscribed, within)

    async def marked(self) -> list[str]:
        """Return what was hinted up to now: notifications come in order, so all that is older has come by then."""
        await self.redis.set("message:mark", b"x")
        while "mark" not in self.hints:
            async with asyncio.timeout(30):
                self._changed.clear()
                await self._changed.wait()
        found, self.hints[:] = [hint for hint in self.hints if hint != "mark"], []
        await self.redis.delete("message:mark")
        await self.until(1, self.hints)
        self.hints.clear()
        return found


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may break."""
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
async def client(own_server: RedisServer) -> AsyncIterator[Redis]:
    client = connect(url=own_server.url)
    yield client
    await client.aclose()


@pytest.fixture
def store(redis: Redis) -> RedisStore:
    return make_store(redis, FakeClock())


async def flags(redis: Redis) -> str:
    answer = await redis.config_get("notify-keyspace-events")
    value = next(iter(answer.values()))
    return value.decode() if isinstance(value, bytes) else str(value)


async def test_what_other_replicas_do_to_a_job_is_hinted_at_and_our_own_is_not(redis: Redis, store: RedisStore) -> None:
    other = make_store(redis, FakeClock(), "other")
    async with Listener(redis, store) as listener:
        theirs, ours = job(), job()
        assert await store.create_job(ours, START)
        assert await other.create_job(theirs, START)
        await listener.until(1, listener.jobs)
        assert await other.put_webhook(webhook(theirs), new=True)
        await listener.until(2, listener.jobs)
        assert await store.delete_job(ours)
        assert await other.delete_job(theirs)
        await listener.until(3, listener.jobs)
        assert await listener.marked() == []
        assert listener.jobs == [theirs.id] * 3


async def test_whatever_others_do_to_a_record_is_hinted_at(redis: Redis, store: RedisStore) -> None:
    async with Listener(redis, store) as listener:
        await redis.set("message:set", b"1")
        assert await listener.marked() == ["set"]
        await redis.append("message:set", b"2")
        assert await listener.marked() == ["set"]
        await redis.rename("message:set", "message:renamed")
        assert sorted(await listener.marked()) == ["renamed", "set"]
        await redis.delete("message:renamed")
        assert await listener.marked() == ["renamed"]
        await redis.set("message:brief", b"1", px=20)
        await listener.until(1, listener.hints)
        listener.hints.clear()
        await listener.until(1, listener.hints)
        assert listener.hints == ["brief"], "it has expired"
        listener.hints.clear()
        await redis.set("message:*[é ]\n", b"1")
        await redis.mset(
            {b"message:\xff": b"1", b"messages": b"1", b"other:message:x": b"1", "message:é".encode(): b"1"}
        )
        assert await listener.marked() == ["*[é ]\n", "é"]


async def test_many_writes_to_one_key_are_one_hint(redis: Redis, store: RedisStore) -> None:
    async with Listener(redis, store) as listener:
        await redis.eval("for i = 1, 200 do redis.call('SET', KEYS[1], i) end", 1, "message:m")
        assert await listener.marked() == ["m"]


async def test_our_own_writes_are_not_hinted_at(redis: Redis, store: RedisStore) -> None:
    clock = FakeClock()
    async with Listener(redis, store) as listener:
        for name in ("a", "b", "c", "d"):
            new = message(name)
            assert await store.schedule(new, ConflictPolicy.REJECT, new.due_at) is Scheduled.CREATED
        new = message("a")
        assert await store.schedule(new, ConflictPolicy.REJECT, new.due_at) is Scheduled.EXISTS
        assert await store.schedule(new, ConflictPolicy.REPLACE, new.due_at) is Scheduled.REPLACED
        first, second = await store.claim(ids("a", "b"), clock.now())
        await store.settle(done(first))
        await store.settle(bury(second))
        letter = await store.dead_letter(MessageId("b"))
        assert letter is not None
        assert letter.message is not None
        await store.replay(letter, letter.message, clock.now())
        await store.cancel(ids("c", "never"))
        await store.cancel_matching("d", "")
        assert await listener.marked() == []
        await redis.set("message:a", outside_record())
        assert await listener.marked() == ["a"], "nothing is left over that would hide another's"


async def test_another_replicas_writes_are_hinted_at(redis: Redis, store: RedisStore) -> None:
    other = make_store(redis, FakeClock(), "two")
    async with Listener(redis, store) as listener:
        new = message("m")
        await other.schedule(new, ConflictPolicy.REJECT, new.due_at)
        assert await listener.marked() == ["m"]


async def test_an_outsiders_write_that_beat_ours_is_hinted_at(redis: Redis, store: RedisStore) -> None:
    async with Listener(redis, store) as listener:
        store.echoes.expect(b"message:m")  # as we do before we ask the server …
        await redis.set("message:m", outside_record())
        assert await listener.marked() == []
        store.echoes.forget(b"message:m")  # … which answers that the id is taken
        assert await listener.marked() == ["m"]


async def test_only_the_database_in_use_counts(redis_server: RedisServer) -> None:
    first, second = connect(url=redis_server.url), connect(host="127.0.0.1", port=redis_server.port, db=1)
    await first.flushall()
    try:
        async with Listener(second, make_store(second, FakeClock()), 1) as listener:
            await first.set("message:m", b"1")
            await second.set("message:n", b"1")
            assert await listener.marked() == ["n"]
    finally:
        await first.flushall()
        await first.aclose()
        await second.aclose()


async def test_flags_that_are_there_are_kept_and_what_we_need_is_added(own_server: RedisServer, client: Redis) -> None:
    await client.config_set("notify-keyspace-events", "El")
    async with Listener(client, make_store(client, FakeClock())) as listener:
        assert set(await flags(client)) == set("El" + EVENT_FLAGS)
        assert listener.subscribed == [Subscribed(has_events=True)]


async def test_a_connection_that_is_cut_is_made_again_and_says_so(own_server: RedisServer, client: Redis) -> None:
    async with Listener(client, make_store(client, FakeClock())) as listener:
        await client.client_kill_filter(_type="pubsub")
        await listener.until_subscribed(2)
        await client.set("message:m", b"1")
        assert await listener.marked() == ["m"]
        assert listener.notifications.connected


async def test_what_an_old_connection_was_to_tell_hides_nothing_on_the_new_one(client: Redis) -> None:
    store = make_store(client, FakeClock())
    async with Listener(client, store) as listener:
        store.echoes.expect(b"message:m")  # a write of ours, whose notification dies with the connection
        await client.client_kill_filter(_type="pubsub")
        await listener.until_subscribed(2)
        await client.set("message:m", b"1")
        assert await listener.marked() == ["m"]


async def test_after_a_restart_of_the_server_the_events_are_switched_on_again(
    own_server: RedisServer, client: Redis
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with Listener(client, make_store(client, FakeClock())) as listener:
            own_server.kill()
            own_server.start()
            await listener.until_subscribed(2)
            assert listener.subscribed[-1] == Subscribed(has_events=True)
            assert has_events(await flags(client))
            await client.set("message:m", b"1")
            assert await listener.marked() == ["m"]
    assert [entry["action"] for entry in logs] == ["notifications_lost", "notifications_back"]


async def test_a_frozen_server_is_noticed_and_used_again_when_it_thaws(own_server: RedisServer, client: Redis) -> None:
    async with Listener(client, make_store(client, FakeClock())) as listener:
        own_server.send(signal.SIGSTOP)
        try:
            frozen = time.monotonic()
            async with asyncio.timeout(30):  # never, were silence not noticed
                while listener.notifications.connected:
                    await asyncio.sleep(0.01)
            assert time.monotonic() - frozen > 0.9, "a server that is merely quiet is not given up"
        finally:
            own_server.send(signal.SIGCONT)
        await listener.until_subscribed(2)
        await client.set("message:m", b"1")
        assert await listener.marked() == ["m"]


async def test_a_quiet_server_is_not_given_up(redis: Redis, store: RedisStore) -> None:
    async with Listener(redis, store) as listener:
        await asyncio.sleep(2.3)  # two rounds of silence: the time itself is what is tested
        assert len(listener.subscribed) == 1
        assert listener.notifications.connected


async def test_a_server_that_refuses_config_is_warned_about_once() -> None:
    server = RedisServer("--rename-command", "CONFIG", "")
    server.start()
    client = connect(url=server.url)
    try:
        with structlog.testing.capture_logs() as logs:
            async with Listener(client, make_store(client, FakeClock())) as listener:
                assert listener.subscribed == [Subscribed(has_events=False)]
                await client.client_kill_filter(_type="pubsub")
                await listener.until_subscribed(2)
                assert listener.subscribed[-1] == Subscribed(has_events=False)
        assert [entry["action"] for entry in logs].count("notifications_refused") == 1
    finally:
        await client.aclose()
        server.close()


async def test_a_user_who_may_not_subscribe_is_warned_about_once(own_server: RedisServer, client: Redis) -> None:
    await client.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "resetchannels"
    )
    limited = connect(url=own_server.url, username="app", password="secret")
    try:
        with structlog.testing.capture_logs() as logs:
            async with Listener(limited, make_store(limited, FakeClock())) as listener:
                assert listener.subscribed == [Subscribed(has_events=False)]
        assert [entry["action"] for entry in logs] == ["notifications_refused"]
        assert "secret" not in repr(logs)
    finally:
        await limited.aclose()


async def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    server = RedisServer()
    client = connect(url=server.url)
    notifications = Notifications(client, 0, make_store(client, FakeClock()).echoes)
    try:
        await notifications.start()
        await asyncio.sleep(0)
        assert not notifications.connected
        server.start()
        async with asyncio.timeout(30):
            async for hint in notifications:
                assert isinstance(hint, Subscribed)
                break
        assert notifications.connected
    finally:
        await notifications.stop()
        await client.aclose()
        server.close()
