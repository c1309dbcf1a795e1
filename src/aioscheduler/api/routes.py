"""Every route there is: method, path, handler, who may call it, and what goes in and comes out.

The application and the OpenAPI document are both built from :data:`ROUTES`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler
from marshmallow import Schema

from aioscheduler.api import (
    activity,
    audit,
    bots,
    dashboard,
    dead_letters,
    deliveries,
    docs_pages,
    events,
    executions,
    inbox,
    jobs,
    messages,
    ops,
    punctuality,
    webhooks,
)
from aioscheduler.api.auth import Access
from aioscheduler.api.schemas import bots as bot_shapes
from aioscheduler.api.schemas import jobs as job_shapes
from aioscheduler.api.schemas import messages as shapes
from aioscheduler.api.schemas import ops as ops_shapes
from aioscheduler.api.schemas import query as queries

JsonHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path.

    ``path`` has its place as ``{id}`` or ``{any}``, which match slashes too, or under another name, which does not.
    ``request`` describes the JSON body, if there is one; ``responses`` those that are not errors, with ``None`` for one
    that has no body. ``errors`` are the statuses this route adds to those that any route with its access can answer.
    ``invalid_status`` is its family's status for illegal input.
    """

    method: str
    path: str
    handler: JsonHandler
    summary: str
    tag: str
    access: Access = Access.TOKEN
    request: type[Schema] | None = None
    request_required: bool = True
    query: type[Schema] | None = None
    responses: Mapping[int, type[Schema] | Schema | None] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    invalid_status: int = 422


def _account_route(method: str, path: str, handler: JsonHandler, summary: str, **more: Any) -> Route:
    access = Access.ACCOUNT
    return Route(method=method, path=path, handler=handler, summary=summary, access=access, invalid_status=400, **more)


def _bot_route(method: str, path: str, handler: JsonHandler, summary: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        summary=summary,
        tag="bot jobs",
        access=Access.API_KEY,
        invalid_status=400,
        **more,
    )


#: In order: of paths with places, the more special ones stand first.
ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/messages",
        handler=messages.create,
        summary="Schedule a message",
        tag="messages",
        request=shapes.MessageSchema,
        query=queries.UpsertQuery,
        responses={201: shapes.ScheduledSchema, 200: shapes.ScheduledSchema},
        errors=(409, 413, 422),
    ),
    Route(
        method="GET",
        path="/messages",
        handler=messages.page,
        summary="List scheduled messages by due time",
        tag="messages",
        query=queries.MessagesQuery,
        responses={200: shapes.MessageListSchema},
        errors=(422,),
    ),
    Route(
        method="POST",
        path="/messages/batch",
        handler=messages.create_batch,
        summary="Schedule up to 1,000 messages at once",
        tag="messages",
        request=shapes.BatchSchema,
        query=queries.UpsertQuery,
        responses={200: shapes.BatchResultSchema},
        errors=(413, 422),
    ),
    Route(
        method="GET",
        path="/messages/search",
        handler=messages.search,
        summary="Find messages by how their id begins or what it contains",
        tag="messages",
        query=queries.SearchQuery,
        responses={200: shapes.MessageSearchSchema},
        errors=(400, 422),
    ),
    Route(
        method="GET",
        path="/messages/count",
        handler=messages.count,
        summary="Count messages by how their id begins or what it contains",
        tag="messages",
        query=queries.CountQuery,
        responses={200: shapes.CountSchema},
        errors=(422,),
    ),
    Route(
        method="GET",
        path="/messages/timeline",
        handler=activity.timeline,
        summary="Count what falls due when",
        tag="messages",
        query=queries.TimelineQuery,
        responses={200: ops_shapes.TimelineSchema},
        errors=(422,),
    ),
    Route(
        method="DELETE",
        path="/messages/bulk",
        handler=messages.delete_bulk,
        summary="Delete all messages that match",
        tag="messages",
        request=queries.BulkQuery,
        request_required=False,
        query=queries.BulkQuery,
        responses={200: shapes.BulkDeletedSchema},
        errors=(400, 413, 422),
    ),
    Route(
        method="POST",
        path="/messages/bulk",
        handler=messages.delete_bulk,
        summary="Delete all messages that match, where DELETE cannot pass",
        tag="messages",
        request=queries.BulkQuery,
        request_required=False,
        query=queries.BulkQuery,
        responses={200: shapes.BulkDeletedSchema},
        errors=(400, 413, 422),
    ),
    Route(
        method="POST",
        path="/messages/{id}/run",
        handler=messages.run,
        summary="Send a message now",
        tag="messages",
        responses={202: shapes.ScheduledSchema},
        errors=(404, 422),
    ),
    Route(
        method="GET",
        path="/messages/{id}",
        handler=messages.show,
        summary="Read a message",
        tag="messages",
        responses={200: shapes.MessageDetailsSchema},
        errors=(404, 422),
    ),
    Route(
        method="PUT",
        path="/messages/{id}",
        handler=messages.put,
        summary="Schedule a message under this id, or replace it",
        tag="messages",
        request=shapes.MessageBodySchema,
        responses={201: shapes.ScheduledSchema, 200: shapes.ScheduledSchema},
        errors=(409, 412, 413, 422),
    ),
    Route(
        method="DELETE",
        path="/messages/{id}",
        handler=messages.delete,
        summary="Delete a message",
        tag="messages",
        responses={200: shapes.DeletedSchema},
        errors=(404, 422),
    ),
    Route(
        method="GET",
        path="/dead-letters",
        handler=dead_letters.page,
        summary="List dead letters",
        tag="dead letters",
        query=queries.DeadLettersQuery,
        responses={200: shapes.DeadLettersSchema},
        errors=(422,),
    ),
    Route(
        method="GET",
        path="/dead-letters/groups",
        handler=dead_letters.groups,
        summary="Count dead letters by reason and destination",
        tag="dead letters",
        query=queries.DeadGroupsQuery,
        responses={200: shapes.DeadGroupsSchema},
        errors=(422,),
    ),
    Route(
        method="POST",
        path="/dead-letters/replay",
        handler=dead_letters.replay_matching,
        summary="Schedule all dead letters that match again",
        tag="dead letters",
        request=queries.LettersQuery,
        request_required=False,
        query=queries.LettersQuery,
        responses={200: shapes.ReplayedSchema},
        errors=(400, 413, 422),
    ),
    Route(
        method="POST",
        path="/dead-letters/discard",
        handler=dead_letters.discard_matching,
        summary="Delete all dead letters that match",
        tag="dead letters",
        request=queries.LettersQuery,
        request_required=False,
        query=queries.LettersQuery,
        responses={200: shapes.DiscardedSchema},
        errors=(400, 413, 422),
    ),
    Route(
        method="POST",
        path="/dead-letters/{id}/replay",
        handler=dead_letters.replay,
        summary="Schedule a dead letter again",
        tag="dead letters",
        request=shapes.ReplaySchema,
        request_required=False,
        responses={202: shapes.LetterReplayedSchema},
        errors=(404, 409, 413, 422),
    ),
    Route(
        method="GET",
        path="/dead-letters/{id}",
        handler=dead_letters.show,
        summary="Read a dead letter",
        tag="dead letters",
        responses={200: shapes.DeadLetterSchema},
        errors=(404, 422),
    ),
    Route(
        method="DELETE",
        path="/dead-letters/{id}",
        handler=dead_letters.delete,
        summary="Delete a dead letter",
        tag="dead letters",
        responses={200: shapes.LetterDeletedSchema},
        errors=(404, 422),
    ),
    Route(
        method="GET",
        path="/deliveries",
        handler=deliveries.page,
        summary="Read the log of attempts, newest first",
        tag="deliveries",
        query=queries.DeliveriesQuery,
        responses={200: shapes.DeliveriesSchema},
        errors=(422,),
    ),
    Route(
        method="GET",
        path="/events",
        handler=events.follow,
        summary="Follow what happens",
        tag="operations",
        access=Access.ACCOUNT,
        query=queries.EventsQuery,
        responses={200: None},
        errors=(400, 403),
        invalid_status=400,
    ),
    _account_route(
        "POST",
        "/api/jobs",
        jobs.create,
        "Make a job",
        tag="jobs",
        request=job_shapes.JobSchema,
        responses={201: job_shapes.JobDetailsSchema},
        errors=(400, 403, 413),
    ),
    _account_route(
        "GET",
        "/api/jobs",
        jobs.page,
        "List an account's jobs",
        tag="jobs",
        query=job_shapes.JobsQuery,
        responses={200: job_shapes.JobListSchema},
        errors=(400, 403),
    ),
    _account_route(
        "GET",
        "/api/jobs/preview",
        jobs.preview,
        "Try a schedule out",
        tag="jobs",
        query=job_shapes.PreviewQuery,
        responses={200: job_shapes.PreviewSchema},
        errors=(400,),
    ),
    _account_route(
        "GET",
        "/api/jobs/{job_id}",
        jobs.show,
        "Read a job",
        tag="jobs",
        responses={200: job_shapes.JobDetailsSchema},
        errors=(403, 404),
    ),
    _account_route(
        "PUT",
        "/api/jobs/{job_id}",
        jobs.update,
        "Change a job",
        tag="jobs",
        request=job_shapes.JobUpdateSchema,
        responses={200: job_shapes.JobDetailsSchema},
        errors=(400, 403, 404, 413),
    ),
    _account_route(
        "DELETE",
        "/api/jobs/{job_id}",
        jobs.delete,
        "Delete a job",
        tag="jobs",
        responses={204: None},
        errors=(403, 404),
    ),
    _account_route(
        "PATCH",
        "/api/jobs/{job_id}/enable",
        jobs.enable,
        "Let a job run by its schedule",
        tag="jobs",
        responses={200: job_shapes.JobDetailsSchema},
        errors=(403, 404),
    ),
    _account_route(
        "PATCH",
        "/api/jobs/{job_id}/disable",
        jobs.disable,
        "Let a job rest",
        tag="jobs",
        responses={200: job_shapes.JobDetailsSchema},
        errors=(403, 404),
    ),
    _account_route(
        "POST",
        "/api/jobs/{job_id}/run",
        jobs.run,
        "Run a job now",
        tag="jobs",
        responses={202: job_shapes.RunQueuedSchema},
        errors=(403, 404),
    ),
    _account_route(
        "GET",
        "/api/jobs/{job_id}/executions",
        executions.page,
        "Read a job's history, newest first",
        tag="executions",
        query=job_shapes.ExecutionsQuery,
        responses={200: job_shapes.ExecutionListSchema},
        errors=(400, 403, 404),
    ),
    _account_route(
        "GET",
        "/api/executions/{execution_id}",
        executions.show,
        "Read an execution, with what the webhook answered",
        tag="executions",
        responses={200: job_shapes.ExecutionDetailsSchema},
        errors=(403, 404),
    ),
    _account_route(
        "POST",
        "/api/executions/{execution_id}/retry",
        executions.run_again,
        "Run an execution again",
        tag="executions",
        responses={202: job_shapes.RetryQueuedSchema},
        errors=(403, 404, 409),
    ),
    _account_route(
        "POST",
        "/webhooks",
        webhooks.create,
        "Give a job a webhook",
        tag="webhooks",
        request=job_shapes.WebhookSchema,
        responses={201: job_shapes.WebhookDetailsSchema},
        errors=(400, 403, 404, 413),
    ),
    _account_route(
        "GET",
        "/webhooks",
        webhooks.page,
        "List a job's webhooks",
        tag="webhooks",
        query=job_shapes.WebhooksQuery,
        responses={200: job_shapes.WebhookListSchema},
        errors=(400, 403, 404),
    ),
    _account_route(
        "GET",
        "/webhooks/{webhook_id}",
        webhooks.show,
        "Read a webhook",
        tag="webhooks",
        responses={200: job_shapes.WebhookDetailsSchema},
        errors=(403, 404),
    ),
    _account_route(
        "PUT",
        "/webhooks/{webhook_id}",
        webhooks.update,
        "Change a webhook",
        tag="webhooks",
        request=job_shapes.WebhookUpdateSchema,
        responses={200: job_shapes.WebhookDetailsSchema},
        errors=(400, 403, 404, 413),
    ),
    _account_route(
        "DELETE",
        "/webhooks/{webhook_id}",
        webhooks.delete,
        "Delete a webhook",
        tag="webhooks",
        responses={204: None},
        errors=(403, 404),
    ),
    _bot_route(
        "POST",
        "/scheduler/jobs",
        bots.create,
        "Make a bot job",
        request=bot_shapes.BotJobSchema,
        responses={201: bot_shapes.BotJobDetailsSchema},
        errors=(400, 413),
    ),
    _bot_route(
        "GET",
        "/scheduler/jobs",
        bots.listed,
        "List bot jobs",
        query=bot_shapes.BotJobsQuery,
        responses={200: bot_shapes.BotJobDetailsSchema(many=True)},
        errors=(400,),
    ),
    _bot_route(
        "GET",
        "/scheduler/jobs/preview",
        bots.preview,
        "Try a bot job's schedule out",
        query=bot_shapes.BotPreviewQuery,
        responses={200: job_shapes.PreviewSchema},
        errors=(400,),
    ),
    _bot_route(
        "GET",
        "/scheduler/jobs/{job_id}",
        bots.show,
        "Read a bot job",
        responses={200: bot_shapes.BotJobDetailsSchema},
        errors=(404,),
    ),
    _bot_route(
        "PUT",
        "/scheduler/jobs/{job_id}",
        bots.update,
        "Change a bot job",
        request=bot_shapes.BotJobUpdateSchema,
        responses={200: bot_shapes.BotJobDetailsSchema},
        errors=(400, 404, 413),
    ),
    _bot_route(
        "DELETE",
        "/scheduler/jobs/{job_id}",
        bots.delete,
        "Delete a bot job",
        responses={204: None},
        errors=(404,),
    ),
    _bot_route(
        "POST",
        "/scheduler/jobs/{job_id}/toggle",
        bots.toggle,
        "Let a bot job run by its schedule, or rest",
        request=bot_shapes.ToggleSchema,
        responses={200: bot_shapes.BotJobDetailsSchema},
        errors=(400, 404, 413),
    ),
    _bot_route(
        "POST",
        "/scheduler/jobs/{job_id}/run",
        bots.run,
        "Run a bot job now",
        responses={202: bot_shapes.BotRunQueuedSchema},
        errors=(404,),
    ),
    _bot_route(
        "GET",
        "/scheduler/jobs/{job_id}/history",
        bots.history,
        "Read a bot job's history, newest first",
        query=bot_shapes.HistoryQuery,
        responses={200: bot_shapes.BotRunSchema(many=True)},
        errors=(400, 404),
    ),
    Route(
        method="GET",
        path="/health",
        handler=ops.health,
        summary="Say whether the service works",
        tag="operations",
        access=Access.OPEN,
        responses={200: ops_shapes.HealthSchema, 503: ops_shapes.HealthSchema},
    ),
    Route(
        method="GET",
        path="/health/detailed",
        handler=ops.detailed_health,
        summary="Say which part works, and what the store can lose",
        tag="operations",
        access=Access.OPEN,
        responses={200: ops_shapes.DetailedHealthSchema, 503: ops_shapes.DetailedHealthSchema},
    ),
    Route(
        method="GET",
        path="/scheduler/health",
        handler=ops.scheduler_health,
        summary="Say whether bot jobs run",
        tag="operations",
        access=Access.OPEN,
        responses={200: ops_shapes.SchedulerHealthSchema, 503: ops_shapes.SchedulerHealthSchema},
    ),
    Route(
        method="GET",
        path="/audit",
        handler=audit.audit,
        summary="Account for what was planned",
        tag="operations",
        query=queries.AuditQuery,
        responses={200: ops_shapes.AuditSchema},
        errors=(422,),
    ),
    Route(
        method="GET",
        path="/punctuality",
        handler=punctuality.punctuality,
        summary="Say how late first attempts left",
        tag="operations",
        responses={200: ops_shapes.PunctualitySchema},
    ),
    Route(
        method="GET",
        path="/session",
        handler=dashboard.session,
        summary="Say what credentials open",
        tag="operations",
        access=Access.OPEN,
        responses={200: ops_shapes.SessionSchema},
        errors=(429,),
    ),
    Route(
        method="GET",
        path="/activity",
        handler=activity.activity,
        summary="Read how many attempts ended in each of the last minutes",
        tag="operations",
        query=queries.ActivityQuery,
        responses={200: ops_shapes.ActivitySchema},
        errors=(422,),
    ),
    Route(
        method="GET",
        path="/metrics",
        handler=ops.metrics,
        summary="Read the counters, as JSON or for Prometheus",
        tag="operations",
        access=Access.ACCOUNT,
        responses={200: ops_shapes.MetricsSchema},
        errors=(403,),
        invalid_status=400,
    ),
    Route(
        method="GET",
        path="/inbox",
        handler=inbox.show,
        summary="Read what the test inbox got, newest first",
        tag="inbox",
        responses={200: ops_shapes.InboxSchema},
        errors=(404,),
    ),
    Route(
        method="DELETE",
        path="/inbox",
        handler=inbox.clear,
        summary="Empty the test inbox",
        tag="inbox",
        responses={200: ops_shapes.InboxClearedSchema},
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/inbox/{any}",
        handler=inbox.receive,
        summary="A webhook for trying things out",
        tag="inbox",
        access=Access.OPEN,
        responses={200: ops_shapes.InboxReceivedSchema},
        errors=(403, 404, 413),
    ),
)

ROUTES_BY_HANDLER: Final[Mapping[Handler, Route]] = {route.handler: route for route in ROUTES}
#: What anybody may call; everything else asks for credentials.
OPEN_HANDLERS: Final[frozenset[Handler]] = frozenset(
    {
        dashboard.file,
        dashboard.home,
        dashboard.page,
        docs_pages.home,
        docs_pages.openapi_json,
        docs_pages.redoc_page,
        docs_pages.static_file,
        docs_pages.swagger_page,
        *(route.handler for route in ROUTES if route.access is Access.OPEN),
    }
)


_PLACE: Final = re.compile(r"\{(\w+)\}")
_GREEDY: Final = {"id": r"{id:[\s\S]+}", "any": r"{any:[\s\S]+}"}


def add_routes(app: web.Application, *, with_dashboard: bool = True) -> None:
    """Add every route, each with and without a trailing slash, the documentation pages and the dashboard."""
    docs_pages.add_docs_routes(app)
    if with_dashboard:
        dashboard.add_dashboard_routes(app)
    else:
        app.router.add_get("/", docs_pages.home)
    paths: dict[str, list[Route]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, []).append(route)
    for path, routes in paths.items():
        # An id that clients choose may hold anything, slashes and line breaks too.
        pattern = _PLACE.sub(lambda place: _GREEDY.get(place[1]) or f"{{{place[1]}:[^/]+}}", path)
        # Where such a place ends the path it takes the slash as well; the handler knows.
        for spelling in (pattern,) if pattern.endswith(tuple(_GREEDY.values())) else (pattern, pattern + "/"):
            resource = app.router.add_resource(spelling)
            for route in routes:
                resource.add_route(route.method, route.handler)
                if route.method == "GET":
                    resource.add_route("HEAD", route.handler)
