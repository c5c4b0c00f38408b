"""Connections to upstreams, and the pools that keep idle ones.

Owns the sockets towards workspaces and the control process. Knows nothing of HTTP: bytes go to the exchange that holds
the connection. Rules: a connection is shared by requests of one pool key only, one at a time; bytes on an idle one end
it; nothing is kept for a key that is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Protocol, cast

from mux.proxy import limits, sockets
from mux.proxy.routing import Address, Destination


class UpstreamUser(Protocol):
    """Whoever holds a connection."""

    def upstream_data(self, data: bytes) -> None:
        """Bytes came."""
        ...

    def upstream_lost(self, error: Exception | None) -> None:
        """The connection ended; ``error`` is None if the upstream closed it in order."""
        ...

    def upstream_writable(self) -> None:
        """More may be written, or no more for now: see ``write_paused``."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """One connection to an upstream."""

    __slots__ = ("_on_idle_end", "idle_since", "key", "lost", "reused", "transport", "user", "write_paused")

    def __init__(self, key: Hashable, on_idle_end: Callable[[UpstreamConnection], None]) -> None:
        self.key = key
        self.user: UpstreamUser | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.write_paused = False
        self.reused = False
        self.idle_since = 0.0
        self.lost = False
        self._on_idle_end = on_idle_end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(limits.WRITE_BUFFER_BYTES_HIGH, limits.WRITE_BUFFER_BYTES_LOW)
        sockets.keep_alive(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes for the exchange; on an idle connection they end it."""
        if self.user is not None:
            self.user.upstream_data(data)
        else:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.lost = True
        if self.user is not None:
            user, self.user = self.user, None
            user.upstream_lost(exc)
        else:
            self._on_idle_end(self)

    def pause_writing(self) -> None:
        """The upstream takes no more for now."""
        self.write_paused = True
        if self.user is not None:
            self.user.upstream_writable()

    def resume_writing(self) -> None:
        """The upstream takes more."""
        self.write_paused = False
        if self.user is not None:
            self.user.upstream_writable()

    def close(self) -> None:
        """Drop it at once: whatever was not answered is void."""
        self.user = None
        self.lost = True
        self.transport.abort()


class Pools:
    """Idle upstream connections by pool key, and the way to new ones."""

    def __init__(self) -> None:
        self._idle: dict[Hashable, list[UpstreamConnection]] = {}

    @property
    def idle(self) -> int:
        """Idle connections."""
        return sum(len(connections) for connections in self._idle.values())

    def take(self, key: Hashable) -> UpstreamConnection | None:
        """An idle connection, the one that was used last; None if there is none."""
        connections = self._idle.get(key)
        while connections:
            connection = connections.pop()
            if not connections:
                del self._idle[key]
            if not connection.lost and not connection.transport.is_closing():
                if not connection.reused:
                    connection.reused = True
                    sockets.bound_unacknowledged(connection.transport, limits.REUSED_USER_TIMEOUT_MS)
                return connection
        return None

    def give(self, connection: UpstreamConnection, now: float, *, shared: bool) -> None:
        """Keep a connection whose response is complete. ``shared``: of the control process, not of a workspace."""
        connection.user = None
        if connection.lost or connection.transport.is_closing():
            return
        connections = self._idle.setdefault(connection.key, [])
        connection.idle_since = now
        connection.transport.resume_reading()
        connections.append(connection)
        if len(connections) > (limits.POOL_IDLE_MAX_WEB if shared else limits.POOL_IDLE_MAX_WORKSPACE):
            connections.pop(0).close()

    async def connect(self, destination: Destination) -> UpstreamConnection:
        """A new connection. Raises OSError, or TimeoutError after CONNECT_S."""
        loop = asyncio.get_running_loop()
        address = destination.address

        def protocol() -> UpstreamConnection:
            return UpstreamConnection(destination.pool, self._forget)

        async with asyncio.timeout(limits.CONNECT_S):
            _, connection = await _open(loop, address, protocol)
        return connection

    def drop(self, unwanted: Callable[[Hashable], bool]) -> None:
        """Close the idle connections of every key that is no longer wanted."""
        for key in [key for key in self._idle if unwanted(key)]:
            for connection in self._idle.pop(key):
                connection.close()

    def sweep(self, now: float) -> None:
        """Close what has been idle for POOL_IDLE_S."""
        for key, connections in list(self._idle.items()):
            while connections and now - connections[0].idle_since > limits.POOL_IDLE_S:
                connections.pop(0).close()
            if not connections:
                self._idle.pop(key, None)

    def _forget(self, connection: UpstreamConnection) -> None:
        connections = self._idle.get(connection.key)
        if connections and connection in connections:
            connections.remove(connection)
            if not connections:
                del self._idle[connection.key]


async def _open(
    loop: asyncio.AbstractEventLoop, address: Address, protocol: Callable[[], UpstreamConnection]
) -> tuple[asyncio.Transport, UpstreamConnection]:
    if address.path:
        return await loop.create_unix_connection(protocol, address.path)
    return await loop.create_connection(protocol, address.host, address.port)
