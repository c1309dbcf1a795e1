from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.domain.target import (
    MAX_HEADER_VALUE,
    MAX_HEADERS,
    MAX_URL_LENGTH,
    METHODS,
    check_headers,
    check_method,
    check_url,
)
from aioscheduler.errors import InvalidInput


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("http://example.com", "http://example.com:80"),
        ("https://example.com/a/b?c=d#e", "https://example.com:443"),
        ("HTTPS://EXAMPLE.com:8443/", "https://example.com:8443"),
        ("http://host_name:5678/webhook", "http://host_name:5678"),
        ("http://localhost:80?x", "http://localhost:80"),
        ("http://user:p@ss@example.com/@x", "http://example.com:80"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
        ("http://[2001:DB8::1]/", "http://[2001:db8::1]:80"),
        ("http://127.1/", "http://127.1:80"),
        ("http://bücher.example/grüße", "http://xn--bcher-kva.example:80"),
        ("http://example.com:/", "http://example.com:80"),
        ("http://a//b://c", "http://a:80"),
        ("http://example.com/?u=http://other.example/", "http://example.com:80"),
    ],
)
def test_a_destination_is_scheme_host_and_port(url: str, destination: str) -> None:
    assert check_url(url) == destination
    assert check_url(url) == destination  # from memory


@pytest.mark.parametrize(
    "url",
    [
        None, 5, b"http://a/", "", "example.com", "/hook", "//example.com/", "ftp://example.com/", "file:///etc/passwd",
        "javascript:alert(1)", "http:", "http://", "http:///path", "http:example.com", "http:x//y", "http://:80/",
        "http://user@/", "http://a:0/", "http://a:65536/", "http://a:-1/", "http://a:x/", "http://a b/", "http://a/b c",
        " http://a/", "http://a/\n", "http://a/\r\nX: y", "http://a\\b/", "http://a/\x00", "http://[::1/", "http://::1]/",
        "http://a/\ud800", "http://exa℀mple.com/", "http://ü..de/", "http://" + "ü" * 70 + ".de/", "mailto:a@b//c",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_field_named(url: object) -> None:
    for _ in range(2):
        with pytest.raises(InvalidInput) as caught:
            check_url(url, "url")
        assert list(caught.value.errors) == ["url"]


def test_a_url_may_have_so_many_characters_and_no_more() -> None:
    longest = "http://example.com/".ljust(MAX_URL_LENGTH, "x")
    check_url(longest)
    with pytest.raises(InvalidInput, match="2048"):
        check_url(longest + "x")
    with pytest.raises(InvalidInput, match="500"):
        check_url("http://example.com/".ljust(501, "x"), max_length=500)


@given(url=st.from_regex(r"(https?|HTTP|ftp|):?(//|/|)[a-zA-Z0-9@:\[\]._ü%-]{0,20}([/?#][ -~]{0,20})?", fullmatch=True))
def test_the_destination_is_what_reading_the_whole_url_gives(url: str) -> None:
    try:
        destination = check_url(url)
    except InvalidInput:
        return
    parts = urlsplit(url)
    assert parts.hostname is not None
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    assert destination == f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}".lower()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_taken_in_either_case(method: str) -> None:
    assert check_method(method.lower()) == check_method(method) == method


@pytest.mark.parametrize("method", [None, 1, "", "CONNECT", "TRACE", "GET ", "POST\r\n", "ＧＥＴ"])
def test_other_methods_are_refused(method: object) -> None:
    with pytest.raises(InvalidInput, match=r"^method: must be one of"):
        check_method(method)


def test_headers_keep_their_order_and_spelling() -> None:
    assert check_headers({"X-b": "1", "Authorization": "Bearer ü", "x-A": "", "User-Agent": "me"}) == (
        ("X-b", "1"),
        ("Authorization", "Bearer ü"),
        ("x-A", ""),
        ("User-Agent", "me"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"), ("a b", "x"), ("a:b", "x"), ("a\r\nb", "x"), ("ü", "x"), ("a\n", "x"), ("Host", "x"),
        ("CONTENT-LENGTH", "1"), ("Transfer-Encoding", "chunked"), ("Connection", "close"), ("Expect", "100-continue"),
        ("Webhook-Id", "x"), ("webhook-signature", "x"), ("X-Scheduler-Attempt", "1"), ("x-scheduler-", "1"),
        ("X", "a\r\nEvil: 1"), ("X", "a\nb"), ("X", "a\x00b"), ("X", "a\x7fb"), ("X", " a"), ("X", "a\t"), ("X", 1),
        ("X", None), ("X", ["a"]), ("X", "x" * (MAX_HEADER_VALUE + 1)),
    ],
)  # fmt: skip
def test_a_header_that_may_not_be_set_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_headers({"X-Good": "1", name: value})
    assert list(caught.value.errors) == [f"headers.{name}"]


def test_a_header_in_two_spellings_is_refused() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        check_headers({"X-A": "1", "x-a": "2"})


@pytest.mark.parametrize("headers", [None, [], "a: b", {f"x-{n}": "" for n in range(MAX_HEADERS + 1)}])
def test_headers_that_are_no_object_or_too_many_are_refused(headers: object) -> None:
    with pytest.raises(InvalidInput, match=r"^headers: "):
        check_headers(headers)


@given(headers=st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=3))
def test_no_accepted_header_can_end_its_line(headers: dict[str, str]) -> None:
    try:
        accepted = check_headers(headers)
    except InvalidInput:
        return
    for name, value in accepted:
        assert not set(name + value) & set("\r\n\x00")
        assert ":" not in name
