"""One request and its response: the shell between a client connection and an upstream connection.

Owns the upstream connection while the exchange lasts, and the decision how it ends: kept, retried, answered by an
error page, or torn down. Knows the client through a few methods. Rules: bytes are passed on as they are judged, never
collected; each side's backpressure stops the other's reading; a response that broke off is never ended in order.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mux.core.model import SessionHash
from mux.core.routes import RouteKey
from mux.proxy import limits, sockets
from mux.proxy.body import CHUNKED, NO_BODY, UNTIL_CLOSE
from mux.proxy.failures import upstream_failed
from mux.proxy.grammar import values_of
from mux.proxy.refusal import Malformed, Refusal
from mux.proxy.request import RequestHead
from mux.proxy.response import Mark, ResponseHead, ResponseReader
from mux.proxy.rewrite import client_head, upstream_head
from mux.proxy.routing import Destination
from mux.proxy.through import Through
from mux.proxy.tunnel import Tunnel
from mux.proxy.upstream import LostAtOnceError, Pool, UpstreamConnection

if TYPE_CHECKING:
    from mux.proxy.client import ClientConnection
    from mux.proxy.plane import Plane


class Exchange:
    """A request under way.

    Args:
        plane: pools, registry and counters.
        client: whose request it is.
        request: its head.
        destination: where it goes.
    """

    __slots__ = (
        "_dialling",
        "_keep",
        "_pending",
        "_plane",
        "_reader",
        "_through",
        "_waits_at",
        "client",
        "destination",
        "event_stream",
        "gone",
        "head_sent",
        "request",
        "route",
        "session",
        "started",
        "upstream",
    )

    def __init__(self, plane: Plane, client: ClientConnection, request: RequestHead, destination: Destination) -> None:
        self._plane = plane
        self.client = client
        self.request = request
        self.destination = destination
        self.session: SessionHash | None = destination.session
        self.route: RouteKey | None = destination.route
        self.upstream: UpstreamConnection | None = None
        self.head_sent = False
        self.event_stream = False
        self.gone = False
        self._keep = False
        self._pending: list[bytes] = []
        self._through = Through(plane, client)
        self._dialling: asyncio.Task[None] | None = None
        self._waits_at: Pool | None = None
        self._reader = self._new_reader()

    def _new_reader(self) -> ResponseReader:
        key = self.request.values(b"sec-websocket-key")[0] if self.request.upgrade else None
        return ResponseReader(self.request.method, key, self.request.minor)

    def start(self) -> None:
        """Find a connection and send the head."""
        self._plane.registry.add(self)
        if self.route is not None:
            self._plane.tally.active.add(self.route)
        if self.destination.hold_s is not None:
            self._hold(self.destination.hold_s)
            return
        if (connection := self._kept()) is not None:
            self._attach(connection)
        else:
            self._dial(share=self.request.repeatable)

    def _kept(self) -> UpstreamConnection | None:
        """An idle connection that may carry it: what is not sent twice takes none that its server may just end."""
        if self.request.repeatable:
            return self._pool.take()
        size = self.request.body
        if size == CHUNKED:
            size = self.client.body_here(limits.FRESH_BODY_BYTES_MAX) or CHUNKED
        if NO_BODY <= size <= limits.FRESH_BODY_BYTES_MAX and not self.request.upgrade:
            return self._pool.take_fresh(self._plane.now())
        return None

    @property
    def _pool(self) -> Pool:
        return self._plane.pools.of(self.destination.pool)

    def adopt(self, connection: UpstreamConnection | None) -> None:
        """Go on where the short way left: the head has been sent through ``connection``, or, if None, waits for one."""
        if connection is None:
            self._dial(share=True)
        else:
            self.upstream = connection
            connection.user = self

    @property
    def _waits(self) -> bool:
        """Whether it waits for its workspace to come back, and nothing of it is under way."""
        return self.destination.hold_s is not None and self.upstream is None

    def _hold(self, hold_s: float) -> None:
        self._dialling = self._plane.spawn(self._wait(hold_s), "proxy-hold")

    async def _wait(self, hold_s: float) -> None:
        self._plane.tally.count("holds_total")
        try:
            destination = await self._plane.released(self.request, hold_s)
        except Refusal as refusal:
            self._dialling = None
            self._fail(refusal)
            return
        self._plane.registry.discard(self)
        self.destination, self.session, self.route = destination, destination.session, destination.route
        self._plane.registry.add(self)
        self.client.touch()
        self._dial()

    def _is_held(self) -> Destination | None:
        """Where it would wait, were it to begin now; None if it would not."""
        try:
            destination = self._plane.route(self.request)
        except Refusal:
            return None
        return destination if destination.hold_s is not None and destination.route == self.route else None

    def _held(self) -> bool:
        """Wait instead of failing, if the workspace is being swapped and the request may be sent again."""
        if self.gone or self.head_sent or not self.request.repeatable or self._waits:
            return False
        destination = self._is_held()
        if destination is None or destination.hold_s is None:
            return False
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None
        self.destination = destination
        self._reader = self._new_reader()
        self._hold(destination.hold_s)
        return True

    def _dial(self, *, share: bool = False) -> None:
        """Get a connection: a new one, or, to share, whichever is there first."""
        if share:
            self._waits_at = pool = self._pool
            pool.wait(self, self.destination)
        else:
            self._dialling = self._plane.spawn(self._connect(), "proxy-connect")

    async def _connect(self) -> None:
        try:
            connection = await self._plane.pools.connect(self.destination)
        except OSError as error:
            self._dialling = None
            self.unreached(error)
        else:
            self._dialling = None
            if self.gone:
                connection.close()
            else:
                self.offered(connection)

    def offered(self, connection: UpstreamConnection) -> None:
        """See Waiter."""
        self._waits_at = None
        self._plane.paths.reached(self.destination)
        self._attach(connection)

    def unreached(self, error: OSError) -> None:
        """See Waiter."""
        self._waits_at = None
        if isinstance(error, LostAtOnceError):
            self._upstream_failed("reset")
            return
        self._plane.paths.unreached(self.destination)
        if isinstance(error, TimeoutError):
            self._upstream_failed("connect_timeout")
        else:
            self._upstream_failed("refused")

    def _attach(self, connection: UpstreamConnection) -> None:
        self.upstream = connection
        connection.user = self
        write = connection.transport.write
        write(upstream_head(self.request, self.destination, self.client.peer))
        for data in self._pending:
            write(data)
        self._pending.clear()
        self._through.begin_up(connection, self.client.body_left, self._passed_up)
        self.client.update_reading()

    # -- from the client ------------------------------------------------------------------------------------------

    def send_body(self, data: bytes) -> None:
        """Judged bytes of the request's body."""
        if self.upstream is not None:
            if not self.upstream.transport.is_closing():
                self.upstream.transport.write(data)
                self._through.begin_up(self.upstream, self.client.body_left, self._passed_up)
        else:
            self._pending.append(data)

    @property
    def held(self) -> int:
        """Bytes that wait for the upstream, and those in pipes."""
        up = self.upstream
        waits = sum(map(len, self._pending)) if up is None else up.transport.get_write_buffer_size()
        return waits + self._through.held

    @property
    def wants_body(self) -> bool:
        """Whether more of the body may be read now."""
        if self.upstream is None:
            return self.held < limits.BODY_PENDING_BYTES_MAX
        return not self.upstream.write_paused

    def client_writable(self, writable: bool) -> None:
        """The client takes more, or no more for now."""
        if self.upstream is None or self.upstream.lost:
            return
        if self._through.down:
            if writable:
                self._through.go_on_down()
        elif writable:
            self.upstream.transport.resume_reading()
        else:
            self.upstream.transport.pause_reading()

    def abandon(self) -> None:
        """The client is gone, or is owed nothing more."""
        self._end()
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None

    def cut(self) -> bool:
        """See Live.

        Before the response begins, a request to the control process goes on: it may be the very logout that ended the
        session.
        """
        if self.gone or (not self.head_sent and not self.destination.workspace):
            return False
        if self._waits or (not self.event_stream and self._is_held() is not None):
            return False  # what has begun may end; what waits goes where it is led then
        text = "Your workspace is no longer reached through here."
        self._fail(Refusal(503, "workspace_moved", text, reload_s=limits.RELOAD_S))
        return True

    @property
    def head_limit_s(self) -> float:
        """How long the response head may take."""
        if self.destination.workspace:
            return limits.RESPONSE_HEAD_S
        return limits.WEB_HEAD_S if self._plane.control_up else limits.CONTROL_GONE_S

    # -- from the upstream ----------------------------------------------------------------------------------------

    def upstream_data(self, data: bytes) -> None:
        """See UpstreamUser."""
        client, connection = self.client, self.upstream
        if connection is None:
            return
        if (now := client.touch()) > self._plane.turns.ends:
            self._plane.turns.rest(now, client, connection.transport)
        try:
            events = self._reader.receive(data)
        except Malformed as fault:
            self._upstream_failed("malformed", fault)
            return
        out: list[bytes] = []
        for event in events:
            if isinstance(event, bytes):
                out.append(event)
            elif isinstance(event, ResponseHead):
                if event.status == 101:
                    self._switch(event, connection)
                    return
                if not self._head(event, out):
                    return
            elif event is Mark.END:
                if out:
                    client.write(out)
                self._complete(connection)
                return
        if out:
            client.write(out)
        self._through.begin_down(connection, self._reader.plain_left, self._passed_down)

    def upstream_lost(self, error: Exception | None) -> None:
        """See UpstreamUser."""
        if error is not None:
            self._last_words()
        connection, self.upstream = self.upstream, None
        if self.gone:
            return
        if error is None and self._reader.eof():
            self._end()
            self.client.response_done(keep=False)
            return
        if self._held():
            return
        stale = connection is not None and connection.reused and not self._reader.started
        if stale and self.request.repeatable:  # once: what is dialled now is not reused
            self._plane.tally.count("retries_total")
            self._reader = self._new_reader()
            self._dial()
            return
        self._upstream_failed("reset")

    def _last_words(self) -> None:
        """An upstream that wants no more of a body may have said why before it reset the connection."""
        if self.upstream is None or self.gone or self.request.body == NO_BODY or self.client.write_paused:
            return
        for data in sockets.unread(self.upstream.transport, limits.LAST_WORDS_BYTES_MAX):
            if not self.gone:
                self.upstream_data(data)

    def upstream_writable(self) -> None:
        """See UpstreamUser."""
        if self._through.up:
            self._through.go_on_up()
        else:
            self.client.update_reading()

    # -- large bodies, through the kernel ---------------------------------------------------------------------------

    @property
    def reads_client(self) -> bool:
        """Whether the client's bytes come through its transport; else they are the kernel's business for now."""
        return not self._through.up

    def _passed_up(self, fault: str | None) -> None:
        if fault is None:
            self.client.body_skipped()
        elif fault == "source":
            self._fail(Refusal(400, "body_incomplete", "The request broke off (RFC 9112 section 8)."))
        # The upstream takes no more: what it has answered, or its end, comes by its transport.

    def _passed_down(self, fault: str | None) -> None:
        connection = self.upstream
        if fault is None and connection is not None:
            self._reader.skip()
            self._complete(connection)
        elif fault == "sink":
            self.abandon()
            self.client.break_off("client_reset")
        else:
            self._upstream_failed("reset")

    def _head(self, head: ResponseHead, out: list[bytes]) -> bool:
        request = self.request
        if head.interim:
            if request.minor == 1:  # RFC 9110 section 15.2
                out.append(client_head(head, request, self.destination, close=False, date=self._plane.date))
            return True
        if head.body == CHUNKED and request.minor == 0:
            self._upstream_failed("malformed", Malformed("coding_unasked", "chunked to HTTP/1.0"))
            return False
        self.head_sent = True
        self._plane.tally.response(head.status)
        self._plane.paths.reached(self.destination)
        content_type = values_of(head.fields, b"content-type")
        self.event_stream = bool(content_type) and content_type[0].lower().startswith(b"text/event-stream")
        self._keep = head.body != UNTIL_CLOSE and self.client.may_keep_alive()
        out.append(client_head(head, request, self.destination, close=not self._keep, date=self._plane.date))
        return True

    def _complete(self, connection: UpstreamConnection) -> None:
        """The response is whole."""
        self._end()
        self.upstream = None
        connection.user = None
        in_order = self.client.request_done and self._reader.reusable
        if in_order and not connection.lost:
            connection.transport.resume_reading()
            connection.pool.give(connection, self._plane.now(), self.destination.idle_max)
        else:
            connection.close()
        self.client.response_done(keep=self._keep and self.client.may_keep_alive())

    def _switch(self, head: ResponseHead, connection: UpstreamConnection) -> None:
        self._end()
        self.upstream = None
        connection.user = None
        self._plane.tally.response(101)
        client, transport = self.client, connection.transport
        switch = client_head(head, self.request, self.destination, close=False, date=self._plane.date)
        client.write([switch, self._reader.leftover])
        holder, client.holder = client.holder, None
        early = client.release()
        if early:
            transport.write(early)
        tunnel = Tunnel(self._plane, client.transport, transport, self.session, self.route)
        tunnel.holder = holder
        tunnel.open(
            client_paused=client.write_paused, upstream_paused=connection.write_paused, client_ended=client.ended
        )
        self._plane.tunnel_opened(tunnel)

    # -- ends -----------------------------------------------------------------------------------------------------

    def expired(self, kind: str) -> None:
        """A deadline passed: ``response_head``, or what the client owed."""
        if kind == "response_head":
            self._upstream_failed("response_timeout")
        else:
            self._fail(Refusal(408, kind, "The request did not arrive in time."))

    def refuse(self, refusal: Refusal) -> None:
        """The request's body is malformed: neither side may go on."""
        self._fail(refusal)

    def _upstream_failed(self, kind: str, fault: Malformed | None = None) -> None:
        if self._held():
            return
        self._plane.upstream_failed("port_" + kind if self.destination.port else kind, self.destination, fault)
        self._fail(upstream_failed(kind, self.destination, control_up=self._plane.control_up))

    def _fail(self, refusal: Refusal) -> None:
        if self.gone:
            return
        self._end()
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None
        if self.head_sent:
            self.client.break_off(refusal.code)
        else:
            self.client.answer(refusal, self.request)

    def _end(self) -> None:
        self.gone = True
        self._plane.registry.discard(self)
        if self._waits_at is not None:
            self._waits_at.wait_no_more(self)
            self._waits_at = None
        self._through.stop()
        if self._dialling is not None and self._dialling is not asyncio.current_task():
            self._dialling.cancel()
        self._dialling = None
