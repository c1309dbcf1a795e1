"""What unit tests share."""

from __future__ import annotations

import pytest

from aioscheduler.domain import message
from aioscheduler.store import calls
from aioscheduler.store import redis as redis_store


@pytest.fixture(autouse=True)
def versions_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the latest version: versions always rise in a process, but tests have clocks of their own."""
    monkeypatch.setattr(message, "_last_version", 0)


@pytest.fixture(autouse=True)
def store_is_never_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a fake server however busy the machine is: that it is late would say nothing of the service."""
    for module in (calls, redis_store):
        monkeypatch.setattr(module, "CALL_TIMEOUT", 30)
