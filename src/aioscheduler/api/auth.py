"""Who calls, and whether he may."""

from __future__ import annotations

import hmac
from enum import Enum

from aiohttp import hdrs, web

from aioscheduler.errors import AuthError, Sentence


class Access(Enum):
    """Who may call a route."""

    OPEN = "open"
    """Anybody."""
    TOKEN = "token"  # noqa: S105 - the name of a rule
    """Whoever has the ``API_TOKEN``, as Bearer."""


class TokenCheck:
    """Compares credentials with the service's token, in constant time."""

    def __init__(self, api_token: str) -> None:
        if not api_token:
            raise ValueError("an empty token would let everybody in")
        self._token = api_token.encode()

    def check(self, request: web.Request) -> None:
        """Return when the request carries the token.

        :raises AuthError: no credentials, another scheme, or a wrong token
        """
        header = request.headers.get(hdrs.AUTHORIZATION)
        if header is None:
            raise AuthError(Sentence("This route needs the header Authorization: Bearer <API_TOKEN>."))
        scheme, _, secret = header.partition(" ")
        given = secret.strip().encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._token) or scheme.lower() != "bearer":
            raise AuthError(Sentence("The token is not valid."))
