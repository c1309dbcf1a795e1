"""One browser and one service for all tests of the dashboard; a page of its own for each, which fails on complaints.

The tests share one event loop. Ids are told apart by the test: the service keeps what earlier ones left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio

from tests.support.browser import MISSING, Watch, launch
from tests.support.client import Client
from tests.support.processes import TOKEN, Service
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

API_KEY = "key-for-tests-0123456789"
JWT_SECRET = "a secret of at least 32 bytes, as it should be"

Open = Callable[..., Awaitable["Page"]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let all tests here share the loop in which browser and service live."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's chromium; where there is none, tests skip."""
    if MISSING:
        pytest.skip(f"missing: {' and '.join(MISSING)}")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        started = await launch(playwright)
        yield started
        await started.close()


@pytest.fixture(scope="session")
def dashboard_redis(redis_server: RedisServer) -> Any:
    """A server nobody else flushes."""
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(dashboard_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service as anybody would start it, with retries quick enough to be watched."""
    environment = {
        "REDIS_URL": dashboard_redis.url,
        "API_KEY": API_KEY,
        "SUPABASE_JWT_SECRET": JWT_SECRET,
        "RETRY_BACKOFF_SECONDS": "0.1",
        "RETRY_MAX_ATTEMPTS": "2",
    }
    async with Service(tmp_path_factory.mktemp("dashboard"), environment) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def client(service: Service) -> AsyncIterator[Client]:
    """A client of the service, to bring about what a page is to show."""
    async with Client(service.url) as made:
        yield made


@pytest.fixture
def watch(service: Service) -> Watch:
    """What the pages of this test complained of; the test fails when there is anything unexpected at its end."""
    return Watch(service.url)


class Opener(Protocol):
    """Opens the dashboard in a browser context of its own.

    :param path: what stands after the ``#/``
    :param secret: what is signed in with; ``None`` leaves the page at the sign-in form
    :param more: options of the browser context, such as ``color_scheme`` or ``locale``
    """

    async def __call__(self, path: str = "", *, width: int = 1280, secret: str | None = TOKEN, **more: Any) -> Page: ...


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, service: Service, watch: Watch) -> AsyncIterator[Opener]:
    """Open pages; all are closed at the end, and none may have complained."""
    async with AsyncExitStack() as stack:

        async def open_(path: str = "", *, width: int = 1280, secret: str | None = TOKEN, **more: Any) -> Page:
            options: dict[str, Any] = {"locale": "en-GB", "timezone_id": "Europe/Berlin", **more}
            context: BrowserContext = await browser.new_context(
                viewport={"width": width, "height": 900 if width > 600 else 844}, **options
            )
            stack.push_async_callback(context.close)
            context.set_default_timeout(30_000)
            page = await context.new_page()
            await watch.follow(page)
            await page.goto(f"{service.url}/ui/#/{path}")
            if secret is not None:
                await page.locator("input[name=token]").fill(secret)
                await page.keyboard.press("Enter")
                await page.locator("header.top").wait_for()
            return page

        yield open_
    assert watch.unexpected() == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(open_page: Opener) -> Page:
    """A wide, light, English page, signed in with the API token, at the overview."""
    return await open_page()
