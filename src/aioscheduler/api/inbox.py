"""A receiver of the service's own, for trying things out."""

from __future__ import annotations

from ipaddress import ip_address

from aiohttp import web

from aioscheduler.api.body import read_body
from aioscheduler.api.context import CONTEXT
from aioscheduler.api.i18n import word
from aioscheduler.api.respond import answer, language
from aioscheduler.errors import Forbidden, NotFound, Sentence


async def receive(request: web.Request) -> web.Response:
    """``POST /inbox/{any}``"""
    context = request.app[CONTEXT]
    received_at = context.clock.now()
    _check_there(request)
    if context.config.inbox != "open" and not _is_local(request):
        raise Forbidden(Sentence("The inbox takes requests from this machine only; INBOX=open lets others write."))
    body = await read_body(request, context.config.max_body_bytes)
    context.inbox.add(request, body, received_at)
    return answer({"status": word("received", language(request))})


async def show(request: web.Request) -> web.Response:
    """``GET /inbox``"""
    context = request.app[CONTEXT]
    _check_there(request)
    requests = context.inbox.shown(context.config.zone)
    return answer({"count": len(requests), "requests": requests})


async def clear(request: web.Request) -> web.Response:
    """``DELETE /inbox``"""
    _check_there(request)
    deleted = request.app[CONTEXT].inbox.clear()
    return answer({"status": word("deleted", language(request)), "deleted": deleted})


def _check_there(request: web.Request) -> None:
    if request.app[CONTEXT].config.inbox == "false":
        raise NotFound(Sentence("The inbox is off: INBOX=false."))


def _is_local(request: web.Request) -> bool:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not isinstance(peer, tuple):
        return False
    address = ip_address(peer[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
