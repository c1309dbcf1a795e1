"""Replicas that live and replicas that do not: whose leases go back."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from aioscheduler.clock import to_ms
from aioscheduler.store import keys
from aioscheduler.store.base import Lease, Recovered
from aioscheduler.store.calls import PAGE, Setup
from aioscheduler.store.leases import HEARTBEAT_MS, Leases

#: For how long a replica must be seen without a heartbeat until it is taken for dead, in seconds.
CONFIRM_SECONDS: Final = 1.5
#: A look at the replicas counts as continuous with the one before when it comes within this, in seconds.
CONTINUOUS_SECONDS: Final = 1.2
#: What clocks may differ by until one is put right by the server's, in milliseconds; more while the server is slow.
AGREE_MS: Final = 5.0
#: How often all leases are looked through without a dead replica as the reason, in seconds.
RECONCILE_SECONDS: Final = 5.0


class _Kind(NamedTuple):
    """Where the entries of one kind stand."""

    due: bytes
    leased: bytes
    state: bytes


_KINDS: Final = (
    _Kind(keys.DUE, keys.LEASED, keys.STATE),
    _Kind(keys.EXECUTIONS_DUE, keys.EXECUTIONS_LEASED, keys.EXECUTIONS_STATE),
)


class Recovery(Leases):
    """The verbs about leases that nobody will settle."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._others: set[str] = set()
        self._missing_since: dict[str, float] = {}
        self._looked_at = float("-inf")

    async def heartbeat(self) -> None:
        commands: list[tuple[Any, ...]] = [
            ("SET", keys.heartbeat(self._replica), "1", "PX", HEARTBEAT_MS),
            ("SADD", keys.REPLICAS, self._replica),
        ]
        if self._steered is None:
            await self._transaction(*commands)
            return
        asked = self._clock.monotonic()
        *_, (seconds, microseconds) = await self._transaction(*commands, ("TIME",))
        here_ms = self._clock.now().timestamp() * 1000
        # Read last, so that nothing between the two readings is left out.
        took_ms = (self._clock.monotonic() - asked) * 1000
        ahead_ms = here_ms - took_ms / 2 - (int(seconds) * 1000 + int(microseconds) / 1000)
        # The server read its clock at some moment while we waited.
        if abs(ahead_ms) > max(AGREE_MS, took_ms):
            self._adjust(round(ahead_ms))

    async def farewell(self) -> None:
        await self._transaction(
            ("DEL", keys.heartbeat(self._replica)),
            ("SREM", keys.REPLICAS, self._replica),
        )

    async def replicas(self) -> int:
        names = sorted(await self._command("SMEMBERS", keys.REPLICAS))
        return await self._command("EXISTS", *(keys.heartbeat(name.decode()) for name in names)) if names else 0

    async def recover(self, now: datetime) -> Recovered:
        moment = self._clock.monotonic()
        if moment - self._looked_at > CONTINUOUS_SECONDS:
            # Nobody watched meanwhile: whoever is missing now may only be as slow to come back as we were.
            self._missing_since.clear()
        others = {name.decode() for name in await self._command("SMEMBERS", keys.REPLICAS)} - {self._replica}
        dead = await self._dead_replicas(others, moment)
        departed = len(self._others - others) + len(dead)
        self._others = others - dead
        self._looked_at = self._clock.monotonic()
        if not dead and moment < self._reconcile_at:
            return Recovered(departed=departed)
        self._reconcile_at = moment + RECONCILE_SECONDS
        leases = 0
        for kind in _KINDS:
            leases += await self._give_back_all(kind, dead, others, to_ms(now))
        for replica in dead:
            await self._command("SREM", keys.REPLICAS, replica)
            self._missing_since.pop(replica, None)
        return Recovered(leases=leases, departed=departed)

    async def _dead_replicas(self, others: set[str], moment: float) -> set[str]:
        """Return those that were seen without a heartbeat for long enough, without a gap in the seeing."""
        names = sorted(others)
        alive = await self._command("MGET", *(keys.heartbeat(name) for name in names)) if names else []
        missing = {name for name, beat in zip(names, alive, strict=True) if beat is None}
        self._missing_since = {name: self._missing_since.get(name, moment) for name in missing}
        return {name for name, since in self._missing_since.items() if moment - since >= CONFIRM_SECONDS}

    async def _give_back_all(self, kind: _Kind, dead: set[str], others: set[str], now_ms: int) -> int:
        """Look through all leases; there are never more than the replicas have slots."""
        # A claim made while this looks is none of its business: its lease may be seen here before its answer is.
        claiming = min(self._claiming, default=self._claims + 1)
        of_dead: dict[str, list[bytes]] = {replica: [] for replica in dead}
        lost: list[bytes] = []
        unknown: set[str] = set()
        for raw_id, raw_lease in (await self._command("HGETALL", kind.leased)).items():
            replica, number, _, _, until, *_ = raw_lease.decode().split(":")
            if replica in of_dead:
                of_dead[replica] += (raw_id, raw_lease)
            elif replica == self._replica:
                # The answer to a claim was lost: nobody will ever settle it.
                if int(number) < claiming and (raw_id.decode(), Lease(raw_lease.decode())) not in self._held:
                    lost += (raw_id, raw_lease)
            elif int(until) < now_ms:
                lost += (raw_id, raw_lease)
            elif replica not in others:
                unknown.add(replica)
        if unknown:
            # Claimed in the very moment of its farewell: from now on it is watched like the others.
            await self._command("SADD", keys.REPLICAS, *unknown)
        recovered = await self._give_back(kind, "any", self._replica, lost)
        for replica, theirs in of_dead.items():
            recovered += await self._give_back(kind, "dead", replica, theirs)
        return recovered

    async def _give_back(self, kind: _Kind, mode: str, holder: str, pairs: list[bytes]) -> int:
        recovered = 0
        for start in range(0, len(pairs), PAGE):
            recovered += await self._run(
                "recover",
                [kind.due, kind.leased, kind.state, keys.COUNTERS, keys.heartbeat(holder)],
                [mode, *pairs[start : start + PAGE]],
            )
        return recovered
