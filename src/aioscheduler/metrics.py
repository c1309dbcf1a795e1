"""Names and bounds of what is counted, and the Prometheus exposition of it. No HTTP.

Counters belong to the deployment and live in the store, by the names here; gauges of this process come in with
:class:`Snapshot`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

#: Upper bounds of the histograms' buckets, in milliseconds, inclusive.
LATENESS_BOUNDS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000, 60_000, 300_000)
DURATION_BOUNDS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)

#: What can come of an attempt, as counted in ``deliveries:<kind>:<outcome>``; the last one of what is buried then is a
#: ``dead_letter``, however it failed.
OUTCOMES = ("success", "failure", "timed_out", "dead_letter")
KINDS = ("message", "execution")
#: How what was planned can end, as ``GET /audit`` tells it.
HOWS = ("delivered", "dead", "deleted", "replaced", "missed")
#: How the counters of executions begin, by the family of their jobs.
_FAMILIES = {"account": "executions", "bot": "bot_runs"}
#: How an execution can end, as counted in ``executions:<status>`` and ``bot_runs:<status>``.
ENDS = (*OUTCOMES, "skipped")
#: Why an occurrence is skipped, as counted in ``skipped:<reason>``.
SKIP_REASONS = ("max_instances", "misfire", "coalesced")
#: Why something is buried, as counted in ``dead:<reason>``.
DEAD_REASONS = ("retries_exhausted", "missed_window", "invalid_record", "rejected_by_policy", "gone")
_DEAD = "dead:"
#: What is told of punctuality.
FIGURES = ("p50", "p99", "p999", "worst")


def bucket(bounds: Sequence[int], value_ms: float) -> str:
    """Return the name of the one bucket that counts ``value_ms``: the first bound not below it, or ``inf``."""
    index = bisect_left(bounds, value_ms)
    return str(bounds[index]) if index < len(bounds) else "inf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Jobs that belong together, and their executions; ``+`` adds those of others.

    ``ended`` counts by :data:`ENDS`, and may lack what never was. ``duration_ms`` is that of all ``attempts`` together.
    """

    jobs: int = 0
    enabled: int = 0
    queued: int = 0
    running: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    duration_ms: float = 0.0
    attempts: int = 0

    def __add__(self, other: Family) -> Family:
        return Family(
            jobs=self.jobs + other.jobs,
            enabled=self.enabled + other.enabled,
            queued=self.queued + other.queued,
            running=self.running + other.running,
            ended={status: self.ended.get(status, 0) + other.ended.get(status, 0) for status in ENDS},
            duration_ms=self.duration_ms + other.duration_ms,
            attempts=self.attempts + other.attempts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All there is to expose at one moment. The store's parts are ``None`` while it cannot be reached.

    These, from ``counters`` to ``punctuality``, are the whole deployment's; the rest of the numbers this process's.
    ``audit`` has the account of each of :data:`KINDS`, ``punctuality`` by kind, or ``all``, and window how many first
    attempts there were and how late, in ms, for each of :data:`FIGURES`, ``None`` without any. ``worker`` is the number
    of this process where several share a port: a label tells its gauges from theirs then, since a scrape gets to any of
    them.
    """

    version: str
    counters: Mapping[str, int] | None
    pending: int | None
    leased: int | None
    dead: int | None
    oldest_overdue_seconds: float | None
    accounts: Family | None
    bots: Family | None
    audit: Mapping[str, Mapping[str, int]] | None
    punctuality: Mapping[tuple[str, str], Mapping[str, int | float | None]] | None
    store_risks: int
    uptime_seconds: float
    loop_lag_seconds: float
    window_entries: int
    in_flight: int
    punctuality_target_ms: int = 0
    punctuality_breached: bool = False
    circuits_open: int = 0
    circuits_opened: int = 0
    worker: int | None = None


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
        yield from _own(snapshot)
        if snapshot.counters is not None:
            yield from _levels(snapshot)
            yield from _recurring({"account": snapshot.accounts, "bot": snapshot.bots})
            yield from _counted(snapshot.counters)
        if snapshot.audit is not None:
            yield from _accounted(snapshot.audit)
        if snapshot.punctuality is not None:
            yield from _punctual(snapshot.punctuality)
            target_s = snapshot.punctuality_target_ms / 1000
            yield _gauge(
                "punctuality_target_seconds", "What p99 of the last minute should be at most; 0: any.", target_s
            )
            yield _gauge("punctuality_breached", "1 while it is more, else 0.", int(snapshot.punctuality_breached))


def _own(snapshot: Snapshot) -> Iterator[Metric]:
    """What only this process can tell."""
    labels = {} if snapshot.worker is None else {"worker": str(snapshot.worker)}
    for name, text, value in (
        ("store_up", "1 when the store answers, else 0.", int(snapshot.counters is not None)),
        ("store_risks", "In how many ways the store could lose what it accepted.", snapshot.store_risks),
        ("uptime_seconds", "How long this process has been running.", snapshot.uptime_seconds),
        ("loop_lag_seconds", "How late this process's event loop ran last.", snapshot.loop_lag_seconds),
        ("window_entries", "Due times this process holds in memory.", snapshot.window_entries),
        ("in_flight", "Requests to webhooks this process has on the wire.", snapshot.in_flight),
        ("circuits_open", "Destinations this process leaves alone because they fail.", snapshot.circuits_open),
    ):
        gauge = GaugeMetricFamily(f"aioscheduler_{name}", text, labels=list(labels))
        gauge.add_metric(list(labels.values()), value)
        yield gauge
    opened = CounterMetricFamily(
        "aioscheduler_circuits_opened",
        "How many times this process began to leave a destination alone.",
        labels=list(labels),
    )
    opened.add_metric(list(labels.values()), snapshot.circuits_opened)
    yield opened


def _levels(snapshot: Snapshot) -> Iterator[Metric]:
    for name, text, value in (
        ("messages_pending", "Messages not yet delivered, those being delivered included.", snapshot.pending),
        ("messages_leased", "Messages being delivered.", snapshot.leased),
        ("dead_letters", "Messages and executions that will not be attempted any more.", snapshot.dead),
        (
            "oldest_overdue_seconds",
            "For how long the earliest due message has been waiting for its attempt.",
            snapshot.oldest_overdue_seconds,
        ),
    ):
        if value is not None:
            yield _gauge(name, text, value)


def _recurring(families: Mapping[str, Family | None]) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("aioscheduler_jobs", "Recurring jobs.", labels=["family", "state"])
    queued = GaugeMetricFamily(
        "aioscheduler_executions_queued", "Executions that are due, or wait for their time.", labels=["family"]
    )
    running = GaugeMetricFamily("aioscheduler_executions_running", "Executions that go on.", labels=["family"])
    for name, family in families.items():
        if family is not None:
            jobs.add_metric([name, "enabled"], family.enabled)
            jobs.add_metric([name, "disabled"], family.jobs - family.enabled)
            queued.add_metric([name], family.queued)
            running.add_metric([name], family.running)
    yield from (jobs, queued, running)


def _accounted(audit: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    planned = CounterMetricFamily(
        "aioscheduler_planned", "Messages, and executions of jobs' webhooks and bots, that were to be.", labels=["kind"]
    )
    ended = CounterMetricFamily("aioscheduler_ended", "What became of them.", labels=["kind", "how"])
    difference = GaugeMetricFamily(
        "aioscheduler_audit_difference",
        "How many of the planned neither ended nor are pending; 0, or the store lost something.",
        labels=["kind"],
    )
    for kind, account in audit.items():
        planned.add_metric([kind], account["planned"])
        for how in HOWS:
            ended.add_metric([kind, how], account[how])
        difference.add_metric([kind], account["difference"])
    yield from (planned, ended, difference)


def _punctual(found: Mapping[tuple[str, str], Mapping[str, int | float | None]]) -> Iterator[Metric]:
    lateness = GaugeMetricFamily(
        "aioscheduler_punctuality_seconds",
        "How late first attempts left that ended in the last minute, hour or day.",
        labels=["kind", "window", "figure"],
    )
    deliveries = GaugeMetricFamily(
        "aioscheduler_punctuality_deliveries", "How many of these there were.", labels=["kind", "window"]
    )
    for (kind, window), figures in found.items():
        deliveries.add_metric([kind, window], figures["deliveries"] or 0)
        for figure in FIGURES:
            value = figures[f"{figure}_ms"]
            if value is not None:
                lateness.add_metric([kind, window, figure], value / 1000)
    yield from (lateness, deliveries)


def _counted(counters: Mapping[str, int]) -> Iterator[Metric]:
    for name, counter, text in (
        ("messages_scheduled", "scheduled", "Messages accepted under a new id."),
        ("messages_replaced", "replaced", "Messages that took the place of an older version."),
        ("messages_deleted", "deleted", "Messages deleted by clients."),
        ("messages_replayed", "replayed", "Dead letters scheduled again."),
        ("messages_adopted", "adopted", "Messages written to the store by others."),
        ("leases_recovered", "recovered", "Leases given back after their replica died."),
        ("fired_early", "fired_early", "Requests that left before they were due; stays 0."),
        ("runs", "jobs:fired", "Runs of jobs that were made."),
        ("jobs_mended", "jobs:mended", "Jobs found without a next run, which got one; stays 0."),
    ):
        yield CounterMetricFamily(f"aioscheduler_{name}", text, value=counters.get(counter, 0))
    deliveries = CounterMetricFamily(
        "aioscheduler_deliveries", "Attempts by what came of them.", labels=["kind", "outcome"]
    )
    for kind in KINDS:
        for outcome in OUTCOMES:
            deliveries.add_metric([kind, outcome], counters.get(f"deliveries:{kind}:{outcome}", 0))
    yield deliveries
    executions = CounterMetricFamily(
        "aioscheduler_executions", "Executions that ended, by how.", labels=["family", "status"]
    )
    for family, prefix in _FAMILIES.items():
        for status in ENDS:
            executions.add_metric([family, status], counters.get(f"{prefix}:{status}", 0))
    yield executions
    skipped = CounterMetricFamily("aioscheduler_runs_skipped", "Occurrences that were not run.", labels=["reason"])
    for reason in SKIP_REASONS:
        skipped.add_metric([reason], counters.get(f"skipped:{reason}", 0))
    yield skipped
    dead = CounterMetricFamily(
        "aioscheduler_dead_letters_created", "Messages and executions buried, by reason.", labels=["reason"]
    )
    found = {name.removeprefix(_DEAD): value for name, value in counters.items() if name.startswith(_DEAD)}
    # Also those there are none of: an increase from nothing at all is seen by no alert.
    for reason, value in sorted({**dict.fromkeys(DEAD_REASONS, 0), **found}.items()):
        dead.add_metric([reason], value)
    yield dead
    yield _histogram("lateness", LATENESS_BOUNDS_MS, counters, "From the due instant until the request left.")
    yield _histogram("duration", DURATION_BOUNDS_MS, counters, "From the start of an attempt until its end.")
    took = SummaryMetricFamily(
        "aioscheduler_execution_duration_seconds", "The same of executions alone, bots' too.", labels=["family"]
    )
    for family, prefix in _FAMILIES.items():
        seconds = counters.get(f"{prefix}:duration_us:sum", 0) / 1_000_000
        took.add_metric([family], count_value=counters.get(f"{prefix}:attempts", 0), sum_value=seconds)
    yield took


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
    """Return messages' counters as the JSON of ``/metrics`` tells them; rates in per cent, durations in milliseconds.

    Every attempt that ended counts once, the last one of a buried message as ``dead_letter`` however it failed.
    ``success_rate`` is among these, ``None`` before the first.
    """
    outcomes = {outcome: counters.get(f"deliveries:message:{outcome}", 0) for outcome in OUTCOMES}
    return {
        "scheduled": counters.get("scheduled", 0),
        "replaced": counters.get("replaced", 0),
        "deleted": counters.get("deleted", 0),
        "replayed": counters.get("replayed", 0),
        "adopted": counters.get("adopted", 0),
        "recovered": counters.get("recovered", 0),
        "delivered": outcomes["success"],
        **outcomes,
        "success_rate": _success_rate(outcomes),
        "avg_duration_ms": _mean("duration", DURATION_BOUNDS_MS, counters),
        "avg_lateness_ms": _mean("lateness", LATENESS_BOUNDS_MS, counters),
        "fired_early": counters.get("fired_early", 0),
    }


def jobs_summary(family: Family) -> dict[str, int]:
    """Return how many jobs there are, as the JSON of ``/metrics`` tells it."""
    return {"total": family.jobs, "enabled": family.enabled, "disabled": family.jobs - family.enabled}


def executions_summary(family: Family) -> dict[str, int | float | None]:
    """Return how executions stand and how they ended, likewise.

    ``total`` has all but the skipped, and ``success_rate`` is among those that ended: a skipped one never began.
    """
    finished = {status: family.ended.get(status, 0) for status in OUTCOMES}
    return {
        "total": family.queued + family.running + sum(finished.values()),
        "queued": family.queued,
        "running": family.running,
        **finished,
        "skipped": family.ended.get("skipped", 0),
        "success_rate": _success_rate(finished),
        "avg_duration_ms": round(family.duration_ms / family.attempts, 3) if family.attempts else None,
    }


def bot_runs_summary(family: Family) -> dict[str, int | float | None]:
    """Return the same of bots' runs, which just fail, however they do."""
    told = executions_summary(family)
    failed = sum(told.pop(status) or 0 for status in ("failure", "timed_out", "dead_letter"))
    return {**told, "failed": failed}


def _success_rate(finished: Mapping[str, int]) -> float | None:
    total = sum(finished.values())
    return round(100 * finished["success"] / total, 2) if total else None


def _mean(name: str, bounds: Sequence[int], counters: Mapping[str, int]) -> float | None:
    """Return the mean of messages' attempts: the histograms count those of executions too."""
    count = sum(counters.get(f"{name}_ms:le:{bound}", 0) for bound in (*bounds, "inf"))
    count -= counters.get("executions:delivered", 0)
    sum_us = counters.get(f"{name}_us:sum", 0) - counters.get(f"executions:{name}_us:sum", 0)
    return round(sum_us / 1000 / count, 3) if count > 0 else None
