"""Publishes what is in force to the proxies: the sending end of the feed.

Owns the current route table and the connections of the proxies. A publication is one change in place and one frame to
each proxy; a proxy that connects gets a snapshot first. Knows nothing of why routes change.

Rules: a proxy that reads too slowly is cut off, and comes back for a snapshot; nobody waits for it longer than the
caller says.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from mux.core.commands import Publish
from mux.core.feed import Ack, Change, Counters, FeedError, FeedSettings, FrameDecoder, Paths, Snapshot, encode
from mux.core.model import ProjectName, UserId, WorkspaceId
from mux.core.routes import Delta, Route, RouteKey, RouteTable, TableInForce

log = structlog.get_logger(__name__)

READ_BYTES = 64 * 1024
"""Bytes taken from a proxy at once; its acks and counters are small."""
UNSENT_BYTES_MAX = 64 * 1024 * 1024
"""A proxy with more than this unsent reads too slowly: one whole snapshot of 100,000 routes still fits."""


PATHS_TELL_S = 60.0
"""How long after a workspace was out of reach it is passed on what is reached: until then somebody may be waiting for
it, and a proxy of a room that is well names thousands."""


@dataclass(slots=True, eq=False)
class _Proxy:
    writer: asyncio.StreamWriter
    acked: int = 0
    counters: Mapping[str, float] = field(default_factory=dict)


class Publisher:
    """The sending end of the feed.

    Args:
        token_of: the secret of a workspace, which routes carry.
        settings: what proxies must know of the event beside routes.
        paths: takes what proxies say of the workspaces that they reach, while it matters.
        active: takes for whom, and in which project, bytes moved lately.
        clock: seconds since the epoch; by it sessions end.
    """

    def __init__(
        self,
        token_of: Callable[[WorkspaceId], str],
        settings: FeedSettings,
        paths: Callable[[Paths], None] = lambda _: None,
        active: Callable[[tuple[RouteKey, ...]], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tell_active = active
        self._clock = clock
        self._paths = paths
        self._unreached_at = -PATHS_TELL_S
        self._token_of = token_of
        self._settings = settings
        self._in_force = TableInForce()
        self._table = self._in_force.table
        self._seq = 0
        self._proxies: set[_Proxy] = set()
        self._acked = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._active: dict[tuple[UserId, ProjectName], float] = {}

    @property
    def table(self) -> RouteTable:
        """What is in force."""
        return self._table

    @property
    def seq(self) -> int:
        """Number of the latest publication."""
        return self._seq

    async def serve(self, listener: socket.socket) -> None:
        """Accept proxies on a listening Unix socket until :meth:`close`."""
        self._server = await asyncio.start_unix_server(self._serve_proxy, sock=listener)

    async def close(self) -> None:
        """Let go of every proxy; they serve on from what they have."""
        if self._server is not None:
            self._server.close()
        for proxy in list(self._proxies):
            proxy.writer.transport.abort()

    def publish(self, change: Publish) -> int:
        """Put a change in force and tell every proxy. Returns its sequence number."""
        delta = Delta(
            sessions=change.sessions,
            routes={
                key: None
                if place is None
                else Route(
                    place.workspace, place.host, place.port, self._token_of(place.workspace), place.hold, place.ports
                )
                for key, place in change.routes.items()
            },
        )
        self._in_force.apply(delta)
        for key, route in delta.routes.items():
            if route is None:
                self._active.pop(key, None)
        self._seq += 1
        self._broadcast(Change(self._seq, delta))
        return self._seq

    def set_settings(self, settings: FeedSettings) -> None:
        """Tell the proxies of changed settings."""
        if settings != self._settings:
            self._settings = settings
            self._seq += 1
            self._broadcast(Change(self._seq, Delta(), settings))

    async def settled(self, seq: int, timeout_s: float) -> bool:
        """Wait until every connected proxy serves from publication ``seq`` or a later one.

        Returns False after ``timeout_s`` seconds: a proxy hangs, and its next snapshot will hold the change.
        """
        try:
            async with asyncio.timeout(timeout_s), self._acked:
                await self._acked.wait_for(lambda: all(proxy.acked >= seq for proxy in self._proxies))
        except TimeoutError:
            return False
        return True

    def counters(self) -> Mapping[str, float]:
        """Sums of what the connected proxies last counted, by metric name."""
        sums: dict[str, float] = {}
        for proxy in self._proxies:
            for name, value in proxy.counters.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def last_active(self, user: UserId, project: ProjectName) -> float | None:
        """When bytes of this attendee and project last moved (seconds since the epoch), as far as is known."""
        return self._active.get((user, project))

    @property
    def proxies(self) -> int:
        """How many proxies are connected."""
        return len(self._proxies)

    def _broadcast(self, change: Change) -> None:
        frame = encode(change)
        for proxy in list(self._proxies):
            self._send(proxy, frame)

    def _send(self, proxy: _Proxy, frame: bytes) -> None:
        if proxy.writer.transport.get_write_buffer_size() + len(frame) > UNSENT_BYTES_MAX:
            log.warning("proxy cut off", why="it reads its feed too slowly")
            proxy.writer.transport.abort()
            self._proxies.discard(proxy)
            return
        proxy.writer.write(frame)

    async def _serve_proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy = _Proxy(writer)
        self._proxies.add(proxy)
        log.info("proxy connected", proxies=len(self._proxies))
        try:
            self._send(proxy, encode(Snapshot(self._seq, self._settings, self._table, self._clock())))
            decoder = FrameDecoder()
            while data := await reader.read(READ_BYTES):
                for message in decoder.receive(data):
                    await self._heard(proxy, message)
        except (ConnectionError, FeedError) as error:
            log.warning("proxy connection failed", error=str(error)[:200])
        finally:
            self._proxies.discard(proxy)
            writer.transport.abort()
            async with self._acked:
                self._acked.notify_all()
            log.info("proxy disconnected", proxies=len(self._proxies))

    async def _heard(self, proxy: _Proxy, message: object) -> None:
        match message:
            case Ack(seq):
                proxy.acked = max(proxy.acked, seq)
                async with self._acked:
                    self._acked.notify_all()
            case Counters(values, active):
                proxy.counters = values
                now = self._clock()
                if active:
                    self._tell_active(active)
                for pair in active:
                    if pair in self._table.routes:
                        self._active[pair] = now
            case Paths(_, unreached):
                if unreached:
                    self._unreached_at = time.monotonic()
                if time.monotonic() - self._unreached_at < PATHS_TELL_S:
                    self._paths(message)
            case _:
                raise FeedError("a proxy sends acks, counters and paths only")
