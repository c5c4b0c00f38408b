"""Connections to the control listener of whoever has not shown to be a ship: how many, of one address and in all.

A connection is a stranger's until it carries a link that was accepted or a request with a token that is good, and again
afterwards. Owns who makes room when there are too many. Knows neither sockets nor TLS nor what is asked.

Rules: counted from the moment of accept, long before a word was said. An address that is at its bound makes room for
itself: its oldest connection goes, unless none is old enough to be stalled; then the new one is not let in. So nobody
who holds connections open keeps ships of other addresses out, nor for long those of their own. In a room that is full
of strangers altogether the address with the most of them makes room. A ship that is not let in dials again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from mux.core.forwarded import address_key

OF_ADDRESS_MAX: Final = 256
"""Of one address. A whole fleet may come from one, behind NAT, and all at once: an honest ship is a stranger for two
round trips and a few milliseconds of ours, so a thousand are let in within some tries."""
STRANGERS_MAX: Final = 1_024
"""In all: 60 MB with TLS begun on each, measured on uvloop."""
STALLED_S: Final = 2.0
"""A connection that is a stranger's for longer may be closed to make room."""


class Connection(Protocol):
    """A connection, to be closed if need be."""

    @property
    def closed(self) -> bool:
        """It has ended."""

    def drop(self) -> None:
        """End it without a word."""


@dataclass(frozen=True, slots=True)
class _Stranger:
    address: str
    connection: Connection
    since: float


class Strangers:
    """Counts them.

    Args:
        now: seconds of a steady clock.
        of_address_max: bound for one address.
        strangers_max: bound in all.
    """

    def __init__(
        self, now: Callable[[], float], *, of_address_max: int = OF_ADDRESS_MAX, strangers_max: int = STRANGERS_MAX
    ) -> None:
        self._now = now
        self._of_address_max = of_address_max
        self._strangers_max = strangers_max
        self._strangers: dict[object, _Stranger] = {}
        self._of: dict[str, dict[object, None]] = {}  # by address, each the oldest first
        self._known: dict[object, _Stranger] = {}

    def __len__(self) -> int:
        return len(self._strangers)

    def come(self, key: object, peer: str, connection: Connection) -> bool:
        """Count a new connection; False if there is no room for it.

        Args:
            key: what requests know it by.
            peer: its address.
            connection: to end it.
        """
        address = address_key(peer)
        if len(self._of.get(address, ())) >= self._of_address_max and not self._make_room(address):
            return False
        if len(self) >= self._strangers_max:
            for each in list(self._of):
                self._forget_closed(each)
            if len(self) >= self._strangers_max and not self._make_room(max(self._of, key=lambda a: len(self._of[a]))):
                return False
        self._add(key, address, connection)
        return True

    def known(self, key: object) -> None:
        """Somebody has shown to be a ship over this connection; fine if it is not counted."""
        if key in self._strangers:
            self._known[key] = self._forget(key)

    def unknown(self, key: object) -> None:
        """What they have shown is over, and so is perhaps the connection."""
        found = self._known.pop(key, None)
        if found is not None and not found.connection.closed:
            self._add(key, found.address, found.connection)

    def _add(self, key: object, address: str, connection: Connection) -> None:
        self._strangers[key] = _Stranger(address, connection, self._now())
        self._of.setdefault(address, {})[key] = None

    def _make_room(self, address: str) -> bool:
        """Forget what has ended of an address's, or else have its oldest end, if that is stalled."""
        if self._forget_closed(address):
            return True
        key = next(iter(self._of[address]))
        oldest = self._strangers[key]
        if self._now() - oldest.since < STALLED_S:
            return False
        self._forget(key)
        oldest.connection.drop()
        return True

    def _forget_closed(self, address: str) -> bool:
        closed = [key for key in self._of[address] if self._strangers[key].connection.closed]
        for key in closed:
            self._forget(key)
        return bool(closed)

    def _forget(self, key: object) -> _Stranger:
        found = self._strangers.pop(key)
        here = self._of[found.address]
        del here[key]
        if not here:
            del self._of[found.address]
        return found


STRANGERS: Final = web.AppKey("strangers", Strangers)


def counted(app: web.Application, strangers: Strangers) -> None:
    """Have an app's handlers say who is none: until a request is answered that `show` was called with."""

    @web.middleware
    async def until_answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            strangers.unknown(request.protocol)

    app[STRANGERS] = strangers
    app.middlewares.append(until_answered)


def show(request: web.Request) -> None:
    """Whoever sends this request has shown to be a ship, or a machine that is to become one."""
    if (strangers := request.app.get(STRANGERS)) is not None:
        strangers.known(request.protocol)
