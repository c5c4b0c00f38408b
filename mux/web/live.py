"""Live pages: one WebSocket each, which says what changed and nothing else.

Owns the connections, their pace and their end. Must not know what a page shows: that is handed in as a function.

Rules:
- A page is told only when what it shows is different, and no more often than its pace, so that a full waiting room
  costs a bounded share of the control process: the more pages, the slower each one's pace.
- A socket never outlives its session: it is closed with 4401 and the page goes to the login.
- A page is heard only where somebody listens, at a bounded pace; any other that speaks is closed.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

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
CLOSE_TIMEOUT_S = 2.0
"""How long a page may take to answer a close; a page that is gone holds up no restart."""
MESSAGE_BYTES_MAX = 1024
"""What pages say is a few numbers."""
WORDS_MAX = 30
"""Messages that a page may send at once, and then one a second: their own pace is far slower."""

Listener = Callable[[str], Awaitable[None]]
"""Takes what a page says. Raises ValueError for what cannot be read."""


@dataclass(eq=False, slots=True)
class _Page:
    """One open socket. ``ended`` is set to the close code when somebody else wants its end."""

    socket: web.WebSocketResponse
    ended: asyncio.Future[int]


async def without_session(request: web.Request) -> web.WebSocketResponse:
    """The answer to a page without a login: a refused handshake tells a script nothing but "closed", a close code why.

    Anybody can ask for it as often as they like, so nobody is waited for longer than a page.
    """
    socket = web.WebSocketResponse(timeout=CLOSE_TIMEOUT_S, max_msg_size=MESSAGE_BYTES_MAX, compress=False)
    await socket.prepare(request)
    await socket.close(code=SESSION_ENDED)
    return socket


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
        self._pages: defaultdict[str, set[_Page]] = defaultdict(set)
        self._count = 0

    async def serve(
        self,
        request: web.Request,
        session: str,
        expires_at: Callable[[], Awaitable[float | None]],
        message: Callable[[], str],
        heard: Listener | None = None,
    ) -> web.WebSocketResponse:
        """Serve one page until either side ends it.

        Args:
            request: a WebSocket handshake whose origin has been checked.
            session: what pages are counted by; never a token.
            expires_at: when the session ends, in seconds since the epoch; None once it has ended.
            message: what the page shows now, as JSON text; sent whenever it differs from the last one.
            heard: takes what the page says; without it the page has nothing to say.

        Raises Refusal (429) when the session has too many pages open.
        """
        if len(self._pages.get(session, ())) >= PAGES_PER_SESSION_MAX:
            raise Refusal(
                429, "too_many_pages", "Too many pages are open", "Close some of this event's pages.", retry_after_s=30
            )
        socket = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT_S, heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX, compress=False
        )
        page = _Page(socket, asyncio.get_running_loop().create_future())
        self._pages[session].add(page)
        self._count += 1
        try:
            await socket.prepare(request)
            code = await self._until_end(page, expires_at, message, heard)
            await socket.close(code=code)
        finally:
            self._count -= 1
            self._pages[session].discard(page)
            if not self._pages[session]:
                del self._pages[session]
        return socket

    async def end(self, session: str) -> None:
        """End the sockets of a session that has ended."""
        self._end(self._pages.get(session, ()), SESSION_ENDED)

    async def close(self, _app: web.Application | None = None) -> None:
        """End every page's socket; the pages come back by themselves."""
        self._end([page for pages in self._pages.values() for page in pages], WSCloseCode.GOING_AWAY)

    def interval_s(self) -> float:
        """How long a page rests between two messages now."""
        return max(self._interval_s, self._count * PUSH_COST_S)

    def _end(self, pages: Iterable[_Page], code: int) -> None:
        for page in pages:
            if not page.ended.done():
                page.ended.set_result(code)

    async def _until_end(
        self,
        page: _Page,
        expires_at: Callable[[], Awaitable[float | None]],
        message: Callable[[], str],
        heard: Listener | None,
    ) -> int:
        """Push and listen until one of both ends, or somebody else ends the page. Returns the close code."""
        pushing = asyncio.create_task(self._push(page.socket, expires_at, message), name="live page: push")
        hearing = asyncio.create_task(_hear(page.socket, heard), name="live page: hear")
        ways: tuple[asyncio.Future[int], ...] = (page.ended, pushing, hearing)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            return next(way.result() for way in ways if way.done())
        finally:
            # The socket is closed by its handler alone, once nobody else is at it.
            for task in (pushing, hearing):
                task.cancel()
            await asyncio.gather(pushing, hearing, return_exceptions=True)

    async def _push(
        self,
        socket: web.WebSocketResponse,
        expires_at: Callable[[], Awaitable[float | None]],
        message: Callable[[], str],
    ) -> int:
        try:
            # The version is read before the view: a change in between brings one look too many, never one too few.
            version = await self._engine.changed(-1, 0.0)
            last = ""
            rest_s = self.interval_s() * (0.5 + random.random() / 2)  # noqa: S311 - spreads pages, no secret
            while (until := await expires_at()) is not None:
                text = message()
                if text != last:
                    await socket.send_str(text)
                    last = text
                await asyncio.sleep(rest_s)
                rest_s = self.interval_s()
                version = await self._engine.changed(version, min(IDLE_S, max(0.0, until - self._clock())))
        except ConnectionError:
            return WSCloseCode.GOING_AWAY
        except Exception as error:
            if getattr(error, "retryable", False):
                log.warning("a live page has to come back", code=getattr(error, "code", ""))
            else:
                log.exception("a live page failed")
            return WSCloseCode.INTERNAL_ERROR
        return SESSION_ENDED


async def _hear(socket: web.WebSocketResponse, heard: Listener | None) -> int:
    """Until the page goes away, or says what it may not. Pings and pongs are answered on the way."""
    clock = asyncio.get_running_loop().time
    allowed, at = float(WORDS_MAX), clock()
    while (message := await socket.receive()).type is WSMsgType.TEXT:
        allowed, at = min(WORDS_MAX, allowed + clock() - at) - 1, clock()
        if heard is None or allowed < 0:
            return WSCloseCode.POLICY_VIOLATION
        try:
            await heard(message.data)
        except ValueError:
            return WSCloseCode.POLICY_VIOLATION
        except Exception as error:
            if not getattr(error, "retryable", False):
                log.exception("what a live page said could not be taken in")
            return WSCloseCode.INTERNAL_ERROR
    return WSCloseCode.POLICY_VIOLATION if message.type is WSMsgType.BINARY else WSCloseCode.OK
