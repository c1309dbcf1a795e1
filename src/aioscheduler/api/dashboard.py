"""The dashboard at ``/ui/``: a page and its modules, from files that come with the package.

It asks nothing but the JSON API, as any client could, and its policy forbids the browser to ask anybody else.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from aioscheduler.api.auth import API_KEY, Access, Principal
from aioscheduler.api.context import CONTEXT
from aioscheduler.api.docs_pages import STATIC
from aioscheduler.api.respond import answer
from aioscheduler.errors import AuthError

UI: Final = STATIC / "ui"
UI_PREFIX: Final = "/ui/"
_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: What is served below :data:`UI_PREFIX`. Nothing else in the folder, or outside of it, can be asked for.
_FILES: Final = {path.relative_to(UI).as_posix(): path for path in UI.rglob("*") if path.suffix in _TYPES}
_PAGE: Final = (UI / "index.html").read_bytes()
_PAGE_TAG: Final = f'"{sha256(_PAGE).hexdigest()[:32]}"'
#: A folder with a version in its name never changes its content; our own files are asked for again, by ETag.
_VENDOR, _IMMUTABLE, _REVALIDATE = "vendor/", "public, max-age=31536000, immutable", "no-cache"


def _import_map_source() -> str:
    """Return what lets the browser take the page's import map, which cannot stand in a file of its own."""
    inline = re.search(rb'<script type="importmap">(.*?)</script>', _PAGE, re.DOTALL)
    if inline is None:
        raise ValueError("the page has no import map")
    return f"'sha256-{b64encode(sha256(inline[1]).digest()).decode()}'"


POLICY: Final = (
    f"default-src 'none'; script-src 'self' {_import_map_source()}; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


async def home(request: web.Request) -> web.StreamResponse:
    """Send a browser that came to the bare address to the dashboard."""
    raise web.HTTPFound(UI_PREFIX)


async def page(request: web.Request) -> web.StreamResponse:
    """Answer the page."""
    headers = {**_HEADERS, "Cache-Control": _REVALIDATE, "ETag": _PAGE_TAG}
    if any(tag.value == _PAGE_TAG.strip('"') for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=_PAGE, content_type="text/html", charset="utf-8", headers=headers)


async def file(request: web.Request) -> web.StreamResponse:
    """Answer one of the page's files; conditional requests and ranges work."""
    name = request.match_info["name"]
    path: Path | None = _FILES.get(name)
    if path is None:
        raise web.HTTPNotFound
    cache = _IMMUTABLE if name.startswith(_VENDOR) else _REVALIDATE
    headers = {**_HEADERS, "Cache-Control": cache, "Content-Type": _TYPES[path.suffix]}
    return web.FileResponse(path, headers=headers)


async def session(request: web.Request) -> web.Response:
    """``GET /session``: what the caller's credentials open.

    Wrong ones are no error here: who asks wants to know.
    """
    context = request.app[CONTEXT]
    credentials, limiter = context.credentials, context.limiter
    found: dict[Access, Principal] = {}
    for access in (Access.TOKEN, Access.ACCOUNT, Access.API_KEY):
        try:
            found[access] = await credentials.check(request, access)
        except AuthError:
            continue
    if limiter is not None and (hdrs.AUTHORIZATION in request.headers or API_KEY in request.headers):
        # Elsewhere guesses are counted as well.
        limiter.take(next((its.caller for its in found.values()), f"address {request.remote}"))
    account = found.get(Access.ACCOUNT)
    return answer(
        {
            "opens": [part for access, part in _PARTS.items() if access in found],
            "accounts": [] if account is None else None if account.accounts is None else sorted(account.accounts),
        }
    )


_PARTS: Final = {Access.TOKEN: "messages", Access.ACCOUNT: "jobs", Access.API_KEY: "bots"}


def add_dashboard_routes(app: web.Application) -> None:
    """Add the page and its files; none asks for credentials."""
    app.router.add_get("/", home)
    app.router.add_get(UI_PREFIX.rstrip("/"), home)
    app.router.add_get(UI_PREFIX, page)
    app.router.add_get(UI_PREFIX + "{name:[A-Za-z0-9._/-]+}", file)
