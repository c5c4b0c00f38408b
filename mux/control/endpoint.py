"""The control endpoint: the WebSocket that ships dial, message ↔ event and nothing more.

Owns connections, their authentication and their bounds. Decides nothing: who is let in, which link is the newer one and
what a report means is the core's to say. Listens to nobody itself; the daemon mounts `routes` on the control listener.

Rules: a ship is unknown until its Hello is signed for this connection; one `LinkLost` follows every `ShipDialed`; what
a ship sends is hostile text; a bad message, a slow reader or a flood costs that link at most, never another one. What a
ship may do often (dial, have lines logged) is counted for the key that was accepted as its own: nobody else who claims
to be that ship uses any of it up.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from aiohttp import WSMsgType, web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from mux.config.registry_logins import RegistryLogin
from mux.control.render import DesiredRenderer, rendered_logins, ship_report
from mux.control.strangers import show
from mux.core.allowance import Allowance
from mux.core.commands import AcceptLink, CloseLink, RefuseLink, SendDesired
from mux.core.events import Event, LinkLost, ShipDialed, ShipReported
from mux.core.forwarded import address_key
from mux.core.model import LinkId, ShipId
from mux.keys import Keyring
from ship_agent.protocol import link as protocol
from ship_agent.protocol.codec import CodecError, clean_text
from ship_agent.protocol.messages import MESSAGE_BYTES_MAX, Desired, RegistryLogins

log = structlog.get_logger(__name__)

PATH: Final = "/control"
PENDING_MAX: Final = 64
"""Links not yet decided. A handshake takes milliseconds, so a thousand ships that return at once pass in a second or
two; a stranger may make each of these hold one message (MESSAGE_BYTES_MAX)."""
PING_S: Final = 20.0
"""A ping after this much silence, and the link is dead when half as long brings no answer."""
SEND_S: Final = 20.0
"""How long one message may take to leave; a ship that does not read for so long is dropped and dials anew."""
CLOSE_S: Final = 2.0
"""How long the other side gets to answer a closing handshake (RFC 6455 section 7.1.1)."""
REASON_CHARS_MAX: Final = 500
DIALS_BURST: Final = 30
DIALS_PER_S: Final = 0.5
"""How often a ship may dial: each accepted link is written to the store. An honest one pauses up to ten seconds between
two tries that fail."""
LINES_BURST: Final = 20
LINES_PER_S: Final = 0.05
"""Lines of the log that a ship may cause, and all strangers together."""


class _Known:
    """A ship that was let in. There are no more of these than ships that this mux has launched.

    Args:
        key: the one that is bound to it.
        now: seconds.
    """

    def __init__(self, key: str, now: float) -> None:
        self.key = key
        self.dials = Allowance(DIALS_BURST, DIALS_PER_S, now)
        self.lines = Allowance(LINES_BURST, LINES_PER_S, now)


class ControlEndpoint:
    """Serves the links of all ships.

    Args:
        keys: checks join tokens.
        post: takes an event for the core; never blocks.
        render: turns desired states into messages.
        server_certificate_sha256: of the listener's leaf certificate, 64 hex digits.
        heartbeat_s: how often a ship is to report.
        logins: gives the logins of image registries that ships pull with, as they are now.
        files: whether ships get a token for the file endpoint.
        pending_max: bound of undecided links.
    """

    def __init__(
        self,
        *,
        keys: Keyring,
        post: Callable[[Event], None],
        render: DesiredRenderer,
        server_certificate_sha256: str,
        heartbeat_s: float,
        logins: Callable[[], Sequence[RegistryLogin]] = tuple,
        files: bool = False,
        pending_max: int = PENDING_MAX,
    ) -> None:
        self._keys = keys
        self._post = post
        self._render = render
        self._server_certificate_sha256 = server_certificate_sha256
        self._heartbeat_s = heartbeat_s
        self._logins = logins
        self._files = files
        self._pending_max = pending_max
        self._ids = itertools.count(1)
        self._links: dict[LinkId, _Link] = {}
        self._tokens: dict[str, _Link] = {}
        self._known: dict[ShipId, _Known] = {}
        self._strangers = Allowance(LINES_BURST, LINES_PER_S, 0.0)
        self._closing = False

    def routes(self) -> list[web.RouteDef]:
        """What the daemon mounts on the control listener."""
        return [web.get(PATH, self._handle)]

    async def carry_out(self, command: AcceptLink | RefuseLink | CloseLink | SendDesired) -> None:
        """An effect of the core's. A link that has ended meanwhile is no error: its `LinkLost` is on the way."""
        link = self._links.get(command.link)
        if link is None or link.ship != command.ship:
            return
        match command:
            case AcceptLink():
                if (known := self._known.get(command.ship)) is None or known.key != link.key:
                    self._known[command.ship] = _Known(link.key, link.now())
                link.accept(self._token(link) if self._files else "")
                if logins := self._logins():
                    link.send_logins(rendered_logins(logins))
            case RefuseLink():
                link.refuse(command.code, clean_text(command.reason, chars_max=REASON_CHARS_MAX), retry=command.retry)
            case CloseLink():
                link.close("closed", "the mux closed the link")
            case SendDesired():
                try:
                    link.send_desired(self._render(command.ship, command.desired))
                except ValidationError as error:
                    # Its own text would quote values, and secrets are among them.
                    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
                    where = ".".join(str(part) for part in first["loc"])
                    log.error("desired cannot be sent", ship=command.ship, field=where, fault=first["type"])
                except CodecError as error:
                    log.error("desired cannot be sent", ship=command.ship, fault=error.code, detail=error.detail)

    def ship_of(self, files_token: str) -> ShipId | None:
        """The ship that a token for the file endpoint was given to; None once that link has ended."""
        link = self._tokens.get(_hash(files_token))
        return link.ship if link is not None else None

    def _token(self, link: _Link) -> str:
        token = secrets.token_hex(32)
        link.token_hash = _hash(token)
        self._tokens[link.token_hash] = link
        return token

    def tell_logins(self) -> None:
        """The logins of image registries are others now: every ship that is linked is told."""
        message = rendered_logins(self._logins())
        for link in self._links.values():
            link.send_logins(message)

    async def close(self) -> None:
        """End every link and take no new one. Returns within about CLOSE_S."""
        self._closing = True
        links = list(self._links.values())
        for link in links:
            link.close("stopping", "the mux is stopping")
        for link in links:
            await link.ended.wait()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self._closing or not self._room():
            raise web.HTTPServiceUnavailable(text="The mux takes no further links right now. Dial again.\n")
        websocket = web.WebSocketResponse(
            heartbeat=PING_S,
            autoping=False,  # pings of the other side are answered at the pace of its messages
            timeout=CLOSE_S,
            max_msg_size=MESSAGE_BYTES_MAX,
            compress=False,  # nothing to unpack: a small frame cannot become a large one
        )
        link = _Link(LinkId(next(self._ids)), self, request, websocket)
        self._links[link.id] = link
        try:
            await websocket.prepare(request)
            await link.run()
        finally:
            del self._links[link.id]
            self._tokens.pop(link.token_hash, None)
            link.ended.set()
            if link.ship is not None:
                self._post(LinkLost(link.ship, link.id))
        return websocket

    def _room(self) -> bool:
        """Whether one more undecided link fits; a silent one of the address with most of them makes room if need be."""
        pending = [link for link in self._links.values() if link.pending]
        if len(pending) < self._pending_max:
            return True
        silent = [link for link in pending if link.ship is None]
        if not silent:
            return False
        # An honest ship says Hello within milliseconds: who has been silent the longest is the least likely to.
        most, _ = Counter(link.address for link in silent).most_common(1)[0]
        next(link for link in silent if link.address == most).abort()
        return True

    def dialed(self, link: _Link, event: protocol.Dialed) -> None:
        """A Hello that is signed for its connection; the core decides."""
        hello = event.hello
        ship = ShipId(hello.ship)
        known = self._known.get(ship)
        if known is not None and known.key == hello.public_key and not known.dials.take(link.now()):
            link.refuse("too_often", f"a ship may dial {1 / DIALS_PER_S:g} s apart at most", retry=True)
            return
        link.ship, link.key = ship, hello.public_key
        token_ok = self._keys.join_token_ok(ship, hello.join_token)
        log.debug("ship dialed", ship=ship, link=link.id, token_ok=token_ok)
        self._post(ShipDialed(ship, link.id, hello.public_key, hello.boot, token_ok))

    def reported(self, link: _Link, event: protocol.Reported) -> None:
        """A report over an accepted link."""
        if link.ship is not None:
            self._post(ShipReported(link.ship, link.id, ship_report(event.observed)))

    def may_log(self, link: _Link) -> bool:
        """Whether what a link has brought about is one more line."""
        known = self._known.get(link.ship) if link.ship is not None else None
        lines = known.lines if known is not None and known.key == link.key else self._strangers
        return lines.take(link.now())

    def new_end(self, now: float) -> protocol.MuxEnd:
        """The mux's end of a new connection."""
        return protocol.MuxEnd(
            secrets.token_hex(32), self._heartbeat_s, self._server_certificate_sha256, _signature_ok, now
        )


class _Link:
    """One connection: a task that reads, one that keeps time and writes."""

    def __init__(
        self, link: LinkId, endpoint: ControlEndpoint, request: web.Request, websocket: web.WebSocketResponse[bool]
    ) -> None:
        self.id = link
        self.ship: ShipId | None = None
        self.key = ""
        self.token_hash = ""
        self.ended = asyncio.Event()
        self._endpoint = endpoint
        self.address = address_key(request.remote or "")
        self._request = request
        self._websocket = websocket
        self._loop = asyncio.get_running_loop()
        self._end = endpoint.new_end(self._loop.time())
        self._wake = asyncio.Event()
        self._closed = False
        self._logged: set[str] = set()

    @property
    def pending(self) -> bool:
        """Not decided yet."""
        return self._end.state in (protocol.State.GREETING, protocol.State.DECIDING)

    def now(self) -> float:
        """Of the loop's clock, in seconds."""
        return self._loop.time()

    def accept(self, files_token: str) -> None:
        show(self._request)
        self._end.accept(files_token)
        self._wake.set()

    def refuse(self, code: str, reason: str, *, retry: bool) -> None:
        self._act(self._end.refuse(code, reason, retry=retry))
        self._wake.set()

    def close(self, code: str, reason: str) -> None:
        self._act(self._end.close(code, reason))
        self._wake.set()

    def send_desired(self, desired: Desired) -> None:
        self._end.send_desired(desired)
        self._wake.set()

    def send_logins(self, logins: RegistryLogins) -> None:
        self._end.send_logins(logins)
        self._wake.set()

    def abort(self) -> None:
        """End the connection without a word."""
        self._act(self._end.close("aborted", "the connection was dropped"))
        self._wake.set()
        if self._request.transport is not None:
            self._request.transport.abort()

    async def run(self) -> None:
        """Returns when the link has ended, whatever ended it."""
        try:
            await self._pump()
            async with asyncio.timeout(CLOSE_S):
                await self._websocket.close()
        except Exception as error:
            # One link's failure, of whatever kind, stays its own.
            self._fail(error)

    async def _pump(self) -> None:
        name = f"link {self.id}"
        tasks = [
            asyncio.create_task(self._read(), name=f"{name} read"),
            asyncio.create_task(self._write(), name=f"{name} write"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _read(self) -> None:
        async for message in self._websocket:
            if message.type in (WSMsgType.PING, WSMsgType.PONG):
                self._end.count(len(message.data), self._loop.time())
                if message.type is WSMsgType.PING:
                    async with asyncio.timeout(SEND_S):
                        await self._websocket.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self._act(self._end.receive(message.data, self._loop.time()))
                self._wake.set()
            if self._closed:
                await asyncio.Event().wait()  # the writer sends what is left and ends the link
            if pause_s := self._end.pause_s():
                await asyncio.sleep(pause_s)

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
            try:
                async with asyncio.timeout_at(self._end.next_deadline()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _act(self, events: Sequence[protocol.Event]) -> None:
        for event in events:
            match event:
                case protocol.Dialed():
                    self._endpoint.dialed(self, event)
                case protocol.Reported():
                    self._endpoint.reported(self, event)
                case protocol.BadMessage(code, detail):
                    self._log_once("bad message from a ship", code, detail)
                case protocol.PassedOver(detail):
                    self._log_once("a message of a newer ship was passed over", "unknown", detail)
                case protocol.PeerComplained(code, detail):
                    self._log_once("a ship could not read a message", code, clean_text(detail, chars_max=200))
                case protocol.Closed(code, reason):
                    self._closed = True
                    log.debug("link closed", link=self.id, ship=self.ship, code=code, reason=reason)

    def _log_once(self, event: str, code: str, detail: str) -> None:
        """Once for each link and code, and not too often: a ship that repeats itself does not fill the log."""
        if code not in self._logged and self._endpoint.may_log(self):
            self._logged.add(code)
            log.warning(event, link=self.id, ship=self.ship, code=code, detail=detail)

    def _fail(self, error: Exception) -> None:
        """The connection broke or would not take what it was sent: let go of it at once."""
        match error:
            case TimeoutError() if not self._closed:
                self._log_once("ship reads too slowly", "slow_reader", f"a message did not leave within {SEND_S:g} s")
            case OSError():
                log.debug("connection lost", link=self.id, ship=self.ship, error=type(error).__name__)
            case _:
                log.error("link failed", link=self.id, ship=self.ship, exc_info=error)
        self.abort()


def _hash(token: str) -> str:
    """What a token is found by: looking it up tells nothing of it through time."""
    return hashlib.sha256(token.encode()).hexdigest()


def _signature_ok(public_key: bytes, payload: bytes, signature: bytes) -> bool:
    """Ed25519 (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, payload)
    except (InvalidSignature, ValueError):
        return False
    return True
