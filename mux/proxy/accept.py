"""Taking new connections from a listening socket, all that wait there and not one a turn.

Owns the way from the kernel's queue to a protocol. Knows nothing of HTTP. Rule: whoever comes to a busy worker waits
for its next turn, and not for as many turns as others came before: libuv takes one connection each time that it looks
(`libuv pull request 3696 <https://github.com/libuv/libuv/pull/3696>`_), and a turn of a busy worker is long.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from mux.proxy import limits


class Acceptor:
    """What is served at one listening socket.

    Args:
        sock: that listens; closed with this.
        protocol: makes the one of each connection.
        tls: None for none.
        spawn: makes a task with a name, and keeps it.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        self._sock = sock
        self._protocol = protocol
        self._tls = tls
        self._handshake_s = None if tls is None else limits.HANDSHAKE_S
        self._shutdown_s = None if tls is None else limits.LINGER_S
        self._spawn = spawn
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Serve."""
        self._sock.setblocking(False)
        self._server = await asyncio.get_running_loop().create_server(
            self._first,
            sock=self._sock,
            backlog=limits.LISTEN_BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=self._handshake_s,
            ssl_shutdown_timeout=self._shutdown_s,
        )

    def close(self) -> None:
        """Take no more."""
        if self._server is not None:
            self._server.close()

    def _first(self) -> asyncio.Protocol:
        """The loop took a connection: of those that still wait, a worker takes its part of a burst."""
        for _ in range(limits.ACCEPTS_MAX):
            try:
                taken, _ = self._sock.accept()
            except OSError:
                break  # none is left; if it was something else, the loop meets it too
            self._spawn(self._adopt(taken), "proxy-accept")
        return self._protocol()

    async def _adopt(self, taken: socket.socket) -> None:
        taken.setblocking(False)
        with contextlib.suppress(OSError):  # a handshake that failed or took too long: the loop has closed it
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                taken,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=self._shutdown_s,
            )
