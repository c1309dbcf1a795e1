"""A client from plain values. Nothing connects here: the options are what counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from aioscheduler.store.calls import CALL_TIMEOUT
from aioscheduler.store.connect import CONNECT_TIMEOUT, SOCKET_TIMEOUT, connect


def options(client: Redis) -> dict[str, Any]:
    return client.connection_pool.connection_kwargs


@pytest.mark.parametrize(
    "client",
    [
        connect(host="store"),
        connect(url="redis://store"),
        connect(url="unix:///run/store"),
        connect(url="redis://store?decode_responses=true"),
        connect(sentinels=[("one", 1)]),
    ],
)
def test_every_client_speaks_bytes_and_gives_up_within_two_seconds(client: Redis) -> None:
    made = options(client)
    assert not made.get("decode_responses", False)
    assert (made["socket_timeout"], made["socket_connect_timeout"]) == (1.5, 1.0)
    assert made["retry"].get_retries() == 1
    assert made["client_name"] == "aioscheduler"
    assert client.connection_pool.max_connections == 64


def test_host_and_port_with_a_login() -> None:
    client = connect(host="store", port=7000, username="u", password="p", db=3)
    made = options(client)
    assert client.connection_pool.connection_class is Connection
    assert (made["host"], made["port"], made["username"], made["password"], made["db"]) == ("store", 7000, "u", "p", 3)


def test_what_a_url_says_counts_and_what_it_leaves_open_comes_from_the_settings() -> None:
    made = options(connect(url="redis://u@store:7000/2", username="other", password="p", db=9))
    assert (made["host"], made["port"], made["username"], made["password"], made["db"]) == ("store", 7000, "u", "p", 2)
    assert options(connect(url="redis://store", db=9))["db"] == 9


def test_a_socket_may_have_any_path() -> None:
    client = connect(url="unix:///my%20data/socket")
    assert client.connection_pool.connection_class is UnixDomainSocketConnection
    assert options(client)["path"] == "/my data/socket"


@pytest.mark.parametrize(
    "client",
    [
        connect(url="rediss://store", tls_ca_file=Path("/ca.pem")),
        connect(host="store", tls=True, tls_ca_file=Path("/ca.pem")),
        connect(host="store", tls_ca_file=Path("/ca.pem")),
    ],
)
def test_tls_checks_against_the_given_authority(client: Redis) -> None:
    assert client.connection_pool.connection_class is SSLConnection
    assert options(client)["ssl_ca_certs"] == "/ca.pem"
    assert options(client).get("ssl_cert_reqs", "required") == "required"


def test_a_url_without_tls_takes_no_notice_of_a_certificate() -> None:
    client = connect(url="redis://store", tls_ca_file=Path("/ca.pem"))
    assert client.connection_pool.connection_class is Connection
    assert "ssl_ca_certs" not in options(client)


def test_sentinels_are_asked_for_the_primary_with_their_own_password() -> None:
    client = connect(
        sentinels=[("one", 26379), ("two", 26380)],
        sentinel_master="main",
        sentinel_password="s",
        password="p",
        tls=True,
        db=1,
    )
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert (pool.service_name, pool.is_master) == ("main", True)
    assert pool.connection_class is SentinelManagedSSLConnection
    assert (options(client)["password"], options(client)["db"]) == ("p", 1)
    for finder, address in zip(pool.sentinel_manager.sentinels, [("one", 26379), ("two", 26380)], strict=True):
        made = options(finder)
        assert (made["host"], made["port"], made["password"]) == (*address, "s")
        assert finder.connection_pool.connection_class is SSLConnection


def test_the_limits_of_a_call_leave_time_to_answer_within_two_seconds() -> None:
    assert CONNECT_TIMEOUT < SOCKET_TIMEOUT < CALL_TIMEOUT <= 1.8
