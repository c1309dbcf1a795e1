"""The API on a fake Redis, a clock under the test's hand, and an engine that only says what it is told."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import jwt
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
from aioscheduler.bots.birthday import Birthday
from aioscheduler.bots.visitor import Visitor
from aioscheduler.domain.execution import DeadReason, ExecutionStatus, Outcome, OutcomeKind
from aioscheduler.domain.message import MessageId
from aioscheduler.domain.target import Destination
from aioscheduler.engine.guard import Guard
from aioscheduler.store.base import Decision, Settlement, Store
from aioscheduler.store.recurring import ExecutionSettlement
from aioscheduler.store.redis import RedisStore
from tests.support.clock import START, FakeClock

TOKEN = "a-token-only-tests-know"
API_KEY = "a-key-for-bot-jobs-only"
JWT_SECRET = "a secret of at least 32 bytes, as it should be"
ACCOUNT = "123e4567-e89b-12d3-a456-426614174000"
HOOK = "https://example.com/hook"


@dataclass
class FakeEngine:
    """What the API may know of the engine."""

    running: bool = True
    listening: bool = True
    in_flight: int = 0
    window_size: int = 0
    loop_lag_seconds: float = 0.0
    store_risks: int = 0
    circuits_open: Sequence[Destination] = ()
    circuits_opened: int = 0


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

    async def bury(self, message_id: str, reason: DeadReason = DeadReason.RETRIES_EXHAUSTED, **members: object) -> None:
        """Make a dead letter of a new message."""
        await self.schedule(message_id, scheduleTo="2020-01-01T00:00:00Z", **members)
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

    async def job(self, **more: object) -> Any:
        """Make an account's job and return it."""
        body = {"account_id": ACCOUNT, "name": "Nightly", "schedule": "0 2 * * *", "type": 1}
        status, answer = await self.call("POST", "/api/jobs", body | more)
        assert status == 201, answer
        return answer

    async def webhook(self, job_id: str, **more: object) -> Any:
        """Give a job a webhook and return it."""
        status, answer = await self.call("POST", "/webhooks", {"job_id": job_id, "url": HOOK, "method": "POST"} | more)
        assert status == 201, answer
        return answer

    async def bot_job(self, **more: object) -> Any:
        """Make a bot job and return it."""
        body = {
            "name": "Visits",
            "bot_type": "visitor",
            "schedule_type": "daily",
            "schedule_config": {"hour": 8, "minute": 0},
        }
        status, answer = await self.call("POST", "/scheduler/jobs", body | more)
        assert status == 201, answer
        return answer

    async def settle(self, execution_id: str, reason: DeadReason | None = None, **ended: Any) -> None:
        """Attempt an execution that is due, which ends as a success, or as told."""
        jobs, now = self.context.jobs, self.clock.now()
        refs = [ref async for page in jobs.execution_window(now, 100) for _, ref in page if ref.id == execution_id]
        (claimed,) = await jobs.claim_executions(refs, now)
        members: dict[str, Any] = {
            "status": ExecutionStatus.SUCCESS,
            "finished_at": now,
            "duration_ms": 12.3456,
        } | ended
        final = dataclasses.replace(claimed.execution, **members)
        kind = OutcomeKind.SUCCESS if final.status is ExecutionStatus.SUCCESS else OutcomeKind.FAILURE
        outcome = Outcome(kind=kind, started_at=now, finished_at=now, duration_ms=12.5, error=final.error)
        await jobs.settle_execution(ExecutionSettlement(claimed=claimed, final=final, outcome=outcome, reason=reason))


def token_of(*accounts: str, **claims: object) -> str:
    """Return a good token that names these accounts."""
    expires = int((START + timedelta(days=1)).timestamp())
    return jwt.encode({"aud": "authenticated", "exp": expires, "account_ids": accounts} | claims, JWT_SECRET)


MakeApi: TypeAlias = Callable[..., Awaitable[Api]]


@pytest.fixture
async def make_api() -> AsyncIterator[MakeApi]:
    """Return a function that builds the API with other settings, or another store."""
    redis = FakeAsyncRedis()
    clients: list[TestClient[web.Request, web.Application]] = []

    async def make(store: Store | None = None, block_private: bool = False, **settings: Any) -> Api:
        clock, engine = FakeClock(), FakeEngine()
        config = dataclasses.replace(
            ApiConfig(api_token=TOKEN, api_key=API_KEY, jwt_secret=JWT_SECRET, version="1.2.3"), **settings
        )
        both: Any = store or RedisStore(redis, clock, zone=config.zone, replica="test")
        context = Context(
            config=config,
            clock=clock,
            store=both,
            jobs=both,
            bots={"birthday": Birthday(None, None, "Hello"), "visitor": Visitor(None, 0)},
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
