"""What a Redis can lose, in sentences an operator can act on."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from aioscheduler.errors import Sentence
from aioscheduler.store.base import StoreReport
from aioscheduler.store.channel import Keeping

OLDEST_VERSION = (6, 2)
#: Events we need: keyspace, generic commands (DEL, EXPIRE, RENAME), strings (SET), expired, evicted.
EVENT_FLAGS = "Kg$xe"
_NEARLY_FULL = 0.9


async def report(redis: Redis, kind: str, keeping: Keeping) -> StoreReport:
    """Ask the server about itself. What a managed server does not tell is left out, and said so."""
    try:
        info = await redis.info()
    except ResponseError:
        lack = await unkept(redis, keeping, {})
        risks = [] if lack is None else [lack]
        return StoreReport(kind=kind, version="unknown", persistence="unknown", used_memory_bytes=0, risks=risks)
    config = await _config(redis)
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    risks = _risks(info, config)
    if (lack := await unkept(redis, keeping, info)) is not None:
        risks.append(lack)
    append_only = bool(info.get("aof_enabled"))
    fsync = f", appendfsync {config['appendfsync']}" if append_only and "appendfsync" in config else ""
    return StoreReport(
        kind=kind,
        version=f"{name} {version}",
        persistence=f"append-only file{fsync}" if append_only else "no append-only file",
        used_memory_bytes=int(info.get("used_memory", 0)),
        risks=risks,
    )


async def unkept(redis: Redis, keeping: Keeping, info: dict[str, Any]) -> Sentence | None:
    """Return why the server cannot keep clients' writes as the settings ask, so that all are refused."""
    if keeping.append_only:
        try:
            await redis.execute_command("WAITAOF", 1, 0, 1)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            return Sentence(
                "STORE_WAIT_AOF is set, but the server refuses WAITAOF ({error}), so no client can write: it takes "
                "Redis 7.2 or Valkey, appendonly yes and appendfsync always.",
                error=error,
            )
        policy = (await _config(redis)).get("appendfsync", "unknown")
        if policy != "always":
            return Sentence(
                "STORE_WAIT_AOF is set, but appendfsync is {policy}, with which WAITAOF answers before the disk has "
                "it, so no client can write. Set appendfsync always.",
                policy=policy,
            )
    connected = int(info.get("connected_slaves", keeping.replicas))
    if connected < keeping.replicas:
        return Sentence(
            "STORE_WAIT_REPLICAS is {wanted}, but {connected} replicas are connected: no client can write until they "
            "are.",
            wanted=keeping.replicas,
            connected=connected,
        )
    return None


async def _config(redis: Redis) -> dict[str, str]:
    values: dict[str, str] = {}
    for name in ("appendfsync", "notify-keyspace-events"):
        try:
            answer = await redis.config_get(name)
        except ResponseError:
            continue
        values.update({text(key): text(value) for key, value in answer.items()})
    return values


def text(value: object) -> str:
    """Return what a server says of its configuration, which the client gives as text or as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _risks(info: dict[str, Any], config: dict[str, str]) -> list[Sentence]:
    risks: list[Sentence] = []
    if is_too_old(str(info.get("redis_version", "0"))):
        risks.append(
            Sentence(
                "The server speaks the protocol of Redis {version}; 6.2 or later is needed.",
                version=info.get("redis_version"),
            )
        )
    if not info.get("aof_enabled"):
        risks.append(Sentence("No append-only file: a crash of the store loses what it accepted. Set appendonly yes."))
    elif config.get("appendfsync") == "no":
        risks.append(
            Sentence("appendfsync is no: a crash of the machine can lose half a minute. Set everysec or always.")
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        risks.append(Sentence("The last write to the append-only file failed: look at the store's disk."))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    limit = int(info.get("maxmemory", 0))
    if limit and policy != "noeviction":
        risks.append(
            Sentence("maxmemory-policy is {policy}: a full store throws messages away. Set noeviction.", policy=policy)
        )
    if limit and int(info.get("used_memory", 0)) > _NEARLY_FULL * limit:
        risks.append(Sentence("The store's memory is nearly full: raise maxmemory before new messages are refused."))
    if "notify-keyspace-events" in config and not has_events(config["notify-keyspace-events"]):
        risks.append(
            Sentence(
                "notify-keyspace-events lacks {flags}: outside writers' messages are found by the slow resync only.",
                flags=EVENT_FLAGS,
            )
        )
    if info.get("role") == "slave":
        risks.append(Sentence("The server is a read-only replica: point the settings at the primary."))
    return risks


def is_too_old(version: str) -> bool:
    """Say whether a server lacks commands we need."""
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return parts < OLDEST_VERSION


def has_events(flags: str) -> bool:
    """Say whether notifications cover all we need; ``A`` stands for every kind but a few we do not use."""
    return "K" in flags and ("A" in flags or all(flag in flags for flag in "g$xe"))


def with_events(flags: str) -> str:
    """Return the flags with those we need added, none taken away."""
    if "A" in flags:
        return flags if "K" in flags else flags + "K"
    return flags + "".join(flag for flag in EVENT_FLAGS if flag not in flags)
