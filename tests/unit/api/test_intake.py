"""The quick way through the checks and the thorough one agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.api.context import ApiConfig
from aioscheduler.api.intake import Intake, fire_at
from aioscheduler.engine.guard import Guard
from aioscheduler.errors import InvalidInput

NOW = datetime(2026, 4, 15, 2, 41, 45, 1, tzinfo=UTC)
INTAKE = Intake(ApiConfig(api_token="t"), Guard(block_private=True))

_anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)
_bodies = st.fixed_dictionaries(
    {},
    optional={
        "id": _anything | st.sampled_from(["a", "search", "x" * 512]),
        "scheduleTo": _anything | st.sampled_from(["2026-04-15T02:41:45Z", "2026-04-15 02:41", "2026-02-30T00:00:00Z"]),
        "delay": _anything | st.sampled_from(["90s", "PT1H", "-1s", 5]),
        "payload": _anything,
        "webhookUrl": _anything | st.sampled_from(["https://example.com/x", "http://127.0.0.1/", "ftp://x"]),
    },
)


@given(_bodies)
def test_the_quick_way_accepts_what_the_thorough_way_accepts_and_nothing_else(body: dict[str, Any]) -> None:
    quick = INTAKE.quick_draft(body)
    try:
        thorough = INTAKE.full_draft(body)
    except InvalidInput:
        assert quick is None
    else:
        assert quick == thorough


@pytest.mark.parametrize("name", ["method", "headers", "timeoutSeconds", "retry", "onConflict", "unknown"])
def test_a_body_with_more_than_the_common_members_takes_the_thorough_way(name: str) -> None:
    body = {"delay": 5, "payload": 1, "webhookUrl": "https://example.com", name: 1}
    assert INTAKE.quick_draft(body) is None


def test_a_message_is_never_due_before_its_acceptance_and_in_whole_milliseconds() -> None:
    assert fire_at(NOW - timedelta(days=1), NOW) == NOW.replace(microsecond=1000)
    assert fire_at(NOW + timedelta(days=1), NOW) == NOW + timedelta(days=1)
