"""Structured logs: one line an event, on stderr, without secrets.

Modules log with ``structlog.get_logger(__name__)`` a sentence, a stable ``action`` and ids; the request id comes from
``structlog.contextvars``. What libraries log through :mod:`logging` takes the same way.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import orjson
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "***"
_SECRET_WORDS = ("token", "authorization", "password", "secret", "signature", "api_key", "apikey", "cookie")
#: These come first, in this order, so that lines can be compared by eye.
_FIRST = ("timestamp", "level", "action", "event")


def configure(level: str, form: str, stream: BinaryIO | None = None, *, worker: int | None = None) -> None:
    """Send logs of ``level`` and above to ``stream`` (default: stderr) as ``json``, ``text`` or ``auto``.

    ``auto`` is text on a terminal and JSON elsewhere. Meant to be called once, before the first line is logged.

    :param worker: stands in every line, where several write to one place
    """
    out = stream or sys.stderr.buffer
    terminal = out.isatty()
    as_text = form == "text" or (form == "auto" and terminal)
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        *([] if worker is None else [_numbered(worker)]),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
        _in_order,
        _text_renderer(colors=terminal) if as_text else _render_json,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.BytesLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


def _numbered(worker: int) -> Processor:
    def number(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        # A field of the context would be missing where threads log.
        return {**event, "worker": worker}

    return number


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide the values of keys whose names look like a secret's, however deep."""
    return {key: _hide(key, value) for key, value in event.items()}


def _hide(key: object, value: object) -> object:
    if isinstance(key, str) and any(word in key.lower() for word in _SECRET_WORDS):
        return HIDDEN
    if isinstance(value, Mapping):
        return {inner: _hide(inner, item) for inner, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_hide(None, item) for item in value]
    return value


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {**{key: event[key] for key in _FIRST if key in event}, **event}


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


def _text_renderer(*, colors: bool) -> Processor:
    console = structlog.dev.ConsoleRenderer(
        colors=colors, sort_keys=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
    )

    def render(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        return console(logger, method, event).encode(errors="backslashreplace")

    return render


class _Bridge(logging.Handler):
    """Hands what libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"action": "library_log", "logger": record.name}
            level = record.levelno
            if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
                # Whoever sends something that is no HTTP should not fill the log with our tracebacks.
                level, fields["error"] = logging.INFO, type(record.exc_info[1]).__name__
            elif record.exc_info:
                fields["exc_info"] = record.exc_info
            structlog.get_logger(record.name).log(level, record.getMessage(), **fields)
        except Exception:  # logging must not break what logs: its own rule for handlers
            self.handleError(record)
