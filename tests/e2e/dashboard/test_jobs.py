"""The view Jobs: both families made, watched, paused, run, changed and deleted in a browser."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest_asyncio

from tests.e2e.dashboard.conftest import API_KEY, JWT_SECRET, Opener
from tests.support.browser import Watch, assert_accessible, assert_fits, click_twice, soon
from tests.support.client import Client
from tests.support.processes import Service
from tests.support.receiver import Answer, Receiver

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page, Route

ACCOUNT, OTHER = "123e4567-e89b-12d3-a456-426614174001", "123e4567-e89b-12d3-a456-426614174002"
#: What is never due while a test runs.
YEARLY = "0 0 1 1 *"
#: Go to the end of what is there, until it has a row of that name. Evaluated once: what is evaluated anew by the page
#: itself, its policy refuses.
_SCROLL_TO = """async (name) => {
    while (![...document.querySelectorAll(".row-link")].some((link) => link.textContent === name)) {
        scrollTo(0, 1e6);
        await new Promise(requestAnimationFrame);
    }
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def hook() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


async def make(client: Client, name: str, *urls: str, **more: Any) -> str:
    """Make an account's job with webhooks; return its id."""
    body = {"account_id": ACCOUNT, "name": name, "schedule": YEARLY, "type": 1, "retry_policy": {"max_attempts": 1}}
    status, job = await client.call("POST", "/api/jobs", body | more)
    assert status == 201, job
    for url in urls:
        status, webhook = await client.call("POST", "/webhooks", {"job_id": job["id"], "url": url, "method": "POST"})
        assert status == 201, webhook
    return str(job["id"])


async def make_bot(client: Client, name: str) -> str:
    """Make a bot job; return its id."""
    config = {"hour": 8, "minute": 0}
    body = {"name": name, "bot_type": "visitor", "schedule_type": "daily", "schedule_config": config}
    status, job = await client.call("POST", "/scheduler/jobs", body)
    assert status == 201, job
    return str(job["id"])


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


async def reads(client: Client, path: str) -> Any:
    status, body = await client.call("GET", path)
    assert status == 200, body
    return body


async def test_jobs_are_found_by_a_part_of_their_name(open_page: Opener, client: Client) -> None:
    made = [await make(client, name) for name in ("Relatório diário", "Backup da agenda")]
    bot_job = await make_bot(client, "relatório das visitas")
    page = await open_page("jobs")
    await page.get_by_role("link", name="Backup da agenda").wait_for()
    await page.get_by_label("Search").fill("RELATÓRIO")
    await page.get_by_role("link", name="Backup da agenda").wait_for(state="detached")
    await page.wait_for_url("**q=RELAT*")
    assert await page.locator(".row-link").all_inner_texts() == ["Relatório diário", "relatório das visitas"]
    await page.get_by_label("Search").fill("nobody has this")
    await page.get_by_role("button", name="Show all jobs").click()
    await page.get_by_role("link", name="Backup da agenda").wait_for()
    assert await page.get_by_label("Search").input_value() == ""
    for job in made:
        await client.call("DELETE", f"/api/jobs/{job}")
    await client.call("DELETE", f"/scheduler/jobs/{bot_job}")


async def test_a_job_is_made_with_a_preview_as_one_types_and_its_run_is_seen_with_what_was_answered(
    open_page: Opener, client: Client, hook: Receiver, watch: Watch
) -> None:
    watch.allowed += ["400 .*/api/jobs", "400 .*/webhooks"]
    hook.script.append(Answer(body=b'{"stored": 12345678901234567890}'))
    page = await open_page("jobs")
    await page.get_by_role("button", name="New job").first.click()
    form = page.get_by_role("dialog", name="New job")
    await soon(page, "document.activeElement.labels[0].textContent", "Name")
    await form.get_by_label("Schedule", exact=True).fill("75 9 * * *")
    await form.get_by_text("75").first.wait_for()
    assert await form.get_by_label("Schedule", exact=True).get_attribute("aria-invalid") == "true"
    await form.get_by_label("Time zone").fill("Europe/Berlin")
    await form.get_by_label("Schedule", exact=True).fill("30 2 * 3 0L")
    await form.get_by_text("At 02:30, the last Sunday of the month, in March (Europe/Berlin)").wait_for()
    await form.get_by_text("skip 02:30: it runs right after the gap, at 03:00.").first.wait_for()
    assert await form.get_by_role("region", name="Next runs").locator("li").count() == 5
    await form.get_by_label("Name", exact=True).fill("made by form")
    await form.get_by_label("Webhook URL").fill("ftp://example.com")
    await form.get_by_role("button", name="Make job").click()
    await form.get_by_text("must be a UUID").wait_for()
    await form.get_by_role("button", name="New account").click()
    await form.get_by_role("button", name="Make job").click()
    # The job is there by now, paused; the next try mends its webhook and makes no second one.
    await form.get_by_text("must be an absolute http:// or https:// URL").wait_for()
    made = [job for job in (await reads(client, "/api/jobs"))["items"] if job["name"] == "made by form"]
    assert [job["enabled"] for job in made] == [False]
    await form.get_by_label("Webhook URL").fill(hook.url("/made"))
    await form.locator("summary", has_text="More").click()
    await form.get_by_label("Body template").fill('{"job": "{{ job.name }}"}')
    await form.get_by_label("Headers").fill('{"X-Mine": "yes"}')
    await form.get_by_label("Attempts").fill("4")
    await form.get_by_role("button", name="Make job").click()

    panel = page.get_by_role("dialog", name="made by form")
    await panel.get_by_text("It has not run yet.").wait_for()
    await panel.get_by_role("button", name="Run now").click()
    await panel.get_by_role("button", name="Delivered").click()
    await panel.get_by_role("region", name="Response").get_by_text("12345678901234567890").wait_for()
    assert hook.requests[0].json() == {"job": "made by form"}
    assert hook.requests[0].headers["X-Mine"] == "yes"
    await assert_accessible(page)
    await panel.get_by_role("button", name="Retry").click()
    await panel.get_by_role("button", name="attempt 2").wait_for()
    await page.keyboard.press("Escape")
    await panel.wait_for(state="detached")
    await row(page, "made by form").get_by_label("Last runs: Delivered").wait_for()
    found = [job for job in (await reads(client, "/api/jobs"))["items"] if job["name"] == "made by form"]
    assert [(job["enabled"], job["retry_policy"]["max_attempts"], job["timezone"]) for job in found] == [
        (True, 4, "Europe/Berlin")
    ]
    await client.call("DELETE", f"/api/jobs/{found[0]['id']}")
    await row(page, "made by form").wait_for(state="detached")


async def test_rows_pause_resume_and_run_a_job_once_for_two_clicks_and_tell_what_failed(
    open_page: Opener, client: Client, hook: Receiver
) -> None:
    hook.script.append(Answer(status=500))
    job_id = await make(client, "clicked", hook.url("/clicked"))
    page = await open_page("jobs?kind=account")
    line = row(page, "clicked")
    await line.get_by_text("every year").or_(line.get_by_text("At 00:00, on day 1")).first.wait_for()
    await line.get_by_role("button", name="Pause").click()
    await line.get_by_role("button", name="Resume").wait_for()
    await page.get_by_role("status").get_by_text("Paused: clicked").wait_for()
    assert (await reads(client, f"/api/jobs/{job_id}"))["enabled"] is False
    await line.get_by_role("button", name="Resume").click()
    await line.get_by_role("button", name="Pause").wait_for()
    assert (await reads(client, f"/api/jobs/{job_id}"))["enabled"] is True
    await click_twice(page, line.get_by_role("button", name="Run now"))
    await line.get_by_label("Last runs: Dead letter").wait_for()
    assert len(hook.requests) == 1
    await line.get_by_role("button", name="Run now").click()
    await line.get_by_label("Last runs: Dead letter, Delivered").wait_for()
    await page.get_by_label("State").select_option("paused")
    await line.wait_for(state="detached")
    await client.call("DELETE", f"/api/jobs/{job_id}")


async def test_a_job_is_changed_and_deleted_and_only_what_was_changed_is_sent(
    open_page: Opener, client: Client
) -> None:
    job_id = await make(client, "changed", "http://127.0.0.1:9/x", timezone="Europe/Berlin")
    below = await make_bot(client, "below")
    page = await open_page("jobs")
    await row(page, "below").wait_for()
    await row(page, "changed").get_by_role("button", name="More").click()
    # It lies above the buttons of the row below.
    await row(page, "changed").get_by_role("button", name="Edit").click()
    await client.call("DELETE", f"/scheduler/jobs/{below}")
    form = page.get_by_role("dialog", name="Edit changed")
    await form.get_by_label("Name", exact=True).fill("changed twice")
    async with page.expect_request(lambda request: request.method == "PUT") as sent:
        await form.get_by_role("button", name="Save").click()
    assert (await sent.value).post_data_json == {"name": "changed twice"}
    panel = page.get_by_role("dialog", name="changed twice")
    await panel.get_by_role("button", name="Delete").last.click()
    question = page.get_by_role("dialog", name="Delete changed twice?")
    await question.get_by_text("Its webhooks and its history go with it").wait_for()
    await soon(page, "document.activeElement.textContent", "Cancel")
    await question.get_by_role("button", name="Delete").click()
    await page.get_by_text("Deleted: changed twice").wait_for()
    assert await page.get_by_role("dialog").count() == 0
    assert await row(page, "changed twice").count() == 0
    assert (await client.call("GET", f"/api/jobs/{job_id}"))[0] == 404


async def test_webhooks_of_a_job_are_added_changed_and_deleted(open_page: Opener, client: Client, watch: Watch) -> None:
    # The page may be reading the job, or its runs, when somebody deletes it.
    watch.allowed += ["400 .*/webhooks", "404 .*/api/jobs/"]
    job_id = await make(client, "hooked")
    page = await open_page(f"jobs?id={job_id}")
    panel = page.get_by_role("dialog", name="hooked")
    await panel.get_by_text("It has no webhook, so each run fails.").wait_for()
    await panel.get_by_role("button", name="Add webhook").click()
    form = page.get_by_role("dialog", name="Add webhook")
    await form.get_by_label("Webhook URL").fill("http://127.0.0.1:9/first")
    await form.get_by_label("Headers").fill("{")
    await form.get_by_role("button", name="Add webhook").click()
    await form.get_by_text("This is not JSON").wait_for()
    await form.get_by_label("Headers").fill("")
    await form.get_by_label("Body template").fill("{{ nonsense }}")
    await form.get_by_role("button", name="Add webhook").click()
    await form.get_by_text("nonsense").last.wait_for()
    await form.get_by_label("Body template").fill("")
    await form.get_by_role("button", name="Add webhook").click()
    line = panel.get_by_role("listitem").filter(has_text="http://127.0.0.1:9/")
    await line.get_by_role("button", name="Edit").click()
    form = page.get_by_role("dialog", name="Edit webhook")
    await form.get_by_label("Method").select_option("PUT")
    await form.get_by_label("Query parameters").fill('{"a": [1, 2]}')
    await form.get_by_role("button", name="Save").click()
    await line.get_by_text("PUT").wait_for()
    (webhook,) = (await reads(client, f"/webhooks?job_id={job_id}"))["items"]
    assert (webhook["method"], webhook["query_params"], webhook["headers"]) == ("PUT", {"a": [1, 2]}, None)
    await line.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog", name="Delete this webhook?").get_by_role("button", name="Delete").click()
    await panel.get_by_text("It has no webhook, so each run fails.").wait_for()
    await client.call("DELETE", f"/api/jobs/{job_id}")
    await panel.get_by_text("This job is gone").wait_for()


async def test_bot_jobs_are_made_of_days_and_times_and_tell_what_their_runs_did(
    open_page: Opener, client: Client
) -> None:
    # The API key opens bot jobs only.
    page = await open_page("jobs", secret=API_KEY)
    await page.get_by_role("button", name="New job").first.click()
    form = page.get_by_role("dialog", name="New job")
    await form.get_by_label("Name", exact=True).fill("weekly visits")
    await form.get_by_label("Runs", exact=True).select_option("weekly")
    await form.get_by_label("Saturday").check()
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday"):
        await form.get_by_label(day).uncheck()
    await form.get_by_label("Time", exact=True).fill("14:30")
    await form.get_by_label("Time zone").fill("Europe/Paris")
    await form.get_by_text("At 14:30, Friday, Saturday (Europe/Paris)").wait_for()
    await form.get_by_label("Bot", exact=True).select_option("visitor")
    await form.get_by_label("Visits in a run, at most").fill("20")
    await assert_accessible(page)
    await form.get_by_role("button", name="Make job").click()
    panel = page.get_by_role("dialog", name="weekly visits")
    await panel.get_by_role("button", name="Run now").click()
    await panel.get_by_role("button", name="Failed").wait_for()
    await panel.get_by_text("VISITOR_PROFILES is not set").first.wait_for()
    await panel.get_by_role("button", name="Edit").click()
    form = page.get_by_role("dialog", name="Edit weekly visits")
    await form.get_by_label("Runs", exact=True).select_option("interval")
    await form.get_by_label("Hours").fill("2")
    await form.get_by_text("Every 2 hours").wait_for()
    await form.get_by_role("button", name="Save").click()
    await form.wait_for(state="detached")
    await panel.get_by_text("Every 2 hours").wait_for()
    (job,) = [job for job in await reads(client, "/scheduler/jobs") if job["name"] == "weekly visits"]
    assert (job["schedule_config"], job["bot_config"]) == ({"hours": 2}, {"limit": 20, "dry_run": False})
    await panel.get_by_role("button", name="Pause").click()
    await panel.get_by_role("button", name="Resume").wait_for()
    await client.call("DELETE", f"/scheduler/jobs/{job['id']}")


async def test_what_others_do_with_jobs_is_seen_at_once_and_without_a_stream_soon(
    open_page: Opener, client: Client, hook: Receiver, watch: Watch
) -> None:
    page = await open_page("jobs")
    job_id = await make(client, "made elsewhere", hook.url("/elsewhere"))
    line = row(page, "made elsewhere")
    await line.get_by_role("button", name="Pause").wait_for()
    await client.call("POST", f"/api/jobs/{job_id}/run")
    await line.get_by_label("Last runs: Delivered").wait_for()
    bot_id = await make_bot(client, "made elsewhere, too")
    await row(page, "made elsewhere, too").wait_for()
    watch.allowed.append("429")
    await page.clock.install()
    await page.route("**/events*", lambda route: route.fulfill(status=429))
    await page.reload()
    await page.locator("header").get_by_text("Polling").wait_for()
    await line.get_by_role("button", name="Pause").wait_for()
    await client.call("PATCH", f"/api/jobs/{job_id}/disable")
    await page.clock.run_for(7000)
    await line.get_by_role("button", name="Resume").wait_for()
    await client.call("DELETE", f"/api/jobs/{job_id}")
    await client.call("DELETE", f"/scheduler/jobs/{bot_id}")


async def test_a_token_of_accounts_shows_their_jobs_one_account_at_a_time(open_page: Opener, client: Client) -> None:
    ids = [await make(client, f"of {account[-1]}", account_id=account) for account in (ACCOUNT, OTHER)]
    claims = {"aud": "authenticated", "exp": int(time.time()) + 600, "account_ids": [ACCOUNT, OTHER], "sub": "me"}
    page = await open_page(secret=jwt.encode(claims, JWT_SECRET, "HS256"))
    await row(page, "of 1").wait_for()
    assert await row(page, "of 2").count() == 0
    await page.get_by_label("Account").select_option(OTHER)
    await row(page, "of 2").wait_for()
    assert await row(page, "of 1").count() == 0
    # Nothing of bots, which it does not open.
    assert await page.get_by_role("tab").count() == 0
    claims = {**claims, "account_ids": []}
    page = await open_page(secret=jwt.encode(claims, JWT_SECRET, "HS256"))
    await page.get_by_text("Your token names no account").wait_for()
    for id_ in ids:
        await client.call("DELETE", f"/api/jobs/{id_}")


async def test_a_narrow_screen_shows_list_panel_and_form_without_sideways_scroll_in_portuguese(
    open_page: Opener, client: Client, hook: Receiver
) -> None:
    job_id = await make(client, "estreita " + "x" * 180, hook.url("/" + "y" * 300), description="z" * 300)
    page = await open_page("jobs", width=390, locale="pt-BR", color_scheme="dark")
    await page.get_by_role("link", name="estreita").wait_for()
    await page.get_by_text("Próxima execução").first.wait_for()
    await assert_fits(page)
    await assert_accessible(page)
    await page.get_by_role("link", name="estreita").click()
    panel = page.get_by_role("dialog")
    await panel.get_by_text("Às 00:00, no dia 1 do mês").first.wait_for()
    await panel.get_by_role("button", name="Executar agora").click()
    await panel.get_by_role("button", name="Entregue").click()
    await panel.get_by_role("region", name="Corpo da resposta").wait_for()
    await panel.get_by_role("button", name="Editar").last.click()
    form = page.get_by_role("dialog", name="Editar estreita")
    await form.get_by_text("Às 00:00, no dia 1 do mês").wait_for()
    for place in (panel, form):
        over = await place.locator(".dialog-body").first.evaluate("(body) => body.scrollWidth - body.clientWidth")
        assert over <= 0
    await assert_fits(page)
    await client.call("DELETE", f"/api/jobs/{job_id}")


async def test_the_keyboard_alone_makes_runs_and_leaves_a_job(open_page: Opener, client: Client) -> None:
    page = await open_page("jobs?kind=bots")
    await page.get_by_role("button", name="New job").first.focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog", name="New job").wait_for()
    await page.keyboard.type("by keyboard")
    await page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="by keyboard")
    await panel.get_by_text("It has not run yet.").wait_for()
    await soon(page, "document.querySelector('dialog').contains(document.activeElement)", True)
    await page.keyboard.press("Escape")
    await panel.wait_for(state="detached")
    link = row(page, "by keyboard").get_by_role("link")
    await link.focus()
    for name in ("Pause", "Run now"):
        await page.keyboard.press("Tab")
        await soon(page, "document.activeElement.textContent", name)
    await page.keyboard.press("Enter")
    await row(page, "by keyboard").get_by_label("Last runs: Failed").wait_for()
    await link.focus()
    await page.keyboard.press("Enter")
    await panel.get_by_role("button", name="Failed").focus()
    await page.keyboard.press("Enter")
    await panel.get_by_text("BIRTHDAY_CONTACTS is not set").last.wait_for()
    (job,) = [job for job in await reads(client, "/scheduler/jobs") if job["name"] == "by keyboard"]
    await client.call("DELETE", f"/scheduler/jobs/{job['id']}")


async def test_a_list_of_many_jobs_comes_in_pages_and_a_refusal_can_be_tried_again(
    open_page: Opener, client: Client, service: Service, watch: Watch
) -> None:
    job_id = await make(client, "one of many")
    job = await reads(client, f"/api/jobs/{job_id}")
    total, broken = 450, True

    async def many(route: Route) -> None:
        query = {name: int(value) for name, (value,) in parse_qs(urlsplit(route.request.url).query).items()}
        if broken and query["skip"]:
            await route.fulfill(status=503, json={"detail": "The store cannot be reached."})
            return
        numbers = range(query["skip"], min(total, query["skip"] + query["limit"]))
        items = [{**job, "id": f"{number:08}{job_id[8:]}", "name": f"job {number}"} for number in numbers]
        await route.fulfill(json={"items": items, "total": total, "skip": query["skip"], "limit": query["limit"]})

    watch.allowed.append("503")
    page = await open_page()
    await page.route("**/api/jobs?*", many)
    await page.get_by_role("link", name="Jobs").click()
    await row(page, "job 0").wait_for()
    await page.evaluate("scrollTo(0, 1e6)")
    await page.get_by_text("The store cannot be reached.").wait_for()
    broken = False
    await page.get_by_role("button", name="Try again").click()
    for place in ("job 199", "job 399", "job 449"):
        await page.evaluate(_SCROLL_TO, place)
    assert await page.locator("tbody tr").count() < 80
    await client.call("DELETE", f"/api/jobs/{job_id}")
