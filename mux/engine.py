"""The one imperative shell around the core: inbox → core → store → publish → effects.

Owns the inbox and the order of things; decides nothing. One task runs :meth:`Engine.run`; everybody else posts events.

Rules: persist, then publish, then act. What was decided and cannot be persisted is neither published nor acted on: a
passing trouble (disk full) is waited out while callers are told to come back; a lasting one ends the process, which
starts again from the store. A result of an effect comes back as an event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from mux.core.commands import (
    Command,
    Effect,
    ForgetAssignment,
    ForgetRollout,
    ForgetSession,
    ForgetWaiting,
    Persist,
    Publish,
    RefuseLink,
    SaveAssignment,
    SaveBehind,
    SaveControls,
    SaveRollout,
    SaveSession,
    SaveShip,
    SaveSpend,
    SaveWaiting,
    SaveWishes,
)
from mux.core.events import (
    Event,
    LaunchFailed,
    LaunchSucceeded,
    LinkLost,
    ListingFailed,
    MachineCallEnded,
    MachinesListed,
    PageGone,
    ShipDialed,
    ShipReported,
)
from mux.core.files import FilesView, files_views
from mux.core.fleet import Fleet
from mux.core.model import ProjectName, ProjectSpec, SessionHash, ShipId, ShipWanted, UserId, WorkspaceId
from mux.core.pages import NotebookView, notebook_view
from mux.core.quarantine import Quarantine
from mux.core.rollout_views import RolloutView, rollout_views
from mux.core.routes import SessionEntry
from mux.core.views import AttendeeView, FleetStatus, Holder, attendee_view, fleet_status, holder, shared_holder
from mux.core.warming_views import Forecast, WarmingView, forecast, warming_view
from mux.publisher import Publisher
from mux.store.base import Store, StoreUnavailableError

log = structlog.get_logger(__name__)

BATCH_MAX = 1_000
"""Events taken into one transaction: a login storm of a whole room is one commit."""
INBOX_MAX = 100_000
"""Events waiting: a thousand ships' reports of a minute. More means that the store is stuck; callers are told."""
ENDINGS = (LaunchSucceeded, LaunchFailed, MachineCallEnded, MachinesListed, ListingFailed, LinkLost, PageGone)
"""Taken even when the inbox is full: each ends something that the core has open and would else wait for for ever. There
are few: one for each call in flight, for each link, and for each page of a notebook that the core was told of."""
TRANSCRIPT_MAX = 3
TRANSCRIPT_CHARS_MAX = 600
"""What is logged of a batch that the core failed on: its last events, each cut to so many characters."""
SUBMIT_TIMEOUT_S = 10.0
"""How long a caller waits for an event to be in force, before being asked to try again."""
SETTLE_TIMEOUT_S = 1.0
"""How long a caller waits for the proxies beyond that; a proxy that hangs must not hold up a login."""
PERSIST_RETRY_S = 0.25
PERSIST_RETRY_MAX_S = 5.0
"""Pauses between tries while the store is in passing trouble; doubling."""

_PERSIST = (
    SaveShip,
    SaveAssignment,
    SaveBehind,
    ForgetAssignment,
    SaveSession,
    ForgetSession,
    SaveWaiting,
    ForgetWaiting,
    SaveControls,
    SaveSpend,
    SaveRollout,
    ForgetRollout,
    SaveWishes,
)


VERY_BUSY = "mux is very busy"
TAKEN_IN = "this was taken in and is done once that has passed, so look before you ask for it again"


class EngineBusyError(Exception):
    """What was asked is not in force yet and may still come to be. Retryable; the message is for people."""

    code = "busy"
    retryable = True


class EngineRefusedError(EngineBusyError):
    """Nothing of what was asked was taken in, and it will not come to be unless it is asked again."""


class Effects(Protocol):
    """Carries out what the core decided, once it is persisted and published."""

    def start(self, effects: Sequence[Effect]) -> None:
        """Begin, in order, without waiting. Results come back as events."""


class Notes(Protocol):
    """Keeps who is kept out, from one process to the next."""

    def read(self, now: float) -> Quarantine:
        """What holds now."""

    def write(self, quarantine: Quarantine) -> None:
        """Replace it. Never raises."""


class _NoNotes:
    """Nothing is kept."""

    def read(self, now: float) -> Quarantine:  # noqa: ARG002 - the protocol's
        return Quarantine()

    def write(self, quarantine: Quarantine) -> None:
        pass


class Engine:
    """Runs the core.

    Args:
        fleet: the core, as restored; what it has published is in force from here on.
        store: where decisions are persisted.
        publisher: where they are put in force.
        effects: where they are acted on.
        clock: seconds since the epoch.
        notes: who is kept out because of a defect that they can trigger.
    """

    def __init__(
        self,
        fleet: Fleet,
        store: Store,
        publisher: Publisher,
        effects: Effects,
        clock: Callable[[], float],
        *,
        notes: Notes | None = None,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._publisher = publisher
        self._effects = effects
        self._clock = clock
        self._notes = notes or _NoNotes()
        self._quarantine = self._notes.read(clock())
        self._inbox: deque[tuple[Event, asyncio.Future[int] | None]] = deque()
        self._wake = asyncio.Event()
        self._version = 0
        self._changed = asyncio.Condition()
        self._trouble = ""
        # Before any proxy can ask: to one that served on meanwhile, an empty table ends everybody's session.
        publisher.publish(fleet.published())

    @property
    def trouble(self) -> str:
        """Why nothing can be persisted now; empty when all is well."""
        return self._trouble

    def post(self, *events: Event) -> None:
        """Put events into the inbox. Raises EngineRefusedError when it is full, but never for ENDINGS alone."""
        self._post(events, None)

    async def submit(self, *events: Event) -> None:
        """Put events into the inbox, and return when what follows from them is persisted and in force everywhere.

        Raises EngineBusyError when that takes too long, EngineRefusedError when they were not taken in.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._post(events, done)
        try:
            async with asyncio.timeout(SUBMIT_TIMEOUT_S):
                seq = await done
        except TimeoutError:
            raise EngineBusyError(f"{self._trouble or VERY_BUSY}; {TAKEN_IN}") from None
        if not await self._publisher.settled(seq, SETTLE_TIMEOUT_S):
            log.warning("a proxy is slow to take over a publication", seq=seq)

    def _post(self, events: Sequence[Event], done: asyncio.Future[int] | None) -> None:
        events = [event for event in events if not self._kept_out(event)]
        if not events:
            return
        full = len(self._inbox) + len(events) > INBOX_MAX
        if full and not all(isinstance(event, ENDINGS) for event in events):
            raise EngineRefusedError(f"{self._trouble or VERY_BUSY}; this was not taken in: try again in a moment")
        for number, event in enumerate(events, 1):
            self._inbox.append((event, done if number == len(events) else None))
        self._wake.set()

    def _kept_out(self, event: Event) -> bool:
        """Refuse the link of a ship that is kept out, drop what it says; tell anybody else to come back later."""
        if not self._quarantine.holds(event, self._clock()):
            return False
        if isinstance(event, ShipDialed):
            why = "what this ship sent brought the mux down; it is kept out for some minutes"
            self._effects.start([RefuseLink(event.ship, event.link, "kept_out", why, retry=True)])
        elif not isinstance(event, ShipReported):
            raise EngineRefusedError("this cannot be done right now; please try again in some minutes")
        return True

    async def run(self) -> None:
        """Take in events until cancelled. Raises what the core or the store cannot go on from."""
        await self._step()
        while True:
            await self._wait()
            await self._step()

    async def _wait(self) -> None:
        deadline = self._fleet.next_deadline()
        if self._inbox:
            return
        self._wake.clear()
        timeout = None if deadline is None else max(0.0, deadline - self._clock())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _step(self) -> None:
        """One batch, in the one order."""
        careful = self._quarantine.careful(self._clock())
        batch = [self._inbox.popleft() for _ in range(min(len(self._inbox), 1 if careful else BATCH_MAX))]
        commands = self._handle([event for event, _ in batch], careful=careful)
        await self._persist([command for command in commands if isinstance(command, _PERSIST)])
        self._publish(commands)
        self._effects.start([c for c in commands if not isinstance(c, (*_PERSIST, Publish))])
        for _, done in batch:
            if done is not None and not done.done():
                done.set_result(self._publisher.seq)
        if batch or commands:
            async with self._changed:
                self._version += 1
                self._changed.notify_all()

    def _handle(self, events: Sequence[Event], *, careful: bool) -> list[Command]:
        now = self._clock()
        suspects: Sequence[Event] = ()
        try:
            # What time alone brings about is nobody's fault: being careful, let it come first.
            commands = self._fleet.handle(now=now) if careful else []
            suspects = events
            return commands + self._fleet.handle(*events, now=now)
        except Exception:
            # A defect. What is half decided must not live on: this process ends, and the next starts from the store.
            self._notes.write(self._quarantine.after(suspects, now))
            last = "; ".join(repr(event)[:TRANSCRIPT_CHARS_MAX] for event in suspects[-TRANSCRIPT_MAX:])
            log.exception("the core failed", events=len(suspects), last=last)
            raise

    async def _persist(self, batch: Sequence[Persist]) -> None:
        if not batch:
            return
        pause = PERSIST_RETRY_S
        while True:
            try:
                await self._store.commit(batch)
            except StoreUnavailableError as error:
                if not self._trouble:
                    log.error("cannot persist", error=str(error))
                # This tries again by itself; whoever asked is told what becomes of that.
                self._trouble = str(error).removesuffix("; try again")
                await asyncio.sleep(pause)
                pause = min(pause * 2, PERSIST_RETRY_MAX_S)
            else:
                if self._trouble:
                    log.info("persisting again")
                self._trouble = ""
                return

    def _publish(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Publish):
                self._publisher.publish(command)

    # --- what others may see ----------------------------------------------------------------------------------------

    def session(self, session: SessionHash, now: float) -> SessionEntry | None:
        """The entry of a login in force at ``now``, or None."""
        return self._publisher.table.session(session, now)

    def attendee_view(self, user: UserId, now: float) -> AttendeeView:
        """What an attendee is shown."""
        return attendee_view(self._fleet.world, user, now)

    def route_ready(self, user: UserId, project: ProjectName) -> bool:
        """Whether requests of this attendee for this project have somewhere to go."""
        return (user, project) in self._publisher.table.routes

    def notebook_view(self, user: UserId, project: ProjectName) -> NotebookView | None:
        """What the pages of an attendee's notebook are told; None where there is no workspace."""
        return notebook_view(self._fleet.world, user, project)

    def status(self, now: float) -> FleetStatus:  # noqa: ARG002 - views may come to need it
        """The room at a glance."""
        return replace(fleet_status(self._fleet.world), trouble=self._trouble)

    def awaits(self, ship: ShipId) -> bool:
        """Whether a ship is wanted and no agent has bound a key to it yet."""
        found = self._fleet.world.ships.get(ship)
        return found is not None and not found.key and found.wanted is ShipWanted.RUN

    def holder(self, ship: ShipId, workspace: WorkspaceId, shared: str) -> Holder | None:
        """Whose files a workspace of a ship holds; with ``shared``, whose the directory of that name is.

        A workspace that may be gone by now gave its id to what its seat shares.
        """
        world = self._fleet.world
        return shared_holder(world, ship, workspace, shared) if shared else holder(world, ship, workspace)

    def files(self, user: UserId) -> tuple[FilesView, ...]:
        """An attendee's files, project by project."""
        return files_views(self._fleet.world, user)

    def warming(self, now: float) -> WarmingView:
        """How warming goes on."""
        return warming_view(self._fleet.world, now)

    def forecast(self, now: float, seats: int | None, by: float) -> Forecast:
        """What so many seats (None: as many as the event file says) would take and cost; nothing is done."""
        world = self._fleet.world
        return forecast(world, now, world.spec.fleet.seats_wanted if seats is None else seats, by)

    def rollouts(self) -> tuple[RolloutView, ...]:
        """How the latest rollout of each project stands."""
        return rollout_views(self._fleet.world)

    def projects(self) -> tuple[ProjectSpec, ...]:
        """The event's projects, in the order of the event file."""
        return self._fleet.world.spec.projects

    def seats_left(self) -> int:
        """Seats that newcomers may still come for."""
        world = self._fleet.world
        return max(0, world.spec.fleet.seats_wanted - len(world.assignments) - len(world.waiting))

    async def changed(self, since: int, timeout_s: float) -> int:
        """Wait until anything has changed after version ``since``; ``since`` again after ``timeout_s`` seconds."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._version > since)
        except TimeoutError:
            return since
        return self._version
