"""The view of dead letters: groups, filters, and what can be done about one or many."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
import pytest_asyncio
import redis

from tests.e2e.dashboard.conftest import Opener
from tests.support.browser import Watch, assert_accessible, assert_fits, click_twice
from tests.support.client import Client, now_ms
from tests.support.processes import TOKEN
from tests.support.receiver import Answer, Receiver

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page, Route


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """Gone below ``/gone``, which makes dead letters at once; content with everything else."""
    async with Receiver() as started:
        started.respond = lambda request: Answer(status=410 if request.target.startswith("/gone") else 200)
        yield started


async def kill(client: Client, receiver: Receiver, *ids: str, **more: Any) -> None:
    """Make dead letters, and return when they are."""
    for id_ in ids:
        status, _ = await client.schedule(id_, now_ms() - 1000, receiver.url("/gone"), **more)
        assert status == 201
    await receiver.until(lambda: len(receiver.requests) >= len(ids))
    for id_ in ids:
        for _ in range(200):
            if (await client.call("GET", f"/dead-letters/{id_}"))[0] == 200:
                break


def row(page: Page, id_: str) -> Locator:
    return page.get_by_role("row").filter(has_text=id_)


def said(page: Page, text: str | re.Pattern[str]) -> Locator:
    return page.locator(".toasts").get_by_text(text)


async def test_without_letters_a_sentence_says_what_would_be_here_and_one_that_comes_appears(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    await client.call("POST", "/dead-letters/discard", {"all": True})
    page = await open_page("dead-letters")
    await page.get_by_role("heading", name="No dead letters").wait_for()
    await assert_accessible(page)
    await page.locator("header").get_by_text("Live", exact=True).wait_for()
    await kill(client, receiver, "fresh-1")
    await row(page, "fresh-1").wait_for()
    await page.get_by_text("1 in all").wait_for()
    # A page that knows of one letter from the beginning hears that it has gone.
    await page.reload()
    await row(page, "fresh-1").wait_for()
    await page.locator("header").get_by_text("Live", exact=True).wait_for()
    await client.call("DELETE", "/dead-letters/fresh-1")
    await page.get_by_role("heading", name="No dead letters").wait_for()


async def test_a_letter_is_replayed_from_its_row_and_what_cannot_be_says_why(
    open_page: Opener, client: Client, receiver: Receiver, watch: Watch
) -> None:
    watch.allowed.append("409")
    await kill(client, receiver, "again-1", "again-2")
    page = await open_page("dead-letters?q=again")
    receiver.respond = lambda request: Answer()
    before = len(receiver.requests)
    await click_twice(page, row(page, "again-1").get_by_role("button", name="Replay"))
    await said(page, "again-1 is sent again").wait_for()
    await row(page, "again-1").wait_for(state="detached")
    await receiver.wait_for(before + 1)
    await page.locator(".toasts").get_by_role("button", name="Watch").click()
    await page.get_by_role("heading", level=1, name="Deliveries").wait_for()
    await page.get_by_role("row").filter(has_text="again-1").filter(has_text="Delivered").wait_for()
    assert len(receiver.requests) == before + 1

    await client.schedule("again-2", now_ms() + 60_000_000, receiver.url())
    await page.go_back()
    await row(page, "again-2").get_by_role("button", name="Replay").click()
    await said(page, re.compile("There is a message with the id")).wait_for()
    await row(page, "again-2").get_by_role("button", name="Replay").wait_for()
    await client.delete("again-2")


async def test_details_tell_all_and_mending_sends_it_elsewhere_with_another_payload(
    open_page: Opener, client: Client, receiver: Receiver, watch: Watch
) -> None:
    watch.allowed.append("422")
    await kill(client, receiver, "mend-1", payload={"n": 9007199254740993}, headers={"X-Tenant": "acme"})
    page = await open_page("dead-letters?q=mend")
    await page.get_by_role("link", name="mend-1", exact=True).focus()
    await page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="mend-1")
    await panel.get_by_text("The receiver answered 410 Gone: it wants no more of these.").wait_for()
    await panel.get_by_text("X-Tenant: acme").wait_for()
    await panel.get_by_text("Attempt 1").wait_for()
    await panel.get_by_text("Waited for the answer").wait_for()
    # Larger than a number of the page can be: it is shown, and sent, as it was written.
    assert '"n": 9007199254740993' in await panel.get_by_role("region", name="Payload").inner_text()
    await assert_accessible(page)
    await panel.get_by_role("button", name="Mend").press("Enter")

    form = page.get_by_role("dialog", name="Mend mend-1")
    url = form.get_by_label("Webhook URL")
    assert await url.input_value() == receiver.url("/gone")
    assert "9007199254740993" in await form.get_by_label("Payload").input_value()
    await url.fill("not a url")
    await form.get_by_label("Payload").fill("{broken")
    await form.get_by_role("button", name="Replay").click()
    await form.get_by_text(re.compile("This is not JSON")).wait_for()
    await form.get_by_label("Payload").fill('{"n": 12345678901234567890}')
    await url.press("Enter")
    await form.get_by_text(re.compile("must not contain spaces")).wait_for()
    assert await url.get_attribute("aria-invalid") == "true"
    await assert_accessible(page)
    await url.fill(receiver.url("/mended"))
    await url.press("Enter")
    await said(page, "mend-1 is sent again").wait_for()
    await page.get_by_role("dialog").wait_for(state="detached")
    await receiver.until(lambda: receiver.requests[-1].target == "/mended")
    assert receiver.requests[-1].body == b'{"n":12345678901234567890}'
    assert receiver.requests[-1].headers["X-Tenant"] == "acme"


async def test_a_letter_can_wait_for_its_time_and_one_is_deleted_once_that_is_confirmed(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    await kill(client, receiver, "later-1", "later-2")
    page = await open_page("dead-letters?q=later")
    await row(page, "later-1").get_by_role("button", name="Mend").click()
    await page.get_by_role("button", name="in 1 h").click()
    await page.get_by_role("dialog").get_by_role("button", name="Replay").click()
    await said(page, re.compile("later-1 will be sent on")).wait_for()
    _, found = await client.call("GET", "/messages/later-1")
    assert found["webhookUrl"] == receiver.url("/gone")
    assert found["payload"] == {"id": "later-1"}
    await client.delete("later-1")

    await row(page, "later-2").get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog", name="Delete later-2?").get_by_role("button", name="Cancel").click()
    await row(page, "later-2").get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog", name="Delete later-2?").get_by_role("button", name="Delete").click()
    await said(page, "later-2 is deleted").wait_for()
    await page.get_by_role("heading", name="None fits").wait_for()
    assert (await client.call("GET", "/dead-letters/later-2"))[0] == 404


async def test_groups_open_their_letters_and_a_whole_group_is_replayed_after_a_question(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    async with Receiver() as other:
        other.respond = lambda request: Answer(status=410)
        await kill(client, other, "other-1")
        await kill(client, receiver, "group-1", "group-2", "group-3")
        page = await open_page("dead-letters")
        group = page.get_by_role("listitem").filter(has_text=f":{receiver.port}")
        await group.get_by_role("link", name=re.compile(f"3.*:{receiver.port}")).click()
        await row(page, "other-1").wait_for(state="detached")
        await page.get_by_text("3 dead letters", exact=True).wait_for()
        assert await page.get_by_label("Reason").input_value() == "gone"
        receiver.respond = lambda request: Answer()
        before = len(receiver.requests)
        await group.get_by_role("button", name="Replay all").click()
        question = page.get_by_role("dialog", name="Replay 3 dead letters?")
        await question.get_by_text(f"Gone, to {receiver.url('')}").wait_for()
        await question.get_by_role("button", name="Replay").click()
        await said(page, "3 are sent again").wait_for()
        await receiver.wait_for(before + 3)
        assert len(other.requests) == 1
        await page.get_by_role("button", name="Show all").first.click()
        await row(page, "other-1").wait_for()


async def test_many_are_deleted_in_steps_with_progress_and_can_be_stopped(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    await kill(client, receiver, *(f"many-{number}" for number in range(5)))
    page = await open_page("dead-letters?q=many-")
    await page.get_by_text("5 dead letters", exact=True).wait_for()
    asked: list[dict[str, Any]] = []

    async def step(route: Route) -> None:
        asked.append(orjson.loads(route.request.post_data or "{}"))
        if len(asked) == 2:
            # Pressed while a step is on its way: it is the last.
            await page.get_by_text("2 of 5").wait_for()
            await page.get_by_role("button", name="Stop").click()
        answer = {"discarded": 2, "messageIds": [], "failed": 0, "nextCursor": f"c{len(asked)}"}
        await route.fulfill(json=answer)

    await page.route("**/dead-letters/discard", step)
    await page.locator(".dead-bar").get_by_role("button", name="Delete all").click()
    await page.get_by_role("dialog", name="Delete 5 dead letters?").get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_text("4 are deleted").wait_for()
    await assert_accessible(page)
    assert [(one["prefix"], one["limit"], one.get("cursor")) for one in asked] == [
        ("many-", 20, None),
        ("many-", 20, "c1"),
    ]
    await page.get_by_role("dialog").get_by_role("button", name="Close").last.click()

    await page.unroute("**/dead-letters/discard")
    for number in (1, 3):
        await page.get_by_role("checkbox", name=f"Select many-{number}").check()
    await page.get_by_text("2 selected").wait_for()
    await page.get_by_role("button", name="Delete selected").click()
    await page.get_by_role("dialog", name="Delete 2 dead letters?").get_by_role("button", name="Delete").click()
    await said(page, "2 are deleted").wait_for()
    await page.get_by_text("3 dead letters", exact=True).wait_for()
    assert [(await client.call("GET", f"/dead-letters/many-{number}"))[0] for number in range(5)] == [
        *(200, 404, 200, 404, 200),
    ]


async def test_what_stays_when_many_are_replayed_is_told(
    open_page: Opener, client: Client, receiver: Receiver, watch: Watch
) -> None:
    watch.allowed.append("409")
    await kill(client, receiver, "stay-1", "stay-2")
    await client.schedule("stay-1", now_ms() + 60_000_000, receiver.url())
    page = await open_page("dead-letters?q=stay")
    for number in (1, 2):
        await page.get_by_role("checkbox", name=f"Select stay-{number}").check()
    await page.get_by_role("button", name="Replay selected").click()
    await page.get_by_role("dialog", name="Replay 2 dead letters?").get_by_role("button", name="Replay").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_text("One is sent again").wait_for()
    await dialog.get_by_text("One stayed: it cannot be sent as it is.").wait_for()
    await dialog.get_by_text(re.compile("There is a message with the id")).wait_for()
    await client.delete("stay-1")


async def test_a_record_that_is_no_message_shows_its_bytes_and_cannot_be_sent(
    open_page: Opener, client: Client, dashboard_redis: Any
) -> None:
    with redis.Redis.from_url(dashboard_redis.url) as store:
        store.set(b"message:broken-1", b"{no json \xff", px=60_000)
    page = await open_page("dead-letters?reason=invalid_record&to=none")
    group = page.locator(".dead-groups li.chosen").filter(has_text="no destination")
    await group.get_by_role("button", name="Delete all").wait_for()
    await row(page, "broken-1").wait_for()
    await page.get_by_text("1 dead letter", exact=True).wait_for()
    assert await row(page, "broken-1").get_by_role("button").all_inner_texts() == ["Delete"]
    await page.get_by_role("link", name="broken-1").click()
    await page.get_by_role("dialog").get_by_text("e25vIGpzb24g/w==").wait_for()
    assert await page.get_by_role("dialog").get_by_role("button", name="Replay").count() == 0
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog", name="Delete broken-1?").get_by_role("button", name="Delete").click()
    await said(page, "broken-1 is deleted").wait_for()


async def test_what_another_deletes_goes_from_list_and_groups(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    await kill(client, receiver, "others-1", "others-2")
    there = receiver.url("")
    page = await open_page(f"dead-letters?reason=gone&to={quote(there, safe='')}", secret=None)

    async def letters_only(route: Route) -> None:
        await route.continue_(url=route.request.url + "?kinds=letter")

    await page.route("**/events", letters_only)
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await row(page, "others-2").wait_for()
    group = page.locator(".dead-groups li").filter(has_text=there)
    await group.locator(".dead-count").get_by_text("2", exact=True).wait_for()
    await client.call("DELETE", "/dead-letters/others-1")
    await row(page, "others-1").wait_for(state="detached")
    await group.locator(".dead-count").get_by_text("1", exact=True).wait_for()
    await client.call("DELETE", "/dead-letters/others-2")
    await group.wait_for(state="detached")


async def test_a_narrow_dark_portuguese_screen_holds_it_all(
    open_page: Opener, client: Client, receiver: Receiver
) -> None:
    await kill(client, receiver, "estreita-" + "x" * 120)
    page = await open_page("dead-letters?q=estreita", width=390, locale="pt-BR", color_scheme="dark")
    await page.get_by_role("heading", level=1, name="Mensagens mortas").wait_for()
    await page.get_by_role("button", name="Reenviar", exact=True).wait_for()
    await assert_fits(page)
    await assert_accessible(page)
    await page.get_by_role("button", name="Ações").first.click()
    await page.get_by_role("button", name="Remover todas").first.wait_for()
    await assert_fits(page)
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Corrigir").click()
    await page.get_by_role("dialog").get_by_label("URL do webhook").wait_for()
    await assert_fits(page)


async def test_a_service_that_refuses_is_quoted_and_without_a_stream_changes_are_polled_for(
    open_page: Opener, client: Client, receiver: Receiver, watch: Watch
) -> None:
    watch.allowed += ["503", "429"]
    page = await open_page("dead-letters", secret=None)
    await page.clock.install()
    letters = re.compile(r"/dead-letters(\?|/groups)")
    why = "The store cannot be reached. Try again in a moment."
    await page.route(letters, lambda route: route.fulfill(status=503, json={"detail": why}))
    await page.route("**/events", lambda route: route.fulfill(status=429))
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.get_by_text(why).wait_for()
    await page.unroute(letters)
    await page.get_by_role("button", name="Try again").click()
    await page.get_by_text(why).wait_for(state="detached")
    await kill(client, receiver, "polled-letter")
    await page.clock.fast_forward(6000)
    await page.clock.fast_forward(3000)
    await row(page, "polled-letter").wait_for()
