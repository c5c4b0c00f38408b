"""The data plane alone, with routes from a JSON file: no sessions, no feed, no control process.

For a laptop and for measuring. Owns the file's shape::

    {"sessions": false, "routes": [{"prefix": "/", "upstream": "127.0.0.1:9000"}]}

    {"sessions": [{"token": "a-secret", "user": "alice"}], "origin": "http://127.0.0.1:8000",
     "routes": [{"user": "alice", "project": "intro", "upstream": "127.0.0.1:9000", "token": "the-workspaces"}]}

With ``"certificate": "both.pem"``, a file with key and chain beside it, the listener speaks TLS.

Rules: without sessions loopback only, since nobody logs in, and the client's Host is not compared with a public
address; one login may have three quarters of all connections, and as much memory as they need, since what is measured
stands for a room; everything else is as strict as with a feed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import math
import re
import signal
import socket
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mux.core.feed import FeedSettings
from mux.core.model import ProjectName, SessionHash, UserId, WorkspaceId
from mux.core.routes import Route, RouteKey, RouteTable, SessionEntry
from mux.proxy import limits
from mux.proxy.front import Front
from mux.proxy.plane import Plane
from mux.proxy.refusal import Refusal
from mux.proxy.request import RequestHead
from mux.proxy.routing import Address, Destination, FeedRouter, Site, check_origin

COOKIE = "mux_session"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]{8,512}")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_TOKEN = re.compile(r"[!-~]{0,512}")


class StaticError(ValueError):
    """The file or the listener is not one that the static mode takes; the message says why."""


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """``prefix`` (``/``, or ``/a/b`` without a slash at its end) to an upstream."""

    prefix: bytes
    address: Address


class StaticRouter:
    """Routes by the longest prefix.

    Args:
        routes: any order.
        scheme: that clients speak.
    """

    session_cookie = COOKIE.encode()
    logins = False

    def __init__(self, routes: list[StaticRoute], scheme: str = "http") -> None:
        self._origin = f"{scheme}://"
        self._routes = sorted(routes, key=lambda route: len(route.prefix), reverse=True)

    def route(self, request: RequestHead, now: float) -> Destination:  # noqa: ARG002 - Router's signature
        """See Router."""
        site = Site.of(self._origin + request.host.decode("ascii"))
        check_origin(request, site)
        route = self._find(request.path)
        if route is None:
            raise Refusal(404, "no_route", "No route has this prefix.")
        return Destination(
            address=route.address,
            pool=route,
            site=site,
            workspace=True,
            prefix=route.prefix,
            session_cookie=self.session_cookie,
            token=None,
            route=None,
            session=None,
        )

    def _find(self, path: bytes) -> StaticRoute | None:
        for route in self._routes:
            if not route.prefix or path == route.prefix or path.startswith(route.prefix + b"/") or path == b"*":
                return route
        return None

    def place(self, path: bytes) -> Hashable | None:
        """See Router."""
        route = self._find(path)
        return None if route is None else route.prefix

    def still(self, destination: Destination) -> bool:
        """See Router."""
        return destination.pool in self._routes

    def until(self, destination: Destination) -> float:  # noqa: ARG002 - as above
        """See Router."""
        return math.inf

    def in_force(self, session: SessionHash, now: float) -> bool:  # noqa: ARG002 - as above
        """See Router."""
        return True

    def keeps(self, pool: Hashable) -> bool:  # noqa: ARG002 - as above
        """See Router."""
        return True


class SessionRouter(FeedRouter):
    """Routes as with a feed; what would go to the control process is refused, since there is none."""

    def route(self, request: RequestHead, now: float) -> Destination:
        """See Router."""
        destination = super().route(request, now)
        if destination.workspace:
            return destination
        if destination.session is None:
            raise Refusal(401, "no_session", "No session of the routes file has this cookie.")
        raise Refusal(404, "no_route", "No route of this session has this prefix.")


@dataclass(frozen=True, slots=True)
class Static:
    """What the file says.

    Args:
        router: where requests go.
        certificate: file with key and chain; None for plain HTTP.
    """

    router: StaticRouter | SessionRouter
    certificate: Path | None = None


def load_static(path: Path) -> Static:
    """Read the file. Raises StaticError."""
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StaticError(f"{path}: {error}") from error
    certificate = raw.get("certificate") if isinstance(raw, dict) else None
    if certificate is not None and not (isinstance(certificate, str) and certificate):
        raise StaticError(f'{path}: "certificate" must be the name of a file with key and chain')
    file = None if certificate is None else path.parent / certificate
    return Static(_router(path, raw, "http" if file is None else "https"), file)


def _router(path: Path, raw: Any, scheme: str) -> StaticRouter | SessionRouter:
    sessions = raw.get("sessions") if isinstance(raw, dict) else None
    if sessions is not False and not (isinstance(sessions, list) and sessions):
        raise StaticError(f'{path}: "sessions" must be false, or a list of logins')
    entries = raw.get("routes")
    if not isinstance(entries, list) or not entries:
        raise StaticError(f'{path}: "routes" must be a list with an entry at least')
    if sessions is False:
        return StaticRouter([_route(path, entry) for entry in entries], scheme)
    origin = raw.get("origin")
    if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
        raise StaticError(f'{path}: with sessions, "origin" must be the public address, such as http://127.0.0.1:8000')
    if not origin.startswith(f"{scheme}://"):
        raise StaticError(f"{path}: the public address {origin} is not {scheme}, which is what the listener speaks")
    logins = dict(_login(path, entry) for entry in sessions)
    routes = dict(_users_route(path, entry) for entry in entries)
    settings = FeedSettings(origin, COOKIE, "mux", tuple({project for _, project in routes}))
    return SessionRouter(settings, RouteTable(logins, routes), "")


def _login(path: Path, entry: Any) -> tuple[SessionHash, SessionEntry]:
    try:
        token, user = entry["token"], entry["user"]
        if not _COOKIE_VALUE.fullmatch(token) or not isinstance(user, str):
            raise ValueError("a token is a cookie's value, and a user is text")
    except (KeyError, TypeError, ValueError) as error:
        raise StaticError(f"{path}: not a session: {error!r}") from error
    return SessionHash(hashlib.sha256(token.encode()).hexdigest()), SessionEntry(UserId(user), math.inf)


def _users_route(path: Path, entry: Any) -> tuple[RouteKey, Route]:
    try:
        user, project, token = entry["user"], entry["project"], entry.get("token", "")
        host, port = split_address(entry["upstream"])
        if not _PROJECT.fullmatch(project) or not isinstance(user, str) or not _TOKEN.fullmatch(token):
            raise ValueError("a project is 1 to 31 of a-z, 0-9 and -, a user is text, and a token visible ASCII")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StaticError(f"{path}: not a route: {error!r}") from error
    workspace = WorkspaceId(f"{user}.{project}.{host}:{port}")
    return (UserId(user), ProjectName(project)), Route(workspace, host, port, token)


def _route(path: Path, entry: Any) -> StaticRoute:
    try:
        prefix, upstream = entry["prefix"], entry["upstream"]
        host, port = split_address(upstream)
        if not prefix.startswith("/"):
            raise ValueError(f"prefix {prefix!r} does not begin with /")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StaticError(f"{path}: {entry!r} is not a route: {error}") from error
    return StaticRoute(prefix.rstrip("/").encode("ascii", "strict"), Address(host, port))


def split_address(text: str) -> tuple[str, int]:
    """``host:port`` to both; IPv6 in brackets. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def run_static(
    path: Path,
    host: str,
    port: int,
    ready: asyncio.Future[int] | None = None,
    *,
    memo: bool = True,
    splice: bool = True,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        path: of the routes file.
        host: an address; without sessions a loopback one.
        port: 0 for any free one.
        ready: given the port that is listened on.
        memo: whether heads are remembered.
        splice: whether large bodies go through the kernel.

    Raises:
        StaticError: for a file or an address that is not allowed.
        OSError: when the port is in use.
    """
    static = load_static(path)
    router = static.router
    loopback = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host).is_loopback
    if not loopback and isinstance(router, StaticRouter):
        raise StaticError(f"{host} is not a loopback address: without logins nobody else may connect")
    front = Front(static.certificate)
    if front.tls is not None and not front.tls.version:
        raise StaticError(f"{static.certificate}: not a file with a private key and its chain (PEM)")
    sock = socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=limits.LISTEN_BACKLOG
    )
    plane = Plane(front=front, memo=memo, splice=splice, lone=True)
    await plane.put_in_force(router, "mux", (), {})
    await plane.listen(sock)
    if ready is not None:
        ready.set_result(sock.getsockname()[1])
    await stopped()
    await plane.drain()


async def stopped() -> None:
    """Until SIGTERM or SIGINT."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, event.set)
    try:
        await event.wait()
    finally:
        for number in numbers:
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(number)
