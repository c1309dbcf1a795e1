"""Bot jobs and their history, as clients write and read them."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from aioscheduler.api.schemas.base import CheckedFlag, CheckedInteger, CheckedObject, CheckedString, SiteSchema
from aioscheduler.api.schemas.jobs import (
    RunsSchema,
    check_number,
    description_field,
    enabled_field,
    name_field,
    name_filter,
    previews_field,
)
from aioscheduler.api.schemas.query import check_flag
from aioscheduler.domain.trigger import ScheduleType

DEFAULT_HISTORY, MAX_HISTORY = 50, 200
STATUSES = ["queued", "running", "success", "failed", "skipped"]
_CONFIG = {
    "description": "`daily` takes `hour`, `minute` and `second`; `weekly` also `day_of_week`, such as `mon,wed,fri` or "
    "`mon-fri`; `interval` takes `weeks`, `days`, `hours`, `minutes` and `seconds`, counted from the job's creation; "
    "`cron` takes `cron_expression`. All take `timezone`, an IANA name, by default the service's `TIMEZONE`.",
    "examples": [{"hour": 8, "minute": 0}, {"hours": 2}, {"cron_expression": "0 8-18 * * 1-5"}],
}


def _bot_type(**options: Any) -> CheckedString:
    # This and what follows is judged by the handler, which knows the bots and reads types with their configurations.
    return CheckedString(
        lambda value, name, site: value,
        metadata={"description": "`birthday`, `visitor`, or a bot that an installed package brings."},
        **options,
    )


def _schedule_type(**options: Any) -> CheckedString:
    return CheckedString(
        lambda value, name, site: value, metadata={"enum": [kind.value for kind in ScheduleType]}, **options
    )


def _schedule_config(**options: Any) -> CheckedObject:
    return CheckedObject(lambda value, name, site: value, metadata=_CONFIG, **options)


class BotJobUpdateSchema(RunsSchema):
    """The body of ``PUT /scheduler/jobs/{job_id}``: what is left out stays, the configurations are replaced whole."""

    name = name_field()
    description = description_field()
    bot_type = _bot_type()
    enabled = enabled_field()
    schedule_type = _schedule_type()
    schedule_config = _schedule_config()
    bot_config = CheckedObject(
        lambda value, name, site: value,
        metadata={"description": "What the bot is asked to do; what is left out is as by default."},
    )


class BotJobSchema(BotJobUpdateSchema):
    """The body of ``POST /scheduler/jobs``."""

    name = name_field(required=True)
    bot_type = _bot_type(required=True)
    schedule_type = _schedule_type(required=True)
    schedule_config = _schedule_config(required=True)


class ToggleSchema(SiteSchema):
    """The body of ``POST /scheduler/jobs/{job_id}/toggle``."""

    enabled = enabled_field(required=True)


class BotJobsQuery(SiteSchema):
    """``GET /scheduler/jobs``"""

    enabled_only = CheckedFlag(check_flag, load_default=False, metadata={"description": "Only those that are enabled."})
    name = name_filter()


class BotPreviewQuery(SiteSchema):
    """``GET /scheduler/jobs/preview``"""

    schedule_type = _schedule_type(required=True)
    schedule_config = CheckedString(
        lambda value, name, site: value,
        required=True,
        metadata={
            "description": "The configuration as JSON, as in a job's body.",
            "examples": ['{"cron_expression": "0 8-18 * * 1-5"}'],
        },
    )
    count = previews_field()


class HistoryQuery(SiteSchema):
    """``GET /scheduler/jobs/{job_id}/history``"""

    limit = CheckedInteger(
        lambda value, name, site: check_number(value, name, 1, MAX_HISTORY),
        load_default=DEFAULT_HISTORY,
        metadata={"description": "How many at most.", "minimum": 1, "maximum": MAX_HISTORY},
    )


class BotJobDetailsSchema(Schema):
    """A bot job."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    description = fields.String(required=True, allow_none=True)
    bot_type = fields.String(required=True)
    enabled = fields.Boolean(required=True)
    schedule_type = fields.String(required=True, metadata={"enum": [kind.value for kind in ScheduleType]})
    schedule_config = fields.Dict(required=True)
    bot_config = fields.Dict(required=True)
    max_instances = fields.Integer(required=True)
    coalesce = fields.Boolean(required=True)
    misfire_grace_seconds = fields.Float(required=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)
    last_run_at = fields.DateTime(required=True, allow_none=True)
    last_run_status = fields.String(
        required=True, allow_none=True, metadata={"description": ", ".join(f"`{status}`" for status in STATUSES)}
    )
    last_run_error = fields.String(required=True, allow_none=True)
    next_run_at = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "`null` while it is disabled."}
    )


class BotRunSchema(Schema):
    """One run of a bot job."""

    id = fields.UUID(required=True)
    job_id = fields.UUID(required=True)
    scheduled_for = fields.DateTime(required=True)
    started_at = fields.DateTime(required=True, allow_none=True)
    finished_at = fields.DateTime(required=True, allow_none=True)
    status = fields.String(required=True, metadata={"enum": STATUSES})
    result = fields.Dict(required=True, allow_none=True, metadata={"description": "What the bot tells of its run."})
    error = fields.String(required=True, allow_none=True)
    messages_sent = fields.Integer(required=True)
    profiles_visited = fields.Integer(required=True)


class BotRunQueuedSchema(Schema):
    """A run that was asked for."""

    message = fields.String(required=True)
    status = fields.String(required=True, metadata={"enum": ["queued"]})
