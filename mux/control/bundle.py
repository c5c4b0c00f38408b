"""The agent bundle on the control listener: for machines that are to become ships, and for nobody else.

Owns how many have it at once; who may is said in `awaited`. Knows nothing of what is in it.

Rules: nothing of a request is logged. A machine that finds all places taken is told so and comes again.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from mux.control.awaited import Awaited
from mux.providers.agent_bundle import AgentBundle

DOWNLOADS_MAX: Final = 16
"""At once: TLS costs the control process about 2 ms a megabyte, and it has links to keep."""
PIECE_BYTES: Final = 256 * 1024


class BundleEndpoint:
    """Serves one bundle.

    Args:
        bundle: what is served; read for each download.
        awaited: who may have it.
        downloads_max: bound of downloads at once.
    """

    def __init__(self, bundle: AgentBundle, awaited: Awaited, downloads_max: int = DOWNLOADS_MAX) -> None:
        self._bundle = bundle
        self._awaited = awaited
        self._downloads_max = downloads_max
        self._downloads = 0

    def routes(self) -> list[web.RouteDef]:
        """What the daemon mounts on the control listener."""
        return [web.get("/ship/bundle/{sha256}", self._handle, allow_head=False)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._awaited.ship(request)
        if request.match_info["sha256"] != self._bundle.sha256:
            raise web.HTTPNotFound(text="The mux has another bundle by now. Launch the machine anew.\n")
        if self._downloads >= self._downloads_max:
            raise web.HTTPServiceUnavailable(text="Others are fetching it. Come again.\n")
        self._downloads += 1
        try:
            response = web.FileResponse(self._bundle.path, chunk_size=PIECE_BYTES)
            await response.prepare(request)  # sends all of it
        finally:
            self._downloads -= 1
        return response
