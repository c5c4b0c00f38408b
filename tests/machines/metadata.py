"""A cloud's metadata service, as far as a ship's machine asks it: for cloud-init, and for the agent's notices.

Answers by the caller's address, as a cloud does. Knows the tokens of EC2's IMDSv2, and answers without one where
cloud-init 22.4 asks without one: it does so on a machine that it does not take for Amazon's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from aiohttp import web

TOKEN_S_MAX = 21_600


class Metadata:
    """The service.

    Args:
        user_data: user-data of the machine with that address; None if there is none.
    """

    def __init__(self, user_data: Callable[[str], bytes | None]) -> None:
        self._user_data = user_data
        self._tokens: set[str] = set()
        self._runner: web.AppRunner | None = None
        self.announced: dict[str, str] = {}
        """Further answers by path below ``meta-data/``, for every machine, with a token alone."""
        self.asked: list[tuple[str, str]] = []
        """Every caller's address, and what it asked for."""

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
        caller, path = request.remote or "", request.match_info["path"]
        self.asked.append((caller, path))
        if (what := path.removeprefix("meta-data/")) in self.announced:
            if request.headers.get("X-aws-ec2-metadata-token") not in self._tokens:
                raise web.HTTPUnauthorized
            return web.Response(text=self.announced[what])
        if path.rstrip("/") == "user-data" and (content := self._user_data(caller)) is not None:
            return web.Response(body=content)
        answers = {
            "meta-data": "instance-id\nlocal-hostname\nlocal-ipv4\nplacement/",
            "meta-data/instance-id": f"i-{caller.replace('.', '-')}",
            "meta-data/local-hostname": f"ship-{caller.replace('.', '-')}",
            "meta-data/local-ipv4": caller,
            "meta-data/placement": "availability-zone",
            "meta-data/placement/availability-zone": "xx-test-1a",
        }
        if (text := answers.get(path.rstrip("/"))) is None:
            raise web.HTTPNotFound
        return web.Response(text=text)
