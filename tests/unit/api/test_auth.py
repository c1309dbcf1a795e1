"""Which credentials open which routes, and who the handler then hears calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import jwt
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fakeredis import FakeAsyncRedis
from marshmallow import Schema

from aioscheduler.api import middlewares
from aioscheduler.api.auth import (
    BOT_KEEPER,
    OPERATOR,
    Access,
    Credentials,
    Principal,
    TokenVerifier,
    principal,
)
from aioscheduler.api.context import ApiConfig, Context
from aioscheduler.api.routes import ROUTES, Route
from aioscheduler.app import build_app
from aioscheduler.config import Settings
from aioscheduler.domain.job import BOTS, Owner
from aioscheduler.engine.guard import Guard
from aioscheduler.errors import ConfigError
from tests.support.clock import FakeClock
from tests.unit.api.conftest import FakeEngine

TOKEN, KEY, SECRET = "the-token", "the-key", "a secret of at least 32 bytes, as it should be"
ACCOUNT, OTHER = "123e4567-e89b-12d3-a456-426614174000", "223e4567-e89b-12d3-a456-426614174000"


class Doors:
    """A small service with one route for each rule; answers are ``(status, body)``."""

    def __init__(self, client: TestClient[web.Request, web.Application], clock: FakeClock) -> None:
        self.client = client
        self.clock = clock

    async def knock(self, path: str, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.get(path, headers=named) as response:
            if response.status == 401:
                assert response.headers["WWW-Authenticate"] == "Bearer"
            return response.status, await response.json()

    def jwt(self, **claims: object) -> str:
        exp = int(self.clock.now().timestamp()) + 60
        return jwt.encode({"sub": ACCOUNT, "aud": "authenticated", "exp": exp} | claims, SECRET)


MakeDoors: TypeAlias = Callable[..., Awaitable[Doors]]


@pytest.fixture
async def make_doors(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeDoors]:
    """Return a function that builds the service with other settings."""
    clients: list[TestClient[web.Request, web.Application]] = []

    async def make(**settings: Any) -> Doors:
        clock = FakeClock()
        store: Any = object()
        context = Context(
            config=ApiConfig(**({"api_token": TOKEN, "api_key": KEY, "jwt_secret": SECRET} | settings)),
            clock=clock,
            store=store,
            jobs=store,
            engine=FakeEngine(),
            guard=Guard(block_private=False),
            started_at=0,
        )
        app = web.Application(middlewares=middlewares.middlewares(context))
        table: dict[Any, Route] = {}
        for access in (Access.TOKEN, Access.ACCOUNT, Access.API_KEY):
            handler, path = _handler(), f"/{access.value}"
            table[handler] = Route(
                method="GET", path=path, handler=handler, summary="", tag="", access=access, responses={200: Schema}
            )
            app.router.add_get(path, handler)
        app.router.add_get("/unlisted", _handler())
        monkeypatch.setattr(middlewares, "ROUTES_BY_HANDLER", table)
        client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return Doors(client, clock)

    yield make
    for client in clients:
        await client.close()


def _handler() -> Callable[[web.Request], Awaitable[web.Response]]:
    async def tell(request: web.Request) -> web.Response:
        who = principal(request)
        return web.json_response([who.caller, None if who.accounts is None else sorted(who.accounts)])

    return tell


@pytest.fixture
async def doors(make_doors: MakeDoors) -> Doors:
    """The service with a token, another key, and a secret for JWTs."""
    return await make_doors()


async def test_the_api_token_as_bearer_opens_every_route(doors: Doors) -> None:
    for path in ("/token", "/account", "/api_key", "/unlisted"):
        assert await doors.knock(path, Authorization=f"Bearer {TOKEN}") == (200, ["token", None])


async def test_a_jwt_opens_the_routes_of_accounts_only(doors: Doors) -> None:
    bearer = f"bearer {doors.jwt()}"
    assert await doors.knock("/account", Authorization=bearer) == (200, [f"jwt {ACCOUNT}", [ACCOUNT]])
    for path in ("/token", "/api_key", "/unlisted"):
        status, answer = await doors.knock(path, Authorization=bearer)
        assert (status, answer["error_code"], answer["detail"]) == (401, "UNAUTHORIZED", "The token is not valid.")


async def test_service_role_opens_no_more_routes_than_another_jwt(doors: Doors) -> None:
    bearer = f"Bearer {doors.jwt(role='service_role')}"
    assert (await doors.knock("/account", Authorization=bearer))[1] == [f"jwt {ACCOUNT}", None]
    for path in ("/token", "/api_key", "/unlisted"):
        assert (await doors.knock(path, Authorization=bearer))[0] == 401


async def test_the_api_key_opens_bot_jobs_only_and_only_in_its_header(doors: Doors) -> None:
    assert await doors.knock("/api_key", X_API_Key=KEY) == (200, ["key", ["bots"]])
    for path in ("/token", "/account", "/unlisted"):
        assert (await doors.knock(path, X_API_Key=KEY))[0] == 401
        assert (await doors.knock(path, Authorization=f"Bearer {KEY}"))[0] == 401
    assert (await doors.knock("/api_key", Authorization=f"Bearer {KEY}"))[0] == 401


async def test_the_token_counts_as_key_where_no_key_is_set_apart(make_doors: MakeDoors) -> None:
    doors = await make_doors(api_key=None)
    assert await doors.knock("/api_key", X_API_Key=TOKEN) == (200, ["token", None])
    for path in ("/token", "/account"):
        assert (await doors.knock(path, X_API_Key=TOKEN))[0] == 401
    doors = await make_doors()
    assert (await doors.knock("/api_key", X_API_Key=TOKEN))[0] == 401


async def test_either_of_two_credentials_is_enough(doors: Doors) -> None:
    assert (await doors.knock("/api_key", X_API_Key="x", Authorization=f"Bearer {TOKEN}"))[1] == ["token", None]
    assert (await doors.knock("/api_key", X_API_Key=KEY, Authorization="Bearer x"))[1] == ["key", ["bots"]]
    status, answer = await doors.knock("/api_key", X_API_Key="x", Authorization="Bearer x")
    assert (status, answer["detail"]) == (401, "The API key is not valid.")


@pytest.mark.parametrize("key", ["", " ", "the-ke", "the-key2", "é", KEY.upper()])
async def test_another_key_is_refused(doors: Doors, key: str) -> None:
    status, answer = await doors.knock("/api_key", X_API_Key=key)
    assert (status, answer["detail"]) == (401, "The API key is not valid.")


async def test_whoever_shows_nothing_is_told_what_the_route_needs(doors: Doors) -> None:
    for path, what in (
        ("/token", "Authorization: Bearer <API_TOKEN>"),
        ("/account", "Authorization: Bearer <JWT or API_TOKEN>"),
        ("/api_key", "X-API-Key: <API_KEY>"),
        ("/unlisted", "Authorization: Bearer <API_TOKEN>"),
    ):
        status, answer = await doors.knock(path)
        assert (status, answer["detail"]) == (401, f"This route needs the header {what}.")


@pytest.mark.parametrize("authorization", ["Bearer", "Bearer ", "Basic the-token", "the-token", "Bearerthe-token", "é"])
async def test_other_schemes_and_empty_tokens_are_refused(doors: Doors, authorization: str) -> None:
    for path in ("/token", "/account", "/api_key", "/unlisted"):
        assert (await doors.knock(path, Authorization=authorization))[0] == 401


async def test_a_jwt_under_another_scheme_is_refused(doors: Doors) -> None:
    assert (await doors.knock("/account", Authorization=f"Basic {doors.jwt()}"))[0] == 401


async def test_a_jwt_is_just_a_wrong_token_where_none_can_be_verified(make_doors: MakeDoors) -> None:
    doors = await make_doors(jwt_secret=None)
    status, answer = await doors.knock("/account", Authorization=f"Bearer {doors.jwt()}")
    assert (status, answer["detail"]) == (401, "The token is not valid.")


async def test_each_caller_has_a_rate_of_his_own(make_doors: MakeDoors) -> None:
    doors = await make_doors(rate_limit_per_second=1)
    token, one, two = (f"Bearer {text}" for text in (TOKEN, doors.jwt(), doors.jwt(sub=OTHER)))
    again = f"Bearer {doors.jwt(account_id=OTHER)}"
    assert (await doors.knock("/account", Authorization=token))[0] == 200
    assert (await doors.knock("/token", Authorization=token))[0] == 429
    assert (await doors.knock("/api_key", X_API_Key=KEY))[0] == 200
    assert (await doors.knock("/api_key", X_API_Key=KEY))[0] == 429
    assert (await doors.knock("/account", Authorization=one))[0] == 200
    assert (await doors.knock("/account", Authorization=again))[0] == 429, "another token of the same subject"
    assert (await doors.knock("/account", Authorization=two))[0] == 200
    assert (await doors.knock("/account", Authorization="Bearer x"))[0] == 401
    assert (await doors.knock("/account", Authorization="Bearer y"))[0] == 429, "failures count by address"


def test_a_principal_may_use_the_accounts_it_names() -> None:
    assert OPERATOR.is_operator
    assert OPERATOR.may(Owner(ACCOUNT))
    assert OPERATOR.may(BOTS)
    someone = Principal(caller="x", accounts=frozenset({Owner(ACCOUNT)}))
    assert not someone.is_operator
    assert someone.may(Owner(ACCOUNT))
    assert not someone.may(Owner(OTHER))
    assert not someone.may(BOTS)
    assert not BOT_KEEPER.is_operator
    assert BOT_KEEPER.may(BOTS)
    assert not BOT_KEEPER.may(Owner(ACCOUNT))
    assert not Principal(caller="x", accounts=frozenset()).is_operator, "no account is not every account"


def test_a_handler_has_one_rule() -> None:
    rules: dict[Any, set[Access]] = {}
    for route in ROUTES:
        rules.setdefault(route.handler, set()).add(route.access)
    assert [handler for handler, accesses in rules.items() if len(accesses) > 1] == []


@pytest.mark.parametrize(("token", "key"), [("", None), ("", "key"), ("token", "")])
def test_empty_secrets_would_let_everybody_in(token: str, key: str | None) -> None:
    tokens = TokenVerifier(FakeClock(), secret=None, audience="", jwks_url=None)
    with pytest.raises(ValueError, match="everybody"):
        Credentials(token, api_key=key, tokens=tokens)


async def test_the_settings_reach_the_routes() -> None:
    settings = Settings(
        api_token=TOKEN, api_key=KEY, supabase_jwt_secret=SECRET, jwt_audience="us", jwt_jwks_url="http://127.0.0.1:1/"
    )
    with structlog.testing.capture_logs() as logs:
        app = build_app(settings, FakeClock(), FakeAsyncRedis())
    (context,) = (value for value in app.values() if isinstance(value, Context))
    config = context.config
    assert (config.api_key, config.jwt_secret, config.jwt_audience, config.jwt_jwks_url) == (
        KEY,
        SECRET,
        "us",
        "http://127.0.0.1:1/",
    )
    assert not any(secret in repr(config) for secret in (TOKEN, KEY, SECRET))
    assert logs == []


@pytest.mark.parametrize(("secret", "warnings"), [("é" * 15, 1), ("é" * 16, 0)])
async def test_a_short_secret_is_warned_of_at_the_start(secret: str, warnings: int) -> None:
    with structlog.testing.capture_logs() as logs:
        build_app(Settings(api_token=TOKEN, supabase_jwt_secret=secret), FakeClock(), FakeAsyncRedis())
    assert [line["action"] for line in logs] == ["jwt_secret_short"] * warnings
    assert secret not in str(logs)


def test_a_public_key_is_no_shared_secret() -> None:
    pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----"
    with pytest.raises(ConfigError, match="JWT_JWKS_URL"):
        TokenVerifier(FakeClock(), secret=pem, audience="", jwks_url=None)
