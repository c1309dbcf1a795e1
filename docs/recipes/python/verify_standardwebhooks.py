"""The same by the library of Standard Webhooks: pip install standardwebhooks"""

from collections.abc import Mapping

from standardwebhooks import Webhook, WebhookVerificationError


def verify(secrets: str, headers: Mapping[str, str], body: bytes) -> None:
    """Return if the request is the scheduler's; the library takes only bodies that are JSON.

    :raises ValueError: nobody who knows a secret signed it in the last five minutes
    """
    for secret in secrets.split():
        try:
            Webhook(secret).verify(body, dict(headers))
        except (WebhookVerificationError, ValueError):  # ValueError: what should be Base64 is none
            continue
        return
    raise ValueError("the signature does not match, or is too old")
