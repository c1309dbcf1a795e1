"""What most bots need: options that are checked, pauses."""

from __future__ import annotations

import asyncio

import pytest

from aioscheduler.bots.base import check_options, count, flag, pause
from aioscheduler.errors import InvalidInput
from tests.support.clock import FakeClock

OPTIONS = {"dry_run": flag(False), "limit": count(50, 1, 500), "most": count(10, 1)}


def test_what_is_not_said_has_its_default_and_what_is_unknown_is_ignored() -> None:
    assert check_options({"limit": 7, "colour": "red"}, OPTIONS) == {"dry_run": False, "limit": 7, "most": 10}
    assert check_options({"limit": 500, "most": 10**12, "dry_run": True}, OPTIONS)["most"] == 10**12


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("dry_run", 1, "must be true or false"),
        ("dry_run", None, "must be true or false"),
        ("dry_run", "true", "must be true or false"),
        ("limit", 0, "must be a whole number from 1 to 500"),
        ("limit", 501, "must be a whole number from 1 to 500"),
        ("limit", True, "must be a whole number from 1 to 500"),
        ("limit", "5", "must be a whole number from 1 to 500"),
        ("limit", 5.0, "must be a whole number from 1 to 500"),
        ("limit", None, "must be a whole number from 1 to 500"),
        ("most", 0, "must be a whole number, at least 1"),
    ],
)
def test_an_option_that_is_not_legal_is_refused(name: str, value: object, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_options({name: value}, OPTIONS)
    assert {field: [str(item) for item in items] for field, items in caught.value.errors.items()} == {name: [reason]}


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_options({"limit": 0, "dry_run": 0, "most": 3}, OPTIONS)
    assert set(caught.value.errors) == {"limit", "dry_run"}


async def test_a_pause_is_as_long_as_it_should_be_also_when_the_wall_clock_is_stepped() -> None:
    clock = FakeClock()
    task = asyncio.create_task(pause(clock, 2))
    await clock.advance(0)
    await clock.advance(1)
    clock.step(3600)
    await clock.advance(0.9)
    assert not task.done()
    await clock.advance(0.1)
    assert task.done()


async def test_no_time_is_no_pause() -> None:
    await asyncio.wait_for(pause(FakeClock(), 0), 30)
    await asyncio.wait_for(pause(FakeClock(), -5), 30)
