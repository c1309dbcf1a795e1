"""What happens around every handler: request id, credentials, rate limit, errors as JSON, access log.

One middleware does it all, since each layer costs every request a few microseconds.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from itertools import count
from typing import Final

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import istr

from aioscheduler.api.auth import PRINCIPAL, Access
from aioscheduler.api.context import Context
from aioscheduler.api.i18n import Language, language_of
from aioscheduler.api.problems import MethodNotAllowed, internal_problem, problem, status_of
from aioscheduler.api.ratelimit import RateLimiter
from aioscheduler.api.respond import answer
from aioscheduler.api.routes import OPEN_HANDLERS, ROUTES_BY_HANDLER
from aioscheduler.errors import (
    AioschedulerError,
    AuthError,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    Sentence,
    StoreUnavailable,
)

log = structlog.get_logger(__name__)

REQUEST_ID: Final = istr("X-Request-ID")
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def middlewares(context: Context) -> Sequence[Middleware]:
    """Return the middlewares of an application with this context."""
    return (_Around(context).around,)


class _Around:
    def __init__(self, context: Context) -> None:
        config = context.config
        self._clock = context.clock
        self._language: Language = config.language
        self._credentials = context.credentials
        rate = config.rate_limit_per_second
        self._limiter = RateLimiter(rate, context.clock) if rate else None
        self._access_log = log.is_enabled_for(logging.DEBUG)
        # Unique without asking the system for randomness each time.
        self._process = secrets.token_hex(4)
        self._serial = count(1)

    @web.middleware
    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = self._clock.monotonic() if self._access_log else 0.0
        request_id = request.headers.get(REQUEST_ID)
        if request_id is None or not _SANE_ID.fullmatch(request_id):
            request_id = f"{self._process}-{next(self._serial):x}"
        # The library runs each request in a context of its own: nothing has to be unbound.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._admit(request)
            response = await handler(request)
        except web.HTTPRedirection as redirection:
            redirection.headers[REQUEST_ID] = request_id
            raise
        except (AioschedulerError, web.HTTPException) as error:
            response = _refusal(request, error, self._language_of(request))
        except Exception:
            log.exception("a request failed", action="request_failed", method=request.method, route=_route(request))
            response = answer(internal_problem(self._language_of(request)), 500)
        response.headers[REQUEST_ID] = request_id
        if self._access_log:
            log.debug(
                "a request was answered",
                action="request_answered",
                method=request.method,
                route=_route(request),
                status=response.status,
                duration_ms=round((self._clock.monotonic() - started) * 1000, 3),
            )
        return response

    async def _admit(self, request: web.Request) -> None:
        """Let nobody near a handler who may not call it; what is not known to be open is not."""
        match = request.match_info
        if match.handler in OPEN_HANDLERS or match.http_exception is not None:
            return
        route = ROUTES_BY_HANDLER.get(match.handler)
        try:
            principal = await self._credentials.check(request, Access.TOKEN if route is None else route.access)
        except AuthError:
            if self._limiter is not None:
                self._limiter.take(f"address {request.remote}")
            raise
        if self._limiter is not None:
            self._limiter.take(principal.caller)
        request[PRINCIPAL] = principal

    def _language_of(self, request: web.Request) -> Language:
        return language_of(request.headers.get(hdrs.ACCEPT_LANGUAGE), self._language)


def _route(request: web.Request) -> str:
    """Return the pattern that matched, which holds no id and no secret."""
    resource = request.match_info.route.resource
    return "none" if resource is None else resource.canonical


def _refusal(
    request: web.Request, error: AioschedulerError | web.HTTPException, language: Language
) -> web.StreamResponse:
    if isinstance(error, web.HTTPException):
        ours, status = _translated(error)
    else:
        ours, status = error, status_of(error, _invalid_status(request))
    response = answer(problem(ours, status, language), status)
    match error:
        case web.HTTPMethodNotAllowed():
            response.headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
        case AuthError():
            response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        case RateLimited():
            response.headers[hdrs.RETRY_AFTER] = str(error.retry_after)
        case StoreUnavailable():
            response.headers[hdrs.RETRY_AFTER] = "1"
        case PayloadTooLarge() | RequestTimeout():
            # What is still to come of the body is not worth reading.
            response.force_close()
        case _ if status >= 500:
            log.error("a request failed", action="request_failed", route=_route(request), exc_info=error)
    return response


def _invalid_status(request: web.Request) -> int:
    route = ROUTES_BY_HANDLER.get(request.match_info.handler)
    return 422 if route is None else route.invalid_status


def _translated(error: web.HTTPException) -> tuple[AioschedulerError, int]:
    """Return what the HTTP library refused as an error of ours, and its status."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(
            Sentence("{method} is not possible here, only {allowed}.", method=error.method, allowed=allowed)
        ), 405
    if error.status == 404:
        return NotFound(Sentence("There is no such route.")), 404
    reason = Sentence("The request was refused: {reason}.", reason=error.reason)
    return (PayloadTooLarge(reason) if error.status == 413 else InvalidInput({}, reason)), error.status
