"""Published keys: which count, when they are fetched, and what a bad publisher costs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from aioscheduler.api import jwks
from aioscheduler.api.auth import TokenVerifier
from aioscheduler.domain.job import Owner
from aioscheduler.errors import AuthError
from tests.support.clock import START, FakeClock
from tests.support.receiver import Answer, Receiver
from tests.unit.api.test_jwt import segment

SECRET = "a secret of at least 32 bytes, as it should be"
NOW = int(START.timestamp())
ONE = Owner("123e4567-e89b-12d3-a456-426614174000")
MINE = frozenset({ONE})
CLAIMS = {"sub": ONE, "aud": "authenticated", "exp": NOW + 86_400}
WRONG, AWAY = "The token is not valid.", "The keys that sign tokens cannot be fetched at the moment."


class Signer:
    """A pair of keys with an id."""

    def __init__(self, key_id: str | None, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self.key_id, self.key = key_id, key
        self.algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"

    def jwk(self, **more: object) -> dict[str, Any]:
        """Return the public half."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            public = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        else:
            public = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        public.pop("key_ops", None)
        return {**public, **({"kid": self.key_id} if self.key_id else {}), **more}

    def token(self, **claims: object) -> str:
        headers = {"kid": self.key_id} if self.key_id else None
        return jwt.encode(CLAIMS | claims, self.key, algorithm=self.algorithm, headers=headers)


@pytest.fixture(scope="module")
def old() -> Signer:
    return Signer("old", rsa.generate_private_key(public_exponent=65537, key_size=2048))


@pytest.fixture(scope="module")
def new() -> Signer:
    return Signer("new", ec.generate_private_key(ec.SECP256R1()))


def published(*keys: Mapping[str, object]) -> Answer:
    return Answer(body=json.dumps({"keys": keys}).encode())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def publisher(old: Signer) -> AsyncIterator[Receiver]:
    """Publishes the old key, until told otherwise."""
    async with Receiver() as receiver:
        receiver.respond = lambda request: published(old.jwk())
        yield receiver


@pytest.fixture
async def tokens(publisher: Receiver, clock: FakeClock) -> AsyncIterator[TokenVerifier]:
    verifier = TokenVerifier(clock, secret=SECRET, audience="authenticated", jwks_url=publisher.url("/keys"))
    yield verifier
    await verifier.close()


async def refusal(tokens: TokenVerifier, text: str) -> str:
    with pytest.raises(AuthError) as caught:
        await tokens.verify(text)
    return str(caught.value)


async def fetched(tokens: TokenVerifier) -> None:
    """Wait for the fetch that goes on."""
    assert tokens._keys is not None
    assert tokens._keys._fetch is not None
    await asyncio.wait((tokens._keys._fetch,))


async def test_tokens_signed_by_published_keys_are_good(
    tokens: TokenVerifier, publisher: Receiver, old: Signer, new: Signer
) -> None:
    publisher.respond = lambda request: published(old.jwk(), new.jwk())
    for signer in (old, new):
        assert (await tokens.verify(signer.token())).accounts == MINE
    assert (await tokens.verify(old.token(role="service_role"))).is_operator
    assert len(publisher.requests) == 1
    assert (publisher.requests[0].method, publisher.requests[0].target) == ("GET", "/keys")


async def test_secret_and_published_keys_may_both_sign(tokens: TokenVerifier, old: Signer) -> None:
    assert (await tokens.verify(jwt.encode(CLAIMS, SECRET))).accounts == MINE
    assert (await tokens.verify(old.token())).accounts == MINE


async def test_claims_are_checked_as_ever(tokens: TokenVerifier, old: Signer) -> None:
    assert await refusal(tokens, old.token(exp=NOW - 60)) == "The token has expired."
    assert await refusal(tokens, old.token(aud="others")) == WRONG


async def test_a_public_key_does_not_pass_for_a_secret(publisher: Receiver, clock: FakeClock, old: Signer) -> None:
    public = old.key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (SECRET, None):
        tokens = TokenVerifier(clock, secret=secret, audience="authenticated", jwks_url=publisher.url())
        assert (await tokens.verify(old.token())).accounts == MINE
        for key in (pem, pem.strip(), json.dumps(old.jwk()).encode(), old.jwk()["n"].encode()):
            signed = f"{segment({'alg': 'HS256', 'kid': 'old'})}.{segment(CLAIMS)}"
            forged = f"{signed}.{segment(hmac.digest(key, signed.encode(), hashlib.sha256))}"
            assert await refusal(tokens, forged) == WRONG
        await tokens.close()


async def test_a_key_signs_with_one_algorithm(
    tokens: TokenVerifier, publisher: Receiver, old: Signer, new: Signer
) -> None:
    publisher.respond = lambda request: published(old.jwk(), new.jwk())
    for signer, algorithm in ((old, "RS384"), (old, "PS256")):
        text = jwt.encode(CLAIMS, signer.key, algorithm=algorithm, headers={"kid": signer.key_id})
        assert await refusal(tokens, text) == WRONG
    for signer, algorithm in ((old, "ES256"), (new, "RS256")):
        parts = signer.token().split(".")
        parts[0] = segment({"alg": algorithm, "kid": signer.key_id})
        assert await refusal(tokens, ".".join(parts)) == WRONG


async def test_a_token_of_another_key_with_a_known_id_is_refused(tokens: TokenVerifier) -> None:
    impostor = Signer("old", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    assert await refusal(tokens, impostor.token()) == WRONG


async def test_keys_in_the_token_itself_count_for_nothing(tokens: TokenVerifier, publisher: Receiver) -> None:
    impostor = Signer("impostor", ec.generate_private_key(ec.SECP256R1()))
    headers = {"jwk": impostor.jwk(), "jku": publisher.url("/impostor"), "x5u": publisher.url("/impostor")}
    for kid in ({}, {"kid": "impostor"}, {"kid": "old"}, {"kid": "../../etc/passwd"}):
        text = jwt.encode(CLAIMS, impostor.key, algorithm="ES256", headers=headers | kid)
        assert await refusal(tokens, text) == WRONG
    assert {request.target for request in publisher.requests} == {"/keys"}


async def test_a_token_without_a_key_id_goes_with_the_only_key_of_its_algorithm(
    tokens: TokenVerifier, publisher: Receiver, clock: FakeClock, old: Signer, new: Signer
) -> None:
    nameless = Signer(None, old.key)
    publisher.respond = lambda request: published(nameless.jwk(), new.jwk())
    assert (await tokens.verify(nameless.token())).accounts == MINE
    publisher.respond = lambda request: published(nameless.jwk(), old.jwk())
    clock.move(jwks.REFRESH_SECONDS)
    await tokens.verify(nameless.token())
    await fetched(tokens)
    assert await refusal(tokens, nameless.token()) == WRONG, "now there are two"
    assert (await tokens.verify(old.token())).accounts == MINE


async def test_a_new_key_is_fetched_when_a_token_names_it(
    tokens: TokenVerifier, publisher: Receiver, clock: FakeClock, old: Signer, new: Signer
) -> None:
    await tokens.verify(old.token())
    publisher.respond = lambda request: published(old.jwk(), new.jwk())
    clock.move(jwks.PAUSE_SECONDS)
    assert (await tokens.verify(new.token())).accounts == MINE
    assert len(publisher.requests) == 2


async def test_unknown_keys_cause_few_fetches(
    tokens: TokenVerifier, publisher: Receiver, clock: FakeClock, old: Signer
) -> None:
    unknown = [Signer(f"unknown {n}", old.key).token() for n in range(20)]
    assert set(await asyncio.gather(*(refusal(tokens, text) for text in unknown))) == {WRONG}
    clock.move(jwks.PAUSE_SECONDS - 0.1)
    assert await refusal(tokens, unknown[0]) == WRONG
    assert len(publisher.requests) == 1, "all waited for the same fetch"
    clock.move(0.1)
    assert await refusal(tokens, unknown[0]) == WRONG
    assert len(publisher.requests) == 2


async def test_old_keys_are_fetched_again_beside_the_request(
    tokens: TokenVerifier, publisher: Receiver, clock: FakeClock, old: Signer, new: Signer
) -> None:
    await tokens.verify(old.token())
    gate = asyncio.Event()
    publisher.respond = lambda request: Answer(body=published(new.jwk()).body, gate=gate)
    clock.move(jwks.REFRESH_SECONDS - 0.1)
    await tokens.verify(old.token())
    assert len(publisher.requests) == 1
    clock.move(0.1)
    async with asyncio.timeout(30):
        assert (await tokens.verify(old.token())).accounts == MINE, "remembered"
        assert (await tokens.verify(old.token(n=1))).accounts == MINE, "verified with the key there is"
    gate.set()
    await fetched(tokens)
    assert await refusal(tokens, old.token()) == WRONG, "its key was withdrawn"
    assert (await tokens.verify(new.token())).accounts == MINE
    assert len(publisher.requests) == 2


async def test_a_slow_publisher_holds_up_only_those_whose_key_is_missing(
    tokens: TokenVerifier, publisher: Receiver, clock: FakeClock, old: Signer, new: Signer
) -> None:
    await tokens.verify(old.token())
    gate = asyncio.Event()
    publisher.respond = lambda request: Answer(body=published(old.jwk(), new.jwk()).body, gate=gate)
    clock.move(jwks.PAUSE_SECONDS)
    waiting = [asyncio.create_task(tokens.verify(new.token(n=n))) for n in range(3)]
    await publisher.wait_for(2)
    async with asyncio.timeout(30):
        await tokens.verify(old.token(n=1))
        await tokens.verify(jwt.encode(CLAIMS, SECRET))
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    await asyncio.wait((waiting[0],))
    gate.set()
    assert [(await task).accounts for task in waiting[1:]] == [MINE, MINE], "one that gives up spoils nothing"
    assert len(publisher.requests) == 2


async def test_without_any_keys_the_token_is_refused_and_the_reason_is_told(clock: FakeClock, old: Signer) -> None:
    async with Receiver() as gone:
        url = gone.url()
    tokens = TokenVerifier(clock, secret=SECRET, audience="authenticated", jwks_url=url)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert await refusal(tokens, old.token()) == AWAY
    assert [line["action"] for line in logs] == ["jwks_fetch_failed"]
    assert (await tokens.verify(jwt.encode(CLAIMS, SECRET))).accounts == MINE
    await tokens.close()


BAD_ANSWERS = {
    "an error": Answer(status=500),
    "not found": Answer(status=404, body=b'{"keys": []}'),
    "a redirect": Answer(status=302, headers=(("Location", "/elsewhere"),)),
    "no JSON": Answer(body=b"<html>"),
    "no UTF-8": Answer(body=b"\xff"),
    "no object": Answer(body=b"[]"),
    "no keys": Answer(body=b"{}"),
    "keys that are no list": Answer(body=b'{"keys": {}}'),
    "too much": Answer(body=b'{"keys": []}' + b" " * jwks.MAX_BYTES),
    "no end": Answer(endless=True),
    "no HTTP": Answer(raw=b"hello\r\n\r\n"),
    "nonsense within": Answer(body=b"[" * 5000),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_when_a_fetch_fails_the_old_keys_stay(
    tokens: TokenVerifier, publisher: Receiver, clock: FakeClock, old: Signer, answer: Answer
) -> None:
    publisher.script.append(answer)
    assert await refusal(tokens, old.token()) == AWAY
    clock.move(jwks.PAUSE_SECONDS)
    assert (await tokens.verify(old.token())).accounts == MINE, "tried again"
    publisher.script.append(answer)
    clock.move(jwks.REFRESH_SECONDS)
    await tokens.verify(old.token())
    with structlog.testing.capture_logs() as logs:
        await fetched(tokens)
    assert [line["action"] for line in logs] == ["jwks_fetch_failed"]
    assert (await tokens.verify(old.token(n=1))).accounts == MINE
    assert len(publisher.requests) == 3


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(hang_body=True)], ids=["silent", "half"])
async def test_a_fetch_takes_no_longer_than_its_limit(
    monkeypatch: pytest.MonkeyPatch, tokens: TokenVerifier, publisher: Receiver, old: Signer, answer: Answer
) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.05)
    publisher.script.append(answer)
    async with asyncio.timeout(30):
        assert await refusal(tokens, old.token()) == AWAY


async def test_an_empty_set_withdraws_every_key(
    tokens: TokenVerifier, publisher: Receiver, clock: FakeClock, old: Signer
) -> None:
    await tokens.verify(old.token())
    publisher.respond = lambda request: published()
    clock.move(jwks.REFRESH_SECONDS)
    await tokens.verify(old.token())
    await fetched(tokens)
    assert await refusal(tokens, old.token()) == WRONG


async def test_the_same_keys_again_forget_no_token(
    tokens: TokenVerifier, publisher: Receiver, clock: FakeClock, old: Signer
) -> None:
    first = await tokens.verify(old.token())
    text = old.token(n=1)
    remembered = await tokens.verify(text)
    clock.move(jwks.REFRESH_SECONDS)
    await tokens.verify(text)
    await fetched(tokens)
    assert len(publisher.requests) == 2
    assert await tokens.verify(text) is remembered
    assert first == remembered


def unusable(old: Signer, new: Signer) -> Iterable[tuple[str, object]]:
    yield "encryption", old.jwk(use="enc")
    yield "another algorithm", old.jwk(alg="RS512")
    yield "another family", old.jwk(alg="HS256")
    yield "key_ops", old.jwk(key_ops=["encrypt"])
    yield "odd key_ops", old.jwk(key_ops=1)
    yield "odd alg", old.jwk(alg=["RS256"])
    yield "secret", {"kty": "oct", "kid": "old", "k": segment(SECRET.encode())}
    yield "broken modulus", old.jwk(n="!")
    yield "empty modulus", old.jwk(n="")
    yield "odd modulus", old.jwk(n=1)
    yield "no modulus", {"kty": "RSA", "kid": "old", "e": "AQAB"}
    yield "short", Signer("old", rsa.generate_private_key(public_exponent=65537, key_size=1024)).jwk()
    yield "another curve", Signer("old", ec.generate_private_key(ec.SECP384R1())).jwk()
    yield "not on the curve", new.jwk(kid="old", x=segment(b"\1" * 32))
    yield "odd id", old.jwk(kid=["old"])
    yield "no kind", {"kid": "old"}
    yield "text", "old"
    yield "nothing", None


async def test_keys_that_cannot_be_used_are_passed_over(
    publisher: Receiver, clock: FakeClock, old: Signer, new: Signer
) -> None:
    for what, bad in unusable(old, new):
        publisher.script.append(Answer(body=json.dumps({"keys": [bad, new.jwk()]}).encode()))
        tokens = TokenVerifier(clock, secret=None, audience="authenticated", jwks_url=publisher.url())
        with structlog.testing.capture_logs() as logs:
            assert await refusal(tokens, old.token()) == WRONG, what
        assert [(line["usable"], line["ignored"]) for line in logs] == [(1, 1)], what
        assert (await tokens.verify(new.token())).accounts == MINE, what
        await tokens.close()


async def test_what_is_private_in_a_published_key_is_not_kept(
    tokens: TokenVerifier, publisher: Receiver, old: Signer
) -> None:
    assert isinstance(old.key, rsa.RSAPrivateKey)
    private = RSAAlgorithm.to_jwk(old.key, as_dict=True) | {"kid": "old", "key_ops": ["sign", "verify"]}
    publisher.respond = lambda request: published(private)
    assert (await tokens.verify(old.token())).accounts == MINE
    assert tokens._keys is not None
    assert isinstance(tokens._keys._keys[0].key, rsa.RSAPublicKey)
    assert private["d"] not in str(tokens._keys._published)


async def test_only_the_first_keys_of_a_long_list_count(
    monkeypatch: pytest.MonkeyPatch, tokens: TokenVerifier, publisher: Receiver, old: Signer, new: Signer
) -> None:
    monkeypatch.setattr(jwks, "MAX_KEYS", 1)
    publisher.respond = lambda request: published(old.jwk(), new.jwk())
    assert (await tokens.verify(old.token())).accounts == MINE
    assert await refusal(tokens, new.token()) == WRONG


async def test_closing_ends_a_fetch_and_may_come_twice(
    monkeypatch: pytest.MonkeyPatch, tokens: TokenVerifier, publisher: Receiver, old: Signer
) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 600)
    publisher.respond = lambda request: Answer(hang=True)
    waiting = asyncio.create_task(tokens.verify(old.token()))
    await publisher.wait_for(1)
    async with asyncio.timeout(30):
        await tokens.close()
        await tokens.close()
        with pytest.raises(AuthError, match="cannot be fetched"):
            await waiting
