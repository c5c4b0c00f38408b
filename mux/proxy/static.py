"""The data plane alone, with routes from a JSON file: no sessions, no feed, no control process.

For a laptop and for measuring. Owns the file's shape::

    {"sessions": false, "routes": [{"prefix": "/", "upstream": "127.0.0.1:9000"}]}

Rules: loopback only, since nobody logs in; the client's Host is not compared with a public address; everything else is
as strict as with a feed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import signal
import socket
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mux.core.model import SessionHash
from mux.proxy import limits
from mux.proxy.plane import Plane
from mux.proxy.refusal import Refusal
from mux.proxy.request import RequestHead
from mux.proxy.routing import Address, Destination, Site, check_origin


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
    """

    def __init__(self, routes: list[StaticRoute]) -> None:
        self._routes = sorted(routes, key=lambda route: len(route.prefix), reverse=True)

    def route(self, request: RequestHead, now: float) -> Destination:  # noqa: ARG002 - Router's signature
        """See Router."""
        site = Site.of("http://" + request.host.decode("ascii"))
        check_origin(request, site)
        path = request.path
        for route in self._routes:
            if not route.prefix or path == route.prefix or path.startswith(route.prefix + b"/") or path == b"*":
                return Destination(
                    address=route.address,
                    pool=route,
                    site=site,
                    workspace=True,
                    prefix=route.prefix,
                    session_cookie=b"mux_session",
                    token=None,
                    route=None,
                    session=None,
                )
        raise Refusal(404, "no_route", "No route has this prefix.")

    def in_force(self, session: SessionHash, now: float) -> bool:  # noqa: ARG002 - as above
        """See Router."""
        return True

    def keeps(self, pool: Hashable) -> bool:  # noqa: ARG002 - as above
        """See Router."""
        return True


def load_routes(path: Path) -> StaticRouter:
    """Read the file. Raises StaticError."""
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StaticError(f"{path}: {error}") from error
    if not isinstance(raw, dict) or raw.get("sessions") is not False:
        raise StaticError(f'{path}: "sessions" must be false: the static mode has no logins')
    entries = raw.get("routes")
    if not isinstance(entries, list) or not entries:
        raise StaticError(f'{path}: "routes" must be a list with an entry at least')
    return StaticRouter([_route(path, entry) for entry in entries])


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


async def run_static(path: Path, host: str, port: int, ready: asyncio.Future[int] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        path: of the routes file.
        host: a loopback address.
        port: 0 for any free one.
        ready: given the port that is listened on.

    Raises:
        StaticError: for a file or an address that is not allowed.
        OSError: when the port is in use.
    """
    if not ipaddress.ip_address("127.0.0.1" if host == "localhost" else host).is_loopback:
        raise StaticError(f"{host} is not a loopback address: without logins nobody else may connect")
    router = load_routes(path)
    sock = socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=limits.LISTEN_BACKLOG
    )
    plane = Plane()
    await plane.put_in_force(router, "mux", (), ())
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
