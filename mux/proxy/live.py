"""What is under way, by session and by route, so that a revocation can end it.

Owns the index only; how something is ended is its own affair. Rule: what ends for any reason discards itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from mux.core.model import SessionHash
from mux.core.routes import RouteKey


class Live(Protocol):
    """An exchange or a tunnel."""

    session: SessionHash | None
    route: RouteKey | None
    gone: bool

    def cut(self) -> bool:
        """End it now, since its session or its route is no longer in force; whether it ends."""
        ...


class Registry:
    """Exchanges and tunnels that are under way."""

    def __init__(self) -> None:
        self._by_session: dict[SessionHash, set[Live]] = {}
        self._by_route: dict[RouteKey, set[Live]] = {}

    def add(self, live: Live) -> None:
        """Begin to watch."""
        if live.session is not None:
            self._by_session.setdefault(live.session, set()).add(live)
        if live.route is not None:
            self._by_route.setdefault(live.route, set()).add(live)

    def discard(self, live: Live) -> None:
        """Watch no longer; twice does no harm."""
        if live.session is not None and (lives := self._by_session.get(live.session)):
            lives.discard(live)
            if not lives:
                del self._by_session[live.session]
        if live.route is not None and (lives := self._by_route.get(live.route)):
            lives.discard(live)
            if not lives:
                del self._by_route[live.route]

    def cut(self, sessions: Iterable[SessionHash], routes: Iterable[RouteKey]) -> list[Live]:
        """End everything of these sessions and routes; what is ending."""
        lives = [live for session in sessions for live in self._by_session.get(session, ())]
        lives += [live for route in routes for live in self._by_route.get(route, ())]
        return [live for live in lives if live.cut()]

    @property
    def sessions(self) -> list[SessionHash]:
        """Sessions with something under way."""
        return list(self._by_session)
