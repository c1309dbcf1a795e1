"""What happens when: the minutes that have passed, and what is to come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from aioscheduler.api.context import CONTEXT
from aioscheduler.api.messages import load_query
from aioscheduler.api.punctuality import rounded
from aioscheduler.api.respond import answer
from aioscheduler.api.schemas.query import ActivityQuery, TimelineQuery
from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.instant import instant_or_day, with_offset
from aioscheduler.errors import InvalidInput, Sentence

ACTIVITY, TIMELINE = ActivityQuery(), TimelineQuery()
_DEFAULT_STRETCH: Final = timedelta(hours=1)


async def activity(request: web.Request) -> web.Response:
    """``GET /activity``"""
    context = request.app[CONTEXT]
    zone = context.config.zone
    minutes = await context.store.activity(load_query(ACTIVITY, request)["minutes"])
    return answer(
        {
            "minutes": [
                {
                    "at": with_offset(minute.at, zone),
                    "deliveries": minute.attempts,
                    "failures": minute.failures,
                    "latenessP50Ms": rounded(minute.p50_ms),
                    "latenessP99Ms": rounded(minute.p99_ms),
                }
                for minute in minutes
            ],
            "timestamp": with_offset(context.clock.now(), zone),
        }
    )


async def timeline(request: web.Request) -> web.Response:
    """``GET /messages/timeline``"""
    context = request.app[CONTEXT]
    zone = context.config.zone
    query = load_query(TIMELINE, request)
    given = [instant_or_day(query[name], zone, name) if query[name] else None for name in ("from", "to")]
    since = given[0] or context.clock.now()
    edges = _edges(since, given[1] or _later(since), query["buckets"])
    found = await context.store.timeline(edges)
    (before, *messages, after), (_, *jobs, _) = found.messages, found.jobs
    return answer(
        {
            "from": with_offset(edges[0], zone),
            "to": with_offset(edges[-1], zone),
            "before": before,
            "after": after,
            "buckets": [
                {"at": with_offset(at, zone), "count": count, "jobs": runs}
                for at, count, runs in zip(edges[:-1], messages, jobs, strict=True)
            ],
        }
    )


def _later(since: datetime) -> datetime:
    try:
        return since + _DEFAULT_STRETCH
    except OverflowError as error:
        raise InvalidInput.of("to", Sentence("must be later than {name}", name="from")) from error


def _edges(since: datetime, until: datetime, buckets: int) -> list[datetime]:
    """Return where stretches of the same length begin, and where the last one ends, in whole milliseconds.

    :raises InvalidInput: there is not a millisecond for each
    """
    first, last = to_ms(since), to_ms(until)
    if last - first < buckets:
        raise InvalidInput.of("to", Sentence("must be later than {name}", name="from"))
    return [from_ms(first + (last - first) * number // buckets) for number in range(buckets + 1)]
