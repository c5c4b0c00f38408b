"""Taking new connections from a listening socket, all that wait there and not one a turn.

Owns the way from the kernel's queue to a protocol. Knows nothing of HTTP. Rules: whoever comes to a busy worker waits
for its next turn, and not for as many turns as others came before: libuv takes one connection each time that it looks
(`libuv pull request 3696 <https://github.com/libuv/libuv/pull/3696>`_), and a turn of a busy worker is long. With TLS
none is left to the loop's own server: it ends a handshake that takes too long without telling anybody.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from mux.proxy import limits, sockets

_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Nothing is wrong with the connection that waits: there is no room for it now."""


class Acceptor:
    """What is served at one listening socket.

    Args:
        sock: that listens; closed with this.
        protocol: makes the one of each connection.
        tls: None for none.
        spawn: makes a task with a name, and keeps it.
        expired: told of each TLS handshake that took longer than HANDSHAKE_S.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        expired: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._protocol = protocol
        self._tls = tls
        self._handshake_s = None if tls is None else limits.HANDSHAKE_S
        self._shutdown_s = None if tls is None else limits.LINGER_S
        self._spawn = spawn
        self._expired = expired
        self._server: asyncio.Server | None = None
        self._pause: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Serve."""
        self._sock.setblocking(False)
        sockets.keep_alive(self._sock)  # as is every connection that it takes
        if self._tls is None:
            self._server = await self._loop.create_server(self._first, sock=self._sock, backlog=limits.LISTEN_BACKLOG)
        else:
            self._sock.listen(limits.LISTEN_BACKLOG)
            self._watch()

    def close(self) -> None:
        """Take no more."""
        if self._server is not None:
            self._server.close()
        elif self._sock.fileno() >= 0:
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _watch(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._take)

    def _first(self) -> asyncio.Protocol:
        """The loop took a connection, and meets it too if there is no room for more."""
        self._take_waiting()
        return self._protocol()

    def _take(self) -> None:
        """Connections wait."""
        if self._take_waiting() in _SHORT:  # they would be told of again at once
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(limits.ACCEPT_AGAIN_S, self._watch)

    def _take_waiting(self) -> int | None:
        """Take what waits, of a burst this worker's part, so that it spreads over them; the error that ended it."""
        for _ in range(limits.ACCEPTS_MAX):
            try:
                taken, _ = self._sock.accept()
            except OSError as error:
                return error.errno
            self._spawn(self._adopt(taken), "proxy-accept")
        return None

    async def _adopt(self, taken: socket.socket) -> None:
        taken.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                self._protocol,
                taken,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=self._shutdown_s,
            )
        except ConnectionAbortedError:  # the loops' word for a handshake that took too long
            self._expired()
        except OSError:
            pass  # it failed, and the loop has closed the connection
