"""Health, metrics and the test inbox, as they are read."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields


class HealthSchema(Schema):
    """``GET /health``"""

    status = fields.String(required=True, metadata={"description": "`healthy` or `unhealthy`."})
    service = fields.String(required=True)
    redis = fields.String(required=True, metadata={"description": "`connected` or `disconnected`."})
    scheduler = fields.String(required=True, metadata={"description": "`running` or `stopped`."})
    store = fields.String(required=True, metadata={"description": "`embedded` or `redis`."})
    scheduled_jobs = fields.Integer(required=True, allow_none=True)
    uptime = fields.String(required=True)
    version = fields.String(required=True)


class SessionSchema(Schema):
    """``GET /session``"""

    opens = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Of `messages` (and whatever is the operator's), `jobs` and `bots`; none if wrong."},
    )
    accounts = fields.List(
        fields.String(),
        required=True,
        allow_none=True,
        metadata={"description": "Whose jobs: `null` for all accounts, empty for none."},
    )


class SchedulerHealthSchema(Schema):
    """``GET /scheduler/health``"""

    status = fields.String(required=True, metadata={"description": "`healthy` or `unhealthy`."})
    scheduler_running = fields.Boolean(required=True)
    redis_connected = fields.Boolean(required=True)
    total_jobs = fields.Integer(required=True, allow_none=True, metadata={"description": "Bot jobs there are."})
    enabled_jobs = fields.Integer(required=True, allow_none=True)


class StoreSchema(Schema):
    """What the store is and what it can lose."""

    kind = fields.String(required=True)
    version = fields.String(required=True)
    persistence = fields.String(required=True)
    used_memory_bytes = fields.Integer(required=True)
    risks = fields.List(fields.String(), required=True)


class BreachSchema(Schema):
    """How punctual the last minute was, against the target. A breach is not unhealthy."""

    target_ms = fields.Integer(required=True, metadata={"description": "`PUNCTUALITY_TARGET_MS`; 0: none."})
    breached = fields.Boolean(
        required=True, metadata={"description": "`p99_ms` is above the target; fewer than 10 deliveries breach none."}
    )
    deliveries = fields.Integer(required=True)
    p99_ms = fields.Float(required=True, allow_none=True)


class DetailedHealthSchema(Schema):
    """``GET /health/detailed``"""

    status = fields.String(required=True)
    service = fields.String(required=True)
    database = fields.String(required=True, metadata={"description": "A write to the store came back."})
    redis = fields.String(required=True, metadata={"description": "The connection for notifications."})
    scheduler_service = fields.String(required=True)
    scheduled_jobs = fields.Integer(required=True, allow_none=True)
    uptime = fields.String(required=True)
    version = fields.String(required=True)
    timezone = fields.String(required=True, metadata={"description": "`TIMEZONE`."})
    replicas = fields.Integer(
        required=True, allow_none=True, metadata={"description": "How many live, workers included."}
    )
    worker = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Which worker answers; `null` where there is one process."},
    )
    in_flight = fields.Integer(required=True)
    window_entries = fields.Integer(required=True)
    loop_lag_ms = fields.Float(required=True)
    circuits_open = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Destinations this process leaves alone because they fail, 100 at most."},
    )
    punctuality = fields.Nested(BreachSchema, required=True, allow_none=True)
    store = fields.Nested(StoreSchema, required=True, allow_none=True)


class MessageMetricsSchema(Schema):
    """What became of messages, in the whole deployment."""

    scheduled = fields.Integer(required=True)
    replaced = fields.Integer(required=True)
    deleted = fields.Integer(required=True)
    replayed = fields.Integer(required=True)
    adopted = fields.Integer(required=True)
    recovered = fields.Integer(required=True)
    delivered = fields.Integer(required=True)
    success = fields.Integer(required=True)
    failure = fields.Integer(required=True)
    timed_out = fields.Integer(required=True)
    dead_letter = fields.Integer(required=True)
    success_rate = fields.Float(required=True, allow_none=True, metadata={"description": "Per cent of the attempts."})
    avg_duration_ms = fields.Float(required=True, allow_none=True)
    avg_lateness_ms = fields.Float(required=True, allow_none=True)
    fired_early = fields.Integer(required=True)
    pending = fields.Integer(required=True)
    leased = fields.Integer(required=True)
    dead = fields.Integer(required=True, metadata={"description": "Dead letters, those of executions too."})
    oldest_overdue_seconds = fields.Float(required=True)


_RATE = "Per cent of those that ended, the skipped left out; `null` before the first."


class JobMetricsSchema(Schema):
    """How many jobs there are."""

    total = fields.Integer(required=True)
    enabled = fields.Integer(required=True)
    disabled = fields.Integer(required=True)


class RunMetricsSchema(Schema):
    """How executions stand and how they ended, those of deleted jobs too; each attempt is one."""

    total = fields.Integer(required=True, metadata={"description": "All there are and were, the skipped left out."})
    queued = fields.Integer(required=True)
    running = fields.Integer(required=True)
    success = fields.Integer(required=True)
    skipped = fields.Integer(required=True, metadata={"description": "Occurrences that were not run."})
    success_rate = fields.Float(required=True, allow_none=True, metadata={"description": _RATE})
    avg_duration_ms = fields.Float(
        required=True, allow_none=True, metadata={"description": "Of the attempts; `null` before the first."}
    )


class ExecutionMetricsSchema(RunMetricsSchema):
    """How executions stand and how they ended, those of deleted jobs too; each attempt is one."""

    failure = fields.Integer(required=True)
    timed_out = fields.Integer(required=True)
    dead_letter = fields.Integer(required=True, metadata={"description": "Last attempts, however they failed."})


class BotRunMetricsSchema(RunMetricsSchema):
    """How bots' runs stand and how they ended."""

    failed = fields.Integer(required=True)


class BotJobMetricsSchema(JobMetricsSchema):
    """How many bot jobs there are, and what became of their runs."""

    runs = fields.Nested(BotRunMetricsSchema, required=True)


_KINDS = {
    "planned": "What was to happen: `delivered` + `dead` + `deleted` + `replaced` + `missed` + `pending`.",
    "delivered": "Answered with 2xx.",
    "dead": "Given up; what was missed is not among these.",
    "deleted": "By clients, with their job, or by others from the store.",
    "replaced": "By a later version under the same id.",
    "missed": "Not attempted: too late for it, or a run of a job that found as many going on as there may be.",
    "pending": "Not ended yet.",
    "difference": "What nobody can account for: 0, or the store lost something.",
}


def _account() -> dict[str, fields.Integer]:
    return {name: fields.Integer(required=True, metadata={"description": text}) for name, text in _KINDS.items()}


#: One account: of messages, or of executions.
AccountSchema = Schema.from_dict(dict(_account()), name="AccountSchema")


class AuditMetricsSchema(Schema):
    """The account of all there ever was; ``GET /audit`` tells it for any time."""

    messages = fields.Nested(AccountSchema, required=True)
    executions = fields.Nested(AccountSchema, required=True)


_FIGURES = {
    "p50_ms": "Half of them were later.",
    "p99_ms": "One in a hundred was later.",
    "p999_ms": "One in a thousand was later.",
    "worst_ms": "None was later.",
}


def _figures() -> dict[str, fields.Field[Any]]:
    return {
        "deliveries": fields.Integer(required=True, metadata={"description": "How many first attempts ended."}),
        **{
            name: fields.Float(required=True, allow_none=True, metadata={"description": text})
            for name, text in _FIGURES.items()
        },
    }


#: How late first attempts left: of messages, or of executions.
FiguresSchema = Schema.from_dict(_figures(), name="FiguresSchema")


class WindowMetricsSchema(Schema.from_dict(_figures(), name="AllFigures")):  # type: ignore[misc]  # made from a table
    """How late first attempts left that ended in some time: of all together, of messages, and of executions."""

    messages = fields.Nested(FiguresSchema, required=True)
    executions = fields.Nested(FiguresSchema, required=True)


class DestinationFiguresSchema(Schema.from_dict(_figures(), name="ItsFigures")):  # type: ignore[misc]  # likewise
    """How late those to one destination left."""

    destination = fields.String(required=True, metadata={"description": "Scheme, host and port."})


class LatestSchema(Schema):
    """The destinations whose first attempts left latest, 20 at most."""

    # "from" is a word of the language.
    locals()["from"] = fields.DateTime(required=True)
    by_worst = fields.List(fields.Nested(DestinationFiguresSchema), required=True)
    by_p99 = fields.List(fields.Nested(DestinationFiguresSchema), required=True)


class WindowSchema(WindowMetricsSchema):
    """The same, with the destinations that were latest."""

    locals()["from"] = fields.DateTime(required=True)
    destinations = fields.Nested(LatestSchema, required=True)


class PunctualityMetricsSchema(Schema):
    """How punctual the last minute, hour and day were; ``GET /punctuality`` tells more."""

    target_ms = fields.Integer(required=True, metadata={"description": "`PUNCTUALITY_TARGET_MS`; 0: none."})
    breached = fields.Boolean(
        required=True,
        metadata={"description": "The minute's `p99_ms` is above the target; fewer than 10 deliveries breach none."},
    )
    minute = fields.Nested(WindowMetricsSchema, required=True)
    hour = fields.Nested(WindowMetricsSchema, required=True)
    day = fields.Nested(WindowMetricsSchema, required=True)


class PunctualitySchema(PunctualityMetricsSchema):
    """``GET /punctuality``"""

    minute = fields.Nested(WindowSchema, required=True)
    hour = fields.Nested(WindowSchema, required=True)
    day = fields.Nested(WindowSchema, required=True)
    timestamp = fields.DateTime(required=True)


class MinuteSchema(Schema):
    """What happened in one minute, of messages and executions together."""

    at = fields.DateTime(required=True)
    deliveries = fields.Integer(required=True, metadata={"description": "How many attempts ended in it."})
    failures = fields.Integer(required=True, metadata={"description": "How many of those did not succeed."})
    latenessP50Ms = fields.Float(
        required=True, allow_none=True, metadata={"description": "Half of the first attempts left later."}
    )
    latenessP99Ms = fields.Float(
        required=True, allow_none=True, metadata={"description": "One in a hundred of them left later."}
    )


class ActivitySchema(Schema):
    """``GET /activity``, oldest first."""

    minutes = fields.List(fields.Nested(MinuteSchema), required=True)
    timestamp = fields.DateTime(required=True)


class BucketSchema(Schema):
    """What falls due from ``at`` until the next bucket begins."""

    at = fields.DateTime(required=True)
    count = fields.Integer(required=True, metadata={"description": "How many messages."})
    jobs = fields.Integer(
        required=True, metadata={"description": "How many jobs by their next run, and executions that wait for it."}
    )


class TimelineSchema(Schema):
    """``GET /messages/timeline``"""

    # "from" is a word of the language.
    locals()["from"] = fields.DateTime(required=True)
    to = fields.DateTime(required=True)
    before = fields.Integer(required=True, metadata={"description": "Messages due before it begins."})
    after = fields.Integer(required=True, metadata={"description": "Messages due when it ends, or later."})
    buckets = fields.List(fields.Nested(BucketSchema), required=True)


class MetricsSchema(Schema):
    """``GET /metrics`` as JSON. With an account's token it has ``jobs`` and ``executions`` of its accounts only."""

    timestamp = fields.DateTime(required=True)
    jobs = fields.Nested(JobMetricsSchema, required=True)
    executions = fields.Nested(ExecutionMetricsSchema, required=True)
    messages = fields.Nested(MessageMetricsSchema, metadata={"description": "Not for accounts."})
    bot_jobs = fields.Nested(BotJobMetricsSchema, metadata={"description": "Not for accounts."})
    audit = fields.Nested(AuditMetricsSchema, metadata={"description": "Not for accounts."})
    punctuality = fields.Nested(PunctualityMetricsSchema, metadata={"description": "Not for accounts."})


class AuditSchema(Schema.from_dict(dict(_account()), name="Sums")):  # type: ignore[misc]  # made from a table
    """``GET /audit``: of all together, of messages, and of executions (one for each webhook of each run)."""

    # "from" is a word of the language.
    locals()["from"] = fields.DateTime(required=True, allow_none=True)
    to = fields.DateTime(required=True, allow_none=True)
    messages = fields.Nested(AccountSchema, required=True)
    executions = fields.Nested(AccountSchema, required=True)
    timestamp = fields.DateTime(required=True)


class InboxRequestSchema(Schema):
    """One request the inbox got."""

    id = fields.Integer(required=True)
    receivedAt = fields.DateTime(required=True)
    path = fields.String(required=True)
    headers = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    body = fields.Raw(required=True, allow_none=True)
    truncated = fields.Boolean(required=True)
    messageId = fields.String(required=True, allow_none=True)
    attempt = fields.Integer(required=True, allow_none=True)
    latenessMs = fields.Float(required=True, allow_none=True)


class InboxSchema(Schema):
    """``GET /inbox``, newest first."""

    count = fields.Integer(required=True)
    requests = fields.List(fields.Nested(InboxRequestSchema), required=True)


class InboxClearedSchema(Schema):
    """``DELETE /inbox``"""

    status = fields.String(required=True)
    deleted = fields.Integer(required=True)


class InboxReceivedSchema(Schema):
    """``POST /inbox/{any}``"""

    status = fields.String(required=True)
