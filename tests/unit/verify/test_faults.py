"""What a planned fault does, and what is noted of it."""

from __future__ import annotations

import asyncio
import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import ResponseError

from aioscheduler.verify.faults import Injector
from aioscheduler.verify.ledger import FaultKind, Ledger, Temper
from aioscheduler.verify.plan import Planned

#: Seconds of a load that is over soon.
SHORT = 0.2


class FakeReplica:
    """Does nothing but write down what is done to it; serves again when its gate is open."""

    def __init__(self, number: int, done: list[str]) -> None:
        self.number = number
        self.well = True
        self.gate = asyncio.Event()
        self.gate.set()
        self._done = done

    def _say(self, text: str) -> None:
        self._done.append(f"{text} {self.number}")

    @property
    def process(self) -> Any:
        async def wait() -> int:
            self._say("ended")
            return 0

        return SimpleNamespace(wait=wait)

    def send(self, number: signal.Signals) -> None:
        self._say(number.name)

    def end(self, how: signal.Signals) -> None:
        self._say(f"end {how.name}")

    async def step(self, seconds: float) -> None:
        self._say(f"step {seconds:g}")

    async def serves(self) -> bool:
        await self.gate.wait()
        self._say("serves")
        return True


class World:
    """An injector on fakes."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.said: list[str] = []
        self.ledger = Ledger()
        self.all = [FakeReplica(number, self.done) for number in range(2)]
        self.injector = Injector(self.ledger, cast("Any", self), cast("Any", self), cast("Any", self), self.said.append)

    # -- of the replicas
    def others_well(self, replica: FakeReplica) -> bool:
        return any(other.well for other in self.all if other is not replica)

    async def spawn(self, replica: FakeReplica) -> None:
        self.done.append(f"spawn {replica.number}")

    # -- of the receivers
    def shut(self, temper: Temper) -> None:
        self.done.append(f"shut {temper.value}")

    async def open(self, temper: Temper) -> None:
        self.done.append(f"open {temper.value}")

    # -- of the store
    async def restart(self) -> None:
        self.done.append("restart")

    async def freeze(self, seconds: float) -> None:
        self.done.append(f"freeze {seconds:g}")

    async def cut(self) -> None:
        raise ResponseError("no permission")

    async def inject(self, *plan: Planned, seconds: float = 5) -> None:
        async with asyncio.timeout(30):
            await self.injector.run(plan, seconds)


@pytest.mark.parametrize(
    ("planned", "done"),
    [
        (
            Planned(kind=FaultKind.KILL, at=0, replica=1),
            ["end SIGKILL 1", "ended 1", "spawn 1", "serves 1"],
        ),
        (Planned(kind=FaultKind.STOP_CONT, at=0, replica=0), ["SIGSTOP 0", "SIGCONT 0", "serves 0"]),
        (
            Planned(kind=FaultKind.TERM, at=0, replica=1),
            ["end SIGTERM 1", "ended 1", "spawn 1", "serves 1"],
        ),
        (Planned(kind=FaultKind.CLOCK_STEP, at=0, replica=1, step_ms=-2500), ["step -2.5 1"]),
        (Planned(kind=FaultKind.STORE_RESTART, at=0), ["restart"]),
        (Planned(kind=FaultKind.STORE_FREEZE, at=0, seconds=1.5), ["freeze 1.5"]),
        (Planned(kind=FaultKind.RECEIVER_OUTAGE, at=0, temper=Temper.SLOW), ["shut slow", "open slow"]),
    ],
)
async def test_each_fault_is_done_undone_and_noted(planned: Planned, done: list[str]) -> None:
    world = World()
    await world.inject(planned)
    assert world.done == done
    (fault,) = world.ledger.faults
    assert (fault.kind, fault.replica, fault.temper) == (planned.kind, planned.replica, planned.temper)
    assert fault.step_ms == planned.step_ms
    assert fault.until_ms is not None
    assert fault.until_ms >= fault.from_ms
    assert all(replica.well for replica in world.all)
    assert (fault.exit_code is not None) == (planned.kind is FaultKind.TERM)
    assert world.said[0].startswith(planned.kind.value)


async def test_no_replica_is_taken_away_while_no_other_is_well() -> None:
    world = World()
    world.all[0].gate.clear()
    task = asyncio.create_task(
        world.inject(
            Planned(kind=FaultKind.KILL, at=0, replica=0), Planned(kind=FaultKind.STOP_CONT, at=0.01, replica=1)
        )
    )
    await asyncio.sleep(0.15)
    assert not [line for line in world.done if line.endswith("1")]
    world.all[0].gate.set()
    await task
    assert world.done.index("serves 0") < world.done.index("SIGSTOP 1")


async def test_two_faults_of_one_replica_follow_each_other() -> None:
    world = World()
    world.all[0].gate.clear()
    task = asyncio.create_task(
        world.inject(
            Planned(kind=FaultKind.KILL, at=0, replica=0),
            Planned(kind=FaultKind.CLOCK_STEP, at=0.01, replica=0, step_ms=500),
        )
    )
    await asyncio.sleep(0.05)
    assert "step 0.5 0" not in world.done
    world.all[0].gate.set()
    await task
    assert world.done[-1] == "step 0.5 0"


async def test_a_fault_that_would_come_after_the_load_does_not_come() -> None:
    world = World()
    world.all[0].gate.clear()
    task = asyncio.create_task(
        world.inject(
            Planned(kind=FaultKind.KILL, at=0, replica=0),
            Planned(kind=FaultKind.CLOCK_STEP, at=0, replica=0, step_ms=500),
            seconds=SHORT,
        )
    )
    while "end SIGKILL 0" not in world.done and not task.done():
        await asyncio.sleep(0.001)
    await asyncio.sleep(SHORT + 0.02)
    world.all[0].gate.set()
    await task
    assert [fault.kind for fault in world.ledger.faults] == [FaultKind.KILL]


async def test_what_the_store_refuses_is_said_and_the_run_goes_on() -> None:
    world = World()
    await world.inject(
        Planned(kind=FaultKind.STORE_CUT, at=0), Planned(kind=FaultKind.CLOCK_STEP, at=0, replica=0, step_ms=500)
    )
    assert "store-cut was not possible: no permission" in world.said
    assert "step 0.5 0" in world.done


async def test_a_fault_whose_replica_never_gets_well_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.verify.faults._PATIENCE", 0.05)
    world = World()
    world.all[0].well = False
    await world.inject(Planned(kind=FaultKind.KILL, at=0, replica=1))
    assert world.done == []
    assert world.ledger.faults == []
    assert world.said == ["no kill of replica 1: too few replicas are well"]
