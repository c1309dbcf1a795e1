"""The view Upcoming in a browser: what is due, found, looked into, made, moved, sent and deleted."""

from __future__ import annotations

import asyncio
import re
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from redis.asyncio import Redis

from aioscheduler.clock import SystemClock
from aioscheduler.domain.message import ConflictPolicy
from aioscheduler.store import calls
from aioscheduler.store.connect import connect
from aioscheduler.store.redis import RedisStore
from tests.e2e.dashboard.conftest import Opener
from tests.support.browser import Watch, assert_accessible, assert_fits, click_twice, soon
from tests.support.client import Client, instant, now_ms
from tests.support.messages import message
from tests.support.processes import TOKEN, Service
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page, Route

HOUR = 3_600_000
NOWHERE = "http://127.0.0.1:9/closed"
PATIENT = {"maxAttempts": 5, "backoffSeconds": 600}
LATE = re.compile(r"(\d+ ms|\d+\.\d s) late")


def row(page: Page, text: str) -> Locator:
    return page.get_by_role("row").filter(has_text=text)


async def fill(page: Page, **fields: str) -> None:
    for name, value in fields.items():
        await page.locator(f"[name={name}]").fill(value)


async def gone(page: Page) -> None:
    await page.get_by_role("dialog").first.wait_for(state="detached")


async def test_a_newcomer_sends_a_message_to_the_inbox_and_watches_it_arrive(open_page: Opener) -> None:
    page = await open_page("upcoming")
    await page.get_by_role("button", name="New message").click()
    await page.get_by_role("button", name="Send to the inbox").click()
    await page.get_by_text("Europe/Berlin").wait_for()
    assert (await page.get_by_label("Webhook URL").input_value()).endswith("/inbox/hello")
    assert await page.get_by_label("Payload").input_value() == '{\n  "hello": "world"\n}'
    await page.get_by_label("Message id").fill("newcomer-1")
    await page.get_by_label("Or after a delay").fill("1s")
    assert await page.get_by_label("When", exact=True).input_value() == ""
    await assert_accessible(page)
    await click_twice(page, page.get_by_role("button", name="Schedule", exact=True))
    await gone(page)
    await page.get_by_text(re.compile("^Scheduled for ")).wait_for()
    assert await page.get_by_text(re.compile("^Scheduled for ")).count() == 1
    await row(page, "newcomer-1").locator(".countdown").wait_for()
    await row(page, "newcomer-1").get_by_text(LATE).wait_for()
    await row(page, "newcomer-1").get_by_text("Delivered").wait_for()
    await page.get_by_role("button", name="Inbox", exact=True).click()
    got = page.get_by_role("dialog").get_by_role("listitem").filter(has_text="newcomer-1")
    await got.get_by_text(LATE).wait_for()
    await got.get_by_text('"world"').wait_for()
    await assert_accessible(page)
    await page.get_by_role("button", name="Empty the inbox").click()
    await page.get_by_text("Nothing has arrived yet").wait_for()


async def test_the_keyboard_alone_makes_a_message_looks_into_it_and_deletes_it(
    open_page: Opener, client: Client
) -> None:
    page = await open_page("upcoming?q=by-keyboard")
    focused = "document.activeElement.getAttribute('name') ?? document.activeElement.textContent"

    async def tab_to(name: str) -> None:
        for _ in range(30):
            if await page.evaluate(focused) == name:
                return
            await page.keyboard.press("Tab")
        raise AssertionError(f"{name} was not reached")

    await tab_to("New message")
    await page.keyboard.press("Enter")
    await tab_to("id")
    await page.keyboard.type("by-keyboard-1")
    await tab_to("delay")
    await page.keyboard.type("2h")
    await tab_to("url")
    await page.keyboard.type("https://example.com/keys")
    await tab_to("payload")
    await page.keyboard.type("[1, 2.50]")
    await tab_to("url")
    await page.keyboard.press("Enter")
    await gone(page)
    await row(page, "by-keyboard-1").get_by_text("in 1 h 59 min").wait_for()
    await tab_to("by-keyboard-1")
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="by-keyboard-1")
    await dialog.get_by_text("2.50").first.wait_for()
    await page.keyboard.press("Escape")
    await gone(page)
    await soon(page, focused, "by-keyboard-1")
    await tab_to("Delete")
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog", name="Delete by-keyboard-1?").wait_for()
    await tab_to("Delete")
    await page.keyboard.press("Enter")
    await gone(page)
    await page.get_by_text("Message deleted").wait_for()
    await page.get_by_text("Nothing matches").wait_for()
    assert (await client.call("GET", "/messages/by-keyboard-1"))[0] == 404


async def test_what_is_wrong_stands_at_its_field_in_the_services_words(
    open_page: Opener, client: Client, watch: Watch
) -> None:
    watch.allowed += ["409", "422"]
    await client.schedule("taken-1", now_ms() + HOUR, NOWHERE)
    page = await open_page("upcoming?new=1")
    await fill(page, id="taken-1", payload='{"a": 1,\n  b}')
    await page.get_by_role("button", name="Schedule", exact=True).click()
    await page.get_by_text("This is not JSON: see line 2, column 3.").wait_for()
    await soon(page, "document.activeElement.name", "payload")
    await fill(page, payload="12345678901234567890", url="ftp://example.com")
    await page.get_by_role("group").get_by_text("More").click()
    await page.get_by_label("Headers").fill("X-One: 1\nHost: example.com")
    await page.get_by_label("Attempts at most").fill("900")
    await page.get_by_role("button", name="Schedule", exact=True).click()
    await page.get_by_text("is missing: give an instant here, or a delay").wait_for()
    for name, said in (("url", "must be an absolute http:// or https:// URL"), ("when", "is missing")):
        field = page.locator(f"[name={name}]")
        assert await field.get_attribute("aria-invalid") == "true"
        described = await field.get_attribute("aria-describedby")
        assert said in await page.locator(f"[id='{(described or '').split()[-1]}']").inner_text()
    await page.get_by_text(re.compile("^Host: ")).wait_for()
    await page.get_by_text(re.compile("^maxAttempts: ")).wait_for()
    await assert_accessible(page)
    await fill(page, url="https://example.com/taken", when="2031-05-06T07:08:09")
    await page.get_by_label("Headers").fill("X-One: 1")
    await page.get_by_label("Attempts at most").fill("9")
    await page.get_by_label("Method").select_option("PUT")
    await page.get_by_role("button", name="Schedule", exact=True).click()
    await page.get_by_text('There is a message with the id "taken-1" already.').wait_for()
    await page.get_by_role("button", name="Replace it").click()
    await gone(page)
    _, body = await client.call("GET", "/messages/taken-1")
    assert body["webhookUrl"] == "https://example.com/taken"
    assert body["nextRun"] == "2031-05-06T05:08:09+00:00"
    assert (body["method"], body["headers"], body["retry"]) == ("PUT", {"X-One": "1"}, {"maxAttempts": 9})
    # While one types the year its first digits are a year, too: when clocks were off by seconds.
    assert (
        await page.evaluate(
            "import('/ui/format.js').then(({ toLocalInput, fromLocalInput }) =>"
            " toLocalInput(fromLocalInput('0002-11-21T10:00:00')))"
        )
        == "0002-11-21T10:00:00"
    )
    await client.delete("taken-1")


async def test_what_leaves_while_it_is_rescheduled_is_not_made_again(
    open_page: Opener, client: Client, service: Service, watch: Watch
) -> None:
    watch.allowed += ["404", "412"]
    await client.schedule("leaves", now_ms() + HOUR, f"{service.url}/inbox/leaves")
    page = await open_page("upcoming?id=leaves")

    async def sent_first(route: Route) -> None:
        if route.request.method == "PUT":
            assert await client.call("POST", "/messages/leaves/run") is not None
            while (await client.call("GET", "/messages/leaves"))[0] == 200:
                await asyncio.sleep(0.01)
        await route.continue_()

    await page.route("**/messages/leaves", sent_first)
    await page.get_by_role("dialog", name="leaves").get_by_role("button", name="Reschedule").click()
    moving = page.get_by_role("dialog", name="Reschedule leaves")
    await moving.get_by_label("When", exact=True).fill("2031-05-06T07:08:09")
    await moving.get_by_role("button", name="Reschedule").click()
    await moving.get_by_text("It was delivered or changed meanwhile.").wait_for()
    assert (await client.call("GET", "/messages/leaves"))[0] == 404
    await moving.get_by_role("button", name="Reschedule").click()
    await moving.get_by_text("It was delivered or changed meanwhile.").wait_for()
    assert (await client.call("GET", "/messages/leaves"))[0] == 404


async def test_details_tell_the_attempts_and_everything_can_be_done_there(
    open_page: Opener, client: Client, service: Service, tmp_path: Any
) -> None:
    name = "details/1 it's?"
    payload = {"it's": "12"}
    given = {"payload": payload, "retry": PATIENT, "headers": {"X-One": "it's 1"}, "timeoutSeconds": 12}
    await client.schedule(name, now_ms(), NOWHERE, **given)
    page = await open_page(f"upcoming?id={quote(name)}")
    dialog = page.get_by_role("dialog", name=name)
    attempt = dialog.get_by_role("listitem").filter(has_text="Attempt 1")
    await attempt.get_by_text(LATE).wait_for()
    await attempt.get_by_text("Failed").wait_for()
    await dialog.get_by_text("Retrying").wait_for()
    assert await dialog.get_by_text("connection refused").count() == 2
    await assert_accessible(page)
    command = await dialog.get_by_role("region", name="Make it again with curl").inner_text()

    await dialog.get_by_role("button", name="Reschedule").click()
    moving = page.get_by_role("dialog", name=f"Reschedule {name}")
    await moving.get_by_label("When", exact=True).fill("2031-05-06T07:08:09")
    await moving.get_by_role("button", name="Reschedule").click()
    await moving.wait_for(state="detached")
    await dialog.get_by_text(re.compile("2031, 07:08:09")).wait_for()
    _, body = await client.call("GET", f"/messages/{quote(name, safe='')}")
    assert body["nextRun"] == "2031-05-06T05:08:09+00:00"
    assert {key: body[key] for key in given} == given

    await dialog.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog", name=f"Delete {name}?").get_by_role("button", name="Delete").click()
    await gone(page)
    if shutil.which("curl"):
        shell = await asyncio.create_subprocess_shell(
            f"{command} --silent", env={"API_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"}, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await shell.communicate()
        assert b'"status":"scheduled"' in said
        _, body = await client.call("GET", f"/messages/{quote(name, safe='')}")
        assert {key: body[key] for key in given} == given
        await client.delete(name)


async def test_a_message_that_is_sent_now_says_so_while_one_looks(
    open_page: Opener, client: Client, service: Service
) -> None:
    await client.schedule("sent-now-1", now_ms() + HOUR, f"{service.url}/inbox/now")
    page = await open_page("upcoming?q=sent-now-1&id=sent-now-1")
    dialog = page.get_by_role("dialog", name="sent-now-1")
    await dialog.get_by_text("None so far: it waits for its time.").wait_for()
    await dialog.get_by_role("button", name="Send now").click()
    await page.get_by_role("dialog", name="Send sent-now-1 now?").get_by_role("button", name="Send now").click()
    await dialog.get_by_text("Attempt 1").wait_for()
    await dialog.get_by_text("answered 200").wait_for()
    await dialog.get_by_role("status").filter(has_text="Delivered").get_by_text(LATE).wait_for()
    assert await dialog.get_by_role("button", name="Send now").count() == 0
    # What it was stays to be read, and to be made again.
    await dialog.get_by_role("region", name="Make it again with curl").get_by_text("/inbox/now").wait_for()


async def test_search_and_filters_find_messages_and_stand_in_the_address(
    open_page: Opener, client: Client, watch: Watch
) -> None:
    watch.allowed.append("422")
    far = now_ms() + 9 * HOUR
    await client.schedule_many(
        [("found-2_1h", far + 1000), ("found-1_24h", far), ("x-found-3", far)], "https://one.test"
    )
    await client.schedule("found-4", now_ms(), NOWHERE, retry=PATIENT)
    page = await open_page("upcoming")
    await page.get_by_label("Search").fill("found-")
    await page.get_by_text("4 messages found").wait_for()
    # By time, not by id.
    links = page.locator(".row-link")
    assert (await links.all_inner_texts())[-1] == "found-2_1h"
    await page.get_by_label("Found").select_option("begins")
    await page.get_by_text("3 messages found").wait_for()
    assert await row(page, "x-found-3").count() == 0
    await page.get_by_label("Status").select_option("retrying")
    await page.get_by_text("1 message matches").wait_for()
    await row(page, "found-4").get_by_text("Retrying").wait_for()
    await page.get_by_label("Status").select_option("")
    await page.get_by_label("Destination").fill("https://one.test/any")
    await page.get_by_text("2 messages match").wait_for()
    await page.reload()
    await page.get_by_text("2 messages match").wait_for()
    assert await page.get_by_label("Search").input_value() == "found-"
    await page.get_by_label("Destination").fill("one.test")
    await page.get_by_text("must be an absolute http:// or https:// URL").wait_for()
    await page.get_by_label("Destination").fill("https://two.test")
    await page.get_by_role("button", name="Show all messages").click()
    await page.get_by_text("by due time").wait_for()
    assert await page.get_by_label("Search").input_value() == ""
    assert await page.get_by_label("Destination").input_value() == ""
    for name in ("found-2_1h", "found-1_24h", "x-found-3", "found-4"):
        await client.delete(name)


async def test_many_are_deleted_by_prefix_once_their_number_was_seen(open_page: Opener, client: Client) -> None:
    far = now_ms() + 9 * HOUR
    await client.schedule_many([(f"bulk-{n}_1h", far) for n in range(7)] + [("bulked", far)], NOWHERE)
    page = await open_page("upcoming")
    await page.get_by_role("button", name="Delete by prefix").click()
    dialog = page.get_by_role("dialog", name="Delete by prefix")
    assert await dialog.get_by_role("button", name="Delete").is_disabled()
    await dialog.get_by_label("The ids begin with").fill("bulk-nothing")
    await dialog.get_by_text("No message begins so.").wait_for()
    assert await dialog.get_by_role("button", name="Delete").is_disabled()
    await dialog.get_by_label("The ids begin with").fill("bulk-")
    await dialog.get_by_text("and 2 more").wait_for()
    await assert_accessible(page)
    await dialog.get_by_role("button", name="Delete 7 messages").click()
    await page.get_by_text("7 messages deleted").wait_for()
    _, body = await client.call("GET", "/messages/search?prefix=bulk")
    assert [one["id"] for one in body["messages"]] == ["bulked"]
    await client.delete("bulked")


async def test_rows_follow_what_happens_elsewhere(open_page: Opener, client: Client) -> None:
    page = await open_page("upcoming?q=elsewhere", secret=None)
    await page.clock.install()
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.get_by_text("Nothing matches").wait_for()
    await client.schedule("elsewhere-1", now_ms() + HOUR, NOWHERE)
    await row(page, "elsewhere-1").get_by_text("Scheduled").wait_for()
    await client.schedule("elsewhere-1", now_ms() + 3 * HOUR, NOWHERE, onConflict="replace")
    await row(page, "elsewhere-1").get_by_text(re.compile("^in [23] h ")).wait_for()
    await client.schedule("elsewhere-1", now_ms(), NOWHERE, onConflict="replace", retry={"maxAttempts": 1})
    await row(page, "elsewhere-1").get_by_text("Dead letter").wait_for()
    await client.schedule("elsewhere-2", now_ms() + HOUR, NOWHERE)
    await row(page, "elsewhere-2").get_by_role("button", name="Delete").wait_for()
    await client.delete("elsewhere-2")
    await row(page, "elsewhere-2").get_by_text("Deleted").wait_for()
    assert await row(page, "elsewhere-2").get_by_role("button").count() == 0
    await page.clock.run_for(6000)
    await page.get_by_text("Nothing matches").wait_for()


async def test_a_row_that_is_gone_before_its_event_comes_says_what_became_of_it_all_the_same(
    open_page: Opener, client: Client
) -> None:
    await client.schedule("lost-row-1", now_ms() + HOUR, NOWHERE)
    told: list[str] = []

    async def events(route: Route) -> None:
        # Each stream ends at once; when the next one begins, the list is read again.
        body = ": hello\n\n" + (told.pop() if told else "")
        await route.fulfill(status=200, headers={"Content-Type": "text/event-stream"}, body=body)

    page = await open_page("upcoming?q=lost-row", secret=None)
    await page.clock.install()
    await page.route("**/events", events)
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await row(page, "lost-row-1").wait_for()
    await client.delete("lost-row-1")
    await page.clock.run_for(3000)
    await page.get_by_text("Nothing matches").wait_for()
    told.append('event: message\ndata: {"id": "lost-row-1", "change": "deleted"}\n\n')
    await page.clock.run_for(3000)
    await row(page, "lost-row-1").get_by_text("Deleted").wait_for()


async def test_without_a_stream_rows_come_and_go_all_the_same(open_page: Opener, client: Client, watch: Watch) -> None:
    watch.allowed.append("429")
    page = await open_page("upcoming?q=polled-row", secret=None)
    await page.clock.install()
    await page.route("**/events", lambda route: route.fulfill(status=429))
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.locator("header").get_by_text("Polling").wait_for()
    await page.get_by_text("Nothing matches").wait_for()
    await client.schedule("polled-row-1", now_ms() + HOUR, NOWHERE)
    await page.clock.run_for(7000)
    await row(page, "polled-row-1").wait_for()
    await client.delete("polled-row-1")
    await page.clock.run_for(7000)
    await page.get_by_text("Nothing matches").wait_for()


async def test_the_timeline_tells_the_next_hour_day_and_week(open_page: Opener, client: Client) -> None:
    _, before = await client.call("GET", f"/messages/timeline?to={quote(instant(now_ms() + 168 * HOUR))}&buckets=1")
    week = before["buckets"][0]["count"]
    await client.schedule_many([(f"line-{n}", now_ms() + (n * 24 + 30) * HOUR) for n in range(3)], NOWHERE)
    page = await open_page("upcoming")
    told = page.locator(".upcoming-timeline-head p")
    await told.filter(has_text="in the next hour").wait_for()
    await page.get_by_role("tab", name="Next hour").focus()
    await page.keyboard.press("ArrowLeft")
    await told.filter(has_text=f"{week + 3:,} messages fall due in the next week").wait_for()
    figure = page.locator(".upcoming-timeline figure")
    cells = await figure.locator("tbody td:last-child").all_inner_texts()
    assert (len(cells), sum(int(cell.replace(",", "")) for cell in cells)) == (84, week + 3)
    async with page.expect_request("**/messages/timeline*") as asked:
        await page.get_by_role("tab", name="Next day").click()
    # Whole half hours, so that bars stand still.
    assert re.search(r"from=[^&]+%3A[03]0%3A00\.000Z", (await asked.value).url)
    await told.filter(has_text="in the next day").wait_for()
    await page.locator(".upcoming-timeline canvas").wait_for()
    for n in range(3):
        await client.delete(f"line-{n}")


async def test_a_narrow_dark_portuguese_page_fits_and_says_everything_in_portuguese(
    open_page: Opener, client: Client
) -> None:
    name = "estreita-" + "x" * 100
    await client.schedule(name, now_ms(), f"{NOWHERE}/" + "y" * 200, retry=PATIENT, payload="p" * 300)
    page = await open_page("upcoming?q=estreita-", width=390, locale="pt-BR", color_scheme="dark")
    await row(page, name).get_by_text("Tentando de novo").wait_for()
    await assert_fits(page)
    await assert_accessible(page)
    await page.get_by_text("1 mensagem encontrada").wait_for()
    await page.get_by_text("Filtros").click()
    await page.get_by_label("Destino").wait_for()
    await assert_fits(page)
    await page.get_by_role("link", name=name).click()
    await page.get_by_role("dialog").get_by_text("Tentativa 1").wait_for()
    await assert_fits(page)
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    await gone(page)
    await page.get_by_role("button", name="Nova mensagem").click()
    await page.get_by_role("dialog", name="Nova mensagem").wait_for()
    await assert_fits(page)
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    await gone(page)
    await page.get_by_role("button", name="Mais").click()
    await page.get_by_role("button", name="Excluir por prefixo").click()
    await page.get_by_label("Os ids começam com").fill("estreita-")
    await page.get_by_role("button", name="Excluir 1 mensagem").click()
    await page.get_by_text("1 mensagem excluída").wait_for()
    await page.get_by_text("Nada corresponde").wait_for()


@pytest.mark.timeout(180)
async def test_a_hundred_thousand_messages_open_at_once_scroll_and_are_searched(
    open_page: Opener, client: Client, dashboard_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CALL_TIMEOUT", 30)
    await _schedule_many(dashboard_redis.url, 100_000)
    page = await open_page("upcoming", secret=None)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.locator("tbody .row-link").first.wait_for()
    # However many there are, a screen of them is what is asked for at first.
    first = next(url for url in asked if "/messages?" in url)
    assert parse_qs(urlsplit(first).query)["limit"] == ["100"]
    await page.get_by_text(re.compile("^100,0.. messages by due time")).wait_for()

    read = "Number(document.querySelector('table[aria-label=Messages]').getAttribute('aria-rowcount'))"
    assert await page.evaluate(read) >= 100_000
    drawn = await page.evaluate("""async () => {
        const shown = () => [...document.querySelectorAll(".upcoming-list tbody tr")];
        let most = 0;
        while (!shown().some((one) => one.ariaRowIndex > 5000)) {
            most = Math.max(most, shown().length);
            scrollTo(0, document.body.scrollHeight);
            await new Promise(requestAnimationFrame);
        }
        return most;
    }""")
    assert drawn < 80
    await page.get_by_label("Search").fill("y-09999")
    await page.get_by_text("10 messages found").wait_for()
    await row(page, "many-099998").wait_for()
    status, body = await client.call("DELETE", "/messages/bulk?prefix=many-")
    assert (status, body["deleted"]) == (200, 100_000)
    await page.get_by_text("Nothing matches").wait_for()


async def _schedule_many(url: str, count: int) -> None:
    """Schedule messages a year ahead as a service would, but past its API, and heard by nobody: that is quicker."""
    async with Redis.from_url(url) as admin, connect(url=url) as redis:
        [events] = (await admin.config_get("notify-keyspace-events")).values()
        await admin.config_set("notify-keyspace-events", "")
        store = RedisStore(redis, SystemClock(), zone=UTC, replica="test")
        now = datetime.now(UTC)
        for start in range(0, count, 1000):
            messages = (
                message(f"many-{n:06}", due_in=31_536_000 + n, payload=b"%d" % n, url=NOWHERE, now=now)
                for n in range(start, start + 1000)
            )
            await asyncio.gather(*(store.schedule(one, ConflictPolicy.REJECT, one.due_at) for one in messages))
        await admin.config_set("notify-keyspace-events", events or "")
