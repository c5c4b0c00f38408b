"""A tunnel: after 101, two transports that write into each other.

Owns both connections until they end. Rules: blind, nothing is read, re-framed, pinged or closed by us; each leg's
``data_received`` is the other transport's ``write``, so a message costs no Python frame, unless the tunnel is watched
(:mod:`mux.proxy.watch`); each leg's backpressure stops the other's reading; an end of stream is passed on, and the
tunnel ends when both directions have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from mux.core.model import SessionHash
from mux.core.routes import RouteKey
from mux.proxy import limits, sockets
from mux.proxy.shares import Holder
from mux.proxy.turns import Turns


class _Leg(asyncio.Protocol):
    """One side of a tunnel.

    Args:
        tunnel: whose.
        transport: its connection.
        peer: the other one, into which it writes.
    """

    __slots__ = ("_tunnel", "data_received", "ended", "full", "other", "transport")

    data_received: Callable[[bytes], None]  # type: ignore[assignment]  # the peer's write itself, not a method
    other: _Leg

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport, peer: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self.data_received = peer.write
        self.transport = transport
        self.full = False
        self.ended = False

    def watch(self, *, on: bool) -> None:
        """See Tunnel."""
        self.data_received = self._received if on else self.other.transport.write
        self.transport.set_protocol(self)  # event loops may have kept the other one

    def _received(self, data: bytes) -> None:
        self.other.transport.write(data)
        if len(data) >= limits.REST_BYTES_MIN:
            self._tunnel.rest(self)

    def pause_writing(self) -> None:
        self.full = True
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        self.other.read_on()

    def read_on(self) -> None:
        """Read, unless the stream has ended or the other side takes no more for now. See Rested."""
        if not self.transport.is_closing() and not self.ended and not self.other.full:
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        self.ended = True
        return self._tunnel.half_closed(self.other)

    def connection_lost(self, exc: Exception | None) -> None:
        other = self.other
        del self.other, self.data_received  # be freed at once: the collector stops everybody when it comes
        self._tunnel.lost(other.transport, exc)


class TunnelOwner(Protocol):
    """Whoever wants to know that a tunnel is over."""

    @property
    def turns(self) -> Turns:
        """Of the loop."""
        ...

    def tunnel_ended(self, tunnel: Tunnel) -> None:
        """Both connections are gone."""
        ...


class Tunnel:
    """Two connected transports.

    Args:
        owner: told when it is over.
        client: the browser's transport.
        upstream: the workspace's transport.
        session: which login it belongs to.
        route: which route it goes through.
    """

    __slots__ = (
        "_bytes",
        "_client",
        "_legs_lost",
        "_owner",
        "_upstream",
        "gone",
        "holder",
        "route",
        "session",
        "turns",
    )

    def __init__(
        self,
        owner: TunnelOwner,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        session: SessionHash | None,
        route: RouteKey | None,
    ) -> None:
        self._owner = owner
        self._client = client
        self._upstream = upstream
        self._legs_lost = 0
        self._bytes = 0
        self.session = session
        self.route = route
        self.gone = False
        self.holder: Holder | None = None

    def open(self, *, client_paused: bool, upstream_paused: bool, client_ended: bool) -> None:
        """Take both transports over.

        Args:
            client_paused: the client's write buffer is full: the upstream is read when it has drained.
            upstream_paused: the same the other way round.
            client_ended: the client has already said that it will send no more.
        """
        for transport in (self._client, self._upstream):
            sockets.bound_unacknowledged(transport, limits.TUNNEL_USER_TIMEOUT_MS)
        client = _Leg(self, self._client, self._upstream)
        upstream = _Leg(self, self._upstream, self._client)
        client.other, upstream.other = upstream, client
        client.full, upstream.full = client_paused, upstream_paused
        self._client.set_protocol(client)
        self._upstream.set_protocol(upstream)
        self._bytes = sockets.bytes_moved(self._client)
        client.read_on()
        upstream.read_on()
        if client_ended:
            client.eof_received()

    def watch(self, *, on: bool) -> None:
        """Have whoever brings much in a turn that has lasted for too long rest until a later one."""
        for transport in (self._client, self._upstream):
            leg = transport.get_protocol()
            if not transport.is_closing() and isinstance(leg, _Leg):
                leg.watch(on=on)

    def rest(self, leg: _Leg) -> None:
        """A leg that is watched has brought much."""
        turns = self._owner.turns
        if (now := turns.now()) > turns.ends:
            turns.rest(now, leg, leg.transport)

    def half_closed(self, into: _Leg) -> bool:
        """One direction has ended: pass it on. Returns whether the leg stays open for the other direction."""
        peer = into.transport
        if into.ended:
            # Both have: what is still buffered is written, then both are closed.
            peer.close()
            return False
        if not peer.can_write_eof():  # asyncio's TLS has no half of a connection
            peer.close()
            return False
        if not peer.is_closing():
            peer.write_eof()
        return peer is self._client or self._client.can_write_eof()

    def lost(self, peer: asyncio.Transport, error: Exception | None) -> None:
        """One leg is gone: the other follows, after what is still buffered if the end was orderly."""
        self._legs_lost += 1
        if self._legs_lost == 2:
            self.gone = True
            self._owner.tunnel_ended(self)
        elif error is None:
            peer.close()
        else:
            peer.abort()

    def moved(self) -> int:
        """Bytes that the client's leg has moved since the last call, as the kernel counts them."""
        total = sockets.bytes_moved(self._client)
        delta, self._bytes = total - self._bytes, total
        return delta

    def cut(self) -> bool:
        """End it now."""
        self._client.abort()
        self._upstream.abort()
        return True


def is_active(moved: int) -> bool:
    """Whether a tunnel that moved so many bytes since the last batch counts as activity."""
    return moved >= limits.TUNNEL_ACTIVE_BYTES_MIN
