"""A Redis client from plain values: TCP, TLS, unix socket or Sentinel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

#: Seconds. A write that is not answered by then may still be applied; the caller gets an error that says so.
SOCKET_TIMEOUT, CONNECT_TIMEOUT = 1.5, 1.0
MAX_CONNECTIONS = 64


def connect(
    *,
    url: str | None = None,
    host: str | None = None,
    port: int = 6379,
    username: str | None = None,
    password: str | None = None,
    db: int = 0,
    tls: bool = False,
    tls_ca_file: Path | None = None,
    sentinels: Sequence[tuple[str, int]] = (),
    sentinel_master: str = "mymaster",
    sentinel_password: str | None = None,
) -> Redis:
    """Return a client that speaks bytes; it connects when first used, so the server may be down.

    ``url`` beats ``sentinels``, which beat ``host``. What a URL leaves open (user, password, database) is taken from
    the other values. Sentinels are reached the same way as the server, TLS included.
    """
    secured = tls or tls_ca_file is not None
    login: dict[str, Any] = {"username": username, "password": password, "db": db}
    certificates: dict[str, Any] = {"ssl_ca_certs": str(tls_ca_file)} if tls_ca_file else {}
    if url is not None:
        located = dict(parse_url(url))
        located.pop("decode_responses", None)  # the store relies on bytes
        if located.get("connection_class") is not SSLConnection:
            certificates = {}
        return Redis.from_pool(ConnectionPool(**{**_common(), **certificates, **login, **located}))
    if sentinels:
        common = {**_common(), **certificates, "ssl": secured}
        finders = Sentinel(  # type: ignore[no-untyped-call]
            sentinels, sentinel_kwargs={**common, "password": sentinel_password, "max_connections": 4}
        )
        client: Redis = finders.master_for(sentinel_master, **common, **login)
        return client
    kind = SSLConnection if secured else Connection
    located = {"connection_class": kind, "host": host or "localhost", "port": port}
    return Redis.from_pool(ConnectionPool(**{**_common(), **certificates, **login, **located}))


async def close(client: Redis) -> None:
    """Close a client that :func:`connect` made, and those it asks for the primary, which it leaves open by itself."""
    await client.aclose()
    finders = getattr(client.connection_pool, "sentinel_manager", None)
    for finder in finders.sentinels if finders is not None else ():
        await finder.aclose()


def _common() -> dict[str, Any]:
    return {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        # One repetition, at once: it hides a connection the server had closed meanwhile. The default takes 4 s.
        "retry": Retry(NoBackoff(), 1),
        "health_check_interval": 0,
        "max_connections": MAX_CONNECTIONS,
        "client_name": "aioscheduler",
        # Redis Enterprise's announcements of maintenance would cost every connection one more command.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
