"""The last requests the test inbox got, in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import count
from typing import Any, Final
from urllib.parse import unquote

import orjson
from aiohttp import web

from aioscheduler.domain.instant import parse_instant, with_offset
from aioscheduler.errors import InvalidInput

KEPT_REQUESTS: Final = 100
#: Bytes of a body that are kept; with the number of requests this bounds the memory.
KEPT_BYTES: Final = 64 * 1024
_HIDDEN = frozenset({"authorization", "proxy-authorization", "cookie"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request. ``lateness_ms`` is known for first attempts only: a later one is late on purpose."""

    number: int
    received_at: datetime
    path: str
    headers: dict[str, str]
    body: bytes
    truncated: bool
    message_id: str | None
    attempt: int | None
    lateness_ms: float | None


class Inbox:
    """The last requests, newest first."""

    def __init__(self) -> None:
        self._received: deque[Received] = deque(maxlen=KEPT_REQUESTS)
        self._numbers = count(1)

    def add(self, request: web.Request, body: bytes, received_at: datetime) -> None:
        """Remember a request."""
        headers = request.headers
        attempt = headers.get("X-Scheduler-Attempt", "")
        message_id = headers.get("X-Scheduler-Message-Id")
        self._received.appendleft(
            Received(
                number=next(self._numbers),
                received_at=received_at,
                path=request.rel_url.raw_path,
                headers={str(name): value for name, value in headers.items() if name.lower() not in _HIDDEN},
                body=body[:KEPT_BYTES],
                truncated=len(body) > KEPT_BYTES,
                message_id=None if message_id is None else unquote(_text(message_id)),
                attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 10 else None,
                lateness_ms=_lateness_ms(headers.get("X-Scheduler-Scheduled-For"), received_at)
                if attempt == "1"
                else None,
            )
        )

    def clear(self) -> int:
        """Forget all; return how many there were."""
        number = len(self._received)
        self._received.clear()
        return number

    def shown(self, zone: tzinfo) -> list[dict[str, Any]]:
        """Return the requests for reading."""
        return [
            {
                "id": item.number,
                "receivedAt": with_offset(item.received_at, zone),
                "path": item.path,
                "headers": {name: _text(value) for name, value in item.headers.items()},
                "body": _readable(item.body),
                "truncated": item.truncated,
                "messageId": item.message_id,
                "attempt": item.attempt,
                "latenessMs": item.lateness_ms,
            }
            for item in self._received
        ]


def _lateness_ms(scheduled_for: str | None, received_at: datetime) -> float | None:
    try:
        due_at = parse_instant(scheduled_for, UTC)
    except InvalidInput:
        return None
    return round((received_at - due_at).total_seconds() * 1000, 3)


def _readable(body: bytes) -> Any:
    """Return JSON as it was written, anything else as text, nothing as ``None``."""
    if not body:
        return None
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
    return orjson.Fragment(body)


def _text(value: str) -> str:
    """Return a header's value without what JSON cannot carry."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
