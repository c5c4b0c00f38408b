"""The proxy that aiohttp alone makes: ``web`` in front, ``ClientSession`` behind. For comparison only."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

DROPPED = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "host"}
LENGTH = "content-length"
TUNNEL = "/camp/intro/echo"


async def main(upstream: str, echo: str) -> web.Application:
    """The application.

    Args:
        upstream: what is behind it.
        echo: what is behind TUNNEL.
    """
    connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)

    async def handle(request: web.Request) -> web.StreamResponse:
        address = (echo if request.path.startswith(TUNNEL) else upstream) + request.raw_path
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await tunnel(request, address)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
        body = request.content if request.can_read_body else None
        async with session.request(request.method, address, headers=headers, data=body) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in {*DROPPED, LENGTH}}
            response = web.StreamResponse(status=answer.status, headers=kept)
            if answer.content_length is not None:
                response.content_length = answer.content_length
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    async def tunnel(request: web.Request, address: str) -> web.StreamResponse:
        front = web.WebSocketResponse(compress=False, autoping=False, max_msg_size=0)
        async with session.ws_connect(address, autoping=False, max_msg_size=0) as back:
            await front.prepare(request)
            ways = [asyncio.ensure_future(pump(front, back)), asyncio.ensure_future(pump(back, front))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        return front

    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


End = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def pump(source: End, sink: End) -> None:
    """Messages from one end to the other, until one closes."""
    async for message in source:
        await sink.send_bytes(message.data)


if __name__ == "__main__":
    uvloop.install()
    _, port, upstream, echo = sys.argv
    application = main(f"http://127.0.0.1:{upstream}", f"http://127.0.0.1:{echo}")
    web.run_app(application, host="127.0.0.1", port=int(port), access_log=None, print=None, backlog=8192)
