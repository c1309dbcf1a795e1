"""What there is to expose, with nothing in it."""

from __future__ import annotations

from aioscheduler.metrics import Family, Snapshot

EMPTY = Snapshot(
    version="1",
    counters={},
    pending=0,
    leased=0,
    dead=0,
    oldest_overdue_seconds=0,
    accounts=Family(),
    bots=Family(),
    store_risks=0,
    uptime_seconds=1,
    loop_lag_seconds=0,
    window_entries=0,
    in_flight=0,
)
