"""A server with what `mux image check` asks of a Jupyter, and a bound of its own on silent WebSockets.

It is run as an image's command: port, base path, seconds of silence after which it drops a connection as nginx does,
without a word (0: it keeps it), and what it does with a message: ``answers`` or ``deaf``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

PORT, BASE, DROPS_AFTER_S, MANNER = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]


@web.middleware
async def locked(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The token is demanded of everybody."""
    if request.headers.get("Authorization") != "token " + os.environ["MUX_TOKEN"]:
        raise web.HTTPForbidden
    return await handler(request)


async def well(_request: web.Request) -> web.Response:
    """It is there."""
    return web.json_response({})


async def contents(_request: web.Request) -> web.Response:
    """There are no notebooks."""
    return web.json_response({"type": "directory", "content": []})


async def save(request: web.Request) -> web.Response:
    """Keep what is sent in the home, which is where this runs."""
    Path(request.match_info["name"]).write_text((await request.json())["content"])
    return web.json_response({}, status=201)


async def new_kernel(_request: web.Request) -> web.Response:
    """The one that there is."""
    return web.json_response({"id": "only"}, status=201)


async def channels(request: web.Request) -> web.WebSocketResponse:
    """Answers each request on the kernel's shell, until nobody has said anything for too long."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    try:
        while True:
            async with asyncio.timeout(DROPS_AFTER_S or None):
                header = (await socket.receive_json())["header"]
            if MANNER == "answers":
                await socket.send_str(reply(header, "shell", "kernel_info_reply", {"status": "ok"}))
                await socket.send_str(reply(header, "iopub", "status", {"execution_state": "idle"}))
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except TypeError:
        pass  # the other side has closed it
    return socket


def reply(header: dict[str, Any], channel: str, kind: str, content: dict[str, Any]) -> str:
    """A kernel's message."""
    return json.dumps({"channel": channel, "header": {"msg_type": kind}, "parent_header": header, "content": content})


app = web.Application(middlewares=[locked])
app.router.add_get(BASE, well)
app.router.add_get(BASE + "api", well)
app.router.add_get(BASE + "api/contents", contents)
app.router.add_get(BASE + "api/contents/", contents)
app.router.add_put(BASE + "api/contents/{name}", save)
app.router.add_post(BASE + "api/kernels", new_kernel)
app.router.add_get(BASE + "api/kernels/only/channels", channels)
web.run_app(app, host="127.0.0.1", port=PORT, print=None, access_log=None)
