"""One run from beginning to end: store, replicas and receivers come up, load and faults go on, the end is awaited."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from aioscheduler.config import load_settings
from aioscheduler.errors import ConfigError, Sentence
from aioscheduler.verify.client import Client
from aioscheduler.verify.collect import collect, until_ended
from aioscheduler.verify.environment import overridden, with_store, without_store
from aioscheduler.verify.faults import Injector, stop
from aioscheduler.verify.jobs import Jobs
from aioscheduler.verify.ledger import Fault, FaultKind, Hit, Ledger
from aioscheduler.verify.load import ATTEMPT_LIMIT, Load
from aioscheduler.verify.plan import Options, draw
from aioscheduler.verify.receivers import Receivers
from aioscheduler.verify.replicas import COMMAND, GRACE, Replicas
from aioscheduler.verify.store import GivenStore, OwnStore, StoreUnderTest

_PROGRESS_SECONDS = 3.0
#: What a run depends on, whatever the operator has set.
_FIXED: Final = {
    "API_HOST": "127.0.0.1",
    "API_LANGUAGE": "en",
    "LOG_FORMAT": "json",
    "MESSAGE_ON_CONFLICT": "reject",
    "PAST_SCHEDULE": "fire",
    "MISFIRE_GRACE_SECONDS": "",
    "RATE_LIMIT_PER_SECOND": "0",
    "SHUTDOWN_GRACE_SECONDS": str(GRACE),
    "WEBHOOK_BLOCK_PRIVATE": "false",
}


async def run(
    options: Options,
    environment: Mapping[str, str],
    folder: Path,
    say: Callable[[str], None],
    replica_command: Sequence[str] = COMMAND,
) -> Ledger:
    """Do what ``options`` say and return all that was seen. Leaves no process behind, however it ends.

    :param environment: the operator's settings, and what else replicas shall find in theirs
    :param folder: an empty one, for the replicas' logs and the store
    :param replica_command: starts a replica; for tests
    :raises ConfigError: the run cannot begin, or nobody answers any more
    """
    ledger = Ledger(limit_ms=ATTEMPT_LIMIT * 1000, grace_ms=GRACE * 1000)
    async with AsyncExitStack() as stack:
        store, environment = await _open_store(options, environment, folder, stack)
        token = secrets.token_urlsafe(24)
        environment = overridden(environment, {**_FIXED, "API_TOKEN": token, "DATA_DIR": str(folder / "data")})
        progress = _Progress(ledger, say)
        receivers = Receivers(progress.note)
        stack.callback(receivers.close)
        await receivers.start()
        replicas = Replicas(ledger, options.replicas, replica_command, environment, folder)
        stack.push_async_callback(replicas.close)
        await replicas.start()
        client = await stack.enter_async_context(Client(ledger, [replica.url for replica in replicas.all], token))
        progress.begin()
        watching = asyncio.create_task(progress.watch(replicas), name="progress")
        stack.callback(watching.cancel)
        try:
            await _run(options, ledger, client, replicas, receivers, store, progress)
        except (TimeoutError, ExceptionGroup) as error:
            if isinstance(error, ExceptionGroup) and error.split(TimeoutError)[1] is not None:
                raise
            raise ConfigError(
                Sentence("No replica answers any more; one said last: {words}", words=replicas.all[0].last_words())
            ) from error
    return ledger


async def _run(
    options: Options,
    ledger: Ledger,
    client: Client,
    replicas: Replicas,
    receivers: Receivers,
    store: StoreUnderTest,
    progress: _Progress,
) -> None:
    load = Load(client, receivers.url, rate=options.rate, seconds=options.seconds, seed=options.seed)
    jobs = Jobs(client, receivers, seconds=options.seconds, seed=options.seed)
    injector = Injector(ledger, replicas, receivers, store, progress.event)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        group.create_task(jobs.run())
        group.create_task(injector.run(draw(options), options.seconds))
    receivers.well = True
    ledger.load_ended_ms = time.time() * 1000
    await jobs.disable()
    progress.event("the load has ended; waiting for what is still to come")
    await until_ended(client, jobs.kept)
    await collect(client, jobs.kept, ledger)
    ledger.ended_ms = time.time() * 1000
    replicas.measure()
    for replica in replicas.all:
        last = Fault(kind=FaultKind.TERM, from_ms=time.time() * 1000, replica=replica.number)
        ledger.faults.append(last)
        await stop(replica, last)
        last.until_ms = time.time() * 1000


async def _open_store(
    options: Options, environment: Mapping[str, str], folder: Path, stack: AsyncExitStack
) -> tuple[StoreUnderTest, dict[str, str]]:
    settings = load_settings(environment)
    if options.database is None:
        own = OwnStore(folder / "store", settings.embedded_server)
        stack.push_async_callback(own.stop)
        await own.start()
        return own, {**without_store(environment), "REDIS_URL": own.url}
    environment = with_store(environment, options.database)
    given = GivenStore(load_settings(environment), options.database)
    stack.push_async_callback(given.stop)
    await given.start()
    return given, environment


class _Progress:
    """Says how far the run is, every few seconds and whenever something is done to the deployment."""

    def __init__(self, ledger: Ledger, say: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._say = say
        self._began = time.monotonic()

    def begin(self) -> None:
        """Count from now on."""
        self._began = time.monotonic()
        self._ledger.started_ms = time.time() * 1000

    def note(self, hit: Hit) -> None:
        """Write a request down."""
        self._ledger.hits.append(hit)

    def event(self, text: str) -> None:
        """Say that something happened."""
        self._say(f"{time.monotonic() - self._began:7.1f} s  {text}")

    async def watch(self, replicas: Replicas) -> None:
        """Say how far the run is until cancelled."""
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            replicas.measure()
            accepted = sum(call.tag is not None and call.status in (200, 201) for call in self._ledger.calls)
            delivered = sum(hit.status == 200 for hit in self._ledger.hits)
            self.event(f"{accepted} accepted, {len(self._ledger.hits)} attempts, {delivered} delivered")
