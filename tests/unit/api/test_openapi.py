"""The OpenAPI document: legal, complete, and true."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

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
from aioscheduler.bots.birthday import Birthday
from aioscheduler.bots.visitor import Visitor
from aioscheduler.domain.target import Destination
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
            for content_type, content in response.get("content", {}).items():
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
    paths = ("/", "/ui", "/ui/{name}", "/docs", "/redoc", "/openapi.json", "/docs/static/{name}")
    pages = {("GET", path) for path in paths}
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
    is_open = route.access is Access.OPEN
    assert [next(iter(way)) for way in operation["security"]] == {
        Access.OPEN: [],
        Access.TOKEN: ["token"],
        Access.ACCOUNT: ["jwt", "token"],
        Access.API_KEY: ["api_key", "token"],
    }[route.access]
    assert ({"401", "429", "503"} <= statuses) is not is_open or "health" in route.path
    # Another account's can only be asked for where a place or a member names it.
    assert route.access is not Access.ACCOUNT or "403" in statuses or route.path == "/api/jobs/preview"
    assert "422" not in statuses or route.invalid_status == 422
    assert ("requestBody" in operation) <= ("413" in statuses)
    assert "500" in statuses


def test_every_scheme_of_credentials_is_described_and_used() -> None:
    used = {name for operation in OPERATIONS.values() for way in operation["security"] for name in way}
    assert used == DOCUMENT["components"]["securitySchemes"].keys()


def test_families_of_jobs_have_errors_of_their_own() -> None:
    responses = OPERATIONS["PUT", "/api/jobs/{job_id}"]["responses"]
    codes = {
        status: _resolved(response)["content"]["application/json"]["example"]["error_code"]
        for status, response in responses.items()
        if status in ("400", "403", "404")
    }
    assert codes == {"400": "INVALID_CRON_EXPRESSION", "403": "FORBIDDEN", "404": "JOB_NOT_FOUND"}


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
    store_risks: int = 0
    circuits_open: Sequence[Destination] = ()
    circuits_opened: int = 0


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> AsyncIterator[Client]:
    redis, clock = FakeAsyncRedis(), FakeClock()
    config = ApiConfig(api_token=TOKEN)
    store = RedisStore(redis, clock, zone=config.zone, replica="here")
    context = Context(
        config=config,
        clock=clock,
        store=store,
        jobs=store,
        bots={"birthday": Birthday(None, None, "Hello"), "visitor": Visitor(None, 0)},
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


async def _ask(client: Client, method: str, path: str, body: Any = None, **places: str) -> tuple[int, Any]:
    """Make a request and hold the answer against the document; return its status and its body."""
    places = {"id": "order-1042_24h", "any": "hello"} | places
    address = re.sub(r"\{(\w+)\}", lambda place: places.get(place[1], str(uuid4())), path)
    async with client.request(method, address, json=body, headers=AUTHORIZED) as answer:
        documented = _resolved(OPERATIONS[method, path.partition("?")[0]]["responses"])[str(answer.status)]
        assert answer.headers.keys() >= documented["headers"].keys()
        if "content" not in documented:
            assert await answer.read() == b""
            return answer.status, None
        told = await answer.json()
        _check(documented["content"][answer.content_type]["schema"], told)
        return answer.status, told


async def _call(client: Client, method: str, path: str, body: Any = None, **places: str) -> int:
    """Do the same, for the status alone."""
    status, _ = await _ask(client, method, path, body, **places)
    return status


def _example(method: str, path: str) -> Any:
    """Return the first example of a request."""
    examples = OPERATIONS[method, path]["requestBody"]["content"]["application/json"]["examples"]
    return next(iter(examples.values()))["value"]


async def _with_a_job(client: Client) -> dict[str, str]:
    """Make a job with a webhook and a run, and return their ids by the names of their places."""
    _, job = await _ask(client, "POST", "/api/jobs", _example("POST", "/api/jobs"))
    webhook = _example("POST", "/webhooks") | {"job_id": job["id"]}
    _, webhook = await _ask(client, "POST", "/webhooks", webhook)
    _, run = await _ask(client, "POST", "/api/jobs/{job_id}/run", job_id=job["id"])
    return {"job_id": job["id"], "webhook_id": webhook["id"], "execution_id": run["execution_ids"][0]}


async def _with_a_bot_job(client: Client) -> dict[str, str]:
    _, job = await _ask(client, "POST", "/scheduler/jobs", _example("POST", "/scheduler/jobs"))
    return {"job_id": job["id"]}


@pytest.mark.parametrize(("method", "path", "name", "example"), list(_request_examples()))
async def test_the_service_takes_every_example(client: Client, method: str, path: str, name: str, example: Any) -> None:
    # A dead letter to replay cannot be made without an engine: that it is asked for is enough.
    expected = {404} if path == "/dead-letters/{id}/replay" else {200, 201}
    places: dict[str, str] = {}
    if path.startswith(("/api", "/webhooks")):
        places = await _with_a_job(client)
    elif path.startswith("/scheduler"):
        places = await _with_a_bot_job(client)
    if "job_id" in example:
        example = example | {"job_id": places["job_id"]}
    assert await _call(client, method, path, example, **places) in expected


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


async def test_real_answers_about_jobs_are_what_the_document_describes(client: Client) -> None:
    ids = await _with_a_job(client)
    assert await _call(client, "POST", "/api/jobs", {}) == 400
    assert await _call(client, "GET", "/api/jobs") == 200
    assert await _call(client, "GET", "/api/jobs?limit=0") == 400
    assert await _call(client, "GET", "/api/jobs/preview?schedule=0 2 * * *") == 200
    assert await _call(client, "GET", "/api/jobs/preview?schedule=never") == 400
    assert await _call(client, "GET", "/api/jobs/{job_id}/executions", **ids) == 200
    assert await _call(client, "GET", "/api/executions/{execution_id}", **ids) == 200
    assert await _call(client, "POST", "/api/executions/{execution_id}/retry", **ids) == 409
    assert await _call(client, "POST", "/api/executions/{execution_id}/retry") == 404
    assert await _call(client, "PATCH", "/api/jobs/{job_id}/disable", **ids) == 200
    assert await _call(client, "GET", "/api/jobs/{job_id}", **ids) == 200
    assert await _call(client, "PATCH", "/api/jobs/{job_id}/enable", **ids) == 200
    assert await _call(client, "GET", f"/webhooks?job_id={ids['job_id']}") == 200
    assert await _call(client, "GET", "/webhooks/{webhook_id}", **ids) == 200
    assert await _call(client, "DELETE", "/webhooks/{webhook_id}", **ids) == 204
    assert await _call(client, "DELETE", "/webhooks/{webhook_id}", **ids) == 404
    assert await _call(client, "DELETE", "/api/jobs/{job_id}", **ids) == 204
    assert await _call(client, "DELETE", "/api/jobs/{job_id}", **ids) == 404


async def test_real_answers_about_bot_jobs_are_what_the_document_describes(client: Client) -> None:
    ids = await _with_a_bot_job(client)
    assert await _call(client, "POST", "/scheduler/jobs", {}) == 400
    assert await _call(client, "POST", "/scheduler/jobs/{job_id}/run", **ids) == 202
    assert await _call(client, "GET", "/scheduler/jobs/{job_id}/history", **ids) == 200
    assert await _call(client, "GET", "/scheduler/jobs/{job_id}/history?limit=201", **ids) == 400
    assert await _call(client, "GET", "/scheduler/jobs") == 200
    assert await _call(client, "GET", "/scheduler/jobs/{job_id}", **ids) == 200
    assert await _call(client, "GET", "/scheduler/health") == 200
    assert await _call(client, "DELETE", "/scheduler/jobs/{job_id}", **ids) == 204
    assert await _call(client, "GET", "/scheduler/jobs/{job_id}", **ids) == 404


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
