"""A follow-up's receiver that sends nothing twice, however often the request comes."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis
from verify import verify

WEEK_S = 7 * 24 * 3600
#: Longer than sending can take: by then whoever began it has died.
SENDING_S = 120


def receive(redis: Redis, secrets: str, headers: Mapping[str, str], body: bytes, send: Callable[[Any], None]) -> int:
    """Send the message unless that was done already, and return the status to answer with."""
    try:
        verify(secrets, headers, body)
    except ValueError:
        return 401
    key = f"seen:{headers['webhook-id']}"  # the same on every attempt
    if not redis.set(key, "sending", nx=True, ex=SENDING_S):
        # Sent, and our answer got lost; or another request is at it, and the scheduler asks again later.
        return 200 if redis.get(key) == b"sent" else 409
    try:
        send(json.loads(body))
    except Exception:
        redis.delete(key)  # so that the next attempt can do better
        raise
    redis.set(key, "sent", ex=WEEK_S)
    return 200
