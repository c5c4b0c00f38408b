"""Who a request to the organizers' listener really comes from, where a load balancer stands in front.

Rules: as of `mux.core.forwarded`; limits on failed logins count by what this says.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mux.core.forwarded import client_address, networks


def believed_peers(trusted_proxies: Sequence[str]) -> Middleware:
    """Gives later handlers the browser's address as ``remote``.

    Args:
        trusted_proxies: networks whose X-Forwarded-For is believed.
    """
    trusted = networks(trusted_proxies)

    @web.middleware
    async def believe(request: web.Request, handler: Handler) -> web.StreamResponse:
        direct = request.remote or ""
        client = client_address(direct, request.headers.getall("X-Forwarded-For", []), trusted)
        return await handler(request if client == direct else request.clone(remote=client))

    return believe
