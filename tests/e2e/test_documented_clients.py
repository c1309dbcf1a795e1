"""Clients written for the three systems this service replaces: each makes every call its document shows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import HEADERS, Service
from tests.support.receiver import Receiver

_FAR = "2096-04-15T02:41:45.000Z"


@contextmanager
def _client(service: Service) -> Iterator[httpx.Client]:
    # A plain, blocking client, as in those users' scripts.
    with httpx.Client(base_url=service.url, headers=HEADERS, timeout=10) as client:
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
