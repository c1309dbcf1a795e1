"""The prose and the examples of the OpenAPI document, by operation."""

from __future__ import annotations

from typing import Any

INTRODUCTION = """\
Schedule a webhook for an instant, and it is called then: to the millisecond, at least once, with retries.

**Credentials.** `Authorization: Bearer <API_TOKEN>` wherever a lock stands.

**Errors** all have one shape: `detail` is a sentence for people, `error_code` is stable and meant for programs,
`status_code` repeats the HTTP status, and `errors` lists a validation's reasons by field. A path that does not exist is
answered 404 `NOT_FOUND`, a method that a path does not know 405 `METHOD_NOT_ALLOWED` with `Allow`.

**Bodies** are JSON in UTF-8, whatever their content type says. Unknown fields are ignored, and nothing is coerced:
`"5"` is no number.

**Instants** are read as ISO 8601, with `Z`, an offset, or neither: then they are local in the service's `TIMEZONE`.
They count to the millisecond, rounded up.

**Languages.** `Accept-Language: pt` turns status words and sentences into Portuguese.

**Tracing.** Send an `X-Request-ID` of up to 128 of `A-Za-z0-9._-`, or get one; it stands in the service's logs.
"""

TAGS = {
    "messages": "One-shot webhooks: what to send, where, and when.",
    "dead letters": "Messages that are not attempted any more, whole and with the reason.",
    "deliveries": "The latest attempts, with their lateness.",
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
    409: (
        "Conflict",
        "A live message has the id.",
        {"detail": 'There is a message with the id "order-1042_24h" already.', "error_code": "MESSAGE_EXISTS"},
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

#: What a good status means, and where it means something else.
SUCCESSES = {200: "Done.", 201: "Scheduled; the id is new.", 202: "Scheduled.", 503: "A part is down."}
OUTCOMES = {
    ("POST", "/messages", 200): "Scheduled in place of the message that had the id.",
    ("PUT", "/messages/{id}", 200): "Scheduled in place of the message that had the id.",
    ("POST", "/messages/batch", 200): "Every item was judged; some may be rejected.",
    ("GET", "/health", 200): "Everything works.",
    ("GET", "/health/detailed", 200): "Everything works.",
}

#: What a summary has no room for, by method and path.
DESCRIPTIONS = {
    ("POST", "/messages"): (
        "Once this is answered with 2xx, the message will be delivered, or become a dead letter with a reason, or be "
        "deleted by you. Give either `scheduleTo` or `delay`. An instant in the past is due at once.\n\n"
        "An `id` that is already scheduled is answered 409, unless `onConflict` is `replace`: then the old version "
        "never fires once this is answered (200)."
    ),
    ("PUT", "/messages/{id}"): "The same as scheduling with `onConflict: replace`: 201 when the id is new, else 200.",
    ("POST", "/messages/batch"): (
        "Up to 1,000 messages. Each is judged by itself, so that a bad one does not spoil the rest; the results stand "
        "in the order given. An id that comes twice is scheduled once: the second is rejected."
    ),
    ("GET", "/messages"): "By due time, earliest first.",
    ("GET", "/messages/{id}"): "As it was given, and how far it is.",
    ("GET", "/messages/search"): (
        "By how the id begins, by what it contains, or both. Both are matched literally; at least one is needed."
    ),
    ("DELETE", "/messages/{id}"): (
        "No attempt starts after the answer. A request that is on the wire at that moment may still arrive."
    ),
    ("DELETE", "/messages/bulk"): "The filters may stand in the query or in a JSON body. Try `dryRun=true` first.",
    ("POST", "/messages/bulk"): "The same as `DELETE /messages/bulk`, for clients and proxies that block `DELETE`.",
    ("POST", "/messages/{id}/run"): "It is due now instead of at its instant.",
    ("GET", "/dead-letters"): "The latest first; with `prefix` in order of their ids.",
    ("POST", "/dead-letters/{id}/replay"): (
        "It leaves the list and is scheduled again, at once or when the body says. Answered 409 while a live message "
        "has its id."
    ),
    ("POST", "/dead-letters/replay"): "It takes `prefix`, `reason` or `all=true`.",
    ("GET", "/deliveries"): "Newest first. The log is bounded by `DELIVERY_LOG_SIZE`.",
    ("GET", "/health"): "503 when the store or the engine is down. Answers within a second.",
    ("GET", "/health/detailed"): (
        "`database` is the store's durable data, `redis` the connection that brings its notifications, "
        "`scheduler_service` the engine. 503 when one of them is down."
    ),
    ("GET", "/metrics"): (
        "JSON, or Prometheus text when `Accept` asks for `text/plain` or `application/openmetrics-text`. Counters are "
        "the whole deployment's."
    ),
    ("POST", "/inbox/{any}"): (
        "Schedule a message to this address and read `GET /inbox` to see it arrive. Open to callers on this machine "
        "only, unless `INBOX=open`."
    ),
}

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

#: What a client may send, by method and path and then by a name for people.
REQUESTS: dict[tuple[str, str], dict[str, Any]] = {
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
    ("POST", "/dead-letters/replay"): {"By prefix": {"prefix": "order-1042_"}},
    ("POST", "/dead-letters/{id}/replay"): {"In a minute": {"delay": "1m"}},
    ("POST", "/inbox/{any}"): {"Anything": {"hello": "world"}},
}

#: What the service answers when all is well, by method, path and status.
RESPONSES: dict[tuple[str, str, int], Any] = {
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
                "durationMs": 41.2,
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
        "in_flight": 0,
        "window_entries": 2,
        "loop_lag_ms": 0.3,
        "store": {
            "kind": "embedded",
            "version": "Valkey 9.1.0",
            "persistence": "append-only file, every second",
            "used_memory_bytes": 2097152,
            "risks": ["A crash of the store may lose the last second."],
        },
    },
    ("GET", "/metrics", 200): {
        "timestamp": "2030-04-15T02:50:00.000Z",
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

#: The beginning of what ``GET /metrics`` tells Prometheus.
PROMETHEUS = """\
# HELP aioscheduler_messages_scheduled_total Messages accepted.
# TYPE aioscheduler_messages_scheduled_total counter
aioscheduler_messages_scheduled_total 120.0
"""
