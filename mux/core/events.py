"""What has happened: everything that the core is told. Past facts, immutable, free of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mux.core.model import (
    Doors,
    EventSpec,
    LinkId,
    Machine,
    ProjectName,
    SessionHash,
    ShipId,
    ShipNotice,
    ShipReport,
    UserId,
    WorkspaceId,
)
from mux.core.rollout import Pace


@dataclass(frozen=True, slots=True)
class EventSpecApplied:
    """An organizer applied an event file."""

    spec: EventSpec


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Somebody proved who they are. ``expires_at`` of the session, in seconds since the epoch."""

    user: UserId
    session: SessionHash
    expires_at: float


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """A session was ended by its owner."""

    session: SessionHash


@dataclass(frozen=True, slots=True)
class UserRevoked:
    """A roster entry was removed or its credential reset: all of its sessions end.

    ``release`` also gives the seat back.
    """

    user: UserId
    release: bool


@dataclass(frozen=True, slots=True)
class SeatReleased:
    """An organizer took an attendee's seat back; what was bound is destroyed."""

    user: UserId


@dataclass(frozen=True, slots=True)
class ProjectRequested:
    """An attendee opened a project that has no route yet (``start = "on_use"``, or it failed)."""

    user: UserId
    project: ProjectName


@dataclass(frozen=True, slots=True)
class StartOverAsked:
    """An attendee, or an organizer for them, wants files to be the image's again; theirs are kept beside.

    ``path``: of one file in their directory, percent-encoded; empty for everything.
    """

    user: UserId
    project: ProjectName
    path: str = ""


@dataclass(frozen=True, slots=True)
class WishesWithdrawn:
    """Somebody's wishes to start over are void, and so is what they are told of their files' age.

    Their entry or their files were deleted.
    """

    user: UserId


@dataclass(frozen=True, slots=True)
class DoorsSet:
    """An organizer set the doors."""

    doors: Doors


@dataclass(frozen=True, slots=True)
class LaunchSucceeded:
    """The provider took the order; the machine may not be up yet."""

    ship: ShipId
    machine: Machine


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """The provider refused or failed. ``fatal`` means that another try would fail the same way."""

    ship: ShipId
    reason: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class MachineCallEnded:
    """A start, park or terminate call came back; ``error`` is empty when it worked."""

    ship: ShipId
    error: str = ""


@dataclass(frozen=True, slots=True)
class MachineEnded:
    """The provider knows why a machine is gone that mux did not end. ``fatal``: the next one would end the same way."""

    ship: ShipId
    reason: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class MachineNoticed:
    """The provider says what is announced for a machine; the ship itself may say the same in its reports."""

    ship: ShipId
    notice: ShipNotice


@dataclass(frozen=True, slots=True)
class ProviderNoticed:
    """The provider has something to say to the organizers that nothing else follows from."""

    severity: Literal["info", "warning", "error"]
    code: str
    ship: str
    text: str


@dataclass(frozen=True, slots=True)
class MachinesListed:
    """The provider said what exists. ``asked_at`` is when it was asked: what was launched later is not missed."""

    machines: Mapping[ShipId, Machine]
    asked_at: float


@dataclass(frozen=True, slots=True)
class ListingFailed:
    """The provider could not say what exists."""

    reason: str


@dataclass(frozen=True, slots=True)
class BootTold:
    """A machine told how it becomes a ship, before an agent spoke for it.

    Args:
        ship: whose machine.
        doing: what it is doing, or why it cannot become a ship; its own text, hostile until escaped.
        failed: it has given up.
    """

    ship: ShipId
    doing: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ShipDialed:
    """A ship proved that it holds ``key``. ``token_ok``: its join token was valid (needed only while no key is bound).

    Args:
        key: its public key, 64 hex digits.
        boot: identity of the machine's boot.
    """

    ship: ShipId
    link: LinkId
    key: str
    boot: str
    token_ok: bool


@dataclass(frozen=True, slots=True)
class ShipReported:
    """A report came over an accepted link."""

    ship: ShipId
    link: LinkId
    report: ShipReport


@dataclass(frozen=True, slots=True)
class PathsReported:
    """A proxy said which workspaces it has reached lately, and to which it got no connection."""

    reached: tuple[WorkspaceId, ...]
    unreached: tuple[WorkspaceId, ...]


@dataclass(frozen=True, slots=True)
class LinkLost:
    """A link ended, whoever ended it."""

    ship: ShipId
    link: LinkId


@dataclass(frozen=True, slots=True)
class ShipCordoned:
    """An organizer cordoned (or uncordoned) a ship: no new attendees there."""

    ship: ShipId
    cordoned: bool


@dataclass(frozen=True, slots=True)
class ShipDrained:
    """An organizer wants a ship gone. Attendees on it keep their seats until ``evict``."""

    ship: ShipId
    evict: bool = False


@dataclass(frozen=True, slots=True)
class ShipReplaced:
    """An organizer wants another ship in place of this one.

    Attendees move when there are seats for them; then it goes, or keeps their work until that is released.
    """

    ship: ShipId


@dataclass(frozen=True, slots=True)
class ShipDeclaredLost:
    """An organizer said that a ship is lost: its attendees move, with a higher epoch."""

    ship: ShipId


@dataclass(frozen=True, slots=True)
class ShipReleased:
    """An organizer let go of the work that a ship keeps of attendees who were moved away."""

    ship: ShipId


@dataclass(frozen=True, slots=True)
class FleetParked:
    """Every ship should be parked: workspaces stopped, files kept."""


@dataclass(frozen=True, slots=True)
class FleetUnparked:
    """Parked ships should run again."""


@dataclass(frozen=True, slots=True)
class FleetEnded:
    """An organizer said that the event is over: every ship should end, whoever has a seat there."""


@dataclass(frozen=True, slots=True)
class FleetWarmed:
    """An organizer wants that many seats.

    Args:
        seats: as many, whatever the event file says, until the next word or moment of the timetable.
        by: when they should be ready, in seconds since the epoch; 0 for as soon as possible.
        spend_limit: the organizer's word on what the event may cost; None leaves it as it is.
    """

    seats: int
    by: float = 0.0
    spend_limit: float | None = None


@dataclass(frozen=True, slots=True)
class FleetCooled:
    """An organizer lets free ships go; those with people stay, and no more are launched."""


@dataclass(frozen=True, slots=True)
class SpendAllowed:
    """An organizer's word on what the event may cost in all; it counts instead of the event file's limit."""

    limit: float


@dataclass(frozen=True, slots=True)
class LaunchingSet:
    """An organizer paused or resumed the reconciler. Resuming also forgets earlier failures."""

    enabled: bool


@dataclass(frozen=True, slots=True)
class ProjectPushed:
    """An organizer wants another image for a project, while people work with it.

    Args:
        project: which.
        image: where the image is had.
        digest: what that resolved to.
        pace: how attendees may be touched.
        note: the organizer's words.
    """

    project: ProjectName
    image: str
    digest: str
    pace: Pace
    note: str = ""


@dataclass(frozen=True, slots=True)
class RolloutSteered:
    """An organizer's word on a project's rollout. ``resume`` also forgets failures; ``rollback`` puts the image before
    back where it is not.
    """

    project: ProjectName
    order: Literal["pause", "resume", "abort", "rollback"]


@dataclass(frozen=True, slots=True)
class UpdateAccepted:
    """An attendee wants the image that they are offered. ``number``: of the rollout that they were shown."""

    user: UserId
    project: ProjectName
    number: int


@dataclass(frozen=True, slots=True)
class AttendeesActive:
    """Who was active lately, and in which project.

    ``source``: ``bytes``, a proxy moved some for them, which an open tab alone may bring about; ``page``, their
    notebook's page says that they work.
    """

    active: tuple[tuple[UserId, ProjectName], ...]
    source: Literal["bytes", "page"] = "bytes"


@dataclass(frozen=True, slots=True)
class BroadcastSet:
    """An organizer tells everybody something, in place of what was told before; empty for nothing any more."""

    text: str


@dataclass(frozen=True, slots=True)
class PageSaid:
    """A page of an attendee's notebook said how it is.

    Args:
        user, project: whose workspace.
        page: as the page calls itself.
        link: its connection, counted since the start of the mux.
        unsaved: documents with edits that are not saved.
        saved: number of the last request to save that it has carried out as far as it could; 0 for none.
    """

    user: UserId
    project: ProjectName
    page: str
    link: int
    unsaved: int
    saved: int


@dataclass(frozen=True, slots=True)
class PageGone:
    """A connection of a page has ended."""

    user: UserId
    project: ProjectName
    page: str
    link: int


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """Somebody else than their attendees has put files into a project's workspaces while those run."""

    project: ProjectName


Event = (
    EventSpecApplied
    | LoggedIn
    | LoggedOut
    | UserRevoked
    | SeatReleased
    | ProjectRequested
    | StartOverAsked
    | WishesWithdrawn
    | DoorsSet
    | LaunchSucceeded
    | LaunchFailed
    | MachineCallEnded
    | MachineEnded
    | MachineNoticed
    | ProviderNoticed
    | MachinesListed
    | ListingFailed
    | BootTold
    | ShipDialed
    | ShipReported
    | PathsReported
    | LinkLost
    | ShipCordoned
    | ShipDrained
    | ShipReplaced
    | ShipDeclaredLost
    | ShipReleased
    | FleetParked
    | FleetUnparked
    | FleetEnded
    | FleetWarmed
    | FleetCooled
    | SpendAllowed
    | LaunchingSet
    | ProjectPushed
    | RolloutSteered
    | UpdateAccepted
    | AttendeesActive
    | BroadcastSet
    | PageSaid
    | PageGone
    | FilesChanged
)
