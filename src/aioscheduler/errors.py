"""The error tree, and sentences that can be told in more than one language.

Every error carries the contract's ``error_code`` and a :class:`Sentence` somebody can act on. Which HTTP status an
error becomes is known to ``api/middlewares.py`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Sentence:
    """An English sentence with named places for values: ``Sentence("{value} is no number", value="x")``.

    ``str()`` gives the English text; ``api/i18n.py`` looks the template up to give it in another language. Values may
    be sentences themselves. A test walks the source and asks that every template has its translation, so the template
    is always a literal.
    """

    __slots__ = ("template", "values")

    def __init__(self, template: str, /, **values: object) -> None:
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return self.template.format(**self.values) if self.values else self.template

    def __repr__(self) -> str:
        return f"Sentence({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sentence) and (self.template, self.values) == (other.template, other.values)

    def __hash__(self) -> int:
        return hash(str(self))


class AioschedulerError(Exception):
    """Root of everything this package raises on purpose."""

    error_code = "INTERNAL_ERROR"

    def __init__(self, sentence: Sentence) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        return str(self.sentence)


class ConfigError(AioschedulerError):
    """The operator's settings are wrong; the sentence says which to set, and to what."""


class InvalidInput(AioschedulerError):
    """The caller sent something that is not legal; ``errors`` maps dotted field names to reasons."""

    error_code = "VALIDATION_ERROR"

    def __init__(self, errors: Mapping[str, Sequence[Sentence]], sentence: Sentence | None = None) -> None:
        self.errors = errors
        super().__init__(sentence or _first(errors))

    @classmethod
    def of(cls, field: str, reason: Sentence) -> InvalidInput:
        """Build the error for one field."""
        return cls({field: [reason]})


def _first(errors: Mapping[str, Sequence[Sentence]]) -> Sentence:
    for field, reasons in errors.items():
        for reason in reasons:
            return Sentence("{field}: {reason}", field=field, reason=reason)
    return Sentence("The request is not valid.")


class InvalidSchedule(InvalidInput):
    """A cron expression that is none, or that is never due."""

    error_code = "INVALID_CRON_EXPRESSION"


class FilterRequired(AioschedulerError):
    """A search or bulk operation without any filter."""

    error_code = "FILTER_REQUIRED"


class NotFound(AioschedulerError):
    """No such resource, and no such route."""

    error_code = "NOT_FOUND"


class MessageNotFound(NotFound):
    """No live message, or no dead letter, has this id."""

    error_code = "MESSAGE_NOT_FOUND"


class JobNotFound(NotFound):
    """No job of this family has this id."""

    error_code = "JOB_NOT_FOUND"


class WebhookNotFound(NotFound):
    """No webhook has this id."""

    error_code = "WEBHOOK_NOT_FOUND"


class ExecutionNotFound(NotFound):
    """No execution has this id."""

    error_code = "EXECUTION_NOT_FOUND"


class Conflict(AioschedulerError):
    """A live message already has this id."""

    error_code = "MESSAGE_EXISTS"


class PreconditionFailed(AioschedulerError):
    """The message is not as the caller has seen it, or there is one and none was to be."""

    error_code = "PRECONDITION_FAILED"


class ExecutionActive(Conflict):
    """The execution, or a later attempt of it, has not ended yet."""

    error_code = "EXECUTION_ACTIVE"


class ExecutionSkipped(Conflict):
    """The execution stands for occurrences that were not run."""

    error_code = "EXECUTION_SKIPPED"


class AuthError(AioschedulerError):
    """Missing or wrong credentials."""

    error_code = "UNAUTHORIZED"


class Forbidden(AioschedulerError):
    """The credentials are good, but not for this."""

    error_code = "FORBIDDEN"


class PayloadTooLarge(AioschedulerError):
    """The request's body is longer than the setting allows."""

    error_code = "PAYLOAD_TOO_LARGE"


class RequestTimeout(AioschedulerError):
    """The request's body did not arrive in time."""

    error_code = "REQUEST_TIMEOUT"


class RateLimited(AioschedulerError):
    """This credential sends too many requests; ``retry_after`` is in whole seconds, at least 1."""

    error_code = "RATE_LIMITED"

    def __init__(self, sentence: Sentence, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class StoreUnavailable(AioschedulerError):
    """The store did not answer in time, or refused. A write may still have been applied."""

    error_code = "STORE_UNAVAILABLE"


class TargetForbidden(AioschedulerError):
    """The address policy does not let this target be called; ``setting`` names what would allow it, if anything."""

    error_code = "VALIDATION_ERROR"
