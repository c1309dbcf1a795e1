"""Secure connections, and sessions that spare the next one half of its handshake."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Final

#: Sessions remembered at most; the oldest go first.
MAX_SESSIONS: Final = 1024


class ResumingContext(ssl.SSLContext):
    """A context that offers a host the session it had there last.

    A host's certificate was verified for that very name when its session began, and a session holds as long as the
    receiver said. asyncio has no parameter for sessions, so they come in where it asks the context for a connection.
    """

    sessions: dict[str, ssl.SSLSession]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        if session is None and isinstance(server_hostname, str):
            session = self.sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def remember(self, host: str, session: ssl.SSLSession | None) -> None:
        """Keep a session for the next connection to ``host``; one that cannot be resumed is none."""
        self.sessions.pop(host, None)
        if session is None or not session.has_ticket:
            return
        self.sessions[host] = session
        if len(self.sessions) > MAX_SESSIONS:
            del self.sessions[next(iter(self.sessions))]


def resuming(like: ssl.SSLContext) -> ResumingContext:
    """Return a context for clients, as strict as ``like`` is; it has no authorities yet."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions = {}
    context.verify_flags = like.verify_flags
    context.options = like.options
    context.minimum_version = like.minimum_version
    context.set_alpn_protocols(["http/1.1"])
    return context


@cache
def default_context() -> ResumingContext:
    """Return the context that trusts the machine's authorities; made once, since it reads all of them."""
    context = resuming(ssl.create_default_context())
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context
