"""Everything that the core knows, and what this call of it has changed.

The one mutable aggregate. Modules that decide (attendance, workspaces, machines, liveness) change it only through the
methods here that mark what must be saved, so that a decision cannot be forgotten on its way to the store.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from mux.core.commands import Behind, Effect, Notify, Placement, SaveControls
from mux.core.deadlines import Deadlines
from mux.core.model import (
    Assignment,
    Doors,
    EventSpec,
    ProjectName,
    ProjectSpec,
    Session,
    SessionHash,
    ShipId,
    UserId,
    Waiting,
    WorkspaceId,
)
from mux.core.pages import OpenPage, SaveRequest
from mux.core.planner import LaunchPatience, Tally
from mux.core.rollout import Rollout, WaveMarks
from mux.core.routes import RouteKey, SessionEntry
from mux.core.scheduler import SeatIndex
from mux.core.ships import Seat, Ship
from mux.core.speakers import Speakers
from mux.core.spend import Meter

NOTICES_MAX = 200
"""Notices kept for the organizers' pages; older ones are in the log."""

DeadlineKey = tuple[str, str]
"""What kind of deadline, and of whom: ``("heartbeat", ship)``."""


@dataclass(slots=True)
class Changes:
    """What one call of the core has changed. Dicts as ordered sets: equal inputs give equal outputs."""

    ships: dict[ShipId, None] = field(default_factory=dict)
    unsaved_ships: dict[ShipId, None] = field(default_factory=dict)
    users: dict[UserId, None] = field(default_factory=dict)
    assignments: dict[UserId, None] = field(default_factory=dict)
    sessions: dict[SessionHash, None] = field(default_factory=dict)
    waiting: dict[UserId, None] = field(default_factory=dict)
    wishes: dict[UserId, None] = field(default_factory=dict)
    behind: dict[UserId, None] = field(default_factory=dict)
    plan: bool = False
    effects: list[Effect] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unkept:
    """Files of a workspace that cannot be kept apart from its ship.

    Args:
        why: as the ship says; hostile until escaped.
        since: when it said so first, in seconds since the epoch.
    """

    why: str
    since: float


@dataclass(frozen=True, slots=True)
class Leaving:
    """Somebody who is being moved, while the last of their work is brought to where it is kept.

    Args:
        until: when it is waited for no longer, in seconds since the epoch; infinite while their ship is parked.
        save_until: when their pages are waited for no longer, likewise.
        first: they go to the head of the queue then.
        ship_is: whether their ship can do its part, as far as ``until`` takes that into account.
        latest: how far ``until`` may be put off while their ship boots, likewise.
    """

    until: float
    save_until: float
    first: bool
    ship_is: Literal["up", "booting", "parked"]
    latest: float


@dataclass(slots=True)
class Watch:
    """How warming goes on, since it began or the mux started.

    Args:
        seats: that were ready when it was last looked at, assigned ones included.
        since: when another one became ready, in seconds since the epoch; 0 while nothing is being warmed.
        stalled: told that nothing became ready for long.
        late_for: told that seats that are due at that time will not be ready.
        limit_told: told that the spend limit holds launches back.
        first_at: when the first seats were seen to be ready, in seconds since the epoch; 0 before. The pace counts from
            there.
        first_seats: how many they were.
    """

    seats: int = 0
    since: float = 0.0
    first_at: float = 0.0
    first_seats: int = 0
    stalled: bool = False
    late_for: float = 0.0
    limit_told: bool = False


class World:
    """The state of the core.

    Args:
        spec: the event.
        now: seconds since the epoch.
    """

    def __init__(self, spec: EventSpec) -> None:
        self.spec = spec
        self.projects: dict[ProjectName, ProjectSpec] = {project.name: project for project in spec.projects}
        self.ships: dict[ShipId, Ship] = {}
        self.assignments: dict[UserId, Assignment] = {}
        self.epochs: dict[UserId, int] = {}
        self.sessions: dict[SessionHash, Session] = {}
        self.sessions_of: dict[UserId, dict[SessionHash, None]] = {}
        self.waiting: dict[UserId, Waiting] = {}
        self.wishes: dict[UserId, dict[ProjectName, str]] = {}
        self.places_in_queue: dict[UserId, int] | None = None
        self.controls = SaveControls(Doors.AUTO, doors_opened=False, launching=True, ships_made=0, turns=0)
        self.saved_controls: SaveControls | None = None
        self.meter = Meter()
        self.rollouts: dict[ProjectName, Rollout] = {}
        self.saved_rollouts: dict[ProjectName, Rollout] = {}
        self.waves: dict[ProjectName, WaveMarks] = {}
        self.active: dict[RouteKey, float] = {}
        self.worked: dict[RouteKey, float] = {}
        self.pages: dict[RouteKey, dict[str, OpenPage]] = {}
        self.pages_back_at = 0.0
        self.save_requests: dict[WorkspaceId, SaveRequest] = {}
        self.files_changed: dict[ProjectName, float] = {}
        self.behind: dict[UserId, dict[ProjectName, Behind]] = {}
        self.unkept: dict[ShipId, dict[WorkspaceId, Unkept]] = {}
        self.unkept_told: dict[str, dict[ShipId, None]] = {}
        self.unkept_warned: dict[ShipId, float] = {}
        self.leaving: dict[UserId, Leaving] = {}
        self.disks_low: set[ShipId] = set()
        self.started = self.now = 0.0
        self.watch = Watch()
        self.patience = LaunchPatience()
        self.stopped_text = ""
        self.deadlines: Deadlines[DeadlineKey] = Deadlines()
        self.offers = SeatIndex()
        self.tally = Tally()
        self.unordered: dict[ShipId, None] = {}
        self.replacing: dict[ShipId, None] = {}
        self.places: dict[tuple[str, int], ShipId] = {}
        self.project_failures: dict[ProjectName, dict[ShipId, str]] = {}
        self.broken: dict[ProjectName, str] = {}
        self.listing = False
        self.listed = False
        self.listings_failed = 0
        self.listing_trouble = ""
        self.orphans: set[ShipId] = set()
        self.published_routes: dict[RouteKey, Placement] = {}
        self.published_sessions: dict[SessionHash, SessionEntry] = {}
        self.notices: deque[tuple[float, str, str, str]] = deque(maxlen=NOTICES_MAX)
        self.speakers = Speakers()
        self.changes = Changes(plan=True)

    @property
    def doors_open(self) -> bool:
        """Whether newcomers get seats."""
        controls = self.controls
        return controls.doors is Doors.OPEN or (controls.doors is Doors.AUTO and controls.doors_opened)

    def place_in_queue(self, user: UserId) -> int:
        """Where somebody stands in the queue: 1 is next; behind everybody for one who does not wait.

        Counted once after each change of the queue, since everybody in it asks.
        """
        if self.places_in_queue is None:
            self.places_in_queue = {waiting: place for place, waiting in enumerate(self.waiting, 1)}
        return self.places_in_queue.get(user, len(self.waiting) + 1)

    def seat_of(self, user: UserId) -> tuple[Ship, Seat] | None:
        """The attendee's ship and seat, or None."""
        assignment = self.assignments.get(user)
        if assignment is None:
            return None
        ship = self.ships[assignment.ship]
        return ship, ship.seats[assignment.seat]

    def forget_words(self, ship: ShipId) -> None:
        """A ship has ended: what was told of it is told of nobody any more."""
        self.speakers.forget(ship)
        self.disks_low.discard(ship)
        self.unkept.pop(ship, None)
        self.unkept_warned.pop(ship, None)
        for why, ships in list(self.unkept_told.items()):
            ships.pop(ship, None)
            if not ships:
                del self.unkept_told[why]

    def touch(self, ship: Ship, *, save: bool = True) -> None:
        """Mark a ship: look at it again before this call ends, and save it unless only what was heard has changed."""
        self.changes.ships[ship.id] = None
        if save:
            self.changes.unsaved_ships[ship.id] = None

    def effect(self, command: Effect) -> None:
        """Have something done after everything is persisted and published."""
        self.changes.effects.append(command)

    def notify(self, notice: Notify, *, said_by: ShipId | None = None) -> None:
        """Tell the organizers, and remember it for their pages.

        Args:
            notice: what they are told.
            said_by: the ship on whose word alone it rests: it has only so many. None for all others.
        """
        heard = "yes" if said_by is None else self.speakers.hears(said_by, self.now)
        if heard == "no more":
            who = f"{said_by} gives" if said_by else "Others who claim to be ships give"
            text = f"{who} more reason for notices than can be read: most of them are left out until that ends."
            text += f" If that goes on, look at it, or `mux ship drain {said_by}`." if said_by else ""
            notice = Notify("warning", "notices_left_out", said_by or "", text)
        elif heard == "no":
            return
        self.notices.append((self.now, notice.severity, notice.subject, notice.text))
        self.effect(notice)
