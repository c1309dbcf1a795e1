"""What a page learns about the credentials somebody signs in with."""

from __future__ import annotations

import jwt
import pytest

from tests.unit.api.conftest import ACCOUNT, API_KEY, JWT_SECRET, TOKEN, MakeApi

EVERYTHING = {"opens": ["messages", "jobs", "bots"], "accounts": None}
NOTHING: dict[str, object] = {"opens": [], "accounts": []}


def _token(**claims: object) -> str:
    return jwt.encode({"sub": ACCOUNT, "aud": "authenticated", "exp": 4_000_000_000} | claims, JWT_SECRET, "HS256")


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (TOKEN, EVERYTHING),
        (API_KEY, {"opens": ["bots"], "accounts": []}),
        (_token(), {"opens": ["jobs"], "accounts": [ACCOUNT]}),
        (_token(role="service_role"), {"opens": ["jobs"], "accounts": None}),
        (_token(exp=1), NOTHING),
        ("wrong", NOTHING),
        ("", NOTHING),
    ],
)
async def test_credentials_open_what_they_open_elsewhere(
    make_api: MakeApi, secret: str, expected: dict[str, object]
) -> None:
    api = await make_api(api_key=API_KEY, jwt_secret=JWT_SECRET)
    shown = {"X-API-Key": secret} if secret else {}
    assert await api.call("GET", "/session", token=secret, headers=shown) == (200, expected)
    assert api.last_headers["Cache-Control"] == "no-store"


async def test_the_token_as_a_key_opens_bot_jobs_where_no_key_is_set_apart(make_api: MakeApi) -> None:
    api = await make_api(api_key=None)
    found = await api.call("GET", "/session", token="", headers={"X-API-Key": TOKEN})
    assert found == (200, {"opens": ["bots"], "accounts": []})


async def test_credentials_cannot_be_guessed_faster_than_elsewhere(make_api: MakeApi) -> None:
    api = await make_api(rate_limit_per_second=2)
    assert [(await api.call("GET", "/session", token="wrong"))[0] for _ in range(3)] == [200, 200, 429]
    assert (await api.call("GET", "/messages", token="wrong"))[0] == 429, "it is the same count"
    guess = {"X-API-Key": "wrong"}
    assert (await api.call("GET", "/session", token="", headers=guess))[0] == 429
    assert [(await api.call("GET", "/session", headers=guess))[0] for _ in range(3)] == [200, 200, 429]
    assert [(await api.call("GET", "/session", token=""))[0] for _ in range(3)] == [200] * 3, "who shows none"
