"""What people are shown of the fleet: plain values, computed on demand, free of secrets.

Texts that come from a ship (``detail``, ``log_tail``, ``phase``) are hostile: whoever renders them escapes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mux.core import disks
from mux.core.commands import Behind
from mux.core.failures import RESTORE_FAILED
from mux.core.files import HOLDS_FILES, behind, shared_files, snapshot_lag_s
from mux.core.keeping import unkept_since
from mux.core.model import (
    Doors,
    ProjectName,
    ProjectSpec,
    ReportedState,
    Resources,
    ShipId,
    ShipState,
    UserId,
    WorkspaceId,
)
from mux.core.rollout_views import Coming, Offer, coming_to, offer_to
from mux.core.scheduler import Room, explain
from mux.core.scheduler import WaitingView as WaitingView  # noqa: PLC0414 - part of what this module offers
from mux.core.ships import Seat, Ship, Workspace
from mux.core.warming import aim, launching_text
from mux.core.workspaces import seat_ready
from mux.core.world import World

CLOSED_TEXTS = {
    "early": "The event has not begun: seats are prepared some time before it does. This page enters by itself.",
    "cool": "No more seats are being prepared now: the event is over, or pauses. Please ask an organizer.",
    "stop": "The event has ended.",
}
"""What those who wait are told while no seat is wanted."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose files a workspace holds.

    Args:
        user, project: whose, and of what; of a shared directory, what it is kept as.
        kept: whether the attendee was moved away from it.
    """

    user: UserId
    project: ProjectName
    kept: bool


@dataclass(frozen=True, slots=True)
class ProjectCard:
    """One project as an attendee sees it.

    Args:
        name: stands in the path.
        title: for people.
        state: ``ready`` to open, ``starting``, ``on_use`` (starts when opened), ``failed``, ``waiting`` (no seat yet).
        text: one sentence: what is so and what happens next.
        offer: another image for it, if there is one.
        coming: another image that it gets without being asked.
        behind: how old the files are, for somebody who was moved to another seat and may miss changes.
        unkept_since: since when its files cannot be kept apart from the ship, in seconds since the epoch; 0 if they
            can.
    """

    name: ProjectName
    title: str
    state: Literal["ready", "starting", "on_use", "failed", "waiting"]
    text: str
    offer: Offer | None = None
    coming: Coming | None = None
    behind: Behind | None = None
    unkept_since: float = 0.0


@dataclass(frozen=True, slots=True)
class AttendeeView:
    """What ``/camp/`` shows.

    Args:
        waiting: why somebody has no seat; None for somebody who has one.
        projects: of the event.
        notice: what everybody should know now; mostly empty.
        broadcast: what organizers tell everybody; hostile until escaped.
        broadcast_at: when they said it, in seconds since the epoch.
    """

    waiting: WaitingView | None
    projects: tuple[ProjectCard, ...]
    notice: str = ""
    broadcast: str = ""
    broadcast_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SeatView:
    """One seat.

    Args:
        index: on its ship.
        user: whose it is, or None.
        ready: it can be offered, or is in use.
        workspaces: project name to state, in words of the design.
        failures: project name to reason and log tail.
        snapshot_lag_s: project name to what would be missing of the attendee's files if the ship were lost now, in
            seconds of their work; of those whose newest snapshot has everything that was seen, 0.
    """

    index: int
    user: UserId | None
    ready: bool
    workspaces: Mapping[ProjectName, str]
    failures: Mapping[ProjectName, str]
    snapshot_lag_s: Mapping[ProjectName, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShipView:
    """One ship.

    ``conditions``: unreachable, cordoned, draining, failed (why), keeps work; ``kept_of``: of whom, after they were
    moved away.
    """

    id: ShipId
    state: ShipState
    boot: int
    linked: bool
    conditions: tuple[str, ...]
    phase: str
    generation: int
    generation_reached: int
    last_seen_s: float | None
    resources: Resources
    limits: tuple[str, ...]
    limits_missing: tuple[str, ...]
    seats: tuple[SeatView, ...]
    kept_of: tuple[UserId, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The room at a glance.

    Args:
        event: its name.
        doors: as set.
        doors_open: whether newcomers get seats now.
        launching: False when the reconciler is paused or has given up.
        launching_text: why it is not launching, or why that fails for now; empty while it goes well.
        seats_wanted: that should be there now: attendees and spare seats, or what organizers or the timetable say.
        seats_total: seats of ships that exist and are not going.
        seats_ready: free seats that can be offered now.
        seats_assigned: seats that are somebody's.
        waiting: people in the queue.
        sessions: logins in force.
        ships_by_state: state to number of ships.
        projects_broken: project to reason, for those that fail on several ships and hold no seats back.
        opt_ins: project to what its containers may beyond the rule, for those that are allowed anything.
        ships: every ship that is not terminated.
        notices: latest notices, newest first: (seconds since the epoch, severity, subject, text).
        notebook_pages: pages of notebooks that are open.
        unsaved_documents: documents in them with edits that are not saved.
        broadcast: what everybody is told; empty for nothing. Hostile until escaped.
        trouble: why nothing can be persisted, which the engine adds; what is shown is then not in force yet.
    """

    event: str
    doors: Doors
    doors_open: bool
    launching: bool
    launching_text: str
    seats_wanted: int
    seats_total: int
    seats_ready: int
    seats_assigned: int
    waiting: int
    sessions: int
    ships_by_state: Mapping[ShipState, int]
    projects_broken: Mapping[ProjectName, str]
    opt_ins: Mapping[ProjectName, tuple[str, ...]]
    ships: tuple[ShipView, ...]
    notices: tuple[tuple[float, str, str, str], ...]
    notebook_pages: int = 0
    unsaved_documents: int = 0
    broadcast: str = ""
    trouble: str = ""

    @property
    def snapshot_lags_s(self) -> tuple[float, ...]:
        """Of every attendee's files of every project that they have opened, see `SeatView`."""
        return tuple(lag for ship in self.ships for seat in ship.seats for lag in seat.snapshot_lag_s.values())

    @property
    def snapshot_lag_s(self) -> float:
        """The largest of them; 0 if there are none."""
        return max(self.snapshot_lags_s, default=0.0)

    @property
    def homes_behind(self) -> int:
        """Of how many something would be missing."""
        return sum(lag > 0 for lag in self.snapshot_lags_s)


def attendee_view(world: World, user: UserId, now: float | None = None) -> AttendeeView:
    """What an attendee is shown at ``now``, or when the core was last called; ``user`` need not be known."""
    now = world.now if now is None else now
    found = world.seat_of(user)
    if found is None:
        waiting = _waiting_view(world, user)
        cards = tuple(
            ProjectCard(spec.name, spec.title or spec.name, "waiting", "Opens when you have a seat.")
            for spec in world.projects.values()
        )
        return AttendeeView(waiting, cards, _notice(world, now), *_broadcast(world))
    ship, seat = found
    cards = tuple(
        replace(
            _card(world, ship, seat, spec),
            offer=offer_to(rollout, ship, seat) if rollout else None,
            coming=coming_to(world, rollout, ship, seat, now) if rollout else None,
            behind=behind(world, user, spec.name, now),
            unkept_since=unkept_since(world, ship, seat.workspaces.get(spec.name), now),
        )
        for spec, rollout in ((spec, world.rollouts.get(spec.name)) for spec in world.projects.values())
    )
    return AttendeeView(None, cards, _notice(world, now), *_broadcast(world))


def _broadcast(world: World) -> tuple[str, float]:
    return world.controls.broadcast, world.controls.broadcast_at


def _notice(world: World, now: float) -> str:
    """What everybody is told of the hard stop."""
    table = world.spec.timetable
    left_s = table.stops_in(now)
    if left_s is None:
        return ""
    if left_s == 0:
        return CLOSED_TEXTS["stop"] if aim(world).phase == "stop" else ""
    minutes = -(-left_s // 60)
    files = "files are kept" if table.stop == "park" else "download what you want to keep: files are not kept"
    return f"The event ends in {minutes:.0f} {'minute' if minutes == 1 else 'minutes'}: save your work; {files}."


def _waiting_view(world: World, user: UserId) -> WaitingView:
    position = world.place_in_queue(user)
    return explain(room(world), position, max(len(world.waiting), position))


def room(world: World) -> Room:
    """The counts that a refusal is explained from."""
    fleet = world.spec.fleet
    aimed = aim(world)
    return Room(
        doors=world.controls.doors,
        doors_open=world.doors_open,
        ready_seats=fleet.ready_seats,
        seats_ready=world.offers.total,
        seats_assigned=world.tally.assigned,
        seats_usable=world.tally.usable,
        seats_wanted=aimed.seats,
        ships_booting=world.tally.booting,
        launching=world.controls.launching and not world.controls.paused,
        stopped_text=world.stopped_text,
        closed_text="" if aimed.seats else CLOSED_TEXTS.get(aimed.phase, CLOSED_TEXTS["cool"]),
    )


def _card(world: World, ship: Ship, seat: Seat, spec: ProjectSpec) -> ProjectCard:
    title = spec.title or spec.name
    workspace = seat.workspaces.get(spec.name)
    place = world.published_routes.get((seat.user, spec.name)) if seat.user is not None else None
    if place is not None and place.hold:
        text = "It is being updated, and is back in a moment with your files."
        return ProjectCard(spec.name, title, "starting", text)
    if place is not None:
        return ProjectCard(spec.name, title, "ready", "Ready.")
    if workspace is None and spec.start == "on_use" and seat.user not in world.leaving:
        return ProjectCard(spec.name, title, "on_use", "Starts when you open it.")
    if workspace is not None and workspace.failed:
        return ProjectCard(spec.name, title, "failed", _failed_text(workspace))
    if seat.user in world.leaving:
        text = "It is being moved to another machine, with your files."
    elif ship.unreachable:
        text = "Its machine has not been heard from; it comes back, or you are moved."
    elif workspace is not None and workspace.reported and workspace.reported.state is ReportedState.RESTARTING:
        text = "It stopped and is being started again, with your files."
    else:
        text = "It is being started."
    return ProjectCard(spec.name, title, "starting", text)


def _failed_text(workspace: Workspace) -> str:
    if workspace.reported is not None and workspace.reported.reason == RESTORE_FAILED:
        return (
            "Your files cannot be had at the moment. It starts with them once they can; the organizers have been told."
        )
    return "It does not start. The organizers have been told; it is being tried again."


def fleet_status(world: World) -> FleetStatus:
    """The room at a glance, with every ship that is not terminated."""
    ships = [ship for ship in world.ships.values() if ship.state is not ShipState.TERMINATED]
    pages = [page for of_one in world.pages.values() for page in of_one.values()]
    states = Counter(ship.state for ship in ships)
    return FleetStatus(
        event=world.spec.name,
        doors=world.controls.doors,
        doors_open=world.doors_open,
        launching=world.controls.launching and not world.controls.paused,
        launching_text=launching_text(world),
        seats_wanted=aim(world).seats,
        seats_total=sum(len(ship.seats) for ship in ships if not ship.gone),
        seats_ready=world.offers.total,
        seats_assigned=world.tally.assigned,
        waiting=len(world.waiting),
        sessions=len(world.sessions),
        ships_by_state={state: states[state] for state in ShipState if states[state]},
        projects_broken=dict(world.broken),
        opt_ins={spec.name: spec.allow for spec in world.projects.values() if spec.allow},
        ships=tuple(ship_view(world, ship) for ship in ships),
        notices=tuple(reversed(world.notices)),
        notebook_pages=len(pages),
        unsaved_documents=sum(page.unsaved for page in pages),
        broadcast=world.controls.broadcast,
    )


def ship_view(world: World, ship: Ship) -> ShipView:
    """One ship as organizers see it."""
    report = ship.report
    return ShipView(
        id=ship.id,
        state=ship.state,
        boot=ship.boot,
        linked=ship.link is not None,
        conditions=(*ship.conditions(), *((disks.CONDITION,) if ship.id in world.disks_low and not ship.gone else ())),
        phase=ship.phase,
        generation=ship.generation,
        generation_reached=report.generation if report else 0,
        last_seen_s=None if ship.last_seen is None else world.now - ship.last_seen,
        resources=ship.resources,
        limits=report.limits if report else (),
        limits_missing=report.limits_missing if report else (),
        seats=tuple(_seat_view(world, ship, seat) for seat in ship.seats),
        kept_of=ship.kept_of,
    )


def _seat_view(world: World, ship: Ship, seat: Seat) -> SeatView:
    return SeatView(
        index=seat.index,
        user=seat.user,
        ready=seat_ready(world, seat),
        workspaces={name: str(workspace.state) for name, workspace in seat.workspaces.items()},
        failures={
            name: f"{workspace.reported.detail or workspace.reported.reason}\n{workspace.reported.log_tail}".strip()
            for name, workspace in seat.workspaces.items()
            if workspace.failed and workspace.reported is not None
        },
        snapshot_lag_s={
            name: snapshot_lag_s(world, ship, workspace)
            for name, workspace in seat.workspaces.items()
            if seat.user is not None and workspace.state in HOLDS_FILES
        },
    )


def holder(world: World, ship_id: ShipId, workspace_id: WorkspaceId) -> Holder | None:
    """Whose files a workspace of a ship holds; None if it is nobody's, or not that ship's."""
    ship = world.ships.get(ship_id)
    if ship is None or ship.gone:
        return None
    kept = ship.kept.get(workspace_id)
    if kept is not None:
        return Holder(kept.user, kept.workspace.project, kept=True)
    workspace = ship.workspaces.get(workspace_id)
    seat = ship.seats[workspace.seat] if workspace is not None else None
    if (
        workspace is None
        or seat is None
        or seat.user is None
        or seat.workspaces.get(workspace.project) is not workspace
    ):
        return None
    return Holder(seat.user, workspace.project, kept=False)


def shared_holder(world: World, ship_id: ShipId, shared: str, name: str) -> Holder | None:
    """Whose a shared directory of a ship is; None if it is nobody's, or the event has none of that name.

    Args:
        world: as everywhere.
        ship_id: where it is.
        shared: what the workspaces of its seat share by.
        name: of the directory, as projects have it.
    """
    ship = world.ships.get(ship_id)
    if ship is None or ship.gone or not shared or not any(name in spec.shared for spec in world.projects.values()):
        return None
    for kept in ship.kept.values():
        if kept.workspace.shared == shared:
            return Holder(kept.user, shared_files(name), kept=True)
    for seat in ship.seats:
        if seat.user is not None and any(each.shared == shared for each in seat.workspaces.values()):
            return Holder(seat.user, shared_files(name), kept=False)
    return None
