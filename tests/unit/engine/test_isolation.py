"""A destination that fails, and what goes on beside it, on a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any, Self

import pytest
import structlog

from aioscheduler.bots.base import BotFailed, BotResult, BotRun
from aioscheduler.domain.execution import OutcomeKind
from aioscheduler.domain.job import BOTS, NO_RETRY, JobId
from aioscheduler.domain.message import ConflictPolicy
from aioscheduler.domain.retry import BackoffType, RetryPolicy
from aioscheduler.domain.target import Destination
from aioscheduler.engine.circuit import Circuits
from aioscheduler.engine.decide import Defaults
from aioscheduler.engine.delivery import Request
from aioscheduler.engine.slots import Slots
from aioscheduler.errors import Sentence
from tests.support.engines import World
from tests.support.messages import message

SICK, WELL = "http://sick.invalid/", "http://well.invalid/"
THERE = Destination("http://sick.invalid:80")
#: Retries come long after what is looked at here.
PATIENT = Defaults(
    retry=RetryPolicy(max_attempts=3, backoff=timedelta(hours=1), backoff_type=BackoffType.FIXED),
    timeout_seconds=30,
    misfire_grace=None,
)


class Ward(World):
    """A world with circuits, in which a destination is sick for as long as the test says."""

    def __init__(self, *, total: int = 100, drain: float = 100.0, failures: int = 20, **options: Any) -> None:
        super().__init__(**{"defaults": PATIENT, **options})
        self.circuits = Circuits(failures, 5.0, drain)
        self.dispatcher.slots = Slots(total, 100, self.circuits)
        self.sick: Callable[[], OutcomeKind | asyncio.Future[OutcomeKind] | Exception] | None = lambda: (
            OutcomeKind.TIMED_OUT
        )
        self.deliverer.respond = lambda request: (
            self.sick() if self.sick and request.target.url == SICK else OutcomeKind.SUCCESS
        )

    def attempts(self, url: str = SICK) -> list[str]:
        """Return the ids of what was attempted there."""
        requests: list[Request] = self.deliverer.requests
        return [dict(each.identity)["X-Scheduler-Message-Id"] for each in requests if each.target.url == url]

    async def send(self, name: str, count: int, url: str = SICK, due_in: float = 0, **members: Any) -> None:
        new = [message(f"{name}{i}", due_in=due_in, now=self.clock.now(), url=url, **members) for i in range(count)]
        await asyncio.gather(*(self.store.schedule(each, ConflictPolicy.REJECT, each.due_at) for each in new))

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    async def open(self) -> None:
        """Let so much fail that the circuit opens, at once after it began to be 10 seconds ago."""
        await self.send("early", 19)
        await self.until(lambda: len(self.attempts()) == 19)
        await self.pass_time(10)
        await self.send("last", 1)
        await self.until(lambda: self.circuits.open == 1)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        for _ in range(5):
            await asyncio.sleep(0.001)


@pytest.fixture
async def ward() -> AsyncIterator[Ward]:
    async with Ward() as ward:
        yield ward


async def test_while_a_circuit_is_open_nothing_is_attempted_leased_or_spent(ward: Ward) -> None:
    await ward.open()
    await ward.send("m", 50)
    await ward.pass_time(4.9)
    assert len(ward.attempts()) == 20
    assert ward.dispatcher.waiting == 50
    assert (await ward.store.counts()).leased == 0, "the rest is free for any replica"
    assert (await ward.store.counts()).messages == 70
    assert await ward.store.dead_letter(message("m0").id) is None


async def test_each_probe_is_another_message_and_costs_that_one_an_attempt(ward: Ward) -> None:
    await ward.open()
    await ward.send("m", 50)
    for number, pause in enumerate([5, 10, 20, 30, 30]):
        await ward.pass_time(pause - 0.5)
        assert len(ward.attempts()) == 20 + number
        async with asyncio.timeout(30):
            while len(ward.attempts()) == 20 + number:
                await ward.pass_time(0.1)
        assert len(ward.attempts()) == 21 + number
    times = ward.deliverer.times[19:]
    pauses = [(later - sooner).total_seconds() for sooner, later in pairwise(times)]
    assert pauses == pytest.approx([5, 10, 20, 30, 30], abs=0.2)
    assert len(set(ward.attempts())) == 25
    assert ward.dispatcher.waiting == 45


async def test_a_probe_that_hangs_is_the_only_one(ward: Ward) -> None:
    await ward.open()
    gate: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
    ward.sick = lambda: gate
    await ward.send("m", 5)
    await ward.pass_time(6)
    await ward.until(lambda: len(ward.attempts()) == 21)
    await ward.pass_time(60)
    assert len(ward.attempts()) == 21
    ward.sick = None
    gate.set_result(OutcomeKind.SUCCESS)
    await ward.pass_time(1)
    await ward.until(lambda: len(ward.attempts()) == 25)


async def test_when_it_closes_what_waited_goes_at_the_rate_until_nothing_waits() -> None:
    async with Ward(drain=10) as ward:
        await ward.open()
        await ward.send("m", 21)
        ward.sick = None
        await ward.pass_time(5.01)
        await ward.until(lambda: len(ward.attempts()) >= 21)
        began = ward.clock.now()
        async with asyncio.timeout(30):
            while ward.dispatcher.waiting:
                await ward.pass_time(0.02)
        took = (ward.clock.now() - began).total_seconds()
        assert 1.8 < took < 4
        waits = [later - sooner for sooner, later in pairwise(ward.deliverer.times[22:])]
        assert min(waits) >= timedelta(seconds=0.06), "one after the other, not in bursts"
        assert not ward.circuits.limited
        await ward.send("more", 40)
        await ward.until(lambda: len(ward.attempts()) == 81)


async def test_what_is_due_for_others_goes_on_at_once_meanwhile(ward: Ward) -> None:
    await ward.open()
    await ward.send("m", 50)
    for number in range(10):
        await ward.send(f"well{number}-", 3, url=WELL, due_in=0.3)
        await ward.pass_time(0.3)
        await ward.until(lambda number=number: len(ward.attempts(WELL)) == 3 * number + 3)  # type: ignore[misc]
        assert ward.deliverer.times[-1] == ward.clock.now()
    assert len(ward.attempts()) == 20


async def test_a_retry_whose_time_comes_while_it_is_open_waits() -> None:
    soon = Defaults(
        retry=RetryPolicy(max_attempts=3, backoff=timedelta(seconds=3), backoff_type=BackoffType.FIXED),
        timeout_seconds=30,
        misfire_grace=None,
    )
    async with Ward(defaults=soon, failures=2) as ward:
        await ward.send("m", 1)
        await ward.send("n", 1, due_in=11)
        ward.deliverer.respond = lambda request: OutcomeKind.FAILURE
        # Failures at 0, 3 and 6 s bury the first one; the other fails at 11 s.
        for _ in range(23):
            await ward.pass_time(0.5)
            await ward.rest()
            await ward.until(lambda: ward.engine.in_flight == 0)
        await ward.until(lambda: ward.circuits.open == 1)
        attempts = len(ward.attempts())
        await ward.pass_time(4)
        await ward.until(lambda: ward.dispatcher.waiting == 1)
        assert len(ward.attempts()) == attempts
        ward.deliverer.respond = lambda request: OutcomeKind.SUCCESS
        await ward.pass_time(2)
        await ward.idle()
        assert ward.attempts()[-1] == "n0"
        assert ward.deliverer.requests[-1].attempt == 2, "none was spent"


async def test_a_burst_that_fails_within_a_second_is_tried_again_in_its_time() -> None:
    async with Ward(failures=5) as ward:
        await ward.send("m", 60)
        await ward.until(lambda: len(ward.attempts()) == 60)
        await ward.pass_time(9)
        await ward.send("n", 1)
        await ward.until(lambda: len(ward.attempts()) == 61)
        assert ward.circuits.open == 0


async def test_the_misfire_grace_goes_on_counting_and_those_too_late_are_no_probes(ward: Ward) -> None:
    await ward.open()
    await ward.send("late", 5, misfireGraceSeconds=1)
    await ward.send("m", 1)
    await ward.pass_time(5.01)
    await ward.until(lambda: len(ward.attempts()) == 21)
    assert ward.attempts()[-1] == "m0"
    assert (await ward.store.counts()).dead == 5


async def test_a_probe_that_was_deleted_meanwhile_is_made_by_another(ward: Ward) -> None:
    await ward.open()
    await ward.send("gone", 3)
    await ward.send("m", 1)
    assert await ward.store.cancel([message(f"gone{number}").id for number in range(3)]) == [True] * 3
    await ward.pass_time(5.01)
    await ward.until(lambda: len(ward.attempts()) == 21)
    assert ward.attempts()[-1] == "m0"


async def test_an_attempt_that_a_defect_of_ours_ends_says_nothing_of_the_destination() -> None:
    async with Ward(failures=2) as ward:
        ward.sick = lambda: ZeroDivisionError("a defect")
        await ward.send("m", 2)
        await ward.until(lambda: len(ward.attempts()) == 2)
        await ward.pass_time(11)
        await ward.send("n", 2)
        await ward.until(lambda: len(ward.attempts()) == 4)
        assert ward.circuits.open == 0


async def test_turns_of_a_circuit_are_logged_once_each() -> None:
    with structlog.testing.capture_logs() as logs:
        async with Ward() as ward:
            await ward.open()
            await ward.send("m", 10)
            await ward.pass_time(5.01)
            await ward.until(lambda: len(ward.attempts()) == 21)
            ward.sick = None
            await ward.pass_time(10.01)
            await ward.until(lambda: len(ward.attempts()) >= 22)
            await ward.pass_time(1)
    told = [entry for entry in logs if entry["action"].startswith("circuit_")]
    assert [(entry["action"], entry["log_level"]) for entry in told] == [
        ("circuit_opened", "warning"),
        ("circuit_probed", "debug"),
        ("circuit_closed", "info"),
    ]
    assert {entry["destination"] for entry in told} == {THERE}
    assert (told[0]["failures"], told[0]["seconds"], told[0]["error"]) == (20, 10.0, "HTTP None")
    assert told[-1]["seconds"] == pytest.approx(15, abs=0.2)


async def test_a_stop_while_it_is_open_is_clean() -> None:
    async with Ward() as ward:
        await ward.open()
        await ward.send("m", 30)
        await ward.pass_time(1)
        async with asyncio.timeout(30):
            await ward.engine.stop()
        assert (await ward.store.counts()).leased == 0
        assert len(ward.attempts()) == 20


async def test_a_step_of_the_wall_clock_brings_no_probe_forward(ward: Ward) -> None:
    await ward.open()
    await ward.send("m", 10)
    ward.clock.step(3600)
    await ward.pass_time(4)
    assert len(ward.attempts()) == 20
    await ward.pass_time(1.5)
    await ward.until(lambda: len(ward.attempts()) == 21)


# -- executions


async def test_executions_open_a_circuit_as_messages_do_and_wait_for_it() -> None:
    async with Ward(failures=3) as ward:
        ward.deliverer.respond = lambda _: OutcomeKind.FAILURE
        for seconds in (2, 6, 14, 16):
            await ward.job(seconds, retry=PATIENT.retry)
        for number, seconds in enumerate((2, 4, 8)):
            await ward.pass_time(seconds)
            await ward.deliverer.wait_for(number + 1)
        await ward.until(lambda: ward.circuits.open == 1)
        await ward.pass_time(2)
        await ward.until(lambda: ward.dispatcher.waiting == 1)
        await ward.pass_time(2)
        assert len(ward.deliverer.requests) == 3
        ward.deliverer.respond = lambda _: OutcomeKind.SUCCESS
        await ward.pass_time(1)
        await ward.deliverer.wait_for(4)


class Failing:
    """A bot that fails."""

    def __init__(self) -> None:
        self.runs = 0

    def check(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return config

    async def run(self, run: BotRun) -> BotResult:
        self.runs += 1
        raise BotFailed(Sentence("it failed"))


async def test_runs_of_bots_have_no_circuit() -> None:
    bot = Failing()
    async with Ward(failures=1, bots={"failing": bot}) as ward:
        await ward.job(6.0, webhooks=0, owner=BOTS, bot_type="failing", retry=NO_RETRY)
        for _ in range(40):
            await ward.pass_time(0.5)
        await ward.until(lambda: bot.runs == 3)
        assert not ward.circuits._streaks
        assert not ward.circuits.limited


async def test_an_execution_cut_short_before_it_began_gives_its_slot_back(ward: Ward) -> None:
    cut: list[JobId] = []
    begin = ward.dispatcher._begin

    def begin_and_cut(claimed: Any, stale: bool) -> None:
        begin(claimed, stale)
        cut.append(claimed.ref.job_id)
        ward.dispatcher.cut_short(claimed.ref.job_id)

    ward.dispatcher._begin = begin_and_cut  # type: ignore[method-assign]
    await ward.job(2.0)
    for _ in range(5):
        await ward.pass_time(0.5)
    await ward.until(lambda: bool(cut) and not ward.engine.in_flight)
