"""A control endpoint on loopback with real TLS, a core in a few lines behind it, and ships that behave or do not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mux.config.registry_logins import RegistryLogin
from mux.control.ca import ControlCa, ServerTls
from mux.control.endpoint import PENDING_MAX, ControlEndpoint
from mux.control.files import FilesEndpoint
from mux.control.render import DesiredRenderer
from mux.control.strangers import Strangers, counted
from mux.core.commands import AcceptLink, CloseLink, RefuseLink, SendDesired
from mux.core.events import Event, LinkLost, ShipDialed, ShipReported
from mux.core.model import Desired, LinkId, ProjectName, ShipId, UserId, WorkspaceId
from mux.core.views import Holder
from mux.files.base import FilesStore
from mux.files.directory import DirectoryStore
from mux.keys import Keyring
from mux.web.listener import serve
from ship_agent.join import Join
from ship_agent.protocol.codec import decode_from_mux
from ship_agent.protocol.messages import Challenge, Hello, Message, hello_payload

FILES_BYTES = 8 << 20
SHIP = ShipId("ship-0001")
OTHER = ShipId("ship-0002")

_E = TypeVar("_E", bound=Event)


def now() -> datetime:
    return datetime.now(UTC)


class Core:
    """Decides as the core does, as far as links go: binds the first key that has a good token, and remembers."""

    def __init__(self) -> None:
        self.endpoint: ControlEndpoint
        self.keys: dict[ShipId, str] = {}
        self.links: dict[ShipId, LinkId] = {}
        self.notices: list[str] = []
        self.events: list[Event] = []
        self.decides = True
        self.refuse_with: RefuseLink | None = None
        self._news = asyncio.Condition()
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()

    def post(self, event: Event) -> None:
        self._inbox.put_nowait(event)

    async def run(self) -> None:
        while True:
            event = await self._inbox.get()
            if isinstance(event, ShipDialed) and self.decides:
                await self._decide(event)
            if isinstance(event, LinkLost) and self.links.get(event.ship) == event.link:
                del self.links[event.ship]
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    async def _decide(self, event: ShipDialed) -> None:
        bound = self.keys.get(event.ship)
        if self.refuse_with is not None:
            refusal, self.refuse_with = self.refuse_with, None
            await self._refuse(event, refusal.code, retry=refusal.retry)
        elif bound is None and not event.token_ok:
            await self._refuse(event, "bad_token", retry=False)
        elif bound is not None and bound != event.key:
            self.notices.append(f"second claimant of {event.ship}")
            await self._refuse(event, "key_mismatch", retry=False)
        else:
            self.keys[event.ship] = event.key
            if (older := self.links.get(event.ship)) is not None:
                await self.endpoint.carry_out(CloseLink(event.ship, older))
            self.links[event.ship] = event.link
            await self.endpoint.carry_out(AcceptLink(event.ship, event.link))

    async def _refuse(self, event: ShipDialed, code: str, *, retry: bool) -> None:
        await self.endpoint.carry_out(RefuseLink(event.ship, event.link, code, f"refused: {code}", retry))

    def of(self, kind: type[_E], ship: ShipId | None = None) -> list[_E]:
        return [
            event for event in self.events if isinstance(event, kind) and ship in (None, getattr(event, "ship", None))
        ]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(condition)

    async def seen(self, kind: type[_E], ship: ShipId | None = None, count: int = 1) -> _E:
        """The ``count``-th event of a kind, once it is there."""
        await self.until(lambda: len(self.of(kind, ship)) >= count)
        return self.of(kind, ship)[count - 1]

    async def reports(self, ship: ShipId, more: int = 1) -> None:
        """Wait for further reports of a ship."""
        await self.seen(ShipReported, ship, len(self.of(ShipReported, ship)) + more)


class Mux:
    """The control listener, which can be stopped and started again on the same port."""

    def __init__(self, directory: Path, *, gives_files: bool = False) -> None:
        self.gives_files = gives_files
        self.ca = ControlCa.open(directory / "ca", now())
        self.files: FilesStore = DirectoryStore(directory / "files", FILES_BYTES)
        self.holders: dict[tuple[ShipId, WorkspaceId, str], Holder] = {}
        self.keys = Keyring(b"k" * 32)
        self.core = Core()
        self.secrets: dict[str, str] = {}
        self.logins: tuple[RegistryLogin, ...] = ()
        self.tls: ServerTls
        self.endpoint: ControlEndpoint
        self.files_endpoint: FilesEndpoint
        self.port = 0
        self.strangers: Strangers
        self._serving: AsyncExitStack | None = None
        self._task = asyncio.create_task(self.core.run(), name="core")

    async def start(
        self,
        *,
        names: tuple[str, ...] = ("127.0.0.1",),
        issued: datetime | None = None,
        heartbeat_s: float = 5.0,
        pending_max: int = PENDING_MAX,
        strangers: Strangers | None = None,
    ) -> None:
        self.strangers = Strangers(asyncio.get_running_loop().time) if strangers is None else strangers
        self.tls = self.ca.issue(names, issued or now())
        self.endpoint = self.core.endpoint = ControlEndpoint(
            keys=self.keys,
            post=self.core.post,
            render=DesiredRenderer(self.keys, "camp", self._secrets_for),
            server_certificate_sha256=self.tls.sha256,
            heartbeat_s=heartbeat_s,
            logins=lambda: self.logins,
            files=self.gives_files,
            pending_max=pending_max,
        )
        await self.files.open()
        files = self.files_endpoint = FilesEndpoint(
            self.files, self.endpoint.ship_of, lambda *of: self.holders.get(of), lambda: now().timestamp()
        )
        application = web.Application()
        application.add_routes(self.endpoint.routes())
        application.add_routes(files.routes())
        counted(application, self.strangers)
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._serving = AsyncExitStack()
        await serve(
            application, listener, self._serving, shutdown_s=1.0, tls=self.tls.context, strangers=self.strangers
        )

    async def stop(self) -> None:
        if self._serving is not None:
            await self.endpoint.close()
            await self._serving.aclose()
            self._serving = None

    async def close(self) -> None:
        await self.stop()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _secrets_for(self, project: ProjectName, user: UserId | None) -> Mapping[str, str]:
        return self.secrets

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.port}/control"

    def join(self, ship: ShipId = SHIP, **fields: str) -> Join:
        given = {
            "ship": ship,
            "event": "camp",
            "control_url": self.url,
            "ca_pem": self.ca.pem,
            "join_token": self.keys.join_token(ship),
            "runtime": "process",
            "boot": "boot-1",
        }
        return Join(**{**given, **fields})

    async def send(self, ship: ShipId, desired: Desired) -> None:
        await self.endpoint.carry_out(SendDesired(ship, self.core.links[ship], desired))


class RawShip:
    """A connection that says what a test wants it to say."""

    def __init__(self, mux: Mux, session: aiohttp.ClientSession) -> None:
        self._mux = mux
        self._session = session
        self.key = Ed25519PrivateKey.generate()
        self.autoping = True
        self.websocket: aiohttp.ClientWebSocketResponse

    async def connect(self) -> RawShip:
        context = ssl.create_default_context(cadata=self._mux.ca.pem)
        self.websocket = await self._session.ws_connect(
            self._mux.url, ssl=context, max_msg_size=0, autoping=self.autoping
        )
        return self

    async def receive(self) -> Message:
        """The next message; fails when the link has ended."""
        return decode_from_mux((await self.websocket.receive()).data)

    def hello(self, challenge: Challenge, ship: ShipId = SHIP, **fields: str) -> Hello:
        """An honest Hello, but for ``fields``."""
        certificate = self.websocket.get_extra_info("ssl_object").getpeercert(binary_form=True)
        claims = {"ship": ship, "boot": "boot-1", "join_token": self._mux.keys.join_token(ship), **fields}
        payload = hello_payload(
            nonce=challenge.nonce,
            server_certificate_sha256=hashlib.sha256(certificate).hexdigest(),
            ship=claims["ship"],
            boot=claims["boot"],
            join_token=claims["join_token"],
        )
        given: dict[str, Any] = {
            "public_key": self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex(),
            "signature": self.key.sign(payload).hex(),
            "agent_version": "raw",
            "runtime": "process",
        }
        return Hello(**{**given, **claims})

    async def link(self, ship: ShipId = SHIP, **fields: str) -> Message:
        """Through the handshake; the mux's answer."""
        await self.connect()
        challenge = await self.receive()
        assert isinstance(challenge, Challenge)
        await self.say(self.hello(challenge, ship, **fields))
        return await self.receive()

    async def say(self, message: Message) -> None:
        await self.websocket.send_str(message.model_dump_json())

    async def ended(self) -> None:
        """Wait for the other side to end the connection."""
        async for _ in self.websocket:
            pass


def as_json(message: Message) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(message.model_dump_json())
    return raw
