"""A metadata service that announces whatever a test wants: also what no cloud says.

As far as a ship agent asks it, with the tokens of EC2's IMDSv2. :mod:`tests.fakes.ec2.imds` is a whole one.
"""

from __future__ import annotations

import secrets

from aiohttp import web

TOKEN_S_MAX = 21_600


class Metadata:
    """The service."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self._runner: web.AppRunner | None = None
        self.announced: dict[str, str] = {}
        """Answers by path below ``meta-data/``."""
        self.asked = 0
        """How often anything of ``meta-data/`` was asked for."""

    async def start(self, address: str) -> int:
        """Serve on an address of this machine; the port."""
        application = web.Application()
        application.add_routes([web.put("/latest/api/token", self._token), web.get("/{version}/{path:.*}", self._get)])
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, 0).start()
        return int(self._runner.addresses[0][1])

    def forget_tokens(self) -> None:
        """None that was given out is taken any more."""
        self._tokens.clear()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _token(self, request: web.Request) -> web.Response:
        wanted = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not wanted.isdigit() or not 0 < int(wanted) <= TOKEN_S_MAX:
            raise web.HTTPBadRequest
        token = secrets.token_urlsafe(40)
        self._tokens.add(token)
        return web.Response(text=token)

    async def _get(self, request: web.Request) -> web.Response:
        self.asked += 1
        if request.headers.get("X-aws-ec2-metadata-token") not in self._tokens:
            raise web.HTTPUnauthorized
        if (text := self.announced.get(request.match_info["path"].removeprefix("meta-data/"))) is None:
            raise web.HTTPNotFound
        return web.Response(text=text)
