"""The feed as a proxy lives on it: dial, receive, put in force, acknowledge, report.

Owns the Unix socket to the control process. Rules: dialled again forever, with backoff; while the control process is
gone the last table stays in force; a snapshot is compared with what is in force, so that only what really changed is
cut, while a change costs what it changes, however large the table is; an acknowledgement is sent after what it revokes
is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import structlog

from mux.core.feed import Ack, Change, FeedError, FeedMessage, FeedSettings, FrameDecoder, Snapshot, encode
from mux.core.routes import Delta, TableInForce
from mux.proxy import limits
from mux.proxy.plane import Plane
from mux.proxy.routing import FeedRouter

log = structlog.get_logger(__name__)

_READ_BYTES = 256 * 1024


class FeedClient:
    """Keeps a plane fed.

    Args:
        plane: what the table is put in force in.
        path: Unix socket of the feed.
        web: Unix socket of the control process's pages.
    """

    def __init__(self, plane: Plane, path: str, web: str) -> None:
        self._plane = plane
        self._path = path
        self._web = web
        self._settings: FeedSettings | None = None
        self._in_force = TableInForce()
        self._seq: int | None = None

    async def run(self) -> None:
        """Until cancelled."""
        pause = limits.FEED_BACKOFF_FIRST_S
        while True:
            try:
                received = await self._follow()
            except (OSError, FeedError) as error:
                received = self._seq is not None
                log.warning("feed lost", error=str(error), serving=self._settings is not None)
            else:
                log.warning("feed ended", serving=self._settings is not None)
            self._seq = None
            self._plane.control_up = False
            pause = limits.FEED_BACKOFF_FIRST_S if received else min(2 * pause, limits.FEED_BACKOFF_MAX_S)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    async def _follow(self) -> bool:
        """One connection, until it ends; whether anything was received."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        reporting = self._plane.spawn(self._report(writer), "proxy-counters")
        decoder = FrameDecoder()
        try:
            while data := await reader.read(_READ_BYTES):
                for message in decoder.receive(data):
                    writer.write(encode(await self._apply(message)))
                    await writer.drain()
            return self._seq is not None
        finally:
            reporting.cancel()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            await asyncio.sleep(limits.COUNTERS_S)
            with contextlib.suppress(OSError):
                writer.write(encode(await self._plane.batch()))
                if (paths := self._plane.paths.batch()) is not None:
                    writer.write(encode(paths))
                await writer.drain()

    async def _apply(self, message: FeedMessage) -> Ack:
        match message:
            case Snapshot(seq, settings, table, now):
                if now is not None:
                    self._plane.follow(now)
                await self._switch(settings, self._in_force.table.diff(table))
                log.info("feed snapshot in force", seq=seq, sessions=len(table.sessions), routes=len(table.routes))
            case Change(seq, delta, settings_or_none):
                if self._seq is None or seq != self._seq + 1 or self._settings is None:
                    raise FeedError(f"change {seq} after {self._seq}")
                await self._switch(settings_or_none or self._settings, delta)
            case other:
                raise FeedError(f"a proxy is not sent {type(other).__name__}")
        self._seq = seq
        self._plane.control_up = True
        return Ack(seq)

    async def _switch(self, settings: FeedSettings, delta: Delta) -> None:
        table = self._in_force.table
        # A session that was merely extended, and what is new, have nothing to cut.
        sessions = [
            session
            for session, entry in delta.sessions.items()
            if (old := table.sessions.get(session)) is not None and (entry is None or entry.user != old.user)
        ]
        routes = {
            key: before
            for key, route in delta.routes.items()
            if (before := table.routes.get(key)) is not None and before != route
        }
        if settings != self._settings:
            self._plane.front.configure(settings)
        self._settings = settings
        self._in_force.apply(delta)
        await self._plane.put_in_force(FeedRouter(settings, table, self._web), settings.event_name, sessions, routes)
