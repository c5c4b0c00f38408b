"""Who may call the admin API: bearer tokens, the organizers' browser session for reading, the peer of a Unix socket.

Owns the order of the checks and the bound on failures. Knows neither how a token is verified nor how a session is
looked up: both are handed in and must compare in constant time.

Rules:
- Default deny. A caller has the scopes of one proof and no more; proofs are never added up.
- An ``Authorization`` header that is there decides alone: a wrong token is refused, whatever cookies come with it.
- A cookie is never enough for a write (CSRF): every method but GET and HEAD needs a token or the Unix socket.
- Failures are counted per address. Over the limit an address is answered 429 without a look at the store, except for
  tokens that were right before: an organizer behind the same NAT as a guesser stays in.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import struct
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection

import structlog
from aiohttp import hdrs, web

from mux.core.forwarded import address_key
from mux.store.base import ApiToken
from mux.web.admin_api_endpoint import ALL_SCOPES, TOKEN_SCOPES, ApiError, Caller, Scope

log = structlog.get_logger(__name__)

FAILURES_PER_WINDOW = 200
"""Wrong proofs per address and window. A token has 256 random bits and needs no such limit; the store does. A script
with a forgotten token must not keep organizers behind the same NAT from their first call with a new one."""
WINDOW_S = 60.0
ADDRESSES_MAX = 10_000
"""Addresses remembered; about 1 MB. The one that failed longest ago is forgotten first."""
KNOWN_TOKENS_MAX = 1_000
"""Hashes of tokens that were right; far more than an event has."""

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,512}=*)", re.IGNORECASE)
"""RFC 6750 section 2.1, with a bound."""
_PEER_CREDENTIALS = struct.Struct("3i")
"""``struct ucred`` of unix(7): pid, uid, gid."""

CheckToken = Callable[[str], Awaitable["ApiToken | None"]]
BrowserScopes = Callable[[web.Request], Awaitable["Collection[str]"]]


class Failures:
    """Counts failures per address in fixed windows. Times are seconds; a clock that was set back starts new windows."""

    def __init__(
        self,
        per_window: int = FAILURES_PER_WINDOW,
        window_s: float = WINDOW_S,
        addresses_max: int = ADDRESSES_MAX,
    ) -> None:
        self._per_window = per_window
        self._window_s = window_s
        self._addresses_max = addresses_max
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self.total = 0

    def count(self, address: str, now: float) -> int:
        """Note one failure; how many this address has in its window."""
        start, count = self._counts.pop(address, (now, 0))
        if not 0 <= now - start < self._window_s:
            start, count = now, 0
        self._counts[address] = (start, count + 1)
        if len(self._counts) > self._addresses_max:
            self._counts.popitem(last=False)
        self.total += 1
        return count + 1

    def wait_s(self, address: str, now: float) -> float:
        """How long this address has to wait; 0 if it may try."""
        start, count = self._counts.get(address, (now, 0))
        elapsed = now - start
        return self._window_s - elapsed if count >= self._per_window and 0 <= elapsed < self._window_s else 0.0


class Guard:
    """Finds out who calls.

    Args:
        check_token: which token this is, or None for one that is not ours.
        browser_scopes: the scopes of the browser session that a request carries; empty without one. None where there
            are no pages.
        clock: seconds.
        trusted: True on the Unix socket, False on TCP.
    """

    def __init__(
        self,
        check_token: CheckToken,
        browser_scopes: BrowserScopes | None,
        clock: Callable[[], float],
        *,
        trusted: bool,
    ) -> None:
        self._check_token = check_token
        self._browser_scopes = browser_scopes
        self._clock = clock
        self._trusted = trusted
        self._known: OrderedDict[str, None] = OrderedDict()
        self.failures = Failures()

    async def caller(self, request: web.Request) -> Caller:
        """Who asks. Raises ApiError (401, 403, 429)."""
        if self._trusted:
            return _peer(request)
        headers = request.headers.getall(hdrs.AUTHORIZATION, [])
        if headers:
            return await self._token_caller(request, headers)
        if self._browser_scopes is not None and request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
            scopes = _known_scopes(await self._browser_scopes(request))
            if scopes:
                return Caller("session", scopes)
        raise _unauthorized("this needs a token: Authorization: Bearer … (`mux token add` makes one)")

    async def _token_caller(self, request: web.Request, headers: list[str]) -> Caller:
        address = _address(request)
        match = _BEARER.fullmatch(headers[0]) if len(headers) == 1 else None
        token = match[1] if match else ""
        digest = hashlib.sha256(token.encode()).hexdigest()
        wait_s = self.failures.wait_s(address, self._clock())
        if wait_s and digest not in self._known:
            self.failures.total += 1
            raise ApiError(
                429,
                "too_many_failures",
                f"too many wrong tokens from your address; try again in {wait_s:.0f} seconds",
                headers={hdrs.RETRY_AFTER: str(int(wait_s) + 1)},
            )
        found = await self._check_token(token) if token else None
        if found is None:
            self._known.pop(digest, None)
            if self.failures.count(address, self._clock()) == FAILURES_PER_WINDOW:
                log.warning("admin api: too many wrong tokens", address=address, window_s=WINDOW_S)
            raise _unauthorized("the token is not known here; `mux token list` shows the names of those that are")
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > KNOWN_TOKENS_MAX:
            self._known.popitem(last=False)
        return Caller(f"token {found.name}", _known_scopes(found.scopes))


def require(caller: Caller, scope: Scope | None) -> None:
    """Refuse a caller who lacks ``scope``. Raises ApiError (403)."""
    if scope is None or scope in caller.scopes:
        return
    if scope is Scope.LOCAL:
        raise ApiError(403, "local_only", "this is served on the mux's own machine only: run `mux` there")
    raise ApiError(
        403,
        "scope_missing",
        f"this needs the scope `{scope.value}`",
        headers={hdrs.WWW_AUTHENTICATE: f'Bearer realm="mux", error="insufficient_scope", scope="{scope.value}"'},
    )


def _peer(request: web.Request) -> Caller:
    """The process at the other end of a Unix socket. File permissions keep others out; this says so once more."""
    connection = request.transport.get_extra_info("socket") if request.transport is not None else None
    if connection is None or connection.family != socket.AF_UNIX:
        raise ApiError(403, "not_local", "full rights are given on the Unix socket only")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    _pid, uid, _gid = _PEER_CREDENTIALS.unpack(raw)
    if uid not in {os.geteuid(), 0}:
        log.warning("admin api: refused a peer of the unix socket", uid=uid)
        raise ApiError(403, "peer_refused", "run this as the user that mux runs as, or as root")
    return Caller("local", ALL_SCOPES)


def _known_scopes(names: Collection[str]) -> frozenset[Scope]:
    """Scopes that a token or session may have; a name that is none (any more) grants nothing."""
    return frozenset(scope for scope in TOKEN_SCOPES if scope.value in names)


def _address(request: web.Request) -> str:
    """What failures are counted by."""
    return address_key(request.remote or "unknown")


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "unauthorized", message, headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="mux"'})
