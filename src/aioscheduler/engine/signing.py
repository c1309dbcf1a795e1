"""The signature by which a receiver knows a request is ours, after Standard Webhooks."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

from aioscheduler.errors import ConfigError, Sentence

PREFIX = "whsec_"


class Signer:
    """Signs with every secret, so that receivers can be moved from an old one to a new one.

    :raises ConfigError: a secret is not ``whsec_`` and Base64; the secret is not shown
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        # Copied for each signature: setting up the hash anew costs several times as much.
        self._macs = tuple(hmac.new(_key(secret), digestmod="sha256") for secret in secrets)

    def sign(self, webhook_id: str, timestamp: int, body: bytes) -> str:
        """Return ``webhook-signature`` for exactly these bytes, sent at ``timestamp``, in unix seconds."""
        content = f"{webhook_id}.{timestamp}.".encode() + body
        signatures = []
        for keyed in self._macs:
            mac = keyed.copy()
            mac.update(content)
            signatures.append("v1," + b64encode(mac.digest()).decode())
        return " ".join(signatures)


def _key(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
    except ValueError:  # also for characters that are not ASCII
        key = b""
    if not key:
        raise ConfigError(Sentence("WEBHOOK_SIGNING_SECRET: a secret must be whsec_ followed by Base64"))
    return key
