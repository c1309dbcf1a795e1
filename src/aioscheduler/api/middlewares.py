"""What happens around every handler: request id, credentials, rate limit, errors as JSON, access log.

One middleware does it all, since each layer costs every request a few microseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from aioscheduler.api.auth import PRINCIPAL, Access
from aioscheduler.api.context import Context
from aioscheduler.api.i18n import Language, language_of
from aioscheduler.api.problems import MethodNotAllowed, internal_problem, problem, status_of
from aioscheduler.api.requestids import REQUEST_ID
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


def middlewares(context: Context) -> Sequence[Middleware]:
    """Return the middlewares of an application with this context."""
    return (_Around(context).around,)


class _Around:
    def __init__(self, context: Context) -> None:
        config = context.config
        self._clock = context.clock
        self._language: Language = config.language
        self._credentials = context.credentials
        self._limiter = context.limiter
        self._request_ids = context.request_ids
        self._access_log = log.is_enabled_for(logging.DEBUG)

    @web.middleware
    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = self._clock.monotonic() if self._access_log else 0.0
        request_id = self._request_ids.of(request.headers)
        # The library runs each request in a context of its own: nothing has to be unbound.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._admit(request)
            response = await handler(request)
        except web.HTTPRedirection as redirection:
            redirection.headers[REQUEST_ID] = request_id
            raise
        except (AioschedulerError, web.HTTPException) as error:
            response = refusal(error, self._language_of(request), _route(request), _invalid_status(request))
        except Exception:
            log.exception("a request failed", action="request_failed", method=request.method, route=_route(request))
            response = answer(internal_problem(self._language_of(request)), 500)
        response.headers[REQUEST_ID] = request_id
        if self._access_log:
            tell_answered(request.method, _route(request), response.status, self._clock.monotonic() - started)
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


def tell_answered(method: str, route: str, status: int, seconds: float) -> None:
    """Write the access log's line; ``route`` is the pattern that matched."""
    log.debug(
        "a request was answered",
        action="request_answered",
        method=method,
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 3),
    )


def _route(request: web.Request) -> str:
    """Return the pattern that matched, which holds no id and no secret."""
    resource = request.match_info.route.resource
    return "none" if resource is None else resource.canonical


def refusal(
    error: AioschedulerError | web.HTTPException, language: Language, route: str, invalid_status: int
) -> web.Response:
    """Return the answer to a request that failed; ``route`` is its pattern, for the log."""
    if isinstance(error, web.HTTPException):
        ours, status = _translated(error)
    else:
        ours, status = error, status_of(error, invalid_status)
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
            log.error("a request failed", action="request_failed", route=route, exc_info=error)
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
