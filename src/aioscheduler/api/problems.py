"""Errors as clients see them: the one place that knows which HTTP status an error has."""

from __future__ import annotations

from typing import Any, Final

from aioscheduler.api.i18n import Language, translate
from aioscheduler.errors import (
    AioschedulerError,
    AuthError,
    Conflict,
    FilterRequired,
    Forbidden,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
    RateLimited,
    RequestTimeout,
    Sentence,
    StoreUnavailable,
    TargetForbidden,
)


class MethodNotAllowed(AioschedulerError):
    """The path is there, but not with this method."""

    error_code = "METHOD_NOT_ALLOWED"


#: The first that fits counts; what is not here is our own fault.
_STATUS: Final[tuple[tuple[type[AioschedulerError], int], ...]] = (
    (FilterRequired, 400),
    (AuthError, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (MethodNotAllowed, 405),
    (RequestTimeout, 408),
    (Conflict, 409),
    (PreconditionFailed, 412),
    (PayloadTooLarge, 413),
    (RateLimited, 429),
    (StoreUnavailable, 503),
)
_INTERNAL: Final = Sentence("Something went wrong inside the service; its log says what.")


def status_of(error: AioschedulerError, invalid_status: int = 422) -> int:
    """Return the HTTP status of an error; ``invalid_status`` is what the route's family answers to illegal input."""
    if isinstance(error, InvalidInput | TargetForbidden):
        return invalid_status
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 500


def problem(error: AioschedulerError, status: int, language: Language) -> dict[str, Any]:
    """Return the body of an error. A 500 tells nothing of what happened."""
    if status >= 500 and not isinstance(error, StoreUnavailable):
        return internal_problem(language)
    body: dict[str, Any] = {
        "detail": translate(error.sentence, language),
        "error_code": error.error_code,
        "status_code": status,
    }
    if isinstance(error, InvalidInput):
        body["errors"] = {
            name: [translate(reason, language) for reason in reasons] for name, reasons in error.errors.items()
        }
    return body


def internal_problem(language: Language) -> dict[str, Any]:
    """Return the body of an error nobody foresaw."""
    return {"detail": translate(_INTERNAL, language), "error_code": "INTERNAL_ERROR", "status_code": 500}
