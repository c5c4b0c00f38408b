"""Client connections: requests in, responses out, one exchange at a time.

Owns a browser's socket, its buffers and its deadlines. Rules: requests are taken one after the other, later bytes are
kept up to a bound; after a refusal the connection is closed, and what the client still sends is read away for a moment
so that the answer reaches it (RFC 9112 section 9.6); deadlines are looked at by one sweep for all connections.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, cast

from mux.proxy import limits, sockets
from mux.proxy.exchange import Exchange
from mux.proxy.inbound import RequestReader
from mux.proxy.pages import answer
from mux.proxy.quick import Quick
from mux.proxy.refusal import Malformed, Refusal, TooMany
from mux.proxy.request import RequestHead
from mux.proxy.rewrite import Peer
from mux.proxy.routing import check_hops
from mux.proxy.shares import Holder

if TYPE_CHECKING:
    from mux.proxy.plane import Plane


class Phase(Enum):
    """What a client connection is doing."""

    HEAD = "head"
    EXCHANGE = "exchange"
    LINGER = "linger"
    ENDED = "ended"


_HEAD, _EXCHANGE = Phase.HEAD, Phase.EXCHANGE
"""What each request asks for: an enum's member is looked up each time that it is named."""


class ClientConnection(asyncio.Protocol):
    """One connection of a browser.

    Args:
        plane: router, pools, registry and counters.
        plain: of the listener that leads browsers to TLS.
    """

    __slots__ = (
        "_eof",
        "_half_close",
        "_head_began",
        "_keep_alive",
        "_lingered",
        "_plain",
        "_plane",
        "_quick",
        "_reader",
        "_touched",
        "direct",
        "exchange",
        "holder",
        "peer",
        "phase",
        "transport",
        "write_paused",
    )

    def __init__(self, plane: Plane, *, plain: bool = False) -> None:
        self._plane = plane
        self._plain = plain
        self._half_close = True
        self._reader = RequestReader()
        self._eof = False
        self._keep_alive = True
        self._lingered = 0
        self._touched = plane.now()
        self._head_began = 0.0  # nothing has come yet
        self.phase = Phase.HEAD
        self.exchange: Exchange | Quick | None = None
        self._quick = Quick(plane, self)
        self.peer = self.direct = Peer(b"", b"")
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.write_paused = False
        self.holder: Holder | None = None

    # -- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A browser connected."""
        self.transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        self.peer = self.direct = Peer.of(name[0] if isinstance(name, tuple) else "")
        self._half_close = self.transport.can_write_eof()
        self.transport.set_write_buffer_limits(limits.WRITE_BUFFER_BYTES_HIGH, limits.WRITE_BUFFER_BYTES_LOW)
        try:
            self._plane.client_connected(self)
        except TooMany as refusal:
            self.answer(refusal, None)
            self._close()  # no linger: descriptors are what is short

    def data_received(self, data: bytes) -> None:
        """Bytes of a head, of a body, or of requests to come."""
        plane = self._plane
        now = self._touched = plane.now()
        if now <= plane.turns.ends:
            self.received(data)
        elif self.phase is not _HEAD:
            self.received(data)
            plane.turns.rest(now, self, self.transport)
        elif not plane.turns.put_off(now, self, data):
            self.received(data)

    def received(self, data: bytes) -> None:
        """See Late."""
        plane = self._plane
        if self.phase is _HEAD:
            if not self._reader.kept:
                memo = plane.memo
                if (
                    memo is not None
                    and not self._plain
                    and not self.write_paused
                    and not plane.draining
                    and self._quick.begin(memo, data)
                ):
                    self.phase, self.exchange = _EXCHANGE, self._quick
                    return
                self._head_began = self._touched
            self._reader.receive(data)
            self._advance()
        elif self.phase is Phase.EXCHANGE:
            if self._reader.body_done:
                self._reader.receive(data)
                self.update_reading()
            else:
                self._body(data)
        elif self.phase is Phase.LINGER:
            self._lingered += len(data)
            if self._lingered > limits.LINGER_BYTES_MAX:
                self._give_up("linger")

    def eof_received(self) -> bool:
        """The client will send no more; a complete request is still answered (RFC 9112 section 9.6).

        Not over TLS, where asyncio has no half of a connection: that ends it.
        """
        self._plane.turns.catch_up()
        self._eof = True
        if not self._half_close:
            return False
        if self.phase is Phase.EXCHANGE and self._reader.body_done:
            return True
        if self.phase is Phase.HEAD and self.write_paused and self._reader.buffered:
            return True
        if self.phase is Phase.EXCHANGE and self.exchange is not None:
            self.exchange.refuse(Refusal(400, "body_incomplete", "The request broke off (RFC 9112 section 8)."))
        self._close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The socket is closed."""
        self.phase = Phase.ENDED
        self._plane.client_gone(self)
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            exchange.abandon()
        self._let_go()

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self.write_paused = True
        self.touch()
        if self.exchange is not None:
            self.exchange.client_writable(False)

    def resume_writing(self) -> None:
        """The client takes more."""
        self._plane.turns.catch_up()  # what follows may begin a request, and what was put off comes before it
        self.write_paused = False
        self.touch()
        if self.exchange is not None:
            self.exchange.client_writable(True)
        elif self.phase is Phase.HEAD:
            self._advance()

    # -- requests -------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Take the next request if it is there and the last response is on its way."""
        if self.write_paused:
            self.update_reading()
            return
        if not self._reader.buffered:
            return
        try:
            request = self._reader.next_head()
        except Malformed as fault:
            self.answer(fault.refusal(), None)
            return
        if request is None:
            if self._eof:
                self._close()
            return
        self._begin(request)

    def _begin(self, request: RequestHead) -> None:
        try:
            if self._plain:
                self._plane.front.answer_plain(request)
            self.peer = self._plane.front.peer(self.direct, request)
            destination = self._plane.route(request)
            check_hops(request)
            if destination.user is not None and destination.user != self.holder:
                self._plane.client_known(self, destination.user)
        except TooMany as refusal:
            self.answer(refusal, request)
            self._close()  # no linger: whoever has too many is not given this one for a few seconds more
            return
        except Refusal as refusal:
            self.answer(refusal, request)
            return
        self.phase = Phase.EXCHANGE
        self._keep_alive = request.keep_alive
        exchange = self.exchange = Exchange(self._plane, self, request, destination)
        exchange.start()
        if not self._reader.body_done and self._reader.buffered:
            self._body(self._reader.take())
        if self._eof and not self._reader.body_done:
            exchange.refuse(Refusal(400, "body_incomplete", "The request broke off (RFC 9112 section 8)."))
        self.update_reading()

    def _body(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        try:
            forward = self._reader.body(data)
        except Malformed as fault:
            exchange.refuse(fault.refusal())
            return
        if forward:
            exchange.send_body(forward)
        self.update_reading()

    def update_reading(self) -> None:
        """Read from the client or not, as bounds and the upstream allow."""
        if self._eof or self.transport.is_closing():
            return
        if isinstance(self.exchange, Exchange) and not self.exchange.reads_client:
            return
        if self.phase is Phase.EXCHANGE and self.exchange is not None:
            if self._reader.body_done:
                wanted = self._reader.buffered < limits.PIPELINE_BYTES_MAX
            else:
                wanted = isinstance(self.exchange, Quick) or self.exchange.wants_body
        elif self.phase is Phase.HEAD:
            wanted = not self.write_paused or self._reader.buffered < limits.PIPELINE_BYTES_MAX
        else:
            wanted = True
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def read_on(self) -> None:
        """See Late, for both sides."""
        if self.phase is Phase.ENDED:
            return
        self.update_reading()
        if isinstance(self.exchange, Exchange):
            self.exchange.client_writable(not self.write_paused)

    # -- responses ------------------------------------------------------------------------------------------------

    @property
    def request_done(self) -> bool:
        """Whether the current request has arrived whole."""
        return self._reader.body_done

    @property
    def body_left(self) -> int:
        """Bytes of the current request's body that are still to come and need no look at."""
        return self._reader.plain_left

    def body_follows(self, left: int) -> None:
        """The head of the current request was read by the short way, and ``left`` bytes of its body are to come."""
        self._reader.follows(left)

    def body_here(self, bound: int) -> int:
        """Bytes of the current request's chunked body if it has come whole, and is no longer than ``bound``; else 0."""
        return self._reader.body_here(bound)

    def body_skipped(self) -> None:
        """Those bytes have gone through the kernel."""
        self._reader.skip()
        self.update_reading()

    @property
    def idle(self) -> bool:
        """Whether nothing of a request has come since the last response."""
        return self.phase is Phase.HEAD and not self._reader.buffered

    @property
    def ended(self) -> bool:
        """Whether the client has said that it will send no more."""
        return self._eof

    def takes_no_more(self) -> None:
        """The client wants no other answer after the current one."""
        self._keep_alive = False

    def may_keep_alive(self) -> bool:
        """Whether another request may follow the current one."""
        return self._keep_alive and self._reader.body_done and not self._plane.draining

    def touch(self) -> float:
        """Something moved: now, on the loop's clock."""
        now = self._touched = self._plane.now()
        return now

    def write(self, parts: list[bytes]) -> None:
        """Bytes of a response."""
        if not self.transport.is_closing():
            self.transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def response_done(self, *, keep: bool) -> None:
        """The current response is on its way, whole."""
        upgrade_refused = self.exchange is not None and self.exchange.request.upgrade and self._reader.buffered
        self.exchange = None
        if not keep or upgrade_refused or (self._eof and not self._reader.buffered):
            self._linger()
            return
        self.phase = Phase.HEAD
        self._head_began = self._touched = self._plane.now()
        self._advance()
        self.update_reading()

    def quick_done(self, now: float) -> None:
        """The current response is on its way, whole, by the short way. ``now`` on the loop's clock."""
        self.exchange = None
        self.phase = _HEAD
        self._head_began = self._touched = now
        if self._reader.kept:
            self._advance()
            self.update_reading()
        elif self._eof:
            self._linger()

    def answer(self, refusal: Refusal, request: RequestHead | None) -> None:
        """Answer by ourselves, and close."""
        self.exchange = None
        self._plane.tally.response(refusal.status)
        self._plane.tally.refused(refusal.code)
        unread = self._reader.start if request is None else b""
        self.write([answer(refusal, request, self._plane.event_name, self._plane.wall(), unread)])
        self._linger()

    def break_off(self, reason: str) -> None:
        """End a response that cannot be completed, so that the client notices.

        Args:
            reason: for the counter.
        """
        self._plane.tally.broken_off(reason)
        self.exchange = None
        self.phase = Phase.ENDED
        sockets.reset(self.transport)

    def release(self) -> bytes:
        """Give the transport away; returns what the client has sent ahead. Whoever takes it took the holder before."""
        self.exchange = None
        self.phase = Phase.ENDED
        self._plane.client_gone(self)
        self._let_go()
        return self._reader.take()

    def _let_go(self) -> None:
        """Be freed at once: the collector comes seldom, and stops everybody when it does."""
        del self._quick

    def _linger(self) -> None:
        if self.transport.is_closing():
            return
        if not self._half_close and self._reader.body_done and not self._reader.buffered:
            self._close()  # nothing is unread that a reset could follow; what is written still goes out
            return
        self.phase = Phase.LINGER
        self._reader.take()
        self._head_began = self._plane.now()
        if self._eof:
            self._close()
            return
        if self._half_close:
            self.transport.write_eof()
        self.transport.resume_reading()

    def _close(self) -> None:
        self.transport.close()

    def _give_up(self, reason: str) -> None:
        """Close over a limit that nobody is told of."""
        if not self.transport.is_closing():  # once: TLS takes a while to close
            self._plane.tally.closed(reason)
            self._close()

    # -- deadlines ------------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Bytes of requests and responses that wait here, and of its upstream's."""
        if self.idle and not self.write_paused:
            return 0
        size = self._reader.buffered + self.transport.get_write_buffer_size()
        return size + self.exchange.held if isinstance(self.exchange, Exchange) else size

    def let_go(self) -> None:
        """Its holder has too much, see Holdings."""
        text = "Too much of what you send or ask for waits here to be taken. Close some tabs or scripts."
        if self.exchange is not None:
            self.exchange.refuse(Refusal(429, "too_much_held", text))
        else:
            self.break_off("too_much_held")

    def sweep(self, now: float) -> None:
        """End what has waited for too long. ``now`` on the loop's clock."""
        idle = now - self._touched
        if self.phase is Phase.HEAD:
            self._sweep_head(now, idle)
        elif self.phase is Phase.LINGER:
            if now - self._head_began > limits.LINGER_S:
                self._end_linger(idle)
        else:
            if isinstance(self.exchange, Quick) and idle > limits.SWEEP_S:
                self.exchange.slow()
            if isinstance(self.exchange, Exchange) and (kind := self._overdue(self.exchange, idle)):
                self.exchange.expired(kind)

    def _sweep_head(self, now: float, idle: float) -> None:
        if self.write_paused:
            if idle > limits.CLIENT_STALL_S:
                self.break_off("client_stalled")
        elif self._reader.buffered:
            if now - self._head_began > limits.HEAD_S:
                self.answer(Refusal(408, "head_timeout", "The request did not arrive in time."), None)
        elif idle > (limits.IDLE_S if self._head_began else limits.FIRST_BYTE_S):
            self._give_up("idle" if self._head_began else "first_byte")
        elif idle > limits.AGAIN_S:
            self._quick.forget()

    def _end_linger(self, idle: float) -> None:
        # A slow client is still taking its last response: that is bounded by its stalls, not by the linger.
        if self.transport.get_write_buffer_size() == 0:
            self._give_up("linger")
        elif idle > limits.CLIENT_STALL_S:
            self.break_off("client_stalled")

    def _overdue(self, exchange: Exchange, idle: float) -> str:
        if self.write_paused:
            return "client_stalled" if idle > limits.CLIENT_STALL_S else ""
        if self._eof and idle > limits.HALF_CLOSED_STALL_S:
            return "half_closed"
        if exchange.head_sent:
            return ""
        if not self._reader.body_done and exchange.wants_body:
            return "body_timeout" if idle > limits.BODY_STALL_S else ""
        return "response_head" if idle > exchange.head_limit_s else ""
