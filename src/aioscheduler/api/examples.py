"""The prose and the examples of the OpenAPI document, by operation."""

from __future__ import annotations

from typing import Any

INTRODUCTION = """\
Schedule a webhook for an instant, and it is called then: to the millisecond, at least once, with retries. Or make a
job, and it runs by its schedule: every weekday at 8, in the time zone of your choice.

**Credentials.** `Authorization: Bearer <API_TOKEN>` opens whatever has a lock. Accounts open their own jobs with a JSON
Web Token in its place, and bot jobs open with `X-API-Key: <API_KEY>`.

**Errors** all have one shape: `detail` is a sentence for people, `error_code` is stable and meant for programs,
`status_code` repeats the HTTP status, and `errors` lists a validation's reasons by field. A path that does not exist is
answered 404 `NOT_FOUND`, a method that a path does not know 405 `METHOD_NOT_ALLOWED` with `Allow`, and what is no HTTP
400 `VALIDATION_ERROR`.

**Bodies** are JSON in UTF-8, whatever their content type says. Unknown fields are ignored, and nothing is coerced:
`"5"` is no number.

**Instants** are read as ISO 8601, with `Z`, an offset, or neither: then they are local in the service's `TIMEZONE`.
They count to the millisecond, rounded up. Answers about messages have the offset of `TIMEZONE`, those about jobs are in
UTC with `Z`.

**Languages.** `Accept-Language: pt` turns status words and sentences into Portuguese.

**Tracing.** Send an `X-Request-ID` of up to 128 of `A-Za-z0-9._-`, or get one; it stands in the service's logs.
"""

TAGS = {
    "messages": "One-shot webhooks: what to send, where, and when.",
    "dead letters": "Messages, and executions of jobs, that are not attempted any more, with the reason.",
    "deliveries": "The latest attempts of messages and of executions, with their lateness.",
    "jobs": "Recurring webhooks of accounts: what calls them, and when.",
    "webhooks": "What every run of a job calls.",
    "executions": "The history of jobs: each attempt of each webhook.",
    "bot jobs": "Recurring runs of bots, such as greetings on birthdays.",
    "operations": "Health and metrics.",
    "inbox": "A built-in receiver, for trying things out.",
}

_BAD_URL = "must be an absolute http:// or https:// URL"
_INVALID = {
    "detail": f"webhookUrl: {_BAD_URL}",
    "error_code": "VALIDATION_ERROR",
    "status_code": 422,
    "errors": {"webhookUrl": [_BAD_URL]},
}

#: Errors look the same on every route: by status a name, what it means, and an example.
ERRORS: dict[int, tuple[str, str, dict[str, Any]]] = {
    400: (
        "FilterRequired",
        "It needs a filter.",
        {"detail": "Give a prefix, or what the id contains, or both.", "error_code": "FILTER_REQUIRED"},
    ),
    401: (
        "Unauthorized",
        "The credentials are missing or wrong.",
        {"detail": "The token is not valid.", "error_code": "UNAUTHORIZED"},
    ),
    403: (
        "Forbidden",
        "The inbox takes requests from other machines only with `INBOX=open`.",
        {
            "detail": "The inbox takes requests from this machine only; INBOX=open lets others write.",
            "error_code": "FORBIDDEN",
        },
    ),
    404: (
        "NotFound",
        "There is none.",
        {"detail": 'There is no message with the id "order-1042_24h".', "error_code": "MESSAGE_NOT_FOUND"},
    ),
    408: (
        "RequestTimeout",
        "The body did not arrive in time.",
        {"detail": "The body did not arrive within 60 s.", "error_code": "REQUEST_TIMEOUT"},
    ),
    409: (
        "Conflict",
        "A live message has the id.",
        {"detail": 'There is a message with the id "order-1042_24h" already.', "error_code": "MESSAGE_EXISTS"},
    ),
    412: (
        "PreconditionFailed",
        "The message is not as `If-Match` wants it, or there is one in spite of `If-None-Match: *`. Nothing changed.",
        {
            "detail": 'The message "order-1042_24h" was changed, attempted, delivered or deleted meanwhile.',
            "error_code": "PRECONDITION_FAILED",
        },
    ),
    413: (
        "PayloadTooLarge",
        "The body is too long.",
        {
            "detail": "The body has more than the 1048576 bytes this service accepts.",
            "error_code": "PAYLOAD_TOO_LARGE",
        },
    ),
    422: ("Invalid", "The request is not legal; `errors` says which field and why.", _INVALID),
    429: (
        "RateLimited",
        "Too many requests, where the service sets a limit.",
        {"detail": "Too many requests: try again in 1 s.", "error_code": "RATE_LIMITED"},
    ),
    500: (
        "InternalError",
        "A fault in the service; its log has more under the request's id.",
        {"detail": "Something went wrong inside the service; its log says what.", "error_code": "INTERNAL_ERROR"},
    ),
    503: (
        "StoreUnavailable",
        "The store does not answer. A write may have been applied all the same: repeat it.",
        {
            "detail": "The store cannot be reached. Try again in a moment.",
            "error_code": "STORE_UNAVAILABLE",
        },
    ),
}

_BAD_CRON = "must have five fields, minute, hour, day of month, month and day of week; this has 6"
EXAMPLE_JOB_ID = "0198a3c4-5e6f-7a1b-8c2d-3e4f5a6b7c8d"
EXAMPLE_WEBHOOK_ID = "0198a3c4-5e6f-8a1b-9d3e-4f5a6b7c8d9e"
EXAMPLE_EXECUTION_ID = "0198a3c4-5e6f-8a1b-ae4f-5a6b7c8d9eaf"

#: What the families of jobs answer otherwise.
JOB_ERRORS: dict[int, tuple[str, str, dict[str, Any]]] = {
    400: (
        "BadRequest",
        "The request is not legal; `errors` says which field and why. `INVALID_CRON_EXPRESSION` when a cron "
        "expression is among them, else `VALIDATION_ERROR`.",
        {
            "detail": f"schedule: {_BAD_CRON}",
            "error_code": "INVALID_CRON_EXPRESSION",
            "errors": {"schedule": [_BAD_CRON]},
        },
    ),
    403: (
        "OtherAccount",
        "It is another account's.",
        {"detail": "These credentials do not open this account.", "error_code": "FORBIDDEN"},
    ),
    404: (
        "NoSuchId",
        "There is none: `JOB_NOT_FOUND`, `WEBHOOK_NOT_FOUND` or `EXECUTION_NOT_FOUND`.",
        {"detail": f'There is no job with the id "{EXAMPLE_JOB_ID}".', "error_code": "JOB_NOT_FOUND"},
    ),
    409: (
        "NotEnded",
        "It has not ended yet (`EXECUTION_ACTIVE`), or was never run (`EXECUTION_SKIPPED`).",
        {
            "detail": "This execution, or a later attempt, has not ended yet.",
            "error_code": "EXECUTION_ACTIVE",
        },
    ),
}

#: What a good status means, and where it means something else.
SUCCESSES = {
    200: "Done.",
    201: "Scheduled; the id is new.",
    202: "Scheduled.",
    204: "Gone; the answer has no body.",
    503: "A part is down.",
}
OUTCOMES = {
    ("POST", "/webhooks", 201): "Every run from now on calls it.",
    ("POST", "/api/jobs/{job_id}/run", 202): "It runs, or waits behind the run that goes on.",
    ("POST", "/scheduler/jobs/{job_id}/run", 202): "It runs, or waits behind the run that goes on.",
    ("GET", "/scheduler/health", 200): "Everything works.",
    ("POST", "/messages", 200): "Scheduled in place of the message that had the id.",
    ("PUT", "/messages/{id}", 200): "Scheduled in place of the message that had the id.",
    ("POST", "/messages/batch", 200): "Every item was judged; some may be rejected.",
    ("GET", "/health", 200): "Everything works.",
    ("GET", "/health/detailed", 200): "Everything works.",
}

#: What a summary has no room for, by method and path.
DESCRIPTIONS = {
    ("POST", "/api/jobs"): (
        "`schedule` is a cron expression in `timezone`. A time that daylight saving skips runs right after the gap, "
        "one that comes twice runs the first time; hourly and finer schedules keep running through both. A job without "
        "a webhook runs too, but every run fails: make its webhooks next."
    ),
    ("GET", "/api/jobs"): (
        "Oldest first. A token of accounts has to say which of them. With `name`, `total` counts those that match, "
        "among the oldest 100,000."
    ),
    ("GET", "/api/jobs/preview"): "Says when a schedule would run, in words and in instants, without making a job.",
    ("PUT", "/api/jobs/{job_id}"): (
        "What is left out stays. `next_run_at` changes only with `schedule`, `timezone` and `enabled`; `retry_policy` "
        "is replaced whole."
    ),
    ("DELETE", "/api/jobs/{job_id}"): (
        "Its webhooks and its history go with it, and retries that were to come. A request that is on the wire at that "
        "moment may still arrive."
    ),
    (
        "PATCH",
        "/api/jobs/{job_id}/enable",
    ): "It runs from now on; what it missed while it was disabled is not made up for.",
    ("PATCH", "/api/jobs/{job_id}/disable"): "No run begins by its schedule after the answer.",
    ("POST", "/api/jobs/{job_id}/run"): (
        "Outside of its schedule, also while it is disabled. While as many runs go on as `max_instances` allows, it "
        "waits behind them; a further one joins it."
    ),
    ("GET", "/api/jobs/{job_id}/executions"): (
        "Each attempt of each webhook is one. The last one of a run that failed for good is `dead_letter`; `skipped` "
        "stands for occurrences that were not run, with the reason."
    ),
    ("POST", "/api/executions/{execution_id}/retry"): (
        "A further attempt of the same webhook in the same run, with all the retries its job allows before it."
    ),
    ("POST", "/webhooks"): (
        "A run makes one execution for each webhook of its job. Without `body_template`, POST, PUT and PATCH send "
        "`job_id`, `job_name`, `account_id`, `execution_id`, `attempt` and `scheduled_at` as JSON; GET and DELETE send "
        "no body."
    ),
    ("PUT", "/webhooks/{webhook_id}"): "What is left out stays; `null` empties what may be empty.",
    ("DELETE", "/webhooks/{webhook_id}"): "No attempt starts after the answer.",
    (
        "POST",
        "/scheduler/jobs",
    ): "One run at a time, by default; a run that fails is not tried again before the next one.",
    ("PUT", "/scheduler/jobs/{job_id}"): (
        "What is left out stays; `schedule_config` and `bot_config` are replaced whole."
    ),
    ("DELETE", "/scheduler/jobs/{job_id}"): "Its history goes with it; a run that goes on is ended.",
    ("POST", "/scheduler/jobs/{job_id}/run"): "Outside of its schedule, also while it is disabled.",
    ("GET", "/scheduler/jobs/preview"): (
        "Says when a schedule would run, in words and in instants, without making a job; intervals count from now."
    ),
    ("GET", "/scheduler/health"): "503 when the store or the engine is down. Answers within a second.",
    ("POST", "/messages"): (
        "Once this is answered with 2xx, the message will be delivered, or become a dead letter with a reason, or be "
        "deleted by you. Give either `scheduleTo` or `delay`. An instant in the past is due at once.\n\n"
        "An `id` that is already scheduled is answered 409, unless `onConflict` is `replace`: then the old version "
        "never fires once this is answered (200)."
    ),
    ("GET", "/messages/{id}"): (
        "As it was given, and how far it is. Its `ETag` changes whenever the message is replaced, and with each "
        "attempt: sent back as `If-Match` with a `PUT`, it keeps you from replacing what others changed meanwhile, and "
        "from sending again what has just left."
    ),
    ("PUT", "/messages/{id}"): (
        "The same as scheduling with `onConflict: replace`: 201 when the id is new, else 200. With `If-Match` it only "
        "replaces, and only a message that still has one of these `ETag`s, or any for `*`; with `If-None-Match: *` it "
        "only creates. Otherwise it answers 412 and nothing has changed. The store decides in the step that writes."
    ),
    ("POST", "/messages/batch"): (
        "Up to 1,000 messages. Each is judged by itself, so that a bad one does not spoil the rest; the results stand "
        "in the order given. An id that comes twice is scheduled once: the second is rejected."
    ),
    ("GET", "/messages"): (
        "By due time, earliest first. With `status` or `destination` a page may have fewer than `limit`, even none, "
        "and a `nextCursor` all the same. `total` is the number of all."
    ),
    ("GET", "/messages/count"): (
        "By a prefix at once, however many there are. What ids contain is looked for among the first 200,000 that have "
        "the prefix, for a second at most."
    ),
    ("GET", "/messages/search"): (
        "By how the id begins, by what it contains, or both. Both are matched literally; at least one is needed."
    ),
    ("DELETE", "/messages/{id}"): (
        "No attempt starts after the answer. A request that is on the wire at that moment may still arrive."
    ),
    ("DELETE", "/messages/bulk"): "The filters may stand in the query or in a JSON body. Try `dryRun=true` first.",
    ("POST", "/messages/bulk"): "The same as `DELETE /messages/bulk`, for clients and proxies that block `DELETE`.",
    ("POST", "/messages/{id}/run"): "It is due now instead of at its instant.",
    ("GET", "/dead-letters"): (
        "The latest first; with `prefix` in order of their ids. With `destination`, or with `prefix` and `reason`, "
        "a page may have fewer than `limit` and a `nextCursor` all the same."
    ),
    ("POST", "/dead-letters/{id}/replay"): (
        "It leaves the list and is scheduled again, at once or when the body says. A message can be mended by the way: "
        "`webhookUrl` and `payload` take the place of its own. Answered 409 while a live message "
        "has its id. An execution of a job is always made again at once."
    ),
    ("GET", "/dead-letters/groups"): (
        "The largest group first. The newest 20,000 letters are looked at. A message whose id is `groups` is read by "
        "`GET /dead-letters?prefix=groups`."
    ),
    ("POST", "/dead-letters/replay"): (
        "It takes `prefix`, `reason` and `destination`, or `all=true`. With `limit` it acts on so many at most, "
        "of those after `cursor`, and says where to go on; it may have acted on none and go on all the same. "
        "What cannot be scheduled again stays."
    ),
    ("POST", "/dead-letters/discard"): "It takes what `POST /dead-letters/replay` takes.",
    ("GET", "/deliveries"): "Newest first. The log is bounded by `DELIVERY_LOG_SIZE`.",
    ("GET", "/events"): (
        "Server-sent events. `delivery`: an attempt has ended, a row as in `GET /deliveries`, with its `id`. "
        "`message`: its `id` and a `change`, `scheduled` (or replaced), `delivered`, `dead` or `deleted`. `letter`: "
        "the `id` of a dead letter that is none any more, and `replayed` or `deleted`; those of a job that was deleted "
        "go untold. `job`: its `id` and `changed` or `deleted`. `overview`: at once, and each second in which a number "
        "is another one; `retrying` is an estimate beyond 1,000.\n\n"
        "They tell of the whole deployment, and are hints: who must not miss anything asks the other routes. "
        "`missed` tells how many events passed the client by, because it reads slowly or there were too many; "
        "one that does not read for 30 s is cut off. With `Last-Event-ID`, the id of the last delivery it saw, a "
        "client that comes back first gets those it missed, 1,000 at most, as far as the log has them. `message` and "
        "`job` need a store that sends keyspace notifications.\n\n"
        "429 when `EVENT_CLIENTS` follow already. The stream ends when the service stops."
    ),
    ("GET", "/health"): (
        "For load balancers and readiness probes: 503 when the store is out of reach or the engine stands still. A "
        "store that is full or read-only still serves reads, so this stays 200 and `/health/detailed` says 503. "
        "Answers within a second."
    ),
    ("GET", "/health/detailed"): (
        "`database` is the store's durable data, `redis` the connection that brings its notifications, "
        "`scheduler_service` the engine. 503 when one of them is down."
    ),
    ("GET", "/audit"): (
        "Says for the minutes from `from` until `to`, by when things were planned for, how many there were and what "
        "became of each; without bounds, of all there ever was. `planned` is the sum of what follows it, and "
        "`difference` what is missing from that: always 0, unless the store lost something.\n\n"
        "The numbers are counted in the same atomic steps as the changes themselves. Those of single minutes are kept "
        "for `AUDIT_TTL_DAYS`."
    ),
    ("GET", "/session"): (
        "For pages where people sign in: what `Authorization` or `X-API-Key`, whichever is shown, opens. Wrong "
        "credentials are no error here; they open nothing."
    ),
    ("GET", "/punctuality"): (
        "Says of the last minute, hour and day how late first attempts left: from when they were due until the "
        "request was sent, or could not be. What was put off, or waited for a slot or a circuit, counts as late; "
        "retries do not count. An attempt counts when it has ended, in the whole deployment.\n\n"
        "Each time ends now and begins `from`, at a full minute; the destinations of the day at a full hour. "
        "Percentiles are told with an error of 5 % at most, or 8 µs below 16 µs; the worst is exact. `destinations` "
        "are chosen among the 32 with the worst of each minute or, of the day, each hour. While `breached`, the "
        "minute's `p99_ms` is above `PUNCTUALITY_TARGET_MS`."
    ),
    ("GET", "/activity"): (
        "One row a minute, oldest first, the one that goes on last; minutes in which nothing ended have zeros. "
        "Attempts of messages and of executions are counted together, in the whole deployment, when they have ended. "
        "Lateness is that of first attempts, as in `GET /punctuality`."
    ),
    ("GET", "/messages/timeline"): (
        "Cuts the time from `from` until `to` into stretches of the same length and counts how many messages are due "
        "in each. What is being delivered at that moment is in none."
    ),
    ("GET", "/metrics"): (
        "JSON, or Prometheus text when `Accept` asks for `text/plain` or `application/openmetrics-text`. Counters are "
        "the whole deployment's.\n\n"
        "An account's token reads `jobs` and `executions` of its accounts, as JSON only."
    ),
    ("POST", "/inbox/{any}"): (
        "Schedule a message to this address and read `GET /inbox` to see it arrive. Open to callers on this machine "
        "only, unless `INBOX=open`."
    ),
}

_ACCOUNTS = [
    dict(
        zip(
            ("planned", "delivered", "dead", "deleted", "replaced", "missed", "pending", "difference"),
            numbers,
            strict=True,
        )
    )
    for numbers in ((127, 110, 3, 5, 2, 1, 6, 0), (120, 104, 3, 5, 2, 0, 6, 0), (7, 6, 0, 0, 0, 1, 0, 0))
]


def _figures(*numbers: float) -> dict[str, float]:
    return dict(zip(("deliveries", "p50_ms", "p99_ms", "p999_ms", "worst_ms"), numbers, strict=True))


_LATENESS = {
    "minute": {
        **_figures(127, 0.421, 1.904, 6.229, 6.229),
        "messages": _figures(120, 0.421, 1.904, 6.229, 6.229),
        "executions": _figures(7, 0.613, 2.133, 2.133, 2.133),
    },
    "hour": {
        **_figures(7620, 0.421, 1.904, 6.743, 12.207),
        "messages": _figures(7200, 0.421, 1.904, 6.743, 12.207),
        "executions": _figures(420, 0.613, 2.133, 4.813, 4.813),
    },
    "day": {
        **_figures(182880, 0.421, 1.904, 6.743, 311.048),
        "messages": _figures(172800, 0.421, 1.904, 6.743, 311.048),
        "executions": _figures(10080, 0.613, 2.133, 4.813, 9.918),
    },
}
_LATEST = [{"destination": "https://example.com:443", **_figures(127, 0.421, 1.904, 6.229, 6.229)}]
_HOOK = "https://example.com/hooks/reminders"
_TOMORROW = "2030-04-15T02:41:45+00:00"

MESSAGE: dict[str, Any] = {
    "id": "order-1042_24h",
    "scheduleTo": "2030-04-15T02:41:45.000Z",
    "payload": {"order": 1042, "text": "Your parcel arrives tomorrow."},
    "webhookUrl": _HOOK,
}
_FULL_MESSAGE: dict[str, Any] = {
    "delay": "15m",
    "payload": {"order": 1042},
    "webhookUrl": _HOOK,
    "method": "PUT",
    "headers": {"Authorization": "Bearer the-receivers-token"},
    "timeoutSeconds": 10,
    "retry": {"maxAttempts": 8, "backoffSeconds": 5, "backoffType": "exponential", "maxBackoffSeconds": 600},
    "misfireGraceSeconds": 300,
    "onConflict": "replace",
}
_SCHEDULED = {
    "status": "scheduled",
    "messageId": MESSAGE["id"],
    "scheduledFor": _TOMORROW,
    "version": "-5fGk2m0Qx",
}
_LIVE = {
    **MESSAGE,
    "nextRun": _TOMORROW,
    "status": "scheduled",
    "nextAttemptAt": _TOMORROW,
    "attempts": 0,
    "lastError": None,
    "version": "-5fGk2m0Qx",
    "createdAt": "2030-04-14T02:40:12.345+00:00",
}
_DEAD = {
    **MESSAGE,
    "version": "-5fGk2m0Qx",
    "createdAt": "2030-04-14T02:40:12.345+00:00",
    "messageId": MESSAGE["id"],
    "reason": "retries_exhausted",
    "attempts": 5,
    "lastError": "answered 502",
    "deadAt": "2030-04-15T02:55:02.118+00:00",
}
_BULK = {"deleted": 2, "messageIds": ["order-1042_2h", "order-1042_24h"]}
_COMMON_HEALTH = {"scheduled_jobs": 5, "uptime": "2h 34m 12s", "version": "1.0.0"}

_ACCOUNT = "123e4567-e89b-12d3-a456-426614174000"
_JOB: dict[str, Any] = {
    "id": EXAMPLE_JOB_ID,
    "account_id": _ACCOUNT,
    "name": "Nightly backup",
    "description": None,
    "schedule": "0 2 * * *",
    "type": 1,
    "timezone": "America/New_York",
    "enabled": True,
    "retry_policy": {
        "max_attempts": 3,
        "backoff_seconds": 60,
        "backoff_type": "exponential",
        "max_backoff_seconds": 3600,
    },
    "max_instances": 1,
    "coalesce": True,
    "misfire_grace_seconds": 3600,
    "last_run_at": "2030-04-14T06:00:00.004Z",
    "last_run_status": "success",
    "last_run_error": None,
    "next_run_at": "2030-04-15T06:00:00Z",
    "created_at": "2030-04-10T09:12:33.250Z",
    "updated_at": "2030-04-10T09:12:33.250Z",
}
_NEW_JOB = {**_JOB, "last_run_at": None, "last_run_status": None}
_DISABLED_JOB = {**_JOB, "enabled": False, "next_run_at": None, "updated_at": "2030-04-14T10:00:00Z"}
_WEBHOOK: dict[str, Any] = {
    "id": EXAMPLE_WEBHOOK_ID,
    "job_id": EXAMPLE_JOB_ID,
    "url": "https://example.com/hooks/backup",
    "method": "POST",
    "headers": {"Authorization": "Bearer the-receivers-token"},
    "query_params": {"source": "scheduler"},
    "body_template": '{"run": "{{ execution.id }}", "day": "{{ scheduled_at | date: "%Y-%m-%d" }}"}',
    "timeout_seconds": 30,
    "created_at": "2030-04-10T09:13:01.118Z",
    "updated_at": "2030-04-10T09:13:01.118Z",
}
_EXECUTION: dict[str, Any] = {
    "id": EXAMPLE_EXECUTION_ID,
    "job_id": EXAMPLE_JOB_ID,
    "webhook_id": EXAMPLE_WEBHOOK_ID,
    "run_id": f"{EXAMPLE_JOB_ID}@2030-04-14T06:00:00Z",
    "status": "success",
    "attempt": 1,
    "scheduled_for": "2030-04-14T06:00:00Z",
    "started_at": "2030-04-14T06:00:00.004Z",
    "finished_at": "2030-04-14T06:00:00.145Z",
    "duration_ms": 141.2,
    "response_code": 200,
    "error": None,
    "worker_id": "b1946ac92492",
    "created_at": "2030-04-14T06:00:00.002Z",
}
_BOT_JOB: dict[str, Any] = {
    "id": EXAMPLE_JOB_ID,
    "name": "Birthday greetings",
    "description": "Every morning at 8.",
    "bot_type": "birthday",
    "enabled": True,
    "schedule_type": "daily",
    "schedule_config": {"hour": 8, "minute": 0},
    "bot_config": {"dry_run": False, "process_late": True, "max_days_late": 7, "max_messages_per_run": 10},
    "max_instances": 1,
    "coalesce": True,
    "misfire_grace_seconds": 3600,
    "created_at": "2030-04-10T09:12:33.250Z",
    "updated_at": "2030-04-10T09:12:33.250Z",
    "last_run_at": "2030-04-14T08:00:00.003Z",
    "last_run_status": "success",
    "last_run_error": None,
    "next_run_at": "2030-04-15T08:00:00Z",
}
_NEW_BOT_JOB = {**_BOT_JOB, "last_run_at": None, "last_run_status": None}
_RUN_NOW = {"message": f"Job {EXAMPLE_JOB_ID} queued for immediate execution", "status": "queued"}

#: What a client may send, by method and path and then by a name for people.
REQUESTS: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/jobs"): {
        "Every night at 2": {"account_id": _ACCOUNT, "name": "Nightly backup", "schedule": "0 2 * * *", "type": 1},
        "On weekdays in New York, with every option": {
            **{name: _JOB[name] for name in ("account_id", "type", "timezone", "enabled", "coalesce")},
            "name": "Opening bell",
            "description": "Wakes the traders.",
            "schedule": "30 9 * * mon-fri",
            "retry_policy": {"max_attempts": 5, "backoff_seconds": 10, "backoff_type": "linear"},
            "max_instances": 2,
            "misfire_grace_seconds": 600,
        },
    },
    ("PUT", "/api/jobs/{job_id}"): {
        "An hour later": {"schedule": "0 3 * * *"},
        "Let it rest": {"enabled": False},
    },
    ("POST", "/webhooks"): {
        "A fixed body": {
            "job_id": EXAMPLE_JOB_ID,
            "url": "https://example.com/hooks/backup",
            "method": "POST",
            "body_template": '{"action": "backup"}',
        },
        "With every option": {
            name: _WEBHOOK[name]
            for name in ("job_id", "url", "method", "headers", "query_params", "body_template", "timeout_seconds")
        },
    },
    ("PUT", "/webhooks/{webhook_id}"): {
        "Another address": {"url": "https://example.com/hooks/new", "query_params": None}
    },
    ("POST", "/scheduler/jobs"): {
        "Greetings every morning": {
            name: _BOT_JOB[name]
            for name in ("name", "description", "bot_type", "schedule_type", "schedule_config", "bot_config")
        },
        "Visits on three afternoons, as a trial": {
            "name": "Visits",
            "bot_type": "visitor",
            "schedule_type": "weekly",
            "schedule_config": {"day_of_week": "mon,wed,fri", "hour": 14, "minute": 30, "timezone": "Europe/Paris"},
            "bot_config": {"limit": 50, "dry_run": True},
        },
    },
    ("PUT", "/scheduler/jobs/{job_id}"): {"At half past nine": {"schedule_config": {"hour": 9, "minute": 30}}},
    ("POST", "/scheduler/jobs/{job_id}/toggle"): {"Let it rest": {"enabled": False}},
    ("POST", "/messages"): {
        "In two seconds, to the test inbox": {
            "delay": "2s",
            "payload": {"hello": "world"},
            "webhookUrl": "http://127.0.0.1:8000/inbox/hello",
        },
        "At an instant": MESSAGE,
        "After a delay, with every option": _FULL_MESSAGE,
    },
    ("PUT", "/messages/{id}"): {"At an instant": {name: value for name, value in MESSAGE.items() if name != "id"}},
    ("POST", "/messages/batch"): {
        "Two messages": {"messages": [MESSAGE, {"delay": "2h", "payload": ["any", "JSON"], "webhookUrl": _HOOK}]}
    },
    ("POST", "/messages/bulk"): {"Look first": {"prefix": "order-1042_", "dryRun": True}},
    ("DELETE", "/messages/bulk"): {"Look first": {"prefix": "order-1042_", "dryRun": True}},
    ("POST", "/dead-letters/replay"): {
        "By prefix": {"prefix": "order-1042_"},
        "What one destination refused, in steps": {"destination": "https://example.com", "limit": 100},
    },
    ("POST", "/dead-letters/discard"): {"What came too late": {"reason": "missed_window"}},
    ("POST", "/dead-letters/{id}/replay"): {
        "In a minute": {"delay": "1m"},
        "Mended": {"webhookUrl": _HOOK, "payload": {"order": 1042}},
    },
    ("POST", "/inbox/{any}"): {"Anything": {"hello": "world"}},
}

#: What the service answers when all is well, by method, path and status.
RESPONSES: dict[tuple[str, str, int], Any] = {
    ("POST", "/api/jobs", 201): _NEW_JOB,
    ("GET", "/api/jobs", 200): {"items": [_JOB], "total": 1, "skip": 0, "limit": 100},
    ("GET", "/api/jobs/preview", 200): {
        "description": "At 02:30, every day (America/New_York)",
        "next_runs": ["2030-03-09T07:30:00Z", "2030-03-10T07:00:00Z", "2030-03-11T06:30:00Z"],
        "notes": ["On 2030-03-10 the clocks in America/New_York skip 02:30: it runs right after the gap, at 03:00."],
    },
    ("GET", "/api/jobs/{job_id}", 200): _JOB,
    ("PUT", "/api/jobs/{job_id}", 200): {**_JOB, "schedule": "0 3 * * *", "next_run_at": "2030-04-15T07:00:00Z"},
    ("PATCH", "/api/jobs/{job_id}/enable", 200): _JOB,
    ("PATCH", "/api/jobs/{job_id}/disable", 200): _DISABLED_JOB,
    ("POST", "/api/jobs/{job_id}/run", 202): {**_RUN_NOW, "execution_ids": [EXAMPLE_EXECUTION_ID]},
    ("GET", "/api/jobs/{job_id}/executions", 200): {"items": [_EXECUTION], "total": 1, "skip": 0, "limit": 100},
    ("GET", "/api/executions/{execution_id}", 200): {**_EXECUTION, "response_body": '{"ok": true}'},
    ("POST", "/api/executions/{execution_id}/retry", 202): {
        "message": f"Execution {EXAMPLE_EXECUTION_ID} queued for immediate execution",
        "status": "queued",
        "execution_id": "0198a3c4-5e6f-8a1b-b0c1-2d3e4f5a6b7c",
    },
    ("POST", "/webhooks", 201): _WEBHOOK,
    ("GET", "/webhooks", 200): {"items": [_WEBHOOK], "total": 1, "skip": 0, "limit": 100},
    ("GET", "/webhooks/{webhook_id}", 200): _WEBHOOK,
    ("PUT", "/webhooks/{webhook_id}", 200): {
        **_WEBHOOK,
        "url": "https://example.com/hooks/new",
        "query_params": None,
        "updated_at": "2030-04-14T10:00:00Z",
    },
    ("POST", "/scheduler/jobs", 201): _NEW_BOT_JOB,
    ("GET", "/scheduler/jobs", 200): [_BOT_JOB],
    ("GET", "/scheduler/jobs/preview", 200): {
        "description": "At 08:00, every day (UTC)",
        "next_runs": ["2030-04-15T08:00:00Z", "2030-04-16T08:00:00Z"],
        "notes": [],
    },
    ("GET", "/scheduler/jobs/{job_id}", 200): _BOT_JOB,
    ("PUT", "/scheduler/jobs/{job_id}", 200): {
        **_BOT_JOB,
        "schedule_config": {"hour": 9, "minute": 30},
        "next_run_at": "2030-04-15T09:30:00Z",
    },
    ("POST", "/scheduler/jobs/{job_id}/toggle", 200): {**_BOT_JOB, "enabled": False, "next_run_at": None},
    ("POST", "/scheduler/jobs/{job_id}/run", 202): _RUN_NOW,
    ("GET", "/scheduler/jobs/{job_id}/history", 200): [
        {
            "id": EXAMPLE_EXECUTION_ID,
            "job_id": EXAMPLE_JOB_ID,
            "scheduled_for": "2030-04-14T08:00:00Z",
            "started_at": "2030-04-14T08:00:00.003Z",
            "finished_at": "2030-04-14T08:00:01.912Z",
            "status": "success",
            "result": {"messages_sent": 12, "found": 12, "errors": 0},
            "error": None,
            "messages_sent": 12,
            "profiles_visited": 0,
        }
    ],
    ("GET", "/scheduler/health", 200): {
        "status": "healthy",
        "scheduler_running": True,
        "redis_connected": True,
        "total_jobs": 5,
        "enabled_jobs": 3,
    },
    ("POST", "/messages", 201): _SCHEDULED,
    ("POST", "/messages", 200): _SCHEDULED,
    ("PUT", "/messages/{id}", 201): _SCHEDULED,
    ("PUT", "/messages/{id}", 200): _SCHEDULED,
    ("POST", "/messages/batch", 200): {
        "scheduled": 1,
        "failed": 1,
        "results": [
            {"messageId": MESSAGE["id"], "status": "scheduled", "scheduledFor": _TOMORROW, "version": "-5fGk2m0Qx"},
            {
                "messageId": "order-1043_24h",
                "status": "rejected",
                "error": _INVALID,
            },
        ],
    },
    ("GET", "/messages", 200): {
        "scheduledJobs": [
            {
                "messageId": MESSAGE["id"],
                "nextRun": _TOMORROW,
                "trigger": "date[2030-04-15 02:41:45 UTC]",
                "job": f"POST {_HOOK}",
                "webhookUrl": _HOOK,
                "status": "scheduled",
                "attempts": 0,
            }
        ],
        "count": 1,
        "total": 1,
        "timestamp": "2030-04-14T02:40:13+00:00",
        "nextCursor": None,
    },
    ("GET", "/messages/{id}", 200): _LIVE,
    ("GET", "/messages/search", 200): {"count": 1, "messages": [_LIVE], "nextCursor": None},
    ("DELETE", "/messages/{id}", 200): {"status": "deleted", "messageId": MESSAGE["id"]},
    ("DELETE", "/messages/bulk", 200): _BULK,
    ("POST", "/messages/bulk", 200): _BULK,
    ("POST", "/messages/{id}/run", 202): {**_SCHEDULED, "scheduledFor": "2030-04-14T02:40:13.007+00:00"},
    ("GET", "/dead-letters", 200): {"deadLetters": [_DEAD], "count": 1, "nextCursor": None},
    ("GET", "/dead-letters/{id}", 200): _DEAD,
    ("POST", "/dead-letters/{id}/replay", 202): _SCHEDULED,
    ("POST", "/dead-letters/replay", 200): {"replayed": 1, "messageIds": [MESSAGE["id"]]},
    ("POST", "/dead-letters/discard", 200): {"discarded": 1, "messageIds": [MESSAGE["id"]]},
    ("GET", "/dead-letters/groups", 200): {
        "groups": [
            {
                "reason": "retries_exhausted",
                "destination": "https://example.com:443",
                "count": 12,
                "oldest": "2030-04-14T22:10:40.020+00:00",
                "newest": "2030-04-15T02:55:02.118+00:00",
            }
        ],
        "total": 12,
        "truncated": False,
    },
    ("DELETE", "/dead-letters/{id}", 200): {"status": "deleted", "messageId": MESSAGE["id"]},
    ("GET", "/deliveries", 200): {
        "deliveries": [
            {
                "id": "1902345678901-0",
                "messageId": MESSAGE["id"],
                "attempt": 1,
                "status": "success",
                "scheduledFor": _TOMORROW,
                "dueAt": _TOMORROW,
                "claimedAt": _TOMORROW,
                "startedAt": _TOMORROW,
                "sentAt": "2030-04-15T02:41:45.001+00:00",
                "answeredAt": "2030-04-15T02:41:45.042+00:00",
                "finishedAt": "2030-04-15T02:41:45.042+00:00",
                "latenessMs": 0.8,
                "durationMs": 42.1,
                "timings": {"dns": 0.3, "connect": 0.2, "tls": 0.4, "sent": 1.0, "firstByte": 41.0, "done": 0.1},
                "responseCode": 204,
                "error": None,
            }
        ],
        "nextCursor": None,
    },
    ("GET", "/health", 200): {
        "status": "healthy",
        "service": "scheduler",
        "redis": "connected",
        "scheduler": "running",
        "store": "embedded",
        **_COMMON_HEALTH,
    },
    ("GET", "/health", 503): {
        "status": "unhealthy",
        "service": "scheduler",
        "redis": "disconnected",
        "scheduler": "running",
        "store": "embedded",
        **_COMMON_HEALTH,
        "scheduled_jobs": None,
    },
    ("GET", "/health/detailed", 200): {
        "status": "healthy",
        "service": "scheduler",
        "database": "connected",
        "redis": "connected",
        "scheduler_service": "running",
        **_COMMON_HEALTH,
        "timezone": "UTC",
        "replicas": 2,
        "worker": None,
        "in_flight": 0,
        "window_entries": 2,
        "loop_lag_ms": 0.3,
        "circuits_open": ["https://hooks.example.com:443"],
        "punctuality": {"target_ms": 1000, "breached": False, "deliveries": 127, "p99_ms": 1.904},
        "store": {
            "kind": "embedded",
            "version": "Valkey 9.1.0",
            "persistence": "append-only file, every second",
            "used_memory_bytes": 2097152,
            "risks": ["A crash of the store may lose the last second."],
        },
    },
    ("GET", "/audit", 200): {
        "from": "2030-04-15T02:00:00+00:00",
        "to": "2030-04-15T03:00:00+00:00",
        **_ACCOUNTS[0],
        "messages": _ACCOUNTS[1],
        "executions": _ACCOUNTS[2],
        "timestamp": "2030-04-15T02:50:00.250+00:00",
    },
    ("GET", "/session", 200): {"opens": ["messages", "jobs", "bots"], "accounts": None},
    ("GET", "/punctuality", 200): {
        "target_ms": 1000,
        "breached": False,
        **{
            window: {
                "from": begin,
                **_LATENESS[window],
                "destinations": {"from": begin, "by_worst": _LATEST, "by_p99": _LATEST},
            }
            for window, begin in (
                ("minute", "2030-04-15T02:49:00+00:00"),
                ("hour", "2030-04-15T01:50:00+00:00"),
                ("day", "2030-04-14T02:50:00+00:00"),
            )
        },
        "timestamp": "2030-04-15T02:50:00.250+00:00",
    },
    ("GET", "/activity", 200): {
        "minutes": [
            {
                "at": "2030-04-15T02:49:00+00:00",
                "deliveries": 127,
                "failures": 3,
                "latenessP50Ms": 0.421,
                "latenessP99Ms": 1.904,
            },
            {
                "at": "2030-04-15T02:50:00+00:00",
                "deliveries": 0,
                "failures": 0,
                "latenessP50Ms": None,
                "latenessP99Ms": None,
            },
        ],
        "timestamp": "2030-04-15T02:50:00.250+00:00",
    },
    ("GET", "/messages/count", 200): {"count": 1042, "exact": True},
    ("GET", "/messages/timeline", 200): {
        "from": "2030-04-15T02:00:00+00:00",
        "to": "2030-04-15T03:00:00+00:00",
        "before": 0,
        "after": 412,
        "buckets": [
            {"at": "2030-04-15T02:00:00+00:00", "count": 12, "jobs": 1},
            {"at": "2030-04-15T02:30:00+00:00", "count": 7, "jobs": 0},
        ],
    },
    ("GET", "/metrics", 200): {
        "timestamp": "2030-04-15T02:50:00.000Z",
        "jobs": {"total": 100, "enabled": 85, "disabled": 15},
        "executions": {
            "total": 10000,
            "queued": 5,
            "running": 2,
            "success": 9493,
            "failure": 400,
            "timed_out": 7,
            "dead_letter": 93,
            "skipped": 12,
            "success_rate": 95.0,
            "avg_duration_ms": 250.5,
        },
        "messages": {
            "scheduled": 120,
            "replaced": 2,
            "deleted": 3,
            "replayed": 0,
            "adopted": 0,
            "recovered": 0,
            "delivered": 110,
            "success": 110,
            "failure": 4,
            "timed_out": 1,
            "dead_letter": 0,
            "success_rate": 95.65,
            "avg_duration_ms": 41.2,
            "avg_lateness_ms": 0.9,
            "fired_early": 0,
            "pending": 5,
            "leased": 0,
            "dead": 0,
            "oldest_overdue_seconds": 0.0,
        },
        "audit": {"messages": _ACCOUNTS[1], "executions": _ACCOUNTS[2]},
        "punctuality": {"target_ms": 1000, "breached": False, **_LATENESS},
        "bot_jobs": {
            "total": 3,
            "enabled": 2,
            "disabled": 1,
            "runs": {
                "total": 40,
                "queued": 0,
                "running": 1,
                "success": 39,
                "failed": 0,
                "skipped": 1,
                "success_rate": 100.0,
                "avg_duration_ms": 1830.2,
            },
        },
    },
    ("GET", "/inbox", 200): {
        "count": 1,
        "requests": [
            {
                "id": 1,
                "receivedAt": "2030-04-15T02:41:45.002+00:00",
                "path": "/inbox/hello",
                "headers": {"Content-Type": "application/json", "X-Scheduler-Attempt": "1"},
                "body": {"hello": "world"},
                "truncated": False,
                "messageId": MESSAGE["id"],
                "attempt": 1,
                "latenessMs": 1.4,
            }
        ],
    },
    ("DELETE", "/inbox", 200): {"status": "deleted", "deleted": 1},
    ("POST", "/inbox/{any}", 200): {"status": "received"},
}

#: The beginning of what ``GET /events`` tells.
EVENTS = """\
retry: 2000

event: overview
data: {"at":"2030-04-15T02:50:00.250+00:00","pending":12,"delivering":1,"retrying":0,"dead":3,\
"oldestOverdueSeconds":0.0,"nextDue":{"messageId":"order-1042_24h","at":"2030-04-15T02:51:00+00:00"},"nextJob":null}

event: message
data: {"id":"order-1042_24h","change":"delivered"}

event: letter
data: {"id":"order-1041_24h","change":"replayed"}

event: job
data: {"id":"0198a3c4-5e6f-7a1b-8c2d-3e4f5a6b7c8d","change":"changed"}

event: missed
data: {"count":17}

"""

#: The beginning of what ``GET /metrics`` tells Prometheus.
PROMETHEUS = """\
# HELP aioscheduler_messages_scheduled_total Messages accepted under a new id.
# TYPE aioscheduler_messages_scheduled_total counter
aioscheduler_messages_scheduled_total 120.0
"""
