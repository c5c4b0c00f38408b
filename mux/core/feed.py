"""The feed: how tables travel from the control process to the proxies.

Sans-I/O. A frame is a 4-byte big-endian length and that many bytes of JSON. The control process sends one ``Snapshot``
on connect and a ``Change`` for every publication after it; a proxy answers each with an ``Ack`` of the highest sequence
number that it serves from, and sends ``Counters`` and ``Paths`` in batches. A gap in the sequence is an error: the
proxy drops the connection, serves on from what it has, and asks anew.

Both ends belong to one mux and speak over a 0600 Unix socket; bounds are there against defects, not against attackers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mux.core.model import PortName, ProjectName, SessionHash, UserId, WorkspaceId
from mux.core.routes import Delta, Route, RoutePort, RouteTable, SessionEntry

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""Bound of one frame: a snapshot of 100,000 routes is about 25 MB."""


class FeedError(ValueError):
    """The other end sent something that is not a frame of the feed. Fatal for the connection, not for the process."""


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """What a proxy must know of the event beside routes.

    Args:
        public_origin: scheme, host and port that attendees use, e.g. ``http://localhost:8000``; requests for another
            Host are refused, since cookies ignore ports and the organizers' name must never serve a workspace.
        session_cookie: name of the session cookie.
        event_name: shown on the proxy's own pages.
        projects: every project's name. Order as in the event file.
        landings: projects whose ``/camp/<project>/`` the control process answers, by leading further.
        certificate_sha256: of the file with key and chain that the public listener is to serve; empty for none.
        challenges: ACME's tokens that are under way, each with its answer (RFC 8555 section 8.3).
        trusted_proxies: networks whose X-Forwarded-For and X-Forwarded-Proto are believed.
        swap_hold_s: how long a request waits for a workspace that gets another image.
    """

    public_origin: str
    session_cookie: str
    event_name: str
    projects: tuple[ProjectName, ...] = ()
    landings: frozenset[ProjectName] = frozenset()
    certificate_sha256: str = ""
    challenges: tuple[tuple[str, str], ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    swap_hold_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole table, at sequence number ``seq``.

    Args:
        seq: of the latest publication in it.
        settings: of the event.
        table: sessions and routes.
        now: what the clock that ends sessions says, in seconds since the epoch; None for the wall clock.
    """

    seq: int
    settings: FeedSettings
    table: RouteTable
    now: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What publication ``seq`` changed. ``settings`` only when they changed with it."""

    seq: int
    delta: Delta
    settings: FeedSettings | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """From a proxy: everything up to ``seq`` is in force here, revoked tunnels included."""

    seq: int


@dataclass(frozen=True, slots=True)
class Counters:
    """From a proxy: counters since its start, by metric name; never per request.

    Args:
        values: metric name (with labels, as in the metrics page) to value.
        active: attendee and project pairs that moved bytes since the last batch.
    """

    values: Mapping[str, float]
    active: tuple[tuple[UserId, ProjectName], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Paths:
    """From a proxy: workspaces that it connected to or had an answer from since the last batch, and those that it could
    not connect to. None is in both.
    """

    reached: tuple[WorkspaceId, ...] = ()
    unreached: tuple[WorkspaceId, ...] = ()


FeedMessage = Snapshot | Change | Ack | Counters | Paths


def encode(message: FeedMessage) -> bytes:
    """One frame of the feed, length included."""
    body = json.dumps(_to_json(message), separators=(",", ":")).encode()
    return len(body).to_bytes(4, "big") + body


class FrameDecoder:
    """Turns bytes, split anyhow, into messages.

    Feed it with :meth:`receive`; it raises :class:`FeedError` for a frame that is too large or malformed and must not
    be used after that.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> Iterator[FeedMessage]:
        """The messages that ``data`` completes, in order."""
        self._buffer += data
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > FRAME_BYTES_MAX:
                raise FeedError(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} are allowed")
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield decode_body(body)


def decode_body(body: bytes) -> FeedMessage:
    """The message in one frame's body. Raises :class:`FeedError`."""
    try:
        return _from_json(json.loads(body))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FeedError(f"not a message of the feed: {error!r}") from error


def _to_json(message: FeedMessage) -> dict[str, Any]:
    match message:
        case Snapshot(seq, settings, table, now):
            return {
                "type": "snapshot",
                "seq": seq,
                "now": now,
                "settings": _settings_to_json(settings),
                **_entries_to_json(table.sessions, table.routes),
            }
        case Change(seq, delta, changed):
            return {
                "type": "change",
                "seq": seq,
                "settings": _settings_to_json(changed) if changed else None,
                **_entries_to_json(delta.sessions, delta.routes),
            }
        case Ack(seq):
            return {"type": "ack", "seq": seq}
        case Counters(values, active):
            return {"type": "counters", "values": dict(values), "active": [list(pair) for pair in active]}
        case Paths(reached, unreached):
            return {"type": "paths", "reached": list(reached), "unreached": list(unreached)}


def _from_json(raw: dict[str, Any]) -> FeedMessage:
    match raw["type"]:
        case "snapshot":
            table = RouteTable().apply(_delta_from_json(raw))
            now = raw.get("now")
            settings = _settings_from_json(raw["settings"])
            return Snapshot(int(raw["seq"]), settings, table, None if now is None else float(now))
        case "change":
            settings = raw["settings"]
            return Change(int(raw["seq"]), _delta_from_json(raw), _settings_from_json(settings) if settings else None)
        case "ack":
            return Ack(int(raw["seq"]))
        case "counters":
            active = tuple((UserId(user), ProjectName(project)) for user, project in raw["active"])
            return Counters({str(name): float(value) for name, value in raw["values"].items()}, active)
        case "paths":
            return Paths(tuple(map(WorkspaceId, raw["reached"])), tuple(map(WorkspaceId, raw["unreached"])))
        case other:
            raise FeedError(f"unknown type {other!r}")


def _settings_to_json(settings: FeedSettings) -> dict[str, Any]:
    return {
        "public_origin": settings.public_origin,
        "session_cookie": settings.session_cookie,
        "event_name": settings.event_name,
        "projects": list(settings.projects),
        "landings": sorted(settings.landings),
        "certificate_sha256": settings.certificate_sha256,
        "challenges": [list(pair) for pair in settings.challenges],
        "trusted_proxies": list(settings.trusted_proxies),
        "swap_hold_s": settings.swap_hold_s,
    }


def _settings_from_json(raw: dict[str, Any]) -> FeedSettings:
    return FeedSettings(
        public_origin=str(raw["public_origin"]),
        session_cookie=str(raw["session_cookie"]),
        event_name=str(raw["event_name"]),
        projects=tuple(ProjectName(name) for name in raw["projects"]),
        landings=frozenset(ProjectName(name) for name in raw["landings"]),
        certificate_sha256=str(raw["certificate_sha256"]),
        challenges=tuple((str(token), str(answer)) for token, answer in raw["challenges"]),
        trusted_proxies=tuple(str(network) for network in raw["trusted_proxies"]),
        swap_hold_s=float(raw["swap_hold_s"]),
    )


def _entries_to_json(
    sessions: Mapping[SessionHash, SessionEntry] | Mapping[SessionHash, SessionEntry | None],
    routes: Mapping[tuple[UserId, ProjectName], Route] | Mapping[tuple[UserId, ProjectName], Route | None],
) -> dict[str, Any]:
    return {
        "sessions": [
            [key, None if entry is None else [entry.user, entry.expires_at]] for key, entry in sessions.items()
        ],
        "routes": [[*key, None if route is None else _route_to_json(route)] for key, route in routes.items()],
    }


def _delta_from_json(raw: dict[str, Any]) -> Delta:
    return Delta(
        sessions={
            SessionHash(key): None if entry is None else SessionEntry(UserId(entry[0]), float(entry[1]))
            for key, entry in raw["sessions"]
        },
        routes={
            (UserId(user), ProjectName(project)): None if entry is None else _route_from_json(entry)
            for user, project, entry in raw["routes"]
        },
    )


def _route_to_json(route: Route) -> list[Any]:
    ports = [[port.name, port.port, port.with_prefix] for port in route.ports]
    return [route.workspace, route.host, route.port, route.token, route.hold, ports]


def _route_from_json(raw: list[Any]) -> Route:
    workspace, host, port, token, hold, ports = raw
    named = tuple(RoutePort(PortName(name), int(number), bool(with_prefix)) for name, number, with_prefix in ports)
    return Route(WorkspaceId(workspace), str(host), int(port), str(token), bool(hold), named)
