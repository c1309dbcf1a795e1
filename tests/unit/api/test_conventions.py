"""What holds for every route: credentials, error shape, limits, ids of requests, slashes, language."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from aioscheduler.api import bots, jobs
from aioscheduler.api.auth import Access
from aioscheduler.api.examples import REQUESTS
from aioscheduler.api.middlewares import REQUEST_ID
from aioscheduler.api.routes import ROUTES
from aioscheduler.errors import Sentence, StoreUnavailable
from tests.unit.api.conftest import HOOK, TOKEN, Api, MakeApi

JOB_ID = "0198a3c4-5e6f-7a1b-8c2d-3e4f5a6b7c8d"
BODY = {"id": "m", "delay": "1h", "payload": {}, "webhookUrl": HOOK}


class BrokenStore:
    """Fails every verb in the same way."""

    kind = "redis"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def verb(*args: object) -> None:
            raise self._error

        return verb


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_a_route_asks_for_the_token_before_it_looks_at_anything(api: Api, route: Any) -> None:
    for path in (route.path, route.path + "/"):
        path = path.replace("{id}", "x").replace("{any}", "x")
        body = b"no JSON" if route.method in ("POST", "PUT", "PATCH") else None
        status, answer = await api.call(route.method, path, body, token="")
        if route.access is Access.OPEN:
            assert status != 401
            continue
        assert (status, answer["error_code"], answer["status_code"]) == (401, "UNAUTHORIZED", 401)
        assert api.last_headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "authorization",
    [
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer é",
        f"Bearer{TOKEN}",
    ],
)
async def test_other_credentials_are_refused(api: Api, authorization: str) -> None:
    status, _ = await api.call("GET", "/messages", headers={"Authorization": authorization}, token="")
    assert status == 401


async def test_the_scheme_may_be_written_in_any_case(api: Api) -> None:
    assert (await api.call("GET", "/messages", headers={"Authorization": f"bearer  {TOKEN}"}, token=""))[0] == 200


async def test_get_routes_answer_head_too(api: Api) -> None:
    for path in ("/messages", "/health", "/messages/"):
        status, body = await api.call("HEAD", path)
        assert (status, body) == (200, b"")


@pytest.mark.parametrize("path", ["/nowhere", "/messagesx", "/", "/messages/x/y/../z"])
async def test_unknown_routes_and_methods_have_the_error_shape(api: Api, path: str) -> None:
    status, answer = await api.call("PATCH", path, token="")
    assert status in (404, 405)
    assert set(answer) == {"detail", "error_code", "status_code"}
    assert answer["error_code"] == {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}[status]


async def test_a_wrong_method_is_told_the_right_ones(api: Api) -> None:
    for path, allowed in (
        ("/messages", "GET, HEAD, POST"),
        ("/messages/x", "DELETE, GET, HEAD, PUT"),
        ("/health", "GET, HEAD"),
        ("/inbox/x", "POST"),
    ):
        assert (await api.call("PATCH", path))[0] == 405
        assert api.last_headers["Allow"] == allowed


async def test_a_body_over_the_limit_is_refused_also_when_it_comes_in_chunks(make_api: MakeApi) -> None:
    api = await make_api(max_body_bytes=1000, max_batch_bytes=5000)

    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 100):
            yield b" " * 100

    headers = {"Authorization": f"Bearer {TOKEN}"}
    for path, limit in (("/messages", 1000), ("/messages/batch", 5000), ("/messages/bulk", 1000)):
        status, answer = await api.call("POST", path, b" " * (limit + 1))
        assert (status, answer["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert api.last_headers["Connection"] == "close"
        async with api.client.post(path, data=chunks(limit + 100), headers=headers) as response:
            assert response.status == 413
        async with api.client.post(path, data=chunks(limit), headers=headers) as response:
            assert response.status in (400, 422), "exactly the limit is fine, but it is no JSON"


async def test_an_item_of_a_batch_has_the_limit_of_a_single_message(make_api: MakeApi) -> None:
    api = await make_api(max_body_bytes=1000)
    _, answer = await api.call("POST", "/messages/batch", {"messages": [BODY | {"payload": "x" * 1000}]})
    assert answer["results"][0]["error"]["error_code"] == "PAYLOAD_TOO_LARGE"


async def test_a_body_that_cannot_be_unpacked_is_the_clients_fault(api: Api) -> None:
    status, answer = await api.call("POST", "/messages", b"no gzip at all", {"Content-Encoding": "gzip"})
    assert (status, answer["error_code"]) == (422, "VALIDATION_ERROR")


async def test_a_packed_body_is_measured_unpacked(make_api: MakeApi) -> None:
    api = await make_api(max_body_bytes=1000)
    packed = gzip.compress(b" " * 1_000_000)
    assert (await api.call("POST", "/messages", packed, {"Content-Encoding": "gzip"}))[0] == 413
    packed = gzip.compress(orjson.dumps(BODY))
    assert (await api.call("POST", "/messages", packed, {"Content-Encoding": "gzip"}))[0] == 201


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_that_needs_the_store_answers_503_without_it(make_api: MakeApi, route: Any) -> None:
    store: Any = BrokenStore(StoreUnavailable(Sentence("The store does not answer.")))
    api = await make_api(store=store)
    path = re.sub(r"\{\w+_id\}", JOB_ID, route.path).replace("{id}", "x").replace("{any}", "x")
    body: object = BODY if route.path in ("/messages", "/messages/{id}") else {"prefix": "x"}
    if route.method == "PUT":
        body = BODY | {"id": "x"}
    if route.invalid_status == 400 and (examples := REQUESTS.get((route.method, route.path))):
        body = next(iter(examples.values()))
    if route.path == "/messages/batch":
        body = {"messages": [BODY]}
    if route.path == "/messages/search":
        path += "?prefix=x"
    if route.path == "/webhooks":
        path += f"?job_id={JOB_ID}"
    status, answer = await api.call(route.method, path, body if route.method != "GET" else None)
    if route.handler in (jobs.preview, bots.preview):
        assert status == 400, "it needs no store, only a schedule"
    elif "inbox" in path:
        assert status == 200
    elif "health" in path:
        assert (status, answer["status"]) == (503, "unhealthy")
    else:
        assert (status, answer["error_code"]) == (503, "STORE_UNAVAILABLE")
        assert api.last_headers["Retry-After"] == "1"


async def test_a_bug_is_a_500_that_tells_nothing(make_api: MakeApi) -> None:
    store: Any = BrokenStore(RuntimeError("the password is swordfish"))
    api = await make_api(store=store)
    status, answer = await api.call("GET", "/messages/x")
    assert (status, answer["error_code"], answer["status_code"]) == (500, "INTERNAL_ERROR", 500)
    assert "swordfish" not in orjson.dumps(answer).decode()
    assert REQUEST_ID in api.last_headers


async def test_a_sane_request_id_comes_back_and_another_is_replaced(api: Api) -> None:
    for path in ("/health", "/messages", "/nowhere", "/messages/search"):
        await api.call("GET", path, headers={"X-Request-ID": "My.id_7-"})
        assert api.last_headers[REQUEST_ID] == "My.id_7-"
    made = set()
    for bad in ("", "a b", "x" * 129, "é", "<x>"):
        await api.call("GET", "/health", headers={"X-Request-ID": bad})
        made.add(api.last_headers[REQUEST_ID])
    assert len(made) == 5
    assert "a b" not in made


async def test_answers_are_json_in_utf8_that_nobody_caches(api: Api) -> None:
    await api.call("GET", "/messages")
    assert api.last_headers["Content-Type"] == "application/json; charset=utf-8"
    assert api.last_headers["Cache-Control"] == "no-store"


async def test_a_body_is_json_whatever_its_content_type(api: Api) -> None:
    for number, kind in enumerate(("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")):
        body = BODY | {"id": f"m{number}"}
        assert (await api.call("POST", "/messages", body, {"Content-Type": kind}))[0] == 201


async def test_portuguese_is_spoken_to_who_asks_for_it(api: Api) -> None:
    pt = {"Accept-Language": "pt-BR,pt;q=0.9,en;q=0.8"}
    _, answer = await api.call("POST", "/messages", BODY, pt)
    assert answer["status"] == "agendada"
    _, answer = await api.call("POST", "/messages", BODY | {"id": 1}, pt)
    assert answer["errors"]["id"] == ["deve ser um texto"]
    assert answer["error_code"] == "VALIDATION_ERROR"
    assert (await api.call("DELETE", "/messages/m", None, pt))[1]["status"] == "removida"
    _, answer = await api.call("GET", "/health", None, pt)
    assert (answer["status"], answer["redis"]) == ("saudável", "conectado")


async def test_portuguese_may_be_the_setting(make_api: MakeApi) -> None:
    api = await make_api(language="pt")
    assert (await api.call("POST", "/messages", BODY))[1]["status"] == "agendada"
    answer = await api.call("DELETE", "/messages/m", None, {"Accept-Language": "en"})
    assert answer[1]["status"] == "deleted"


async def test_too_many_requests_of_one_credential_are_put_off(make_api: MakeApi) -> None:
    api = await make_api(rate_limit_per_second=2)
    assert [(await api.call("GET", "/messages"))[0] for _ in range(3)] == [200, 200, 429]
    assert api.last_headers["Retry-After"] == "1"
    assert [(await api.call("GET", "/messages", token="wrong"))[0] for _ in range(3)] == [401, 401, 429]
    assert (await api.call("GET", "/health"))[0] == 200, "probes are not counted"
    api.clock.move(0.5)
    assert [(await api.call("GET", "/messages"))[0] for _ in range(2)] == [200, 429]
