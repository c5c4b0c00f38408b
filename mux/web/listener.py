"""Serving an app to strangers: bounds that hold before anybody has sent a request.

Owns the connections of one listener: how many there are, and how long one may say nothing. Knows no page. Rules: a
connection counts from the moment that it is accepted; one that brings no request in time is closed; one too many is
closed at once; none of that is logged, since anybody can do it as often as they like. No body is unpacked: a kilobyte
could become a thousand.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from typing import Final, cast

from aiohttp import web

from mux.control.strangers import Strangers

KEEP_ALIVE_S: Final = 75.0
"""Until a request has arrived with its whole head, the first as well as later ones; aiohttp's own bound is an hour.
Browsers keep connections for a minute or more."""
HANDSHAKE_S: Final = 20.0
"""For TLS: two round trips, also on a bad network."""
HEAD_BYTES_MAX: Final = 32 * 1024
"""Request line, and each field: as large as the proxies let a whole head be."""
BACKLOG: Final = 1024
"""Connections that the kernel keeps while the process is busy or being restarted: a fleet that returns at once."""
ACCEPT_RETRY_S: Final = 0.5
"""Pause after a connection that could not be accepted: no descriptor was free, mostly."""


async def serve(
    app: web.Application,
    listener: socket.socket,
    stack: AsyncExitStack,
    *,
    shutdown_s: float,
    connections_max: int | None = None,
    keep_alive_s: float = KEEP_ALIVE_S,
    tls: ssl.SSLContext | None = None,
    strangers: Strangers | None = None,
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
        strangers: counts those who have not shown who they are, of an app that says so; None where all are alike.
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
    door = _Door(cast(web.Server, runner.server), connections_max, tls, strangers)
    listener.setblocking(False)
    listener.listen(BACKLOG)
    accepting = asyncio.create_task(door.accept(listener), name="accept")

    async def close() -> None:
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        listener.close()
        await door.close()

    stack.push_async_callback(close)


class _Door:
    """Lets connections in to a server.

    Args:
        server: whose requests they bring.
        connections_max, tls, strangers: see `serve`.
    """

    def __init__(
        self,
        server: web.Server,
        connections_max: int | None,
        tls: ssl.SSLContext | None,
        strangers: Strangers | None,
    ) -> None:
        self._server = server
        self._connections_max = connections_max
        self._tls = tls
        self._strangers = strangers
        self._arriving: set[asyncio.Task[None]] = set()

    async def accept(self, listener: socket.socket) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(ACCEPT_RETRY_S)
            else:
                self._let_in(accepted, peer[0] if isinstance(peer, tuple) else "")

    async def close(self) -> None:
        """Let go of those that are not in yet; the server lets go of the others."""
        for task in self._arriving:
            task.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)

    def _let_in(self, accepted: socket.socket, peer: str) -> None:
        guest, protocol = _Guest(accepted, self._tls), self._server()
        if self._full or (self._strangers is not None and not self._strangers.come(protocol, peer, guest)):
            accepted.close()
            return
        guest.arriving = asyncio.create_task(guest.arrive(protocol), name="connection")
        self._arriving.add(guest.arriving)
        guest.arriving.add_done_callback(self._arriving.discard)

    @property
    def _full(self) -> bool:
        here = len(self._server.connections) + len(self._arriving)
        return self._connections_max is not None and here >= self._connections_max


class _Guest:
    """A connection that was accepted; see `mux.control.strangers.Connection`.

    Args:
        accepted: its socket.
        tls: None for none.
    """

    def __init__(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.arriving: asyncio.Task[None] | None = None
        self._accepted = accepted
        self._tls = tls
        self._transport: asyncio.Transport | None = None

    async def arrive(self, protocol: asyncio.BaseProtocol) -> None:
        """Through the handshake, if there is one. That it fails is nobody's business but the other side's."""
        handshake_s = None if self._tls is None else HANDSHAKE_S
        try:
            if self._accepted.family != socket.AF_UNIX:
                self._accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, self._accepted, ssl=self._tls, ssl_handshake_timeout=handshake_s
            )
        except OSError:
            self._accepted.close()

    @property
    def closed(self) -> bool:
        """It has ended."""
        if self._transport is not None:
            return self._transport.is_closing()
        return self.arriving is not None and self.arriving.done()

    def drop(self) -> None:
        """End it without a word."""
        if self._transport is not None:
            self._transport.abort()
        elif self.arriving is not None:
            self.arriving.cancel()
