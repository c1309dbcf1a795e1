"""What there is to expose, with nothing in it."""

from __future__ import annotations

from aioscheduler.metrics import FIGURES, HOWS, KINDS, Family, Snapshot

EMPTY = Snapshot(
    version="1",
    counters={},
    pending=0,
    leased=0,
    dead=0,
    oldest_overdue_seconds=0,
    accounts=Family(),
    bots=Family(),
    audit={kind: dict.fromkeys(("planned", *HOWS, "pending", "difference"), 0) for kind in KINDS},
    punctuality={
        (kind, window): {"deliveries": 1} | {f"{figure}_ms": 0.0 for figure in FIGURES}
        for kind in ("all", *KINDS)
        for window in ("minute", "hour", "day")
    },
    store_risks=0,
    uptime_seconds=1,
    loop_lag_seconds=0,
    window_entries=0,
    in_flight=0,
)
