"""The OpenAPI 3.1 document, built from the route table and the schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from aioscheduler import __version__
from aioscheduler.api.auth import Access
from aioscheduler.api.examples import (
    DESCRIPTIONS,
    ERRORS,
    EVENTS,
    EXAMPLE_EXECUTION_ID,
    EXAMPLE_JOB_ID,
    EXAMPLE_WEBHOOK_ID,
    INTRODUCTION,
    JOB_ERRORS,
    OUTCOMES,
    PROMETHEUS,
    REQUESTS,
    RESPONSES,
    SUCCESSES,
    TAGS,
)
from aioscheduler.api.routes import ROUTES, Route
from aioscheduler.api.schemas.jobs import RetryPolicySchema
from aioscheduler.api.schemas.messages import ErrorSchema, RetrySchema

_JSON: Final = "application/json"
_PLACE: Final = re.compile(r"\{(\w+)\}")
_PLACES: Final[Mapping[str, dict[str, Any]]] = {
    "id": {
        "description": "The message's id, percent-encoded where it has to be.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 512},
        "example": "order-1042_24h",
    },
    "any": {"description": "Anything.", "schema": {"type": "string", "minLength": 1}, "example": "hello"},
    "job_id": {
        "description": "The job's id.",
        "schema": {"type": "string", "format": "uuid"},
        "example": EXAMPLE_JOB_ID,
    },
    "webhook_id": {
        "description": "The webhook's id.",
        "schema": {"type": "string", "format": "uuid"},
        "example": EXAMPLE_WEBHOOK_ID,
    },
    "execution_id": {
        "description": "The execution's id.",
        "schema": {"type": "string", "format": "uuid"},
        "example": EXAMPLE_EXECUTION_ID,
    },
}
_HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "X-Request-ID": {
        "description": "The request's own, if it has a sane one, else made here.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "The scheme to use.", "schema": {"type": "string"}},
    "ETag": {
        "description": "The message as it is now, for `If-Match`.",
        "schema": {"type": "string"},
        "example": '"0Ge3kL-9_x"',
    },
}
#: The headers of a route's requests, and of its good answers.
_PARAMETERS: Final[Mapping[tuple[str, str], Mapping[str, dict[str, Any]]]] = {
    ("PUT", "/messages/{id}"): {
        "If-Match": {
            "description": "Replace only a message that has one of these `ETag`s; `*`: any that there is.",
            "schema": {"type": "string"},
            "example": '"0Ge3kL-9_x"',
        },
        "If-None-Match": {
            "description": "`*`: only where there is none.",
            "schema": {"type": "string", "enum": ["*"]},
        },
    },
}
_ANSWERED: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {("GET", "/messages/{id}"): ("ETag",)}
_ERROR_HEADERS: Final = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
#: What every route can answer, and every route that asks for credentials.
_ANYWHERE, _WITH_CREDENTIALS = (500,), (401, 429, 503)
_SCHEMES: Final[Mapping[str, dict[str, str]]] = {
    "token": {"type": "http", "scheme": "bearer", "description": "The service's `API_TOKEN`: it opens every route."},
    "jwt": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A JSON Web Token: it opens the jobs of the accounts it names.",
    },
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The service's `API_KEY`, by default its `API_TOKEN`: it opens bot jobs.",
    },
}
#: Which of them open a route; any one will do.
_OPENED_BY: Final[Mapping[Access, tuple[str, ...]]] = {
    Access.OPEN: (),
    Access.TOKEN: ("token",),
    Access.ACCOUNT: ("jwt", "token"),
    Access.API_KEY: ("api_key", "token"),
}


@cache
def document() -> dict[str, object]:
    """Return the document. It is made once and shared: do not change it."""
    spec = APISpec(
        title="aioscheduler",
        version=__version__,
        openapi_version="3.1.0",
        plugins=[MarshmallowPlugin(schema_name_resolver=_schema_name)],
        info={"description": INTRODUCTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/", "description": "This service"}],
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    for name, scheme in _SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for name, header in _HEADERS.items():
        spec.components.header(name, header)
    spec.components.schema("Error", schema=ErrorSchema)
    spec.components.schema("Retry", schema=RetrySchema)
    spec.components.schema("RetryPolicy", schema=RetryPolicySchema)
    for errors in (ERRORS, JOB_ERRORS):
        for status, (name, meaning, example) in errors.items():
            spec.components.response(name, _error(status, meaning, example))
    for route in ROUTES:
        spec.path(path=route.path, operations={route.method.lower(): _operation(route)})
    made: dict[str, Any] = spec.to_dict()
    _complete(made)
    return made


def _schema_name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema")


def _operation(route: Route) -> dict[str, Any]:
    key = (route.method, route.path)
    made: dict[str, Any] = {
        "operationId": "_".join([route.method.lower(), *re.findall(r"\w+", route.path)]),
        "summary": route.summary,
        "tags": [route.tag],
        "security": [{name: []} for name in _OPENED_BY[route.access]],
        "responses": {str(status): _response(route, status) for status in _statuses(route)},
    }
    if key in DESCRIPTIONS:
        made["description"] = DESCRIPTIONS[key]
    parameters: list[dict[str, Any]] = [
        {"in": "path", "name": name, "required": True, **_PLACES[name]} for name in _PLACE.findall(route.path)
    ]
    parameters += [{"in": "header", "name": name, **its} for name, its in _PARAMETERS.get(key, {}).items()]
    if route.query is not None:
        parameters.append({"in": "query", "schema": route.query})
    if parameters:
        made["parameters"] = parameters
    if route.request is not None or key in REQUESTS:
        made["requestBody"] = {
            "required": route.request is not None and route.request_required,
            "content": {_JSON: {"schema": route.request or {}, "examples": _examples(REQUESTS[key])}},
        }
    return made


def _statuses(route: Route) -> list[int]:
    always = _ANYWHERE if route.access is Access.OPEN else _ANYWHERE + _WITH_CREDENTIALS
    # Whoever sends a body can also send it too slowly.
    slow = (408,) if 413 in route.errors else ()
    return sorted({*route.responses, *route.errors, *always, *slow})


def _examples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub(r"\W+", "_", name): {"summary": name, "value": value} for name, value in values.items()}


def _response(route: Route, status: int) -> dict[str, Any] | str:
    if status not in route.responses:
        return (ERRORS if route.invalid_status == 422 or status not in JOB_ERRORS else JOB_ERRORS)[status][0]
    key, schema = (route.method, route.path, status), route.responses[status]
    made: dict[str, Any] = {
        "description": OUTCOMES.get(key) or SUCCESSES[status],
        "headers": {name: name for name in ("X-Request-ID", *_ANSWERED.get((route.method, route.path), ()))},
    }
    if schema is not None:
        made["content"] = {_JSON: {"schema": schema, **({"example": RESPONSES[key]} if key in RESPONSES else {})}}
    return made


def _error(status: int, meaning: str, example: Mapping[str, Any]) -> dict[str, Any]:
    names = ["X-Request-ID", *([_ERROR_HEADERS[status]] if status in _ERROR_HEADERS else [])]
    return {
        "description": meaning,
        "headers": {name: name for name in names},
        "content": {_JSON: {"schema": ErrorSchema, "example": {**example, "status_code": status}}},
    }


def _complete(made: dict[str, Any]) -> None:
    """Say what marshmallow's fields cannot."""
    schemas = made["components"]["schemas"]
    for name, member, described in (
        ("Message", "retry", "Retry"),
        ("MessageBody", "retry", "Retry"),
        ("Job", "retry_policy", "RetryPolicy"),
        ("JobUpdate", "retry_policy", "RetryPolicy"),
    ):
        members = schemas[name]["properties"]
        members[member] = {
            "$ref": f"#/components/schemas/{described}",
            "description": members[member]["description"],
        }
    for name in ("Message", "MessageBody"):
        schemas[name]["oneOf"] = [{"required": ["scheduleTo"]}, {"required": ["delay"]}]
    schemas["Replay"]["not"] = {"required": ["scheduleTo", "delay"]}
    for schema in schemas.values():
        # What marshmallow would refuse to load; in an answer it would forbid us ever to add a member.
        schema.pop("additionalProperties", None)
        for member in schema["properties"].values():
            _plain_default(member)
    for operations in made["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                _plain_default(parameter["schema"])
    made["paths"]["/events"]["get"]["responses"]["200"]["content"] = {
        "text/event-stream": {"schema": {"type": "string"}, "example": EVENTS}
    }
    answers = made["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    for content_type in ("text/plain", "application/openmetrics-text"):
        answers[content_type] = {"schema": {"type": "string"}, "example": PROMETHEUS}


def _plain_default(schema: dict[str, Any]) -> None:
    """Remove a default that only says that nothing stands in for what was left out, and the null it brought along."""
    if "default" not in schema or schema["default"] not in (None, ""):
        return
    if schema.pop("default") is None and isinstance(schema["type"], list):
        (schema["type"],) = (kind for kind in schema["type"] if kind != "null")
