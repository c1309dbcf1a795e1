"""What a run does, and which faults it injects when: drawn from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from aioscheduler.verify.ledger import FaultKind, Temper

#: What is done to one replica and takes it away for a while.
PROCESS_FAULTS = frozenset({FaultKind.KILL, FaultKind.STOP_CONT, FaultKind.TERM})
STORE_FAULTS = frozenset({FaultKind.STORE_RESTART, FaultKind.STORE_FREEZE, FaultKind.STORE_CUT})
#: Seconds a fault lasts: for how long a process is suspended, or stays away until it is started again.
_LENGTHS = {
    FaultKind.KILL: (0.2, 3.0),
    FaultKind.STOP_CONT: (1.0, 6.0),
    FaultKind.TERM: (0.0, 1.0),
    FaultKind.STORE_RESTART: (0.0, 0.0),
    FaultKind.STORE_FREEZE: (1.0, 5.0),
    FaultKind.STORE_CUT: (0.0, 0.0),
    FaultKind.CLOCK_STEP: (0.0, 0.0),
    FaultKind.RECEIVER_OUTAGE: (1.0, 4.0),
}
#: Seconds: what a process needs to serve again, or its leases to be taken over.
_RECOVERY = 5.0
#: Seconds between the end of a fault and the next; one of so many begins while the one before goes on.
_PAUSE = (3.0, 12.0)
_OVERLAPPING = 0.3
#: The length of a run, in seconds, from which on nothing is made shorter to fit in.
_ROOMY = 60.0
#: How far off, in ms, a clock may be stepped, and how far it may get off by several steps.
_STEP_MS, FARTHEST_MS = (500, 5000), 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is asked to do. ``rate`` is messages a second, ``seconds`` how long they come."""

    seconds: float = 60.0
    replicas: int = 3
    rate: float = 60.0
    faults: frozenset[FaultKind] = frozenset(FaultKind)
    seed: int = 0
    database: int | None = None
    """Of the store of the settings; ``None``: a store of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A fault to come: ``at`` seconds after the load began, for ``seconds``; ``step_ms`` is that of a clock."""

    kind: FaultKind
    at: float
    seconds: float = 0.0
    replica: int | None = None
    temper: Temper | None = None
    step_ms: int = 0


def possible(options: Options) -> frozenset[FaultKind]:
    """Return those of the wanted faults that can be injected here.

    A lone replica is left alone, since one has always to be well; a store that is not ours is not ended.
    """
    kinds = options.faults
    if options.replicas < 2:
        kinds -= PROCESS_FAULTS
    if options.database is not None:
        kinds -= {FaultKind.STORE_RESTART}
    return kinds


def draw(options: Options) -> tuple[Planned, ...]:
    """Return the faults of a run in order of time; the same options always give the same.

    At least one replica is well at any time as far as can be told ahead, the store apart, and all faults are over some
    seconds before the load ends. Each kind comes as often as the others, and a short run still has two faults or three.
    """
    chance = random.Random(options.seed)
    kinds = _in_turn(chance, sorted(possible(options), key=lambda kind: kind.value))
    pace = min(1.0, options.seconds / _ROOMY)
    at, last = min(3.0, options.seconds / 5), options.seconds - min(6.0, options.seconds / 4)
    away: dict[int, float] = {}
    store_until = 0.0
    offsets = [0] * options.replicas
    planned: list[Planned] = []
    for kind in kinds:
        if at > last:
            break
        shortest, longest = _LENGTHS[kind]
        length = min(max(shortest, chance.uniform(shortest, longest) * pace), max(0.0, last - at + 1))
        replica, temper, step_ms = None, None, 0
        begin = max(at, store_until) if kind in STORE_FAULTS else at
        if kind in PROCESS_FAULTS:
            begin, replica = _victim(chance, away, options.replicas, begin)
            away[replica] = begin + length + _RECOVERY * pace
            if kind is not FaultKind.STOP_CONT:
                offsets[replica] = 0
        elif kind is FaultKind.CLOCK_STEP:
            replica = chance.randrange(options.replicas)
            step_ms = _step(chance, offsets[replica])
            offsets[replica] += step_ms
        elif kind is FaultKind.RECEIVER_OUTAGE:
            temper = chance.choice(list(Temper))
        else:
            store_until = begin + length + _RECOVERY * pace
        if begin > last:
            break
        planned.append(
            Planned(
                kind=kind,
                at=round(begin, 3),
                seconds=round(length, 3),
                replica=replica,
                temper=temper,
                step_ms=step_ms,
            )
        )
        if chance.random() < _OVERLAPPING:
            at = begin + chance.uniform(0.1, 1.0)
        else:
            at = begin + length + chance.uniform(*_PAUSE) * pace
    return tuple(planned)


def _in_turn(chance: random.Random, kinds: list[FaultKind]) -> Iterator[FaultKind]:
    while kinds:
        yield from chance.sample(kinds, len(kinds))


def _victim(chance: random.Random, away: dict[int, float], replicas: int, at: float) -> tuple[float, int]:
    """Return from when on a replica may be taken away, and which."""
    # Two have to be well, so that one is left.
    begin = max(at, sorted(away.get(replica, 0.0) for replica in range(replicas))[1])
    return begin, chance.choice([replica for replica in range(replicas) if away.get(replica, 0.0) <= begin])


def _step(chance: random.Random, offset: int) -> int:
    size = chance.randint(*_STEP_MS)
    forward = chance.random() < 0.5
    step = size if forward else -size
    return step if abs(offset + step) <= FARTHEST_MS else -step
