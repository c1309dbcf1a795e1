"""Many small calls become few large ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

import structlog

from aioscheduler.errors import Sentence, StoreUnavailable
from aioscheduler.store.base import Receipt

#: A call that carries more, in bytes, would hold up everybody else's on the server.
MOST_BYTES = 4 * 1024 * 1024

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Sends what was asked for in one turn of the loop as one call.

    One call is on its way at a time; what is asked for meanwhile waits and goes together with the next. So the load
    itself decides how large the batches are.
    """

    def __init__(
        self,
        send: Callable[[list[Item]], Awaitable[Sequence[Result | asyncio.Future[Result]]]],
        most: int,
        weigh: Callable[[Item], int],
    ) -> None:
        """Send at most ``most`` items together, and of large ones, as ``weigh`` tells in bytes, fewer.

        Where ``send`` returns a future for an item, its result is handed out when it is there; others do not wait.
        """
        self._send = send
        self._most = most
        self._weigh = weigh
        self._waiting: list[tuple[Item, Receipt[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Return the result for one item.

        :raises StoreUnavailable: the call failed; it may have been applied all the same
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.post(item, future)
        return await future

    def post(self, item: Item, receipt: Receipt[Result]) -> None:
        """Do the same for callers without a task: what :meth:`__call__` returns or raises is handed to ``receipt``."""
        self._waiting.append((item, receipt))
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = self._next()
                try:
                    results = await self._send([item for item, _ in batch])
                except StoreUnavailable as error:
                    # Whoever queued up behind has waited as long: they are told at once instead of one time-out later.
                    batch += self._waiting
                    self._waiting = []
                    _fail(batch, error)
                except Exception as error:  # the caller's own: each gets it
                    _fail(batch, error)
                else:
                    if self._waiting:
                        # The next call leaves first, so that the server works while these are told.
                        loop.call_soon(_hand_out, batch, results)
                    else:
                        _hand_out(batch, results)
        finally:
            self._task = None
            if self._waiting:
                _fail(self._waiting, StoreUnavailable(Sentence("The service is stopping.")))
                self._waiting = []

    def _next(self) -> list[tuple[Item, Receipt[Result]]]:
        weight = count = 0
        for item, _ in self._waiting[: self._most]:
            weight += self._weigh(item)
            if count and weight > MOST_BYTES:
                break
            count += 1
        batch = self._waiting[:count]
        del self._waiting[:count]
        return batch

    async def drain(self) -> None:
        """Wait until nothing is on its way."""
        while self._task is not None:
            await asyncio.wait([self._task])


def _hand_out(
    batch: Sequence[tuple[object, Receipt[Result]]], results: Sequence[Result | asyncio.Future[Result]]
) -> None:
    for (_, receipt), result in zip(batch, results, strict=True):
        try:
            if isinstance(result, asyncio.Future):
                result.add_done_callback(partial(_pass_on, receipt))
            elif not receipt.done():
                receipt.set_result(result)
        except Exception:
            _tell_trouble()


def _pass_on(receipt: Receipt[Result], result: asyncio.Future[Result]) -> None:
    if receipt.done() or result.cancelled():
        return
    error = result.exception()
    if error is None:
        receipt.set_result(result.result())
    elif isinstance(error, Exception):
        receipt.set_exception(error)


def _fail(batch: Sequence[tuple[object, Receipt[Result]]], error: Exception) -> None:
    for _, receipt in batch:
        try:
            if not receipt.done():
                receipt.set_exception(error)
        except Exception:
            _tell_trouble()


def _tell_trouble() -> None:
    """Whoever fails when told a result must not keep the others from theirs."""
    log.exception("an unexpected error", action="result_not_taken")
