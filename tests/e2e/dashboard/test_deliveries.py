"""The view of deliveries: a live tail with filters, and where the time of one went."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import orjson
import pytest_asyncio

from tests.e2e.dashboard.conftest import Opener
from tests.support.browser import assert_accessible, assert_fits
from tests.support.client import Client, now_ms
from tests.support.processes import TOKEN
from tests.support.receiver import Answer, Receiver

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page, Route


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as started:
        yield started


def row(page: Page, id_: str) -> Locator:
    return page.get_by_role("row").filter(has_text=id_)


async def deliver(client: Client, receiver: Receiver, *ids: str) -> None:
    """Send messages now, and return once each is in the log."""
    for id_ in ids:
        await client.schedule(id_, now_ms(), receiver.url())
    for id_ in ids:
        for _ in range(300):
            if (await client.call("GET", f"/deliveries?messageId={id_}"))[1]["deliveries"]:
                break


async def live(page: Page) -> None:
    await page.locator("header").get_by_text("Live", exact=True).wait_for()


def delivery(number: int, **more: Any) -> dict[str, Any]:
    """A row of the log, later than any of the service's own."""
    at = "2030-04-15T02:41:45.000+00:00"
    names = ("scheduledFor", "dueAt", "claimedAt", "startedAt", "sentAt", "answeredAt", "finishedAt")
    told = {"attempt": 1, "status": "success", "latenessMs": 12.4, "durationMs": 300.0, "responseCode": 200}
    return (
        {"id": f"1902345678901-{number}", "messageId": f"made-{number}", "error": None}
        | dict.fromkeys(names, at)
        | told
        | more
    )


async def test_attempts_appear_as_they_end_with_lateness_and_answer(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    page = await open_page("deliveries")
    await live(page)
    await deliver(client, receiver, "tail-1")
    first = row(page, "tail-1")
    await first.get_by_text(re.compile(r"^\d+ ms$|^\d\.\d s$")).first.wait_for()
    await first.get_by_text("Delivered").wait_for()
    await first.get_by_text("200").wait_for()
    await deliver(client, receiver, "tail-2")
    await row(page, "tail-2").wait_for()
    ids = await page.locator("tbody .row-link").all_inner_texts()
    assert ids.index("tail-2") < ids.index("tail-1")
    await assert_accessible(page)


async def test_a_pause_holds_the_list_and_counts_what_comes(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    page = await open_page("deliveries")
    await live(page)
    await page.get_by_role("button", name="Pause").press("Enter")
    await page.get_by_text("Nothing came since").wait_for()
    await deliver(client, receiver, "held-1", "held-2")
    await page.get_by_text("2 came since").wait_for()
    assert await row(page, "held-").count() == 0
    await page.get_by_role("button", name="Resume").press("Enter")
    await row(page, "held-2").wait_for()
    assert await row(page, "held-").count() == 2


async def test_who_reads_further_down_is_not_pushed_away(open_page: Opener, client: Client, receiver: Receiver) -> None:
    await deliver(client, receiver, *(f"deep-{number}" for number in range(30)))
    page = await open_page("deliveries")
    await live(page)
    await row(page, "deep-29").wait_for()
    await page.evaluate("scrollTo(0, 500)")
    await deliver(client, receiver, "surface-1")
    await page.get_by_role("button", name="One new delivery").wait_for()
    assert await page.evaluate("scrollY") == 500
    await page.get_by_role("button", name="One new delivery").click()
    await row(page, "surface-1").wait_for()
    assert await page.evaluate("scrollY") == 0


async def test_filters_keep_what_fits_also_of_what_comes_and_stand_in_the_address(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    receiver.script.extend([Answer(status=500), Answer(), Answer()])
    await deliver(client, receiver, "filter-bad")
    await deliver(client, receiver, "filter-good")
    page = await open_page("deliveries")
    await live(page)
    await row(page, "filter-good").wait_for()
    await page.get_by_label("Status").select_option("failure")
    await row(page, "filter-good").wait_for(state="detached")
    await row(page, "filter-bad").filter(has_text="500").wait_for()
    assert page.url.endswith("status=failure")
    await page.get_by_label("Only").select_option("message")
    await page.get_by_label("Message id").fill("filter-good")
    await page.get_by_role("heading", name="None fits").wait_for()
    await page.get_by_role("button", name="Show all").click()
    await row(page, "filter-bad").first.wait_for()
    await page.get_by_label("Only").select_option("message")
    await page.get_by_label("Message id").fill("filter-bad")
    await row(page, "filter-good").wait_for(state="detached")
    assert await page.locator("tbody .row-link").all_inner_texts() == ["filter-bad", "filter-bad"]
    await deliver(client, receiver, "filter-other")
    await client.schedule("filter-bad", now_ms(), receiver.url())
    await page.locator("tbody .row-link").nth(2).wait_for()
    assert await row(page, "filter-other").count() == 0


async def test_the_search_looks_through_ids_and_errors(open_page: Opener, client: Client, receiver: Receiver) -> None:
    await client.schedule("refused-1", now_ms(), "http://127.0.0.1:9/nobody", retry={"maxAttempts": 1})
    await deliver(client, receiver, "search-1")
    page = await open_page("deliveries")
    await row(page, "search-1").wait_for()
    await row(page, "refused-1").first.wait_for()
    await page.get_by_label("Search").fill("CONNECTION REF")
    await row(page, "search-1").wait_for(state="detached")
    await row(page, "refused-1").first.wait_for()
    await page.get_by_text(re.compile(r"^\d+ of the latest \d+ deliveries$")).wait_for()
    await page.get_by_label("Search").fill("nothing is called so")
    await page.get_by_role("heading", name="None fits").wait_for()


async def test_details_say_where_the_time_went_and_lead_on(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    receiver.script.append(Answer(status=410))
    await deliver(client, receiver, "detail-1")
    page = await open_page("deliveries?message=detail-1")
    await page.get_by_role("link", name="detail-1", exact=True).press("Enter")
    panel = page.get_by_role("dialog", name="detail-1")
    for phase in ("Waited to be taken up", "Connected and sent", "Waited for the answer", "Read the answer"):
        await panel.get_by_text(phase).wait_for()
    await panel.get_by_text("HTTP 410").wait_for()
    await assert_accessible(page)
    await panel.get_by_role("link", name="Look among the dead letters").click()
    await page.get_by_role("dialog", name="detail-1").get_by_role("button", name="Replay").wait_for()
    await page.go_back()
    await panel.get_by_text("Where the time went").wait_for()
    await page.keyboard.press("Escape")
    await page.get_by_role("dialog").wait_for(state="detached")
    assert page.url.endswith("#/deliveries?message=detail-1")


async def test_a_flood_leaves_few_rows_in_the_page_and_older_ones_within_reach(open_page: Opener) -> None:
    page = await open_page(secret=None)
    flooded, listed_once = False, asyncio.Event()
    log = [delivery(number) for number in range(2000, 0, -1)]
    events = "".join(f"event: delivery\ndata: {orjson.dumps(one).decode()}\n\n" for one in reversed(log[:1500]))

    async def listed(route: Route) -> None:
        asked = dict(part.split("=") for part in route.request.url.split("?")[1].split("&"))
        start, limit = int(asked.get("cursor", "0")), int(asked["limit"])
        end = start + limit
        found = log[start:end] if flooded else log[1500:][start:end]
        await route.fulfill(json={"deliveries": found, "nextCursor": str(end) if len(found) == limit else None})
        listed_once.set()

    async def flood(route: Route) -> None:
        nonlocal flooded
        await listed_once.wait()
        flooded = True
        await route.fulfill(status=200, headers={"Content-Type": "text/event-stream"}, body=events)

    await page.route(re.compile(r"/deliveries\?"), listed)
    await page.route("**/events", flood)
    await page.goto(page.url.split("#")[0] + "#/deliveries")
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await row(page, "made-2000").wait_for()
    assert await page.locator("tbody tr").count() < 80
    await row(page, "made-2000").get_by_text("12 ms").wait_for()
    await row(page, "made-2000").get_by_text("0.3 s").wait_for()
    for target in (1900, 1400, 1):
        await page.evaluate(
            "async (place) => { while (![...document.querySelectorAll('tbody .row-link')]"
            ".some((one) => one.textContent === `made-${2000 - place}`)) "
            "{ scrollTo(0, 44 * place); await new Promise(requestAnimationFrame); } }",
            2000 - target,
        )
    assert await page.locator("tbody tr").count() < 80


async def test_a_narrow_dark_portuguese_screen_holds_it_all(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    await deliver(client, receiver, "estreita-" + "y" * 120)
    page = await open_page("deliveries", width=390, locale="pt-BR", color_scheme="dark")
    await page.get_by_role("heading", level=1, name="Entregas").wait_for()
    await row(page, "estreita-").get_by_text("Entregue").wait_for()
    await assert_fits(page)
    await assert_accessible(page)
    await page.locator(".row-link").first.click()
    await page.get_by_role("dialog").get_by_text("Para onde foi o tempo").wait_for()
    await assert_fits(page)
    await assert_accessible(page)


async def test_without_a_stream_the_list_is_polled_for(open_page: Opener, client: Client, receiver: Receiver) -> None:
    await deliver(client, receiver, "polled-first")
    page = await open_page("deliveries", secret=None)
    await page.clock.install()
    await page.route("**/events", lambda route: route.fulfill(status=200, body="no stream"))
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.locator("header").get_by_text("Polling").wait_for()
    await row(page, "polled-first").wait_for()
    await deliver(client, receiver, "polled-delivery")
    await page.clock.fast_forward(6000)
    await page.clock.fast_forward(1000)
    await row(page, "polled-delivery").wait_for()
