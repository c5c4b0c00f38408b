"""The control process: every part built, wired, started, and stopped in order.

Order of start: keys, store, core, publisher, control endpoint, provider, engine, pages. Order of stop: no new requests,
the fleet parked if so asked, the engine, the links, the store. Agents, workspaces and proxies go on without it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from mux import __version__
from mux.auth.login import Auth
from mux.auth.roster import Roster, RosterRefusedError
from mux.auth.roster_csv import RosterFaultsError
from mux.auth.sessions import session_cookie
from mux.auth.settings import AuthSettings
from mux.auth.tokens import ApiTokens, TokenRefusedError
from mux.config import ConfigError, EventFile, Secrets, parse, read_passcode, to_spec
from mux.control.awaited import Awaited
from mux.control.boot import BootEndpoint
from mux.control.bundle import BundleEndpoint
from mux.control.ca import CaError, ControlCa, ServerTls
from mux.control.endpoint import ControlEndpoint
from mux.control.files import FilesEndpoint
from mux.control.render import DesiredRenderer
from mux.control.strangers import Strangers, counted
from mux.core.commands import SendDesired
from mux.core.events import AttendeesActive, Event, FleetParked, FleetUnparked, PathsReported
from mux.core.feed import FeedSettings, Paths
from mux.core.fleet import Fleet
from mux.core.model import LANDINGS, ProjectName, ShipId, ShipState, UserId
from mux.daemon.clock import SteadyClock
from mux.daemon.errors import EXIT_CONFIG, EXIT_FAILURE, StartError
from mux.daemon.files import files_store
from mux.daemon.https import Https
from mux.daemon.machines import control_names, provider_of
from mux.daemon.people import SecretsInForce
from mux.daemon.prepare import open_keys, open_store
from mux.daemon.quarantine import QuarantineFile
from mux.daemon.reaping import Reaper
from mux.daemon.registry_logins import LoginsInForce
from mux.effects import Effects, Words
from mux.engine import Engine, EngineBusyError
from mux.files.base import FilesStoreError
from mux.keys import Keyring
from mux.metrics import metrics_text
from mux.providers.agent_bundle import AgentBundle, BundleError, agent_bundle
from mux.providers.base import LaunchOrder, Provider, ProviderError
from mux.publisher import Publisher
from mux.store.sql import SqlStore
from mux.web.admin_api import admin_api
from mux.web.admin_api_deps import AdminDeps
from mux.web.admin_api_socket import ADMIN_SOCKET, SocketPathError, serve_admin_socket
from mux.web.applying import EventApplier
from mux.web.attendee import attendee_app
from mux.web.deps import WebDeps
from mux.web.listener import serve
from mux.web.organizer import browser_scopes, organizer_app
from mux.web.pushing import ImageAsker

log = structlog.get_logger(__name__)

PARK_S = 90.0
"""How long parking a fleet may take when the mux stops; what is not parked by then is found by the next start."""
CONTROL_CONNECTIONS_MAX = 5_000
"""Of the control listener: several times the largest fleet, since a ship that returns may leave a dead link behind."""
ADMIN_CONNECTIONS_MAX = 1_000
"""Of the organizers' listener: a browser opens six and a socket for each page; programs a few."""
STOP_REQUESTS_S = 3.0
"""How long requests under way may take when the mux stops."""
PROXIES_S = 10.0
"""How long proxies may take to connect and to have a change of their settings, where somebody waits for it."""
LET_GO_S = 15.0
"""How long the parts may take to stop after the engine has failed; the next process has to wait for that."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """Listening sockets that the supervisor owns.

    Args:
        admin: TCP, for organizers.
        control: TCP, for ships.
        feed: Unix, for proxies.
        web: Unix, for attendees' pages behind the proxies.
    """

    admin: socket.socket
    control: socket.socket
    feed: socket.socket
    web: socket.socket


async def run(base: Path, data: Path, sockets: Sockets, environ: Mapping[str, str], *, park_on_exit: bool) -> None:
    """Run the control process until SIGTERM or SIGINT, or until its supervisor is gone, which it hears by SIGHUP.

    Args:
        base: directory that relative paths of the event file start at, absolute.
        data: the data directory.
        sockets: to serve on.
        environ: ``MUX_…`` variables are read from it.
        park_on_exit: unpark the fleet now, and park it before the end. Not where the supervisor was killed: nobody has
            asked for a stop then, people work on, and the next start finds them.

    Raises StartError, and whatever a part cannot go on from.
    """
    control = await Control.built(base, data, environ)
    async with AsyncExitStack() as stack:
        await control.start(sockets, stack)
        if park_on_exit:
            control.engine.post(FleetUnparked())
        stop, orphaned = asyncio.Event(), asyncio.Event()
        for number, events in (
            (signal.SIGTERM, [stop]),
            (signal.SIGINT, [stop]),
            (signal.SIGHUP, [orphaned, stop]),
        ):
            asyncio.get_running_loop().add_signal_handler(number, _set, events)
        engine = asyncio.create_task(control.engine.run(), name="engine")
        stopping = asyncio.create_task(stop.wait(), name="stop request")
        try:
            await asyncio.wait({engine, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if park_on_exit and not engine.done() and not orphaned.is_set():
                await control.park()
            if engine.done():
                # Going on from the store matters more than letting go in order: a part that hangs must not hold it up.
                last_resort = threading.Timer(LET_GO_S, os._exit, [EXIT_FAILURE])
                last_resort.daemon = True
                last_resort.start()
                engine.result()
        finally:
            engine.cancel()
            stopping.cancel()
            await asyncio.gather(engine, stopping, return_exceptions=True)


def _set(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()


class Control:
    """The parts of a control process."""

    def __init__(self, store: SqlStore, keys: Keyring, file: EventFile, data: Path, environ: Mapping[str, str]) -> None:
        self.store = store
        self.keys = keys
        self.file = file
        self.data = data
        self.clock = SteadyClock()
        self.engine: Engine
        self.auth: Auth
        self.publisher: Publisher
        self.endpoint: ControlEndpoint
        self.provider: Provider
        self.logins = LoginsInForce(lambda: self.file, environ, self._tell_logins)
        self.bundle: AgentBundle | None = None
        self.files = files_store(file, data, self.clock)
        self.effects: Effects
        self.reaper: Reaper
        self.secrets: SecretsInForce
        self.tls: ServerTls
        self.https: Https
        self.attendees: web.Application
        self.organizers: web.Application
        self.admin: AdminDeps

    @classmethod
    async def built(cls, base: Path, data: Path, environ: Mapping[str, str]) -> Control:
        """Every part, nothing started. Raises StartError."""
        keys = open_keys(data)
        store = await open_store(data)
        text = await store.applied()
        if text is None:
            raise StartError("no event file is in force; start mux with `mux serve`", EXIT_CONFIG)
        try:
            file = parse(text, base=base, environ=environ, files=False)
        except ConfigError as error:
            raise StartError(str(error), EXIT_CONFIG) from error
        control = cls(store, keys, file, data, environ)
        await control._build_fleet()
        control._build_web(environ)
        return control

    async def _build_fleet(self) -> None:
        file, now = self.file, self.clock()
        records = await self.store.load(now)
        fleet = Fleet.restored(
            to_spec(file, await self.store.digests()),
            now,
            ships=records.ships,
            assignments=records.assignments,
            epochs=records.epochs,
            sessions=records.sessions,
            waiting=records.waiting,
            controls=records.controls,
            meter=records.meter,
            rolling=records.rollouts,
            wishes=records.wishes,
            behind=records.behind,
        )
        self.secrets = SecretsInForce(self.store, await self.store.secrets())
        self.https = Https(file, self.data, self.clock, self._tell_proxies)
        self.publisher = Publisher(
            self.keys.workspace_token,
            self.https.completed(feed_settings(file)),
            self._paths,
            self._active,
            self.clock,
        )
        names, port = control_names(file), file.listen.control.port
        try:
            ca = ControlCa.open(self.data / "ca", datetime.now(UTC))
            self.tls = ca.issue(names, datetime.now(UTC))
        except CaError as error:
            raise StartError(str(error)) from error
        # The control endpoint and the engine each post to the other; the engine comes last.
        self.endpoint = ControlEndpoint(
            keys=self.keys,
            post=self._post,
            render=DesiredRenderer(self.keys, file.event.name, self.secrets.of, self._restore_for),
            server_certificate_sha256=self.tls.sha256,
            heartbeat_s=file.fleet.heartbeat_s,
            logins=lambda: self.logins.logins,
            files=True,
        )
        try:
            await self.files.open()
        except FilesStoreError as error:
            raise StartError(str(error)) from error
        self.provider = provider_of(file, self.data, self.keys.store_id(), self._noticed)
        if self.provider.name != "local":
            try:
                self.bundle = await asyncio.to_thread(agent_bundle, self.data / "agent")
            except BundleError as error:
                raise StartError(str(error)) from error

        def order_for(ship: ShipId) -> LaunchOrder:
            url = f"wss://{names[0]}:{port}/control"
            token = self.keys.join_token(ship)
            bundle = self.bundle.sha256 if self.bundle else ""
            return LaunchOrder(ship, file.event.name, url, ca.pem, token, file.fleet.runtime, bundle)

        self.effects = Effects(self.provider, order_for, self._tell, self.clock, self.publisher)
        notes = QuarantineFile(self.data / "run" / "kept-out.json")
        self.engine = Engine(fleet, self.store, self.publisher, self.effects, self.clock, notes=notes)
        self.reaper = Reaper(self.provider, self.engine.submit)

    def _build_web(self, environ: Mapping[str, str]) -> None:
        file, base = self.file, self.file.base
        event = file.event
        passcode = read_passcode(file, base, environ)
        self.auth = Auth(self.store, self.keys, auth_settings(file, passcode))
        deps = WebDeps(
            engine=self.engine,
            auth=self.auth,
            store=self.store,
            keys=self.keys,
            event_name=event.shown_title,
            public_origin=event.public_address.origin,
            admin_origin=event.admin_address.origin,
            runtime=file.fleet.runtime,
            secure=secure(file),
            clock=self.clock,
            files=self.files,
            trusted_proxies=file.tls.trusted_proxies,
        )
        self.admin = AdminDeps(
            engine=self.engine,
            store=self.store,
            roster=Roster(self.store, self.keys, self.auth.passwords),
            tokens=ApiTokens(self.store, self.keys),
            reaper=self.reaper,
            files=self.files,
            applier=EventApplier(self.engine, self.store, base=base, environ=environ, applied=self._applied),
            images=ImageAsker(self.store, base, environ),
            clock=self.clock,
            metrics=self._metrics,
            version=__version__,
            public_address=event.public_address.origin,
            browser_scopes=browser_scopes(deps),
            certificates=lambda: self.https.keeper.statuses if self.https.keeper else (),
            time_zone=lambda: self.file.event.time_zone,
            refusals=(RosterFaultsError, RosterRefusedError, TokenRefusedError),
        )
        self.attendees = attendee_app(deps)
        self.organizers = organizer_app(deps, admin_api(self.admin, trusted=False))

    async def start(self, sockets: Sockets, stack: AsyncExitStack) -> None:
        """Start every part; ``stack`` stops them in the reverse order. Raises StartError."""
        stack.push_async_callback(self.store.close)
        stack.push_async_callback(self.files.close)
        await self._open_provider()
        stack.push_async_callback(self.provider.close)
        await self.publisher.serve(sockets.feed)
        stack.push_async_callback(self.publisher.close)
        stack.push_async_callback(self.reaper.close)
        self.effects.open(self._post)
        stack.push_async_callback(self.effects.close)
        if not await self.logins.fetch():
            log.warning("ships start without logins of image registries; they are asked for again")
        keeping = asyncio.create_task(self.logins.keep_fresh(), name="registry logins")
        stack.callback(keeping.cancel)
        strangers = Strangers(asyncio.get_running_loop().time)
        ships = web.Application()
        counted(ships, strangers)
        ships.add_routes(self.endpoint.routes())
        files = FilesEndpoint(self.files, self.endpoint.ship_of, self.engine.holder, self.clock)
        ships.add_routes(files.routes())
        if self.bundle is not None:
            awaited = Awaited(self.keys, self.engine.awaits)
            ships.add_routes(BundleEndpoint(self.bundle, awaited).routes())
            ships.add_routes(BootEndpoint(awaited, self.engine.submit).routes())
        await serve(
            ships,
            sockets.control,
            stack,
            shutdown_s=STOP_REQUESTS_S,
            connections_max=CONTROL_CONNECTIONS_MAX,
            tls=self.tls.context,
            strangers=strangers,
        )
        stack.push_async_callback(self.endpoint.close)
        try:
            runner = await serve_admin_socket(self.admin, self.data / ADMIN_SOCKET)
        except SocketPathError as error:
            raise StartError(str(error)) from error
        stack.push_async_callback(runner.cleanup)
        await serve(
            self.organizers,
            sockets.admin,
            stack,
            shutdown_s=STOP_REQUESTS_S,
            connections_max=ADMIN_CONNECTIONS_MAX,
            tls=None if self.https.organizers is None else self.https.organizers.listener,
        )
        await serve(self.attendees, sockets.web, stack, shutdown_s=STOP_REQUESTS_S)
        await self.https.start(stack)
        event = self.file.event
        addresses = {"attendees": str(event.public_address), "organizers": str(event.admin_address)}
        log.info("control process is up", event_name=event.name, **addresses)

    async def _open_provider(self) -> None:
        """A cloud that refuses to answer ends a first start. Where there are ships, people work there: mux goes on."""
        try:
            await self.provider.open()
        except ProviderError as error:
            if self.provider.name == "local" or not self.engine.status(self.clock()).ships:
                raise StartError(str(error)) from error
            log.error("machines cannot be listed; ships go on", error=str(error))

    async def park(self) -> None:
        """Park the fleet and wait until it is."""
        version = -1
        try:
            async with asyncio.timeout(PARK_S):
                await self.engine.submit(FleetParked())
                while not all(
                    ship.state in (ShipState.PARKED, ShipState.TERMINATED)
                    for ship in self.engine.status(self.clock()).ships
                ):
                    version = await self.engine.changed(version, PARK_S)
        except (TimeoutError, EngineBusyError):
            log.warning("the fleet cannot be parked in order; machines are stopped all the same")
            await self._stop_machines()

    async def _stop_machines(self) -> None:
        """Stop every machine without the core: the store cannot take its decision. The next start finds them."""
        try:
            machines = await self.provider.list()
        except ProviderError as error:
            log.error("machines cannot be listed", error=str(error))
            return
        results = await asyncio.gather(*(self.provider.park(ship) for ship in machines), return_exceptions=True)
        for ship, result in zip(machines, results, strict=True):
            if isinstance(result, Exception):
                log.warning("stopping a machine met trouble", ship=ship, error=str(result))

    def _post(self, event: Event) -> None:
        self.engine.post(event)

    def _paths(self, paths: Paths) -> None:
        # What is not taken in by a mux that is very busy is said again within seconds.
        with suppress(EngineBusyError):
            self.engine.post(PathsReported(paths.reached, paths.unreached))

    def _active(self, active: tuple[tuple[UserId, ProjectName], ...]) -> None:
        # Only rollouts ask who is idle; what is missed of it is said again.
        if self.engine.rollouts():
            with suppress(EngineBusyError):
                self.engine.post(AttendeesActive(active))

    async def _tell_proxies(self) -> None:
        """Have every proxy know what `Https` knows; those that start just now too."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PROXIES_S):
                while not self.publisher.proxies:  # noqa: ASYNC110 - a few times in a mux's life
                    await asyncio.sleep(0.05)
        self.publisher.set_settings(self.https.completed(feed_settings(self.file)))
        await self.publisher.settled(self.publisher.seq, PROXIES_S)

    def _restore_for(self, user: UserId, project: ProjectName) -> str:
        snapshot = self.files.latest(user, project)
        return snapshot.id if snapshot is not None else ""

    def _tell_logins(self) -> None:
        self.endpoint.tell_logins()

    def _noticed(self, event: Event) -> None:
        # What a provider notices is seen in its next listing too.
        with suppress(EngineBusyError):
            self.engine.post(event)

    async def _tell(self, words: Words) -> None:
        if isinstance(words, SendDesired):
            await self.secrets.know(w.user for w in words.desired.workspaces if w.user is not None)
        await self.endpoint.carry_out(words)

    def _metrics(self) -> str:
        return metrics_text(self.engine.status(self.clock()), self.publisher.proxies, self.publisher.counters())

    async def _applied(self, file: EventFile, secrets: Mapping[ProjectName, Any]) -> None:
        self.file = file
        self.auth.configure(auth_settings(file, self.auth.settings.passcode))
        applied: Secrets = secrets
        self.secrets.replace(applied)
        self.publisher.set_settings(self.https.completed(feed_settings(file)))
        self.logins.fetch_again()
        self.files.attendee_bytes_max = file.files.attendee_max


def feed_settings(file: EventFile) -> FeedSettings:
    """What proxies must know of an event file."""
    event = file.event
    return FeedSettings(
        public_origin=event.public_address.origin,
        session_cookie=session_cookie(secure(file)),
        event_name=event.shown_title,
        projects=tuple(ProjectName(project.name) for project in file.projects),
        landings=frozenset(ProjectName(project.name) for project in file.projects if project.kind in LANDINGS),
        swap_hold_s=file.rollout.swap_hold_s,
    )


def auth_settings(file: EventFile, passcode: str | None) -> AuthSettings:
    """What auth must know of an event file."""
    return AuthSettings(
        passcode=passcode if file.auth.mode == "passcode" else None,
        session_hours=file.auth.session_hours,
        organizer_session_hours=file.auth.organizer_session_hours,
        self_registration_max=file.auth.new_names_max,
        new_names_per_minute=file.auth.new_names_per_minute,
    )


def secure(file: EventFile) -> bool:
    """Whether attendees come over https, so that cookies carry Secure."""
    return file.event.public_address.scheme == "https"
