"""A store that goes away and comes back when a test says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

from aioscheduler.errors import Sentence, StoreUnavailable
from aioscheduler.store.base import Receipt, ScheduleListener, Settled, Settlement, TakenListener
from aioscheduler.store.recurring import EngineStore, ExecutionListener, JobListener


class FlakyStore:
    """Passes every verb on to ``store``, unless it is away. Engines get :attr:`verbs`."""

    def __init__(self, store: EngineStore) -> None:
        self.away = False
        self.calls: Counter[str] = Counter()
        """How often each verb was asked for, also in vain."""
        self.refused = asyncio.Event()
        """Set when somebody asked in vain."""
        self._store = store
        self._settling: set[asyncio.Task[None]] = set()
        self._lost: Counter[str] = Counter()
        self._broken: dict[str, Exception] = {}

    @property
    def verbs(self) -> EngineStore:
        return cast(EngineStore, self)

    @property
    def on_scheduled(self) -> ScheduleListener | None:
        return self._store.on_scheduled

    @on_scheduled.setter
    def on_scheduled(self, listener: ScheduleListener | None) -> None:
        self._store.on_scheduled = listener

    @property
    def on_taken(self) -> TakenListener | None:
        return self._store.on_taken

    @on_taken.setter
    def on_taken(self, listener: TakenListener | None) -> None:
        self._store.on_taken = listener

    @property
    def on_execution(self) -> ExecutionListener | None:
        return self._store.on_execution

    @on_execution.setter
    def on_execution(self, listener: ExecutionListener | None) -> None:
        self._store.on_execution = listener

    @property
    def on_job(self) -> JobListener | None:
        return self._store.on_job

    @on_job.setter
    def on_job(self, listener: JobListener | None) -> None:
        self._store.on_job = listener

    def sleep(self) -> None:
        """Go away."""
        self.away = True
        self.refused.clear()

    def wakeup(self) -> None:
        """Come back."""
        self.away = False

    def lose_answer(self, verb: str, times: int = 1) -> None:
        """Carry out the next calls of a verb, and say that the store is away."""
        self._lost[verb] += times

    def break_once(self, verb: str, error: Exception) -> None:
        """Let the next call of a verb fail in a way nobody expects."""
        self._broken[verb] = error

    def __getattr__(self, verb: str) -> Any:
        real = getattr(self._store, verb)
        if verb in ("window", "outside_ids", "job_window", "execution_window", "stalled"):
            return lambda *args: self._iterate(verb, real, args)
        return lambda *args, **kwargs: self._call(verb, real, args, kwargs)

    def hand_over(self, settlement: Settlement, receipt: Receipt[Settled]) -> None:
        """Settle, as the store is by then."""

        async def settle() -> None:
            try:
                receipt.set_result(await self._call("settle", self._store.settle, (settlement,), {}))
            except Exception as error:
                receipt.set_exception(error)

        self._settling.add(task := asyncio.create_task(settle()))
        task.add_done_callback(self._settling.discard)

    async def _call(self, verb: str, real: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._check(verb)
        answer = await real(*args, **kwargs)
        if self.away or self._lost[verb] > 0:
            self._lost[verb] -= 1
            self._refuse()
        return answer

    async def _iterate(self, verb: str, real: Any, args: tuple[Any, ...]) -> AsyncIterator[Any]:
        self._check(verb)
        async for page in real(*args):
            if self.away:
                self._refuse()
            yield page

    def _check(self, verb: str) -> None:
        self.calls[verb] += 1
        if (error := self._broken.pop(verb, None)) is not None:
            raise error
        if self.away:
            self._refuse()

    def _refuse(self) -> None:
        self.refused.set()
        raise StoreUnavailable(Sentence("The store sleeps."))
