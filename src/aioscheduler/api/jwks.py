"""The public keys that sign tokens: fetched beside the requests, kept, and fetched again when one is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
import orjson
import structlog
from aiohttp import hdrs
from jwt import PyJWK, PyJWTError

from aioscheduler.clock import Clock
from aioscheduler.errors import AuthError, Sentence

#: What a published key may sign with; a key serves one algorithm only.
ALGORITHMS: Final = ("RS256", "ES256")
#: How old keys get before they are fetched again, and how long after a fetch began another one may, in seconds.
REFRESH_SECONDS, PAUSE_SECONDS = 600, 10
#: What a fetch may take, in seconds, and what it may bring.
FETCH_SECONDS, MAX_BYTES, MAX_KEYS = 5, 256 * 1024, 100

#: What tells of a key, and its public half: all that is kept, should somebody publish more.
_MEMBERS = ("kty", "kid", "use", "key_ops", "alg", "n", "e", "crv", "x", "y")

log = structlog.get_logger(__name__)


class Jwks:
    """The JWK set (RFC 7517) of one URL.

    Keys once fetched stay until another set takes their place: a fetch that fails costs nobody anything but new keys.
    ``generation`` rises when the set changes.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self.generation = 0
        self._url = url
        self._clock = clock
        self._published: Sequence[Mapping[str, Any]] | None = None
        self._keys: Sequence[PyJWK] = ()
        self._fetch: asyncio.Task[None] | None = None
        self._began: float | None = None

    def refresh(self) -> None:
        """Begin to fetch the keys when they are old; return at once."""
        self._fetching(REFRESH_SECONDS)

    async def key(self, algorithm: str, key_id: str | None) -> PyJWK | None:
        """Return the key to verify with; without an id, the only one there is for the algorithm.

        Where it is missing the keys are fetched first, unless that was tried :data:`PAUSE_SECONDS` ago or less.

        :raises AuthError: no keys could be fetched so far
        """
        key = self._find(algorithm, key_id)
        if key is None and (fetch := self._fetching(PAUSE_SECONDS)) is not None:
            # Others wait for the same fetch, so it outlives whoever waits.
            await asyncio.wait((fetch,))
            key = self._find(algorithm, key_id)
        if self._published is None:
            raise AuthError(Sentence("The keys that sign tokens cannot be fetched at the moment."))
        return key

    async def close(self) -> None:
        """Give up a fetch that goes on. May come twice."""
        fetch = self._fetch
        if fetch is not None:
            fetch.cancel()
            await asyncio.wait((fetch,))

    def _find(self, algorithm: str, key_id: str | None) -> PyJWK | None:
        fitting = [
            key for key in self._keys if key.algorithm_name == algorithm and (key_id is None or key.key_id == key_id)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def _fetching(self, after_seconds: float) -> asyncio.Task[None] | None:
        """Return the fetch that goes on, or a new one where the last began that long ago."""
        if self._fetch is not None and not self._fetch.done():
            return self._fetch
        now = self._clock.monotonic()
        if self._began is not None and now - self._began < after_seconds:
            return None
        self._began = now
        self._fetch = asyncio.create_task(self._replace())
        return self._fetch

    async def _replace(self) -> None:
        try:
            published = _public_keys(await self._download())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.warning(
                "the keys that sign tokens could not be fetched; those fetched before stay good",
                action="jwks_fetch_failed",
                error=str(error) or type(error).__name__,
            )
            return
        if published == self._published:
            return
        keys = [key for jwk in published if (key := _usable(jwk)) is not None]
        self._published, self._keys = published, keys
        self.generation += 1
        log.info(
            "the keys that sign tokens were fetched",
            action="jwks_fetched",
            usable=len(keys),
            ignored=len(published) - len(keys),
        )

    async def _download(self) -> bytes:
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            # What unpacks to more than it weighs is not asked for and not unpacked.
            auto_decompress=False,
            headers={hdrs.ACCEPT: "application/json", hdrs.ACCEPT_ENCODING: "identity"},
        )
        async with session, session.get(self._url, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"HTTP {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES} bytes")
        return bytes(body)


def _public_keys(body: bytes) -> list[dict[str, Any]]:
    """Return the first keys of a JWK set.

    :raises ValueError: it is none
    """
    document = orjson.loads(body)
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("no JWK set")  # noqa: TRY004 - the text is wrong, not the program
    return [
        {name: key[name] for name in _MEMBERS if name in key} if isinstance(key, dict) else {}
        for key in keys[:MAX_KEYS]
    ]


def _usable(jwk: Mapping[str, Any]) -> PyJWK | None:
    """Return the key; ``None`` for one of another kind, for another purpose, too short, or broken."""
    match jwk:
        case {"kty": "RSA"}:
            algorithm = "RS256"
        case {"kty": "EC", "crv": "P-256"}:
            algorithm = "ES256"
        case _:
            return None
    if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
        return None
    if not isinstance(jwk.get("kid"), str | None):
        return None
    try:
        if "verify" not in jwk.get("key_ops", ("verify",)):
            return None
        key = PyJWK(dict(jwk), algorithm)
        return None if key.Algorithm.check_key_length(key.key) else key
    except (PyJWTError, KeyError, TypeError, ValueError):
        return None
