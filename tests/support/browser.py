"""A browser that knows nothing but loopback, pages that complain, and a check of what a screen reader meets."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Error, Locator, Page, Playwright, Request, Route

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: What a browser test needs and does not have here.
MISSING = [
    name
    for name, there in (("the package playwright", find_spec("playwright")), ("chromium on the PATH", CHROMIUM))
    if not there
]
VENDOR = Path(__file__).parent / "vendor"
AXE = VENDOR / "axe-core-4.14.1" / "axe.min.js"

# A policy's refusal is an event in the page; told on the console it is a complaint like any other.
_TELL_REFUSALS = """addEventListener("securitypolicyviolation", (event) =>
    console.error(`refused by policy: ${event.violatedDirective} ${event.blockedURI}`));"""
_RUN_AXE = """async () => {
    const found = await axe.run(document, {resultTypes: ["violations"]});
    return found.violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) =>
        `${one.id}: ${one.help}: ${one.nodes.slice(0, 5).map((node) => node.html.slice(0, 200)).join(" | ")}`);
}"""


async def launch(playwright: Playwright) -> Browser:
    """Start Debian's chromium, for which no other host exists."""
    return await playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=[
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--disable-features=PreloadTopChromeWebUI,Translate,MediaRouter,OptimizationHints,AcceptCHFrame,DialMediaRouteProvider,GlobalMediaControls,HttpsUpgrades,PaintHolding",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ],
    )


@dataclass
class Watch:
    """What a page did: errors and warnings on its console, what its policy refused, requests elsewhere.

    A test that makes trouble on purpose puts patterns of the complaints it expects into ``allowed``.
    """

    origin: str
    complaints: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    async def follow(self, page: Page) -> None:
        """Follow a page from now on."""
        await page.add_init_script(_TELL_REFUSALS)
        page.on("request", self._on_request)
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)

    def unexpected(self) -> list[str]:
        """Return the complaints nobody expected."""
        return [text for text in self.complaints if not any(re.search(one, text) for one in self.allowed)]

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.origin + "/", "data:", f"blob:{self.origin}/")):
            self.complaints.append(f"request to {request.url}")

    def _on_console(self, line: ConsoleMessage) -> None:
        if line.type in ("error", "warning"):
            self.complaints.append(f"{line.text} {line.location.get('url', '')}")

    def _on_error(self, error: Error) -> None:
        self.complaints.append(str(error))


async def assert_accessible(page: Page) -> None:
    """Fail when axe has serious or critical findings on the page as it is now."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())
    # What fades in has less contrast until it is there.
    await page.evaluate(
        "Promise.all(document.getAnimations().filter((one) => one.playState === 'running' "
        "&& one.effect.getComputedTiming().iterations < 9).map((one) => one.finished.catch(() => 0)))"
    )
    found: list[Any] = await page.evaluate(_RUN_AXE)
    assert found == []


async def assert_fits(page: Page) -> None:
    """Fail when the page can be scrolled sideways."""
    over = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, f"{over} px wider than the screen"


async def soon(page: Page, expression: str, expected: object) -> None:
    """Return once what the page evaluates to is what is expected: it draws, and moves the focus, in its own time."""
    found: object = None
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = await page.evaluate(expression)
        if found == expected:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{expression} is {found!r}, not {expected!r}")


async def click_twice(page: Page, button: Locator) -> None:
    """Click twice while what the first click asked for is on its way, however long the second one takes to come."""
    clicked = asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method != "GET":
            await clicked.wait()
        await route.fallback()

    await page.route("**/*", hold)
    await button.dblclick()
    clicked.set()
    await page.unroute("**/*", hold)
