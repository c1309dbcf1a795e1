"""Follow-ups for a customer, cancelled by the answer."""

import os
import time
from typing import Any
from urllib.parse import quote

import httpx

FOLLOW_UPS = {"2h": "Are you still there?", "12h": "Shall we go on tomorrow?", "24h": "Here is our number."}

scheduler = httpx.Client(
    base_url=os.environ["SCHEDULER_URL"],
    headers={"Authorization": f"Bearer {os.environ['SCHEDULER_TOKEN']}"},
    timeout=10,
)


def call(method: str, path: str, expected: tuple[int, ...] = (), **more: Any) -> httpx.Response:
    """Make a request, and again while the scheduler cannot be reached or has no store.

    Repeating is safe: ids are ours, so what was scheduled the first time is answered 409 the second.
    """
    for last in (False, False, True):
        try:
            response = scheduler.request(method, path, **more)
            if response.status_code not in (429, 503) or last:
                break
            time.sleep(min(float(response.headers.get("Retry-After", 1)), 10))
        except httpx.TransportError:
            if last:
                raise
            time.sleep(1)
    if response.status_code not in expected:
        response.raise_for_status()
    return response


def schedule(account: str, phone: str, webhook_url: str) -> int:
    """Schedule the follow-ups and return how many of them are new; what is scheduled already stays as it is."""
    new = 0
    for delay, text in FOLLOW_UPS.items():
        message = {
            "id": f"{account}_{phone}_{delay}",
            "delay": delay,
            "payload": {"phone": phone, "text": text},
            "webhookUrl": webhook_url,
        }
        new += call("POST", "/messages", expected=(409,), json=message).status_code == 201
    return new


def reschedule(account: str, phone: str, delay: str, to: str, webhook_url: str) -> None:
    """Send a follow-up at another time, such as ``2026-12-25T10:30:00-03:00``; the old version is not sent any more."""
    payload = {"phone": phone, "text": FOLLOW_UPS[delay]}
    message = {"scheduleTo": to, "payload": payload, "webhookUrl": webhook_url}
    call("PUT", "/messages/" + quote(f"{account}_{phone}_{delay}", safe=""), json=message)


def cancel(account: str, phone: str) -> int:
    """Cancel what still waits for this customer and return how many that were.

    The underscore at the end matters: without it the prefix would also find longer numbers that begin like this one.
    """
    return int(call("DELETE", "/messages/bulk", params={"prefix": f"{account}_{phone}_"}).json()["deleted"])


def replay(account: str) -> list[str]:
    """Send all dead letters of an account again and return their ids: once the receiver is well."""
    return list(call("POST", "/dead-letters/replay", params={"prefix": f"{account}_"}).json()["messageIds"])
