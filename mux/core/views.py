"""What people are shown of the fleet: plain values, computed on demand, free of secrets.

Texts that come from a ship (``detail``, ``log_tail``, ``phase``) are hostile: whoever renders them escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mux.core.model import Doors, ProjectName, Resources, ShipId, ShipState, UserId


@dataclass(frozen=True, slots=True)
class ProjectCard:
    """One project as an attendee sees it.

    Args:
        name: stands in the path.
        title: for people.
        state: ``ready`` to open, ``starting``, ``on_use`` (starts when opened), ``failed``, ``waiting`` (no seat yet).
        text: one sentence: what is so and what happens next.
    """

    name: ProjectName
    title: str
    state: Literal["ready", "starting", "on_use", "failed", "waiting"]
    text: str


@dataclass(frozen=True, slots=True)
class WaitingView:
    """Why somebody has no seat.

    Args:
        position: 1 is next.
        total: people waiting.
        code: ``doors_closed``, ``doors_auto``, ``ships_booting``, ``full``, ``no_ships``, ``launching_stopped``,
            ``assigning``.
        text: the true reason and what happens next, one or two sentences.
    """

    position: int
    total: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class AttendeeView:
    """What ``/camp/`` shows: ``waiting`` is None for somebody who has a seat."""

    waiting: WaitingView | None
    projects: tuple[ProjectCard, ...]


@dataclass(frozen=True, slots=True)
class SeatView:
    """One seat.

    Args:
        index: on its ship.
        user: whose it is, or None.
        ready: it can be offered, or is in use.
        workspaces: project name to state, in words of the design.
        failures: project name to reason and log tail.
    """

    index: int
    user: UserId | None
    ready: bool
    workspaces: Mapping[ProjectName, str]
    failures: Mapping[ProjectName, str]


@dataclass(frozen=True, slots=True)
class ShipView:
    """One ship. ``conditions``: unreachable, cordoned, draining, failed (why)."""

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


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The room at a glance.

    Args:
        event: its name.
        doors: as set.
        doors_open: whether newcomers get seats now.
        launching: False when the reconciler is paused or has given up.
        launching_text: why it is not launching; empty if it is.
        seats_wanted: attendees and spare seats.
        seats_total: seats of ships that exist and are not going.
        seats_ready: free seats that can be offered now.
        seats_assigned: seats that are somebody's.
        waiting: people in the queue.
        sessions: logins in force.
        ships_by_state: state to number of ships.
        projects_broken: project to reason, for those that fail on several ships and hold no seats back.
        ships: every ship that is not terminated.
        notices: latest notices, newest first: (seconds since the epoch, severity, subject, text).
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
    ships: tuple[ShipView, ...]
    notices: tuple[tuple[float, str, str, str], ...]
