"""The data plane of one process: what all connections share.

Owns the router in force, the pools, the registry, the counters and the sweep. Knows nothing of where routes come from.
Rules: a router is switched by one assignment; what a switch revokes is gone before the switch counts as done; every
task is made here, named, and kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

import structlog

from mux.core.feed import Counters
from mux.core.model import SessionHash, UserId
from mux.core.routes import Route, RouteKey
from mux.proxy import limits
from mux.proxy.accept import Acceptor
from mux.proxy.client import ClientConnection, Phase
from mux.proxy.counters import Tally
from mux.proxy.dates import Dates
from mux.proxy.descriptors import Descriptors
from mux.proxy.front import Front
from mux.proxy.holdings import Holdings
from mux.proxy.live import Live, Registry
from mux.proxy.memo import Door, Memo
from mux.proxy.paths import PathTally
from mux.proxy.quick import Quick
from mux.proxy.refusal import Malformed, Refusal, TooMany
from mux.proxy.request import RequestHead
from mux.proxy.routing import Destination, NoRouter, RoutePool, Router
from mux.proxy.shares import Shares
from mux.proxy.splice import Pipes, Splice, can_splice
from mux.proxy.tunnel import Tunnel, is_active
from mux.proxy.turns import Turns
from mux.proxy.upstream import Pools
from mux.proxy.watch import Watch

log = structlog.get_logger(__name__)


class Plane:
    """Everything of one proxy process but its feed.

    Args:
        descriptors: what there is room for; None for what this process may open.
        front: TLS and what stands in front; None for neither.
        memo: whether heads are remembered; what passes is the same either way.
        splice: whether large bodies go through the kernel; what passes is the same either way.
        lone: whether one login stands for a room: it may hold all connections but a share, and all of the memory.

    Raises:
        DescriptorError: there is too little room to serve anybody.
    """

    def __init__(
        self,
        descriptors: Descriptors | None = None,
        front: Front | None = None,
        *,
        memo: bool = True,
        splice: bool = True,
        lone: bool = False,
    ) -> None:
        self.front = front or Front()
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.turns = Turns(self._loop)
        self.wall = time.time
        self.ahead = time.time() - self.now()
        self._dates = Dates()
        self.router: Router = NoRouter()
        self.event_name = ""
        self.fed = asyncio.Event()
        self._switched = asyncio.Event()
        room = descriptors or Descriptors.here()
        self.pools = Pools(room.idle, self.spawn)
        self._pipes = Pipes(room.pipes) if splice else None
        self.memo = Memo(b"", self.pools) if memo else None
        self.registry = Registry()
        self.tally = Tally()
        self.paths = PathTally()
        self.counting = object()
        self.draining = False
        self.control_up = False
        self._connections_max = room.connections
        self._lone = lone
        self.shares = Shares(self._connections_max, lone=lone)
        self._clients: set[ClientConnection] = set()
        self._tunnels: set[Tunnel] = set()
        self._watch = Watch(self._loop, self.turns, self._tunnels)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._acceptors: list[Acceptor] = []
        self._failures_logged: dict[str, float] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept: Router | None = None

    # -- life -----------------------------------------------------------------------------------------------------

    async def listen(self, sock: socket.socket, *, plain: bool = False) -> None:
        """Serve a listening socket; the caller gives it away.

        Args:
            sock: the socket.
            plain: no TLS, and nothing but the way to the public address and ACME's challenges: see `Front`.
        """
        tls = None if plain or self.front.tls is None else self.front.tls.listener
        acceptor = Acceptor(
            sock,
            lambda: ClientConnection(self, plain=plain),
            tls,
            self.spawn,
            expired=lambda: self.tally.closed("handshake"),
        )
        await acceptor.start()
        self._acceptors.append(acceptor)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(limits.SWEEP_S, self._sweep_again)

    async def first_fed(self, bound_s: float = limits.FIRST_FEED_S) -> None:
        """Wait until there are routes, for at most ``bound_s`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bound_s):
                await self.fed.wait()

    async def drain(self, bound_s: float = limits.DRAIN_S) -> None:
        """Accept no more, let requests in flight end within ``bound_s`` seconds, then close everything.

        A request may be on its way to a connection that is idle here: those stay open for a moment. Tunnels and event
        streams have no end to wait for: they are closed when nothing else is left.
        """
        self.draining = True
        for acceptor in self._acceptors:
            acceptor.close()
        began = self.now()
        while (drained_s := self.now() - began) < bound_s and self._in_flight():
            if drained_s >= limits.DRAIN_IDLE_S:
                self._close_idle()
            await asyncio.sleep(min(0.05, bound_s))
        await self.close()

    async def close(self) -> None:
        """Close everything now."""
        self.draining = True
        for acceptor in self._acceptors:
            acceptor.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for tunnel in list(self._tunnels):
            tunnel.cut()
        for client in list(self._clients):
            client.transport.abort()
        self.turns.forget()
        self._watch.stop()
        self.pools.drop_all()
        if self._pipes is not None:
            self._pipes.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _turns(2)

    def splice(
        self,
        source: asyncio.Transport,
        sink: asyncio.Transport,
        left: int,
        *,
        moved: Callable[[bool], None],
        done: Callable[[str | None], None],
    ) -> Splice | None:
        """A body's way through the kernel, see :class:`Splice`; None where it must go through this process."""
        if self._pipes is None or source.is_closing() or not can_splice(source) or not can_splice(sink):
            return None
        try:
            return Splice(self._pipes, source, sink, left, moved=moved, done=done)
        except OSError:
            return None  # no descriptors left for it: it needs none to pass through this process

    def _close_idle(self) -> None:
        self.turns.catch_up()
        for client in list(self._clients):
            if client.idle:
                client.transport.close()

    def _in_flight(self) -> bool:
        return any(
            client.transport.get_write_buffer_size() > 0
            or client.phase is Phase.HEAD
            or (client.exchange is not None and not client.exchange.event_stream)
            for client in self._clients
        )

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that is kept until it ends; a defect in it is logged."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", task=task.get_name(), error=repr(error))

    @property
    def date(self) -> bytes:
        """The line of a response that came without its own."""
        return self._dates.line(self.wall())

    # -- what is in force -----------------------------------------------------------------------------------------

    def clock(self) -> float:
        """Seconds since the epoch by the clock that sessions end by: see `follow`."""
        return self.now() + self.ahead

    def follow(self, now: float) -> None:
        """Sessions end by a clock that says ``now``: the control process's. The wall clock may be set at any moment."""
        self.ahead = now - self.now()

    def route(self, request: RequestHead) -> Destination:
        """Where a request goes now. Raises Refusal."""
        return self.router.route(request, self.clock())

    async def released(self, request: RequestHead, hold_s: float) -> Destination:
        """Where a request goes once it need not wait any more.

        Args:
            request: that waits.
            hold_s: for at most so many seconds.

        Raises:
            Refusal: it has waited for so long, or is refused by what is in force then.
        """
        try:
            async with asyncio.timeout(hold_s):
                while (destination := self.route(request)).hold_s is not None:
                    await self._switched.wait()
        except TimeoutError:
            text = "Your workspace is being updated. Your files are kept; this page comes back by itself."
            raise Refusal(503, "updating", text, reload_s=limits.RELOAD_S) from None
        return destination

    async def put_in_force(
        self, router: Router, event_name: str, sessions: Collection[SessionHash], routes: Mapping[RouteKey, Route]
    ) -> None:
        """Switch to a router; returns when what it revokes is gone.

        Args:
            router: from now on.
            event_name: title of own pages.
            sessions: logins that ended or became another attendee's.
            routes: those that changed or ended, as they were.
        """
        self.router = router
        self.event_name = event_name
        self.fed.set()
        self._switched.set()
        self._switched = asyncio.Event()
        if self.memo is not None and self.memo.session_cookie != router.session_cookie:
            self.memo = Memo(router.session_cookie, self.pools)
        self.pools.drop(pool for key, route in routes.items() for pool in RoutePool.of(key, route))
        await self._gone(self._cut(frozenset(sessions), frozenset(routes)))

    def _cut(self, sessions: frozenset[SessionHash], routes: frozenset[RouteKey]) -> list[Live]:
        """End everything of these sessions and routes; what is ending."""
        if not sessions and not routes:
            return []
        for client in self._clients:
            quick = client.exchange
            if isinstance(quick, Quick) and (quick.session in sessions or quick.route in routes):
                quick.hand_over()
        return self.registry.cut(sessions, routes)

    async def _gone(self, lives: list[Live]) -> None:
        if not lives:
            return
        self.tally.count("cuts_total", len(lives))
        await _turns(2)  # an aborted transport closes its socket in the loop's next turn
        for _ in range(limits.CUT_TURNS_MAX):
            if all(live.gone for live in lives):
                return
            await asyncio.sleep(0)
        log.error("cut connections linger", number=sum(not live.gone for live in lives))

    # -- connections ----------------------------------------------------------------------------------------------

    def client_connected(self, client: ClientConnection) -> None:
        """A browser connected. Raises Refusal if there is no room for it."""
        self._clients.add(client)
        self.tally.count("connections_total")
        if len(self._clients) + len(self._tunnels) > self._connections_max:
            raise TooMany(503, "too_many_connections", "Too many connections are open. Try again soon.")
        address = client.direct.ip
        if self.router.logins and not self.front.trusts(client.direct):
            if not self.shares.take(address):
                text = "Too many connections without a login are open from your network. Try again soon."
                raise TooMany(503, "too_many_strangers", text, reload_s=limits.RELOAD_S)
            client.holder = address

    def client_known(self, client: ClientConnection, user: UserId) -> None:
        """A client connection bears an attendee's login. Raises Refusal if they hold too many."""
        if client.holder is not None:
            self.shares.give(client.holder)
            client.holder = None
        if not self.shares.take(user):
            text = "Too many of your connections are open. Close some tabs or scripts, and try again."
            raise TooMany(429, "too_many_of_yours", text, reload_s=limits.RELOAD_S)
        client.holder = user

    def client_gone(self, client: ClientConnection) -> None:
        """A client connection ended, or became a tunnel."""
        self._clients.discard(client)
        if client.holder is not None:
            self.shares.give(client.holder)
            client.holder = None

    def tunnel_opened(self, tunnel: Tunnel) -> None:
        """A WebSocket began."""
        self._tunnels.add(tunnel)
        self.registry.add(tunnel)
        self._watch.opened(tunnel)
        self.tally.count("tunnels_total")

    def tunnel_ended(self, tunnel: Tunnel) -> None:
        """See TunnelOwner."""
        self._count_activity(tunnel)
        self._tunnels.discard(tunnel)
        self.registry.discard(tunnel)
        if tunnel.holder is not None:
            self.shares.give(tunnel.holder)
            tunnel.holder = None

    def upstream_failed(self, kind: str, destination: Destination, fault: Malformed | None) -> None:
        """Count, and log now and then."""
        self.tally.upstream_failed(kind)
        now = self.now()
        if now - self._failures_logged.get(kind, -limits.UPSTREAM_LOG_S) < limits.UPSTREAM_LOG_S:
            return
        self._failures_logged[kind] = now
        log.warning(
            "upstream failed",
            kind=kind,
            project=destination.route[1] if destination.route else None,
            user=destination.route[0] if destination.route else None,
            fault=fault.code if fault else None,
        )

    # -- now and then ---------------------------------------------------------------------------------------------

    def _sweep_again(self) -> None:
        self._sweeper = self._loop.call_later(limits.SWEEP_S, self._sweep_again)
        self.sweep(self.now())

    def sweep(self, now: float) -> None:
        """Look at every deadline. ``now`` on the loop's clock."""
        holdings = Holdings()
        for client in list(self._clients):
            client.sweep(now)
            if not self._lone and holdings.too_much(client):
                client.let_go()
        self.pools.sweep(now)
        if self._swept is not self.router:  # what was on its way to a pool while the switch dropped it
            self._swept = self.router
            self.pools.keep(self.router.keeps)
        clock = self.clock()
        expired = [session for session in self.registry.sessions if not self.router.in_force(session, clock)]
        if expired:
            self.registry.cut(expired, ())

    def count(self, door: Door) -> None:
        """A workspace answered by the short way; needed once in each batch only, see ``counting``."""
        door.counted = self.counting
        self.paths.reached(door.destination)
        if door.destination.route is not None:
            self.tally.active.add(door.destination.route)

    async def batch(self) -> Counters:
        """Counters for the control process, after a look at each tunnel.

        A look is a system call: thousands of them at once would hold everybody up.
        """
        for number, tunnel in enumerate(list(self._tunnels), start=1):
            self._count_activity(tunnel)
            if number % limits.TUNNELS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return self.counters()

    def counters(self) -> Counters:
        """What was counted since the last batch."""
        values = self.tally.values
        values["mux_proxy_connections"] = len(self._clients)
        values["mux_proxy_tunnels"] = len(self._tunnels)
        values["mux_proxy_upstream_idle_connections"] = self.pools.idle
        for client in self._clients:
            if client.exchange is not None and client.exchange.route is not None and not client.exchange.event_stream:
                self.tally.active.add(client.exchange.route)
        self.counting = object()
        return self.tally.batch()

    def _count_activity(self, tunnel: Tunnel) -> None:
        if tunnel.route is not None and not tunnel.gone and is_active(tunnel.moved()):
            self.tally.active.add(tunnel.route)


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)
