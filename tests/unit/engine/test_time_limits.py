"""The time limits of attempts: never early, hardly late, one timer for many."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.engine.delivery import LIMIT_STEP, _TimeLimits


class Loop:
    """A loop whose time is the test's."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.timers: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any, *args: Any) -> None:
        self.timers.append((when, lambda: callback(*args)))


class Task:
    """Something that can be cancelled."""

    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    made = Task()
    monkeypatch.setattr(asyncio, "current_task", lambda loop: made)
    return made


def limits_on(loop: Loop) -> _TimeLimits:
    limits = _TimeLimits.__new__(_TimeLimits)
    limits._loop, limits._steps = loop, {}  # type: ignore[assignment]
    return limits


@given(now=st.floats(0, 1e7), seconds=st.floats(0.001, 300))
def test_the_timer_is_set_for_the_end_of_the_limit_or_at_most_a_step_later(now: float, seconds: float) -> None:
    loop = Loop(now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "current_task", lambda loop: Task())
        limits_on(loop).begin(seconds)
    ((when, _),) = loop.timers
    assert now + seconds - 1e-6 <= when <= now + seconds + LIMIT_STEP + 1e-6


def test_limits_that_end_together_share_a_timer_which_cuts_what_was_not_called_off(task: Task) -> None:
    loop = Loop(100.001)
    limits = limits_on(loop)
    limits.begin(1)
    limits.begin(1.01)
    assert len(loop.timers) == 1
    limits.begin(1 + LIMIT_STEP)
    assert len(loop.timers) == 2
    loop.timers[0][1]()
    assert task.cancelled


def test_what_was_called_off_is_not_cut_and_not_held(task: Task) -> None:
    loop = Loop(100.001)
    limits = limits_on(loop)
    limits.begin(1).off()
    assert [len(step) for step in limits._steps.values()] == [0]
    loop.timers[0][1]()
    assert not task.cancelled
    assert not limits._steps
