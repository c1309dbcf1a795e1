"""The documentation pages: Swagger UI at ``/docs``, Redoc at ``/redoc``, from files that come with the package.

The pages work without any other host, and their policy forbids the browser to ask one.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from aiohttp import web

#: The OpenAPI document as it goes out. It is built from the table of routes, which names this module.
OPENAPI: web.AppKey[bytes] = web.AppKey("OPENAPI", bytes)

STATIC = Path(str(files("aioscheduler") / "api" / "static"))
STATIC_PREFIX = "/docs/static"
SWAGGER, REDOC = "swagger-ui-5.35.0", "redoc-2.5.4"

_CSS, _JS, _PNG = "text/css", "text/javascript", "image/png"
#: What is served below :data:`STATIC_PREFIX`, and as what. Nothing else in the folder can be asked for.
_FILES = {
    "docs.css": _CSS,
    "swagger-init.js": _JS,
    "redoc-init.js": _JS,
    f"{SWAGGER}/swagger-ui.css": _CSS,
    f"{SWAGGER}/swagger-ui-bundle.js": _JS,
    f"{SWAGGER}/favicon-32x32.png": _PNG,
    f"{REDOC}/redoc.standalone.js": _JS,
}
#: A name with a version in it never changes its content; our own files are asked for again, by ETag.
_IMMUTABLE, _REVALIDATE = "public, max-age=31536000, immutable", "no-cache"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; connect-src 'self'; "
    "{more}base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SHARED_HEADERS = {
    "Cache-Control": _REVALIDATE,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>aioscheduler: {title}</title>
<link rel="icon" type="image/png" href="{static}/{swagger}/favicon-32x32.png">
{styles}<link rel="stylesheet" href="{static}/docs.css">
</head>
<body>
<nav><strong>aioscheduler</strong> <a href="/docs">Try it out</a> <a href="/redoc">Read it</a> \
<a href="/openapi.json">OpenAPI document</a></nav>
<main id="page"></main>
<noscript>This page needs JavaScript; the OpenAPI document does not.</noscript>
<script src="{static}/{bundle}"></script>
<script src="{static}/{start}"></script>
</body>
</html>
"""


def _page(*, title: str, styles: str, bundle: str, start: str) -> bytes:
    return _PAGE.format(
        title=title, styles=styles, bundle=bundle, start=start, static=STATIC_PREFIX, swagger=SWAGGER
    ).encode()


_DOCS = _page(
    title="try the API",
    styles=f'<link rel="stylesheet" href="{STATIC_PREFIX}/{SWAGGER}/swagger-ui.css">\n',
    bundle=f"{SWAGGER}/swagger-ui-bundle.js",
    start="swagger-init.js",
)
_REDOC = _page(title="API reference", styles="", bundle=f"{REDOC}/redoc.standalone.js", start="redoc-init.js")
_DOCS_POLICY = _POLICY.format(styles="", more="")
# Redoc writes its styles into the page, and searches in a worker made from a blob.
_REDOC_POLICY = _POLICY.format(styles=" 'unsafe-inline'", more="worker-src blob:; ")


async def swagger_page(request: web.Request) -> web.StreamResponse:
    """Answer the page that can call the API."""
    return _html(_DOCS, _DOCS_POLICY)


async def redoc_page(request: web.Request) -> web.StreamResponse:
    """Answer the page for reading."""
    return _html(_REDOC, _REDOC_POLICY)


def _html(body: bytes, policy: str) -> web.Response:
    headers = {**_SHARED_HEADERS, "Content-Security-Policy": policy}
    return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)


async def static_file(request: web.Request) -> web.StreamResponse:
    """Answer one of the pages' files; conditional requests and ranges work."""
    name = request.match_info["name"]
    content_type = _FILES.get(name)
    if content_type is None:
        raise web.HTTPNotFound
    if content_type != _PNG:
        content_type += "; charset=utf-8"
    cache = _IMMUTABLE if "/" in name else _REVALIDATE
    return web.FileResponse(
        STATIC / name, headers={**_SHARED_HEADERS, "Cache-Control": cache, "Content-Type": content_type}
    )


async def openapi_json(request: web.Request) -> web.StreamResponse:
    """Answer the OpenAPI document."""
    headers = {"Cache-Control": _REVALIDATE, "X-Content-Type-Options": "nosniff"}
    return web.Response(body=request.app[OPENAPI], content_type="application/json", charset="utf-8", headers=headers)


async def home(request: web.Request) -> web.StreamResponse:
    """Send a browser that came to the bare address to the documentation, where there is no dashboard."""
    raise web.HTTPTemporaryRedirect("/docs")


def add_docs_routes(app: web.Application) -> None:
    """Add the pages, their files and the document; none asks for credentials."""
    for path, handler in (
        ("/openapi.json", openapi_json),
        ("/docs", swagger_page),
        ("/redoc", redoc_page),
    ):
        app.router.add_get(path, handler)
        app.router.add_get(path + "/", handler)
    app.router.add_get(STATIC_PREFIX + "/{name:[A-Za-z0-9./-]+}", static_file)
