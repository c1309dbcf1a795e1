"""Certificates for receivers on loopback, signed by themselves."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@cache
def _pem(expired: bool = False) -> bytes:
    """Return a key and a certificate for ``localhost``, ``hook.test`` and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "expired" if expired else "localhost")])
    now = datetime.now(UTC) - timedelta(days=30 if expired else 0)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.DNSName("hook.test"), x509.IPAddress(ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )  # fmt: skip


def server_context(*, expired: bool = False) -> ssl.SSLContext:
    """Return the context of a receiver that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        path = Path(folder, "pem")
        path.write_bytes(_pem(expired))
        context.load_cert_chain(path)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def trust(context: ssl.SSLContext) -> None:
    """Let a client's context accept the certificate, as long as it is valid."""
    for expired in (False, True):
        context.load_verify_locations(cadata=_pem(expired).partition(b"-----END PRIVATE KEY-----")[2].decode())
