"""How much of everything is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Seconds, numbers of messages, and how often the service and its peers take turns.

    ``quick`` leaves out what is compared but not asked for, and looks for no better settings of the peers.
    """

    quick: bool
    turns: int
    accept_seconds: float
    bursts: tuple[int, ...]
    calibration: int
    client_posts: int
    lateness_seconds: float
    hanging_seconds: float
    pending: tuple[int, ...]
    searches: int
    jobs: int
    jobs_at_once: int


FULL = Scale(
    quick=False,
    turns=2,
    accept_seconds=3,
    bursts=(5_000, 20_000),
    calibration=4_000,
    client_posts=10_000,
    lateness_seconds=10,
    hanging_seconds=45,
    pending=(100_000, 1_000_000),
    searches=40,
    jobs=100_000,
    jobs_at_once=10_000,
)
QUICK = Scale(
    quick=True,
    turns=1,
    accept_seconds=2,
    bursts=(5_000,),
    calibration=0,
    client_posts=5_000,
    lateness_seconds=4,
    hanging_seconds=6,
    pending=(20_000,),
    searches=20,
    jobs=10_000,
    jobs_at_once=2_000,
)
