"""The one place that wires: settings in, a web application out."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import orjson
import structlog
from aiohttp import web
from redis.asyncio import Redis

from aioscheduler import __version__
from aioscheduler.api.auth import MIN_SECRET_BYTES
from aioscheduler.api.context import CONTEXT, ApiConfig, Context
from aioscheduler.api.docs_pages import OPENAPI
from aioscheduler.api.middlewares import middlewares
from aioscheduler.api.openapi import document
from aioscheduler.api.routes import add_routes
from aioscheduler.bots.birthday import Birthday
from aioscheduler.bots.registry import load_bots
from aioscheduler.bots.visitor import Visitor
from aioscheduler.clock import Clock, SteeredClock
from aioscheduler.config import Settings
from aioscheduler.engine.bots import BotRunner
from aioscheduler.engine.circuit import Circuits
from aioscheduler.engine.decide import Defaults
from aioscheduler.engine.delivery import Deliverer
from aioscheduler.engine.dispatcher import Dispatcher
from aioscheduler.engine.executions import Executions
from aioscheduler.engine.guard import Guard
from aioscheduler.engine.pulse import Pulse
from aioscheduler.engine.service import Engine
from aioscheduler.engine.signing import Signer
from aioscheduler.engine.slots import Slots
from aioscheduler.store.channel import Keeping
from aioscheduler.store.notify import Notifications
from aioscheduler.store.redis import RedisStore

log = structlog.get_logger(__name__)


def build_store(settings: Settings, clock: Clock, redis: Redis, *, embedded: bool = False) -> RedisStore:
    """Return the store on a client that is not connected yet."""
    return RedisStore(
        redis,
        clock,
        zone=settings.timezone,
        replica=secrets.token_hex(6),
        delivery_log_size=settings.delivery_log_size,
        executions_per_job=settings.executions_per_job,
        bot_timeout=timedelta(seconds=settings.bot_timeout_seconds),
        kind="embedded" if embedded else "redis",
        # The embedded store is on the disk before each answer anyway.
        keeping=Keeping(replicas=settings.store_wait_replicas, append_only=settings.store_wait_aof and not embedded),
    )


def build_app(
    settings: Settings,
    clock: Clock,
    redis: Redis,
    *,
    api_token: str | None = None,
    embedded: bool = False,
    worker: int | None = None,
) -> web.Application:
    """Return the service. Its engine starts and stops with the application.

    :param redis: a client that gives bytes; the caller closes it, after the application
    :param api_token: what clients have to show; the settings' own by default
    :param worker: its number where several share a port
    :raises ValueError: no token at all: the service never runs open
    :raises ConfigError: the secret of JSON Web Tokens is none
    """
    token = api_token or settings.api_token
    if not token:
        raise ValueError("an API token is needed")
    if settings.supabase_jwt_secret and len(settings.supabase_jwt_secret.encode()) < MIN_SECRET_BYTES:
        log.warning(
            "SUPABASE_JWT_SECRET has fewer than 32 bytes, so it can be guessed from a token; set a longer one",
            action="jwt_secret_short",
        )
    store = build_store(settings, clock, redis, embedded=embedded)
    guard = Guard(block_private=settings.webhook_block_private, allow=settings.webhook_allow)
    pulse = Pulse(clock)
    deliverer = Deliverer(
        clock=clock,
        pulse=pulse,
        guard=guard,
        signer=Signer(settings.webhook_signing_secret) if settings.webhook_signing_secret else None,
        max_connections=settings.max_concurrency,
        user_agent=f"aioscheduler/{__version__}",
        proxy=settings.webhook_proxy,
    )
    bots = load_bots(
        {
            "birthday": Birthday(settings.birthday_contacts, settings.birthday_webhook_url, settings.birthday_message),
            "visitor": Visitor(settings.visitor_profiles, settings.visitor_delay_seconds),
        }
    )
    bot_timeout = timedelta(seconds=settings.bot_timeout_seconds)
    circuits = Circuits(settings.circuit_failures, settings.circuit_probe_seconds, settings.circuit_drain_per_second)
    notifications = Notifications(redis, _database(redis), store.echoes)
    engine = Engine(
        store=store,
        clock=clock,
        hints=notifications,
        dispatcher=Dispatcher(
            store=store,
            clock=clock,
            deliverer=deliverer,
            slots=Slots(settings.max_concurrency, settings.max_concurrency_per_host, circuits),
            defaults=Defaults(
                retry=settings.retry_defaults,
                timeout_seconds=settings.delivery_timeout_seconds,
                misfire_grace=settings.misfire_grace,
            ),
            executions=Executions(
                clock=clock,
                deliverer=deliverer,
                bots=BotRunner(bots=bots, store=store, clock=clock, deliverer=deliverer, time_limit=bot_timeout),
            ),
        ),
        window=timedelta(seconds=settings.window_seconds),
        window_entries=settings.window_max_entries,
        dead_letter_ttl=timedelta(days=settings.dead_letter_ttl_days),
        execution_ttl=timedelta(days=settings.execution_ttl_days),
        audit_ttl=timedelta(days=settings.audit_ttl_days),
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
    )
    if isinstance(clock, SteeredClock):
        clock.on_adjusted = engine.look
    config = ApiConfig(
        api_token=token,
        api_key=settings.api_key,
        jwt_secret=settings.supabase_jwt_secret,
        jwt_audience=settings.jwt_audience,
        jwt_jwks_url=settings.jwt_jwks_url,
        language=settings.api_language,
        zone=settings.timezone,
        max_body_bytes=settings.max_body_bytes,
        max_batch_bytes=settings.max_batch_bytes,
        on_conflict=settings.message_on_conflict,
        reject_past=settings.past_schedule == "reject",
        past_tolerance=timedelta(seconds=settings.past_schedule_tolerance_seconds),
        request_timeout_seconds=settings.request_timeout_seconds,
        rate_limit_per_second=settings.rate_limit_per_second,
        inbox=settings.inbox,
        punctuality_target_ms=settings.punctuality_target_ms,
        version=__version__,
        worker=worker,
        event_clients=settings.event_clients,
    )
    context = Context(
        config=config,
        clock=clock,
        store=store,
        jobs=store,
        bots=bots,
        engine=engine,
        guard=guard,
        started_at=clock.monotonic(),
    )

    context.feed.source = notifications

    async def ending(_: web.Application) -> None:
        # Before the server waits for its clients: a stream has no end of its own.
        context.feed.close()

    async def verifying(_: web.Application) -> AsyncIterator[None]:
        yield
        await context.credentials.close()

    async def running(_: web.Application) -> AsyncIterator[None]:
        await deliverer.start()
        beating = asyncio.create_task(pulse.run(), name="pulse")
        await engine.start()
        yield
        try:
            await engine.stop()
        finally:
            beating.cancel()
            await asyncio.wait([beating])
            await deliverer.stop()

    app = web.Application(middlewares=middlewares(context), client_max_size=0)
    app[CONTEXT] = context
    app[OPENAPI] = orjson.dumps(document())
    add_routes(app, with_dashboard=settings.dashboard)
    app.on_shutdown.append(ending)
    app.cleanup_ctx.append(verifying)
    app.cleanup_ctx.append(running)
    return app


def _database(redis: Redis) -> int:
    return int(redis.connection_pool.connection_kwargs.get("db") or 0)
