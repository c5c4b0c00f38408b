"""The proxy that aiohttp alone makes: ``web`` in front, ``ClientSession`` behind. For comparison only."""

from __future__ import annotations

import sys

import aiohttp
import uvloop
from aiohttp import web

DROPPED = {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "te", "host"}


async def main(upstream: str) -> web.Application:
    """The application."""
    connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
        body = request.content if request.can_read_body else None
        async with session.request(request.method, upstream + request.raw_path, headers=headers, data=body) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
            response = web.StreamResponse(status=answer.status, headers=kept)
            if answer.content_length is not None:
                response.content_length = answer.content_length
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(
        main(f"http://127.0.0.1:{sys.argv[2]}"), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None
    )
