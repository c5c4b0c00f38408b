"""Connections to upstreams, and the pools that keep idle ones.

Owns the sockets towards workspaces and the control process. Knows nothing of HTTP: bytes go to the exchange that holds
the connection. Rules: a connection is shared by requests of one pool key only, one at a time; bytes on an idle one end
it; nothing is kept for a key that is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable
from typing import Any, Protocol, cast

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


class LostAtOnceError(OSError):
    """An upstream took a connection and ended it before it was used."""


class Waiter(Protocol):
    """Whoever waits for a connection of a pool."""

    def offered(self, connection: UpstreamConnection) -> None:
        """Here is one, new or used: it is the waiter's now."""
        ...

    def unreached(self, error: OSError) -> None:
        """There is none: a dial failed, took longer than CONNECT_S (TimeoutError), or was in vain (LostAtOnceError)."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """One connection to an upstream."""

    __slots__ = ("ended", "idle_since", "lost", "pool", "reused", "transport", "user", "write_paused")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.user: UpstreamUser | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.write_paused = False
        self.reused = False
        self.idle_since = 0.0
        self.lost = False
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(limits.WRITE_BUFFER_BYTES_HIGH, limits.WRITE_BUFFER_BYTES_LOW)
        sockets.keep_transport_alive(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes for the exchange; on an idle connection they end it."""
        if self.user is not None:
            self.user.upstream_data(data)
        else:
            self.close()

    def eof_received(self) -> bool:
        """The upstream sends no more: the transport closes itself."""
        self.ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.lost = True
        if self.user is not None:
            user, self.user = self.user, None
            user.upstream_lost(exc)
        else:
            self.pool.forget(self)

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


class Pool:
    """Idle connections of one pool key.

    Args:
        pools: which it belongs to.
        key: see ``Destination.pool``.
    """

    __slots__ = ("_dials", "_pools", "_waiting", "dropped", "idle", "key")

    def __init__(self, pools: Pools, key: Hashable) -> None:
        self._pools = pools
        self.key = key
        self.idle: list[UpstreamConnection] = []
        self.dropped = False
        self._waiting: dict[Waiter, None] = {}
        """In the order in which they came."""
        self._dials = 0

    def take(self) -> UpstreamConnection | None:
        """An idle connection, the one that was used last; None if there is none."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            self._pools.idle -= 1
            if not connection.lost and not connection.ended:
                if not connection.reused:
                    self._reuse(connection)
                return connection
        return None

    def take_fresh(self, now: float) -> UpstreamConnection | None:
        """An idle connection that its server has surely not given up, for a request that may not be sent twice.

        None if none was used within FRESH_S, or if each of those has ended by now.

        Args:
            now: on the loop's clock.
        """
        idle = self.idle
        while idle and now - idle[-1].idle_since <= limits.FRESH_S:
            connection = idle.pop()
            self._pools.idle -= 1
            if connection.lost or connection.ended:
                continue
            if sockets.silent(connection.transport):
                if not connection.reused:
                    self._reuse(connection)
                return connection
            connection.close()
        return None

    def wait(self, waiter: Waiter, destination: Destination) -> None:
        """Get the next connection that comes back or is dialled, whichever is first.

        As many are dialled at once as requests wait, so that an upstream that is slow to take new connections is not
        asked for more of them than it needs.
        """
        self._waiting[waiter] = None
        if self._dials < len(self._waiting):
            self._dials += 1
            self._pools.spawn(self._dial(destination), "proxy-connect")

    def wait_no_more(self, waiter: Waiter) -> None:
        """Whoever waited wants none."""
        self._waiting.pop(waiter, None)

    async def _dial(self, destination: Destination) -> None:
        try:
            connection = await self._pools.connect(destination)
        except OSError as error:
            self._failed(error)
        except Exception as error:  # a defect: whoever waits would wait for ever
            self._failed(OSError(str(error)))
            raise
        else:
            if self._waiting:
                self._first().offered(connection)
            else:
                self.give(connection, asyncio.get_running_loop().time(), destination.idle_max)
        finally:
            self._dials -= 1

    def _failed(self, error: OSError) -> None:
        if self._waiting:
            self._first().unreached(error)

    def _first(self) -> Waiter:
        waiter = next(iter(self._waiting))
        del self._waiting[waiter]
        return waiter

    def _reuse(self, connection: UpstreamConnection) -> None:
        connection.reused = True
        sockets.bound_unacknowledged(connection.transport, limits.REUSED_USER_TIMEOUT_MS)

    def give(self, connection: UpstreamConnection, now: float, idle_max: int = limits.POOL_IDLE_MAX_WORKSPACE) -> None:
        """Keep a connection on which nothing is under way, if nobody waits for it and there is room."""
        connection.user = None
        if connection.lost or connection.ended:
            return
        if self._waiting:
            if not connection.reused:
                self._reuse(connection)
            self._first().offered(connection)
            return
        if self.dropped or self._pools.idle >= self._pools.idle_max:
            connection.close()
            return
        connection.idle_since = now
        self.idle.append(connection)
        self._pools.idle += 1
        if len(self.idle) > idle_max:
            self.idle.pop(0).close()
            self._pools.idle -= 1

    def forget(self, connection: UpstreamConnection) -> None:
        """An idle connection ended."""
        if connection in self.idle:
            self.idle.remove(connection)
            self._pools.idle -= 1

    def close(self, older_than: float | None = None) -> None:
        """Close the idle connections: all, or those that are idle since before ``older_than``."""
        while self.idle and (older_than is None or self.idle[0].idle_since < older_than):
            self.idle.pop(0).close()
            self._pools.idle -= 1


class Pools:
    """Idle upstream connections by pool key, and the way to new ones.

    Args:
        idle_max: idle connections in all.
        spawn: makes a task with a name, and keeps it.
    """

    def __init__(self, idle_max: int, spawn: Callable[[Coroutine[Any, Any, None], str], object]) -> None:
        self.spawn = spawn
        self._pools: dict[Hashable, Pool] = {}
        self.idle_max = idle_max
        self.idle = 0

    def of(self, key: Hashable) -> Pool:
        """The pool of a key; it stays the same until the key is dropped."""
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(self, key)
        return pool

    async def connect(self, destination: Destination) -> UpstreamConnection:
        """A new connection. Raises OSError, TimeoutError after CONNECT_S, or LostAtOnceError."""
        loop = asyncio.get_running_loop()
        address = destination.address
        pool = self.of(destination.pool)

        def protocol() -> UpstreamConnection:
            return UpstreamConnection(pool)

        async with asyncio.timeout(limits.CONNECT_S):
            _, connection = await _open(loop, address, protocol)
        if connection.lost or connection.ended:
            raise LostAtOnceError
        return connection

    def drop(self, unwanted: Iterable[Hashable]) -> None:
        """Close the idle connections of keys that are no longer wanted, and keep none that come back."""
        for key in unwanted:
            pool = self._pools.pop(key, None)
            if pool is not None:
                pool.dropped = True
                pool.close()

    def keep(self, wanted: Callable[[Hashable], bool]) -> None:
        """Drop every key that is not wanted."""
        self.drop([key for key in self._pools if not wanted(key)])

    def drop_all(self) -> None:
        """Drop every key."""
        self.drop(list(self._pools))

    def sweep(self, now: float) -> None:
        """Close what has been idle for POOL_IDLE_S."""
        for pool in self._pools.values():
            pool.close(older_than=now - limits.POOL_IDLE_S)


async def _open(
    loop: asyncio.AbstractEventLoop, address: Address, protocol: Callable[[], UpstreamConnection]
) -> tuple[asyncio.Transport, UpstreamConnection]:
    if address.path:
        return await loop.create_unix_connection(protocol, address.path)
    return await loop.create_connection(protocol, address.host, address.port)
