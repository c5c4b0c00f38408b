"""An admin API on real listeners, a real store and real tokens; the engine is a fake that keeps what it is told."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from mux.auth.tokens import ApiTokens, TokenRefusedError
from mux.core.events import Event
from mux.core.files import FilesView
from mux.core.fleet import Fleet
from mux.core.model import Doors, HeldImage, ProjectName, ProjectSpec, Resources, ShipId, ShipState, UserId
from mux.core.rollout_views import RolloutView, rollout_views
from mux.core.spend import SpendSpec
from mux.core.views import FleetStatus, SeatView, ShipView
from mux.core.warming_views import Forecast, WarmingView, forecast, warming_view
from mux.files.directory import DirectoryStore
from mux.keys import Keyring
from mux.store.sql import SqlStore, sqlite_url
from mux.web.admin_api import admin_api
from mux.web.admin_api_deps import AdminDeps, ApplyError, Plan, PushedImage, PushError, Reaping, SecretValues
from mux.web.admin_api_socket import serve_admin_socket
from mux.web.api_models import Change
from tests.admin.roster import REFUSALS, make_roster
from tests.core.room import event_spec

NOW = 1_800_000_000.0
SHIP = ShipId("ship-0001")
HOSTILE = "<script>\x1b[31mred</script>"


def ship_view(ship: ShipId = SHIP, user: UserId | None = None) -> ShipView:
    """One ship with two seats, the first of them ``user``'s; its phase is what a hostile ship may say."""
    return ShipView(
        id=ship,
        state=ShipState.RUNNING,
        boot=1,
        linked=True,
        conditions=("cordoned",),
        phase=HOSTILE,
        generation=3,
        generation_reached=3,
        last_seen_s=NOW - 1,
        resources=Resources(cpus=2, memory_total_bytes=1 << 33),
        limits=("memory",),
        limits_missing=("pids",),
        kept_of=(UserId("eve"),),
        seats=(
            SeatView(0, user, True, {ProjectName("intro"): "bound"}, {}),
            SeatView(1, None, True, {ProjectName("intro"): "warm"}, {ProjectName("deep"): "exited 1\nboom\x07"}),
        ),
    )


def room(*ships: ShipView) -> FleetStatus:
    """A room with these ships."""
    return FleetStatus(
        event="my-workshop",
        doors=Doors.AUTO,
        doors_open=True,
        launching=False,
        launching_text="paused by an organizer",
        seats_wanted=4,
        seats_total=2 * len(ships),
        seats_ready=1,
        seats_assigned=1,
        waiting=0,
        sessions=1,
        ships_by_state={ShipState.RUNNING: len(ships)},
        projects_broken={ProjectName("deep"): "exited 1"},
        opt_ins={ProjectName("deep"): ("root", "CAP_SYS_PTRACE")},
        ships=ships,
        notices=((NOW, "warning", "ship-0001", "a notice"),),
    )


class FakeEngine:
    """Keeps events; shows the room that the test sets."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.room = room(ship_view())
        spend = SpendSpec(price_micros=250_000, limit=10.0, hours=8.0)
        self.fleet = Fleet.restored(replace(event_spec(attendees=4), spend=spend), NOW)
        self.error: Exception | None = None
        self.work: dict[UserId, tuple[FilesView, ...]] = {}

    def status(self, now: float) -> FleetStatus:
        return self.room

    def warming(self, now: float) -> WarmingView:
        return warming_view(self.fleet.world, now)

    def forecast(self, now: float, seats: int | None, by: float) -> Forecast:
        return forecast(self.fleet.world, now, 4 if seats is None else seats, by)

    def rollouts(self) -> tuple[RolloutView, ...]:
        return rollout_views(self.fleet.world)

    def files(self, user: UserId) -> tuple[FilesView, ...]:
        return self.work.get(user, tuple(FilesView(spec.name) for spec in self.projects()))

    def projects(self) -> tuple[ProjectSpec, ...]:
        return self.fleet.world.spec.projects

    async def submit(self, *events: Event) -> None:
        if self.error is not None:
            raise self.error
        self.events += events


class FakeImages:
    """Three images that are there, one of 4 TiB, one a directory of 4 GiB; `resolve` of any other is refused."""

    async def resolve(self, project: ProjectName, image: str, held: Sequence[HeldImage]) -> PushedImage:
        if image == "directory":
            return PushedImage("/images/directory", "sha256:" + "d" * 64, 4 << 30, packed=False)
        if image not in {"fix", "huge"}:
            raise PushError("image_invalid", f"the image cannot be pushed: there is no {image}")
        return PushedImage("/images/fix", "sha256:" + "f" * 64, 1 << 42 if image == "huge" else None)


class FakeApplier:
    """Plans one change; in force is what was applied last. The real one has tests of its own."""

    def __init__(self) -> None:
        self.applied: list[tuple[str, SecretValues | None]] = []
        self.plan_id = "0" * 64

    async def plan(self, text: str, secrets: SecretValues | None) -> Plan:
        if text == "wrong":
            raise ApplyError("event_invalid", "the event file is refused", ["fleet.attendees: found 0", "two"])
        changes = () if text == "same" else (Change(key="fleet.attendees", before="4", after="8", effect="2 more"),)
        return Plan(self.plan_id, changes, ("a warning",), first=False)

    async def apply(self, text: str, secrets: SecretValues | None, expected: str) -> Plan:
        plan = await self.plan(text, secrets)
        if expected != self.plan_id:
            raise ApplyError("plan_stale", "what is in force changed")
        self.applied.append((text, secrets))
        return plan


@dataclass(slots=True)
class Answer:
    """One answer of the API."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


class Admin:
    """A running API: on a Unix socket and on TCP."""

    def __init__(self, deps: AdminDeps, engine: FakeEngine, store: SqlStore, socket: Path) -> None:
        self.deps = deps
        self.engine = engine
        self.store = store
        self.socket = socket
        self.port = 0
        self.clock = NOW

    async def local(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """A request over the Unix socket; ``body`` is sent as JSON."""
        connector = aiohttp.UnixConnector(str(self.socket))
        return await self._ask(connector, "http://localhost", method, path, body, **options)

    async def remote(self, method: str, path: str, body: Any = None, *, token: str = "", **options: Any) -> Answer:
        """A request over TCP, with a token if there is one."""
        headers = {**options.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        connector = aiohttp.TCPConnector()
        url = f"http://127.0.0.1:{self.port}"
        return await self._ask(connector, url, method, path, body, headers=headers, **options)

    async def _ask(
        self, connector: aiohttp.BaseConnector, base: str, method: str, path: str, body: Any, **options: Any
    ) -> Answer:
        if method == "POST" and "data" not in options:
            options["json"] = {} if body is None else body
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(method, f"{base}/api/v1{path}", allow_redirects=False, **options) as response,
        ):
            return Answer(response.status, response.headers, (await response.read()).decode(errors="replace"))

    async def raw(self, request: bytes) -> bytes:
        """Bytes over TCP, and the head and body of the one answer that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = re.findall(rb"\r\nContent-Length: (\d+)\r\n", head)
        body = await reader.readexactly(int(length))
        writer.close()
        return head + body


class FakeReaper:
    """Begins to reap when asked, and is done when it is next looked at."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.error = ""

    async def begin(self, *, foreign: bool) -> Reaping:
        self.asked.append(foreign)
        return Reaping(running=True)

    def state(self) -> Reaping:
        return Reaping(running=False, machines=3, things=1, foreign=2, error=self.error)


_migrated: dict[str, bytes] = {}
"""An empty database of the newest schema: made once, since migrating is half of such a test's time."""


async def open_store(directory: Path) -> SqlStore:
    """An empty store."""
    path = directory / "mux.db"
    if "database" not in _migrated:
        first = SqlStore(sqlite_url(path), clock=lambda: NOW)
        await first.open()
        await first.close()
        _migrated["database"] = path.read_bytes()
    path.write_bytes(_migrated["database"])
    store = SqlStore(sqlite_url(path), clock=lambda: NOW)
    await store.open()
    return store


@asynccontextmanager
async def running_admin(directory: Path, **changes: Any) -> AsyncIterator[Admin]:
    """An API whose deps have ``changes``, until the block ends."""
    engine, keys, store = FakeEngine(), Keyring(b"k" * 32), await open_store(directory)
    files = DirectoryStore(directory / "files", 64 << 20)
    await files.open()
    deps = replace(
        AdminDeps(
            engine=engine,
            store=store,
            roster=make_roster(store, keys),
            tokens=ApiTokens(store, keys),
            applier=FakeApplier(),
            images=FakeImages(),
            reaper=FakeReaper(),
            files=files,
            clock=lambda: admin.clock,
            metrics=lambda: "# TYPE mux_up gauge\nmux_up 1\n",
            version="0.0.1",
            public_address="http://localhost:8000",
            refusals=(TokenRefusedError, *REFUSALS),
        ),
        **changes,
    )
    admin = Admin(deps, engine, store, directory / "run" / "admin.sock")
    unix = await serve_admin_socket(deps, admin.socket)
    app = web.Application()
    app.add_routes(admin_api(deps, trusted=False))
    tcp = web.AppRunner(app, access_log=None)
    await tcp.setup()
    site = web.TCPSite(tcp, "127.0.0.1", 0)
    await site.start()
    admin.port = tcp.addresses[0][1]
    try:
        yield admin
    finally:
        await tcp.cleanup()
        await unix.cleanup()
        await store.close()


async def token_for(admin: Admin, *scopes: str) -> str:
    """A token with these scopes."""
    return await ApiTokens(admin.store, Keyring(b"k" * 32)).mint("-".join(["t", *scopes]), scopes, NOW)
