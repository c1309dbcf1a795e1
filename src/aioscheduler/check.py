"""What the service would run on: what works, and what is at risk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError, ResponseError

from aioscheduler.clock import SystemClock
from aioscheduler.config import Settings
from aioscheduler.errors import ConfigError, StoreUnavailable
from aioscheduler.server import client_for, open_store
from aioscheduler.store.channel import Keeping
from aioscheduler.store.connect import close
from aioscheduler.store.redis import RedisStore
from aioscheduler.store.report import has_events, is_too_old, text

#: Seconds to wait for a store that is still loading its file.
_LOAD_LIMIT = 60.0


async def check(settings: Settings, say: Callable[[str], None] = print) -> int:
    """Say what works and what is at risk; return 1 when the store cannot be used as it is set or is too old, else 0.

    With the embedded store, the server of a running service is asked; where none runs, one is started for the moment.
    """
    say("ok    settings")
    async with AsyncExitStack() as stack:
        try:
            redis = await _open_store_to_look(settings, stack)
            await _until_loaded(redis)
            kind = "embedded" if settings.embedded else "redis"
            keeping = Keeping(
                replicas=settings.store_wait_replicas,
                append_only=settings.store_wait_aof and not settings.embedded,
            )
            store = RedisStore(
                redis, SystemClock(), zone=settings.timezone, replica="check", kind=kind, keeping=keeping
            )
            await store.ping()
            report = await store.report()
            flags = await _event_flags(redis)
        except (ConfigError, StoreUnavailable, RedisError, OSError, TimeoutError) as error:
            cause = error.__cause__ if isinstance(error, StoreUnavailable) else error
            say(f"fail  store at {settings.store_address}: {cause or error}")
            return 1
    say(f"ok    store at {settings.store_address}: {report.version}, {report.persistence}")
    if flags is not None:
        say("ok    keyspace notifications " + ("are on" if has_events(flags) else "can be switched on"))
    # The service adds the flags itself where it may: no risk, then.
    risks = [risk for risk in map(str, report.risks) if flags is None or not risk.startswith("notify-keyspace-events")]
    refusing = [risk for risk in risks if risk.startswith("STORE_WAIT_")]
    for risk in risks:
        say(f"{'fail' if risk in refusing else 'risk'}  {risk}")
    if not risks:
        say("ok    nothing that was accepted is at risk")
    return int(bool(refusing) or is_too_old(report.version.rpartition(" ")[2]))


async def _open_store_to_look(settings: Settings, stack: AsyncExitStack) -> Redis:
    if not settings.embedded:
        return await open_store(settings, stack)
    from aioscheduler.store.embedded import EmbeddedServer, FolderInUse

    try:
        return await open_store(settings, stack)
    except FolderInUse:
        redis = client_for(settings, EmbeddedServer(settings.data_dir).url)
        stack.push_async_callback(close, redis)
        return redis


async def _until_loaded(redis: Redis) -> None:
    async with asyncio.timeout(_LOAD_LIMIT):
        while True:
            try:
                await redis.execute_command("PING")  # type: ignore[no-untyped-call]
            except BusyLoadingError:
                await asyncio.sleep(0.1)
            else:
                return


async def _event_flags(redis: Redis) -> str | None:
    """Return the flags of keyspace notifications; ``None`` where the server does not let us set them.

    Found out by setting them to what they are.
    """
    name = "notify-keyspace-events"
    try:
        answer = await redis.config_get(name)
        flags = "".join(text(value) for value in answer.values())
        await redis.config_set(name, flags)
    except ResponseError:
        return None
    return flags
