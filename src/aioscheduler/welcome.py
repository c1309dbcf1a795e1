"""The API's token, and the lines a newcomer is greeted with."""

from __future__ import annotations

import os
import secrets
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aioscheduler import __version__
from aioscheduler.config import Settings
from aioscheduler.errors import ConfigError, Sentence


@dataclass(frozen=True, slots=True)
class Token:
    """The bearer token, and how an operator gets at it. ``shown`` is fit for a command line."""

    value: str
    shown: str
    where: str


def find_token(settings: Settings) -> Token:
    """Return the token of the settings; else the one kept in the data folder, made at the first start.

    Services that share a data folder get the same one.

    :raises ConfigError: the folder cannot be used, or the file there is empty
    """
    if settings.api_token:
        return Token(settings.api_token, "$API_TOKEN", "the value of API_TOKEN")
    path = settings.data_dir.absolute() / "api_token"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = None if path.exists() else _make_token(path)
        value = made or path.read_text().strip()
    except OSError as error:
        raise ConfigError(
            Sentence(
                "The token cannot be kept in {path}: {reason}. Set API_TOKEN or DATA_DIR.",
                path=path,
                reason=error.strerror,
            )
        ) from error
    if not value:
        raise ConfigError(Sentence("{path} is empty: delete it to get a new token, or set API_TOKEN.", path=path))
    if made:
        return Token(made, made, f"{made} (kept in {path})")
    return Token(value, f"$(cat {shlex.quote(str(path))})", f"kept in {path}")


def _make_token(path: Path) -> str | None:
    """Make the file whole or not at all, mode 600; ``None`` when another process made it meanwhile."""
    token = secrets.token_urlsafe(32)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".api_token-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        return None
    finally:
        os.unlink(name)
    return token


def banner(settings: Settings, token: Token) -> str:
    """Return what a newcomer needs: where it listens, the token, and two lines to paste."""
    port = settings.api_port
    here = f"http://127.0.0.1:{port}"
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    kind = "its own store" if settings.embedded else "the store"
    lines = [
        f"aioscheduler {__version__} listens on http://{host}:{port}, with {kind} at {settings.store_address}",
        *([f"Dashboard      {here}/ui/"] if settings.dashboard else []),
        f"Documentation  {here}/docs",
        f"Token          {token.where}",
    ]
    if settings.workers > 1:
        # Each has an inbox of its own, so what was sent to one would be looked for in another.
        lines.append(f"Workers        {settings.workers}, which share port and store")
    elif settings.inbox != "false" and not settings.webhook_block_private:
        header = f'-H "Authorization: Bearer {token.shown}"'
        body = f'{{"delay": "2s", "payload": {{"hello": "world"}}, "webhookUrl": "{here}/inbox/hello"}}'
        lines += [
            "Send a message to the built-in inbox, two seconds from now; then see it there:",
            f"  curl {header} -d '{body}' {here}/messages",
            f"  curl {header} {here}/inbox",
        ]
    return "\n".join(lines)
