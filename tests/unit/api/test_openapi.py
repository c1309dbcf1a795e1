"""The OpenAPI document: legal, complete, and true."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from fakeredis import FakeAsyncRedis
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from aioscheduler.api import docs_pages
from aioscheduler.api.auth import Access
from aioscheduler.api.context import CONTEXT, ApiConfig, Context
from aioscheduler.api.docs_pages import OPENAPI
from aioscheduler.api.middlewares import middlewares
from aioscheduler.api.openapi import document
from aioscheduler.api.routes import ROUTES, add_routes
from aioscheduler.engine.guard import Guard
from aioscheduler.store.redis import RedisStore
from tests.support.clock import FakeClock

Client = TestClient[web.Request, web.Application]
TOKEN = "a-token-nobody-may-see"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
DOCUMENT: Any = document()
OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


def _resolved(part: Any) -> Any:
    """Return a part of the document with its references replaced by what they name."""
    if isinstance(part, list):
        return [_resolved(item) for item in part]
    if not isinstance(part, dict):
        return part
    made = {name: _resolved(item) for name, item in part.items() if name != "$ref"}
    if isinstance(part.get("$ref"), str):
        named: Any = DOCUMENT
        for step in part["$ref"].removeprefix("#/").split("/"):
            named = named[step]
        made = {**_resolved(named), **made}
    return made


def _check(schema: Any, value: Any) -> None:
    OAS31Validator(_resolved(schema), format_checker=OAS31Validator.FORMAT_CHECKER).validate(value)


def _request_examples() -> Iterator[tuple[str, str, str, Any]]:
    for (method, path), operation in OPERATIONS.items():
        for name, example in (
            operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {}).items()
        ):
            yield method, path, name, example["value"]


def _response_examples() -> Iterator[tuple[str, Any, Any]]:
    for (method, path), operation in OPERATIONS.items():
        for status, response in _resolved(operation["responses"]).items():
            for content_type, content in response["content"].items():
                yield f"{method} {path} {status} {content_type}", content["schema"], content.get("example")


def test_the_document_is_legal() -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []
    assert DOCUMENT["openapi"] == "3.1.0"
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]


def test_every_route_is_documented_and_every_documented_operation_is_a_route() -> None:
    app = web.Application()
    app[OPENAPI] = orjson.dumps(document())
    add_routes(app)
    served = set()
    for route in app.router.routes():
        assert route.resource is not None
        canonical = route.resource.canonical
        if route.method != "HEAD" and not (len(canonical) > 1 and canonical.endswith("/")):
            served.add((route.method, canonical))
    pages = {("GET", path) for path in ("/", "/docs", "/redoc", "/openapi.json", "/docs/static/{name}")}
    assert pages <= served
    assert OPERATIONS.keys() == served - pages == {(route.method, route.path) for route in ROUTES}


def test_every_operation_has_a_summary_a_known_tag_and_a_name_of_its_own() -> None:
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] for operation in OPERATIONS.values())
    assert {tag for operation in OPERATIONS.values() for tag in operation["tags"]} == tags


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_an_operation_says_who_may_call_it_and_how_it_fails(route: Any) -> None:
    operation = OPERATIONS[route.method, route.path]
    statuses = operation["responses"].keys()
    with_token = route.access is Access.TOKEN
    assert operation["security"] == ([{"token": []}] if with_token else [])
    assert ({"401", "429", "503"} <= statuses) is with_token or "health" in route.path
    assert ("requestBody" in operation) <= ("413" in statuses)
    assert "500" in statuses


def test_placeholders_of_a_path_are_its_parameters() -> None:
    for (_, path), operation in OPERATIONS.items():
        parameters = operation.get("parameters", ())
        described = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert described == set(re.findall(r"\{(\w+)\}", path))


def test_every_request_and_every_good_answer_has_an_example() -> None:
    bare = [
        (method, path)
        for (method, path), operation in OPERATIONS.items()
        if "requestBody" in operation and not operation["requestBody"]["content"]["application/json"]["examples"]
    ]
    assert bare == []
    assert [where for where, _, example in _response_examples() if example is None and " 503 " not in where] == []


@pytest.mark.parametrize(("method", "path", "name", "example"), list(_request_examples()))
def test_a_requests_example_is_what_its_schema_describes(method: str, path: str, name: str, example: Any) -> None:
    _check(OPERATIONS[method, path]["requestBody"]["content"]["application/json"]["schema"], example)


@pytest.mark.parametrize(("where", "schema", "example"), [item for item in _response_examples() if item[2] is not None])
def test_an_answers_example_is_what_its_schema_describes(where: str, schema: Any, example: Any) -> None:
    _check(schema, example)


@dataclass
class StillEngine:
    """An engine that runs and has nothing to do."""

    running: bool = True
    listening: bool = True
    in_flight: int = 0
    window_size: int = 0
    loop_lag_seconds: float = 0.0


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> AsyncIterator[Client]:
    redis, clock = FakeAsyncRedis(), FakeClock()
    config = ApiConfig(api_token=TOKEN)
    context = Context(
        config=config,
        clock=clock,
        store=RedisStore(redis, clock, zone=config.zone, replica="here"),
        engine=StillEngine(),
        guard=Guard(block_private=False),
        started_at=clock.monotonic(),
    )
    app = web.Application(middlewares=middlewares(context))
    app[CONTEXT] = context
    app[OPENAPI] = orjson.dumps(document())
    add_routes(app)
    yield await aiohttp_client(app)
    await redis.aclose()


async def _call(client: Client, method: str, path: str, body: Any = None) -> int:
    """Make a request and hold the answer against the document; return its status."""
    address = path.replace("{id}", "order-1042_24h").replace("{any}", "hello")
    async with client.request(method, address, json=body, headers=AUTHORIZED) as answer:
        documented = _resolved(OPERATIONS[method, path.partition("?")[0]]["responses"])[str(answer.status)]
        assert answer.headers.keys() >= documented["headers"].keys()
        _check(documented["content"][answer.content_type]["schema"], await answer.json())
        return answer.status


@pytest.mark.parametrize(("method", "path", "name", "example"), list(_request_examples()))
async def test_the_service_takes_every_example(client: Client, method: str, path: str, name: str, example: Any) -> None:
    # A dead letter to replay cannot be made without an engine: that it is asked for is enough.
    expected = {404} if path == "/dead-letters/{id}/replay" else {200, 201}
    assert await _call(client, method, path, example) in expected


async def test_real_answers_are_what_the_document_describes(client: Client) -> None:
    message = OPERATIONS["POST", "/messages"]["requestBody"]["content"]["application/json"]["examples"]
    assert await _call(client, "POST", "/messages", message["At_an_instant"]["value"]) == 201
    assert await _call(client, "POST", "/messages", message["At_an_instant"]["value"]) == 409
    assert await _call(client, "POST", "/messages", {"id": ""}) == 422
    assert await _call(client, "GET", "/messages/{id}") == 200
    assert await _call(client, "GET", "/messages") == 200
    assert await _call(client, "GET", "/messages?limit=0") == 422
    assert await _call(client, "GET", "/messages/search?prefix=order") == 200
    assert await _call(client, "GET", "/messages/search") == 400
    assert await _call(client, "POST", "/messages/{id}/run") == 202
    assert await _call(client, "DELETE", "/messages/{id}") == 200
    assert await _call(client, "DELETE", "/messages/{id}") == 404
    assert await _call(client, "GET", "/dead-letters") == 200
    assert await _call(client, "POST", "/dead-letters/replay") == 400
    assert await _call(client, "GET", "/deliveries") == 200
    assert await _call(client, "GET", "/health") == 200
    assert await _call(client, "GET", "/metrics") == 200
    assert await _call(client, "POST", "/inbox/{any}", {"hello": "world"}) == 200
    assert await _call(client, "GET", "/inbox") == 200
    assert await _call(client, "DELETE", "/inbox") == 200


async def test_the_document_and_the_pages_are_open_and_tell_no_secret(client: Client) -> None:
    for path in ("/openapi.json", "/openapi.json/", "/docs", "/redoc", "/"):
        async with client.get(path) as answer:
            assert answer.status == 200
            assert TOKEN not in await answer.text()
    async with client.get("/openapi.json") as answer:
        assert answer.content_type == "application/json"
        assert await answer.json() == DOCUMENT


async def test_a_file_that_is_not_there_is_answered_like_any_other_error(client: Client) -> None:
    async with client.get(f"{docs_pages.STATIC_PREFIX}/nothing.js") as answer:
        assert answer.status == 404
        assert (await answer.json())["error_code"] == "NOT_FOUND"
