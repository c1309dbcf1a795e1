"""Tokens signed with the shared secret: which are good, and whose they are."""

from __future__ import annotations

import hashlib
import hmac
import json
import warnings
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest

from aioscheduler.api import auth
from aioscheduler.api.auth import Principal, TokenVerifier
from aioscheduler.domain.job import Owner
from aioscheduler.errors import AuthError
from tests.support.clock import START, FakeClock

SECRET = "a secret of at least 32 bytes, as it should be"
NOW = int(START.timestamp())
ONE, TWO, THREE, FOUR, FIVE = (Owner(f"{n}23e4567-e89b-12d3-a456-426614174abc") for n in range(1, 6))
CLAIMS: dict[str, Any] = {"sub": ONE, "aud": "authenticated", "exp": NOW + 60, "iat": NOW, "role": "authenticated"}


def verifier(clock: FakeClock | None = None, secret: str | None = SECRET, audience: str = "authenticated") -> Any:
    return TokenVerifier(clock or FakeClock(), secret=secret, audience=audience, jwks_url=None)


def token(*without: str, **claims: object) -> str:
    return jwt.encode({name: value for name, value in (CLAIMS | claims).items() if name not in without}, SECRET)


def segment(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: object, payload: object = CLAIMS, secret: str = SECRET) -> str:
    signed = f"{segment(header)}.{segment(payload)}"
    return f"{signed}.{segment(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


async def refusal(text: str, using: TokenVerifier | None = None) -> str:
    with pytest.raises(AuthError) as caught:
        await (using or verifier()).verify(text)
    return str(caught.value)


async def accounts(**claims: object) -> set[str] | None:
    found: Principal = await verifier().verify(token(**claims))
    return None if found.accounts is None else set(found.accounts)


async def test_a_token_opens_the_account_of_its_subject() -> None:
    assert await verifier().verify(token()) == Principal(caller=f"jwt {ONE}", accounts=frozenset({ONE}))
    assert await verifier().verify(forged({"alg": "HS256"})), "what forges signs as the library does"


async def test_a_token_opens_every_account_it_names() -> None:
    assert await accounts(
        account_id=TWO,
        account_ids=[THREE],
        app_metadata={"account_id": FOUR, "account_ids": [FIVE, ONE]},
    ) == {ONE, TWO, THREE, FOUR, FIVE}


async def test_accounts_are_named_in_any_case() -> None:
    assert await accounts(sub=ONE.upper(), account_id=TWO.upper()) == {ONE, TWO}


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "bots",
        "*",
        ONE[:-1],
        f"{ONE} ",
        f"{{{ONE}}}",
        ONE.replace("-", ""),
        1,
        None,
        True,
        [TWO],
        {"id": TWO},
    ],
)
async def test_what_is_no_uuid_names_no_account(odd: object) -> None:
    metadata = {"account_id": odd, "account_ids": [odd]}
    assert await accounts(account_id=odd, account_ids=[odd], app_metadata=metadata) == {ONE}
    assert await accounts(app_metadata=odd) == {ONE}


@pytest.mark.parametrize("odd", [TWO, {TWO: 1}, 1, None])
async def test_account_ids_are_a_list(odd: object) -> None:
    assert await accounts(account_ids=odd, app_metadata={"account_ids": odd}) == {ONE}


async def test_what_users_can_set_themselves_names_no_account() -> None:
    assert await accounts(user_metadata={"account_id": TWO, "role": "service_role"}) == {ONE}
    assert await accounts(app_metadata={"role": "service_role"}) == {ONE}


async def test_a_subject_that_is_no_account_is_somebody_without_one() -> None:
    assert await verifier().verify(token(sub="someone")) == Principal(caller="jwt someone", accounts=frozenset())


async def test_a_token_has_to_name_somebody() -> None:
    assert await refusal(token("sub")) == "The token is not valid."
    found = await verifier().verify(token("sub", account_id=TWO))
    assert found.accounts == {TWO}
    assert found.caller != "jwt None"


async def test_service_role_opens_every_account_and_may_lack_audience_and_subject() -> None:
    assert await accounts(role="service_role") is None
    first = await verifier().verify(token("sub", "aud", role="service_role"))
    other = await verifier().verify(token("sub", "aud", role="service_role", iat=NOW - 1))
    assert first.is_operator
    assert first.caller != other.caller


async def test_service_role_for_somebody_else_is_refused() -> None:
    assert await refusal(token(role="service_role", aud="others")) == "The token is not valid."
    assert await refusal(token("exp", role="service_role")) == "The token is not valid."


@pytest.mark.parametrize("role", ["SERVICE_ROLE", "service_role ", ["service_role"], "supabase_admin", None, 1])
async def test_other_roles_open_no_more_than_their_accounts(role: object) -> None:
    assert await accounts(role=role) == {ONE}


@pytest.mark.parametrize("audience", ["others", "Authenticated", "", [], ["others"], None, 1, {"authenticated": 1}])
async def test_a_token_for_another_audience_is_refused(audience: object) -> None:
    assert await refusal(token(aud=audience)) == "The token is not valid."


async def test_the_audience_has_to_be_there_and_may_be_one_of_several() -> None:
    assert await refusal(token("aud")) == "The token is not valid."
    assert await accounts(aud=["others", "authenticated"]) == {ONE}


async def test_without_an_audience_in_the_settings_none_is_asked_for() -> None:
    for text in (token("aud"), token(aud="others")):
        assert (await verifier(audience="").verify(text)).accounts == {ONE}


async def test_a_token_is_good_until_it_expires_give_or_take_the_leeway() -> None:
    clock = FakeClock()
    clock.move(60 + auth.LEEWAY_SECONDS - 0.001)
    assert (await verifier(clock).verify(token())).accounts == {ONE}
    clock.move(0.001)
    assert await refusal(token(), verifier(clock)) == "The token has expired."


async def test_a_token_is_not_good_before_its_time() -> None:
    clock = FakeClock()
    later = token(nbf=NOW + auth.LEEWAY_SECONDS + 1)
    assert await refusal(later, verifier(clock)) == "The token is not valid yet."
    clock.move(1)
    assert (await verifier(clock).verify(later)).accounts == {ONE}


async def test_the_expiry_is_required() -> None:
    assert await refusal(token("exp")) == "The token is not valid."


@pytest.mark.parametrize("name", ["exp", "nbf"])
@pytest.mark.parametrize("odd", [None, True, str(NOW + 60), [], {}, "never"])
async def test_instants_are_numbers(name: str, odd: object) -> None:
    assert await refusal(forged({"alg": "HS256"}, CLAIMS | {name: odd})) == "The token is not valid."


async def test_instants_may_have_decimals() -> None:
    assert await accounts(exp=NOW + 0.5, nbf=NOW - 0.5) == {ONE}


async def test_a_verified_token_is_not_verified_again_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    using, text = verifier(clock), token()
    first = await using.verify(text)
    verified: list[str] = []
    payload_of = using._payload

    async def payload(text: str) -> Any:
        verified.append(text)
        return await payload_of(text)

    monkeypatch.setattr(using, "_payload", payload)
    assert await using.verify(text) is first
    assert verified == []
    await using.verify(token(sub=TWO))
    assert len(verified) == 1
    clock.move(60 + auth.LEEWAY_SECONDS)
    assert await refusal(text, using) == "The token has expired."


async def test_refused_tokens_are_not_remembered() -> None:
    using, text = verifier(), token(aud="others")
    for _ in range(2):
        assert await refusal(text, using) == "The token is not valid."
    assert len(using._remembered) == 0


async def test_only_the_tokens_seen_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_REMEMBERED", 2)
    using = verifier()
    first, second, third = (token(sub=sub) for sub in (ONE, TWO, THREE))
    for text in (first, second, first, third):
        await using.verify(text)
    assert [found.caller for found, _ in using._remembered.values()] == [f"jwt {ONE}", f"jwt {THREE}"]


async def test_another_secret_is_refused() -> None:
    assert await refusal(token(), verifier(secret="another secret with at least 32 bytes")) == "The token is not valid."
    assert await refusal(token(), verifier(secret=None)) == "The token is not valid."


async def test_a_short_secret_works_without_a_warning() -> None:
    text = forged({"alg": "HS256"}, secret="short")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (await verifier(secret="short").verify(text)).accounts == {ONE}
        assert await refusal(text, verifier(secret="shor")) == "The token is not valid."


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_only_hs256_goes_with_the_secret(algorithm: str) -> None:
    text = jwt.encode(CLAIMS, SECRET * 2, algorithm=algorithm)
    assert await refusal(text, verifier(secret=SECRET * 2)) == "The token is not valid."


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "hs256"},
        {"alg": "RS256"},
        {"alg": ["HS256"]},
        {"alg": None},
        {"alg": {}},
        {"alg": ""},
        {},
        {"typ": "JWT"},
        {"alg": "HS256", "kid": 1},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        [],
        "HS256",
        None,
        b"\xff",
        b"[" * 3000,
        b'{"alg":' * 800,
    ],
    ids=lambda header: str(header)[:30],
)
async def test_odd_headers_are_refused(header: object) -> None:
    assert await refusal(forged(header)) == "The token is not valid."


async def test_a_token_without_a_signature_is_refused() -> None:
    for text in (
        f"{segment({'alg': 'none'})}.{segment(CLAIMS)}.",
        f"{segment({'alg': 'HS256'})}.{segment(CLAIMS)}.",
        token().rpartition(".")[0],
    ):
        assert await refusal(text) == "The token is not valid."


@pytest.mark.parametrize(
    "payload",
    [[], [CLAIMS], None, "x", 1, b"", b"\xff", b"[" * 3000, b'{"exp":' * 800, b'{"exp":NaN}', b'{"exp":1e999}'],
    ids=lambda payload: str(payload)[:30],
)
async def test_odd_payloads_are_refused_also_when_signed(payload: object) -> None:
    assert await refusal(forged({"alg": "HS256"}, payload)) == "The token is not valid."


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "a.b.c", "é.é.é", "\udce9", "\0.\0.\0", "x" * 500, "=.=.=", "." * 5000, token() + "."],
)
async def test_garbage_is_refused(text: str) -> None:
    assert await refusal(text) == "The token is not valid."


async def test_every_changed_character_is_noticed() -> None:
    using, text = verifier(), token()
    for place in range(len(text)):
        changed = "A" if text[place] != "A" else "B"
        assert await refusal(text[:place] + changed + text[place + 1 :], using)


async def test_oversized_tokens_are_refused_unread() -> None:
    claims = CLAIMS | {"padding": ""}
    room = auth.MAX_TOKEN_LENGTH - len(jwt.encode(claims, SECRET))
    padding = "x" * (room // 4 * 3 - 3)
    most = jwt.encode(claims | {"padding": padding}, SECRET)
    assert auth.MAX_TOKEN_LENGTH - 8 <= len(most) <= auth.MAX_TOKEN_LENGTH
    assert (await verifier().verify(most)).accounts == {ONE}
    assert await refusal(token(padding="x" * (len(padding) + 9))) == "The token is not valid."
