"""What all views share: signing in and out, finding one's way, languages, themes, narrow screens, live events."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import jwt
import orjson
import pytest

from tests.e2e.dashboard.conftest import API_KEY, JWT_SECRET, Opener
from tests.support.browser import Watch, assert_accessible, assert_fits, soon
from tests.support.client import Client, now_ms
from tests.support.processes import TOKEN, Service

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

ACCOUNT = "123e4567-e89b-12d3-a456-426614174000"


async def heading(page: Page, name: str) -> None:
    await page.get_by_role("heading", level=1, name=name, exact=True).wait_for()


async def test_a_view_keeps_its_own_words_whatever_was_opened_before(open_page: Opener) -> None:
    page = await open_page("upcoming?new=1", locale="pt-BR")
    submit = page.get_by_role("dialog").get_by_role("button", name="Agendar", exact=True)
    await submit.wait_for()
    for view, title in (("jobs", "Tarefas"), ("deliveries", "Entregas"), ("dead-letters", "Mensagens mortas")):
        await page.evaluate(f"location.hash = '#/{view}'")
        await page.get_by_role("heading", level=1, name=title).wait_for()
    await page.evaluate("location.hash = '#/upcoming?new=1'")
    await submit.wait_for()
    assert await page.get_by_label("Conteúdo", exact=True).count() == 1


async def test_a_wrong_token_is_told_so_and_a_right_one_opens_the_overview(open_page: Opener, service: Service) -> None:
    page = await open_page(secret=None)
    await page.goto(service.url)
    assert page.url == f"{service.url}/ui/"
    # The second cannot even stand in a header.
    for wrong in ("wrong", "straße 🙂"):
        await page.get_by_label("API token").fill(wrong)
        await page.get_by_text("Wrong token").wait_for(state="detached")
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_text("Wrong token").wait_for()
    await assert_accessible(page)
    await page.get_by_label("API token").fill(f" {TOKEN} ")
    await page.get_by_role("button", name="Sign in").click()
    await heading(page, "Overview")
    await page.get_by_text("Signed in: everything is open.").wait_for()
    assert await page.evaluate("Object.keys(localStorage).length") == 0
    await page.reload()
    await heading(page, "Overview")
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Sign in").wait_for()
    assert await page.evaluate("JSON.stringify(sessionStorage)") == "{}"


@pytest.mark.parametrize(
    ("secret", "greeting"),
    [
        (API_KEY, "Signed in with an API key: bot jobs are open."),
        ("account", "Signed in: the jobs of one account are open."),
    ],
)
async def test_lesser_credentials_open_jobs_and_other_views_say_what_they_need(
    open_page: Opener, secret: str, greeting: str
) -> None:
    if secret == "account":
        claims = {"sub": ACCOUNT, "aud": "authenticated", "exp": int(time.time()) + 600}
        secret = jwt.encode(claims, JWT_SECRET, "HS256")
    page = await open_page(secret=secret)
    await heading(page, "Jobs")
    await page.get_by_text(greeting).wait_for()
    await page.get_by_role("link", name="Upcoming").click()
    await page.get_by_text("This view needs the API token").wait_for()
    await page.get_by_role("link", name="Go to Jobs").click()
    await heading(page, "Jobs")


async def test_a_token_that_is_not_valid_any_more_leads_back_to_the_sign_in_with_a_sentence(
    open_page: Opener, watch: Watch
) -> None:
    watch.allowed.append("401")
    page = await open_page()
    await page.evaluate("""() => {
        const kept = JSON.parse(sessionStorage["aioscheduler.session"]);
        sessionStorage["aioscheduler.session"] = JSON.stringify({...kept, secret: "changed"});
    }""")
    await page.reload()
    await page.get_by_text("The token is not valid any more. Please sign in again.").wait_for()
    await page.get_by_label("API token").wait_for()


async def test_the_keyboard_alone_leads_through_the_views(page: Page) -> None:
    await heading(page, "Overview")
    await page.keyboard.press("Tab")
    await page.locator(".skip:focus").wait_for()
    for _ in range(3):
        await page.keyboard.press("Tab")
    await soon(page, "document.activeElement.textContent", "Upcoming")
    await page.keyboard.press("Enter")
    await heading(page, "Upcoming")
    await page.locator("#content:focus").wait_for()
    assert await page.title() == "Upcoming · aioscheduler"
    assert await page.get_by_role("link", name="Upcoming").get_attribute("aria-current") == "page"
    await page.go_back()
    await heading(page, "Overview")


async def test_an_address_nobody_knows_leads_home(open_page: Opener) -> None:
    page = await open_page("nowhere?x=1")
    await heading(page, "Overview")
    await page.wait_for_url("**/#/overview")


async def test_a_narrow_screen_has_a_menu_and_nothing_to_scroll_sideways(open_page: Opener, client: Client) -> None:
    await client.schedule("narrow-" + "x" * 200, now_ms() + 40_000_000, "https://example.com/" + "y" * 200)
    page = await open_page(width=390)
    await page.get_by_text("narrow-").first.wait_for()
    await assert_fits(page)
    assert not await page.get_by_role("link", name="Jobs").is_visible()
    for view in ("Jobs", "Dead letters", "Deliveries", "Upcoming", "Overview"):
        await page.get_by_role("button", name="Menu").click()
        await assert_fits(page)
        await page.get_by_role("link", name=view, exact=True).click()
        await heading(page, view)
    await page.get_by_role("button", name="Menu").press("Enter")
    await page.keyboard.press("ArrowDown")
    await soon(page, "document.activeElement.textContent", "Overview")
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    await soon(page, "document.activeElement.textContent", "Menu")
    await page.get_by_role("link", name="Upcoming", exact=True).wait_for(state="detached")


async def test_the_language_is_the_browsers_until_another_is_chosen(open_page: Opener) -> None:
    page = await open_page(locale="pt-BR")
    await heading(page, "Visão geral")
    assert await page.evaluate("document.documentElement.lang") == "pt-BR"
    async with page.expect_request("**/metrics") as asked:
        await page.get_by_label("Idioma").select_option("en")
    await heading(page, "Overview")
    assert (await (await asked.value).all_headers())["accept-language"] == "en"
    await page.reload()
    await heading(page, "Overview")


async def test_the_theme_is_the_systems_until_another_is_chosen(open_page: Opener) -> None:
    page = await open_page(color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = await page.evaluate(background)
    await assert_accessible(page)
    await page.get_by_role("button", name="Light theme").click()
    await soon(page, f"{background} !== {dark!r}", True)
    await assert_accessible(page)
    await page.reload()
    await soon(page, f"{background} !== {dark!r}", True)
    await page.get_by_role("button", name="Dark theme").click()
    await soon(page, background, dark)
    assert await page.evaluate("localStorage.getItem('aioscheduler.theme')") is None


def _events(*events: tuple[str, Any]) -> str:
    return "".join(f"event: {kind}\ndata: {orjson.dumps(data).decode()}\n\n" for kind, data in events)


async def test_events_change_the_figures_and_ask_again_for_what_they_concern(open_page: Opener, client: Client) -> None:
    async def events(route: Route) -> None:
        figures = {"pending": 4711, "delivering": 3, "retrying": 12, "dead": 5, "oldestOverdueSeconds": 75.2}
        body = ": hello\n\n" + _events(("overview", figures))
        await route.fulfill(status=200, headers={"Content-Type": "text/event-stream"}, body=body)

    page = await open_page(secret=None)
    await page.route("**/events", events)
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.get_by_text("4,711").wait_for()
    await page.get_by_text("1 min 15 s").wait_for()
    await page.unroute("**/events")
    told = _events(("message", {"id": "live-1", "change": "scheduled"}))

    async def changed(route: Route) -> None:
        await client.schedule("live-1", now_ms() + 5000, "https://example.com/live")
        await route.fulfill(status=200, headers={"Content-Type": "text/event-stream"}, body=told)

    # The stream above has ended, so it is opened again.
    await page.route("**/events", changed, times=1)
    await page.get_by_role("link", name="live-1").wait_for()
    await page.get_by_text(re.compile("^in [1-5] s$")).wait_for()
    await client.delete("live-1")


async def test_without_a_stream_the_page_polls_and_says_so(open_page: Opener, client: Client, watch: Watch) -> None:
    watch.allowed.append("429")
    page = await open_page(secret=None)
    await page.clock.install()
    await page.route("**/events", lambda route: route.fulfill(status=429))
    await page.locator("input[name=token]").fill(TOKEN)
    await page.keyboard.press("Enter")
    await page.locator("header").get_by_text("Polling").wait_for()
    await page.get_by_text("Next due").wait_for()
    await client.schedule("polled-1", now_ms() + 8000, "https://example.com/live")
    await page.clock.run_for(7000)
    await page.get_by_role("link", name="polled-1").wait_for()
    await client.delete("polled-1")


async def test_a_service_that_is_away_is_told_and_its_return_too(page: Page, watch: Watch) -> None:
    watch.allowed.append("net::ERR_FAILED")
    away = re.compile(r"/(events|metrics|messages|health|activity|punctuality)")
    await page.route(away, lambda route: route.abort())
    await page.reload()
    await page.locator("header").get_by_text("Offline").wait_for()
    await page.get_by_text("The service cannot be reached.").first.wait_for()
    await page.unroute(away)
    await page.get_by_role("button", name="Try again").click()
    await page.get_by_text("The service cannot be reached.").first.wait_for(state="detached")


async def test_a_hundred_thousand_rows_scroll_with_few_of_them_in_the_page(open_page: Opener) -> None:
    page = await open_page(secret=None)
    await page.evaluate("""async () => {
        const { html, render } = await import("/ui/lib.js");
        const { Table } = await import("/ui/components.js");
        const rows = Array.from({ length: 100_000 }, (_, index) => ({ id: `row-${index}` }));
        const columns = [{ key: "id", title: "Id", render: (row) => row.id }];
        const host = document.getElementById("app");
        render(null, host);
        render(html`<${Table} label="Rows" rows=${rows} rowKey=${(row) => row.id} columns=${columns}
            rowHref=${(row) => `#/x?id=${row.id}`} actions=${() => [{ label: "Delete", onClick() {} }]} />`, host);
    }""")
    await page.get_by_role("row", name="row-0 Delete").wait_for()
    assert await page.locator("tbody tr").count() < 80
    for target in ("row-50000", "row-99999"):
        await page.evaluate("(target) => scrollTo(0, 44 * Number(target.slice(4)) - 200)", target)
        await page.get_by_role("link", name=target, exact=True).wait_for()
        assert await page.locator("tbody tr").count() < 80
    assert await page.get_by_role("table").get_attribute("aria-rowcount") == "100001"
    await page.get_by_role("link", name="row-99990").focus()
    await page.keyboard.press("ArrowDown")
    await soon(page, "document.activeElement.textContent", "row-99991")
    await assert_accessible(page)
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.locator("table.cards").wait_for()
    await assert_fits(page)


async def test_a_dialog_keeps_the_focus_and_gives_it_back(open_page: Opener) -> None:
    page = await open_page(secret=None)
    await page.evaluate("""async () => {
        const { html, render, useState } = await import("/ui/lib.js");
        const { Button, ConfirmDialog, toast, Toasts } = await import("/ui/components.js");
        const host = document.getElementById("app");
        render(null, host);
        let tries = 0;
        function Page() {
            const [open, setOpen] = useState(false);
            return html`<main><h1>Dialogs</h1><${Button} onClick=${() => setOpen(true)}>Open</${Button}><${Toasts} />
                ${open && html`<${ConfirmDialog} title="Delete it?" confirm="Delete" danger
                    onClose=${() => setOpen(false)} onConfirm=${async () => {
                        tries += 1;
                        if (tries === 1) throw new Error("It was refused.");
                        toast("Deleted");
                    }}>It cannot be undone.</${ConfirmDialog}>`}</main>`;
        }
        render(html`<${Page} />`, host);
    }""")
    opener = page.get_by_role("button", name="Open")
    await opener.press("Enter")
    await soon(page, "document.activeElement.textContent", "Cancel")
    await page.keyboard.press("Escape")
    await page.get_by_role("dialog").wait_for(state="detached")
    await soon(page, "document.activeElement.textContent", "Open")
    await opener.press("Enter")
    await page.get_by_role("dialog", name="Delete it?").get_by_role("button", name="Delete").click()
    await page.get_by_text("It was refused.").wait_for()
    await assert_accessible(page)
    await page.get_by_role("button", name="Delete", exact=True).click()
    await page.get_by_role("status").get_by_text("Deleted").wait_for()
    assert await page.get_by_role("dialog").count() == 0


async def test_formats_say_lateness_durations_and_json_as_people_do(open_page: Opener) -> None:
    page = await open_page(secret=None)
    said = await page.evaluate("""async () => {
        const { lateness, duration, until, inServiceZone, setServiceZone, fromLocalInput, toLocalInput } =
            await import("/ui/format.js");
        const { parseExact } = await import("/ui/api.js");
        const { checkJson, statusOf } = await import("/ui/components.js");
        setServiceZone("America/Sao_Paulo");
        return {
            lateness: [0.4, 12, 99, 99.6, 300, 9_949, 12_345, 65_000, null].map(lateness),
            duration: [0, 59_999, 125_000, 12_000_000, 352_800_000].map(duration),
            until: [1, 1000, 0, -1999, -12_000].map((left) => until(1_000_000 + left, 1_000_000)),
            zone: inServiceZone("2026-11-21T10:41:07.123Z"),
            local: toLocalInput(fromLocalInput("2026-11-21T10:41:07")),
            exact: JSON.stringify(parseExact('{"a": 12345678901234567890, "b": 1.0, "c": 2}')),
            wrong: checkJson('{\\n  "a": 1,\\n  b\\n}').error,
            status: [statusOf("em entrega"), statusOf("delivering")],
        };
    }""")
    assert said == {
        "lateness": ["0 ms", "12 ms", "99 ms", "0.1 s", "0.3 s", "9.9 s", "12 s", "1 min 05 s", "–"],
        "duration": ["0 s", "59 s", "2 min 05 s", "3 h 20 min", "4 d 2 h"],
        "until": ["in 1 s", "in 1 s", "now", "now", "12 s overdue"],
        "zone": "2026-11-21 07:41:07.123 America/Sao_Paulo",
        "local": "2026-11-21T10:41:07",
        "exact": '{"a":12345678901234567890,"b":1.0,"c":2}',
        "wrong": "This is not JSON: see line 3, column 3.",
        "status": ["delivering", "delivering"],
    }
