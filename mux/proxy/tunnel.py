"""A tunnel: after 101, two transports that write into each other.

Owns both connections until they end. Rules: blind, nothing is read, re-framed, pinged or closed by us; each leg's
``data_received`` is the other transport's ``write``, so a message costs no Python frame; each leg's backpressure stops
the other's reading; an end of stream is passed on, and the tunnel ends when both directions have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from mux.core.model import SessionHash
from mux.core.routes import RouteKey
from mux.proxy import limits, sockets
from mux.proxy.shares import Holder


class _Leg(asyncio.Protocol):
    __slots__ = ("_peer", "_tunnel", "data_received", "ended")

    data_received: Callable[[bytes], None]  # type: ignore[assignment]  # the peer's write itself, not a method

    def __init__(self, tunnel: Tunnel, peer: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self._peer = peer
        self.data_received = peer.write
        self.ended = False

    def pause_writing(self) -> None:
        self._peer.pause_reading()

    def resume_writing(self) -> None:
        self._tunnel.resume(self._peer)

    def eof_received(self) -> bool:
        self.ended = True
        return self._tunnel.half_closed(self._peer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.lost(self._peer, exc)


class TunnelOwner(Protocol):
    """Whoever wants to know that a tunnel is over."""

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

    __slots__ = ("_bytes", "_client", "_legs_lost", "_owner", "_upstream", "gone", "holder", "route", "session")

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
        leg = _Leg(self, self._upstream)
        self._client.set_protocol(leg)
        self._upstream.set_protocol(_Leg(self, self._client))
        self._bytes = sockets.bytes_moved(self._client)
        if not upstream_paused:
            self.resume(self._client)
        if not client_paused:
            self.resume(self._upstream)
        if client_ended:
            leg.eof_received()

    def resume(self, transport: asyncio.Transport) -> None:
        """Read a leg again, unless its stream has ended."""
        leg = transport.get_protocol()
        if not transport.is_closing() and isinstance(leg, _Leg) and not leg.ended:
            transport.resume_reading()

    def half_closed(self, peer: asyncio.Transport) -> bool:
        """One direction has ended: pass it on. Returns whether the leg stays open for the other direction."""
        leg = peer.get_protocol()
        if isinstance(leg, _Leg) and leg.ended:
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
