"""Runs tests on uvloop: ``python -m pytest -p tests.support.on_uvloop …``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Say how loops are made."""
    return {"uvloop": uvloop.new_event_loop}
