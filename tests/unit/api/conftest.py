"""The API on a fake Redis, a clock under the test's hand, and an engine that only says what it is told."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fakeredis import FakeAsyncRedis
from yarl import URL

from aioscheduler.api.context import CONTEXT, ApiConfig, Context
from aioscheduler.api.docs_pages import OPENAPI
from aioscheduler.api.middlewares import middlewares
from aioscheduler.api.openapi import document
from aioscheduler.api.routes import add_routes
from aioscheduler.domain.execution import DeadReason, Outcome, OutcomeKind
from aioscheduler.domain.message import MessageId
from aioscheduler.engine.guard import Guard
from aioscheduler.store.base import Decision, Settlement, Store
from aioscheduler.store.redis import RedisStore
from tests.support.clock import FakeClock

TOKEN = "a-token-only-tests-know"
HOOK = "https://example.com/hook"


@dataclass
class FakeEngine:
    """What the API may know of the engine."""

    running: bool = True
    listening: bool = True
    in_flight: int = 0
    window_size: int = 0
    loop_lag_seconds: float = 0.0


class Api:
    """Calls the API as a client with the token does; answers are ``(status, body)``."""

    def __init__(self, client: TestClient[web.Request, web.Application], context: Context, engine: FakeEngine) -> None:
        self.client = client
        self.context = context
        self.engine = engine
        assert isinstance(context.clock, FakeClock)
        self.clock = context.clock
        self.last_headers: dict[str, str] = {}

    async def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None, *, token: str = TOKEN
    ) -> tuple[int, Any]:
        """Make one request; ``body`` may be bytes to be sent as they are, or anything JSON can say."""
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.client.request(
            method,
            URL(path, encoded=True),
            data=data,
            headers=authorization | (headers or {}),
            allow_redirects=False,
        ) as response:
            self.last_headers = dict(response.headers)
            text = await response.read()
            is_json = response.content_type == "application/json" and text
            return response.status, orjson.loads(text) if is_json else text

    async def schedule(self, message_id: str, **more: object) -> Any:
        """Schedule a message and return the answer's body."""
        body = {"id": message_id, "scheduleTo": "2030-01-01T00:00:00Z", "payload": {}, "webhookUrl": HOOK}
        status, answer = await self.call("POST", "/messages", body | more)
        assert status in (200, 201), answer
        return answer

    async def bury(self, message_id: str, reason: DeadReason = DeadReason.RETRIES_EXHAUSTED) -> None:
        """Make a dead letter of a new message."""
        await self.schedule(message_id, scheduleTo="2020-01-01T00:00:00Z")
        store, now = self.context.store, self.clock.now()
        (claimed,) = await store.claim([MessageId(message_id)], now)
        outcome = Outcome(
            kind=OutcomeKind.FAILURE,
            started_at=now,
            finished_at=now,
            duration_ms=12.5,
            response_code=500,
            error="HTTP 500",
        )
        await store.settle(Settlement(claimed=claimed, decision=Decision.BURY, outcome=outcome, reason=reason))


MakeApi: TypeAlias = Callable[..., Awaitable[Api]]


@pytest.fixture
async def make_api() -> AsyncIterator[MakeApi]:
    """Return a function that builds the API with other settings, or another store."""
    redis = FakeAsyncRedis()
    clients: list[TestClient[web.Request, web.Application]] = []

    async def make(store: Store | None = None, block_private: bool = False, **settings: Any) -> Api:
        clock, engine = FakeClock(), FakeEngine()
        config = dataclasses.replace(ApiConfig(api_token=TOKEN, version="1.2.3"), **settings)
        context = Context(
            config=config,
            clock=clock,
            store=store or RedisStore(redis, clock, zone=config.zone, replica="test"),
            engine=engine,
            guard=Guard(block_private=block_private),
            started_at=clock.monotonic(),
        )
        app = web.Application(middlewares=middlewares(context), client_max_size=0)
        app[CONTEXT] = context
        app[OPENAPI] = orjson.dumps(document())
        add_routes(app)
        client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return Api(client, context, engine)

    yield make
    for client in clients:
        await client.close()
    await redis.aclose()


@pytest.fixture
async def api(make_api: MakeApi) -> Api:
    """The API with default settings."""
    return await make_api()
