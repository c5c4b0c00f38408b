"""The core: one function of events and time.

``Fleet.handle(*events, now=…)`` takes what has happened and gives back what should be done. It never waits, never reads
a clock and never forgets: equal inputs in equal order give equal outputs, so all of it can be replayed.

Rules: after every call the invariants of :meth:`Fleet.validate` hold; what must survive is in the commands of that
call; a decision looks at whole state, never at the event that brought it about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from mux.core import (
    attendance,
    boots,
    calls,
    files,
    leaving,
    liveness,
    machines,
    notices,
    pages,
    parking,
    paths,
    rollouts,
    warming,
    workspaces,
)
from mux.core.commands import (
    Behind,
    Command,
    ForgetAssignment,
    ForgetRollout,
    ForgetSession,
    ForgetWaiting,
    Placement,
    Publish,
    SaveAssignment,
    SaveBehind,
    SaveControls,
    SaveRollout,
    SaveSession,
    SaveShip,
    SaveSpend,
    SaveWaiting,
    SaveWishes,
    ShipRecord,
)
from mux.core.errors import InvariantError
from mux.core.events import (
    AttendeesActive,
    BootTold,
    BroadcastSet,
    DoorsSet,
    Event,
    EventSpecApplied,
    FilesChanged,
    FleetCooled,
    FleetEnded,
    FleetParked,
    FleetUnparked,
    FleetWarmed,
    LaunchFailed,
    LaunchingSet,
    LaunchSucceeded,
    LinkLost,
    ListingFailed,
    LoggedIn,
    LoggedOut,
    MachineCallEnded,
    MachineEnded,
    MachineNoticed,
    MachinesListed,
    PageGone,
    PageSaid,
    PathsReported,
    ProjectPushed,
    ProjectRequested,
    ProviderNoticed,
    RolloutSteered,
    SeatReleased,
    ShipCordoned,
    ShipDeclaredLost,
    ShipDialed,
    ShipDrained,
    ShipReleased,
    ShipReplaced,
    ShipReported,
    SpendAllowed,
    StartOverAsked,
    UpdateAccepted,
    UserRevoked,
    WishesWithdrawn,
)
from mux.core.invariants import broken_rules
from mux.core.model import (
    Assignment,
    EventSpec,
    ProjectName,
    Session,
    ShipId,
    ShipState,
    ShipWanted,
    UserId,
    Waiting,
)
from mux.core.rollout import Rollout
from mux.core.routes import RouteKey, SessionEntry
from mux.core.ships import Ship
from mux.core.spend import Meter
from mux.core.totals import count
from mux.core.world import Changes, World


class Fleet:
    """Decides. Made by :meth:`restored`, from nothing or from what was stored."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._routed: dict[UserId, frozenset[ProjectName]] = {}

    @classmethod
    def restored(
        cls,
        spec: EventSpec,
        now: float,
        *,
        ships: Iterable[ShipRecord] = (),
        assignments: Iterable[Assignment] = (),
        epochs: Mapping[UserId, int] | None = None,
        sessions: Iterable[Session] = (),
        waiting: Iterable[Waiting] = (),
        controls: SaveControls | None = None,
        meter: Meter | None = None,
        rolling: Iterable[Rollout] = (),
        wishes: Mapping[UserId, Mapping[ProjectName, str]] | None = None,
        behind: Mapping[UserId, Mapping[ProjectName, Behind]] | None = None,
    ) -> Fleet:
        """The core as it was stored. Ships count as silent from ``now`` (seconds since the epoch) on, not longer."""
        world = World(spec)
        world.now = world.started = now
        world.epochs.update(epochs or {})
        world.wishes.update({user: dict(paths) for user, paths in (wishes or {}).items()})
        if controls is not None:
            world.controls = world.saved_controls = controls
            if controls.paused:
                world.stopped_text = machines.PAUSED_TEXT
            elif not controls.launching:
                world.stopped_text = "launching was given up earlier."
        for record in ships:
            liveness.restore(world, record)
        rollouts.restore(world, rolling)
        files.restore(world, behind or {})
        for assignment in assignments:
            world.assignments[assignment.user] = assignment
            world.epochs[assignment.user] = max(assignment.epoch, world.epochs.get(assignment.user, 0))
            seat = world.ships[assignment.ship].seats[assignment.seat]
            seat.user, seat.epoch = assignment.user, assignment.epoch
        leaving.restore(world)
        for session in sessions:
            world.sessions[session.hash] = session
            world.sessions_of.setdefault(session.user, {})[session.hash] = None
            world.deadlines.set(("session", session.hash), session.expires_at)
            world.published_sessions[session.hash] = SessionEntry(session.user, session.expires_at)
        for entry in sorted(waiting, key=lambda entry: entry.turn):
            world.waiting[entry.user] = entry
        for user in world.sessions_of:
            if user not in world.assignments and user not in world.waiting:
                attendance.enqueue(world, user)
        world.deadlines.set(("list", ""), now)
        fleet = cls(world)
        for user in world.assignments:
            fleet._reroute(user, {})
        for ship in world.ships.values():
            count(world, ship)
        if meter is not None:
            # A clock that was set back must not stop the meter until it has caught up.
            world.meter = replace(meter, at=min(meter.at, now))
        warming.watch_limit(world)
        return fleet

    @property
    def world(self) -> World:
        """The state, to look at. Only the core changes it."""
        return self._world

    def next_deadline(self) -> float | None:
        """When :meth:`handle` must be called even if nothing happens; seconds since the epoch."""
        return self._world.deadlines.next()

    def published(self) -> Publish:
        """All that is in force now, as one publication."""
        return Publish(dict(self._world.published_sessions), dict(self._world.published_routes))

    def validate(self) -> None:
        """Raise InvariantError if anything that must always hold does not."""
        broken = broken_rules(self._world)
        if broken:
            raise InvariantError(broken)

    def handle(self, *events: Event, now: float) -> list[Command]:
        """Take in what has happened, in order, and decide.

        Args:
            events: past facts; unknown ships, links and users in them are ignored.
            now: seconds since the epoch. A clock that went back counts as standing still.

        Returns:
            What to persist (in one transaction), then what to publish, then effects, in this order.
        """
        world = self._world
        world.now = max(now, world.now)
        for event in events:
            _HANDLERS[type(event)](world, event)
        stirred = self._pass_time() or any(type(event) not in _WORDS for event in events)
        self._settle(stirred=stirred)
        return self._collect()

    def _pass_time(self) -> bool:
        """Whether anything was due."""
        world = self._world
        due = world.deadlines.due(world.now)
        for kind, subject in due:
            _TIMERS[kind](world, subject)
        return bool(due)

    def _settle(self, *, stirred: bool) -> None:
        """Bring what was touched to rest: seats filled, ships moved on, the queue served, the fleet sized.

        ``stirred``: more has happened than words of ships and pages, which touch what ships they change anything of.
        """
        world = self._world
        done: dict[ShipId, None] = {}
        while True:
            while world.changes.ships:
                touched, world.changes.ships = world.changes.ships, {}
                for ship_id in touched:
                    done[ship_id] = None
                    self._settle_ship(world.ships[ship_id])
            attendance.open_doors_when_ready(world)
            leaving.part(world)
            attendance.seat_the_queue(world)
            leaving.move_off(world)
            rollouts.advance(world, done, stirred=stirred)
            if world.changes.plan and not world.changes.ships:
                world.changes.plan = False
                machines.size_fleet(world)
            if not world.changes.ships and not world.changes.plan:
                break
        for ship_id in done:
            liveness.send(world, world.ships[ship_id])
        world.changes.ships = done

    def _settle_ship(self, ship: Ship) -> None:
        world = self._world
        workspaces.fill(world, ship)
        self._move_on(ship)
        machines.end_failed(world, ship)
        count(world, ship)
        for seat in ship.seats:
            if seat.user is not None:
                world.changes.users[seat.user] = None

    def _move_on(self, ship: Ship) -> None:
        world = self._world
        if ship.wanted is not ShipWanted.RUN:
            return
        if ship.state is ShipState.BOOTING:
            ready = [workspaces.seat_ready(world, seat) for seat in ship.seats]
            stuck = [any(workspace.failed for workspace in seat.workspaces.values()) for seat in ship.seats]
            if any(ready) and all(up or down for up, down in zip(ready, stuck, strict=True)):
                ship.life.to(ShipState.AVAILABLE)
                ship.failed = ""
                world.deadlines.clear(("boot", ship.id))
                world.deadlines.clear(("stage", ship.id))
                warming.measured(world, ship)
                world.patience.forget()
                world.touch(ship)
        if ship.state is ShipState.AVAILABLE and ship.assigned:
            ship.life.to(ShipState.RUNNING)
            world.touch(ship)

    def _collect(self) -> list[Command]:
        """Everything that this call has changed, as commands, in the order in which they must be carried out."""
        world = self._world
        changes, world.changes = world.changes, Changes()
        commands: list[Command] = []
        if warming.turn_meter(world):
            commands.append(SaveSpend(world.meter))
        if world.controls != world.saved_controls:
            world.saved_controls = world.controls
            commands.append(world.controls)
        for project in {**world.saved_rollouts, **world.rollouts}:
            rollout = world.rollouts.get(project)
            if rollout != world.saved_rollouts.get(project):
                commands.append(SaveRollout(rollout) if rollout else ForgetRollout(project))
        world.saved_rollouts = dict(world.rollouts)
        commands += [SaveShip(world.ships[ship].record()) for ship in changes.unsaved_ships]
        commands += [ForgetAssignment(user) for user in changes.assignments]
        commands += [SaveAssignment(kept) for user in changes.assignments if (kept := world.assignments.get(user))]
        for user in changes.waiting:
            entry = world.waiting.get(user)
            commands.append(SaveWaiting(entry) if entry else ForgetWaiting(user))
        commands += [SaveWishes(user, dict(world.wishes.get(user, {}))) for user in changes.wishes]
        commands += [SaveBehind(user, dict(world.behind.get(user, {}))) for user in changes.behind]
        sessions: dict[Any, SessionEntry | None] = {}
        for session_hash in changes.sessions:
            session = world.sessions.get(session_hash)
            commands.append(SaveSession(session) if session else ForgetSession(session_hash))
            sessions[session_hash] = SessionEntry(session.user, session.expires_at) if session else None
        routes: dict[RouteKey, Placement | None] = {}
        for user in changes.users:
            self._reroute(user, routes)
        for key, published in sessions.items():
            if published is None:
                world.published_sessions.pop(key, None)
            else:
                world.published_sessions[key] = published
        if sessions or routes:
            commands.append(Publish(sessions, routes))
        commands += changes.effects
        return commands

    def _reroute(self, user: UserId, changed: dict[RouteKey, Placement | None]) -> None:
        """Compare a user's routes with what is published, and note the differences."""
        world = self._world
        found = world.seat_of(user)
        current: dict[ProjectName, Placement] = {}
        if found is not None:
            ship, seat = found
            for name, workspace in seat.workspaces.items():
                place = workspaces.placement(world, ship, workspace)
                if place is not None:
                    current[name] = place
        names = current.keys() | self._routed.get(user, frozenset())
        for name in names:
            key = (user, name)
            place = current.get(name)
            if place == world.published_routes.get(key):
                continue
            changed[key] = place
            if place is None:
                world.published_routes.pop(key, None)
                world.active.pop(key, None)
            else:
                world.published_routes[key] = place
        if current:
            self._routed[user] = frozenset(current)
        else:
            self._routed.pop(user, None)


def _spec_applied(world: World, event: EventSpecApplied) -> None:
    old, new = world.projects, {project.name: project for project in event.spec.projects}
    changed = {
        name for name in old.keys() | new.keys() if workspaces.run_as(old.get(name)) != workspaces.run_as(new.get(name))
    }
    before = world.spec
    world.spec, world.projects = event.spec, new
    world.changes.plan = True
    warming.spec_changed(world, before.fleet.seats_wanted, before.spend.limit)
    if event.spec.spend != before.spend:
        for ship in world.ships.values():
            count(world, ship)
    rollouts.spec_changed(world)
    workspaces.spec_changed(world, changed)


def _user_revoked(world: World, event: UserRevoked) -> None:
    attendance.revoke(world, event.user)
    if event.release:
        leaving.leave_seat(world, event.user)
        attendance.leave_queue(world, event.user)


def _with_ship(act: Callable[[World, Ship, Any], None]) -> Callable[[World, Any], None]:
    def handler(world: World, event: Any) -> None:
        ship = world.ships.get(event.ship)
        if ship is not None and not ship.gone:
            act(world, ship, event)

    return handler


def _cordoned(world: World, ship: Ship, event: ShipCordoned) -> None:
    ship.cordoned = event.cordoned
    if not event.cordoned:
        notices.overruled(world, ship)
    world.touch(ship)


def _drained(world: World, ship: Ship, event: ShipDrained) -> None:
    ship.draining = True
    world.touch(ship)
    if event.evict:
        leaving.leave_ship(world, ship)


def _replaced(world: World, ship: Ship, _event: ShipReplaced) -> None:
    ship.draining = ship.replacing = True
    world.touch(ship)


def _declared_lost(world: World, ship: Ship, _event: ShipDeclaredLost) -> None:
    machines.lost(world, ship, "an organizer said so")


def _released(world: World, ship: Ship, _event: ShipReleased) -> None:
    machines.released(world, ship)


_WORDS = frozenset({ShipReported, PageSaid, PageGone, AttendeesActive, PathsReported})
_HANDLERS: Mapping[type, Callable[[World, Any], None]] = {
    EventSpecApplied: _spec_applied,
    LoggedIn: lambda world, event: attendance.log_in(world, event.user, event.session, event.expires_at),
    LoggedOut: lambda world, event: attendance.end_session(world, event.session),
    UserRevoked: _user_revoked,
    SeatReleased: lambda world, event: leaving.leave_seat(world, event.user),
    ProjectRequested: lambda world, event: attendance.request_project(world, event.user, event.project),
    StartOverAsked: files.start_over,
    WishesWithdrawn: files.withdraw,
    DoorsSet: lambda world, event: attendance.set_doors(world, event.doors),
    LaunchSucceeded: machines.launch_succeeded,
    LaunchFailed: machines.launch_failed,
    MachineCallEnded: calls.call_ended,
    MachineEnded: notices.machine_ended,
    MachineNoticed: notices.machine_noticed,
    ProviderNoticed: notices.provider_noticed,
    MachinesListed: machines.listed,
    ListingFailed: machines.listing_failed,
    BootTold: boots.told,
    ShipDialed: liveness.dialed,
    ShipReported: liveness.reported,
    PathsReported: paths.reported,
    LinkLost: liveness.link_lost,
    ShipCordoned: _with_ship(_cordoned),
    ShipDrained: _with_ship(_drained),
    ShipReplaced: _with_ship(_replaced),
    ShipDeclaredLost: _with_ship(_declared_lost),
    ShipReleased: _with_ship(_released),
    FleetParked: lambda world, _event: parking.park_all(world),
    FleetUnparked: lambda world, _event: parking.unpark_all(world),
    FleetEnded: lambda world, _event: machines.end_all(world),
    FleetWarmed: parking.warm,
    FleetCooled: lambda world, _event: warming.cool(world),
    SpendAllowed: warming.allow,
    ProjectPushed: rollouts.pushed,
    RolloutSteered: rollouts.steered,
    UpdateAccepted: rollouts.accepted,
    AttendeesActive: rollouts.active,
    BroadcastSet: attendance.broadcast,
    PageSaid: pages.said,
    PageGone: pages.gone,
    FilesChanged: pages.files_changed,
    LaunchingSet: lambda world, event: machines.set_launching(world, enabled=event.enabled),
}


def _moment(world: World, _subject: str) -> None:
    warming.moment(world)
    if not warming.aim(world).seats:
        parking.end_surplus(world)


def _replan(world: World, _subject: str) -> None:
    world.changes.plan = True


def _nothing(_world: World, _subject: str) -> None:
    """What is due is seen when the core comes to rest."""


_TIMERS: Mapping[str, Callable[[World, Any], None]] = {
    "session": attendance.end_session,
    "heartbeat": liveness.silent,
    "boot": machines.boot_overdue,
    "behind": files.told_long_enough,
    "leave": notices.leave,
    "leaving": _nothing,
    "stage": machines.stage_overdue,
    "moment": _moment,
    "warming": lambda world, _: warming.look(world),
    "spend": lambda world, _: warming.limit_passed(world),
    "replace": workspaces.replace_failed,
    "rollout": rollouts.look,
    "launch": _replan,
    "list": lambda world, _: machines.ask_listing(world),
    "surplus": lambda world, _: parking.end_surplus(world),
}
