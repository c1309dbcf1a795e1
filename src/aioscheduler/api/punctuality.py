"""How punctual the deployment is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final

from aiohttp import web

from aioscheduler.api.context import CONTEXT, Context
from aioscheduler.api.respond import answer
from aioscheduler.domain.instant import with_offset
from aioscheduler.domain.punctuality import Figures, Window
from aioscheduler.domain.target import Destination
from aioscheduler.store.base import Punctuality

#: How many destinations each list names.
_MOST_DESTINATIONS: Final = 20


async def punctuality(request: web.Request) -> web.Response:
    """``GET /punctuality``"""
    context = request.app[CONTEXT]
    zone = context.config.zone
    found = await context.store.punctuality(tuple(Window))
    told = shown(context, found)
    for window in Window:
        latest = await context.store.latest(window)
        figures = {place: lateness.figures() for place, lateness in latest.destinations.items()}
        told[window.value] = {
            "from": with_offset(found[window].since, zone),
            **told[window.value],
            "destinations": {
                "from": with_offset(latest.since, zone),
                "by_worst": _worst(figures, lambda its: its.worst_ms or 0.0),
                "by_p99": _worst(figures, lambda its: its.p99_ms or 0.0),
            },
        }
    return answer({**told, "timestamp": with_offset(context.clock.now(), zone)})


def shown(context: Context, found: Mapping[Window, Punctuality]) -> dict[str, Any]:
    """Return what answers tell of all windows: the target, whether the last minute breaches it, and the figures."""
    told: dict[str, Any] = {"target_ms": context.config.punctuality_target_ms, "breached": False}
    for window, its in found.items():
        kinds = figures_of(its)
        if window is Window.MINUTE:
            told["breached"] = kinds["all"].breaches(context.config.punctuality_target_ms)
        told[window.value] = {
            **as_json(kinds["all"]),
            "messages": as_json(kinds["message"]),
            "executions": as_json(kinds["execution"]),
        }
    return told


def figures_of(found: Punctuality) -> dict[str, Figures]:
    """Return the figures of all together, and by kind."""
    return {
        "all": (found.messages + found.executions).figures(),
        "message": found.messages.figures(),
        "execution": found.executions.figures(),
    }


def as_json(figures: Figures) -> dict[str, int | float | None]:
    """Return figures as answers tell them."""
    return {
        "deliveries": figures.deliveries,
        "p50_ms": rounded(figures.p50_ms),
        "p99_ms": rounded(figures.p99_ms),
        "p999_ms": rounded(figures.p999_ms),
        "worst_ms": rounded(figures.worst_ms),
    }


def rounded(value: float | None) -> float | None:
    """Return milliseconds as answers tell them."""
    return None if value is None else round(value, 3)


def _worst(figures: Mapping[Destination, Figures], by: Callable[[Figures], float]) -> list[dict[str, Any]]:
    ranked = sorted(((by(its), place, its) for place, its in figures.items()), key=itemgetter(0), reverse=True)
    return [{"destination": place, **as_json(its)} for _, place, its in ranked[:_MOST_DESTINATIONS]]
