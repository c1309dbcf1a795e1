"""What unit tests share."""

from __future__ import annotations

import pytest

from aioscheduler.domain import message


@pytest.fixture(autouse=True)
def versions_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the latest version: versions always rise in a process, but tests have clocks of their own."""
    monkeypatch.setattr(message, "_last_version", 0)
