"""Every route there is: method, path, handler, who may call it, and what goes in and comes out.

The application and the OpenAPI document are both built from :data:`ROUTES`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler
from marshmallow import Schema

from aioscheduler.api import dead_letters, deliveries, docs_pages, inbox, messages, ops
from aioscheduler.api.auth import Access
from aioscheduler.api.schemas import messages as shapes
from aioscheduler.api.schemas import ops as ops_shapes
from aioscheduler.api.schemas import query as queries

JsonHandler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path.

    ``path`` has its place as ``{id}`` or ``{any}``, which match slashes too. ``request`` describes the JSON body, if
    there is one; ``responses`` those that are not errors. ``errors`` are the statuses this route adds to those that
    any route with its access can answer. ``invalid_status`` is its family's status for illegal input.
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
    responses: Mapping[int, type[Schema]] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    invalid_status: int = 422


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
        query=queries.PageQuery,
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
        errors=(409, 413, 422),
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
        method="POST",
        path="/dead-letters/replay",
        handler=dead_letters.replay_matching,
        summary="Schedule all dead letters that match again",
        tag="dead letters",
        request=queries.ReplayAllQuery,
        request_required=False,
        query=queries.ReplayAllQuery,
        responses={200: shapes.ReplayedSchema},
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
        responses={202: shapes.ScheduledSchema},
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
        responses={200: shapes.DeletedSchema},
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
        path="/metrics",
        handler=ops.metrics,
        summary="Read the counters, as JSON or for Prometheus",
        tag="operations",
        responses={200: ops_shapes.MetricsSchema},
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
        docs_pages.home,
        docs_pages.openapi_json,
        docs_pages.redoc_page,
        docs_pages.static_file,
        docs_pages.swagger_page,
        *(route.handler for route in ROUTES if route.access is Access.OPEN),
    }
)


def add_routes(app: web.Application) -> None:
    """Add every route, each with and without a trailing slash, and the documentation pages."""
    docs_pages.add_docs_routes(app)
    paths: dict[str, list[Route]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, []).append(route)
    for path, routes in paths.items():
        # An id may hold anything, slashes and line breaks too.
        pattern = path.replace("{id}", r"{id:[\s\S]+}").replace("{any}", r"{any:[\s\S]+}")
        # Where a place ends the path it takes the slash as well; the handler knows.
        for spelling in (pattern,) if path.endswith("}") else (pattern, pattern + "/"):
            resource = app.router.add_resource(spelling)
            for route in routes:
                resource.add_route(route.method, route.handler)
                if route.method == "GET":
                    resource.add_route("HEAD", route.handler)
