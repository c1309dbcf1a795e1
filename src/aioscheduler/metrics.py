"""Names and bounds of what is counted, and the Prometheus exposition of it. No HTTP.

Counters belong to the deployment and live in the store, by the names here; gauges of this process come in with
:class:`Snapshot`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

#: Upper bounds of the histograms' buckets, in milliseconds, inclusive.
LATENESS_BOUNDS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000, 60_000, 300_000)
DURATION_BOUNDS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)

#: What can come of an attempt, as counted in ``deliveries:message:<outcome>``; the last one of a buried message is a
#: ``dead_letter``, however it failed.
OUTCOMES = ("success", "failure", "timed_out", "dead_letter")
_DELIVERIES = "deliveries:message:"
_DEAD = "dead:"


def bucket(bounds: Sequence[int], value_ms: float) -> str:
    """Return the name of the one bucket that counts ``value_ms``: the first bound not below it, or ``inf``."""
    index = bisect_left(bounds, value_ms)
    return str(bounds[index]) if index < len(bounds) else "inf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All there is to expose at one moment. The store's parts are ``None`` while it cannot be reached.

    ``counters`` are the whole deployment's, the rest of the numbers this process's.
    """

    version: str
    counters: Mapping[str, int] | None
    pending: int | None
    leased: int | None
    dead: int | None
    oldest_overdue_seconds: float | None
    uptime_seconds: float
    loop_lag_seconds: float
    window_entries: int
    in_flight: int


def exposition(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """Return the exposition and its content type: OpenMetrics where ``accept`` names it, else Prometheus' text."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(snapshot))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[Metric]:
        # Otherwise registering would collect once to learn the names.
        return iter(())

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        build = GaugeMetricFamily("aioscheduler_build_info", "The version that runs.", labels=["version"])
        build.add_metric([snapshot.version], 1)
        yield build
        yield _gauge("store_up", "1 when the store answers, else 0.", int(snapshot.counters is not None))
        yield _gauge("uptime_seconds", "How long this process has been running.", snapshot.uptime_seconds)
        yield _gauge("loop_lag_seconds", "How late this process's event loop ran last.", snapshot.loop_lag_seconds)
        yield _gauge("window_entries", "Due times this process holds in memory.", snapshot.window_entries)
        yield _gauge("in_flight", "Requests to webhooks this process has on the wire.", snapshot.in_flight)
        if snapshot.counters is not None:
            yield from _levels(snapshot)
            yield from _counted(snapshot.counters)


def _levels(snapshot: Snapshot) -> Iterator[Metric]:
    for name, text, value in (
        ("messages_pending", "Messages not yet delivered, those being delivered included.", snapshot.pending),
        ("messages_leased", "Messages being delivered.", snapshot.leased),
        ("dead_letters", "Messages that will not be attempted any more.", snapshot.dead),
        (
            "oldest_overdue_seconds",
            "For how long the earliest due message has been waiting for its attempt.",
            snapshot.oldest_overdue_seconds,
        ),
    ):
        if value is not None:
            yield _gauge(name, text, value)


def _counted(counters: Mapping[str, int]) -> Iterator[Metric]:
    for name, counter, text in (
        ("messages_scheduled", "scheduled", "Messages accepted under a new id."),
        ("messages_replaced", "replaced", "Messages that took the place of an older version."),
        ("messages_deleted", "deleted", "Messages deleted by clients."),
        ("messages_replayed", "replayed", "Dead letters scheduled again."),
        ("messages_adopted", "adopted", "Messages written to the store by others."),
        ("leases_recovered", "recovered", "Leases given back after their replica died."),
        ("fired_early", "fired_early", "Requests that left before they were due; stays 0."),
    ):
        yield CounterMetricFamily(f"aioscheduler_{name}", text, value=counters.get(counter, 0))
    deliveries = CounterMetricFamily(
        "aioscheduler_deliveries", "Attempts by what came of them.", labels=["kind", "outcome"]
    )
    for outcome in OUTCOMES:
        deliveries.add_metric(["message", outcome], counters.get(_DELIVERIES + outcome, 0))
    yield deliveries
    dead = CounterMetricFamily("aioscheduler_dead_letters_created", "Messages buried, by reason.", labels=["reason"])
    yield dead
    for name, value in sorted(counters.items()):
        if name.startswith(_DEAD):
            dead.add_metric([name.removeprefix(_DEAD)], value)
    yield _histogram("lateness", LATENESS_BOUNDS_MS, counters, "From the due instant until the request left.")
    yield _histogram("duration", DURATION_BOUNDS_MS, counters, "From the start of an attempt until its end.")


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"aioscheduler_{name}", text, value=value)


def _histogram(name: str, bounds: Sequence[int], counters: Mapping[str, int], text: str) -> Metric:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound in bounds:
        total += counters.get(f"{name}_ms:le:{bound}", 0)
        buckets.append((str(bound / 1000), total))
    buckets.append(("+Inf", total + counters.get(f"{name}_ms:le:inf", 0)))
    seconds = counters.get(f"{name}_us:sum", 0) / 1_000_000
    return HistogramMetricFamily(f"aioscheduler_delivery_{name}_seconds", text, buckets=buckets, sum_value=seconds)


def summary(counters: Mapping[str, int]) -> dict[str, int | float | None]:
    """Return the counters as the JSON of ``/metrics`` tells them; rates in per cent, durations in milliseconds.

    Every attempt that ended counts once, the last one of a buried message as ``dead_letter`` however it failed.
    ``success_rate`` is among these, ``None`` before the first.
    """
    outcomes = {outcome: counters.get(_DELIVERIES + outcome, 0) for outcome in OUTCOMES}
    ended = sum(outcomes.values())
    return {
        "scheduled": counters.get("scheduled", 0),
        "replaced": counters.get("replaced", 0),
        "deleted": counters.get("deleted", 0),
        "replayed": counters.get("replayed", 0),
        "adopted": counters.get("adopted", 0),
        "recovered": counters.get("recovered", 0),
        "delivered": outcomes["success"],
        **outcomes,
        "success_rate": round(100 * outcomes["success"] / ended, 2) if ended else None,
        "avg_duration_ms": _mean("duration", DURATION_BOUNDS_MS, counters),
        "avg_lateness_ms": _mean("lateness", LATENESS_BOUNDS_MS, counters),
        "fired_early": counters.get("fired_early", 0),
    }


def _mean(name: str, bounds: Sequence[int], counters: Mapping[str, int]) -> float | None:
    count = sum(counters.get(f"{name}_ms:le:{bound}", 0) for bound in (*bounds, "inf"))
    return round(counters.get(f"{name}_us:sum", 0) / 1000 / count, 3) if count else None
