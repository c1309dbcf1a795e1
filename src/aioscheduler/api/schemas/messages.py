"""Messages, dead letters and deliveries, as clients write and read them."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from aioscheduler.api.schemas.base import (
    CheckedNumber,
    CheckedObject,
    CheckedString,
    CheckedValue,
    Site,
    SiteSchema,
)
from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.instant import MAX_DELAY_SECONDS, parse_delay, parse_instant
from aioscheduler.domain.message import (
    MAX_ID_LENGTH,
    MAX_MISFIRE_GRACE_SECONDS,
    MAX_TIMEOUT_SECONDS,
    MIN_TIMEOUT_SECONDS,
    ConflictPolicy,
    MessageStatus,
    check_id,
    check_misfire_grace,
    check_timeout,
)
from aioscheduler.domain.retry import MAX_ATTEMPTS, MAX_BACKOFF_SECONDS, BackoffType, check_retry
from aioscheduler.domain.target import (
    MAX_HEADER_VALUE,
    MAX_HEADERS,
    MAX_URL_LENGTH,
    METHODS,
    Destination,
    check_headers,
    check_method,
)
from aioscheduler.errors import InvalidInput, Sentence

MAX_BATCH = 1000
ID_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]+$"
#: What it can say of headers.
HEADERS_SHAPE: dict[str, Any] = {
    "maxProperties": MAX_HEADERS,
    "propertyNames": {"pattern": r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$"},
    "additionalProperties": {"type": "string", "maxLength": MAX_HEADER_VALUE},
}
_STATUSES = "One of " + ", ".join(f"`{status.value}`" for status in MessageStatus) + "."


def _check_url(value: Any, name: str, site: Site) -> tuple[str, Destination]:
    return value, site.check_url(value, name)


def _check_policy(value: Any, name: str, site: Site) -> ConflictPolicy:
    for policy in ConflictPolicy:
        if value == policy.value:
            return policy
    choices = ", ".join(policy.value for policy in ConflictPolicy)
    raise InvalidInput.of(name, Sentence("must be one of {choices}", choices=choices))


def _schedule_to() -> CheckedString:
    return CheckedString(
        lambda value, name, site: parse_instant(value, site.zone, name),
        metadata={
            "description": "The instant, in ISO 8601; without an offset it is local time in `TIMEZONE`. "
            "It takes either this or `delay`.",
            "examples": ["2026-04-15T02:41:45.000Z"],
        },
    )


def _delay() -> CheckedValue:
    return CheckedValue(
        lambda value, name, site: parse_delay(value, name),
        metadata={
            "description": "From now: a text with a unit, an ISO 8601 duration, or a number of seconds.",
            "type": ["string", "number"],
            "maxLength": 64,
            "minimum": 0,
            "maximum": MAX_DELAY_SECONDS,
            "examples": ["90s", "PT1H30M", 5],
        },
    )


class RetrySchema(Schema):
    """Only described here: ``check_retry`` judges it whole."""

    maxAttempts = fields.Integer(metadata={"minimum": 1, "maximum": MAX_ATTEMPTS})
    backoffSeconds = fields.Float(metadata={"minimum": 0, "maximum": MAX_BACKOFF_SECONDS})
    backoffType = fields.String(metadata={"enum": [kind.value for kind in BackoffType]})
    maxBackoffSeconds = fields.Float(metadata={"minimum": 0, "maximum": MAX_BACKOFF_SECONDS})


class MessageBodySchema(SiteSchema):
    """The body of ``PUT /messages/{id}``."""

    scheduleTo = _schedule_to()
    delay = _delay()
    payload = CheckedValue(
        lambda value, name, site: value,
        required=True,
        allow_none=True,
        metadata={"description": "Any JSON value; sent as the request's body, as it was written."},
    )
    webhookUrl = CheckedString(
        _check_url,
        required=True,
        metadata={
            "description": "An absolute http or https URL, called exactly as given.",
            "format": "uri",
            "maxLength": MAX_URL_LENGTH,
        },
    )
    method = CheckedString(
        lambda value, name, site: check_method(value, name),
        metadata={"enum": list(METHODS), "default": "POST"},
    )
    headers = CheckedObject(
        lambda value, name, site: check_headers(value, name),
        metadata={
            "description": "Headers of the request to the webhook.",
            **HEADERS_SHAPE,
        },
    )
    timeoutSeconds = CheckedNumber(
        lambda value, name, site: check_timeout(value, name),
        metadata={
            "description": "How long one attempt may take.",
            "minimum": MIN_TIMEOUT_SECONDS,
            "maximum": MAX_TIMEOUT_SECONDS,
        },
    )
    retry = CheckedObject(
        lambda value, name, site: check_retry(value, name),
        metadata={"description": "How often and how patiently to try; the settings say what is left out here."},
    )
    misfireGraceSeconds = CheckedNumber(
        lambda value, name, site: check_misfire_grace(value, name),
        metadata={
            "description": "Later than this, and it is not sent but a dead letter.",
            "minimum": 0,
            "maximum": MAX_MISFIRE_GRACE_SECONDS,
        },
    )


class MessageSchema(MessageBodySchema):
    """The body of ``POST /messages``, and an item of a batch."""

    id = CheckedString(
        lambda value, name, site: check_id(value, name),
        metadata={
            "description": "Any text without control characters; made by the service where absent.",
            "pattern": ID_PATTERN,
            "minLength": 1,
            "maxLength": MAX_ID_LENGTH,
        },
    )
    onConflict = CheckedString(
        _check_policy,
        metadata={
            "description": "What to do when a message with this id is there.",
            "enum": [policy.value for policy in ConflictPolicy],
        },
    )


class ReplaySchema(SiteSchema):
    """The body of ``POST /dead-letters/{id}/replay``: when, and of a message what and where to, if not as before."""

    scheduleTo = _schedule_to()
    delay = _delay()
    payload = CheckedValue(
        lambda value, name, site: value,
        allow_none=True,
        metadata={"description": "Any JSON value, in place of the message's payload."},
    )
    webhookUrl = CheckedString(
        _check_url,
        metadata={
            "description": "An absolute http or https URL, in place of the message's.",
            "format": "uri",
            "maxLength": MAX_URL_LENGTH,
        },
    )


class BatchSchema(Schema):
    """The body of ``POST /messages/batch``."""

    messages = fields.List(fields.Nested(MessageSchema), required=True, metadata={"maxItems": MAX_BATCH})


# -- answers ------------------------------------------------------------------------------------------------------


class ErrorSchema(Schema):
    """Every error of every route."""

    detail = fields.String(required=True)
    error_code = fields.String(required=True)
    status_code = fields.Integer(required=True)
    errors = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))


class ScheduledSchema(Schema):
    """A message was accepted."""

    status = fields.String(required=True)
    messageId = fields.String(required=True)
    scheduledFor = fields.DateTime(required=True)
    version = fields.String(required=True)


class BatchItemSchema(Schema):
    """What became of one item of a batch."""

    messageId = fields.String(required=True, allow_none=True)
    status = fields.String(required=True, metadata={"description": "`scheduled` or `rejected`."})
    scheduledFor = fields.DateTime()
    version = fields.String()
    error = fields.Nested(ErrorSchema)


class BatchResultSchema(Schema):
    """What became of a batch, in the order given."""

    scheduled = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    results = fields.List(fields.Nested(BatchItemSchema), required=True)


class MessageDetailsSchema(Schema):
    """A live message: the record as it was given, and what is going on with it."""

    id = fields.String(required=True)
    scheduleTo = fields.String(required=True)
    payload = fields.Raw(required=True, allow_none=True)
    webhookUrl = fields.String(required=True)
    method = fields.String()
    headers = fields.Dict(keys=fields.String(), values=fields.String())
    timeoutSeconds = fields.Float()
    retry = fields.Nested(RetrySchema)
    misfireGraceSeconds = fields.Float()
    nextRun = fields.DateTime(required=True)
    status = fields.String(required=True, metadata={"description": _STATUSES})
    nextAttemptAt = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "`null` while an attempt is being made."}
    )
    attempts = fields.Integer(required=True)
    lastError = fields.String(required=True, allow_none=True)
    version = fields.String(required=True)
    createdAt = fields.DateTime(required=True)


class ListedMessageSchema(Schema):
    """A live message in a list."""

    messageId = fields.String(required=True)
    nextRun = fields.DateTime(required=True)
    trigger = fields.String(required=True)
    job = fields.String(required=True)
    webhookUrl = fields.String(required=True)
    status = fields.String(required=True, metadata={"description": _STATUSES})
    attempts = fields.Integer(required=True)


class MessageListSchema(Schema):
    """Live messages, by due time."""

    scheduledJobs = fields.List(fields.Nested(ListedMessageSchema), required=True)
    count = fields.Integer(required=True)
    total = fields.Integer(required=True)
    timestamp = fields.DateTime(required=True)
    nextCursor = fields.String(required=True, allow_none=True)


class MessageSearchSchema(Schema):
    """Live messages that match, by id."""

    count = fields.Integer(required=True)
    messages = fields.List(fields.Nested(MessageDetailsSchema), required=True)
    nextCursor = fields.String(required=True, allow_none=True)


class CountSchema(Schema):
    """How many live messages match."""

    count = fields.Integer(required=True)
    exact = fields.Boolean(
        required=True, metadata={"description": "`false`: only part of the ids was looked at; there may be more."}
    )


class DeletedSchema(Schema):
    """A message is gone."""

    status = fields.String(required=True)
    messageId = fields.String(required=True)


class LetterDeletedSchema(Schema):
    """A dead letter is gone, of a message or of an execution."""

    status = fields.String(required=True)
    messageId = fields.String()
    executionId = fields.String()


class BulkDeletedSchema(Schema):
    """Those that match are gone, or would be."""

    deleted = fields.Integer(required=True)
    messageIds = fields.List(fields.String(), required=True)
    dryRun = fields.Boolean()


class DeadLetterSchema(Schema):
    """A message that will not be attempted any more. One nobody can parse has ``record`` in place of its members; an
    execution of a job says which it is of."""

    id = fields.String(required=True)
    messageId = fields.String(metadata={"description": "Of a message."})
    executionId = fields.String(metadata={"description": "Of an execution of a job."})
    jobId = fields.String()
    webhookId = fields.String(allow_none=True)
    runId = fields.String()
    scheduledFor = fields.DateTime()
    scheduleTo = fields.String()
    payload = fields.Raw(allow_none=True)
    webhookUrl = fields.String()
    method = fields.String()
    headers = fields.Dict(keys=fields.String(), values=fields.String())
    timeoutSeconds = fields.Float()
    retry = fields.Nested(RetrySchema)
    misfireGraceSeconds = fields.Float()
    version = fields.String()
    createdAt = fields.DateTime()
    record = fields.String()
    recordBase64 = fields.String()
    reason = fields.String(required=True, metadata={"enum": [reason.value for reason in DeadReason]})
    attempts = fields.Integer(required=True)
    lastError = fields.String(required=True, allow_none=True)
    deadAt = fields.DateTime(required=True)


class DeadLettersSchema(Schema):
    """Dead letters, the latest first; with a prefix by id."""

    deadLetters = fields.List(fields.Nested(DeadLetterSchema), required=True)
    count = fields.Integer(required=True)
    nextCursor = fields.String(required=True, allow_none=True)


class LetterReplayedSchema(Schema):
    """A message that is scheduled again, or an execution of a job that is made again."""

    status = fields.String(required=True, metadata={"description": "`scheduled`, or of an execution `queued`."})
    messageId = fields.String(metadata={"description": "Of a message."})
    scheduledFor = fields.DateTime()
    version = fields.String()
    jobId = fields.String(metadata={"description": "Of an execution."})
    executionId = fields.String(metadata={"description": "The attempt that is made now."})


_MORE = {"description": "With `limit`: where to go on; `null` when none is left."}


class ReplayedSchema(Schema):
    """Dead letters that are scheduled again."""

    replayed = fields.Integer(required=True)
    messageIds = fields.List(fields.String(), required=True)
    executionIds = fields.List(fields.String(), metadata={"description": "Those of jobs, if there are any."})
    failed = fields.Integer(metadata={"description": "With `limit`: how many could not be, and stay."})
    nextCursor = fields.String(allow_none=True, metadata=_MORE)


class DiscardedSchema(Schema):
    """Dead letters that are deleted."""

    discarded = fields.Integer(required=True)
    messageIds = fields.List(fields.String(), required=True)
    executionIds = fields.List(fields.String(), metadata={"description": "Those of jobs, if there are any."})
    failed = fields.Integer(metadata={"description": "With `limit`: how many were gone already."})
    nextCursor = fields.String(allow_none=True, metadata=_MORE)


class DeadGroupSchema(Schema):
    """Dead letters with one reason that were to go to one destination."""

    reason = fields.String(required=True, metadata={"enum": [reason.value for reason in DeadReason]})
    destination = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "Scheme, host and port; `null` where there is none to tell: a record nobody can parse, a "
            "bot's run, a webhook that is gone."
        },
    )
    count = fields.Integer(required=True)
    oldest = fields.DateTime(required=True)
    newest = fields.DateTime(required=True)


class DeadGroupsSchema(Schema):
    """``GET /dead-letters/groups``, the largest first."""

    groups = fields.List(fields.Nested(DeadGroupSchema), required=True)
    total = fields.Integer(required=True, metadata={"description": "All dead letters there are."})
    truncated = fields.Boolean(
        required=True,
        metadata={"description": "There are more groups, or only the newest letters were looked at."},
    )


class DeliverySchema(Schema):
    """One attempt that has ended, of a message or of an execution of a job."""

    id = fields.String(required=True)
    messageId = fields.String()
    jobId = fields.String()
    executionId = fields.String()
    attempt = fields.Integer(required=True)
    status = fields.String(required=True, metadata={"description": ", ".join(kind.value for kind in OutcomeKind)})
    scheduledFor = fields.DateTime(required=True)
    dueAt = fields.DateTime(required=True)
    claimedAt = fields.DateTime(required=True)
    startedAt = fields.DateTime(required=True)
    sentAt = fields.DateTime(required=True, allow_none=True)
    answeredAt = fields.DateTime(required=True, allow_none=True)
    finishedAt = fields.DateTime(required=True)
    latenessMs = fields.Float(required=True)
    durationMs = fields.Float(required=True)
    responseCode = fields.Integer(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)


class DeliveriesSchema(Schema):
    """The latest attempts, newest first."""

    deliveries = fields.List(fields.Nested(DeliverySchema), required=True)
    nextCursor = fields.String(required=True, allow_none=True)
