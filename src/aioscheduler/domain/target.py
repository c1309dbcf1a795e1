"""Where a webhook goes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NewType
from urllib.parse import urlsplit

from aioscheduler.errors import InvalidInput, Sentence

MAX_URL_LENGTH = 2048
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
MAX_HEADERS = 64
MAX_HEADER_VALUE = 8192

#: Scheme, host and port: what limits and circuits are kept for. Always lower case, always with a port.
Destination = NewType("Destination", str)

#: RFC 9110 section 5.6.2: the characters of a header's name.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: RFC 9110 section 5.5: visible characters, space and tab; no line breaks, or a value could add headers of its own.
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
#: What of a URL decides where it leads: it ends where RFC 3986 section 3.2 lets an authority end.
_ORIGIN = re.compile(r"[^/?#]*//[^/?#]*")
_CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f\\]")
#: Ours to write: hop-by-hop (RFC 9110 section 7.6.1) and the framing of the message.
_REFUSED = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_REFUSED_PREFIXES = ("webhook-", "x-scheduler-")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """One HTTP request to make: the URL goes out exactly as given."""

    url: str
    destination: Destination
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()


def check_url(url: object, field: str = "webhookUrl", max_length: int = MAX_URL_LENGTH) -> Destination:
    """Return the destination of an absolute http or https URL.

    :raises InvalidInput: not a string, too long, not absolute, another scheme, no host, or characters that a request
        line cannot carry
    """
    if not isinstance(url, str):
        raise InvalidInput.of(field, Sentence("must be a string"))
    if len(url) > max_length:
        raise InvalidInput.of(field, Sentence("must have at most {max} characters", max=max_length))
    if _CONTROL_OR_SPACE.search(url):
        raise InvalidInput.of(field, Sentence("must not contain spaces, backslashes or control characters"))
    origin = _ORIGIN.match(url)
    try:
        url.encode()
        destination = _destination(origin[0]) if origin else None
    except ValueError as error:
        raise InvalidInput.of(field, _NOT_A_URL) from error
    if destination is None:
        raise InvalidInput.of(field, _NOT_A_URL)
    return destination


def leads_to(url: object, destination: Destination) -> bool:
    """Say whether a request to this URL, if it is one, goes there."""
    try:
        return check_url(url) == destination
    except InvalidInput:
        return False


@lru_cache(maxsize=4096)
def _destination(origin: str) -> Destination | None:
    """Return where ``scheme://authority`` leads: remembered, since most messages go where others went.

    :raises ValueError: the authority has no legal port, brackets or host name
    """
    parts = urlsplit(origin)
    scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    if scheme not in _DEFAULT_PORTS or not host or port == 0:
        return None
    return destination_of(scheme, host if host.isascii() else host.encode("idna").decode("ascii"), port)


_NOT_A_URL = Sentence("must be an absolute http:// or https:// URL")


def destination_of(scheme: str, host: str, port: int | None) -> Destination:
    """Return the name under which requests to the same scheme, host and port are counted together."""
    shown = f"[{host}]" if ":" in host else host
    return Destination(f"{scheme}://{shown.lower()}:{port or _DEFAULT_PORTS[scheme]}")


def check_method(method: object, field: str = "method") -> str:
    """Return the method in upper case.

    :raises InvalidInput: not one of :data:`METHODS`
    """
    if isinstance(method, str) and method.upper() in METHODS:
        return method.upper()
    raise InvalidInput.of(field, Sentence("must be one of {choices}", choices=", ".join(METHODS)))


def check_headers(headers: object, field: str = "headers") -> tuple[tuple[str, str], ...]:
    """Return headers a client may set, in the order given.

    :raises InvalidInput: not an object of strings, a name that is no token, a value with a line break, a header that
        only the service may write, or a name that stands there twice in different case
    """
    if not isinstance(headers, dict):
        raise InvalidInput.of(field, Sentence("must be an object of strings"))
    if len(headers) > MAX_HEADERS:
        raise InvalidInput.of(field, Sentence("must have at most {max} entries", max=MAX_HEADERS))
    errors: dict[str, list[Sentence]] = {}
    seen: set[str] = set()
    for name, value in headers.items():
        if reason := _header_fault(name, value, seen):
            errors[f"{field}.{name}"] = [reason]
        seen.add(name.lower())
    if errors:
        raise InvalidInput(errors)
    return tuple(headers.items())


def _header_fault(name: str, value: object, seen: set[str]) -> Sentence | None:
    lower = name.lower()
    if not _TOKEN.fullmatch(name):
        return Sentence("is no legal header name")
    if lower in _REFUSED or lower.startswith(_REFUSED_PREFIXES):
        return Sentence("may not be set: the service writes this header itself")
    if lower in seen:
        return Sentence("stands there twice")
    if not isinstance(value, str):
        return Sentence("must be a string")
    if len(value) > MAX_HEADER_VALUE:
        return Sentence("must have at most {max} characters", max=MAX_HEADER_VALUE)
    if not _FIELD_VALUE.fullmatch(value) or value != value.strip(" \t"):
        return Sentence("must not contain line breaks or control characters, nor begin or end with a space")
    return None
