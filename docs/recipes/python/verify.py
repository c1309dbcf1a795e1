"""Tell the scheduler's requests from anybody else's, with the standard library alone."""

import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping


def verify(secrets: str, headers: Mapping[str, str], body: bytes, *, tolerance_s: int = 300) -> None:
    """Return if the request is the scheduler's; ``body`` is as it came over the wire, before any parsing.

    ``secrets`` are one or several ``whsec_…``, separated by spaces: while one is replaced by another, both count.

    :raises ValueError: a header is missing, it is too old or too new, or nobody who knows a secret signed it
    """
    try:
        webhook_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        signatures, sent_s = headers["webhook-signature"].split(), int(timestamp)
    except KeyError as missing:
        raise ValueError(f"no header {missing}") from None
    if abs(time.time() - sent_s) > tolerance_s:
        raise ValueError("too old, or from the future")
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    for secret in secrets.split():
        key = b64decode(secret.removeprefix("whsec_"))
        expected = b"v1," + b64encode(hmac.digest(key, signed, "sha256"))
        if any(hmac.compare_digest(expected, signature.encode()) for signature in signatures):
            return
    raise ValueError("the signature does not match")
