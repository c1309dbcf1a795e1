"""What is served below /ui/, under which headers, and that the page's parts fit together; without a browser."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from posixpath import join, normpath

import orjson
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aioscheduler.api.dashboard import UI, add_dashboard_routes
from aioscheduler.api.i18n import WORDS
from tests.support.browser import VENDOR

Client = TestClient[web.Request, web.Application]
PAGE = (UI / "index.html").read_text()
MODULES = {path.relative_to(UI).as_posix(): path.read_text() for path in UI.rglob("*.js") if "vendor" not in path.parts}
#: A sentence given to t(…) or msg(…).
SENTENCE = re.compile(r'\b(?:t|msg)\(\s*"((?:[^"\\]|\\.)*)"')
#: An entry of a table of translations.
ENTRY = re.compile(r'^ {2}(?:"((?:[^"\\]|\\.)*)"|(\w+)):\s*"((?:[^"\\]|\\.)*)",$', re.MULTILINE)


@pytest_asyncio.fixture(loop_scope="session")
async def files() -> AsyncIterator[Client]:
    app = web.Application()
    add_dashboard_routes(app)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_the_bare_addresses_lead_to_the_page(files: Client) -> None:
    for path in ("/", "/ui"):
        async with files.get(path, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, "/ui/")


async def test_the_page_allows_its_own_files_and_its_import_map_and_nothing_else(files: Client) -> None:
    async with files.get("/ui/") as answer:
        text = await answer.text()
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    (inline,) = re.findall(r"<script[^>]*>([^<]+)</script>", text)
    digest = b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'self' 'sha256-{digest}'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "font-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "//" not in text
    assert not re.search(r"\s(style|on\w+)=", text)


async def test_files_come_with_their_type_and_are_kept_as_long_as_they_stay_the_same(files: Client) -> None:
    types = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    types[".mjs"] = types[".js"]
    for path in sorted(path for path in UI.rglob("*") if path.suffix in types):
        name = path.relative_to(UI).as_posix()
        async with files.get(f"/ui/{name}") as answer:
            assert answer.status == 200
            assert await answer.read() == path.read_bytes()
        assert answer.headers["Content-Type"] == types[path.suffix]
        assert ("immutable" in answer.headers["Cache-Control"]) == name.startswith("vendor/")
    for path_ in ("/ui/", "/ui/app.js"):
        async with files.get(path_) as answer:
            assert answer.headers["Cache-Control"] == "no-cache"
        async with files.get(path_, headers={"If-None-Match": answer.headers["ETag"]}) as answer:
            assert answer.status == 304


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "vendor/SHA256SUMS", "vendor/htm-3.1.1/LICENSE", "views", "views/", "nothing.js"),
        *("../docs.css", "%2e%2e/docs.css", "views/..%2f..%2fdocs.css", "/etc/passwd"),
    ],
)
async def test_nothing_else_is_served(files: Client, name: str) -> None:
    async with files.get(f"/ui/{name}") as answer:
        assert answer.status == 404


@pytest.mark.parametrize("folder", [UI / "vendor", VENDOR], ids=["package", "tests"])
def test_the_vendored_files_are_those_that_were_checked(folder: Path) -> None:
    listed = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*/*")
    }
    assert found == listed
    assert all(any(place.glob("LICENSE*")) for place in folder.iterdir() if place.is_dir())


def _named() -> Iterator[tuple[str, str]]:
    """Yield each file a module or the page names, and who names it."""
    for name, text in MODULES.items():
        for address in re.findall(r'(?:\bfrom|\bimport|import\()\s*"(\.[^"]+)"', text):
            yield normpath(join(name, "..", address)), name
    for address in re.findall(r'"\./([^"]+)"', PAGE):
        yield address, "index.html"


def test_every_file_that_is_named_is_there() -> None:
    assert [(name, by) for name, by in _named() if not (UI / name).is_file()] == []
    bare = {address for text in MODULES.values() for address in re.findall(r'from "([^."][^"]*)"', text)}
    imports = orjson.loads(PAGE.split('type="importmap">')[1].split("</script>")[0])["imports"]
    assert bare <= imports.keys()


def _table(text: str) -> dict[str, str]:
    return {(quoted or bare).replace('\\"', '"'): said for quoted, bare, said in ENTRY.findall(text)}


def test_every_sentence_has_its_portuguese_with_the_same_places() -> None:
    shared = _table(MODULES["i18n/pt.js"])
    places = re.compile(r"\{\w+\}")
    views = {name[6:-3] for name in MODULES if re.fullmatch(r"views/[\w-]+\.js", name)}
    said_anywhere: set[str] = set()
    assert len(views) >= 5
    for name, text in MODULES.items():
        said = {sentence.replace('\\"', '"') for sentence in SENTENCE.findall(text)}
        said_anywhere |= said
        view = name[6:].split("/")[0].removesuffix(".js") if name.startswith("views/") else ""
        table = shared | (_table(MODULES[f"views/{view}.pt.js"]) if view in views else {})
        assert said - table.keys() == set(), f"{name} says what has no Portuguese"
        for sentence in said:
            assert set(places.findall(sentence)) == set(places.findall(table[sentence])), sentence
            assert sentence.count("|") == table[sentence].count("|"), sentence
    assert {name for name in shared if name not in said_anywhere} == set(), "Portuguese nobody says"


def test_the_pages_status_words_are_those_of_the_api() -> None:
    text = MODULES["components/status.js"].split("const PORTUGUESE = {")[1].split("};")[0]
    pairs = re.findall(r'^ {2}"?([^":]+)"?: "(\w+)",$', text, re.MULTILINE)
    assert dict(pairs) == {said: word for word, said in WORDS.items() if said != word}
