"""Does to the deployment what the plan says, and notes it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from redis.exceptions import RedisError

from aioscheduler.verify.ledger import Fault, FaultKind, Ledger
from aioscheduler.verify.plan import PROCESS_FAULTS, STORE_FAULTS, Planned
from aioscheduler.verify.receivers import Receivers
from aioscheduler.verify.replicas import STOP_LIMIT, Replica, Replicas
from aioscheduler.verify.store import StoreUnderTest

_POLL = 0.1
#: Seconds a fault may come later than planned, when it has to wait for the end of another; later, it does not come.
_PATIENCE = 10.0


class Injector:
    """Injects faults and undoes them, in tasks of its own."""

    def __init__(
        self,
        ledger: Ledger,
        replicas: Replicas,
        receivers: Receivers,
        store: StoreUnderTest,
        say: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._replicas = replicas
        self._receivers = receivers
        self._store = store
        self._say = say
        self._locks: dict[object, asyncio.Lock] = {}

    async def run(self, plan: Sequence[Planned], seconds: float) -> None:
        """Inject all faults of a plan for a load that began now and takes so long; return when all are undone."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for planned in plan:
                group.create_task(self._in_time(planned, began, seconds))

    async def _in_time(self, planned: Planned, began: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(began + planned.at - loop.time())
        what = "store" if planned.kind in STORE_FAULTS else planned.temper or planned.replica
        latest = min(began + planned.at + _PATIENCE, began + seconds)
        async with self._locks.setdefault(what, asyncio.Lock()):
            if loop.time() <= latest:
                await self._inject(planned)

    async def _inject(self, planned: Planned) -> None:
        fault = Fault(
            kind=planned.kind,
            from_ms=time.time() * 1000,
            replica=planned.replica,
            temper=planned.temper,
            step_ms=planned.step_ms,
        )
        if planned.kind in PROCESS_FAULTS:
            await self._trouble(self._replica(planned), fault, planned.seconds)
            return
        self._note(fault)
        match planned.kind:
            case FaultKind.CLOCK_STEP:
                await self._replica(planned).step(planned.step_ms / 1000)
            case FaultKind.RECEIVER_OUTAGE:
                assert planned.temper is not None, "an outage is of one receiver"
                self._receivers.shut(planned.temper)
                try:
                    await asyncio.sleep(planned.seconds)
                finally:
                    await self._receivers.open(planned.temper)
            case _:
                try:
                    await self._trouble_store(planned)
                except (RedisError, OSError) as error:  # the operator's own server may refuse
                    self._say(f"{planned.kind.value} was not possible: {error}")
        fault.until_ms = time.time() * 1000

    async def _trouble_store(self, planned: Planned) -> None:
        match planned.kind:
            case FaultKind.STORE_RESTART:
                await self._store.restart()
            case FaultKind.STORE_FREEZE:
                await self._store.freeze(planned.seconds)
            case _:
                await self._store.cut()

    async def _trouble(self, replica: Replica, fault: Fault, seconds: float) -> None:
        if not await self._may_trouble(replica):
            self._say(f"no {fault.kind.value} of replica {replica.number}: too few replicas are well")
            return
        replica.well = False
        fault.from_ms = time.time() * 1000
        self._note(fault)
        match fault.kind:
            case FaultKind.STOP_CONT:
                replica.send(signal.SIGSTOP)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    replica.send(signal.SIGCONT)
            case FaultKind.TERM:
                await stop(replica, fault)
                await asyncio.sleep(seconds)
                await self._replicas.spawn(replica)
            case _:
                replica.end(signal.SIGKILL)
                await replica.process.wait()
                await asyncio.sleep(seconds)
                await self._replicas.spawn(replica)
        if not await replica.serves():
            self._say(f"replica {replica.number} does not serve again: {replica.last_words()}")
            return
        replica.well = True
        fault.until_ms = time.time() * 1000
        self._say(f"replica {replica.number} serves again after {(fault.until_ms - fault.from_ms) / 1000:.1f} s")

    async def _may_trouble(self, replica: Replica) -> bool:
        """Wait until a replica is well and another one too; ``False`` when that takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while not replica.well or not self._replicas.others_well(replica):  # noqa: ASYNC110 - several tell
                    await asyncio.sleep(_POLL)
                return True
        return False

    def _replica(self, planned: Planned) -> Replica:
        assert planned.replica is not None, "the fault is of one replica"
        return self._replicas.all[planned.replica]

    def _note(self, fault: Fault) -> None:
        self._ledger.faults.append(fault)
        whom = f" replica {fault.replica}" if fault.replica is not None else ""
        whom += f" {fault.temper.value}" if fault.temper is not None else ""
        self._say(f"{fault.kind.value}{whom}" + (f" by {fault.step_ms / 1000:+.1f} s" if fault.step_ms else ""))


async def stop(replica: Replica, fault: Fault) -> None:
    """Ask a replica to stop, and note when and how it ended; one that does not in its time is killed."""
    replica.end(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_LIMIT):
            fault.exit_code = await replica.process.wait()
    except TimeoutError:
        replica.end(signal.SIGKILL)
        await replica.process.wait()
    else:
        fault.exit_ms = time.time() * 1000
