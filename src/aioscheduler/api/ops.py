"""Health and metrics."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aiohttp import hdrs, web

from aioscheduler.api.context import CONTEXT, Context
from aioscheduler.api.i18n import word
from aioscheduler.api.respond import answer, language
from aioscheduler.domain.instant import rfc3339_ms
from aioscheduler.errors import StoreUnavailable
from aioscheduler.metrics import Snapshot, exposition, summary
from aioscheduler.store.base import Counts

_TEXT_TYPES = ("text/plain", "application/openmetrics-text")


async def health(request: web.Request) -> web.Response:
    """``GET /health``"""
    context = request.app[CONTEXT]
    speech = language(request)
    counts = await context.probe.counts()
    running = context.engine.running
    healthy = counts is not None and running
    return answer(
        {
            "status": word("healthy" if healthy else "unhealthy", speech),
            "service": "scheduler",
            "redis": word("connected" if counts is not None else "disconnected", speech),
            "scheduler": word("running" if running else "stopped", speech),
            "store": context.store.kind,
            **_common(context, counts),
        },
        200 if healthy else 503,
    )


async def detailed_health(request: web.Request) -> web.Response:
    """``GET /health/detailed``"""
    context = request.app[CONTEXT]
    speech = language(request)
    counts, report = await asyncio.gather(context.probe.counts(), context.probe.report())
    engine = context.engine
    healthy = report is not None and engine.listening and engine.running
    return answer(
        {
            "status": word("healthy" if healthy else "unhealthy", speech),
            "service": "scheduler",
            "database": word("connected" if report is not None else "disconnected", speech),
            "redis": word("connected" if engine.listening else "disconnected", speech),
            "scheduler_service": word("running" if engine.running else "stopped", speech),
            **_common(context, counts),
            "in_flight": engine.in_flight,
            "window_entries": engine.window_size,
            "loop_lag_ms": round(engine.loop_lag_seconds * 1000, 3),
            "store": None
            if report is None
            else {
                "kind": report.kind,
                "version": report.version,
                "persistence": report.persistence,
                "used_memory_bytes": report.used_memory_bytes,
                "risks": report.risks,
            },
        },
        200 if healthy else 503,
    )


def _common(context: Context, counts: Counts | None) -> dict[str, Any]:
    return {
        "scheduled_jobs": None if counts is None else counts.messages,
        "uptime": readable_duration(context.clock.monotonic() - context.started_at),
        "version": context.config.version,
    }


def readable_duration(seconds: float) -> str:
    """Return ``2h 34m 12s``; hours are not folded into days."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}h {minute}m {second}s"


async def metrics(request: web.Request) -> web.Response:
    """``GET /metrics``: JSON, or what Prometheus reads where ``Accept`` asks for it."""
    context = request.app[CONTEXT]
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, ()))
    if wants_text(accept):
        body, content_type = exposition(await _snapshot(context), accept)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-store"})
    counters, counts = await asyncio.gather(context.store.counters(), context.store.counts())
    return answer(
        {
            "timestamp": rfc3339_ms(context.clock.now()),
            "messages": {
                **summary(counters),
                "pending": counts.messages,
                "leased": counts.leased,
                "dead": counts.dead,
                "oldest_overdue_seconds": _overdue_seconds(context, counts),
            },
        }
    )


async def _snapshot(context: Context) -> Snapshot:
    engine = context.engine
    counters, counts = None, None
    # A scraper learns more from store_up 0 than from an error.
    with suppress(StoreUnavailable):
        counters, counts = await asyncio.gather(context.store.counters(), context.store.counts())
    return Snapshot(
        version=context.config.version,
        counters=counters,
        pending=None if counts is None else counts.messages,
        leased=None if counts is None else counts.leased,
        dead=None if counts is None else counts.dead,
        oldest_overdue_seconds=None if counts is None else _overdue_seconds(context, counts),
        uptime_seconds=context.clock.monotonic() - context.started_at,
        loop_lag_seconds=engine.loop_lag_seconds,
        window_entries=engine.window_size,
        in_flight=engine.in_flight,
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
