"""What handlers work with, under one key of the application."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from aiohttp import web

from aioscheduler.api.health import StoreProbe
from aioscheduler.api.intake import Intake
from aioscheduler.api.received import Inbox
from aioscheduler.clock import Clock
from aioscheduler.domain.message import ConflictPolicy
from aioscheduler.domain.target import Destination
from aioscheduler.store.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """The settings the API needs, as plain values. ``rate_limit_per_second`` of 0 means no limit."""

    api_token: str = field(repr=False)
    language: Literal["en", "pt"] = "en"
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    max_body_bytes: int = 1 << 20
    max_batch_bytes: int = 16 << 20
    on_conflict: ConflictPolicy = ConflictPolicy.REJECT
    reject_past: bool = False
    past_tolerance: timedelta = timedelta(seconds=60)
    rate_limit_per_second: float = 0
    inbox: Literal["true", "false", "open"] = "true"
    version: str = "0"


class EngineView(Protocol):
    """What the API may know of the engine."""

    @property
    def running(self) -> bool:
        """Whether it claims and delivers."""
        ...

    @property
    def listening(self) -> bool:
        """Whether the store's notifications reach it."""
        ...

    @property
    def in_flight(self) -> int:
        """How many requests to webhooks are on the wire."""
        ...

    @property
    def window_size(self) -> int:
        """How many due times it holds in memory."""
        ...

    @property
    def loop_lag_seconds(self) -> float:
        """How late the event loop ran last."""
        ...


class TargetGuard(Protocol):
    """Says which targets may be called."""

    def check_url(self, url: object, field: str = "webhookUrl") -> Destination:
        """Return the destination of a URL that may be called.

        :raises InvalidInput: it is none, or policy forbids it; the reason names the setting
        """
        ...


@dataclass(slots=True, kw_only=True)
class Context:
    """All that handlers need. ``started_at`` is :meth:`Clock.monotonic` at the start of the process."""

    config: ApiConfig
    clock: Clock
    store: Store
    engine: EngineView
    guard: TargetGuard
    started_at: float
    inbox: Inbox = field(default_factory=Inbox)
    intake: Intake = field(init=False)
    probe: StoreProbe = field(init=False)

    def __post_init__(self) -> None:
        self.intake = Intake(self.config, self.guard)
        self.probe = StoreProbe(self.store)


CONTEXT: web.AppKey[Context] = web.AppKey("CONTEXT", Context)
