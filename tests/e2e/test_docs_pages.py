"""The documentation pages: what is served, and what a browser makes of it without any other host."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aioscheduler.api.docs_pages import OPENAPI, STATIC, STATIC_PREFIX, add_docs_routes
from aioscheduler.api.openapi import document
from tests.support.browser import MISSING, launch

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Error, Page, Request

Client = TestClient[web.Request, web.Application]
needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"missing: {' and '.join(MISSING)}")


async def _echo(request: web.Request) -> web.Response:
    """Stand in for the API behind the page: say which credentials came."""
    return web.json_response({"authorization": request.headers.get("Authorization", "none")})


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> Client:
    app = web.Application()
    app[OPENAPI] = orjson.dumps(document())
    add_docs_routes(app)
    app.router.add_get("/messages", _echo)
    return await aiohttp_client(app)


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/redoc", "/redoc/"])
async def test_a_page_forbids_inline_scripts_and_other_hosts(client: Client, path: str) -> None:
    async with client.get(path, allow_redirects=False) as answer:
        text = await answer.text()
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "http" not in str(policy)
    assert "<script>" not in text
    assert "//" not in text


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_every_file_a_page_names_is_served_with_its_type(client: Client, path: str) -> None:
    async with client.get(path) as answer:
        text = await answer.text()
    named = [part for part in text.split('"') if part.startswith(STATIC_PREFIX)]
    types = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "png": "image/png"}
    assert len(named) >= 4
    for address in named:
        async with client.get(address) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == types[address.rsplit(".", 1)[1]]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert await answer.read() == (STATIC / address.removeprefix(STATIC_PREFIX + "/")).read_bytes()


async def test_vendored_files_are_kept_for_ever_and_our_own_are_asked_for_again(client: Client) -> None:
    async with client.get(f"{STATIC_PREFIX}/swagger-ui-5.35.0/swagger-ui.css") as answer:
        assert "immutable" in answer.headers["Cache-Control"]
    async with client.get(f"{STATIC_PREFIX}/swagger-init.js") as answer:
        assert answer.headers["Cache-Control"] == "no-cache"
    again = {"If-None-Match": answer.headers["ETag"]}
    async with client.get(f"{STATIC_PREFIX}/swagger-init.js", headers=again) as answer:
        assert answer.status == 304


@pytest.mark.parametrize(
    "name",
    ["README.md", "SHA256SUMS", "../docs_pages.py", "%2e%2e/docs_pages.py", "swagger-ui-5.35.0/", "", "nothing.js"],
)
async def test_nothing_else_is_served_from_the_folder(client: Client, name: str) -> None:
    async with client.get(f"{STATIC_PREFIX}/{name}") as answer:
        assert answer.status == 404


def test_the_vendored_files_are_those_that_were_checked() -> None:
    listed = dict(line.split("  ")[::-1] for line in (STATIC / "SHA256SUMS").read_text().splitlines())
    found = {
        path.relative_to(STATIC).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in STATIC.glob("*-*/*")
    }
    assert found == listed


@dataclass
class Watched:
    """A page, and what it did."""

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def on_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def on_failure(self, request: Request) -> None:
        self.complaints.append(f"{request.url}: {request.failure}")

    def on_console(self, line: ConsoleMessage) -> None:
        if line.type in ("error", "warning"):
            self.complaints.append(line.text)

    def on_error(self, error: Error) -> None:
        self.complaints.append(str(error))

    def elsewhere(self) -> list[str]:
        return [url for url in self.requests if not url.startswith((self.origin, "data:", f"blob:{self.origin}"))]


@pytest.fixture
async def watched(client: Client) -> AsyncIterator[Watched]:
    from playwright.async_api import async_playwright

    assert isinstance(client.server, TestServer)
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        seen = Watched(page, str(client.make_url("")).rstrip("/"))
        page.on("request", seen.on_request)
        page.on("requestfailed", seen.on_failure)
        page.on("console", seen.on_console)
        page.on("pageerror", seen.on_error)
        yield seen
        await browser.close()


@needs_browser
async def test_swagger_ui_shows_the_api_and_asks_no_other_host(watched: Watched) -> None:
    await watched.page.goto(f"{watched.origin}/docs")
    await watched.page.locator(".opblock-summary", has_text="/messages").first.wait_for()
    assert await watched.page.locator(".errors-wrapper").count() == 0
    assert (watched.elsewhere(), watched.complaints) == ([], [])


@needs_browser
async def test_authorize_sends_the_bearer_token(watched: Watched) -> None:
    page = watched.page
    await page.goto(f"{watched.origin}/docs")
    await page.locator(".btn.authorize").click()
    await page.locator(".auth-container input").first.fill("a-token")
    await page.locator(".auth-btn-wrapper .authorize").first.click()
    await page.locator(".btn-done").first.click()
    await page.locator(".opblock-get .opblock-summary-path[data-path='/messages']").click()
    async with page.expect_response(f"{watched.origin}/messages**") as answer:
        await page.locator(".opblock.is-open .execute").click()
    assert await (await answer.value).json() == {"authorization": "Bearer a-token"}
    assert (watched.elsewhere(), watched.complaints) == ([], [])


@needs_browser
async def test_redoc_shows_the_api_and_asks_no_other_host(watched: Watched) -> None:
    await watched.page.goto(f"{watched.origin}/redoc")
    await watched.page.locator("[role=menuitem]", has_text="Schedule a message").first.wait_for()
    await watched.page.locator("[role=search] input").fill("dead")
    await watched.page.locator("[data-role='search:results'] li").first.wait_for()
    assert (watched.elsewhere(), watched.complaints) == ([], [])
