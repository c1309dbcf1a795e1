"""Every view, wide and narrow, light and dark, of a service that has something to show.

``SCREENSHOTS=docs/images`` keeps the pictures that the README shows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support.browser import Watch, assert_fits
from tests.support.client import Client
from tests.support.processes import TOKEN, Service
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from playwright.async_api import Browser

VIEWS = ("overview", "upcoming", "deliveries", "dead-letters", "jobs")
#: What the README shows: wide and light.
SHOWN = ("overview", "upcoming")
ACCOUNT = "123e4567-e89b-12d3-a456-426614174000"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clinic(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service that reminds patients, sends follow-ups and lost a few of them."""
    redis = RedisServer(append_only=True)
    redis.start()
    settings = {"REDIS_URL": redis.url, "RETRY_MAX_ATTEMPTS": "1", "TIMEZONE": "America/Sao_Paulo"}
    try:
        async with Service(tmp_path_factory.mktemp("clinic"), settings) as service, Client(service.url) as client:
            await _fill(client, service)
            yield service
    finally:
        redis.close()


async def _fill(client: Client, service: Service) -> None:
    inbox = f"{service.url}/inbox/whatsapp"
    sent = [_message(f"reminder_{number:03}", "1s", inbox) for number in range(40)]
    lost = [_message(f"survey_{number:03}", "1s", "http://127.0.0.1:9/gone") for number in range(7)]
    coming = [
        _message(f"123_55119{number:08}_{delay}", delay, inbox)
        for number in range(12)
        for delay in (f"{5 + 4 * number}m", "2h", "12h", "24h")
    ]
    assert (await client.call("POST", "/messages/batch", {"messages": sent + lost + coming}))[0] == 200
    for name, schedule in (("Opening hours", "0 8 * * mon-fri"), ("Evening report", "30 19 * * *")):
        members: dict[str, Any] = {"account_id": ACCOUNT, "name": name, "type": 1, "schedule": schedule}
        status, job = await client.call("POST", "/api/jobs", members)
        assert status == 201, job
        webhook = {"job_id": job["id"], "url": f"{service.url}/inbox/jobs", "method": "POST"}
        assert (await client.call("POST", "/webhooks", webhook))[0] == 201
        assert (await client.call("POST", f"/api/jobs/{job['id']}/run"))[0] == 202

    async with asyncio.timeout(30):
        while len((await client.call("GET", "/deliveries?limit=100"))[1]["deliveries"]) < len(sent) + len(lost) + 2:
            await asyncio.sleep(0.05)


def _message(message_id: str, delay: str, url: str) -> dict[str, Any]:
    payload = {"text": "Are you still there?", "contact": message_id}
    return {"id": message_id, "delay": delay, "payload": payload, "webhookUrl": url}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_every_view_fits_and_can_be_shown(
    browser: Browser, clinic: Service, tmp_path: Path, width: int, scheme: Any
) -> None:
    watch = Watch(clinic.url)
    context = await browser.new_context(
        viewport={"width": width, "height": 900 if width > 600 else 844},
        color_scheme=scheme,
        locale="en-GB",
        timezone_id="America/Sao_Paulo",
        reduced_motion="reduce",
    )
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        page = await context.new_page()
        await watch.follow(page)
        await page.goto(f"{clinic.url}/ui/")
        await page.locator("input[name=token]").fill(TOKEN)
        await page.keyboard.press("Enter")
        await page.get_by_role("status").get_by_role("button").click()
        for view in VIEWS:
            await page.goto(f"{clinic.url}/ui/#/{view}")
            title = view.replace("-", " ").capitalize()
            await page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
            # What is read from the service is there.
            shown = {"deliveries": "reminder_0", "dead-letters": "survey_00", "jobs": "Opening hours"}
            await page.get_by_text(shown.get(view, "123_5511900000000_5m")).first.wait_for()
            await assert_fits(page)
            if "SCREENSHOTS" not in os.environ or (scheme == "light" and width == 1280 and view in SHOWN):
                picture = folder / f"{view}{'' if folder != tmp_path else f'-{width}-{scheme}'}.png"
                assert await page.screenshot(path=picture)
                assert picture.stat().st_size > 10_000
    finally:
        await context.close()
    assert watch.unexpected() == []
