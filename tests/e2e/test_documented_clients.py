"""Clients written for the systems this service replaces: each makes every call its document shows."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jwt

from tests.support.processes import HEADERS, Service
from tests.support.receiver import Receiver

_FAR = "2096-04-15T02:41:45.000Z"


@contextmanager
def _client(service: Service) -> Iterator[httpx.Client]:
    # A plain, blocking client, as in those users' scripts.
    with httpx.Client(base_url=service.url, headers=HEADERS, timeout=30) as client:
        yield client


def _message(message_id: str, url: str, when: str = _FAR) -> dict[str, Any]:
    return {"id": message_id, "scheduleTo": when, "payload": {"data": "your webhook payload"}, "webhookUrl": url}


async def test_messages_with_retry_and_health(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        await asyncio.to_thread(_retry_and_health, service)


def _retry_and_health(service: Service) -> None:
    with _client(service) as client:
        body = {
            "id": "msg-unique-id-123",
            "scheduleTo": "2096-04-15T02:41:45.000Z",
            "payload": {"message": "Sua mensagem aqui", "data": {"customField": "valor"}},
            "webhookUrl": "https://seu-webhook.example/endpoint",
        }
        created = client.post("/messages", json=body)
        assert created.status_code == 201
        assert (
            created.json().items()
            >= {
                "status": "scheduled",
                "messageId": "msg-unique-id-123",
                "scheduledFor": "2096-04-15T02:41:45+00:00",
            }.items()
        )
        assert client.post("/messages", json=body).status_code == 409
        assert client.post("/messages", json=body | {"id": "x", "scheduleTo": "amanhã"}).status_code == 422
        assert client.post("/messages", json={"id": "x"}).status_code == 422

        listed = client.get("/messages")
        assert listed.status_code == 200
        [job] = listed.json()["scheduledJobs"]
        assert (
            job.items()
            >= {
                "messageId": "msg-unique-id-123",
                "nextRun": "2096-04-15T02:41:45+00:00",
                "trigger": "date[2096-04-15 02:41:45 UTC]",
                "webhookUrl": "https://seu-webhook.example/endpoint",
            }.items()
        )
        assert listed.json()["count"] == 1
        assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", listed.json()["timestamp"])

        health = client.get("/health", headers={"Authorization": ""})
        assert health.status_code == 200
        told = health.json()
        assert (told["status"], told["redis"], told["scheduler"]) == ("healthy", "connected", "running")
        assert told["scheduled_jobs"] == 1
        assert re.fullmatch(r"(\d+d )?(\d+h )?(\d+m )?\d+s", told["uptime"])
        assert told["version"]

        deleted = client.delete("/messages/msg-unique-id-123")
        assert (deleted.status_code, deleted.json()) == (
            200,
            {"status": "deleted", "messageId": "msg-unique-id-123"},
        )
        assert client.delete("/messages/msg-unique-id-123").status_code == 404
        assert client.get("/messages", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/messages", headers={"Authorization": ""}).status_code == 401


async def test_messages_with_search_and_upsert(tmp_path: Path) -> None:
    async with Service(tmp_path, {"MESSAGE_ON_CONFLICT": "replace"}) as service, Receiver() as receiver:
        await asyncio.to_thread(_search_and_upsert, service, receiver.url())
        # In the past: sent at once, once, and gone.
        [request] = await receiver.wait_for(1)
        assert request.json() == {"data": "your webhook payload"}
        await asyncio.to_thread(_is_gone, service, "unique-message-id")
        assert len(receiver.requests) == 1


def _search_and_upsert(service: Service, url: str) -> None:
    prefix = "123_5511999999999"
    with _client(service) as client:
        for suffix in ("2h", "12h", "24h"):
            created = client.post("/messages", json=_message(f"{prefix}_{suffix}", url))
            assert created.json().items() >= {"status": "scheduled", "messageId": f"{prefix}_{suffix}"}.items()
        # The same id again takes the place of the old one.
        again = _message(f"{prefix}_2h", url, "2096-12-25T10:30:00Z")
        assert client.post("/messages", json=again).json()["status"] == "scheduled"
        assert client.get("/messages").json()["count"] == 3

        one = client.get(f"/messages/{prefix}_2h")
        assert one.status_code == 200
        assert one.json().items() >= again.items()
        assert client.get("/messages/unknown").status_code == 404

        found = client.get("/messages/search", params={"prefix": prefix}).json()
        assert found["count"] == 3
        assert {message["id"] for message in found["messages"]} == {f"{prefix}_{s}" for s in ("2h", "12h", "24h")}
        assert all(message["nextRun"] and message["payload"] and message["webhookUrl"] for message in found["messages"])
        assert client.get("/messages/search?contains=_24h").json()["count"] == 1
        assert client.get("/messages/search").status_code == 400
        assert client.delete("/messages/bulk").status_code == 400

        assert client.delete("/messages/bulk?contains=_12h").json() == {
            "deleted": 1,
            "messageIds": [f"{prefix}_12h"],
        }
        gone = client.delete("/messages/bulk", params={"prefix": prefix}).json()
        assert gone["deleted"] == 2
        assert set(gone["messageIds"]) == {f"{prefix}_2h", f"{prefix}_24h"}
        assert client.get("/messages").json()["scheduledJobs"] == []

        assert client.post("/messages", json=_message("a", url)).status_code in (200, 201)
        assert client.delete("/messages/a").json() == {"status": "deleted", "messageId": "a"}
        assert (
            client.get("/health", headers={"Authorization": ""}).json().items()
            >= {
                "status": "healthy",
                "redis": "connected",
            }.items()
        )
        client.post("/messages", json=_message("unique-message-id", url, "2024-12-25T10:30:00Z"))


def _is_gone(service: Service, message_id: str) -> None:
    with _client(service) as client:
        for _ in range(500):
            if client.get(f"/messages/{message_id}").status_code == 404:
                return
    raise AssertionError("still there")


async def test_messages_in_portuguese(tmp_path: Path) -> None:
    async with Service(tmp_path, {"API_LANGUAGE": "pt"}) as service:
        await asyncio.to_thread(_in_portuguese, service)


def _in_portuguese(service: Service) -> None:
    with _client(service) as client:
        body = _message("id-unico-da-mensagem", "https://seu-endpoint-webhook.example", "2096-12-25T10:30:00Z")
        created = client.post("/messages", json=body)
        assert created.json().items() >= {"status": "agendada", "messageId": "id-unico-da-mensagem"}.items()
        conflict = client.post("/messages", json=body)
        assert (conflict.status_code, conflict.json()["error_code"]) == (409, "MESSAGE_EXISTS")
        assert "mensagem" in conflict.json()["detail"].lower()

        listed = client.get("/messages").json()
        assert listed["count"] == 1
        [job] = listed["scheduledJobs"]
        assert job["messageId"] == "id-unico-da-mensagem"
        assert job["nextRun"].startswith("2096-12-25T10:30:00")
        assert job["job"]

        assert client.delete("/messages/id-unico-da-mensagem").json() == {
            "status": "removida",
            "messageId": "id-unico-da-mensagem",
        }
        assert client.delete("/messages/id-unico-da-mensagem").status_code == 404
        health = client.get("/health", headers={"Authorization": ""}).json()
        assert health.items() >= {"status": "saudável", "redis": "conectado"}.items()
        assert client.get("/messages", headers={"Authorization": ""}).status_code == 401


_ACCOUNT = "123e4567-e89b-12d3-a456-426614174000"
_JWT_SECRET = "a-secret-that-the-authentication-service-shares"


def _token(account: str, **claims: Any) -> str:
    return jwt.encode(
        {"sub": account, "aud": "authenticated", "exp": int(time.time()) + 3600} | claims, _JWT_SECRET, "HS256"
    )


async def test_account_jobs_and_webhooks(tmp_path: Path) -> None:
    async with Service(tmp_path, {"SUPABASE_JWT_SECRET": _JWT_SECRET}) as service, Receiver() as receiver:
        await asyncio.to_thread(_account_jobs, service, receiver.url())
        [request] = await receiver.wait_for(1)
        assert request.body == b'{"action": "backup"}'
        assert request.headers["Authorization"] == "Bearer api-key"
        await asyncio.to_thread(_executions, service, request.headers["X-Scheduler-Job-Id"])


def _account_jobs(service: Service, url: str) -> None:
    base_url, token = service.url, _token(_ACCOUNT)
    # The program of the document, its addresses and ids filled in.
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    response = httpx.post(
        f"{base_url}/api/jobs",
        headers=headers,
        json={"account_id": _ACCOUNT, "name": "Daily Backup", "schedule": "0 2 * * *", "type": 1},
    )
    assert response.status_code == 201
    job = response.json()
    assert (
        job.items()
        >= {
            "account_id": _ACCOUNT,
            "name": "Daily Backup",
            "schedule": "0 2 * * *",
            "type": 1,
            "timezone": "UTC",
            "enabled": True,
            "last_run_at": None,
        }.items()
    )
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT02:00:00Z", job["next_run_at"])
    for member in ("created_at", "updated_at"):
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", job[member])
    response = httpx.post(
        f"{base_url}/webhooks",
        headers=headers,
        json={
            "job_id": job["id"],
            "url": url,
            "method": "POST",
            "headers": {"Authorization": "Bearer api-key"},
            "body_template": '{"action": "backup"}',
        },
    )
    assert response.status_code == 201
    webhook = response.json()
    assert (
        webhook.items()
        >= {
            "job_id": job["id"],
            "url": url,
            "method": "POST",
            "headers": {"Authorization": "Bearer api-key"},
            "query_params": None,
            "body_template": '{"action": "backup"}',
        }.items()
    )
    response = httpx.get(f"{base_url}/api/jobs/{job['id']}/executions", headers=headers)
    assert response.json() == {"items": [], "total": 0, "skip": 0, "limit": 100}

    with httpx.Client(base_url=base_url, headers=headers, timeout=30) as client:
        path = f"/api/jobs/{job['id']}"
        assert client.get(path).json() == job | {"updated_at": client.get(path).json()["updated_at"]}
        listed = client.get("/api/jobs", params={"account_id": _ACCOUNT, "limit": 50, "enabled": "true"}).json()
        assert ([item["id"] for item in listed["items"]], listed["total"]) == ([job["id"]], 1)
        assert (listed["skip"], listed["limit"]) == (0, 50)

        changed = client.put(
            path, json={"name": "Updated Job Name", "schedule": "0 3 * * *", "type": 2, "timezone": "America/New_York"}
        )
        assert changed.status_code == 200
        assert changed.json().items() >= {"name": "Updated Job Name", "schedule": "0 3 * * *", "type": 2}.items()
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT0[78]:00:00Z", changed.json()["next_run_at"])
        disabled = client.patch(f"{path}/disable")
        assert (disabled.status_code, disabled.json()["enabled"]) == (200, False)
        assert client.get(path).json()["next_run_at"] is None
        enabled = client.patch(f"{path}/enable")
        assert enabled.json().items() >= {"id": job["id"], "enabled": True}.items()
        assert "updated_at" in enabled.json()

        there = f"/webhooks/{webhook['id']}"
        assert client.get(there).json()["body_template"] == '{"action": "backup"}'
        updated = client.put(there, json={"url": f"{url}/new", "method": "PUT"})
        assert updated.json().items() >= {"id": webhook["id"], "url": f"{url}/new", "method": "PUT"}.items()
        assert client.put(there, json={"url": url, "method": "POST"}).status_code == 200

        metrics = client.get("/metrics").json()
        assert metrics["jobs"] == {"total": 1, "enabled": 1, "disabled": 0}
        assert metrics["executions"].keys() >= {
            *("total", "queued", "running", "success", "failure", "dead_letter", "success_rate", "avg_duration_ms"),
        }
        assert client.get("/health", headers={"Authorization": ""}).json()["service"] == "scheduler"
        detailed = client.get("/health/detailed", headers={"Authorization": ""}).json()
        assert (
            detailed.items()
            >= {
                "status": "healthy",
                "service": "scheduler",
                "database": "connected",
                "redis": "connected",
                "scheduler_service": "running",
            }.items()
        )
        _refusals(client, path, job)
        assert client.post(f"{path}/run").status_code == 202


def _refusals(client: httpx.Client, path: str, job: dict[str, Any]) -> None:
    body = {"account_id": _ACCOUNT, "name": "n", "schedule": "0 2 * * *", "type": 1}

    def refused(response: httpx.Response, status: int, code: str) -> None:
        told = response.json()
        assert (response.status_code, told["error_code"], told["status_code"]) == (status, code, status), told
        assert told["detail"]

    refused(client.post("/api/jobs", json=body | {"schedule": "61 * * * *"}), 400, "INVALID_CRON_EXPRESSION")
    refused(client.put(path, json={"schedule": "never"}), 400, "INVALID_CRON_EXPRESSION")
    refused(client.post("/api/jobs", json=body | {"name": ""}), 400, "VALIDATION_ERROR")
    refused(client.get(path, headers={"Authorization": ""}), 401, "UNAUTHORIZED")
    unknown = "00000000-0000-4000-8000-000000000000"
    refused(client.get(f"/api/jobs/{unknown}"), 404, "JOB_NOT_FOUND")
    refused(client.get(f"/webhooks/{unknown}"), 404, "WEBHOOK_NOT_FOUND")
    stranger = {"Authorization": f"Bearer {_token(unknown)}"}
    refused(client.get(path, headers=stranger), 403, "FORBIDDEN")
    refused(client.post("/api/jobs", json=body, headers=stranger), 403, "FORBIDDEN")
    refused(client.get("/api/jobs", params={"account_id": job["account_id"]}, headers=stranger), 403, "FORBIDDEN")


def _executions(service: Service, job_id: str) -> None:
    headers = {"Authorization": f"Bearer {_token(_ACCOUNT)}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
        path = f"/api/jobs/{job_id}"
        while not (done := client.get(f"{path}/executions", params={"status": "success"}).json())["items"]:
            time.sleep(0.01)
        [execution] = done["items"]
        assert execution.items() >= {"job_id": job_id, "response_code": 200, "attempt": 1}.items()
        assert execution.keys() >= {"id", "started_at", "finished_at", "worker_id", "duration_ms", "created_at"}
        assert client.get(f"{path}/executions", params={"status": "failure"}).json()["items"] == []
        assert client.get(path).json()["last_run_at"] is not None
        assert client.delete(f"/webhooks/{execution['webhook_id']}").status_code == 204
        assert client.delete(path).status_code == 204
        assert client.get(path).status_code == 404


async def test_bot_jobs(tmp_path: Path) -> None:
    contacts = tmp_path / "contacts.csv"
    contacts.write_text(f"name,birthday,phone\nAna Souza,{datetime.now(UTC):--%m-%d},+5511999999999\n")
    async with Receiver() as receiver:
        settings = {
            "API_KEY": "a-key-of-its-own",
            "BIRTHDAY_CONTACTS": str(contacts),
            "BIRTHDAY_WEBHOOK_URL": receiver.url(),
        }
        async with Service(tmp_path, settings) as service:
            await asyncio.to_thread(_bot_jobs, service)
            [greeting] = await receiver.wait_for(1)
            assert greeting.json()["message"] == "Happy birthday, Ana!"


def _bot_jobs(service: Service) -> None:
    headers = {"X-API-Key": "a-key-of-its-own"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
        body = {
            "name": "Daily Birthday Messages",
            "description": "Send birthday messages every day at 8am",
            "bot_type": "birthday",
            "enabled": True,
            "schedule_type": "daily",
            "schedule_config": {"hour": 8, "minute": 0},
            "bot_config": {"dry_run": False, "process_late": True, "max_days_late": 7, "max_messages_per_run": 10},
        }
        created = client.post("/scheduler/jobs", json=body)
        assert created.status_code == 201
        job = created.json()
        assert job.items() >= body.items()
        assert (job["last_run_at"], job["last_run_status"], job["last_run_error"]) == (None, None, None)
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT08:00:00Z", job["next_run_at"])
        path = f"/scheduler/jobs/{job['id']}"
        assert client.get("/scheduler/jobs").json() == [job]
        assert client.get("/scheduler/jobs", params={"enabled_only": "true"}).json() == [job]
        assert client.get(path).json() == job

        changed = client.put(path, json={"enabled": False, "schedule_config": {"hour": 9, "minute": 30}}).json()
        assert changed.items() >= {"enabled": False, "schedule_config": {"hour": 9, "minute": 30}}.items()
        assert client.get("/scheduler/jobs", params={"enabled_only": "true"}).json() == []
        toggled = client.post(f"{path}/toggle", json={"enabled": True}).json()
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT09:30:00Z", toggled["next_run_at"])

        run = client.post(f"{path}/run")
        assert (run.status_code, run.json()["status"]) == (202, "queued")
        assert job["id"] in run.json()["message"]
        while (history := client.get(f"{path}/history", params={"limit": 20}).json())[0]["status"] != "success":
            time.sleep(0.01)
        [entry] = history
        assert entry.items() >= {"job_id": job["id"], "error": None, "messages_sent": 1, "profiles_visited": 0}.items()
        assert entry["result"]["messages_sent"] == 1
        assert entry["started_at"] <= entry["finished_at"]
        assert client.get(path).json()["last_run_status"] == "success"

        assert client.get(f"{path}/history", params={"limit": 201}).status_code == 400
        assert client.post("/scheduler/jobs", json=body | {"bot_type": "dancer"}).status_code == 400
        assert client.get("/scheduler/jobs", headers={"X-API-Key": "wrong"}).status_code == 401
        health = client.get("/scheduler/health", headers={"X-API-Key": ""})
        assert health.json() == {
            "status": "healthy",
            "scheduler_running": True,
            "redis_connected": True,
            "total_jobs": 1,
            "enabled_jobs": 1,
        }
        assert client.delete(path).status_code == 204
        for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/run"), ("GET", f"{path}/history")):
            assert client.request(method, where).status_code == 404
