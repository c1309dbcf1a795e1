"""Health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from aiohttp import hdrs, web

from aioscheduler.api.audit import shown
from aioscheduler.api.auth import principal
from aioscheduler.api.context import CONTEXT, Context
from aioscheduler.api.health import Census
from aioscheduler.api.i18n import translate, word
from aioscheduler.api.punctuality import as_json, figures_of
from aioscheduler.api.punctuality import shown as punctuality_shown
from aioscheduler.api.respond import answer, language
from aioscheduler.domain.instant import rfc3339_ms
from aioscheduler.domain.job import BOTS, Owner
from aioscheduler.domain.punctuality import Figures, Window
from aioscheduler.errors import Forbidden, Sentence, StoreUnavailable
from aioscheduler.metrics import (
    Family,
    Snapshot,
    bot_runs_summary,
    executions_summary,
    exposition,
    jobs_summary,
    summary,
)
from aioscheduler.store.base import Counts

#: How many open circuits health names.
_MOST_CIRCUITS: Final = 100
_TEXT_TYPES = ("text/plain", "application/openmetrics-text")


async def health(request: web.Request) -> web.Response:
    """``GET /health``"""
    context = request.app[CONTEXT]
    speech = language(request)
    census = await context.probe.census()
    running = context.engine.running
    healthy = census is not None and running
    return answer(
        {
            "status": word("healthy" if healthy else "unhealthy", speech),
            "service": "scheduler",
            "redis": word("connected" if census is not None else "disconnected", speech),
            "scheduler": word("running" if running else "stopped", speech),
            "store": context.store.kind,
            **_common(context, census),
        },
        200 if healthy else 503,
    )


async def detailed_health(request: web.Request) -> web.Response:
    """``GET /health/detailed``"""
    context = request.app[CONTEXT]
    speech = language(request)
    probe = context.probe
    census, report, last_minute, replicas = await asyncio.gather(
        probe.census(), probe.report(), probe.last_minute(), probe.replicas()
    )
    engine = context.engine
    healthy = report is not None and engine.listening and engine.running
    return answer(
        {
            "status": word("healthy" if healthy else "unhealthy", speech),
            "service": "scheduler",
            "database": word("connected" if report is not None else "disconnected", speech),
            "redis": word("connected" if engine.listening else "disconnected", speech),
            "scheduler_service": word("running" if engine.running else "stopped", speech),
            **_common(context, census),
            "timezone": context.config.zone.key,
            "replicas": replicas,
            "worker": context.config.worker,
            "in_flight": engine.in_flight,
            "window_entries": engine.window_size,
            "loop_lag_ms": round(engine.loop_lag_seconds * 1000, 3),
            "circuits_open": engine.circuits_open[:_MOST_CIRCUITS],
            "punctuality": None if last_minute is None else _punctuality(context, last_minute),
            "store": None
            if report is None
            else {
                "kind": report.kind,
                "version": report.version,
                "persistence": report.persistence,
                "used_memory_bytes": report.used_memory_bytes,
                "risks": [translate(risk, speech) for risk in report.risks],
            },
        },
        200 if healthy else 503,
    )


def _punctuality(context: Context, last_minute: Figures) -> dict[str, Any]:
    target_ms = context.config.punctuality_target_ms
    told = as_json(last_minute)
    return {
        "target_ms": target_ms,
        "breached": last_minute.breaches(target_ms),
        "deliveries": told["deliveries"],
        "p99_ms": told["p99_ms"],
    }


async def scheduler_health(request: web.Request) -> web.Response:
    """``GET /scheduler/health``"""
    context = request.app[CONTEXT]
    census = await context.probe.census()
    running = context.engine.running
    healthy = census is not None and running
    return answer(
        {
            "status": word("healthy" if healthy else "unhealthy", language(request)),
            "scheduler_running": running,
            "redis_connected": census is not None,
            "total_jobs": None if census is None else census.bot_jobs.total,
            "enabled_jobs": None if census is None else census.bot_jobs.enabled,
        },
        200 if healthy else 503,
    )


def _common(context: Context, census: Census | None) -> dict[str, Any]:
    return {
        "scheduled_jobs": None if census is None else census.scheduled,
        "uptime": readable_duration(context.clock.monotonic() - context.started_at),
        "version": context.config.version,
    }


def readable_duration(seconds: float) -> str:
    """Return ``2h 34m 12s``; hours are not folded into days."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}h {minute}m {second}s"


async def metrics(request: web.Request) -> web.Response:
    """``GET /metrics``: JSON, or what Prometheus reads where ``Accept`` asks for it.

    An account gets what is its own, as JSON.
    """
    context = request.app[CONTEXT]
    accounts = principal(request).accounts
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, ()))
    if wants_text(accept):
        if accounts is not None:
            raise Forbidden(
                Sentence("Prometheus reads the whole deployment's metrics, which takes the API_TOKEN; ask for JSON.")
            )
        body, content_type = exposition(await _snapshot(context), accept)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-store"})
    told = {"timestamp": rfc3339_ms(context.clock.now())}
    if accounts is not None:
        return answer(told | _recurring(await _sum(context, accounts)))
    counters, counts, family, bots, audit, punctuality = await asyncio.gather(
        context.store.counters(),
        context.store.counts(),
        _family(context, None),
        _family(context, BOTS),
        context.store.audit(),
        context.store.punctuality(tuple(Window)),
    )
    return answer(
        told
        | _recurring(family)
        | {
            "messages": {
                **summary(counters),
                "pending": counts.messages,
                "leased": counts.leased,
                "dead": counts.dead,
                "oldest_overdue_seconds": _overdue_seconds(context, counts),
            },
            "bot_jobs": {**jobs_summary(bots), "runs": bot_runs_summary(bots)},
            "audit": {"messages": shown(audit.messages), "executions": shown(audit.executions)},
            "punctuality": punctuality_shown(context, punctuality),
        }
    )


def _recurring(family: Family) -> dict[str, Any]:
    return {"jobs": jobs_summary(family), "executions": executions_summary(family)}


async def _sum(context: Context, accounts: Iterable[Owner]) -> Family:
    # One after the other: a token may name hundreds.
    total = Family()
    for account in sorted(accounts):
        total += await _family(context, account)
    return total


async def _family(context: Context, owner: Owner | None) -> Family:
    jobs, executions = await asyncio.gather(context.jobs.job_counts(owner), context.jobs.execution_counts(owner))
    return Family(
        jobs=jobs.total,
        enabled=jobs.enabled,
        queued=executions.queued,
        running=executions.running,
        ended={status.value: count for status, count in executions.ended.items()},
        duration_ms=executions.duration_ms,
        attempts=executions.attempts,
    )


async def _snapshot(context: Context) -> Snapshot:
    engine = context.engine
    counters, counts, accounts, bots, audit, punctuality = None, None, None, None, None, None
    # A scraper learns more from store_up 0 than from an error.
    with suppress(StoreUnavailable):
        counters, counts, accounts, bots, audit, punctuality = await asyncio.gather(
            context.store.counters(),
            context.store.counts(),
            _family(context, None),
            _family(context, BOTS),
            context.store.audit(),
            context.store.punctuality(tuple(Window)),
        )
    figures = None if punctuality is None else {window: figures_of(its) for window, its in punctuality.items()}
    target_ms = context.config.punctuality_target_ms
    return Snapshot(
        version=context.config.version,
        counters=counters,
        pending=None if counts is None else counts.messages,
        leased=None if counts is None else counts.leased,
        dead=None if counts is None else counts.dead,
        oldest_overdue_seconds=None if counts is None else _overdue_seconds(context, counts),
        accounts=accounts,
        bots=bots,
        audit=None if audit is None else {"message": shown(audit.messages), "execution": shown(audit.executions)},
        punctuality=None
        if figures is None
        else {(kind, window.value): as_json(its) for window, kinds in figures.items() for kind, its in kinds.items()},
        punctuality_target_ms=target_ms,
        punctuality_breached=figures is not None and figures[Window.MINUTE]["all"].breaches(target_ms),
        store_risks=engine.store_risks,
        uptime_seconds=context.clock.monotonic() - context.started_at,
        loop_lag_seconds=engine.loop_lag_seconds,
        window_entries=engine.window_size,
        in_flight=engine.in_flight,
        circuits_open=len(engine.circuits_open),
        circuits_opened=engine.circuits_opened,
        worker=context.config.worker,
    )


def _overdue_seconds(context: Context, counts: Counts) -> float:
    if counts.oldest_due_at is None:
        return 0.0
    return max(0.0, round((context.clock.now() - counts.oldest_due_at).total_seconds(), 3))


def wants_text(accept: str) -> bool:
    """Say whether ``Accept`` likes a text format better than JSON; a tie goes to JSON."""
    text = json = 0.0
    for item in accept.split(","):
        kind, _, parameters = item.partition(";")
        kind = kind.strip().lower()
        if kind in _TEXT_TYPES:
            text = max(text, _weight(parameters))
        elif kind == "application/json":
            json = max(json, _weight(parameters))
    return text > json


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
