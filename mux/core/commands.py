"""What should be done: everything that the core decides. Imperatives, immutable, free of secrets.

Three families, carried out by the engine in this order: `Save…`/`Forget…` are persisted in one transaction, `Publish`
is made the routes in force, and the rest are effects, each of whose results comes back as an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mux.core.model import (
    Assignment,
    Desired,
    Doors,
    LinkId,
    PortName,
    ProjectName,
    Session,
    SessionHash,
    ShipId,
    ShipState,
    ShipWanted,
    StartedOver,
    StartOver,
    UserId,
    Waiting,
    WorkspaceId,
    WorkspaceState,
)
from mux.core.rollout import Rollout
from mux.core.routes import RouteKey, RoutePort, SessionEntry
from mux.core.spend import Meter

# --- persisted ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkspaceRecord:
    """What is kept of a workspace: what is wanted, and the last thing known of it.

    ``healthy`` is the last report's word, so that routes stand again right after a restart of the mux. ``previous`` is
    the image to go back to while another one is on trial with it, ``swap_until`` how long its swap may take and its
    requests wait (seconds since the epoch). ``start_over`` is the last wish of its attendee. ``ports`` are further
    ports on its ship, ``shared`` names what it shares with its seat's other workspaces. ``started_over`` says how the
    last wish ended: one that is done is not done again elsewhere.
    """

    id: WorkspaceId
    seat: int
    project: ProjectName
    digest: str
    port: int
    state: WorkspaceState
    healthy: bool
    previous: str = ""
    swap_until: float = 0.0
    start_over: StartOver | None = None
    ports: Mapping[PortName, int] = field(default_factory=dict)
    shared: str = ""
    started_over: StartedOver | None = None


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """Work that a ship keeps, of an attendee who was moved away.

    Args:
        workspace: where it is.
        user: whose it was.
        epoch: of the assignment that ended; it has no claim any more.
    """

    workspace: WorkspaceRecord
    user: UserId
    epoch: int


@dataclass(frozen=True, slots=True)
class ShipRecord:
    """What is kept of a ship.

    Args:
        id: the ship.
        state: where it is in its boot.
        wanted: what the mux wants of the machine.
        boot: counts its boots.
        boot_identity: what the machine called its last boot.
        key: bound agent key (64 hex digits), empty before the first join.
        generation: of the desired state.
        seats: how many it has.
        host: address from the provider.
        port_first: first port of its range.
        port_count: size of the range.
        launched_at: seconds since the epoch.
        cordoned: by an organizer, or since something was announced for its machine.
        draining: by an organizer, the planner, or since its machine is about to end.
        failed: why it failed; empty if it did not.
        incarnations: workspaces made so far, so that ids are never reused.
        kind: what sort of machine it has, as prices go by it.
        spot: its machine may be taken back, and has a price of its own.
        replacing: its attendees move as soon as there are seats for them.
        workspaces: those that should exist or are still to go.
        kept: work of attendees who were moved away, until an organizer releases the ship.
        leaving: seats whose attendees are being moved.
        notices: what was announced for its machine: the kind, and when, in seconds since the epoch.
        leave_at: when its people leave for that, in seconds since the epoch; None if they do not, or did.
    """

    id: ShipId
    state: ShipState
    wanted: ShipWanted
    boot: int
    boot_identity: str
    key: str
    generation: int
    seats: int
    host: str
    port_first: int
    port_count: int
    launched_at: float
    cordoned: bool
    draining: bool
    failed: str
    incarnations: int
    workspaces: tuple[WorkspaceRecord, ...]
    kept: tuple[KeptRecord, ...] = ()
    kind: str = ""
    spot: bool = False
    replacing: bool = False
    leaving: tuple[int, ...] = ()
    notices: tuple[tuple[str, float | None], ...] = ()
    leave_at: float | None = None


@dataclass(frozen=True, slots=True)
class SaveShip:
    """Insert or replace one ship's record."""

    ship: ShipRecord


@dataclass(frozen=True, slots=True)
class SaveAssignment:
    """Insert or replace one attendee's assignment. A seat belongs to one attendee: the store enforces it too."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class ForgetAssignment:
    """The attendee has no seat any more. The epoch is kept so that a later assignment's is higher."""

    user: UserId


@dataclass(frozen=True, slots=True)
class SaveSession:
    """Insert a session."""

    session: Session


@dataclass(frozen=True, slots=True)
class ForgetSession:
    """Delete a session."""

    session: SessionHash


@dataclass(frozen=True, slots=True)
class SaveWaiting:
    """Insert an entry of the queue."""

    waiting: Waiting


@dataclass(frozen=True, slots=True)
class ForgetWaiting:
    """Delete an entry of the queue."""

    user: UserId


@dataclass(frozen=True, slots=True)
class SaveControls:
    """What organizers set, and counters that must not go back.

    Args:
        doors: as set.
        doors_opened: doors in ``auto`` have opened; they stay open.
        launching: launching has not been given up.
        ships_made: ships numbered so far.
        turns: queue turns given so far.
        paused: the reconciler does nothing: no launch, no start, no park, no end.
        parked: the whole fleet should be parked.
        target_seats: how many seats organizers asked for; None when they left it to the event file.
        target_at: when they said so, in seconds since the epoch.
        target_by: when those seats should be ready; 0 for as soon as possible.
        begun_for: the time by which the seats are due for which warming has begun; 0 for none.
        begun_at: when that was.
        boot_s: how long a ship takes from launch to available, as measured; 0 before the first.
        spend_allowed: the organizers' word on what the event may cost; None when the event file's limit counts.
        broadcast: what organizers tell everybody now; empty for nothing. Hostile until escaped.
        broadcast_at: when they said it, in seconds since the epoch.
    """

    doors: Doors
    doors_opened: bool
    launching: bool
    ships_made: int
    turns: int
    paused: bool = False
    parked: bool = False
    target_seats: int | None = None
    target_at: float = 0.0
    target_by: float = 0.0
    begun_for: float = 0.0
    begun_at: float = 0.0
    boot_s: float = 0.0
    spend_allowed: float | None = None
    broadcast: str = ""
    broadcast_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SaveSpend:
    """Replace what has been spent."""

    meter: Meter


@dataclass(frozen=True, slots=True)
class SaveRollout:
    """Replace the rollout of its project."""

    rollout: Rollout


@dataclass(frozen=True, slots=True)
class ForgetRollout:
    """The project has no rollout any more: what the event file says is in force."""

    project: ProjectName


@dataclass(frozen=True, slots=True)
class SaveWishes:
    """Replace an attendee's wishes to start over that no workspace has.

    Args:
        user: whose.
        paths: by project, what of it; empty for everything. Empty when no wish waits any more.
    """

    user: UserId
    paths: Mapping[ProjectName, str]


@dataclass(frozen=True, slots=True)
class Behind:
    """How old the files are that a moved attendee comes back to.

    Args:
        seconds: the newest snapshot was so much older than the last change that the ship had told of.
        unheard_s: for so long nothing had been heard of the ship, and changes of that time may be missing too.
        at: when they were moved, in seconds since the epoch.
    """

    seconds: float
    unheard_s: float
    at: float


@dataclass(frozen=True, slots=True)
class SaveBehind:
    """Replace what an attendee is told of how old their files are.

    Args:
        user: whom.
        ages: by project. Empty when there is nothing to tell any more.
    """

    user: UserId
    ages: Mapping[ProjectName, Behind]


Persist = (
    SaveShip
    | SaveAssignment
    | ForgetAssignment
    | SaveSession
    | ForgetSession
    | SaveWaiting
    | ForgetWaiting
    | SaveControls
    | SaveSpend
    | SaveRollout
    | ForgetRollout
    | SaveWishes
    | SaveBehind
)

# --- published ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a route leads, without the token, which the engine adds. ``hold`` and ``ports``: see `Route`."""

    workspace: WorkspaceId
    host: str
    port: int
    hold: bool = False
    ports: tuple[RoutePort, ...] = ()


@dataclass(frozen=True, slots=True)
class Publish:
    """Changes of what proxies serve: new or changed entries, None for one that is gone."""

    sessions: Mapping[SessionHash, SessionEntry | None] = field(default_factory=dict)
    routes: Mapping[RouteKey, Placement | None] = field(default_factory=dict)


# --- effects --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LaunchShip:
    """Ask the provider for a machine. Idempotent by ship id."""

    ship: ShipId


@dataclass(frozen=True, slots=True)
class StartShip:
    """Start a parked machine."""

    ship: ShipId


@dataclass(frozen=True, slots=True)
class ParkShip:
    """Stop a machine, keeping its disk."""

    ship: ShipId


@dataclass(frozen=True, slots=True)
class TerminateShip:
    """End a machine and everything on it. Also sent for machines that nobody knows (orphans)."""

    ship: ShipId


@dataclass(frozen=True, slots=True)
class ListMachines:
    """Ask the provider what exists."""


@dataclass(frozen=True, slots=True)
class AcceptLink:
    """The dialing ship is who it says; the key was persisted before this."""

    ship: ShipId
    link: LinkId


@dataclass(frozen=True, slots=True)
class RefuseLink:
    """No link for this one. ``retry``: whether dialing again can help."""

    ship: ShipId
    link: LinkId
    code: str
    reason: str
    retry: bool


@dataclass(frozen=True, slots=True)
class CloseLink:
    """An older link of a ship that has a newer one, or of a ship that is gone."""

    ship: ShipId
    link: LinkId


@dataclass(frozen=True, slots=True)
class SendDesired:
    """Tell a ship what should be true. Sent again whenever a report shows that it is behind."""

    ship: ShipId
    link: LinkId
    desired: Desired


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the organizers. ``text`` may quote a ship and is hostile until escaped.

    Args:
        severity: ``info``, ``warning`` or ``error``.
        code: short, for machines.
        subject: a ship, project or user that it is about; may be empty.
        text: one or two sentences that say what to do next.
        detail: log lines or the like.
    """

    severity: Literal["info", "warning", "error"]
    code: str
    subject: str
    text: str
    detail: str = ""


Effect = (
    LaunchShip
    | StartShip
    | ParkShip
    | TerminateShip
    | ListMachines
    | AcceptLink
    | RefuseLink
    | CloseLink
    | SendDesired
    | Notify
)
Command = Persist | Publish | Effect
