"""The route and session table that the proxies serve from.

Owns the shape of what is published. A change is a ``Delta``: applied to a ``RouteTable`` it gives a new one; a
``TableInForce`` takes it in place, which costs what it changes, however large the table is. Knows nothing of ships or
seats: a proxy needs neither.

Rules: a session is found by the hash of its token, never by the token; a route by (user, project); a session or
route that is not in the table does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from mux.core.model import PortName, ProjectName, SessionHash, UserId, WorkspaceId

RouteKey = tuple[UserId, ProjectName]

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """A login that is in force.

    Args:
        user: whose login it is.
        expires_at: seconds since the epoch; from then on the entry counts as absent.
    """

    user: UserId
    expires_at: float


@dataclass(frozen=True, slots=True)
class RoutePort:
    """A further port of a workspace, at ``/camp/<project>/port/<name>/``.

    Args:
        name: stands in the path.
        port: TCP port out of the ship's fixed range.
        with_prefix: its program is asked with the whole public path; else with what follows the name.
    """

    name: PortName
    port: int
    with_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Where one attendee's requests for one project go.

    Args:
        workspace: the workspace behind it; another id under the same key means that tunnels to the old one end.
        host: address of the ship as the provider gave it (IPv4, IPv6 or a name), never from a report.
        port: TCP port out of the ship's fixed range.
        token: the workspace's own secret, sent as ``Authorization: token …``; empty for projects that take none.
        hold: the workspace gets another image and will be back in a moment: requests wait for it.
        ports: its further ports, which never get the token.
    """

    workspace: WorkspaceId
    host: str
    port: int
    token: str = field(repr=False)
    hold: bool = False
    ports: tuple[RoutePort, ...] = ()

    def port_named(self, name: str) -> RoutePort | None:
        """The further port of that name, or None."""
        return next((port for port in self.ports if port.name == name), None)


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed between two tables: new or changed entries by key, ``None`` for one that is gone."""

    sessions: Mapping[SessionHash, SessionEntry | None] = field(default_factory=dict)
    routes: Mapping[RouteKey, Route | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sessions or self.routes)


@dataclass(frozen=True, slots=True)
class RouteTable:
    """An immutable snapshot of sessions and routes.

    Args:
        sessions: by hash of the session token (64 hex digits of SHA-256).
        routes: by (user, project).
    """

    sessions: Mapping[SessionHash, SessionEntry] = field(default_factory=lambda: MappingProxyType({}))
    routes: Mapping[RouteKey, Route] = field(default_factory=lambda: MappingProxyType({}))

    def session(self, session: SessionHash, now: float) -> SessionEntry | None:
        """The entry of a session that has not expired at ``now`` (seconds since the epoch), or None."""
        entry = self.sessions.get(session)
        return entry if entry is not None and entry.expires_at > now else None

    def apply(self, delta: Delta) -> RouteTable:
        """A new table with ``delta`` in it. Applying the same delta twice gives the same table."""
        return RouteTable(
            sessions=_merged(self.sessions, delta.sessions) if delta.sessions else self.sessions,
            routes=_merged(self.routes, delta.routes) if delta.routes else self.routes,
        )

    def diff(self, newer: RouteTable) -> Delta:
        """The delta that turns this table into ``newer``."""
        return Delta(
            sessions=_changes(self.sessions, newer.sessions),
            routes=_changes(self.routes, newer.routes),
        )


class TableInForce:
    """A table that its one owner changes in place, between two turns of its event loop.

    Args:
        table: to begin with.
    """

    def __init__(self, table: RouteTable | None = None) -> None:
        self._sessions: dict[SessionHash, SessionEntry] = dict(table.sessions) if table else {}
        self._routes: dict[RouteKey, Route] = dict(table.routes) if table else {}
        self.table = RouteTable(MappingProxyType(self._sessions), MappingProxyType(self._routes))
        """For reading; it follows every change."""

    def apply(self, delta: Delta) -> None:
        """Put a delta in force. Twice is the same as once."""
        _put(self._sessions, delta.sessions)
        _put(self._routes, delta.routes)


def _merged(base: Mapping[_K, _V], changes: Mapping[_K, _V | None]) -> Mapping[_K, _V]:
    merged = dict(base)
    _put(merged, changes)
    return MappingProxyType(merged)


def _put(entries: dict[_K, _V], changes: Mapping[_K, _V | None]) -> None:
    for key, value in changes.items():
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value


def _changes(old: Mapping[_K, _V], new: Mapping[_K, _V]) -> dict[_K, _V | None]:
    changed: dict[_K, _V | None] = {key: value for key, value in new.items() if old.get(key) != value}
    changed.update((key, None) for key in old.keys() - new.keys())
    return changed
