from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from aioscheduler.engine.signing import Signer
from aioscheduler.errors import ConfigError

OLD = "whsec_" + b64encode(b"old secret of 24 bytes..").decode()
NEW = "whsec_" + b64encode(b"new secret of 24 bytes..").decode()


def verify(secret: str, body: bytes, timestamp: int, signature: str) -> None:
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    Webhook(secret).verify(body, headers)


def now() -> int:
    return int(datetime.now(UTC).timestamp())


@given(payload=st.dictionaries(st.text(), st.integers() | st.text()))
def test_the_reference_verifier_accepts_what_we_sign(payload: dict[str, object]) -> None:
    body, timestamp = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace"), now()
    verify(NEW, body, timestamp, Signer([NEW]).sign("msg_1", timestamp, body))


def test_while_rotating_the_old_and_the_new_secret_both_verify() -> None:
    timestamp = now()
    signature = Signer([NEW, OLD]).sign("msg_1", timestamp, b"{}")
    assert [part[:3] for part in signature.split(" ")] == ["v1,", "v1,"]
    verify(OLD, b"{}", timestamp, signature)
    verify(NEW, b"{}", timestamp, signature)


def test_a_changed_body_timestamp_id_or_secret_does_not_verify() -> None:
    timestamp = now()
    signature = Signer([NEW]).sign("msg_1", timestamp, b"{}")
    for secret, body, at, signed in (
        (OLD, b"{}", timestamp, signature),
        (NEW, b"[]", timestamp, signature),
        (NEW, b"{}", timestamp - 1, signature),
        (NEW, b"{}", timestamp, Signer([NEW]).sign("msg_2", timestamp, b"{}")),
    ):
        with pytest.raises(WebhookVerificationError):
            verify(secret, body, at, signed)


def test_a_signature_does_not_depend_on_those_made_before() -> None:
    signer = Signer([NEW])
    first = signer.sign("msg_1", 1, b"a")
    signer.sign("msg_2", 2, b"b")
    assert signer.sign("msg_1", 1, b"a") == first


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_%%%", "c2VjcmV0", "whsec_abc", "whsec_é"])
def test_a_malformed_secret_is_a_settings_error_that_does_not_show_it(secret: str) -> None:
    with pytest.raises(ConfigError, match="WEBHOOK_SIGNING_SECRET") as caught:
        Signer([secret])
    assert not secret or secret in ("whsec_",) or secret not in str(caught.value)
