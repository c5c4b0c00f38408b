"""Where a request goes: Host, origin, session and path prefix to a destination.

Sans-I/O; the clock is handed in. Owns the data plane's trust decisions about requests. Rules: the target is looked at
as raw bytes and never normalised; a session is looked up for every request anew; whatever has no session or no route
goes to the control process, which renders the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mux.core.feed import FeedSettings
from mux.core.model import ProjectName, SessionHash, UserId
from mux.core.routes import Route, RouteKey, RoutePort, RouteTable
from mux.proxy.cookies import cookie_values
from mux.proxy.limits import POOL_IDLE_MAX_WEB, POOL_IDLE_MAX_WORKSPACE, RELOAD_S
from mux.proxy.refusal import ALLOW, Refusal
from mux.proxy.request import METHODS_SAFE, RequestHead

CAMP = b"/camp/"
PORT = b"port/"
"""What follows a project's base path before the name of a further port."""
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}
_FETCH_SITES_OWN = (b"same-origin", b"none")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream listens: ``path`` of a Unix socket, or host and port."""

    host: str = ""
    port: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """The public address, as bytes of a head.

    Args:
        origin: scheme, host and port, lower case, no default port.
        scheme: ``http`` or ``https``.
        hosts: values of Host that mean it.
    """

    origin: bytes
    scheme: bytes
    hosts: tuple[bytes, ...]

    @classmethod
    def of(cls, origin: str) -> Site:
        """From an origin as the feed has it, e.g. ``http://localhost:8000``."""
        scheme, _, host = origin.lower().rstrip("/").encode("ascii").partition(b"://")
        default = _DEFAULT_PORTS.get(scheme, b"")
        bare = host.removesuffix(default) if default else host
        hosts = (bare, bare + default) if bare != host or (default and not _has_port(host)) else (host,)
        return cls(scheme + b"://" + hosts[0], scheme, hosts)

    @property
    def hostname(self) -> bytes:
        """The host without port."""
        host = self.hosts[0]
        return host.rpartition(b":")[0] if _has_port(host) else host


def _has_port(host: bytes) -> bool:
    return b":" in host.rpartition(b"]")[2]


class RoutePool(NamedTuple):
    """Connections of one route as it was: another workspace, port or token under the same key is another pool.

    ``port`` names a further port of the workspace; empty for its own.
    """

    key: RouteKey
    route: Route
    port: str = ""

    @classmethod
    def of(cls, key: RouteKey, route: Route) -> Iterator[RoutePool]:
        """Every pool of a route: the workspace's own, and those of its further ports."""
        yield cls(key, route)
        for port in route.ports:
            yield cls(key, route, port.name)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where one request goes, and on which terms.

    Args:
        address: of the upstream.
        pool: connections to the upstream are shared by requests with an equal value, and by no others.
        site: the public address that the client used.
        workspace: whether the upstream is one: its responses are confined.
        prefix: ``/camp/<project>``, of a further port with ``/port/<name>``, which cookies are confined to; empty for
            no confinement.
        session_cookie: name of the session cookie.
        token: replaces the client's Authorization; empty to drop it, None to keep it and the mux's cookies.
        route: which route; None for the control process.
        session: the login; None for none.
        user: whose login it is.
        hold_s: how long the request is to wait for another destination first, in seconds; None for not at all.
        port: name of the workspace's further port; empty for its own.
        strip: whether the upstream knows nothing of the prefix: it is asked without, and what it says of paths is put
            below the prefix.
    """

    address: Address
    pool: Hashable
    site: Site
    workspace: bool
    prefix: bytes
    session_cookie: bytes
    token: bytes | None
    route: RouteKey | None
    session: SessionHash | None
    user: UserId | None = None
    hold_s: float | None = None
    port: str = ""
    strip: bool = False

    @property
    def idle_max(self) -> int:
        """Idle connections that are kept of its pool."""
        return POOL_IDLE_MAX_WORKSPACE if self.workspace else POOL_IDLE_MAX_WEB


class Router(Protocol):
    """Decides where requests go."""

    @property
    def session_cookie(self) -> bytes:
        """Name of the mux's cookie."""
        ...

    @property
    def logins(self) -> bool:
        """Whether there are any: without them nobody is a stranger."""
        ...

    def place(self, path: bytes) -> Hashable | None:
        """All of a path that ``route`` looks at, for paths that may lead to a workspace; None for others.

        Two requests that differ only in their methods and targets, with an equal place, have an equal destination,
        unless `check_origin` refuses one of them.
        """
        ...

    def still(self, destination: Destination) -> bool:
        """Whether a workspace's destination that any router gave would be given again, expiry aside."""
        ...

    def until(self, destination: Destination) -> float:
        """When the login behind a destination ends, in seconds since the epoch."""
        ...

    def route(self, request: RequestHead, now: float) -> Destination:
        """The destination at ``now`` (seconds since the epoch). Raises Refusal."""
        ...

    def in_force(self, session: SessionHash, now: float) -> bool:
        """Whether a session is a login at ``now``."""
        ...

    def keeps(self, pool: Hashable) -> bool:
        """Whether connections of a pool key may still be used."""
        ...


class NoRouter:
    """The router before any feed was received."""

    session_cookie = b""
    logins = True

    def place(self, path: bytes) -> Hashable | None:  # noqa: ARG002 - Router's signature
        """See Router."""
        return None

    def still(self, destination: Destination) -> bool:  # noqa: ARG002 - as above
        """See Router."""
        return False

    def until(self, destination: Destination) -> float:  # noqa: ARG002 - as above
        """See Router."""
        return 0.0

    def route(self, request: RequestHead, now: float) -> Destination:  # noqa: ARG002 - Router's signature
        """Raises Refusal, always."""
        raise Refusal(503, "starting", "This event is starting.", reload_s=RELOAD_S)

    def in_force(self, session: SessionHash, now: float) -> bool:  # noqa: ARG002 - as above
        """See Router."""
        return False

    def keeps(self, pool: Hashable) -> bool:  # noqa: ARG002 - as above
        """See Router."""
        return False


class FeedRouter:
    """Routes by the table of the feed.

    Args:
        settings: of the feed.
        table: sessions and routes.
        web: path of the control process's Unix socket.
    """

    logins = True

    def __init__(self, settings: FeedSettings, table: RouteTable, web: str) -> None:
        self.settings = settings
        self.table = table
        self._site = Site.of(settings.public_origin)
        self.session_cookie = settings.session_cookie.encode("ascii")
        self._web = Address(path=web)

    def route(self, request: RequestHead, now: float) -> Destination:
        """See Router."""
        site = self._site
        if request.host not in site.hosts or (request.scheme and request.scheme != site.scheme):
            address = site.origin.decode() + "/"
            raise Refusal(421, "wrong_host", f"This event is at {address} and at no other address.", link=address)
        check_origin(request, site)
        session = self._session(request, now)
        if session is not None:
            key_route = self._workspace(request.path, session[1])
            if key_route is not None:
                key, route = key_route
                if (port := _further_port(request, route, site)) is not None:
                    return self._to_port(port, key, route, session)
                return Destination(
                    address=Address(route.host, route.port),
                    pool=RoutePool(key, route),
                    site=site,
                    workspace=True,
                    prefix=CAMP + key[1].encode(),
                    session_cookie=self.session_cookie,
                    token=route.token.encode("ascii"),
                    route=key,
                    session=session[0],
                    user=session[1],
                    hold_s=self.settings.swap_hold_s if route.hold else None,
                )
        return Destination(
            address=self._web,
            pool=self._web,
            site=site,
            workspace=False,
            prefix=b"",
            session_cookie=self.session_cookie,
            token=None,
            route=None,
            session=session[0] if session else None,
            user=session[1] if session else None,
        )

    def place(self, path: bytes) -> Hashable | None:
        """See Router."""
        if not path.startswith(CAMP):
            return None
        segment, slash, rest = path[len(CAMP) :].partition(b"/")
        if slash and not rest and self.settings.landings:
            return None
        # Of further ports any number of names may be asked for, and targets are not sent on as they are.
        return None if rest[:5] == PORT else segment

    def still(self, destination: Destination) -> bool:
        """See Router."""
        session, key, pool = destination.session, destination.route, destination.pool
        if session is None or key is None or not isinstance(pool, RoutePool):
            return False
        entry = self.table.sessions.get(session)
        return (
            entry is not None
            and entry.user == key[0]
            and self.table.routes.get(key) == pool.route
            and self._site == destination.site
            and self.session_cookie == destination.session_cookie
        )

    def until(self, destination: Destination) -> float:
        """See Router."""
        entry = self.table.sessions.get(destination.session) if destination.session is not None else None
        return 0.0 if entry is None else entry.expires_at

    def in_force(self, session: SessionHash, now: float) -> bool:
        """See Router."""
        return self.table.session(session, now) is not None

    def keeps(self, pool: Hashable) -> bool:
        """See Router."""
        if not isinstance(pool, RoutePool):
            return True
        there = self.table.routes.get(pool.key)
        return there is pool.route or there == pool.route

    def _to_port(
        self, port: RoutePort, key: RouteKey, route: Route, session: tuple[SessionHash, UserId]
    ) -> Destination:
        return Destination(
            address=Address(route.host, port.port),
            pool=RoutePool(key, route, port.name),
            site=self._site,
            workspace=True,
            prefix=CAMP + key[1].encode() + b"/" + PORT + port.name.encode(),
            session_cookie=self.session_cookie,
            token=b"",
            route=key,
            session=session[0],
            user=session[1],
            hold_s=self.settings.swap_hold_s if route.hold else None,
            port=port.name,
            strip=not port.with_prefix,
        )

    def _session(self, request: RequestHead, now: float) -> tuple[SessionHash, UserId] | None:
        tokens = cookie_values(request.values(b"cookie"), self.session_cookie)
        if len(tokens) != 1:
            return None
        session = SessionHash(hashlib.sha256(tokens.pop()).hexdigest())
        entry = self.table.session(session, now)
        return None if entry is None else (session, entry.user)

    def _workspace(self, path: bytes, user: UserId) -> tuple[RouteKey, Route] | None:
        if not path.startswith(CAMP):
            return None
        segment, slash, rest = path[len(CAMP) :].partition(b"/")
        key = (user, ProjectName(segment.decode("latin-1")))
        route = self.table.routes.get(key)
        if route is None or (slash and not rest and key[1] in self.settings.landings):
            return None
        return key, route


def _further_port(request: RequestHead, route: Route, site: Site) -> RoutePort | None:
    """The further port that a request for a route asks for, by the raw bytes of its path; None for the workspace's own.

    Raises Refusal, which leads below it, where the path ends with a name whose program is asked without it.
    """
    if not route.ports:
        return None
    rest = request.path[len(CAMP) :].partition(b"/")[2]
    if not rest.startswith(PORT):
        return None
    name, slash, _ = rest[len(PORT) :].partition(b"/")
    port = route.port_named(name.decode("latin-1"))
    if port is not None and not slash and not port.with_prefix:
        path, question, query = request.target.partition(b"?")
        location = (site.origin + path + b"/" + question + query).decode("latin-1")
        raise Refusal(308, "to_slash", f"The port {port.name} is at {location}", headers=(("Location", location),))
    return port


def check_hops(request: RequestHead) -> None:
    """Answer an OPTIONS request that asks to go no further (RFC 9110 section 7.6.2). Raises Refusal."""
    if request.hops_left == 0:
        raise Refusal(200, "no_hops_left", "The proxy answers: the request was not to go further.", headers=(ALLOW,))


def check_origin(request: RequestHead, site: Site) -> None:
    """Refuse what another site may have made a browser send (RFC 6454, Fetch Metadata). Raises Refusal.

    Upgrades, and every method but GET, HEAD and OPTIONS: Origin must be the public address. Without Origin a browser
    that says where the request comes from must say that it is this origin. Neither: no browser of today.
    """
    if request.method in METHODS_SAFE and not request.upgrade:
        return
    origins = request.values(b"origin")
    if origins:
        if len(origins) != 1 or origins[0] != site.origin:
            raise Refusal(403, "foreign_origin", "This request comes from another site and was refused.")
        return
    sites = request.values(b"sec-fetch-site")
    if any(value.lower() not in _FETCH_SITES_OWN for value in sites):
        raise Refusal(403, "foreign_site", "This request comes from another site and was refused.")
