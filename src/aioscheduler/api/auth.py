"""Who calls, and whether he may."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Any, Final

import orjson
from aiohttp import hdrs, web
from jwt import PyJWS, PyJWTError
from jwt.algorithms import HMACAlgorithm
from multidict import istr

from aioscheduler.api import jwks
from aioscheduler.clock import Clock
from aioscheduler.domain.job import BOTS, Owner, check_account
from aioscheduler.errors import AuthError, ConfigError, InvalidInput, Sentence

API_KEY: Final = istr("X-API-Key")
#: Longer tokens are not looked at. It bounds the accounts one can name, too.
MAX_TOKEN_LENGTH = 8 * 1024
#: How far the clock of whoever issues tokens may be off, in seconds.
LEEWAY_SECONDS = 5
#: Verified tokens remembered at once; those not seen for longest are verified anew.
MAX_REMEMBERED = 4096
#: RFC 7518 section 3.2: shorter secrets can be guessed from one token.
MIN_SECRET_BYTES = 32

_SHARED = "HS256"
_SERVICE_ROLE = "service_role"


class Access(Enum):
    """Who may call a route."""

    OPEN = "open"
    """Anybody."""
    TOKEN = "token"  # noqa: S105 - the name of a rule
    """Whoever has the ``API_TOKEN``, as Bearer."""
    ACCOUNT = "account"
    """An account, by a JWT as Bearer, and whoever has the ``API_TOKEN``."""
    API_KEY = "api_key"
    """Whoever has the ``API_KEY``, as ``X-API-Key``, or the ``API_TOKEN``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls. ``caller`` tells callers apart and is no secret; ``accounts`` of ``None`` means every account."""

    caller: str
    accounts: frozenset[Owner] | None

    @property
    def is_operator(self) -> bool:
        """Whether every account is open to him."""
        return self.accounts is None

    def may(self, owner: Owner) -> bool:
        """Say whether what ``owner`` has is open to him."""
        return self.accounts is None or owner in self.accounts


OPERATOR: Final = Principal(caller="token", accounts=None)
BOT_KEEPER: Final = Principal(caller="key", accounts=frozenset({BOTS}))

PRINCIPAL: Final = web.RequestKey("PRINCIPAL", Principal)


def principal(request: web.Request) -> Principal:
    """Return who calls.

    :raises KeyError: the route is open, so nobody asked
    """
    return request[PRINCIPAL]


class Credentials:
    """Compares what a request shows with what opens the service. Secrets are compared in constant time.

    :param api_key: what opens bot jobs as ``X-API-Key``; the token itself by default
    """

    def __init__(self, api_token: str, *, api_key: str | None = None, tokens: TokenVerifier) -> None:
        if not api_token or api_key == "":
            raise ValueError("an empty token would let everybody in")
        self._token = api_token.encode()
        self._key = self._token if api_key is None else api_key.encode()
        self._key_holder = OPERATOR if api_key is None else BOT_KEEPER
        self._tokens = tokens

    async def check(self, request: web.Request, access: Access) -> Principal:
        """Return who calls a route that is not open.

        :raises AuthError: no credentials, another scheme, or wrong ones; or ones that open other routes
        """
        header = request.headers.get(hdrs.AUTHORIZATION)
        bearer = _bearer(header)
        if _same(bearer, self._token):
            return OPERATOR
        if access is Access.API_KEY and (key := request.headers.get(API_KEY)) is not None:
            if _same(key.strip(), self._key):
                return self._key_holder
            raise AuthError(Sentence("The API key is not valid."))
        if header is None:
            raise _needed(access)
        if access is Access.ACCOUNT and bearer:
            return await self._tokens.verify(bearer)
        raise _invalid()

    def is_operator(self, authorization: str | None) -> bool:
        """Say whether the header of this name shows the ``API_TOKEN``, which opens everything."""
        return _same(_bearer(authorization), self._token)

    async def close(self) -> None:
        """End what goes on in the background. May come twice."""
        await self._tokens.close()


def _bearer(authorization: str | None) -> str:
    scheme, _, secret = (authorization or "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _same(given: str, secret: bytes) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret)


def _needed(access: Access) -> AuthError:
    match access:
        case Access.ACCOUNT:
            return AuthError(Sentence("This route needs the header Authorization: Bearer <JWT or API_TOKEN>."))
        case Access.API_KEY:
            return AuthError(Sentence("This route needs the header X-API-Key: <API_KEY>."))
        case _:
            return AuthError(Sentence("This route needs the header Authorization: Bearer <API_TOKEN>."))


def _invalid() -> AuthError:
    return AuthError(Sentence("The token is not valid."))


class _SharedSecret(HMACAlgorithm):
    """HMAC with a secret of any length: the operator was told at the start that his is short."""

    def check_key_length(self, key: Any) -> str | None:
        return None


class TokenVerifier:
    """Verifies JSON Web Tokens (RFC 7519), and remembers those it has verified until they expire.

    :param secret: signs with HS256
    :param audience: what ``aud`` has to be, or hold; empty for anything
    :param jwks_url: where the keys are that sign with RS256 or ES256
    :raises ConfigError: the secret is a key, or a certificate
    """

    def __init__(self, clock: Clock, *, secret: str | None, audience: str, jwks_url: str | None) -> None:
        self._clock = clock
        self._audience = audience
        self._secret = None if secret is None else secret.encode()
        shared = _SharedSecret(HMACAlgorithm.SHA256)
        # Two verifiers that know nothing of each other's algorithms: a public key can never pass for a secret.
        self._by_secret = PyJWS(algorithms=())
        self._by_secret.register_algorithm(_SHARED, shared)
        self._by_key = PyJWS(algorithms=jwks.ALGORITHMS, options={"enforce_minimum_key_length": True})
        self._keys = None if jwks_url is None else jwks.Jwks(jwks_url, clock)
        #: SHA-256 of the token -> (whose it is, until when, in seconds since 1970); the one seen longest ago first.
        self._remembered: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._generation = 0
        if self._secret is not None:
            try:
                shared.prepare_key(self._secret)
            except PyJWTError as error:
                raise ConfigError(
                    Sentence(
                        "SUPABASE_JWT_SECRET is a key or a certificate, not a shared secret. "
                        "Public keys come from JWT_JWKS_URL."
                    )
                ) from error

    async def verify(self, token: str) -> Principal:
        """Return whose the token is. Waits only for keys that are not there yet.

        :raises AuthError: it is no token, not signed by a key of ours, expired, not good yet, or not for us; or the
            keys cannot be fetched
        """
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            raise _invalid()
        digest = sha256(token.encode()).digest()
        if (known := self._recall(digest)) is not None:
            return known
        try:
            claims = orjson.loads(await self._payload(token))
            until = self._check_times(claims)
            found = self._principal(claims, digest)
        except (PyJWTError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise _invalid() from error
        self._remembered[digest] = found, until
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    async def close(self) -> None:
        """Give up what is being fetched. May come twice."""
        if self._keys is not None:
            await self._keys.close()

    def _recall(self, digest: bytes) -> Principal | None:
        if self._keys is not None:
            self._keys.refresh()
            if self._keys.generation != self._generation:
                # A key may have been withdrawn, and with it the tokens it signed.
                self._remembered.clear()
                self._generation = self._keys.generation
        found = self._remembered.pop(digest, None)
        if found is None or found[1] <= self._now():
            return None
        self._remembered[digest] = found
        return found[0]

    def _now(self) -> float:
        return self._clock.now_ms() / 1000

    async def _payload(self, token: str) -> bytes:
        header = self._by_secret.get_unverified_header(token)
        algorithm = header["alg"]
        if algorithm == _SHARED and self._secret is not None:
            checked = self._by_secret.decode_complete(token, self._secret, algorithms=(_SHARED,))
        elif algorithm in jwks.ALGORITHMS and self._keys is not None:
            key = await self._keys.key(algorithm, header.get("kid"))
            if key is None:
                raise _invalid()
            checked = self._by_key.decode_complete(token, key, algorithms=(algorithm,))
        else:
            raise _invalid()
        payload: bytes = checked["payload"]
        return payload

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        """Return the instant from which on the token has expired, in seconds since 1970."""
        now = self._now()
        until = _instant(claims["exp"]) + LEEWAY_SECONDS
        if until <= now:
            raise AuthError(Sentence("The token has expired."))
        if "nbf" in claims and _instant(claims["nbf"]) - LEEWAY_SECONDS > now:
            raise AuthError(Sentence("The token is not valid yet."))
        return until

    def _principal(self, claims: Mapping[str, Any], digest: bytes) -> Principal:
        is_service = claims.get("role") == _SERVICE_ROLE
        if self._audience and not (is_service and "aud" not in claims):
            audience = claims["aud"]
            if self._audience not in (audience if isinstance(audience, list) else (audience,)):
                raise _invalid()
        subject = claims.get("sub")
        caller = f"jwt {subject if isinstance(subject, str) else digest.hex()[:16]}"
        if is_service:
            return Principal(caller=caller, accounts=None)
        accounts = frozenset(_accounts(claims))
        if not accounts and not isinstance(subject, str):
            raise _invalid()
        return Principal(caller=caller, accounts=accounts)


def _instant(value: object) -> float:
    """:raises ValueError: no number, which is what RFC 7519 section 2 asks for"""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("no NumericDate")  # noqa: TRY004 - the token is wrong, not the program
    return value


def _accounts(claims: Mapping[str, Any]) -> Iterator[Owner]:
    """Yield the accounts that a token names; what is no UUID names none."""
    named = [claims.get("sub")]
    for holder in (claims, claims.get("app_metadata")):
        if isinstance(holder, Mapping):
            several = holder.get("account_ids")
            named += [holder.get("account_id"), *(several if isinstance(several, list) else ())]
    for name in named:
        try:
            yield check_account(name)
        except InvalidInput:
            continue
