"""Turns of the event loop, kept short while a worker is busy.

Owns what is put off to the next turn. Knows nothing of HTTP. Rule: libuv looks for events up to 48 times in one turn
while each look finds 1,024 of them (``uv__io_poll``), and runs timers, dials and new connections after it. A room that
keeps more sockets ready than that would stop all of these for half a second; so a turn takes no new requests once it
has lasted for TURN_S, and ends when those under way are through. Of one connection libuv takes up to 32 reads each time
(``uv__read``), so whoever sends fast could fill the memory in one turn, or have it for themselves: what is put off is
bounded, and bodies and tunnels are read on by a few at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import structlog

from mux.proxy.limits import PUT_OFF_BYTES_MAX, READ_ON_MAX, TURN_S

log = structlog.get_logger(__name__)


class Rested(Protocol):
    """Whoever is not read until a later turn."""

    def read_on(self) -> None:
        """Read again what is not read for other reasons than the turn's length."""
        ...


class Late(Rested, Protocol):
    """A connection whose bytes may be put off."""

    @property
    def transport(self) -> asyncio.Transport:
        """Its socket."""
        ...

    def received(self, data: bytes) -> None:
        """Take bytes."""
        ...


class Turns:
    """The turns of one loop.

    Args:
        loop: whose turns they are.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now = loop.time
        self._due = self._marked = False
        self._kept: list[tuple[Late, bytes]] = []
        self._bytes = 0
        self._stopped: deque[Rested] = deque()
        self.ends = 0.0
        """On the loop's clock: until then nobody needs to ask."""
        self.rests = 0
        """How often somebody was not read on."""

    def put_off(self, now: float, connection: Late, data: bytes) -> bool:
        """Keep bytes for the next turn, if this one has lasted for too long; whether they are kept.

        Once some are kept, all others of their connection must be, until the next turn or ``catch_up``. Whoever brings
        more than is kept in all is not read until then.

        Args:
            now: on the loop's clock.
            connection: takes them then.
            data: the bytes.
        """
        if not self._marked:
            self._begin(now)
            return False
        self._kept.append((connection, data))
        self._bytes += len(data)
        if self._bytes > PUT_OFF_BYTES_MAX:
            self._stop(connection, connection.transport)
        return True

    def rest(self, now: float, connection: Rested, transport: asyncio.Transport) -> None:
        """Read no more of a body, or of a tunnel, until the next turn, if this one has lasted for too long.

        Args:
            now: on the loop's clock, after ``ends``.
            connection: told then to read on.
            transport: of the connection, or of its upstream's.
        """
        if self._marked:
            self._stop(connection, transport)
        else:
            self._begin(now)

    def _begin(self, now: float) -> None:
        self._marked = True
        self.ends = now + TURN_S
        self._come_back()

    def _come_back(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._next)

    def _stop(self, connection: Rested, transport: asyncio.Transport) -> None:
        if not transport.is_closing():
            transport.pause_reading()
            self.rests += 1
            self._stopped.append(connection)

    def _next(self) -> None:
        self._due = self._marked = False
        self.catch_up()
        for _ in range(min(READ_ON_MAX, len(self._stopped))):
            self._stopped.popleft().read_on()
        if self._stopped:
            self._come_back()

    def catch_up(self) -> None:
        """Take what was put off now."""
        if not self._kept:
            return
        kept, self._kept, self._bytes = self._kept, [], 0
        for connection, data in kept:
            try:
                connection.received(data)
            except Exception as error:  # a defect with one is not the others'
                log.exception("a connection failed", error=repr(error))
                connection.transport.abort()

    def forget(self) -> None:
        """Nobody is served any more."""
        self._kept.clear()
        self._stopped.clear()
