"""Serving an app to strangers: bounds that hold before anybody has sent a request.

Owns the connections of one listener: how many there are, and how long one may say nothing. Knows no page. Rules: a
connection that brings no request in time is closed; one too many is closed at once; neither is logged, since anybody
can do both as often as they like. No body is unpacked: a kilobyte could become a thousand.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from typing import Final, cast

from aiohttp import web

KEEP_ALIVE_S: Final = 75.0
"""Until a request has arrived with its whole head, the first as well as later ones; aiohttp's own bound is an hour.
Browsers keep connections for a minute or more."""
HANDSHAKE_S: Final = 20.0
"""For TLS: two round trips, also on a bad network."""
HEAD_BYTES_MAX: Final = 32 * 1024
"""Request line, and each field: as large as the proxies let a whole head be."""
BACKLOG: Final = 1024
"""Connections that the kernel keeps while the process is busy or being restarted: a fleet that returns at once."""


async def serve(
    app: web.Application,
    listener: socket.socket,
    stack: AsyncExitStack,
    *,
    shutdown_s: float,
    connections_max: int | None = None,
    keep_alive_s: float = KEEP_ALIVE_S,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until ``stack`` unwinds.

    Args:
        app: what is served.
        listener: a listening socket; given away.
        stack: stops it.
        shutdown_s: how long requests under way may take then.
        connections_max: open at once; None for no bound, where only our own processes connect.
        keep_alive_s: see KEEP_ALIVE_S.
        tls: None for none.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=shutdown_s,
        keepalive_timeout=keep_alive_s,
        max_line_size=HEAD_BYTES_MAX,
        max_field_size=HEAD_BYTES_MAX,
        auto_decompress=False,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server = cast(web.Server, runner.server)

    def protocol() -> asyncio.BaseProtocol:
        full = connections_max is not None and len(server.connections) >= connections_max
        return _TooMany() if full else server()

    handshake_s = None if tls is None else HANDSHAKE_S
    accepting = await asyncio.get_running_loop().create_server(
        protocol, sock=listener, ssl=tls, ssl_handshake_timeout=handshake_s, backlog=BACKLOG
    )
    stack.callback(accepting.close)


class _TooMany(asyncio.Protocol):
    """A connection that is not wanted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Leave at once."""
        cast(asyncio.Transport, transport).abort()
