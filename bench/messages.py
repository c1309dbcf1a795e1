"""The messages the benchmark schedules."""

from __future__ import annotations

from datetime import UTC, datetime

#: Bytes of the JSON value that is each message's payload.
PAYLOAD_BYTES = 100


def payload(number: int) -> bytes:
    """Return a JSON object of :data:`PAYLOAD_BYTES` bytes."""
    head = b'{"order":%d,"note":"' % number
    return head + b"x" * (PAYLOAD_BYTES - len(head) - 2) + b'"}'


def message(message_id: str, due_ms: int, number: int, receiver_port: int, path: str = "hook") -> bytes:
    """Return the body that schedules one message."""
    due = datetime.fromtimestamp(due_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return b'{"id":"%s","scheduleTo":"%s.%03dZ","payload":%s,"webhookUrl":"http://127.0.0.1:%d/%s"}' % (
        message_id.encode(),
        due.encode(),
        due_ms % 1000,
        payload(number),
        receiver_port,
        path.encode(),
    )
