from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.clock import to_ms
from aioscheduler.domain import message
from aioscheduler.domain.message import (
    MAX_ID_LENGTH,
    MessageId,
    Version,
    check_id,
    check_misfire_grace,
    check_timeout,
    is_missed,
    new_message_id,
    new_version,
    version_time_ms,
    webhook_id,
)
from aioscheduler.errors import InvalidInput

NOW = datetime(2026, 4, 15, 2, 41, 45, 678_000, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="module")
def versions_of_other_tests_stay_in_their_own_time() -> Iterator[None]:
    """Versions of one process rise for ever: what is made here, far in the future, must not show elsewhere."""
    before = message._last_version
    yield
    message._last_version = before


@pytest.mark.parametrize(
    "value", ["a", "a+b/c*[d] {e}", "🎂", "búfalo", " ", "Search", "x" * MAX_ID_LENGTH, "%2F", "."]
)
def test_an_id_may_hold_any_printable_character(value: str) -> None:
    assert check_id(value) == value


@pytest.mark.parametrize(
    "value",
    [None, 5, True, b"a", "", "x" * (MAX_ID_LENGTH + 1), "a\nb", "\x00", "a\x7f", "\x9f", "\ud800", "search", "bulk",
     "batch"],
)  # fmt: skip
def test_other_ids_are_refused_with_the_field_named(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^messageId: "):
        check_id(value, "messageId")


@pytest.mark.parametrize("value", [1, 300, 1.5])
def test_a_time_limit_within_its_bounds_is_kept(value: float) -> None:
    assert check_timeout(value) == value


@pytest.mark.parametrize("value", [None, True, "30", 0, 0.99, 300.01, -1, float("nan"), float("inf")])
def test_a_time_limit_out_of_its_bounds_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^timeoutSeconds: "):
        check_timeout(value)


@pytest.mark.parametrize("value", [None, True, "30", -1, float("nan"), float("inf"), 10**10])
def test_a_misfire_grace_out_of_its_bounds_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^misfireGraceSeconds: "):
        check_misfire_grace(value)


def test_within_its_grace_a_message_is_not_missed() -> None:
    grace = check_misfire_grace(60)
    assert not is_missed(NOW, grace, NOW + timedelta(seconds=60))
    assert is_missed(NOW, grace, NOW + timedelta(seconds=60, milliseconds=1))
    assert is_missed(NOW, timedelta(), NOW + timedelta(milliseconds=1))
    assert not is_missed(NOW, timedelta(), NOW)
    assert not is_missed(NOW, None, NOW + timedelta(days=10_000))


def test_ids_we_make_are_uuids_of_version_7_that_sort_by_time() -> None:
    ids = [new_message_id(NOW + timedelta(milliseconds=n)) for n in range(100)]
    assert sorted(ids) == ids
    parsed = uuid.UUID(ids[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == to_ms(NOW)
    assert len({new_message_id(NOW) for _ in range(1000)}) == 1000


@given(times=st.lists(st.integers(0, 2**41), min_size=2, max_size=50))
def test_versions_of_one_process_always_rise_also_when_the_clock_steps_back(times: list[int]) -> None:
    versions = [new_version(now_ms) for now_ms in times]
    assert sorted(set(versions)) == versions
    assert all(re.fullmatch(r"[-0-9A-Z_a-z]{10}", version) for version in versions)


def test_a_version_tells_when_it_was_made() -> None:
    future_ms = 2**41 + 12_345  # later than any the tests above made: those of one process rise
    assert version_time_ms(new_version(future_ms)) == future_ms


def test_a_webhook_id_is_the_same_for_a_version_and_differs_from_every_other() -> None:
    one, two = Version("AAAAAAAAAA"), Version("AAAAAAAAAB")
    ids = [webhook_id(MessageId(text), version) for text in ("a", "b") for version in (one, two)]
    assert len(set(ids)) == 4
    assert webhook_id(MessageId("a"), one) == ids[0]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_webhook_id_holds_nothing_that_could_blur_the_signed_string(text: str) -> None:
    assert re.fullmatch(r"msg_[0-9a-f]{40}", webhook_id(MessageId(text), Version("AAAAAAAAAA")))
