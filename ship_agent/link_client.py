"""The shell around the ship's end of the link: dials, backs off, reconnects for ever.

Owns the connection, its TLS, the pace of reports and of dialing. Knows nothing of runtimes or of what desired means:
the agent hands in two callables. The order of messages is `protocol.link`'s.

Rules: only the mux's own CA is trusted and the server's name is checked; no cookie, proxy or redirect is followed; a
link that ends is dialed again with full jitter, so that a thousand ships do not return in the same instant.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ship_agent.join import Join, JoinError, agent_key
from ship_agent.protocol.codec import clean_text
from ship_agent.protocol.link import (
    BadMessage,
    Closed,
    DesiredReceived,
    Event,
    Identity,
    LoginsReceived,
    PassedOver,
    PeerComplained,
    ReportDue,
    ShipEnd,
    WasRefused,
    Welcomed,
)
from ship_agent.protocol.messages import MESSAGE_BYTES_MAX, Desired, Observed, RegistryLogins

log = structlog.get_logger(__name__)

CONNECT_S: Final = 10.0
"""Bound of TCP, TLS and the upgrade together."""
PING_S: Final = 20.0
"""A ping after this much silence, and the link is dead when half as long brings no answer."""
SEND_S: Final = 20.0
"""How long one report may take to leave; a mux that does not read for so long is dialed anew."""
REPORT_SPACING_S: Final = 0.1
"""At least this long between two reports: what changes faster is seen in the next whole report."""
STEADY_S: Final = 10.0
"""A link that held this long was a good one: the next pause starts small again."""


class LinkRefusedError(Exception):
    """The mux refuses this ship for good; dialing again cannot help. ``code`` for machines, ``reason`` for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"the mux refuses this ship ({code}): {reason}")
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Backoff:
    """Full jitter: the n-th pause is anything between nothing and ``first_s`` · 2ⁿ, at most ``max_s``. Seconds."""

    first_s: float = 0.2
    max_s: float = 10.0

    def ceiling_s(self, failures: int) -> float:
        """Longest pause after so many failures in a row, from 1."""
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 30))

    def pause_s(self, failures: int) -> float:
        """A pause after so many failures in a row, from 1."""
        return random.uniform(0.0, self.ceiling_s(failures))  # noqa: S311 - spreads load, guards no secret


class LinkClient:
    """Keeps one ship linked to its mux.

    Args:
        join: who this ship is and where to dial.
        key_path: the agent key's file; made at first use.
        on_desired: called with every desired state that arrives. Must not block.
        on_logins: called with logins of image registries, instead of those before. Must not block.
        on_welcome: called with the token for the file endpoint whenever a link stands. Must not block.
        observe: gives the whole of what is so; its ``seq`` is set here. When it raises, that is logged and it is
            asked again a heartbeat later.
        backoff: pauses between dials.

    Raises JoinError when the join information or the key cannot be used.
    """

    def __init__(
        self,
        join: Join,
        *,
        key_path: Path,
        on_desired: Callable[[Desired], None],
        observe: Callable[[], Awaitable[Observed]],
        on_logins: Callable[[RegistryLogins], None] | None = None,
        on_welcome: Callable[[str], None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        key = agent_key(key_path)
        self._join = join
        self._sign = key.sign
        self._identity = Identity(
            ship=join.ship,
            boot=join.boot,
            public_key=key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex(),
            join_token=join.join_token,
            runtime=join.runtime,
            agent_version=_agent_version(),
        )
        self._ssl = client_context(join.ca_pem)
        self._on_desired = on_desired
        self._on_logins = on_logins
        self._on_welcome = on_welcome
        self._observe = observe
        self._backoff = backoff or Backoff()
        self._report_wanted = asyncio.Event()
        self._trouble = ""

    def report_soon(self) -> None:
        """Something changed: report it within REPORT_SPACING_S. Any number of calls make one report."""
        self._report_wanted.set()

    async def run(self) -> None:
        """Dial and keep the link, until cancelled. Raises LinkRefusedError when dialing again cannot help."""
        failures = 0
        loop = asyncio.get_running_loop()
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_connect=CONNECT_S)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session:
            while True:
                started = loop.time()
                try:
                    await self._link(session)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    self._note("no link", type(error).__name__, _explain(error))
                failures = 1 if loop.time() - started >= STEADY_S else failures + 1
                await asyncio.sleep(self._backoff.pause_s(failures))

    async def _link(self, session: aiohttp.ClientSession) -> None:
        """One connection, from dialing to its end."""
        async with asyncio.timeout(CONNECT_S):
            websocket = await session.ws_connect(
                self._join.control_url,
                ssl=self._ssl,
                heartbeat=PING_S,
                max_msg_size=MESSAGE_BYTES_MAX,
                compress=0,  # nothing to unpack: a small frame cannot become a large one
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            )
        async with websocket:
            certificate = websocket.get_extra_info("ssl_object").getpeercert(binary_form=True)
            loop = asyncio.get_running_loop()
            end = ShipEnd(self._identity, self._sign, hashlib.sha256(certificate).hexdigest(), loop.time())
            await _Connection(self, websocket, end).run()

    def _note(self, event: str, code: str, detail: str) -> None:
        """Log the first of a row of equal troubles: a mux that is away for an hour is one line."""
        if self._first(event, code):
            log.warning(event, ship=self._join.ship, code=code, detail=detail)

    def _first(self, event: str, code: str) -> bool:
        last, self._trouble = self._trouble, f"{event} {code}"
        return last != self._trouble


class _Connection:
    """One connection: a task that reads, one that keeps time and writes, one that gathers reports."""

    def __init__(self, client: LinkClient, websocket: aiohttp.ClientWebSocketResponse[bool], end: ShipEnd) -> None:
        self._client = client
        self._websocket = websocket
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._linked = asyncio.Event()
        self._closed = False

    async def run(self) -> None:
        """Returns when the link has ended; raises LinkRefusedError, or what the agent's callables raise."""
        name = f"link {self._client._join.ship}"
        tasks = [
            asyncio.create_task(self._read(), name=f"{name} read"),
            asyncio.create_task(self._write(), name=f"{name} write"),
            asyncio.create_task(self._report(), name=f"{name} report"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _read(self) -> None:
        async for message in self._websocket:
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                self._act(self._end.receive(message.data, self._loop.time()))
                self._wake.set()
                if self._closed:
                    await asyncio.Event().wait()  # the writer sends what is left and ends the link

    async def _write(self) -> None:
        """Send what is due, sleep until woken or until the end's deadline."""
        while True:
            self._wake.clear()
            self._act(self._end.handle_timer(self._loop.time()))
            for frame in self._end.messages_to_send():
                async with asyncio.timeout(SEND_S):
                    await self._websocket.send_str(frame)
            if self._closed:
                return
            deadline = self._end.next_deadline()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _report(self) -> None:
        wanted = self._client._report_wanted
        await self._linked.wait()
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                observed = await self._client._observe()
            except Exception:
                # A runtime that cannot answer now must not cost the link, over which help may come.
                if self._client._first("observing failed", "exception"):
                    log.exception("observing failed", ship=self._client._join.ship)
            else:
                self._end.report(observed, self._loop.time())
                self._wake.set()
            await asyncio.sleep(REPORT_SPACING_S)

    def _act(self, events: Sequence[Event]) -> None:  # noqa: PLR0912 - one branch per event
        client = self._client
        for event in events:
            match event:
                case Welcomed(heartbeat_s, files_token):
                    client._trouble = ""
                    log.info("linked", ship=client._join.ship, heartbeat_s=heartbeat_s)
                    self._linked.set()
                    if client._on_welcome is not None:
                        client._on_welcome(files_token)
                case ReportDue():
                    client.report_soon()
                case DesiredReceived(desired):
                    client._on_desired(desired)
                case LoginsReceived(logins) if client._on_logins is not None:
                    client._on_logins(logins)
                case WasRefused(code, reason, retry):
                    reason = clean_text(reason, chars_max=500)
                    if not retry:
                        raise LinkRefusedError(code, reason)
                    client._note("link refused", code, reason)
                case BadMessage(code, detail):
                    client._note("bad message from the mux", code, detail)
                case PassedOver(detail):
                    client._note("a message of a newer mux was passed over", "unknown", detail)
                case PeerComplained(code, detail):
                    client._note("the mux could not read a message", code, clean_text(detail, chars_max=200))
                case Closed(code, reason):
                    if code != "refused":
                        client._note("link closed", code, clean_text(reason, chars_max=200))
                    self._closed = True


def client_context(ca_pem: str) -> ssl.SSLContext:
    """TLS that trusts one CA and nothing else, and checks the server's name. Raises JoinError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Not create_default_context: given an empty PEM, that would trust the system's own CAs.
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise JoinError("ca_pem is not a certificate; write the join information again") from error
    return context


def _agent_version() -> str:
    try:
        return version("mux")[:64]
    except PackageNotFoundError:
        return "not installed"


def _explain(error: BaseException) -> str:
    """One bounded line for the log; aiohttp's own texts hold address and reason, never a secret."""
    return clean_text(str(error), chars_max=300)
