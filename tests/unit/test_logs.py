"""Log lines: their form, their order, and that secrets stay out."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from aiohttp.http_exceptions import BadStatusLine

from aioscheduler.logs import configure


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_has_the_stable_keys_first_and_the_request_id() -> None:
    stream = io.BytesIO()
    configure("INFO", "json", stream)
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.get_logger("x").warning("A delivery failed", message_id="m", action="delivery_failed", attempt=2)
    (line,) = lines(stream)
    assert list(line)[:4] == ["timestamp", "level", "action", "event"]
    assert line["timestamp"].endswith("Z")
    assert {key: line[key] for key in line if key != "timestamp"} == {
        "level": "warning",
        "action": "delivery_failed",
        "event": "A delivery failed",
        "message_id": "m",
        "attempt": 2,
        "request_id": "r-1",
    }


def test_every_line_of_a_worker_says_which_it_is_also_of_libraries() -> None:
    stream = io.BytesIO()
    configure("INFO", "json", stream, worker=3)
    structlog.get_logger("x").warning("ours", action="a")
    logging.getLogger("y").warning("theirs")
    assert [line["worker"] for line in lines(stream)] == [3, 3]


def test_a_level_below_the_setting_is_silent() -> None:
    stream = io.BytesIO()
    configure("WARNING", "json", stream)
    structlog.get_logger("x").info("quiet", action="a")
    assert stream.getvalue() == b""


def test_keys_that_look_secret_are_hidden_however_deep() -> None:
    stream = io.BytesIO()
    configure("INFO", "json", stream)
    structlog.get_logger("x").info(
        "x",
        action="a",
        api_token="hush",
        headers={"Authorization": "hush", "Accept": "*/*"},
        list=[{"password": "hush"}],
    )
    (line,) = lines(stream)
    assert "hush" not in stream.getvalue().decode()
    assert line["headers"] == {"Authorization": "***", "Accept": "*/*"}


def test_what_libraries_log_takes_the_same_way_from_warning_on() -> None:
    stream = io.BytesIO()
    configure("INFO", "json", stream)
    logging.getLogger("redis").info("chatter")
    logging.getLogger("asyncio").error("task %s failed", "t", exc_info=ValueError("why"))
    (line,) = lines(stream)
    assert (line["level"], line["event"], line["logger"]) == ("error", "task t failed", "asyncio")
    assert "ValueError: why" in line["exception"]


def test_text_is_for_people_and_auto_is_json_where_no_terminal_is() -> None:
    stream = io.BytesIO()
    configure("INFO", "text", stream)
    structlog.get_logger("x").info("Hello – there", action="greeted")
    text = stream.getvalue().decode()
    assert "Hello – there" in text
    assert "action=greeted" in text
    structlog.reset_defaults()
    stream = io.BytesIO()
    configure("INFO", "auto", stream)
    structlog.get_logger("y").info("Hello", action="greeted")
    assert lines(stream)[0]["action"] == "greeted"


def test_a_value_that_json_does_not_know_does_not_lose_the_line() -> None:
    stream = io.BytesIO()
    configure("INFO", "json", stream)
    structlog.get_logger("x").info("x", action="a", value=object(), bytes=b"\xff")
    assert lines(stream)[0]["action"] == "a"


def test_a_client_that_sends_no_http_costs_one_line_without_a_traceback() -> None:
    stream = io.BytesIO()
    configure("INFO", "json", stream)
    logging.getLogger("aiohttp.server").error("Error handling request", exc_info=BadStatusLine("nonsense"))
    (line,) = lines(stream)
    assert (line["level"], line["error"]) == ("info", "BadStatusLine")
    assert "exception" not in line
