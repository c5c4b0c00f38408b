"""Live pages: one WebSocket each, which says what changed and nothing else.

Owns the connections, their pace and their end. Must not know what a page shows: that is handed in as a function.

Rules:
- A page is told only when what it shows is different, and no more often than its pace, so that a full waiting room
  costs a bounded share of the control process: the more pages, the slower each one's pace.
- A socket never outlives its session: it is closed with 4401 and the page goes to the login.
- Nothing is expected from the page; one that speaks is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

import structlog
from aiohttp import WSCloseCode, web

from mux.web.deps import EngineLike
from mux.web.pages import Refusal

log = structlog.get_logger(__name__)

SESSION_ENDED = 4401
"""Close code, in the range that RFC 6455 section 7.4.2 leaves to applications."""
PUSH_INTERVAL_S = 0.25
"""Shortest time between two messages to one page: faster than anybody reads."""
PUSH_COST_S = 0.001
"""Budget of one message: with 1,000 pages each is told at most once a second."""
IDLE_S = 30.0
"""Longest time without a look at the session, whose end by the clock changes nothing in the fleet."""
HEARTBEAT_S = 30.0
"""Pings keep middle boxes from cutting a quiet socket (the strictest known cut after 60 s) and find dead pages."""
PAGES_PER_SESSION_MAX = 24
"""Open pages of one login: more than anybody's tabs, fewer than would hurt the room."""
MESSAGE_BYTES_MAX = 1024
"""Nothing is expected from pages."""


class Live:
    """The live pages of one app.

    Args:
        engine: says when anything changed.
        clock: seconds since the epoch.
        interval_s: shortest time between two messages to one page.
    """

    def __init__(self, engine: EngineLike, clock: Callable[[], float], interval_s: float = PUSH_INTERVAL_S) -> None:
        self._engine = engine
        self._clock = clock
        self._interval_s = interval_s
        self._pages: defaultdict[str, set[web.WebSocketResponse]] = defaultdict(set)
        self._count = 0

    async def serve(
        self,
        request: web.Request,
        session: str,
        expires_at: Callable[[], Awaitable[float | None]],
        message: Callable[[], str],
    ) -> web.WebSocketResponse:
        """Serve one page until either side ends it.

        Args:
            request: a WebSocket handshake whose origin has been checked.
            session: what pages are counted by; never a token.
            expires_at: when the session ends, in seconds since the epoch; None once it has ended.
            message: what the page shows now, as JSON text; sent whenever it differs from the last one.

        Raises Refusal (429) when the session has too many pages open.
        """
        if len(self._pages.get(session, ())) >= PAGES_PER_SESSION_MAX:
            raise Refusal(
                429, "too_many_pages", "Too many pages are open", "Close some of this event's pages.", retry_after_s=30
            )
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX, compress=False)
        self._pages[session].add(socket)
        self._count += 1
        pusher = None
        try:
            await socket.prepare(request)
            pusher = asyncio.create_task(self._push(socket, expires_at, message), name="live page")
            async for _ in socket:
                await socket.close(code=WSCloseCode.POLICY_VIOLATION)
        finally:
            self._count -= 1
            self._pages[session].discard(socket)
            if not self._pages[session]:
                del self._pages[session]
            if pusher is not None:
                pusher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pusher
        return socket

    async def end(self, session: str) -> None:
        """End the sockets of a session that has ended."""
        await self._close(self._pages.get(session, ()), SESSION_ENDED)

    async def close(self, _app: web.Application | None = None) -> None:
        """End every page's socket; the pages come back by themselves."""
        await self._close([socket for pages in self._pages.values() for socket in pages], WSCloseCode.GOING_AWAY)

    async def _close(self, sockets: Iterable[web.WebSocketResponse], code: int) -> None:
        # At once, not one after the other: a page that does not answer the close takes its whole patience.
        await asyncio.gather(*(socket.close(code=code) for socket in tuple(sockets) if socket.prepared))

    def interval_s(self) -> float:
        """How long a page rests between two messages now."""
        return max(self._interval_s, self._count * PUSH_COST_S)

    async def _push(
        self,
        socket: web.WebSocketResponse,
        expires_at: Callable[[], Awaitable[float | None]],
        message: Callable[[], str],
    ) -> None:
        try:
            # The version is read before the view: a change in between brings one look too many, never one too few.
            version = await self._engine.changed(-1, 0.0)
            last = ""
            rest_s = self.interval_s() * (0.5 + random.random() / 2)  # noqa: S311 - spreads pages, no secret
            while not socket.closed:
                until = await expires_at()
                if until is None:
                    await socket.close(code=SESSION_ENDED)
                    return
                text = message()
                if text != last:
                    await socket.send_str(text)
                    last = text
                await asyncio.sleep(rest_s)
                rest_s = self.interval_s()
                version = await self._engine.changed(version, min(IDLE_S, max(0.0, until - self._clock())))
        except ConnectionError:
            pass  # the page is gone; its reader ends as well
        except Exception as error:
            if getattr(error, "retryable", False):
                log.warning("a live page has to come back", code=getattr(error, "code", ""))
            else:
                log.exception("a live page failed")
            await socket.close(code=WSCloseCode.INTERNAL_ERROR)
