"""Account jobs, their webhooks and their executions, as clients write and read them."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import Schema, fields

from aioscheduler.api.schemas.base import (
    CheckedFlag,
    CheckedInteger,
    CheckedNumber,
    CheckedObject,
    CheckedString,
    Site,
    SiteSchema,
)
from aioscheduler.api.schemas.messages import HEADERS_SHAPE
from aioscheduler.api.schemas.query import MAX_LIMIT, check_filter, check_flag
from aioscheduler.domain.execution import ExecutionStatus, SkipReason
from aioscheduler.domain.job import (
    BODY_NAMES,
    DEFAULT_RETRY,
    MAX_DESCRIPTION_LENGTH,
    MAX_INSTANCES,
    MAX_NAME_LENGTH,
    MAX_WEBHOOK_URL_LENGTH,
    WEBHOOK_METHODS,
    JobId,
    check_account,
    check_name,
)
from aioscheduler.domain.message import (
    MAX_ID_LENGTH,
    MAX_MISFIRE_GRACE_SECONDS,
    MAX_TIMEOUT_SECONDS,
    MIN_TIMEOUT_SECONDS,
    check_misfire_grace,
    check_timeout,
)
from aioscheduler.domain.retry import MAX_ATTEMPTS, MAX_BACKOFF_SECONDS, BackoffType, RetryPolicy, check_retry
from aioscheduler.domain.target import Destination, check_headers
from aioscheduler.domain.template import MAX_TEMPLATE_LENGTH, compile_template
from aioscheduler.errors import InvalidInput, Sentence

DEFAULT_TIMEZONE = "UTC"
DEFAULT_LIMIT = 100
MAX_SKIP = 999_999_999
DEFAULT_PREVIEWS, MAX_PREVIEWS = 5, 100
DEFAULT_TIMEOUT_SECONDS = 30
MAX_QUERY_PARAMS = 64
#: JSON's numbers are doubles to most clients: larger integers would not come back as they were.
MAX_TYPE = 2**53 - 1

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_RETRY_MEMBERS = {
    "max_attempts": "maxAttempts",
    "backoff_seconds": "backoffSeconds",
    "backoff_type": "backoffType",
    "max_backoff_seconds": "maxBackoffSeconds",
}
_EXAMPLE_ACCOUNT = "123e4567-e89b-12d3-a456-426614174000"


def check_description(value: Any, name: str, site: Site) -> str | None:
    """Return what a job is for, in somebody's words."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput.of(name, Sentence("must be a string"))
    if len(value) > MAX_DESCRIPTION_LENGTH:
        raise InvalidInput.of(name, Sentence("must have at most {max} characters", max=MAX_DESCRIPTION_LENGTH))
    return value


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if isinstance(value, float) and value.is_integer():  # JSON has one kind of number
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput.of(name, Sentence("must be a whole number from {min} to {max}", min=least, max=most))
    return value


def check_number(value: Any, name: str, least: int, most: int) -> int:
    """Return a whole number, from the text of a query.

    :raises InvalidInput: it is none, or out of its bounds
    """
    return _whole(int(value) if _NUMBER.fullmatch(value) else None, name, least, most)


def check_retry_policy(value: Any, name: str, site: Site) -> RetryPolicy:
    """Return the policy; what it leaves out is as by default."""
    given = value
    if isinstance(value, dict):
        given = {camel: value[snake] for snake, camel in _RETRY_MEMBERS.items() if snake in value}
    try:
        return check_retry(given, name).over(DEFAULT_RETRY)
    except InvalidInput as error:
        names = {f"{name}.{camel}": f"{name}.{snake}" for snake, camel in _RETRY_MEMBERS.items()}
        raise InvalidInput({names.get(key, key): reasons for key, reasons in error.errors.items()}) from error


def _check_url(value: Any, name: str, site: Site) -> tuple[str, Destination]:
    if isinstance(value, str) and len(value) > MAX_WEBHOOK_URL_LENGTH:
        raise InvalidInput.of(name, Sentence("must have at most {max} characters", max=MAX_WEBHOOK_URL_LENGTH))
    return value, site.check_url(value, name)


def _check_method(value: Any, name: str, site: Site) -> str:
    if isinstance(value, str) and value.upper() in WEBHOOK_METHODS:
        return value.upper()
    raise InvalidInput.of(name, Sentence("must be one of {choices}", choices=", ".join(WEBHOOK_METHODS)))


def _check_headers(value: Any, name: str, site: Site) -> dict[str, str] | None:
    return None if value is None else dict(check_headers(value, name))


def _check_query_params(value: Any, name: str, site: Site) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidInput.of(name, Sentence("must be an object"))
    if len(value) > MAX_QUERY_PARAMS:
        raise InvalidInput.of(name, Sentence("must have at most {max} entries", max=MAX_QUERY_PARAMS))
    wrong = [
        key
        for key, item in value.items()
        if not all(isinstance(one, str | int | float) for one in (item if isinstance(item, list) else (item,)))
    ]
    if wrong:
        reason = Sentence("must be a string, a number, true or false, or an array of these")
        raise InvalidInput({f"{name}.{key}": [reason] for key in wrong})
    return value


def _check_template(value: Any, name: str, site: Site) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput.of(name, Sentence("must be a string"))
    compile_template(value, BODY_NAMES, name)
    return value


def _check_job_id(value: Any, name: str, site: Site) -> JobId:
    return JobId(check_account(value, name))


def check_status(value: Any, name: str, site: Site) -> ExecutionStatus | None:
    """Return where an execution stands; an empty text asks for all."""
    if value == "":
        return None
    try:
        return ExecutionStatus(value)
    except ValueError as error:
        choices = ", ".join(status.value for status in ExecutionStatus)
        raise InvalidInput.of(name, Sentence("must be one of {choices}", choices=choices)) from error


# -- requests -----------------------------------------------------------------------------------------------------


def _account(**options: Any) -> CheckedString:
    return CheckedString(
        lambda value, name, site: check_account(value, name),
        attribute="owner",
        metadata={"description": "The account it belongs to.", "format": "uuid", "examples": [_EXAMPLE_ACCOUNT]},
        **options,
    )


def name_field(**options: Any) -> CheckedString:
    """Return the field for a job's name."""
    return CheckedString(
        lambda value, name, site: check_name(value, name),
        metadata={"description": "For people.", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
        **options,
    )


def description_field() -> CheckedString:
    """Return the field for what a job is for."""
    return CheckedString(
        check_description,
        metadata={
            "description": "What it is for.",
            "type": ["string", "null"],
            "maxLength": MAX_DESCRIPTION_LENGTH,
        },
    )


def enabled_field(**options: Any) -> CheckedFlag:
    """Return the field that says whether a job runs by its schedule."""
    return CheckedFlag(
        check_flag, metadata={"description": "Whether it runs by its schedule.", "default": True}, **options
    )


def _schedule(**options: Any) -> CheckedString:
    # Judged by the handler, together with the time zone.
    return CheckedString(
        lambda value, name, site: value,
        metadata={
            "description": "A cron expression of five fields, with names, ranges, steps and lists, or an alias such "
            "as `@hourly`; 0 and 7 both are Sunday.",
            "maxLength": 128,
            "examples": ["0 2 * * *", "30 8 * * mon-fri", "@daily"],
        },
        **options,
    )


def _type(**options: Any) -> CheckedInteger:
    return CheckedInteger(
        lambda value, name, site: _whole(value, name, -MAX_TYPE, MAX_TYPE),
        metadata={
            "description": "A number of your own; it means nothing to the service.",
            "minimum": -MAX_TYPE,
            "maximum": MAX_TYPE,
        },
        **options,
    )


def _timezone() -> CheckedString:
    # Judged by the handler, together with the expression.
    return CheckedString(
        lambda value, name, site: value,
        metadata={
            "description": "An IANA time zone, in which the expression is read.",
            "default": DEFAULT_TIMEZONE,
            "examples": ["America/New_York"],
        },
    )


class RetryPolicySchema(Schema):
    """Only described here: ``check_retry_policy`` judges it whole."""

    max_attempts = fields.Integer(metadata={"minimum": 1, "maximum": MAX_ATTEMPTS, "default": 3})
    backoff_seconds = fields.Float(metadata={"minimum": 0, "maximum": MAX_BACKOFF_SECONDS, "default": 60})
    backoff_type = fields.String(metadata={"enum": [kind.value for kind in BackoffType], "default": "exponential"})
    max_backoff_seconds = fields.Float(metadata={"minimum": 0, "maximum": MAX_BACKOFF_SECONDS, "default": 3600})


class RunsSchema(SiteSchema):
    """What any job may say of its runs."""

    max_instances = CheckedInteger(
        lambda value, name, site: _whole(value, name, 1, MAX_INSTANCES),
        metadata={
            "description": "How many runs may go on at once; further ones are skipped.",
            "minimum": 1,
            "maximum": MAX_INSTANCES,
            "default": 1,
        },
    )
    coalesce = CheckedFlag(
        check_flag,
        metadata={"description": "Merge runs that were missed while the service was down into one.", "default": True},
    )
    misfire_grace_seconds = CheckedNumber(
        lambda value, name, site: check_misfire_grace(value, name),
        attribute="misfire_grace",
        metadata={
            "description": "Later than this, a run is skipped.",
            "minimum": 0,
            "maximum": MAX_MISFIRE_GRACE_SECONDS,
            "default": 3600,
        },
    )


class JobUpdateSchema(RunsSchema):
    """The body of ``PUT /api/jobs/{job_id}``: what is left out stays."""

    account_id = _account()
    name = name_field()
    description = description_field()
    schedule = _schedule()
    type = _type()
    timezone = _timezone()
    enabled = enabled_field()
    retry_policy = CheckedObject(
        check_retry_policy,
        attribute="retry",
        metadata={"description": "How often and how patiently a failed webhook is called again; replaced whole."},
    )


class JobSchema(JobUpdateSchema):
    """The body of ``POST /api/jobs``."""

    account_id = _account(required=True)
    name = name_field(required=True)
    schedule = _schedule(required=True)
    type = _type(required=True)


def _url(**options: Any) -> CheckedString:
    return CheckedString(
        _check_url,
        metadata={
            "description": "An absolute http or https URL.",
            "format": "uri",
            "maxLength": MAX_WEBHOOK_URL_LENGTH,
        },
        **options,
    )


def _method(**options: Any) -> CheckedString:
    return CheckedString(_check_method, metadata={"enum": list(WEBHOOK_METHODS)}, **options)


def _job_id(**options: Any) -> CheckedString:
    return CheckedString(
        _check_job_id, metadata={"description": "The job whose runs call it.", "format": "uuid"}, **options
    )


class WebhookUpdateSchema(SiteSchema):
    """The body of ``PUT /webhooks/{webhook_id}``: what is left out stays."""

    job_id = _job_id()
    url = _url()
    method = _method()
    headers = CheckedObject(
        _check_headers,
        metadata={
            "description": "Headers of the request; `null` for none.",
            "type": ["object", "null"],
            **HEADERS_SHAPE,
        },
    )
    query_params = CheckedObject(
        _check_query_params,
        metadata={
            "description": "Parameters added to the URL: strings, numbers, booleans or arrays of these; `null` for "
            "none.",
            "type": ["object", "null"],
            "maxProperties": MAX_QUERY_PARAMS,
            "additionalProperties": {
                "type": ["string", "number", "boolean", "array"],
                "items": {"type": ["string", "number", "boolean"]},
            },
        },
    )
    body_template = CheckedString(
        _check_template,
        metadata={
            "description": 'The body, with places such as `{{ job.id }}` or `{{ now | date: "%Y-%m-%d" }}` for '
            + ", ".join(f"`{name}`" for name in sorted(BODY_NAMES))
            + ". Without one, POST, PUT and PATCH send a JSON object that says which run it is.",
            "type": ["string", "null"],
            "maxLength": MAX_TEMPLATE_LENGTH,
        },
    )
    timeout_seconds = CheckedNumber(
        lambda value, name, site: check_timeout(value, name),
        metadata={
            "description": "How long one attempt may take.",
            "minimum": MIN_TIMEOUT_SECONDS,
            "maximum": MAX_TIMEOUT_SECONDS,
            "default": DEFAULT_TIMEOUT_SECONDS,
        },
    )


class WebhookSchema(WebhookUpdateSchema):
    """The body of ``POST /webhooks``."""

    job_id = _job_id(required=True)
    url = _url(required=True)
    method = _method(required=True)


# -- queries ------------------------------------------------------------------------------------------------------


class SliceQuery(SiteSchema):
    """Part of a list."""

    skip = CheckedInteger(
        lambda value, name, site: check_number(value, name, 0, MAX_SKIP),
        load_default=0,
        metadata={"description": "How many to leave out from the beginning.", "minimum": 0, "maximum": MAX_SKIP},
    )
    limit = CheckedInteger(
        lambda value, name, site: check_number(value, name, 1, MAX_LIMIT),
        load_default=DEFAULT_LIMIT,
        metadata={"description": "How many at most.", "minimum": 1, "maximum": MAX_LIMIT},
    )


def name_filter() -> CheckedString:
    """Return the field that filters jobs by their name."""
    return CheckedString(
        check_filter,
        load_default="",
        metadata={"description": "Only those whose name contains this, in whatever case.", "maxLength": MAX_ID_LENGTH},
    )


class JobsQuery(SliceQuery):
    """``GET /api/jobs``"""

    account_id = CheckedString(
        lambda value, name, site: check_account(value, name),
        load_default=None,
        metadata={
            "description": "The account. Only the `API_TOKEN` and `service_role` may leave it out, for all accounts.",
            "format": "uuid",
        },
    )
    enabled = CheckedFlag(check_flag, load_default=None, metadata={"description": "Only those that are, or are not."})
    name = name_filter()


class ExecutionsQuery(SliceQuery):
    """``GET /api/jobs/{job_id}/executions``"""

    status = CheckedString(
        check_status,
        load_default=None,
        metadata={"description": "Only those that stand so.", "enum": [status.value for status in ExecutionStatus]},
    )


class WebhooksQuery(SliceQuery):
    """``GET /webhooks``"""

    job_id = _job_id(required=True)


def previews_field() -> CheckedInteger:
    """Return the field that says how many runs a preview shows."""
    return CheckedInteger(
        lambda value, name, site: check_number(value, name, 1, MAX_PREVIEWS),
        load_default=DEFAULT_PREVIEWS,
        metadata={"description": "How many runs to show.", "minimum": 1, "maximum": MAX_PREVIEWS},
    )


class PreviewQuery(SiteSchema):
    """``GET /api/jobs/preview``"""

    schedule = _schedule(required=True)
    timezone = _timezone()
    count = previews_field()


# -- answers ------------------------------------------------------------------------------------------------------

STATUSES = [status.value for status in ExecutionStatus]


class JobDetailsSchema(Schema):
    """A job."""

    id = fields.UUID(required=True)
    account_id = fields.UUID(required=True)
    name = fields.String(required=True)
    description = fields.String(required=True, allow_none=True)
    schedule = fields.String(required=True)
    type = fields.Integer(required=True)
    timezone = fields.String(required=True)
    enabled = fields.Boolean(required=True)
    retry_policy = fields.Nested(RetryPolicySchema, required=True)
    max_instances = fields.Integer(required=True)
    coalesce = fields.Boolean(required=True)
    misfire_grace_seconds = fields.Float(required=True)
    last_run_at = fields.DateTime(required=True, allow_none=True)
    last_run_status = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "How the latest of its executions to end did, or that it has not."},
    )
    last_run_error = fields.String(required=True, allow_none=True)
    next_run_at = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "`null` while it is disabled."}
    )
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)


class _SliceSchema(Schema):
    total = fields.Integer(required=True, metadata={"description": "How many the whole list has."})
    skip = fields.Integer(required=True)
    limit = fields.Integer(required=True)


class JobListSchema(_SliceSchema):
    """Jobs, oldest first."""

    items = fields.List(fields.Nested(JobDetailsSchema), required=True)


class WebhookDetailsSchema(Schema):
    """A webhook."""

    id = fields.UUID(required=True)
    job_id = fields.UUID(required=True)
    url = fields.String(required=True)
    method = fields.String(required=True)
    headers = fields.Dict(keys=fields.String(), values=fields.String(), required=True, allow_none=True)
    query_params = fields.Dict(required=True, allow_none=True)
    body_template = fields.String(required=True, allow_none=True)
    timeout_seconds = fields.Float(required=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)


class WebhookListSchema(_SliceSchema):
    """A job's webhooks, oldest first."""

    items = fields.List(fields.Nested(WebhookDetailsSchema), required=True)


class ExecutionSchema(Schema):
    """One attempt of one webhook in one run of a job, or occurrences that were not run."""

    id = fields.UUID(required=True)
    job_id = fields.UUID(required=True)
    webhook_id = fields.UUID(required=True, allow_none=True)
    run_id = fields.String(required=True, metadata={"description": "`job@fire time`."})
    status = fields.String(required=True, metadata={"enum": STATUSES})
    attempt = fields.Integer(required=True)
    scheduled_for = fields.DateTime(required=True)
    started_at = fields.DateTime(required=True, allow_none=True)
    finished_at = fields.DateTime(required=True, allow_none=True)
    duration_ms = fields.Float(required=True, allow_none=True)
    response_code = fields.Integer(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)
    worker_id = fields.String(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)
    skip_reason = fields.String(
        metadata={"description": "Of skipped ones.", "enum": [reason.value for reason in SkipReason]}
    )
    skipped_count = fields.Integer(metadata={"description": "How many occurrences a skipped one stands for."})


class ExecutionListSchema(_SliceSchema):
    """Executions, newest first."""

    items = fields.List(fields.Nested(ExecutionSchema), required=True)


class ExecutionDetailsSchema(ExecutionSchema):
    """An execution, with the beginning of what the webhook answered."""

    response_body = fields.String(required=True, allow_none=True)


class RunQueuedSchema(Schema):
    """A run that was asked for."""

    message = fields.String(required=True)
    status = fields.String(required=True, metadata={"enum": ["queued"]})
    execution_ids = fields.List(fields.UUID(), required=True)


class RetryQueuedSchema(Schema):
    """A further attempt that was asked for."""

    message = fields.String(required=True)
    status = fields.String(required=True, metadata={"enum": ["queued"]})
    execution_id = fields.UUID(required=True)


class PreviewSchema(Schema):
    """A schedule in words, and when it runs."""

    description = fields.String(required=True)
    next_runs = fields.List(fields.DateTime(), required=True)
    notes = fields.List(
        fields.String(), required=True, metadata={"description": "Where daylight saving moves one of these runs."}
    )
