"""What handlers work with, under one key of the application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from aiohttp import web

from aioscheduler.api.auth import Credentials, TokenVerifier
from aioscheduler.api.feed import Feed
from aioscheduler.api.health import StoreProbe
from aioscheduler.api.intake import Intake
from aioscheduler.api.received import Inbox
from aioscheduler.api.schemas.base import Site
from aioscheduler.api.schemas.jobs import WebhookSchema, WebhookUpdateSchema
from aioscheduler.bots.base import Bot
from aioscheduler.clock import Clock
from aioscheduler.domain.message import ConflictPolicy
from aioscheduler.domain.target import Destination
from aioscheduler.store.base import Store
from aioscheduler.store.recurring import JobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """The settings the API needs, as plain values. ``rate_limit_per_second`` of 0 means no limit, and a
    ``punctuality_target_ms`` of 0 no target.

    ``worker`` is the number of this process where several share a port.
    """

    api_token: str = field(repr=False)
    api_key: str | None = field(default=None, repr=False)
    jwt_secret: str | None = field(default=None, repr=False)
    jwt_audience: str = "authenticated"
    jwt_jwks_url: str | None = None
    language: Literal["en", "pt"] = "en"
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    max_body_bytes: int = 1 << 20
    max_batch_bytes: int = 16 << 20
    on_conflict: ConflictPolicy = ConflictPolicy.REJECT
    reject_past: bool = False
    past_tolerance: timedelta = timedelta(seconds=60)
    request_timeout_seconds: float = 60
    rate_limit_per_second: float = 0
    inbox: Literal["true", "false", "open"] = "true"
    punctuality_target_ms: int = 0
    version: str = "0"
    worker: int | None = None
    event_clients: int = 100


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

    @property
    def store_risks(self) -> int:
        """How many risks of loss the store had when it was looked at last; 0 before."""
        ...

    @property
    def circuits_open(self) -> Sequence[Destination]:
        """Which destinations it leaves alone because they fail."""
        ...

    @property
    def circuits_opened(self) -> int:
        """How many times it began to leave one alone."""
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
    """All that handlers need. ``started_at`` is :meth:`Clock.monotonic` at the start of the process.

    ``bots`` are those that jobs may name, by ``bot_type``.
    """

    config: ApiConfig
    clock: Clock
    store: Store
    jobs: JobStore
    engine: EngineView
    guard: TargetGuard
    started_at: float
    bots: Mapping[str, Bot] = field(default_factory=dict)
    inbox: Inbox = field(default_factory=Inbox)
    credentials: Credentials = field(init=False)
    intake: Intake = field(init=False)
    webhook_schema: WebhookSchema = field(init=False)
    webhook_update_schema: WebhookUpdateSchema = field(init=False)
    probe: StoreProbe = field(init=False)
    feed: Feed = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        self.credentials = Credentials(
            config.api_token,
            api_key=config.api_key,
            tokens=TokenVerifier(
                self.clock, secret=config.jwt_secret, audience=config.jwt_audience, jwks_url=config.jwt_jwks_url
            ),
        )
        self.intake = Intake(self.config, self.guard)
        site = Site(zone=config.zone, check_url=self.guard.check_url)
        self.webhook_schema, self.webhook_update_schema = WebhookSchema(site), WebhookUpdateSchema(site)
        self.probe = StoreProbe(self.store, self.jobs)
        self.feed = Feed(self.store, self.clock, config.zone, config.event_clients)


CONTEXT: web.AppKey[Context] = web.AppKey("CONTEXT", Context)
